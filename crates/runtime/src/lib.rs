//! What every component needs around its job: listeners, certificates, signals, logs and the
//! Kubernetes client.
//!
//! - [`certs`]: a certificate authority kept in a directory, and the certificates it issues.
//! - [`http`]: an HTTP/1.1 and HTTP/2 server loop over TCP or TLS that drains on shutdown.
//! - [`listen`]: the rule by which a component binds its address.
//! - [`client`]: a Kubernetes client from a kubeconfig.
//! - [`container_log`]: the files of containers' logs.
//! - [`errors`]: an error and its causes as one line.
//! - [`logs`]: structured logs on standard error.
//! - [`serving`]: the certificate that a component serves, followed in its directory or self-signed.
//! - [`signals`]: SIGTERM and SIGINT as a cancellation token.
//! - [`trust`]: whom a component believes when it calls over TLS.
//!
//! Every component calls [`install_crypto`] first: rustls refuses to choose a provider itself.

pub mod certs;
pub mod client;
pub mod container_log;
pub mod errors;
pub mod http;
pub mod listen;
pub mod logs;
pub mod serving;
pub mod signals;
pub mod trust;

/// Makes ring the process-wide TLS provider. Calling it again has no effect.
pub fn install_crypto() {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
