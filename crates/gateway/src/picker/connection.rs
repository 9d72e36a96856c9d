//! Connections to pickers, and one stream over them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request as HttpRequest, Uri, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use weir_extproc::frame::{self, Frames};
use weir_extproc::pb::{ProcessingRequest, ProcessingResponse, Request, Response};
use weir_runtime::trust::{self, Trust};

use super::{Failure, Pickers};

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
    receive: Incoming,
    frames: Frames,
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
    pub(super) async fn hear(&mut self) -> Result<Response, Failure> {
        loop {
            let next = self.frames.next_frame();
            if let Some(frame) = next.map_err(|error| self.broken(error))? {
                let reply = ProcessingResponse::decode(frame.message)
                    .map_err(|error| self.broken(error))?;
                return reply.response.ok_or(Failure::Turn(self.address));
            }
            match self.receive.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let text = |name| {
                            let value = trailers.get(name).map(|value| value.as_bytes());
                            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
                        };
                        let (code, why) = (text("grpc-status"), text("grpc-message"));
                        return Err(self.broken(format!("ended with status {code} {why}")));
                    }
                },
                Some(Err(error)) => return Err(self.broken(error)),
                None => return Err(self.broken("the stream ended")),
            }
        }
    }
}

impl Pickers {
    /// Opens a stream.
    pub(super) async fn call(&self, address: SocketAddr) -> Result<Call, Failure> {
        let failed = |error: hyper::Error| Failure::Broken(address, error.into());
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
            header::HeaderValue::from_static("application/grpc"),
        );
        headers.insert(header::TE, header::HeaderValue::from_static("trailers"));
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => {
                self.known.lock().await.remove(&address);
                return Err(failed(error));
            }
        };
        Ok(Call {
            address,
            send,
            receive: response.into_body(),
            frames: Frames::new(LIMIT),
        })
    }

    async fn sender(&self, address: SocketAddr) -> Result<SendRequest<Outgoing>, Failure> {
        // The lock is held while connecting, so that one connection is made and not one for each request.
        let mut known = self.known.lock().await;
        known.retain(|_, sender| !sender.is_closed());
        if let Some(sender) = known.get(&address) {
            return Ok(sender.clone());
        }
        let failed = |error: weir_proxy::BoxError| Failure::Connect(address, error);
        let tcp = || async move {
            let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = tcp().await.map_err(|error| failed(error.into()))?;
        let name = ServerName::IpAddress(address.ip().into());
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let sender = match tokio::time::timeout(TLS, tls).await {
            Ok(Ok(stream)) => self.handshake(stream).await,
            Ok(Err(_)) | Err(_) => {
                let stream = tcp().await.map_err(|error| failed(error.into()))?;
                self.handshake(stream).await
            }
        };
        let sender = sender.map_err(|error| failed(error.into()))?;
        known.insert(address, sender.clone());
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
