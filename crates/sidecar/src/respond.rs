//! The one place for what a client reads of the sidecar's own: errors in the flat shape of llm-d's sidecar and in the
//! shape of the engine at once, so that every client library finds a message; Anthropic's shape on its route.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use weir_proxy::{Body, Error, TooLarge, empty, full};
use weir_runtime::errors::chain;

/// Route of Anthropic's API.
const MESSAGES: &str = "/v1/messages";

/// An answer that the sidecar gives by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Status of the answer.
    pub status: StatusCode,
    /// The label in metrics.
    pub reason: Reason,
    /// What failed, where, and what to do.
    pub message: String,
}

/// Why the sidecar answered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The body is no JSON that can be looked through.
    InvalidBody,
    /// The body is too large or did not arrive.
    Body,
    /// Nobody listens at the engine's port.
    EngineDown,
    /// The engine broke off, or TLS with it failed.
    Engine,
    /// The request names a prefill host.
    Prefill,
    /// The request names encoders.
    Encoder,
}

impl Reason {
    /// Every reason, in the order of the metrics page.
    pub const ALL: [Self; 6] = [
        Self::InvalidBody,
        Self::Body,
        Self::EngineDown,
        Self::Engine,
        Self::Prefill,
        Self::Encoder,
    ];

    /// Returns the label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidBody => "invalid_body",
            Self::Body => "body",
            Self::EngineDown => "engine_down",
            Self::Engine => "engine",
            Self::Prefill => "prefill_not_supported",
            Self::Encoder => "encoder_not_supported",
        }
    }
}

impl Problem {
    /// 501: remote prefill is asked for.
    #[must_use]
    pub fn prefill(target: &str) -> Self {
        Self {
            status: StatusCode::NOT_IMPLEMENTED,
            reason: Reason::Prefill,
            message: format!(
                "prefill on {target:?} was asked for, and this build has no transfer of KV blocks between engines; \
                 send the request without x-prefiller-host-port to have it prefilled here"
            ),
        }
    }

    /// 501: remote encoding is asked for.
    #[must_use]
    pub fn encoder() -> Self {
        Self {
            status: StatusCode::NOT_IMPLEMENTED,
            reason: Reason::Encoder,
            message: "remote encoding was asked for, and this build has no encoder stage; \
                      send the request without x-encoder-hosts-ports, or start the sidecar without --ec-connector"
                .to_owned(),
        }
    }

    /// 400: the body cannot be looked through.
    #[must_use]
    pub fn invalid_body(error: &weir_openai::shield::NotJson) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            reason: Reason::InvalidBody,
            message: error.to_string(),
        }
    }

    /// Returns the answer to a request for `path`.
    #[must_use]
    pub fn response(&self, path: &str) -> Response<Body> {
        let (kind, code) = (kind(self.status), self.status.as_u16());
        let body = if path == MESSAGES {
            json!({"type": "error", "error": {"type": kind, "message": self.message}})
        } else {
            json!({
                "object": "error",
                "message": self.message,
                "type": kind,
                "param": "",
                "code": code,
                "error": {"message": self.message, "type": kind, "param": null, "code": code},
            })
        };
        let mut response = Response::new(full(body.to_string()));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        if error.is_refusal() {
            return Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                reason: Reason::EngineDown,
                message: format!(
                    "{}: the model server beside this sidecar does not listen; it may be starting, else compare its port with --model-server-port",
                    chain(error)
                ),
            };
        }
        Self {
            status: StatusCode::BAD_GATEWAY,
            reason: Reason::Engine,
            message: chain(error),
        }
    }
}

impl From<&TooLarge> for Problem {
    fn from(error: &TooLarge) -> Self {
        let status = match error {
            TooLarge::Limit { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            TooLarge::Room => StatusCode::SERVICE_UNAVAILABLE,
            TooLarge::Slow { .. } => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self {
            status,
            reason: Reason::Body,
            message: chain(error),
        }
    }
}

/// The `type` of an error, by status, as llm-d's sidecar names it.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_GATEWAY => "BadGateway",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        StatusCode::NOT_IMPLEMENTED => "NotImplementedError",
        status if status.is_client_error() => "BadRequestError",
        _ => "InternalServerError",
    }
}

/// 307 to the canonical form of a path.
#[must_use]
pub fn redirect(location: &str, readable: bool) -> Response<Body> {
    let mut response = if readable {
        let text = location.replace('&', "&amp;").replace('<', "&lt;");
        let text = text.replace('>', "&gt;").replace('"', "&#34;");
        let body = format!("<a href=\"{text}\">Temporary Redirect</a>.\n\n");
        let mut response = Response::new(full(body));
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        response
    } else {
        Response::new(empty())
    };
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    // What was a request target is a header value.
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// An answer without body.
#[must_use]
pub fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}
