//! The certificate that is served, and the one that takes its place.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_runtime::certs::Authority;
use weir_runtime::serving::{CERTIFICATE, KEY};
use weir_runtime::trust::{self, Trust};

use crate::exchange::configuration;
use crate::picker::Picker;

/// Puts another pair into `dir`, as a mounted secret does it: each file is replaced whole.
fn replace(authority: &Authority, dir: &Path) {
    let identity = authority.issue(&["localhost"]).unwrap();
    for (name, text) in [(CERTIFICATE, identity.certificate), (KEY, identity.key)] {
        let new = dir.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, dir.join(name)).unwrap();
    }
}

/// The certificate that the picker shows now.
async fn shown(picker: &Picker) -> CertificateDer<'static> {
    let mut config = trust::client(Trust::Anybody).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", picker.grpc))
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].clone().into_owned()
}

#[tokio::test]
async fn a_new_certificate_is_served_once_its_files_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(&dir);
    let authority = Authority::load_or_create(dir.path()).unwrap();
    replace(&authority, dir.path());
    let path = format!("--cert-path={}", dir.path().display());
    let flags = ["--secure-serving=true", "--enable-cert-reload", &path];
    let picker = Picker::start(&config, &flags).await;
    let first = shown(&picker).await;
    assert_eq!(shown(&picker).await, first);
    // A key that fits no certificate changes nothing, and what comes after it is taken all the same.
    std::fs::write(dir.path().join(KEY), "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(shown(&picker).await, first);
    replace(&authority, dir.path());
    let changed = async {
        while shown(&picker).await == first {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), changed)
        .await
        .unwrap();
}
