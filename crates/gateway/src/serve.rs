//! One request: host rule, route, shield, backend, and the answer streamed back.

mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header, uri};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_discovery::EndpointSets;
use weir_openai::shield;
use weir_proxy::headers::remove_hop_by_hop;
use weir_proxy::{Body, Client, Problem, boxed, collect_in, empty, full, guarded};
use weir_runtime::http::Peer;

use crate::attach::Routing;
use crate::hosts::{host_of, is_local};
use crate::picker::Pickers;
use crate::table::{Backend, PathMatch, RedirectTo, RequestView, Rule, Target, rewrite_path};

/// Most bytes of a body that has to be looked at before it may go on.
pub const MAX_BODY: usize = 64 * 1024 * 1024;

/// Most bytes of bodies held at a time, for looking at them or until a picker has decided.
const MAX_HELD: usize = 512 * 1024 * 1024;

/// Addresses tried when connections fail.
const TRIES: usize = 3;

/// What requests are served with.
#[derive(Debug)]
pub struct Server {
    routing: ArcSwap<Routing>,
    endpoints: EndpointSets,
    client: Client,
    pickers: Pickers,
    /// Whether only hosts that are known may be asked for.
    loopback: bool,
    in_flight: Arc<AtomicUsize>,
    held: Arc<Semaphore>,
}

/// Counts a request until its answer was read or dropped.
struct InFlight {
    count: Arc<AtomicUsize>,
    route: String,
    status: u16,
    began: Instant,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.count.fetch_sub(1, Ordering::Relaxed) - 1;
        tracing::debug!(
            route = %self.route,
            status = self.status,
            seconds = self.began.elapsed().as_secs_f64(),
            in_flight = left,
            "Request ended"
        );
    }
}

impl Server {
    /// Returns a server without routes.
    #[must_use]
    pub fn new(endpoints: EndpointSets, client: Client, listen: SocketAddr) -> Self {
        Self {
            routing: ArcSwap::new(Arc::new(Routing::default())),
            endpoints,
            client,
            pickers: Pickers::default(),
            loopback: listen.ip().is_loopback(),
            in_flight: Arc::new(AtomicUsize::new(0)),
            held: Arc::new(Semaphore::new(MAX_HELD)),
        }
    }

    /// Serves from `routing` from now on.
    pub fn program(&self, routing: Arc<Routing>) {
        self.routing.store(routing);
    }

    /// Number of requests whose answers are not finished.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Answers a request.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut guard = InFlight {
            count: Arc::clone(&self.in_flight),
            route: String::new(),
            status: 0,
            began: Instant::now(),
        };
        let response = match Box::pin(self.answer(request, &mut guard.route)).await {
            Ok(response) => response,
            Err(problem) => {
                tracing::debug!(status = problem.status.as_u16(), reason = %problem.message, "Request refused");
                problem.response()
            }
        };
        guard.status = response.status().as_u16();
        response.map(|body| guarded(body, guard))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        route: &mut String,
    ) -> Result<Response<Body>, Problem> {
        if request.method() == http::Method::CONNECT {
            return Err(Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request_error",
                "this gateway opens no tunnels; send the request itself",
            ));
        }
        let mut hosts = request.headers().get_all(header::HOST).iter();
        if hosts.next().is_some() && hosts.next().is_some() {
            return Err(Problem::bad_request(
                "the request names more than one host; send one Host header",
            ));
        }
        if shield::wanders(request.uri().path()) {
            return Err(Problem::bad_request(format!(
                "the path {} has `.` or `..` as a segment; send the path that is meant",
                request.uri().path()
            )));
        }
        let authority = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => request
                .headers()
                .get(header::HOST)
                .and_then(|value| value.to_str().ok())
                .ok_or_else(|| {
                    Problem::bad_request("the request names no host; send a Host header")
                })?,
        };
        let host = host_of(authority);
        let routing = self.routing.load_full();
        if self.loopback && !is_local(&host) && !routing.table.names_host(&host) {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "invalid_request_error",
                format!(
                    "host {host:?} is not served here: on a loopback address only IP addresses, localhost and hosts named by a Gateway or HTTPRoute are; use one of these"
                ),
            ));
        }
        let view = RequestView {
            host: &host,
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            method: request.method(),
            headers: request.headers(),
        };
        let Some(entry) = routing.table.find(&view) else {
            return Err(Problem::not_found(format!(
                "no HTTPRoute matches {} {} on host {host}; `kubectl get httproutes -A` lists the routes",
                request.method(),
                request.uri().path()
            )));
        };
        route.clone_from(&entry.rule.route);
        let rule = Arc::clone(&entry.rule);
        if let Some(redirect) = &rule.redirect {
            return redirected(redirect, &entry.matched.path, authority, request.uri());
        }
        let matched = entry.matched.path.clone();
        let backend = rule.pick().ok_or_else(|| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                format!("HTTPRoute {} has no backend for this request; give it backendRefs with a weight", rule.route),
            )
        })?;
        let mut response = match &backend.target {
            Target::Pool { namespace, name } => {
                let prepared = self.prepare(request, &rule, &matched).await?;
                let pool = (namespace.as_str(), name.as_str());
                Box::pin(self.to_pool(&routing, &rule, backend, pool, prepared)).await?
            }
            target => {
                let upstreams = self.upstreams(target, &rule, backend)?;
                let prepared = self.prepare(request, &rule, &matched).await?;
                self.forward(&rule, prepared.request(), &upstreams).await?
            }
        };
        rule.response_headers.apply(response.headers_mut());
        Ok(response)
    }

    /// Sends a request to the first of `upstreams` that takes it.
    async fn forward(
        &self,
        rule: &Rule,
        request: Request<Body>,
        upstreams: &[SocketAddr],
    ) -> Result<Response<Body>, Problem> {
        let answer = self
            .client
            .forward_any(request, upstreams, rule.timeout)
            .await;
        answer.map_err(|error| {
            let mut problem = Problem::from(&error);
            problem.message = format!("HTTPRoute {}: {}", rule.route, problem.message);
            problem
        })
    }

    /// Returns the addresses of a Service to try, in the order of the round.
    fn upstreams(
        &self,
        target: &Target,
        rule: &Rule,
        backend: &Backend,
    ) -> Result<Vec<SocketAddr>, Problem> {
        let (namespace, name, port) = match target {
            Target::Service {
                namespace,
                name,
                port,
            } => (namespace, name, *port),
            Target::Invalid(why) => {
                return Err(Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "server_error",
                    format!(
                        "HTTPRoute {}: {why}; create it or correct the route",
                        rule.route
                    ),
                ));
            }
            Target::Pool { namespace, name } => {
                return Err(Problem::unavailable(format!(
                    "InferencePool {namespace}/{name} is no Service"
                )));
            }
        };
        let ready = self.endpoints.ready(namespace, name, port);
        if ready.is_empty() {
            return Err(Problem::unavailable(format!(
                "HTTPRoute {}: Service {namespace}/{name} port {port} has no ready endpoint; `kubectl -n {namespace} get pods` shows what is not ready",
                rule.route
            )));
        }
        Ok(round(&ready, &backend.round))
    }

    /// Makes of a client's request the one for the engine.
    async fn prepare(
        &self,
        request: Request<Incoming>,
        rule: &Rule,
        matched: &PathMatch,
    ) -> Result<Prepared, Problem> {
        let (mut parts, body) = request.into_parts();
        let path = match &rule.path {
            Some(rewrite) => rewrite_path(rewrite, matched, parts.uri.path()),
            None => parts.uri.path().to_owned(),
        };
        if shield::closed(&path) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                format!(
                    "{path} administers an engine and is not open through the gateway; ask the pod itself"
                ),
            ));
        }
        shield::headers(&mut parts.headers);
        // Before anything is added: a client must not declare away what this gateway or the route sets.
        remove_hop_by_hop(&mut parts.headers);
        if let Some(Peer(peer)) = parts.extensions.get::<Peer>() {
            forwarded(&mut parts.headers, *peer);
        }
        rule.request_headers.apply(&mut parts.headers);
        let authority = parts.uri.authority().cloned();
        if let Some(host) = rule.hostname.clone() {
            parts.headers.insert(header::HOST, host);
        } else if let Some(authority) = &authority
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            parts.headers.insert(header::HOST, host);
        }
        let bodiless = matches!(parts.method, http::Method::GET | http::Method::HEAD);
        let looked_at = !bodiless && shield::looks_at(&path);
        parts.uri = target(&path, parts.uri.query())?;
        parts.extensions = http::Extensions::new();
        if !looked_at {
            let content = Content::Passing(boxed(body));
            return Ok(Prepared { parts, content });
        }
        if let Some(encoding) = encoded(&parts.headers) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request_error",
                format!(
                    "bodies in content-encoding {encoding:?} are not taken here; send it as it is, without the header"
                ),
            ));
        }
        let (whole, room) = collect_in(body, MAX_BODY, &self.held)
            .await
            .map_err(|error| Problem::from(&error))?;
        let stripped =
            shield::body(&whole).map_err(|error| Problem::bad_request(error.to_string()))?;
        if stripped.len() != whole.len() {
            tracing::debug!(route = %rule.route, "Removed fields that clients must not send");
        }
        parts
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(stripped.len()));
        let content = Content::Whole(stripped, room);
        Ok(Prepared { parts, content })
    }
}

/// Room for the bytes of a body that is held whole; kept as long as they are.
type Room = Option<OwnedSemaphorePermit>;

/// A request as the engine is to get it.
struct Prepared {
    parts: Parts,
    content: Content,
}

enum Content {
    /// Still on its way.
    Passing(Body),
    /// In memory until it is sent.
    Whole(Bytes, Room),
}

impl Prepared {
    fn request(self) -> Request<Body> {
        let body = match self.content {
            Content::Passing(body) => body,
            Content::Whole(bytes, room) => guarded(full(bytes), room),
        };
        Request::from_parts(self.parts, body)
    }

    /// The request with its whole body, and the room that it takes of `held`.
    async fn whole(self, held: &Arc<Semaphore>) -> Result<(Parts, Bytes, Room), Problem> {
        let (bytes, room) = match self.content {
            Content::Whole(bytes, room) => (bytes, room),
            Content::Passing(body) => collect_in(body, MAX_BODY, held)
                .await
                .map_err(|error| Problem::from(&error))?,
        };
        Ok((self.parts, bytes, room))
    }
}

/// Returns what the body is packed in, if anything: fields could hide from the shield there.
fn encoded(headers: &http::HeaderMap) -> Option<String> {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .find(|value| !value.is_empty() && !value.eq_ignore_ascii_case("identity"))
}

/// Returns up to [`TRIES`] of `ready`, beginning with the one whose turn it is.
fn round(ready: &[SocketAddr], turn: &AtomicUsize) -> Vec<SocketAddr> {
    let start = turn.fetch_add(1, Ordering::Relaxed) % ready.len();
    ready
        .iter()
        .cycle()
        .skip(start)
        .take(ready.len().min(TRIES))
        .copied()
        .collect()
}

fn target(path: &str, query: Option<&str>) -> Result<Uri, Problem> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let path_and_query: uri::PathAndQuery = text
        .parse()
        .map_err(|_| Problem::bad_request(format!("the rewritten path {text:?} is not valid")))?;
    Ok(Uri::from(path_and_query))
}

fn forwarded(headers: &mut http::HeaderMap, peer: SocketAddr) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let mut chain = headers
        .get_all(FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect::<Vec<_>>()
        .join(", ");
    if !chain.is_empty() {
        chain.push_str(", ");
    }
    chain.push_str(&peer.ip().to_string());
    if let Ok(value) = HeaderValue::from_str(&chain) {
        headers.insert(FOR, value);
    }
    headers.insert(PROTO, HeaderValue::from_static("http"));
}

fn redirected(
    redirect: &RedirectTo,
    matched: &PathMatch,
    authority: &str,
    uri: &Uri,
) -> Result<Response<Body>, Problem> {
    let scheme = redirect.scheme.as_deref().unwrap_or("http");
    let host = match &redirect.hostname {
        Some(host) => host.clone(),
        None if authority.starts_with('[') => format!("[{}]", host_of(authority)),
        None => host_of(authority),
    };
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => None,
        (None, None) => authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok()),
    };
    let port = match (port, scheme) {
        (None | Some(80), "http") | (None | Some(443), "https") | (None, _) => String::new(),
        (Some(port), _) => format!(":{port}"),
    };
    let path = match &redirect.path {
        Some(rewrite) => rewrite_path(rewrite, matched, uri.path()),
        None => uri.path().to_owned(),
    };
    let query = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{scheme}://{host}{port}{path}{query}"))
        .map_err(|_| Problem::bad_request("the redirect's location is not valid"))?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

#[cfg(test)]
mod tests;
