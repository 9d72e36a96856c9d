//! The certificate that a component serves TLS with: from a directory whose files are looked at again and
//! again, or one that it makes and signs itself.
//!
//! Kubernetes replaces the files of a mounted secret by moving a link, so that the files are compared by what
//! the path leads to, not watched by name. A pair that cannot be used changes nothing: the one before stays.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use crate::certs::{Error, Identity};

/// Names of the files in the directory of a certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Name of the private key's file.
pub const KEY: &str = "tls.key";

/// How often the files are looked at. A change is used once two looks agree, so that a pair that is being
/// written is not read in between.
const LOOK: Duration = Duration::from_millis(250);

/// A certificate that may be replaced while it is served. Clones share it.
#[derive(Clone)]
pub struct Serving {
    current: Arc<Current>,
    directory: Option<PathBuf>,
}

struct Current {
    key: ArcSwap<CertifiedKey>,
    reads: AtomicU64,
    failures: AtomicU64,
}

impl Serving {
    /// Reads the pair in `directory`.
    ///
    /// # Errors
    /// When a file is missing, or the two are no pair.
    pub fn from_directory(directory: &Path) -> Result<Self, Error> {
        let key = read(directory)?;
        Ok(Self::new(key, Some(directory.to_owned())))
    }

    /// Makes a certificate of `organization` that is valid for `years`, in memory only.
    ///
    /// # Errors
    /// When it cannot be generated.
    pub fn self_signed(organization: &str, years: i16) -> Result<Self, Error> {
        let key = certified(&self_signed(organization, years)?)?;
        Ok(Self::new(key, None))
    }

    fn new(key: CertifiedKey, directory: Option<PathBuf>) -> Self {
        let current = Current {
            key: ArcSwap::from_pointee(key),
            reads: AtomicU64::new(1),
            failures: AtomicU64::new(0),
        };
        Self {
            current: Arc::new(current),
            directory,
        }
    }

    /// Returns a TLS server configuration that offers HTTP/2 and HTTP/1.1 and always serves the current pair.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&self.current) as _;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Returns how often a pair was read, and how often that failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.current.reads), count(&self.current.failures))
    }

    /// Looks at the directory until `shutdown` and serves what it finds; returns at once without a directory.
    pub async fn follow(&self, shutdown: CancellationToken) {
        let Some(directory) = &self.directory else {
            return;
        };
        let mut used = stamp(directory);
        let mut seen = used;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = stamp(directory);
            let settled = now == seen;
            seen = now;
            if !settled || seen == used {
                continue;
            }
            used = seen;
            self.current.reads.fetch_add(1, Ordering::Relaxed);
            match read(directory) {
                Ok(key) => {
                    self.current.key.store(Arc::new(key));
                    tracing::info!(directory = %directory.display(), "Certificate replaced");
                }
                Err(error) => {
                    self.current.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        directory = %directory.display(),
                        error = %crate::errors::chain(&error),
                        "Certificate not usable, the one before stays"
                    );
                }
            }
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Serving")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Current")
    }
}

/// What tells two versions of the files apart; nothing for a file that is not there.
fn stamp(directory: &Path) -> [Option<(u64, i64, i64, u64)>; 2] {
    [CERTIFICATE, KEY].map(|name| {
        let data = fs::metadata(directory.join(name)).ok()?;
        Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
    })
}

fn read(directory: &Path) -> Result<CertifiedKey, Error> {
    let text = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).map_err(|source| Error::File { path, source })
    };
    certified(&Identity {
        certificate: text(CERTIFICATE)?,
        key: text(KEY)?,
    })
}

fn certified(identity: &Identity) -> Result<CertifiedKey, Error> {
    let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Some kinds of keys cannot tell; the handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(error) => Err(error.into()),
    }
}

fn self_signed(organization: &str, years: i16) -> Result<Identity, Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let day = |years: i16| {
        // The month has this day in every year that is asked for.
        let day = u8::try_from(today.day()).unwrap_or(1).min(28);
        let month = u8::try_from(today.month()).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(today.year()) + i32::from(years), month, day)
    };
    params.not_before = day(0);
    params.not_after = day(years);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, organization: &str) -> Vec<u8> {
        let identity = self_signed(organization, 1).unwrap();
        let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        fs::write(directory.join(CERTIFICATE), identity.certificate).unwrap();
        fs::write(directory.join(KEY), identity.key).unwrap();
        der.to_vec()
    }

    fn served(serving: &Serving) -> Vec<u8> {
        serving.current.key.load().cert[0].to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_followed_and_a_broken_pair_changes_nothing() {
        crate::install_crypto();
        let directory = std::env::temp_dir().join(format!("weir-serving-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let first = write(&directory, "one");
        let serving = Serving::from_directory(&directory).unwrap();
        assert_eq!(served(&serving), first);
        let stop = CancellationToken::new();
        let check = async {
            let second = write(&directory, "two");
            tokio::time::sleep(LOOK * 4).await;
            assert_eq!(served(&serving), second);
            fs::write(directory.join(KEY), "broken").unwrap();
            tokio::time::sleep(LOOK * 4).await;
            fs::remove_file(directory.join(KEY)).unwrap();
            tokio::time::sleep(LOOK * 4).await;
            assert_eq!(served(&serving), second);
            assert_eq!(serving.counts(), (4, 2));
            let third = write(&directory, "three");
            tokio::time::sleep(LOOK * 4).await;
            assert_eq!(served(&serving), third);
            stop.cancel();
        };
        tokio::join!(serving.follow(stop.clone()), check);
        // Of two certificates, the key belongs to one.
        let other = self_signed("four", 1).unwrap();
        fs::write(directory.join(KEY), other.key).unwrap();
        assert!(Serving::from_directory(&directory).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_certificate_of_our_own_serves() {
        crate::install_crypto();
        let serving = Serving::self_signed("a component", 10).unwrap();
        assert_eq!(serving.server_config().alpn_protocols.len(), 2);
    }
}
