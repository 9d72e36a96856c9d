//! What is wrong with what a service comes to: the rules of the API and its schema.

use std::sync::LazyLock;

use serde_json::{Value, json};
use weir_api::names;
use weir_api::validate::{Broken, FieldError, Verdict, validate_effective};
use weir_schema::Node;

use crate::kinds::{Kinds, Known};

/// Schema of a service as it is stored.
static SERVICE: LazyLock<Option<Node>> =
    LazyLock::new(
        || match Kinds::default().get(names::API_VERSION, names::SERVICE_KIND) {
            Known::Schema(node) => Some(*node),
            Known::Unchecked | Known::Unknown(_) => None,
        },
    );

/// The verdict on the effective spec of a service. A field that the schema does not know is none of its
/// business: it may be newer than this program.
#[must_use]
pub fn review_effective(service: &Value, effective: &Value) -> Verdict {
    let mut verdict = validate_effective(service, effective, None);
    let Some(node) = &*SERVICE else {
        return verdict;
    };
    let mut whole = json!({
        "apiVersion": names::API_VERSION,
        "kind": names::SERVICE_KIND,
        "metadata": {"name": service["metadata"]["name"]},
        "spec": weir_compose::as_sent(effective),
    });
    node.prune(&mut whole);
    node.default(&mut whole);
    for violation in node.validate(&whole) {
        let known = verdict.errors.iter().any(|e| e.path == violation.path);
        if !known {
            verdict.errors.push(FieldError {
                path: violation.path,
                message: violation.message,
                broken: if violation.reason == "FieldValueRequired" {
                    Broken::Required
                } else {
                    Broken::Invalid
                },
            });
        }
    }
    verdict
}
