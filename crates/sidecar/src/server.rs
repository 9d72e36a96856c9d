//! One request: what is answered here, what is refused, and the rest streamed to the engine of its rank and back.
//!
//! Cancellation is dropping, both ways: a client that leaves drops the answer and with it the connection to the
//! engine; an engine that breaks off ends the client's answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_openai::shield;
use weir_proxy::{Body, Client, boxed, collect_in, empty, full, guarded};
use weir_runtime::http::Peer;

use crate::metrics::Metrics;
use crate::options::{Connector, Options, host_port};
use crate::respond::{self, Problem};
use crate::route::{self, Route};

/// Most bytes of a body that has to be looked through before it may go on: images travel in it.
pub const MAX_BODY: usize = 256 * 1024 * 1024;

/// Most bytes of bodies held at a time for looking through them.
const MAX_HELD: usize = 1024 * 1024 * 1024;

/// Top-level members that only a shared-storage sidecar may see.
const THRESHOLD: &[&str] = &["cache_hit_threshold"];

/// What requests are served with; shared by the listeners of all ranks.
#[derive(Debug)]
pub struct Server {
    options: Options,
    client: Client,
    /// Addresses of the engine of each rank, in the order of trying.
    engines: Vec<Vec<SocketAddr>>,
    /// The rank of each `POD_IP:port` of our own.
    own: BTreeMap<String, usize>,
    held: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    tunnels: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// Returns a server in front of `engines`, one list of addresses a rank. Tunnels end with `stop`.
    #[must_use]
    pub fn new(
        options: Options,
        client: Client,
        engines: Vec<Vec<SocketAddr>>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Self {
        let own = match &options.pod_ip {
            Some(ip) => (0..engines.len())
                .filter_map(|rank| {
                    let port = options.port.checked_add(u16::try_from(rank).ok()?)?;
                    Some((host_port(ip, port), rank))
                })
                .collect(),
            None => BTreeMap::new(),
        };
        Self {
            options,
            client,
            engines,
            own,
            held: Arc::new(Semaphore::new(MAX_HELD)),
            metrics,
            tunnels: TaskTracker::new(),
            stop,
        }
    }

    /// Returns the tasks of connections that changed their protocol.
    #[must_use]
    pub fn tunnels(&self) -> &TaskTracker {
        &self.tunnels
    }

    /// Answers a request that came to the listener of `rank`.
    pub async fn handle(&self, rank: usize, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let route = route::route(request.method(), &path);
        let guard = self.metrics.begin(&route);
        let answer = match route {
            Route::Health => Ok(respond::bare(StatusCode::OK)),
            Route::Redirect(path) => {
                let location = match request.uri().query() {
                    Some(query) => format!("{path}?{query}"),
                    None => path,
                };
                let readable = matches!(*request.method(), Method::GET | Method::HEAD);
                Ok(respond::redirect(&location, readable))
            }
            Route::Disaggregated => Box::pin(self.disaggregated(rank, request)).await,
            Route::Through => Box::pin(self.through(rank, request)).await,
        };
        let response = answer.unwrap_or_else(|problem| {
            tracing::debug!(status = problem.status.as_u16(), reason = %problem.message, "Request refused");
            self.metrics.refused(problem.reason);
            problem.response(&path)
        });
        response.map(|body| guarded(body, guard))
    }

    /// A request that prefill and decode may share.
    async fn disaggregated(
        &self,
        rank: usize,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        let headers = request.headers_mut();
        let mut candidates = route::take_candidates(headers, &route::PREFILLER);
        if matches!(
            self.options.connector,
            Connector::LmCache | Connector::NixlV1
        ) {
            let old = route::take_candidates(headers, &route::PREFILLER_URL);
            if candidates.is_empty() {
                candidates = old;
            }
        }
        let encoders = route::take_candidates(headers, &route::ENCODERS);
        headers.remove(&route::CACHE_SOURCE);
        let index = if self.options.sampling {
            rand::random_range(0..candidates.len().max(1))
        } else {
            0
        };
        if self.options.ec_connector.is_some() && encoders.iter().any(|host| !host.is_empty()) {
            return Err(Problem::encoder());
        }
        if let Some(target) = route::choose(&candidates, index) {
            return Err(Problem::prefill(target));
        }
        // Only the first listener looks at it, whatever the number of ranks.
        let named = request.headers().get(&route::RANK_HOST_PORT);
        let rank = match named.filter(|_| rank == 0) {
            None => rank,
            Some(name) => {
                tracing::debug!("Header x-data-parallel-host-port is deprecated");
                let known = name.to_str().ok().and_then(|name| self.own.get(name));
                match known {
                    Some(rank) => *rank,
                    None => return Ok(respond::bare(StatusCode::BAD_REQUEST)),
                }
            }
        };
        self.through(rank, request).await
    }

    /// To the engine of `rank`, and its answer back.
    async fn through(
        &self,
        rank: usize,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        let tunnel = weir_proxy::headers::upgrade(request.headers())
            .is_some()
            .then(|| hyper::upgrade::on(&mut request));
        let request = self.prepare(request).await?;
        let engines = self.engines.get(rank).map_or(&[][..], Vec::as_slice);
        let answer = self.client.forward_any(request, engines, None).await;
        let mut response = answer.map_err(|error| Problem::from(&error))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client) = tunnel
        {
            let engine = hyper::upgrade::on(&mut response);
            self.tunnels
                .spawn(tunnelled(client, engine, self.stop.clone()));
            return Ok(response.map(|_| empty()));
        }
        Ok(response)
    }

    /// Makes of a client's request the one for the engine.
    async fn prepare(&self, request: Request<Incoming>) -> Result<Request<Body>, Problem> {
        const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
        let (mut parts, body) = request.into_parts();
        if let Some(Peer(peer)) = parts.extensions.get::<Peer>() {
            let chain = route::forwarded_for(&parts.headers, peer.ip().to_canonical());
            if let Ok(value) = HeaderValue::from_str(&chain) {
                parts.headers.insert(FORWARDED_FOR, value);
            }
        }
        parts.extensions = http::Extensions::new();
        let bodiless = matches!(parts.method, Method::GET | Method::HEAD);
        if self.options.trust_client || bodiless || !shield::looks_at(parts.uri.path()) {
            return Ok(Request::from_parts(parts, boxed(body)));
        }
        let collected = collect_in(body, MAX_BODY, &self.held).await;
        let (whole, room) = collected.map_err(|error| Problem::from(&error))?;
        let clean = self.shielded(&whole)?;
        parts
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(clean.len()));
        Ok(Request::from_parts(parts, guarded(full(clean), room)))
    }

    /// Takes out of a body what must not reach the engine's transfer machinery.
    fn shielded(&self, whole: &Bytes) -> Result<Bytes, Problem> {
        let more = match self.options.connector {
            Connector::SharedStorage => &[],
            _ => THRESHOLD,
        };
        match shield::body_without(whole, more) {
            Ok(clean) => {
                if clean.len() != whole.len() {
                    self.metrics.stripped();
                }
                Ok(clean)
            }
            // No reader makes anything of it: the engine says best what is wrong.
            Err(error) if error.cut_short => Ok(whole.clone()),
            Err(error) => Err(Problem::invalid_body(&error)),
        }
    }
}

/// Copies between two connections that changed their protocol, until one ends or the process does.
async fn tunnelled(
    client: hyper::upgrade::OnUpgrade,
    engine: hyper::upgrade::OnUpgrade,
    stop: CancellationToken,
) {
    let copy = async {
        let (client, engine) = tokio::try_join!(client, engine)?;
        let (mut client, mut engine) = (TokioIo::new(client), TokioIo::new(engine));
        tokio::io::copy_bidirectional(&mut client, &mut engine).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    tokio::select! {
        ended = copy => {
            if let Err(error) = ended {
                tracing::debug!(%error, "Tunnel ended");
            }
        }
        () = stop.cancelled() => {}
    }
}
