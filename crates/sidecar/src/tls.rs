//! Whom the sidecar trusts when it calls over TLS: the certificates of the system, which `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` replace as they do for Go programs; every file of every directory counts, whatever its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use weir_runtime::trust::{self, Trust};

/// Largest file that is read for certificates.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Files of which the first one that exists is read, by distribution.
const FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Directories that are read, by distribution.
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// Where trusted certificates lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Files, of which the first that can be read counts.
    pub files: Vec<PathBuf>,
    /// Directories, all of whose files count.
    pub directories: Vec<PathBuf>,
}

impl Places {
    /// Returns the places that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, and the system's for what is unset.
    #[must_use]
    pub fn new(file: Option<&str>, directories: Option<&str>) -> Self {
        let set = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        Self {
            files: match set(file) {
                Some(file) => vec![file.into()],
                None => FILES.iter().map(PathBuf::from).collect(),
            },
            directories: match set(directories) {
                Some(list) => list
                    .split(':')
                    .filter(|part| !part.is_empty())
                    .map(PathBuf::from)
                    .collect(),
                None => DIRECTORIES.iter().map(PathBuf::from).collect(),
            },
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let mut add = |path: &Path| -> bool {
            let small =
                std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= MAX_FILE);
            let Some(bytes) = small.then(|| std::fs::read(path).ok()).flatten() else {
                return false;
            };
            // A file may hold keys or nothing of ours: only its certificates are taken.
            let found = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
            roots.add_parsable_certificates(found);
            true
        };
        let _ = self.files.iter().any(|file| add(file));
        for directory in &self.directories {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                add(&entry.path());
            }
        }
        roots
    }
}

/// Returns the configuration for calls to a kind of pod: with the roots of `places`, or whoever answers.
#[must_use]
pub fn client_config(places: &Places, skip_verify: bool) -> Arc<ClientConfig> {
    let trust = if skip_verify {
        Trust::Anybody
    } else {
        let roots = places.roots();
        if roots.is_empty() {
            tracing::warn!(
                ?places,
                "No trusted certificates found, calls over TLS will fail"
            );
        }
        Trust::Authorities(roots)
    };
    Arc::new(trust::client(trust).with_no_client_auth())
}
