//! Connections to pickers, and one stream over them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, Uri, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsConnector;
use weir_extproc::frame::{self, Frames};
use weir_extproc::pb::{ProcessingRequest, ProcessingResponse, Request, Response as Reply};
use weir_runtime::trust::{self, Trust};

use super::{Failure, Pickers};

const STATUS: &str = "grpc-status";
const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
/// How long a connection, and TLS on it, may take.
const CONNECT: Duration = Duration::from_secs(2);
const TLS: Duration = Duration::from_secs(1);
/// Messages on their way out.
const QUEUE: usize = 8;
/// Largest message of a picker.
const LIMIT: usize = 16 << 20;
/// How much of a stream may be under way unread.
const WINDOW: u32 = 1 << 20;

/// The messages of one stream as a body.
#[derive(Debug)]
pub(crate) struct Outgoing(mpsc::Receiver<Bytes>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

/// One stream.
pub(crate) struct Call {
    pub(super) address: SocketAddr,
    pub(super) send: mpsc::Sender<Bytes>,
    receive: Receive,
    frames: Frames,
}

/// The picker's half of a stream. Servers in Go send its headers with their first message, which they write after
/// they have read the request: whoever waited for headers first would wait for ever.
enum Receive {
    Asked(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>),
    Answered(Incoming),
}

/// The connection to one picker.
#[derive(Default)]
pub(super) struct Slot {
    sender: Option<SendRequest<Outgoing>>,
    /// When connecting failed last.
    failed: Option<Instant>,
}

impl Slot {
    fn open(&self) -> Option<&SendRequest<Outgoing>> {
        self.sender.as_ref().filter(|sender| !sender.is_closed())
    }
}

/// A message as it is sent.
pub(super) fn encoded(request: Request) -> Bytes {
    let message = ProcessingRequest {
        request: Some(request),
        metadata_context: None,
    };
    let size = message.encoded_len();
    let mut out = BytesMut::with_capacity(frame::HEADER + size);
    frame::put_header(&mut out, size);
    message.encode_raw(&mut out);
    out.freeze()
}

impl Call {
    fn broken(&self, why: impl Into<weir_proxy::BoxError>) -> Failure {
        Failure::Broken(self.address, why.into())
    }

    pub(super) async fn tell(&mut self, request: Request) -> Result<(), Failure> {
        let sent = self.send.send(encoded(request)).await;
        sent.map_err(|_| self.broken("the stream is closed"))
    }

    /// The next reply. Nothing is lost when the wait is given up.
    pub(super) async fn hear(&mut self) -> Result<Reply, Failure> {
        loop {
            let next = self.frames.next_frame();
            if let Some(frame) = next.map_err(|error| self.broken(error))? {
                let reply = ProcessingResponse::decode(frame.message)
                    .map_err(|error| self.broken(error))?;
                return reply.response.ok_or(Failure::Turn(self.address));
            }
            let body = match &mut self.receive {
                Receive::Answered(body) => body,
                Receive::Asked(response) => {
                    let response = response.await.map_err(|error| self.broken(error))?;
                    // A server that has nothing to say puts the end into the headers.
                    if response.headers().contains_key(STATUS) {
                        return Err(self.ended(response.headers()));
                    }
                    self.receive = Receive::Answered(response.into_body());
                    continue;
                }
            };
            match body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(data),
                    Err(frame) => {
                        return Err(self.ended(&frame.into_trailers().unwrap_or_default()));
                    }
                },
                Some(Err(error)) => return Err(self.broken(error)),
                None => return Err(self.broken("the stream ended")),
            }
        }
    }

    /// The stream's end as these headers or trailers tell it.
    fn ended(&self, end: &HeaderMap) -> Failure {
        let text = |name| {
            let value = end.get(name).map(HeaderValue::as_bytes);
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        let (code, why) = (text(STATUS), text("grpc-message"));
        self.broken(format!("ended with status {code} {why}"))
    }
}

impl Pickers {
    /// Opens a stream.
    pub(super) async fn call(&self, address: SocketAddr) -> Result<Call, Failure> {
        let mut sender = self.sender(address).await?;
        let (send, queue) = mpsc::channel(QUEUE);
        let mut request = HttpRequest::new(Outgoing(queue));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://{address}{PROCESS}")
            .parse::<Uri>()
            .map_err(|error| Failure::Broken(address, error.into()))?;
        let headers = request.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        Ok(Call {
            address,
            send,
            receive: Receive::Asked(Box::pin(sender.send_request(request))),
            frames: Frames::new(LIMIT),
        })
    }

    /// The connection to a picker, made if there is none.
    async fn sender(&self, address: SocketAddr) -> Result<SendRequest<Outgoing>, Failure> {
        let slot = self.slot(address);
        let asked = Instant::now();
        // Held while connecting, so that one connection is made and not one for each request. Other pickers have
        // slots of their own: one that is out of reach holds up nobody else's requests.
        let mut slot = slot.lock().await;
        if let Some(sender) = slot.open() {
            return Ok(sender.clone());
        }
        if slot.failed.is_some_and(|failed| failed >= asked) {
            // Whoever waited for an attempt shares its end, instead of trying one after the other.
            let why = "the attempt that this request waited for failed";
            return Err(Failure::Connect(address, why.into()));
        }
        match self.connect(address).await {
            Ok(sender) => {
                slot.sender = Some(sender.clone());
                Ok(sender)
            }
            Err(error) => {
                slot.failed = Some(Instant::now());
                Err(Failure::Connect(address, error))
            }
        }
    }

    pub(super) fn slot(&self, address: SocketAddr) -> Arc<Mutex<Slot>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Pickers come and go: a slot that nobody uses and that has no connection is forgotten.
        known.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|slot| slot.open().is_some())
        });
        Arc::clone(known.entry(address).or_default())
    }

    async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<SendRequest<Outgoing>, weir_proxy::BoxError> {
        let tcp = || async move {
            let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let name = ServerName::IpAddress(address.ip().into());
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp().await?);
        let sender = match tokio::time::timeout(TLS, tls).await {
            Ok(Ok(stream)) => self.handshake(stream).await?,
            Ok(Err(_)) | Err(_) => self.handshake(tcp().await?).await?,
        };
        Ok(sender)
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<Outgoing>, hyper::Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "Connection to a picker ended");
            }
        });
        Ok(sender)
    }
}

/// TLS that trusts anybody: pickers sign their own certificates, and are reached by addresses of this instance.
pub(super) fn unverified() -> Arc<rustls::ClientConfig> {
    let mut config = trust::client(Trust::Anybody).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
