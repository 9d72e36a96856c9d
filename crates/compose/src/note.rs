//! What a user should hear of although the spec is fine.

use std::fmt;

/// One thing to be told, as a warning of the command line or an event on the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind of thing, in the form of an event's reason.
    pub reason: &'static str,
    /// Path of the field, such as `spec.template`.
    pub path: String,
    /// What is to be told.
    pub message: String,
}

/// Words of a user that could not be placed, or were changed.
pub(crate) const ARGUMENTS: &str = "EngineArguments";
/// The engine's version is not known.
pub(crate) const VERSION: &str = "EngineVersionUnknown";
/// The picker's configuration has a plugin that is on its way out.
pub(crate) const DEPRECATED: &str = "DeprecatedPlugin";
/// A referenced configuration wants the latency predictor, whose containers only an inline one brings.
pub(crate) const LATENCY: &str = "LatencyPredictorConfigRef";

impl Note {
    pub(crate) fn new(reason: &'static str, path: impl Into<String>, message: String) -> Self {
        Self {
            reason,
            path: path.into(),
            message,
        }
    }
}

impl Note {
    /// Whether nothing is wrong, and something could be better.
    #[must_use]
    pub fn is_advice(&self) -> bool {
        self.reason == VERSION
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
