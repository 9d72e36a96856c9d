//! The serving certificate: self-signed, or of a directory and read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no certificate or key.
    #[error("no certificate or key in {path:?}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The library refuses it.
    #[error("cannot use the certificate")]
    Tls(#[from] rustls::Error),
    /// It cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A name that means nothing.
    #[error("unknown TLS version {0:?}: write VersionTLS12 or VersionTLS13")]
    Version(String),
    /// A name that means nothing.
    #[error("unknown cipher suite {0:?}")]
    Suite(String),
}

/// What is agreed on with clients.
#[derive(Clone, Debug)]
pub struct Terms {
    versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<SupportedCipherSuite>,
    /// Protocols offered.
    pub alpn: Vec<Vec<u8>>,
}

/// A certificate in use.
#[derive(Debug)]
pub struct Certificates {
    terms: Terms,
    current: ArcSwap<ServerConfig>,
    dir: Option<PathBuf>,
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const ORGANISATION: &str = "Inference Ext";
/// How often files are looked at, and how long they must be quiet before they are read.
const LOOK: Duration = Duration::from_millis(250);

impl Terms {
    /// Terms by the names that Go uses.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn new(min_version: &str, suites: &[&str]) -> Result<Self, Error> {
        // Versions below 1.2 are named by old manifests as the least; more is fine.
        let versions = match min_version {
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => {
                vec![&rustls::version::TLS13, &rustls::version::TLS12]
            }
            "VersionTLS13" => vec![&rustls::version::TLS13],
            other => return Err(Error::Version(other.to_owned())),
        };
        let known = rustls::crypto::ring::ALL_CIPHER_SUITES;
        let mut chosen = Vec::new();
        for name in suites {
            if OLD_SUITES.contains(name) {
                continue;
            }
            let plain = |suite: &SupportedCipherSuite| {
                format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
            };
            let wanted = name.trim_end_matches("_SHA256").to_owned();
            let found = known.iter().find(|suite| {
                let own = plain(suite);
                own == *name || own == wanted || own.trim_end_matches("_SHA256") == wanted
            });
            chosen.push(*found.ok_or_else(|| Error::Suite((*name).to_owned()))?);
        }
        Ok(Self {
            versions,
            suites: chosen,
            alpn: vec![b"h2".to_vec()],
        })
    }

    fn config(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, Error> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.suites.is_empty() {
            // Those of version 1.3 cannot be configured in Go: they are always there.
            let of_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
            provider
                .cipher_suites
                .retain(|suite| of_13(suite) || self.suites.contains(suite));
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(config)
    }
}

/// Suites that Go knows and this program does not offer; naming them is no mistake.
const OLD_SUITES: [&str; 9] = [
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
];

impl Certificates {
    /// A certificate of our own, for ten years. Gateways do not verify it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn self_signed(terms: Terms) -> Result<Self, Error> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, ORGANISATION);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2036, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key_pem = key.serialize_pem();
        let key =
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|source| Error::Pem {
                path: PathBuf::from("generated key"),
                source,
            })?;
        let config = terms.config(vec![certificate.der().clone()], key)?;
        Ok(Self {
            terms,
            current: ArcSwap::from_pointee(config),
            dir: None,
        })
    }

    /// The certificate of a directory.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn of_dir(terms: Terms, dir: &Path) -> Result<Self, Error> {
        let config = load(&terms, dir)?;
        Ok(Self {
            terms,
            current: ArcSwap::from_pointee(config),
            dir: Some(dir.to_owned()),
        })
    }

    /// What takes connections now.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// The configuration in use.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again whenever they changed, until `stop`. New handshakes use the new pair; a pair that does
    /// not fit is left alone.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let Some(dir) = self.dir.clone() else {
            return;
        };
        let mut used = stamp(&dir);
        let mut before = used;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = stamp(&dir);
            if now == used || now != before {
                before = now;
                continue;
            }
            match load(&self.terms, &dir) {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    tracing::info!(dir = %dir.display(), "Certificate read again");
                }
                Err(error) => tracing::error!(
                    error = weir_runtime::errors::chain(&error),
                    "New certificate not usable, the old one stays"
                ),
            }
            used = now;
        }
    }
}

fn stamp(dir: &Path) -> [Option<SystemTime>; 2] {
    [CERTIFICATE, KEY].map(|name| std::fs::metadata(dir.join(name)).ok()?.modified().ok())
}

fn load(terms: &Terms, dir: &Path) -> Result<ServerConfig, Error> {
    let read = |name: &str| {
        let path = dir.join(name);
        match std::fs::read(&path) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(Error::File { path, source }),
        }
    };
    let (path, text) = read(CERTIFICATE)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Error::Pem { path, source })?;
    let (path, text) = read(KEY)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|source| Error::Pem { path, source })?;
    terms.config(chain, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_go_are_known() {
        assert!(Terms::new("", &[]).is_ok());
        assert!(Terms::new("VersionTLS13", &[]).is_ok());
        assert!(Terms::new("VersionTLS9", &[]).is_err());
        for suite in [
            "TLS_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
        ] {
            assert!(Terms::new("", &[suite]).is_ok(), "{suite}");
        }
        assert!(Terms::new("", &["FOO"]).is_err());
    }

    #[test]
    fn certificates_are_usable() {
        weir_runtime::install_crypto();
        let made = Certificates::self_signed(Terms::new("", &[]).unwrap()).unwrap();
        assert_eq!(made.config().alpn_protocols, [b"h2".to_vec()]);
        let dir = tempfile::tempdir().unwrap();
        let terms = || Terms::new("VersionTLS12", &[]).unwrap();
        assert!(Certificates::of_dir(terms(), dir.path()).is_err());
        let authority = weir_runtime::certs::Authority::load_or_create(dir.path()).unwrap();
        let identity = authority.issue(&["localhost"]).unwrap();
        std::fs::write(dir.path().join(CERTIFICATE), &identity.certificate).unwrap();
        std::fs::write(dir.path().join(KEY), &identity.key).unwrap();
        assert!(Certificates::of_dir(terms(), dir.path()).is_ok());
    }
}
