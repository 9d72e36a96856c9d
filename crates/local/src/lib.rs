//! One machine: API store, workload controllers, node, controller and gateway in one process.
//!
//! [`up()`] wires them together for `weir up`. The order is fixed and every step can be undone by
//! ending the process: read and review the files, claim the data directory and an address block,
//! bind the listen address, start the store, install what a cluster has, start the components,
//! apply the files, wait.
//!
//! - [`options`]: what the command line says.
//! - [`files`]: manifests in the order in which they are applied.
//! - [`claim`]: the data directory's lock and the block of loopback addresses.
//! - [`platform`]: the objects that exist before a user's: definitions, namespaces, the gateway.
//! - [`accounts`]: the service accounts that pod templates name.
//! - [`apply`]: server-side apply of one document.
//! - [`await_ready`]: what each service still waits for, and the first request it answers.
//! - [`watch`]: what changed in the files.
//! - [`report`]: every word that a user sees.

pub mod accounts;
pub mod apply;
pub mod await_ready;
pub mod claim;
pub mod files;
pub mod hooks;
pub mod options;
pub mod platform;
pub mod report;
pub mod up;
pub mod watch;

pub use options::Options;
pub use up::up;
pub use weir_runtime::install_crypto;
