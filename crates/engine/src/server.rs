//! The HTTP API.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use weir_openai::{Api, ApiError};
use weir_runtime::http::{Body, empty, full};
use weir_vllm::transfer;

use crate::core::Core;
use crate::options::Options;
use crate::{answer, page};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RANK: HeaderName = HeaderName::from_static("x-data-parallel-rank");
const SIMULATED: HeaderName = HeaderName::from_static(transfer::SIMULATED_HEADER);

/// The server of one engine.
pub struct Server {
    pub(crate) options: Options,
    core: Arc<Core>,
    pub(crate) fingerprint: String,
    /// Id of this engine among those that exchange blocks.
    pub(crate) engine_id: String,
    created: u64,
    port: u16,
}

impl Server {
    /// A server that listens on `port`.
    #[must_use]
    pub fn new(options: Options, port: u16) -> Self {
        let core = Arc::new(Core::new(options.engine.clone(), options.window));
        let digest = crate::text::hash(&options.model) & 0xFFFF_FFFF;
        Self {
            fingerprint: format!("vllm-{}-{digest:08x}", weir_vllm::VERSION),
            engine_id: uuid::Uuid::new_v4().to_string(),
            created: unix_seconds(),
            options,
            core,
            port,
        }
    }

    /// The engine behind it.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let id = request.headers().get(&REQUEST_ID).cloned();
        let mut response = match self.route(request).await {
            Ok(response) => response,
            Err(error) => error_response(&error),
        };
        let headers = response.headers_mut();
        headers.insert(SIMULATED, HeaderValue::from_static(transfer::SIMULATED));
        if self.options.id_headers {
            let made = || HeaderValue::from_str(&uuid::Uuid::new_v4().simple().to_string()).ok();
            if let Some(id) = id.or_else(made) {
                headers.insert(REQUEST_ID, id);
            }
        }
        for (name, variable) in [
            ("x-inference-pod", "POD_NAME"),
            ("x-inference-namespace", "POD_NAMESPACE"),
        ] {
            if let Some(value) = std::env::var(variable)
                .ok()
                .and_then(|text| HeaderValue::from_str(&text).ok())
            {
                if variable == "POD_NAME" {
                    headers.insert("x-inference-port", HeaderValue::from(self.port));
                }
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
        let path = request.uri().path().to_owned();
        let Some(allowed) = methods(&path) else {
            return Ok(redirect(&request, self.options.tls.is_some())
                .unwrap_or_else(|| detail(StatusCode::NOT_FOUND, "Not Found")));
        };
        if !allowed.contains(request.method()) {
            let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
            let names = allowed
                .iter()
                .map(Method::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            if let Ok(value) = HeaderValue::from_str(&names) {
                response.headers_mut().insert(ALLOW, value);
            }
            return Ok(response);
        }
        if path.starts_with("/v1/") && !self.authorized(&request) {
            return Ok(json_response(
                StatusCode::UNAUTHORIZED,
                &json!({"error": "Unauthorized"}),
            ));
        }
        Ok(match path.as_str() {
            "/health" | "/ping" => Response::new(empty()),
            "/health/ready" | "/ready" => {
                let mut response = Response::new(empty());
                if self.core.age() < self.options.startup {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                }
                response
            }
            "/version" => json_response(StatusCode::OK, &json!({"version": weir_vllm::VERSION})),
            "/load" => {
                let (gauges, _) = self.core.snapshot();
                json_response(
                    StatusCode::OK,
                    &json!({"server_load": gauges.running + gauges.waiting}),
                )
            }
            "/metrics" => {
                let mut response = Response::new(full(page::write(&self.core, &self.options)));
                let kind = HeaderValue::from_static(weir_promtext::write::CONTENT_TYPE);
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            "/v1/models" => json_response(StatusCode::OK, &self.models()),
            "/v1/completions" => self.generate(Api::Text, request).await?,
            _ => self.generate(Api::Chat, request).await?,
        })
    }

    fn authorized(&self, request: &Request<Incoming>) -> bool {
        if self.options.api_keys.is_empty() {
            return true;
        }
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let Some(given) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            return false;
        };
        // Every byte of every key is looked at, so that the time says nothing about them.
        self.options.api_keys.iter().fold(false, |found, key| {
            let differs = key.len() != given.len()
                || key
                    .bytes()
                    .zip(given.bytes())
                    .fold(0, |all, (a, b)| all | (a ^ b))
                    != 0;
            found | !differs
        })
    }

    async fn generate(
        &self,
        api: Api,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        let kind = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            return Err(ApiError::shape(
                None,
                "Unsupported Media Type: Only 'application/json' is allowed",
            ));
        }
        let rank = request
            .headers()
            .get(RANK)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<i64>().ok());
        let ranks = self.options.ranks;
        if let Some(rank) = rank
            && !u64::try_from(rank).is_ok_and(|rank| rank < ranks)
        {
            let message = format!("data_parallel_rank {rank} is out of range [0, {ranks}).");
            return Err(ApiError::bad_request(message, None));
        }
        let id = request
            .headers()
            .get(&REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| !id.is_empty())
            .map(str::to_owned);
        let limit = self.options.body_limit;
        let body = match Limited::new(request.into_body(), limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(ApiError::too_large(limit));
            }
            Err(_) => {
                return Ok(detail(
                    StatusCode::BAD_REQUEST,
                    "There was an error parsing the body",
                ));
            }
        };
        if std::str::from_utf8(&body).is_err() {
            return Ok(detail(
                StatusCode::BAD_REQUEST,
                "There was an error parsing the body",
            ));
        }
        answer::answer(self, api, &body, id.as_deref()).await
    }

    fn models(&self) -> Value {
        let card = |id: &str, root: &str, parent: Option<&str>, window: Option<u64>| {
            json!({
                "id": id, "object": "model", "created": self.created, "owned_by": "vllm", "root": root,
                "parent": parent, "max_model_len": window,
                "permission": [{
                    "id": format!("modelperm-{:016x}", crate::text::hash(id)), "object": "model_permission",
                    "created": self.created, "allow_create_engine": false, "allow_sampling": true,
                    "allow_logprobs": true, "allow_search_indices": false, "allow_view": true,
                    "allow_fine_tuning": false, "organization": "*", "group": null, "is_blocking": false,
                }],
            })
        };
        let options = &self.options;
        let base = options
            .names
            .first()
            .map_or(options.model.as_str(), String::as_str);
        let served = options
            .names
            .iter()
            .map(|name| card(name, &options.model, None, Some(options.window)));
        let adapters = options
            .adapters
            .iter()
            .map(|(name, path)| card(name, path, Some(base), None));
        json!({"object": "list", "data": served.chain(adapters).collect::<Vec<_>>()})
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "answers carry the time of day; nothing depends on it"
)]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The methods of a route, or `None` when there is no such route.
fn methods(path: &str) -> Option<&'static [Method]> {
    Some(match path {
        "/health" | "/health/ready" | "/ready" | "/v1/models" | "/version" | "/load"
        | "/metrics" => &[Method::GET],
        "/ping" => &[Method::GET, Method::POST],
        "/v1/completions" | "/v1/chat/completions" => &[Method::POST],
        _ => return None,
    })
}

/// The way from a route with a slash too many to the route.
fn redirect(request: &Request<Incoming>, tls: bool) -> Option<Response<Body>> {
    let path = request.uri().path().strip_suffix('/')?;
    methods(path)?;
    let host = request.headers().get(HOST)?.to_str().ok()?;
    let scheme = if tls { "https" } else { "http" };
    let location = HeaderValue::from_str(&format!("{scheme}://{host}{path}")).ok()?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Some(response)
}

pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    raw(status, body.to_string())
}

fn error_response(error: &ApiError) -> Response<Body> {
    raw(error.status, error.body())
}

fn detail(status: StatusCode, text: &str) -> Response<Body> {
    json_response(status, &json!({"detail": text}))
}

fn raw(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
