//! Admission and conversion of Weir's own kinds, by the same functions that the webhooks call.

use serde_json::Value;
use weir_apiserver::{AdmissionRequest, Hooks, Operation, Refusal};

use crate::files::Source;

/// What is wrong in the documents, one line each: `file:line:column: field: what; what to do`.
pub fn review(sources: &[Source]) -> Vec<String> {
    let documents = sources.iter().map(|source| &source.document);
    let findings = weir_review::review(documents, &weir_review::Options::default());
    findings.iter().map(ToString::to_string).collect()
}

/// The store's hooks on one machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalHooks;

impl Hooks for LocalHooks {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<Vec<String>, Refusal> {
        let ours = request.group == weir_api::names::GROUP && request.subresource.is_empty();
        if !ours {
            return Ok(Vec::new());
        }
        if request.operation == Operation::Delete {
            return weir_review::admit_deletion(request.object, weir_api::names::SYSTEM_NAMESPACE)
                .map(|()| Vec::new())
                .map_err(|refusal| refused(403, "Forbidden", refusal));
        }
        weir_review::admit(request.object, request.old)
            .map_err(|refusal| refused(422, "Invalid", refusal))
    }

    fn converts(&self, group: &str) -> bool {
        group == weir_api::names::GROUP
    }

    fn convert(&self, object: Value, to: &str) -> Result<Value, String> {
        weir_api::convert(object, to).map_err(|error| error.to_string())
    }
}

fn refused(code: u16, reason: &str, refusal: weir_review::Refusal) -> Refusal {
    Refusal {
        code,
        reason: reason.to_owned(),
        message: refusal.to_string(),
        causes: refusal
            .causes
            .into_iter()
            .map(|cause| (cause.reason.to_owned(), cause.message, cause.field))
            .collect(),
    }
}
