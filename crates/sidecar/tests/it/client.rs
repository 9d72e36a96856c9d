//! A raw HTTP client: what goes over the wire is what the test says.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_sidecar::tls::{Places, client_config};

/// Either kind of connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A message as it came.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// Request or status line.
    pub(crate) first: String,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended early.
    pub(crate) cut: bool,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) async fn connect(to: SocketAddr, tls: bool) -> Box<dyn Stream> {
    let stream = TcpStream::connect(to).await.unwrap();
    if !tls {
        return Box::new(stream);
    }
    let nowhere = Places {
        files: Vec::new(),
        directories: Vec::new(),
    };
    let connector = TlsConnector::from(Arc::clone(&client_config(&nowhere, true)));
    let name = ServerName::try_from("localhost").unwrap();
    Box::new(connector.connect(name, stream).await.unwrap())
}

/// Reads a head; nothing when the connection ends before.
pub(crate) async fn head<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Option<Message> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    Some(Message {
        first: lines.next().unwrap().to_owned(),
        headers: lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect(),
        ..Message::default()
    })
}

/// Reads a message whole; `bodiless` when an answer has none whatever its head says.
pub(crate) async fn message<S: AsyncRead + Unpin + ?Sized>(
    stream: &mut S,
    bodiless: bool,
) -> Option<Message> {
    let mut message = head(stream).await?;
    let answer = message.first.starts_with("HTTP/");
    let none = answer && (bodiless || matches!(message.status(), 101 | 204 | 304));
    if none {
        return Some(message);
    }
    if message.header("transfer-encoding") == Some("chunked") {
        message.cut = chunks(stream, &mut message.body).await.is_err();
    } else if let Some(length) = message.header("content-length") {
        let length: usize = length.parse().unwrap();
        while message.body.len() < length {
            match stream.read_u8().await {
                Ok(byte) => message.body.push(byte),
                Err(_) => {
                    message.cut = true;
                    break;
                }
            }
        }
    } else if answer {
        message.cut = stream.read_to_end(&mut message.body).await.is_err();
    }
    Some(message)
}

async fn chunks<S: AsyncRead + Unpin + ?Sized>(
    stream: &mut S,
    body: &mut Vec<u8>,
) -> std::io::Result<()> {
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await?);
        }
        let size = String::from_utf8_lossy(&line).trim().to_owned();
        let mut size = usize::from_str_radix(&size, 16).unwrap();
        let last = size == 0;
        size += 2;
        while size > 0 {
            let byte = stream.read_u8().await?;
            if size > 2 {
                body.push(byte);
            }
            size -= 1;
        }
        if last {
            return Ok(());
        }
    }
}

/// Sends bytes and reads the answer.
pub(crate) async fn exchange(to: SocketAddr, tls: bool, request: &[u8]) -> Option<Message> {
    let mut stream = connect(to, tls).await;
    stream.write_all(request).await.unwrap();
    message(stream.as_mut(), request.starts_with(b"HEAD ")).await
}

/// Writes a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = format!("{text}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
