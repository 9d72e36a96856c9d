//! Which changes a server refuses, so that the object has to be made anew.

use kube::api::PropagationPolicy;
use serde_json::{Value, json};
use weir_api::names::{FIELD_MANAGER, Kind, kind};

use super::fields;

/// Whether the object is on its way out, or the server would refuse to change it into what is wanted.
pub(super) fn is_needed(kind: Kind, wanted: &Value, live: &Value) -> bool {
    if is_going(live) {
        return true;
    }
    let differs = |pointer: &str| wanted.pointer(pointer) != live.pointer(pointer);
    match kind {
        kind::DEPLOYMENT => differs("/spec/selector"),
        kind::ROLE_BINDING => differs("/roleRef"),
        kind::CORE_SERVICE => is_headless(wanted) != is_headless(live),
        kind::RESOURCE_CLAIM_TEMPLATE => {
            let live = fields::owned(live, FIELD_MANAGER);
            let spec = |of: &Value| without_defaults(of.get("spec"));
            !fields::same(&spec(wanted), &spec(&live))
        }
        _ => false,
    }
}

/// Whether the object is on its way out.
pub(super) fn is_going(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether the server, or an operator's webhook, says that a field cannot change.
pub(super) fn is_refused_change(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    matches!(status.code, 403 | 422) && status.message.contains("immutable")
}

/// What becomes of the objects below one that is made anew.
pub(super) fn dependents(kind: Kind) -> PropagationPolicy {
    match kind {
        // The sets below it have names that its successor needs: it goes after they have gone.
        kind::LEADER_WORKER_SET => PropagationPolicy::Foreground,
        // Pods run on: they belong to whoever selects them next.
        _ => PropagationPolicy::Orphan,
    }
}

/// A Service's address is given for life, and so is having none.
fn is_headless(service: &Value) -> bool {
    service.pointer("/spec/clusterIP") == Some(&json!("None"))
}

/// The spec of a claim template without what the server fills in, which whoever created it owns.
fn without_defaults(spec: Option<&Value>) -> Value {
    let mut spec = spec.cloned().unwrap_or_default();
    if let Some(fields) = spec.as_object_mut()
        && fields
            .get("metadata")
            .is_some_and(|metadata| *metadata == json!({}))
    {
        fields.remove("metadata");
    }
    let requests = spec.pointer_mut("/spec/devices/requests");
    for request in requests.and_then(Value::as_array_mut).into_iter().flatten() {
        let exactly = request.get_mut("exactly").and_then(Value::as_object_mut);
        let Some(exactly) = exactly else { continue };
        for (field, default) in [("allocationMode", json!("ExactCount")), ("count", json!(1))] {
            if exactly.get(field) == Some(&default) {
                exactly.remove(field);
            }
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_change_is_known_by_kind() {
        let service = |address: Value| json!({"spec": {"clusterIP": address, "ports": []}});
        let binding = |role: &str| json!({"roleRef": {"name": role}, "subjects": []});
        let deployment = |app: &str| json!({"spec": {"selector": {"matchLabels": {"app": app}}}});
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let rows = [
            (
                kind::CORE_SERVICE,
                service(json!("None")),
                service(json!("None")),
                false,
            ),
            (
                kind::CORE_SERVICE,
                service(json!("None")),
                service(json!("10.0.0.1")),
                true,
            ),
            (
                kind::CORE_SERVICE,
                service(Value::Null),
                service(json!("None")),
                true,
            ),
            (
                kind::CORE_SERVICE,
                service(Value::Null),
                service(json!("10.0.0.1")),
                false,
            ),
            (kind::ROLE_BINDING, binding("a"), binding("a"), false),
            (kind::ROLE_BINDING, binding("a"), binding("b"), true),
            (kind::DEPLOYMENT, deployment("a"), deployment("a"), false),
            (kind::DEPLOYMENT, deployment("a"), deployment("b"), true),
            (kind::SECRET, json!({}), json!({}), false),
            (kind::SECRET, json!({}), going, true),
        ];
        for (kind, wanted, live, anew) in rows {
            assert_eq!(
                is_needed(kind, &wanted, &live),
                anew,
                "{wanted} over {live}"
            );
        }
    }

    #[test]
    fn a_claim_template_is_compared_without_what_the_server_fills_in() {
        let template = |exactly: Value| json!({"spec": {"spec": {"devices": {"requests": [{"name": "device", "exactly": exactly}]}}}});
        let live = |exactly: Value| {
            let mut live = template(exactly);
            live["spec"]["metadata"] = json!({});
            live["metadata"] = json!({"managedFields": [{
                "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}},
            }]});
            live
        };
        let class = json!({"deviceClassName": "gpu"});
        let filled = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
        let two = json!({"deviceClassName": "gpu", "count": 2});
        let rows = [
            (&class, &filled, false),
            (&class, &two, true),
            (&two, &filled, true),
            (&two, &two, false),
        ];
        for (wanted, found, anew) in rows {
            let (wanted, live) = (template(wanted.clone()), live(found.clone()));
            assert_eq!(
                is_needed(kind::RESOURCE_CLAIM_TEMPLATE, &wanted, &live),
                anew,
                "{wanted}"
            );
        }
    }

    #[test]
    fn a_refusal_is_known_by_its_words() {
        let refusal = |code: u16, message: &str| {
            let mut status = kube::core::Status::failure(message, "Invalid");
            status.code = code;
            kube::Error::Api(Box::new(status))
        };
        let rows = [
            (
                422,
                "Deployment.apps \"a\" is invalid: spec.selector: field is immutable",
                true,
            ),
            (
                403,
                "admission webhook \"x\" denied the request: spec.size: field is immutable",
                true,
            ),
            (422, "spec.replicas: must be positive", false),
            (409, "immutable", false),
        ];
        for (code, message, wanted) in rows {
            assert_eq!(
                is_refused_change(&refusal(code, message)),
                wanted,
                "{message}"
            );
        }
    }
}
