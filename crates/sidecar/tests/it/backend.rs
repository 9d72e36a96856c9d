//! Backends that answer by script and keep what they saw.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::client::{Message, Stream, message};

/// A request that a backend got.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) backend: String,
    pub(crate) request: Message,
    /// The other side hung up before the answer was complete.
    pub(crate) left: bool,
}

/// What all backends of a case saw.
#[derive(Clone)]
pub(crate) struct Log {
    seen: Arc<Mutex<Vec<Seen>>>,
    changed: watch::Sender<()>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            seen: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Takes what was seen so far.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Waits until a condition holds for what was seen.
    pub(crate) async fn until(&self, holds: impl Fn(&[Seen]) -> bool) {
        let mut changes = self.changed.subscribe();
        while !holds(&self.seen.lock().unwrap()) {
            changes.changed().await.unwrap();
        }
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<Seen>)) {
        edit(&mut self.seen.lock().unwrap());
        self.changed.send_replace(());
    }
}

/// Starts a backend that gives `answers` in order, the last one again and again.
pub(crate) async fn start(
    name: &str,
    answers: Vec<Value>,
    tls: Option<Arc<rustls::ServerConfig>>,
    log: Log,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let name = name.to_owned();
    let next = Arc::new(Mutex::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (name, answers, next, log) = (
                name.clone(),
                answers.clone(),
                Arc::clone(&next),
                log.clone(),
            );
            let acceptor = tls.clone().map(TlsAcceptor::from);
            tokio::spawn(async move {
                let mut stream: Box<dyn Stream> = match acceptor {
                    None => Box::new(stream),
                    // The other side may refuse the certificate.
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                };
                while let Some(request) = message(stream.as_mut(), false).await {
                    let answer = {
                        let mut next = next.lock().unwrap();
                        let answer = answers[(*next).min(answers.len() - 1)].clone();
                        *next += 1;
                        answer
                    };
                    let head = request.first.starts_with("HEAD ");
                    let mut index = 0;
                    log.edit(|seen| {
                        index = seen.len();
                        seen.push(Seen {
                            backend: name.clone(),
                            request,
                            left: false,
                        });
                    });
                    if !play(stream.as_mut(), &answer, head, &log, index).await {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Gives one answer; says whether the connection goes on.
async fn play(
    stream: &mut dyn Stream,
    answer: &Value,
    head: bool,
    log: &Log,
    index: usize,
) -> bool {
    if answer["act"] == "reset" {
        return false;
    }
    let left = |log: &Log| {
        log.edit(|seen| {
            if let Some(seen) = seen.get_mut(index) {
                seen.left = true;
            }
        });
    };
    if let Some(delay) = answer["delay_ms"].as_u64()
        && gone(stream, delay).await
    {
        left(log);
        return false;
    }
    let status = answer["status"].as_u64().unwrap_or(200);
    let mut text = format!("HTTP/1.1 {status} X\r\n");
    let mut kind = false;
    for header in answer["headers"].as_array().into_iter().flatten() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        kind |= name.eq_ignore_ascii_case("content-type");
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(pieces) = answer["chunks"].as_array() {
        if !kind {
            text += "Content-Type: text/event-stream; charset=utf-8\r\n";
        }
        text += "Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(text.as_bytes()).await.unwrap();
        for piece in pieces {
            let sent = match piece {
                Value::Number(pause) => !gone(stream, pause.as_u64().unwrap()).await,
                Value::String(piece) if piece == "<cut>" => return false,
                Value::String(piece) => {
                    let piece = format!("{:x}\r\n{piece}\r\n", piece.len());
                    stream.write_all(piece.as_bytes()).await.is_ok()
                }
                other => panic!("{other}"),
            };
            if !sent {
                left(log);
                return false;
            }
        }
        return stream.write_all(b"0\r\n\r\n").await.is_ok();
    }
    let body = match (&answer["json"], &answer["body"]) {
        (Value::Null, Value::String(body)) => body.clone(),
        (Value::Null, _) => String::new(),
        (json, _) => json.to_string(),
    };
    if !kind && !answer["json"].is_null() {
        text += "Content-Type: application/json\r\n";
    }
    if !matches!(status, 204 | 304) {
        let length = answer["claim_length"].as_u64().unwrap_or(body.len() as u64);
        text += &format!("Content-Length: {length}\r\n");
    }
    text += "\r\n";
    if !head {
        text += &body;
    }
    let sent = stream.write_all(text.as_bytes()).await.is_ok();
    sent && answer["claim_length"].is_null()
}

/// Waits, and says whether the other side hung up meanwhile.
async fn gone(stream: &mut dyn Stream, milliseconds: u64) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(milliseconds), stream.read(&mut byte));
    match read.await {
        Err(_) => false,
        Ok(read) => read.is_err() || read.is_ok_and(|count| count == 0),
    }
}
