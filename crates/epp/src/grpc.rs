//! gRPC on hyper's HTTP/2: one connection loop, one body that is a whole conversation.
//!
//! A stream is answered by a body that reads the request's body: there is no task beside hyper's own, no channel and
//! no copy between what comes and what goes. Back-pressure is HTTP/2's: nothing is read while the client does not
//! take what was written.

pub mod unary;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tls::Certificates;

/// Media type of gRPC.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a silent peer is asked whether it is there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
/// How much of a stream, and of a connection, may be under way unread.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Largest HTTP/2 frame that is taken: messages up to this size come in one piece.
const FRAME: u32 = 256 << 10;
/// Streams of one connection at a time.
const STREAMS: u32 = 1 << 16;
/// Connections at a time; further ones wait in the kernel's backlog.
const CONNECTIONS: usize = 16_384;

/// Codes of gRPC that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// Cannot be said better.
    Unknown = 2,
    /// There is no such thing.
    NotFound = 5,
    /// Too large.
    ResourceExhausted = 8,
    /// No such method.
    Unimplemented = 12,
    /// A message that is none.
    Internal = 13,
}

/// How a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Code.
    pub code: Code,
    /// What happened.
    pub message: String,
}

impl Status {
    /// The end of what went well.
    #[must_use]
    pub fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// Any end.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// As trailers.
    #[must_use]
    pub fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(GRPC_STATUS, HeaderValue::from(self.code as u16));
        if !self.message.is_empty()
            && let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.message))
        {
            trailers.insert(GRPC_MESSAGE, message);
        }
        trailers
    }

    /// As a response without a body.
    #[must_use]
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.headers_mut() = self.trailers();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What answers a call.
pub type Answer = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

/// A response that `body` answers.
pub fn answered(
    body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> Response<Answer> {
    let mut response = Response::new(Box::pin(body) as Answer);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// A response that ends at once.
#[must_use]
pub fn ended(status: &Status) -> Response<Answer> {
    status
        .response::<Empty>()
        .map(|empty| Box::pin(empty) as Answer)
}

/// A body without content.
#[derive(Debug, Default)]
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// Serves calls on `listener` until `stop`, then lets the open ones go on for `drain`.
pub async fn serve<H>(
    listener: TcpListener,
    tls: Option<Arc<Certificates>>,
    handler: H,
    stop: CancellationToken,
    drain: Duration,
) where
    H: Fn(Request<Incoming>) -> Response<Answer> + Clone + Send + Sync + 'static,
{
    let connections = TaskTracker::new();
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or gone before it was accepted: do not spin.
                tracing::warn!(%error, "Connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (tls, handler, stop) = (tls.clone(), handler.clone(), stop.clone());
        connections.spawn(async move {
            let _slot = slot;
            let Some(tls) = tls else {
                connection(stream, handler, stop, drain).await;
                return;
            };
            match tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => connection(stream, handler, stop, drain).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake timed out"),
            }
        });
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(drain, connections.wait()).await;
}

async fn connection<S, H>(stream: S, handler: H, stop: CancellationToken, drain: Duration)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> Response<Answer> + Clone + Send + Sync + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(drain, serving.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "Connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        let trailers = Status::new(Code::Unknown, "50% é\n").trailers();
        assert_eq!(trailers[GRPC_STATUS], "2");
        assert_eq!(trailers[GRPC_MESSAGE], "50%25 %C3%A9%0A");
        assert_eq!(Status::ok().trailers().len(), 1);
    }
}
