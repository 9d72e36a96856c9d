//! As much of an HTTP/1.1 client as a scrape needs: GET over one kept connection, the answer into a buffer.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_runtime::trust::{self, Trust};

/// Largest answer.
const MAX_PAGE: usize = 16 << 20;
/// Largest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// What a read asks for at least.
const STEP: usize = 96 << 10;

/// TLS towards endpoints.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Why TLS towards endpoints cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read as certificate or key.
    #[error("cannot read {path:?}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The library refuses it.
    #[error("cannot use TLS towards endpoints")]
    Tls(#[from] rustls::Error),
}

impl Tls {
    /// TLS that trusts the authority of a file, or anybody; with a certificate of our own if given. The authorities of
    /// the system are not asked: engines' certificates are not of theirs.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(
        insecure: bool,
        authority: Option<&Path>,
        own: Option<(&Path, &Path)>,
    ) -> Result<Self, TlsError> {
        // Engines sign their own certificates; the configuration says that this is meant.
        let trust = if insecure {
            Trust::Anybody
        } else {
            let mut roots = RootCertStore::empty();
            if let Some(path) = authority {
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
            }
            if roots.is_empty() {
                tracing::warn!(
                    "No authority is given for the metrics of endpoints, so that every scrape over TLS fails; \
                     name one with caCertPath, or set insecureSkipVerify"
                );
            }
            Trust::Authorities(roots)
        };
        let builder = trust::client(trust);
        let config = match own {
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File {
                    path: key.to_owned(),
                    why: error.to_string(),
                })?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: rustls::pki_types::pem::Error| TlsError::File {
        path: path.to_owned(),
        why: error.to_string(),
    };
    CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection to one endpoint.
pub(super) struct Connection {
    address: SocketAddr,
    request: Vec<u8>,
    tls: Option<Tls>,
    stream: Option<Box<dyn Stream>>,
}

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Where the body begins.
    body: usize,
    status: u16,
    length: Length,
    /// The connection may be used again.
    keep: bool,
}

fn garbage(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Connection {
    pub(super) fn new(address: SocketAddr, path: &str, tls: Option<Tls>) -> Self {
        let slash = if path.starts_with('/') { "" } else { "/" };
        let request = format!(
            "GET {slash}{path} HTTP/1.1\r\nhost: {address}\r\naccept: text/plain;version=0.0.4\r\nuser-agent: weir-epp\r\n\r\n"
        );
        Self {
            address,
            request: request.into_bytes(),
            tls,
            stream: None,
        }
    }

    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Reads the page into `buffer`; returns where it stands there.
    pub(super) async fn fetch(&mut self, buffer: &mut Vec<u8>) -> io::Result<Range<usize>> {
        let fresh = self.stream.is_none();
        match self.attempt(buffer).await {
            // A kept connection may have been closed by the other side while nobody looked.
            Err(_) if !fresh && buffer.is_empty() => self.attempt(buffer).await,
            other => other,
        }
    }

    async fn attempt(&mut self, buffer: &mut Vec<u8>) -> io::Result<Range<usize>> {
        buffer.clear();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        stream.write_all(&self.request).await?;
        stream.flush().await?;
        let head = loop {
            if let Some(head) = head(buffer)? {
                break head;
            }
            if buffer.len() > MAX_HEAD {
                return Err(garbage("the head of the answer is too long"));
            }
            more(&mut stream, buffer).await?;
        };
        let page = match head.length {
            Length::Known(length) => {
                if length > MAX_PAGE {
                    return Err(garbage("the answer is too long"));
                }
                let end = head.body + length;
                while buffer.len() < end {
                    more(&mut stream, buffer).await?;
                }
                head.body..end
            }
            Length::Chunked => {
                let mut decoder = Chunks::new(head.body);
                while !decoder.advance(buffer)? {
                    more(&mut stream, buffer).await?;
                }
                head.body..decoder.written
            }
            Length::ToTheEnd => {
                while stream.read_buf(&mut reserved(buffer)?).await? > 0 {}
                head.body..buffer.len()
            }
        };
        if head.keep && head.length != Length::ToTheEnd {
            self.stream = Some(stream);
        }
        if head.status != 200 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        Ok(page)
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(Tls(config)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await?;
        Ok(Box::new(stream))
    }
}

fn reserved(buffer: &mut Vec<u8>) -> io::Result<&mut Vec<u8>> {
    if buffer.len() > MAX_PAGE {
        return Err(garbage("the answer is too long"));
    }
    if buffer.capacity() - buffer.len() < STEP / 4 {
        buffer.reserve(STEP);
    }
    Ok(buffer)
}

async fn more(stream: &mut Box<dyn Stream>, buffer: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(&mut reserved(buffer)?).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Reads the head of an answer, if it is there.
fn head(buffer: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = find(buffer, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&buffer[..end]).map_err(|_| garbage("the head is no text"))?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| garbage("not an HTTP answer"))?;
    let mut head = Head {
        body: end + 4,
        status,
        length: Length::ToTheEnd,
        keep: !text.starts_with("HTTP/1.0"),
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length = value
                .parse()
                .map_err(|_| garbage("a content length that is no number"))?;
            head.length = Length::Known(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            head.keep = !value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Takes chunks apart in place: what was read moves to the front.
#[derive(Debug)]
struct Chunks {
    /// End of the body so far.
    written: usize,
    /// Where the next chunk's size stands.
    at: usize,
}

impl Chunks {
    fn new(at: usize) -> Self {
        Self { written: at, at }
    }

    /// Goes on; true at the end.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let Some(line) = find(&buffer[self.at..], b"\r\n") else {
                return Ok(false);
            };
            let size = std::str::from_utf8(&buffer[self.at..self.at + line])
                .ok()
                .and_then(|text| text.split(';').next())
                .and_then(|text| usize::from_str_radix(text.trim(), 16).ok())
                .filter(|size| *size <= MAX_PAGE)
                .ok_or_else(|| garbage("a chunk without a size"))?;
            let data = self.at + line + 2;
            // The end has no trailers that matter, only its empty line.
            if buffer.len() < data + size + 2 {
                return Ok(false);
            }
            if size == 0 {
                return Ok(true);
            }
            buffer.copy_within(data..data + size, self.written);
            self.written += size;
            self.at = data + size + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let read = head(text).unwrap().unwrap();
        assert_eq!(
            (read.body, read.length, read.keep),
            (38, Length::Known(5), true)
        );
        let text = b"HTTP/1.1 503 x\r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\n";
        let read = head(text).unwrap().unwrap();
        assert_eq!(
            (read.status, read.length, read.keep),
            (503, Length::Chunked, false)
        );
        assert_eq!(head(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        assert!(head(b"SSH-2.0\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
    }

    #[test]
    fn chunks_are_joined_however_they_come() {
        let whole = b"4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n";
        for cut in 0..whole.len() {
            let mut buffer = Vec::new();
            let mut chunks = Chunks::new(0);
            let mut ended = false;
            for part in [&whole[..cut], &whole[cut..]] {
                buffer.extend_from_slice(part);
                ended = chunks.advance(&mut buffer).unwrap();
            }
            assert!(ended, "{cut}");
            assert_eq!(&buffer[..chunks.written], b"wikipedia");
        }
        assert!(Chunks::new(0).advance(&mut b"zz\r\n".to_vec()).is_err());
    }
}
