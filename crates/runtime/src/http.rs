//! An HTTP server loop: HTTP/1.1 and HTTP/2 over TCP or TLS, upgrades included, that stops taking
//! connections on shutdown and lets the open ones finish for a bounded time.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Boxed error of a streamed body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Response body of the server: streamed or whole.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Most connections that one listener serves at a time; further ones wait in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 16_384;

/// How long open connections may go on after shutdown began, unless [`Limits`] say otherwise.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long open connections may go on after shutdown began.
    pub drain: Duration,
    /// Most bytes of a request's head; the protocol library's own bound without.
    pub head: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain: DRAIN,
            head: None,
        }
    }
}

/// First byte of every TLS connection: a handshake record.
const TLS_RECORD: u8 = 0x16;

/// What a peer gets that speaks clear text where TLS is served: it could not read anything else.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
const HEADER_READ: Duration = Duration::from_secs(30);

/// How long a new connection may take to its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// Address of the peer; every request carries one in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Returns a body of `bytes`.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Returns a body without content.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Serves `handler` on `listener` until `shutdown`, then drains for at most [`DRAIN`].
pub async fn serve<H, F>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: H,
    shutdown: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    serve_within(listener, tls, Limits::default(), handler, shutdown).await;
}

/// As [`serve`], within `limits`.
pub async fn serve_within<H, F>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    handler: H,
    shutdown: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let acceptor = tls.map(TlsAcceptor::from);
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else {
            break;
        };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors or a reset before accept: wait, so that the loop does not spin.
                    tracing::warn!(%error, "Connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let acceptor = acceptor.clone();
        let handler = handler.clone();
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            let _slot = slot;
            let _ = stream.set_nodelay(true);
            match acceptor {
                None => connection(stream, peer, handler, FIRST_REQUEST, limits, shutdown).await,
                Some(acceptor) => {
                    match tokio::time::timeout(TLS_HANDSHAKE, handshake(acceptor, stream)).await {
                        Ok(Ok(stream)) => {
                            connection(stream, peer, handler, FIRST_REQUEST, limits, shutdown)
                                .await;
                        }
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                    }
                }
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait())
        .await
        .is_err()
    {
        tracing::debug!(
            open = connections.len(),
            "Connections still open after drain"
        );
    }
}

/// Begins TLS; a peer that speaks HTTP in clear text is told so.
async fn handshake(
    acceptor: TlsAcceptor,
    mut stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != TLS_RECORD {
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        // Closing with bytes unread would reset the connection before the peer has read the answer.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        return Err(std::io::Error::other("the peer speaks clear text"));
    }
    acceptor.accept(stream).await
}

async fn connection<S, H, F>(
    stream: S,
    peer: SocketAddr,
    handler: H,
    first_request: Duration,
    limits: Limits,
    shutdown: CancellationToken,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let begun = CancellationToken::new();
    let first = begun.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        first.cancel();
        request.extensions_mut().insert(Peer(peer));
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(1_000);
    if let Some(head) = limits.head {
        builder.http1().max_buf_size(head as usize);
        builder.http2().max_header_list_size(head);
    }
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // The limit for a head begins with the protocol, which a peer that sends nothing never chooses: such
    // peers would otherwise fill all slots and stay.
    let silent = async {
        if tokio::time::timeout(first_request, begun.cancelled())
            .await
            .is_ok()
        {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = silent => {
            tracing::debug!(%peer, "Connection ended: no request came");
            return;
        }
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.drain, connection.as_mut()).await {
                Ok(result) => result,
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "Connection ended");
    }
}

/// Answers that a server gives so that callers see one shape of a plain text reply.
pub fn text(status: http::StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(_: Request<Incoming>) -> Response<Body> {
        Response::new(full("fine"))
    }

    fn peer() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    #[tokio::test]
    async fn a_peer_that_sends_no_request_is_let_go() {
        for sent in ["", "PRI * HTTP/2.0", "GET / HT"] {
            let (mut client, server) = tokio::io::duplex(1024);
            client.write_all(sent.as_bytes()).await.unwrap();
            let limit = Duration::from_millis(1);
            connection(
                server,
                peer(),
                answer,
                limit,
                Limits::default(),
                CancellationToken::new(),
            )
            .await;
            let mut left = Vec::new();
            client.read_to_end(&mut left).await.unwrap();
            assert_eq!(left, b"", "{sent}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_has_sent_one_may_think() {
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let (mut client, server) = tokio::io::duplex(1024);
        // It is there before the connection is looked at, hence before the limit can pass.
        client.write_all(request).await.unwrap();
        let limit = Duration::from_millis(1);
        let served = connection(
            server,
            peer(),
            answer,
            limit,
            Limits::default(),
            CancellationToken::new(),
        );
        let talk = async {
            for last in [false, true] {
                let mut answer = Vec::new();
                while !answer.ends_with(b"fine") {
                    answer.push(client.read_u8().await.unwrap());
                }
                if !last {
                    tokio::time::sleep(limit * 5).await;
                    client.write_all(request).await.unwrap();
                }
            }
            drop(client);
        };
        tokio::join!(served, talk);
    }
}
