//! Error bodies as the vLLM engine writes them.

use http::StatusCode;
use serde::Serialize;

/// An error of an OpenAI-compatible API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Status of the answer.
    pub status: StatusCode,
    /// Kind of error, such as `BadRequestError`.
    pub kind: &'static str,
    /// What is wrong.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
}

#[derive(Serialize)]
struct Outer<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: u16,
}

impl ApiError {
    /// A value that the engine refuses; `param` names the field.
    #[must_use]
    pub fn bad_request(message: impl Into<String>, param: Option<&str>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "BadRequestError",
            message: message.into(),
            param: param.map(str::to_owned),
        }
    }

    /// A body that does not have the right shape at `place` (`body`, `body.messages`, …).
    #[must_use]
    pub fn shape(place: Option<&str>, detail: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "Bad Request",
            message: format!("1 validation error:\n  {detail}"),
            param: place.map(str::to_owned),
        }
    }

    /// A field of the wrong type or without a value.
    #[must_use]
    pub fn field(place: &str, kind: &str, message: &str, input: &str) -> Self {
        let detail = format!(
            "{{'type': '{kind}', 'loc': '{place}', 'msg': '{message}', 'input': '{input}'}}"
        );
        Self::shape(Some(place), &detail)
    }

    /// A model that is not served here; `aliases` are those that are.
    #[must_use]
    pub fn unknown_model(model: &str, aliases: &[String]) -> Self {
        let aliases = aliases.join(", ");
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "NotFoundError",
            message: format!("The model `{model}` does not exist. Valid aliases: {aliases}."),
            param: Some("model".to_owned()),
        }
    }

    /// A full queue.
    #[must_use]
    pub fn busy() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "Service Unavailable",
            message: "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.".to_owned(),
            param: None,
        }
    }

    /// A queue that is full by the simulator's own bound.
    #[must_use]
    pub fn queue_full() -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            kind: "RateLimitError",
            message: "Failed to enqueue request, waiting requests queue is full".to_owned(),
            param: None,
        }
    }

    /// A body above the limit.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            kind: "APIConnectionError",
            message: format!(
                "the request body is larger than {limit} bytes; send a shorter request"
            ),
            param: None,
        }
    }

    /// A failure of the server.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "InternalServerError",
            message: message.into(),
            param: None,
        }
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> String {
        let outer = Outer {
            error: Inner {
                message: &self.message,
                kind: self.kind,
                param: self.param.as_deref(),
                code: self.status.as_u16(),
            },
        };
        // Strings and numbers alone cannot fail.
        serde_json::to_string(&outer).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_the_engine_s() {
        let error = ApiError::unknown_model("x", &["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            error.body(),
            r#"{"error":{"message":"The model `x` does not exist. Valid aliases: a, b.","type":"NotFoundError","param":"model","code":404}}"#
        );
    }
}
