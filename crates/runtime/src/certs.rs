//! A certificate authority kept in a directory, and the serving certificates it issues.
//!
//! The store of one machine and the components that serve TLS without given files use it. Keys are
//! written with mode 0600 before they are used.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a certificate could not be made, kept or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the authority could not be read or written.
    #[error("cannot access certificate file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A certificate could not be generated or read.
    #[error("cannot make a certificate")]
    Generate(#[from] rcgen::Error),
    /// PEM text holds no usable certificate or key.
    #[error("cannot read PEM text")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The TLS library refuses the certificate.
    #[error("cannot use the certificate for TLS")]
    Tls(#[from] rustls::Error),
}

/// A certificate authority: signs serving certificates for the names it is asked for.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its chain and private key, both PEM.
pub struct Identity {
    /// The certificate, PEM.
    pub certificate: String,
    /// The private key, PKCS#8 PEM.
    pub key: String,
}

impl Authority {
    /// Reads `ca.crt` and `ca.key` in `dir`, or makes them (mode 0600) when either is missing.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds no valid certificate.
    pub fn load_or_create(dir: &Path) -> Result<Self, Error> {
        let certificate_path = dir.join("ca.crt");
        let key_path = dir.join("ca.key");
        if certificate_path.exists() && key_path.exists() {
            let pem = read(&certificate_path)?;
            let key = KeyPair::from_pem(&read(&key_path)?)?;
            let issuer = Issuer::from_ca_cert_pem(&pem, key)?;
            return Ok(Self { pem, issuer });
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "weir local authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let pem = certificate.pem();
        write_private(&key_path, &key.serialize_pem())?;
        write_private(&certificate_path, &pem)?;
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Returns the authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// Issues a serving certificate for DNS names and IP addresses.
    ///
    /// # Errors
    /// When a name is not a DNS name or address.
    pub fn issue(&self, names: &[&str]) -> Result<Identity, Error> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "weir");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: format!("{}{}", certificate.pem(), self.pem),
            key: key.serialize_pem(),
        })
    }
}

impl Identity {
    /// Returns a TLS server configuration that offers HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// When the PEM text holds no usable certificate or key.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, Error> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Writes `text` to `path` with mode 0600, replacing the file in one step.
///
/// # Errors
/// When the file cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let in_file = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(in_file)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(in_file)?;
    fs::rename(&temporary, path).map_err(in_file)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_issues_usable_certificates() {
        crate::install_crypto();
        let dir = std::env::temp_dir().join(format!("weir-certs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let first = Authority::load_or_create(&dir).unwrap();
        let again = Authority::load_or_create(&dir).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        let identity = again.issue(&["127.0.0.1", "localhost"]).unwrap();
        assert_eq!(identity.server_config().unwrap().alpn_protocols.len(), 2);
        fs::remove_dir_all(&dir).unwrap();
    }
}
