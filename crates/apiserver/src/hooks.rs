//! What a program adds to the store: admission of objects and conversion between versions.

use serde_json::Value;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an object.
    Update,
    /// Removal of an object.
    Delete,
}

/// One object on its way into the store.
pub struct AdmissionRequest<'a> {
    /// What the request does.
    pub operation: Operation,
    /// API group, empty for core.
    pub group: &'a str,
    /// Version of the request.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Subresource, empty for the object itself.
    pub subresource: &'a str,
    /// The new object, which the hook may change (defaulting); for a removal the old one.
    pub object: &'a mut Value,
    /// The stored object in the version of the request.
    pub old: Option<&'a Value>,
}

/// A hook's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// Reason such as `Invalid` or `Forbidden`.
    pub reason: String,
    /// Text for a person.
    pub message: String,
    /// (reason, message, field) of each fault.
    pub causes: Vec<(String, String, String)>,
}

/// Admission and conversion, filled in by the program that embeds the store.
pub trait Hooks: Send + Sync + 'static {
    /// Defaults and validates an object; returns warnings for the caller.
    ///
    /// # Errors
    /// The refusal that the caller gets.
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<Vec<String>, Refusal>;

    /// True when [`Hooks::convert`] converts the kinds of a group; other custom kinds keep their
    /// content, and only their `apiVersion` changes.
    fn converts(&self, group: &str) -> bool {
        let _ = group;
        false
    }

    /// Converts `object` to the `apiVersion` `to`.
    ///
    /// # Errors
    /// A text that says why it cannot be converted.
    fn convert(&self, object: Value, to: &str) -> Result<Value, String>;
}

/// Hooks that admit everything and only rename versions.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn admit(&self, _: &mut AdmissionRequest<'_>) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
    }

    fn convert(&self, mut object: Value, to: &str) -> Result<Value, String> {
        object["apiVersion"] = Value::from(to);
        Ok(object)
    }
}
