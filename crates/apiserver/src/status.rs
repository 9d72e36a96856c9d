//! Errors of the API, answered as `metav1.Status` with Kubernetes' own reasons and texts.

use serde_json::{Value, json};

use crate::registry::Resource;

/// A refusal or failure of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// CamelCase reason, empty for none.
    pub reason: &'static str,
    /// Text for a person.
    pub message: String,
    /// `details` of the status, null for none.
    pub details: Value,
}

/// Result of a request handler.
pub type ApiResult<T> = Result<T, ApiError>;

impl std::fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// Returns an error without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    /// The request is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The server failed.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
    }

    /// No such path.
    pub fn no_path() -> Self {
        let message = "the server could not find the requested resource";
        let mut error = Self::new(404, "NotFound", message);
        error.details = json!({});
        error
    }

    /// The options of a request (`ListOptions` and the like) are not valid; `causes` as for [`Self::invalid`].
    pub fn invalid_options(kind: &str, causes: &[(String, String, String)]) -> Self {
        let mut error = Self::invalid_kind(&format!("{kind}.meta.k8s.io"), "", causes);
        error.details["group"] = json!("meta.k8s.io");
        error.details["kind"] = json!(kind);
        error
    }

    /// There is no room for the request now.
    pub fn too_many(message: &str) -> Self {
        let mut error = Self::new(429, "TooManyRequests", message);
        error.details = json!({"retryAfterSeconds": 1});
        error
    }

    /// The version asked for is no longer, or not yet, in the watch history.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(
            410,
            "Expired",
            format!("too old resource version: {asked} ({oldest})"),
        )
    }

    /// The object is absent.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let mut error = Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", resource.qualified()),
        );
        error.details = details(resource, name);
        error
    }

    /// The object is there already.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        let mut error = Self::new(409, "AlreadyExists", message);
        error.details = details(resource, name);
        error
    }

    /// The object changed since the caller read it, or the change may not be made now.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            resource.qualified()
        );
        let mut error = Self::new(409, "Conflict", message);
        error.details = details(resource, name);
        error
    }

    /// The stored version differs from the one the caller sent.
    pub fn stale(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(resource, name, why)
    }

    /// The change is not allowed.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        let mut error = Self::new(403, "Forbidden", message);
        error.details = details(resource, name);
        error
    }

    /// The object is not valid; `causes` are (reason, message, field).
    pub fn invalid(resource: &Resource, name: &str, causes: &[(String, String, String)]) -> Self {
        let kind = if resource.group.is_empty() {
            resource.kind.clone()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let mut error = Self::invalid_kind(&kind, name, causes);
        let mut details = details(resource, name);
        details["kind"] = json!(resource.kind);
        details["causes"] = error.details["causes"].take();
        error.details = details;
        error
    }

    fn invalid_kind(kind: &str, name: &str, causes: &[(String, String, String)]) -> Self {
        let texts: Vec<String> = causes
            .iter()
            .map(|(_, message, field)| format!("{field}: {message}"))
            .collect();
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut error = Self::new(
            422,
            "Invalid",
            format!("{kind} {name:?} is invalid: {text}"),
        );
        let causes: Vec<Value> = causes
            .iter()
            .map(|(reason, message, field)| {
                json!({"reason": reason, "message": message, "field": field})
            })
            .collect();
        error.details = json!({"causes": causes});
        error
    }

    /// The verb is not served here.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut error = Self::new(405, "MethodNotAllowed", message);
        error.details = json!({});
        error
    }

    /// Returns the `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

fn details(resource: &Resource, name: &str) -> Value {
    let mut details = json!({"kind": resource.plural});
    if !name.is_empty() {
        details["name"] = json!(name);
    }
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    details
}
