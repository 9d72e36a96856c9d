//! The one place where an error becomes an answer: JSON in the shape OpenAI clients understand, saying
//! what failed, where, and what to do.

use http::{HeaderValue, Response, StatusCode, header};
use weir_runtime::errors::chain;

use crate::body::{Body, TooLarge, full};
use crate::client::Error;

/// An answer that the proxy gives by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Status of the answer.
    pub status: StatusCode,
    /// Machine-readable kind, `error.type` of the body.
    pub kind: &'static str,
    /// What failed, where, and what to do.
    pub message: String,
    /// Seconds after which a new try makes sense.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Returns a problem of this status.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            retry_after: None,
        }
    }

    /// 400: the request itself is at fault.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 404: nothing is served there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", message)
    }

    /// 503: there is no one to answer right now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            message,
        );
        problem.retry_after = Some(1);
        problem
    }

    /// Returns the problem as JSON text.
    #[must_use]
    pub fn json(&self) -> String {
        format!(
            r#"{{"error":{{"message":{},"type":{},"param":null,"code":{}}}}}"#,
            quoted(&self.message),
            quoted(self.kind),
            self.status.as_u16()
        )
    }

    /// Returns the answer.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(full(self.json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let text = chain(error);
        match error {
            Error::NoUpstream => Self::unavailable(text),
            Error::Target(_) => Self::bad_request(text),
            Error::Connect { .. } => Self::unavailable(format!(
                "{text}; nothing was sent, try again, and look at the pod behind that address if it persists"
            )),
            Error::Upstream { .. } => Self::new(
                StatusCode::BAD_GATEWAY,
                "bad_gateway_error",
                format!(
                    "{text}; it may have begun to work on the request, so it was not sent again"
                ),
            ),
            Error::Timeout { .. } => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                format!("{text}; raise the route's timeout or use streaming"),
            ),
        }
    }
}

impl From<&TooLarge> for Problem {
    fn from(error: &TooLarge) -> Self {
        match error {
            TooLarge::Limit { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request_error",
                format!("{error}; send a smaller request"),
            ),
            TooLarge::Room => Self::unavailable(format!("{error}; try again")),
            TooLarge::Slow { .. } => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout_error",
                format!("{error}; send it again"),
            ),
            TooLarge::Read(_) => Self::bad_request(chain(error)),
        }
    }
}

fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_openai_shaped() {
        let problem = Problem::not_found("no \"route\"\n");
        assert_eq!(
            problem.json(),
            r#"{"error":{"message":"no \"route\"\u000a","type":"not_found_error","param":null,"code":404}}"#
        );
        assert_eq!(problem.response().status(), 404);
        assert_eq!(
            Problem::unavailable("x").response().headers()["retry-after"],
            "1"
        );
    }
}
