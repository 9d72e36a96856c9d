//! Whom a component believes when it calls others over TLS.
//!
//! Components call pods by addresses that no authority signs for, and engines, pickers and sidecars make certificates
//! of their own by default. So calls without any check of the certificate are a choice that flags offer, and this is
//! the one place that makes it.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// Whose certificates count.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that one of these authorities signed, for the name that is called, at this time.
    Authorities(RootCertStore),
    /// Anybody's.
    ///
    /// Not verified: who signed the certificate, for which names, for what time and what use. Whoever can answer at
    /// the address can read what is sent. Verified: that the other side has the key of the certificate that it shows,
    /// as programs in Go do with `InsecureSkipVerify`, so that a certificate must still be one of version 3.
    Anybody,
}

/// Begins a client's configuration, which lacks only the certificate that the client shows, if any.
///
/// # Panics
/// Never: the provider has the versions that are asked for.
#[must_use]
pub fn client(trust: Trust) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    match trust {
        Trust::Authorities(roots) => builder.with_root_certificates(roots),
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
    }
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ServerConfig, SupportedProtocolVersion};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    const NAME: &str = "engine.example";

    /// A server's certificate and key, which need not be a pair.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// A certificate for [`NAME`] that its own key signed, and another key of the same kind.
    fn identity() -> (CertificateDer<'static>, KeyPair, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.der().clone(), key, KeyPair::generate().unwrap())
    }

    /// Whether a client believes a server that shows `certificate` and signs with `key`.
    async fn believes(
        trust: Trust,
        name: &'static str,
        version: &'static SupportedProtocolVersion,
        certificate: &CertificateDer<'static>,
        key: &KeyPair,
    ) -> bool {
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signing = ring::sign::any_supported_type(&key).unwrap();
        let shows = Shows(Arc::new(CertifiedKey::new(
            vec![certificate.clone()],
            signing,
        )));
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shows));
        let connector = TlsConnector::from(Arc::new(client(trust).with_no_client_auth()));
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from(name).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (connected, _) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        connected.is_ok()
    }

    #[tokio::test]
    async fn anybody_is_believed_who_has_the_key_and_authorities_are_asked_otherwise() {
        let (certificate, key, other_key) = identity();
        let (stranger, ..) = identity();
        let authorities = |certificate: &CertificateDer<'static>| {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            Trust::Authorities(roots)
        };
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let rows = [
                (Trust::Anybody, NAME, &key, true),
                (Trust::Anybody, "elsewhere.example", &key, true),
                (Trust::Anybody, "127.0.0.1", &key, true),
                (Trust::Anybody, NAME, &other_key, false),
                (authorities(&certificate), NAME, &key, true),
                (authorities(&certificate), "elsewhere.example", &key, false),
                (authorities(&certificate), NAME, &other_key, false),
                (authorities(&stranger), NAME, &key, false),
                (
                    Trust::Authorities(RootCertStore::empty()),
                    NAME,
                    &key,
                    false,
                ),
            ];
            for (row, (trust, name, key, expected)) in rows.into_iter().enumerate() {
                let believed = believes(trust, name, version, &certificate, key).await;
                assert_eq!(believed, expected, "row {row}, {version:?}");
            }
        }
    }
}
