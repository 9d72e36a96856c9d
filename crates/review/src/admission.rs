//! Admission of our kinds: defaults are filled in, broken rules refuse.

use serde_json::Value;
use weir_api::names;
use weir_api::validate::{Broken, FieldError, Verdict};

use crate::shapes;

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
    let mut verdict = weir_api::validate::review(object, old);
    if verdict.errors.is_empty() {
        render_config(object, old, &mut verdict);
    }
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

/// Whether an object may be deleted, and what to say of it: presets of the system's namespace stay.
///
/// # Errors
/// When it may not.
pub fn admit_deletion(object: &Value, system_namespace: &str) -> Result<(), Refusal> {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let is_preset = object["kind"] == names::CONFIG_KIND && shapes::is_well_known(name);
    if !is_preset || metadata["namespace"] != system_namespace {
        return Ok(());
    }
    let message = format!(
        "a preset of namespace {system_namespace} is part of the installation; change it instead, or put a config of \
         the same name into the namespace of the services"
    );
    Err(Refusal {
        kind: names::CONFIG_KIND.to_owned(),
        name: name.to_owned(),
        causes: vec![Cause {
            field: "metadata.name".to_owned(),
            message,
            reason: Broken::Forbidden.reason(),
        }],
    })
}

/// Renders a config, and notes when a preset loses something.
pub(crate) fn render_config(object: &Value, old: Option<&Value>, verdict: &mut Verdict) {
    let terminating = !object["metadata"]["deletionTimestamp"].is_null();
    // Whoever only sets a label or a finalizer does not answer for the rest.
    let is_same = old.is_some_and(|old| old["spec"] == object["spec"]);
    if object["kind"] != names::CONFIG_KIND || terminating || is_same {
        return;
    }
    let hub = |object: &Value| weir_api::convert(object.clone(), names::VERSION);
    let Ok(new) = hub(object) else {
        return;
    };
    let found = |(path, message): (String, String)| FieldError {
        path,
        message,
        broken: Broken::Invalid,
    };
    let rendered = shapes::render(&new);
    verdict.errors.extend(rendered.error.map(found));
    verdict
        .warnings
        .extend(rendered.warnings.into_iter().map(found));
    let is_preset = shapes::is_well_known(new["metadata"]["name"].as_str().unwrap_or_default());
    let before = old.and_then(|old| hub(old).ok());
    if is_preset && before.is_some_and(|old| !shapes::contains(&new["spec"], &old["spec"])) {
        let message = "changing what a preset says is discouraged, since every service that has it changes too; use \
                       a config of your own in baseRefs";
        verdict
            .warnings
            .push(found(("spec".to_owned(), message.to_owned())));
    }
}
