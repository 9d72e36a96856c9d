//! Admission of our kinds: defaults are filled in, broken rules refuse.

use serde_json::Value;

/// One reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The field.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// Machine-readable, as in the causes of a `Status`.
    pub reason: &'static str,
}

/// An object that is not admitted: 422 `Invalid`, with every reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}.serving.kserve.io {name:?} is invalid: {}", joined(causes))]
pub struct Refusal {
    /// Kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Every reason.
    pub causes: Vec<Cause>,
}

fn joined(causes: &[Cause]) -> String {
    let each = |cause: &Cause| format!("{}: {}", cause.field, cause.message);
    match causes {
        [cause] => each(cause),
        _ => format!(
            "[{}]",
            causes.iter().map(each).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Fills in the defaults of an object and checks its rules; objects of other kinds pass.
///
/// The rules see the object as it was sent: an integer `expert` is judged before it becomes a boolean.
///
/// # Errors
/// Every broken rule.
pub fn admit(object: &mut Value, old: Option<&Value>) -> Result<Vec<String>, Refusal> {
    let verdict = weir_api::validate::review(object, old);
    weir_api::default(object);
    if verdict.errors.is_empty() {
        return Ok(verdict.warnings.iter().map(ToString::to_string).collect());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = verdict
        .errors
        .into_iter()
        .map(|error| Cause {
            field: error.path,
            message: error.message,
            reason: error.broken.reason(),
        })
        .collect();
    Err(Refusal {
        kind: text(&object["kind"]),
        name: text(&object["metadata"]["name"]),
        causes,
    })
}
