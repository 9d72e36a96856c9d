//! A pooled HTTP/1.1 client that forwards requests to addresses, in clear text or over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, uri};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::body::{Body, BoxError, Lent, boxed};
use crate::headers::{remove_hop_by_hop, upgrade};

/// Bounds of a client.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a connection may take to be established.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Most unused connections kept for one address.
    pub idle_per_host: usize,
    /// Most bytes buffered for the head of an answer and between reads.
    pub max_buffer: usize,
    /// TLS towards the upstreams; clear text without.
    pub tls: Option<Tls>,
    /// Whether a request may change its connection's protocol. The answer with status 101 then carries what
    /// [`hyper::upgrade::on`] takes, and it is the caller who tunnels.
    pub upgrades: bool,
}

/// TLS towards upstreams that are known by address.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom to trust; without protocols for ALPN, HTTP/1.1 is all that is spoken.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the upstreams' certificates must cover.
    pub name: rustls::pki_types::ServerName<'static>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            idle_per_host: 64,
            max_buffer: 256 * 1024,
            tls: None,
            upgrades: false,
        }
    }
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no address to send to.
    #[error("no upstream address")]
    NoUpstream,
    /// The request's path cannot be sent on.
    #[error("the request target cannot be forwarded")]
    Target(#[source] http::Error),
    /// No connection came about; nothing was sent.
    #[error("cannot connect to {upstream}")]
    Connect {
        /// Address that was tried last.
        upstream: SocketAddr,
        /// What the connector said.
        #[source]
        source: BoxError,
    },
    /// The connection broke before the head of an answer was there.
    #[error("{upstream} broke off before answering")]
    Upstream {
        /// Address that broke off.
        upstream: SocketAddr,
        /// What the connection said.
        #[source]
        source: BoxError,
    },
    /// No head of an answer within the limit.
    #[error("{upstream} did not begin to answer within {limit:?}")]
    Timeout {
        /// Address that is silent.
        upstream: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
}

impl Error {
    /// Says whether there was nobody who listens.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use std::io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable,
        };
        let Self::Connect { source, .. } = self else {
            return false;
        };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return matches!(
                    error.kind(),
                    ConnectionRefused | AddrNotAvailable | NetworkUnreachable | HostUnreachable
                );
            }
            cause = error.source();
        }
        false
    }
}

/// A client with a pool of connections. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Inner,
    upgrades: bool,
}

#[derive(Clone, Debug)]
enum Inner {
    Clear(legacy::Client<HttpConnector, Body>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Body>),
}

impl Inner {
    fn scheme(&self) -> &'static str {
        match self {
            Self::Clear(_) => "http",
            Self::Tls(_) => "https",
        }
    }

    async fn request(&self, request: Request<Body>) -> Result<Response<Incoming>, legacy::Error> {
        match self {
            Self::Clear(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new(&Options::default())
    }
}

impl Client {
    /// Returns a client with these bounds.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.connect_timeout));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(options.idle_per_host)
            .http1_max_buf_size(options.max_buffer)
            // A pooled connection that turns out closed before anything was written is replaced.
            .retry_canceled_requests(true)
            // The host is the caller's business: engines see the name the client used.
            .set_host(false);
        let inner = match &options.tls {
            None => Inner::Clear(builder.build(connector)),
            Some(tls) => {
                connector.enforce_http(false);
                let connector = HttpsConnectorBuilder::new()
                    .with_tls_config(tls.config.as_ref().clone())
                    .https_only()
                    .with_server_name_resolver(FixedServerNameResolver::new(tls.name.clone()))
                    .enable_http1()
                    .wrap_connector(connector);
                Inner::Tls(builder.build(connector))
            }
        };
        Self {
            inner,
            upgrades: options.upgrades,
        }
    }

    /// Sends `request` to `upstream` and returns its answer, the body streaming.
    ///
    /// # Errors
    /// As [`Client::forward_any`].
    pub async fn forward(
        &self,
        request: Request<Body>,
        upstream: SocketAddr,
    ) -> Result<Response<Body>, Error> {
        self.forward_any(request, &[upstream], None).await
    }

    /// Sends `request` to the first of `upstreams` that takes a connection. The next one is tried only
    /// when the connection failed and no byte of the body was asked for. `limit` bounds the time to the
    /// head of the answer.
    ///
    /// # Errors
    /// When no connection comes about, the upstream breaks off before its answer begins, or `limit` passes.
    pub async fn forward_any(
        &self,
        request: Request<Body>,
        upstreams: &[SocketAddr],
        limit: Option<Duration>,
    ) -> Result<Response<Body>, Error> {
        let (mut parts, mut body) = request.into_parts();
        let wanted = self.upgrades.then(|| upgrade(&parts.headers)).flatten();
        remove_hop_by_hop(&mut parts.headers);
        if let Some(protocol) = wanted {
            switch(&mut parts.headers, protocol);
        }
        // The server has answered an expectation itself by reading the body.
        parts.headers.remove(header::EXPECT);
        if !parts.headers.contains_key(header::HOST) {
            // HTTP/2 carries the host in the target.
            if let Some(authority) = parts.uri.authority()
                && let Ok(host) = HeaderValue::from_str(authority.as_str())
            {
                parts.headers.insert(header::HOST, host);
            }
        }
        let mut last = Error::NoUpstream;
        for &upstream in upstreams {
            let mut attempt = Request::new(());
            *attempt.method_mut() = parts.method.clone();
            *attempt.uri_mut() =
                target(self.inner.scheme(), &parts.uri, upstream).map_err(Error::Target)?;
            *attempt.version_mut() = Version::HTTP_11;
            *attempt.headers_mut() = parts.headers.clone();
            if !attempt.headers().contains_key(header::HOST)
                && let Ok(host) = HeaderValue::from_str(&upstream.to_string())
            {
                attempt.headers_mut().insert(header::HOST, host);
            }
            let (lent, borrowed) = Lent::new(body);
            let sent = self.inner.request(attempt.map(|()| borrowed));
            let answer = match limit {
                None => sent.await,
                Some(limit) => match tokio::time::timeout(limit, sent).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(Error::Timeout { upstream, limit }),
                },
            };
            match answer {
                Ok(answer) => {
                    let (mut parts, body) = answer.into_parts();
                    let switched = self.upgrades && parts.status == StatusCode::SWITCHING_PROTOCOLS;
                    let protocol = switched.then(|| upgrade(&parts.headers)).flatten();
                    remove_hop_by_hop(&mut parts.headers);
                    parts.version = Version::HTTP_11;
                    match protocol {
                        Some(protocol) => switch(&mut parts.headers, protocol),
                        None => parts.extensions = http::Extensions::new(),
                    }
                    return Ok(Response::from_parts(parts, boxed(body)));
                }
                Err(error) if error.is_connect() => {
                    tracing::debug!(%upstream, error = &error as &dyn std::error::Error, "No connection");
                    let failed = Error::Connect {
                        upstream,
                        source: error.into(),
                    };
                    // That nobody listens at one address says less than what went wrong at another.
                    if !(failed.is_refusal() && matches!(last, Error::Connect { .. })) {
                        last = failed;
                    }
                    match lent.reclaim() {
                        Some(unread) => body = unread,
                        None => return Err(last),
                    }
                }
                Err(error) => {
                    return Err(Error::Upstream {
                        upstream,
                        source: error.into(),
                    });
                }
            }
        }
        Err(last)
    }
}

/// Says that the connection changes to `protocol`.
fn switch(headers: &mut http::HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

fn target(scheme: &str, uri: &Uri, upstream: SocketAddr) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    Uri::builder()
        .scheme(scheme)
        .authority(upstream.to_string())
        .path_and_query(path)
        .build()
}
