//! The primary and the prefill workload as they are: conditions, and counts of what is ready.

use serde_json::{Value, json};
use weir_api::names::{ChildNames, Kind, condition, kind, label};

use super::conditions::Conditions;
use super::{Outcome, StatusInput, health};
use crate::role::Role;
use crate::{Error, Failure, present, scaling, text, workload};

/// The two workloads of a service: whether it is prefill, conditions on one node and in groups, key of the counts.
const WORKLOADS: [(bool, [&str; 2], &str); 2] = [
    (
        false,
        [
            condition::MAIN_WORKLOAD_READY,
            condition::WORKER_WORKLOAD_READY,
        ],
        "primary",
    ),
    (
        true,
        [
            condition::PREFILL_WORKLOAD_READY,
            condition::PREFILL_WORKER_WORKLOAD_READY,
        ],
        "prefill",
    ),
];

/// Sets the conditions of the workloads that the spec has, and removes those of the others.
pub(super) fn conditions(input: &StatusInput<'_>, spec: &Value, conditions: &mut Conditions) {
    match input.workloads {
        Outcome::NotRun => return,
        Outcome::Failed(failure) => {
            conditions.set_false(failure.condition, failure.reason, &failure.message)
        }
        Outcome::Done => {
            for (prefill, [one_node, groups], _) in WORKLOADS {
                let roles = roles(spec, prefill);
                let grouped = roles.iter().any(|role| role.is_grouped());
                let (used, unused) = if grouped {
                    (groups, one_node)
                } else {
                    (one_node, groups)
                };
                conditions.remove(unused);
                if roles.is_empty() {
                    conditions.remove(used);
                    continue;
                }
                let (_, _, live) = object(input, prefill, grouped);
                let pods: Vec<&Value> = input
                    .pods
                    .iter()
                    .filter(|pod| roles.iter().any(|role| is_of(pod, *role)))
                    .collect();
                conditions.set_health(used, &health::workload(live, grouped, &pods));
            }
            scaling_conditions(input, spec, conditions);
        }
    }
    conditions.aggregate(condition::WORKLOADS_READY, &condition::WORKLOADS_DEPENDENTS);
}

fn scaling_conditions(input: &StatusInput<'_>, spec: &Value, conditions: &mut Conditions) {
    for (condition, state) in scaling::states(input.service, spec, input.live) {
        match state {
            None => conditions.remove(condition),
            Some(scaling::Scaling::Ready) => conditions.set_true(condition),
            Some(scaling::Scaling::NotReady { reason, message }) => {
                conditions.set_false(condition, &reason, &message);
            }
        }
    }
}

/// `status.workloads`: what runs, and how many pods or groups of it are ready.
pub(super) fn counts(input: &StatusInput<'_>, spec: &Value) -> Value {
    let mut counts = json!({});
    for (prefill, _, key) in WORKLOADS {
        let roles = roles(spec, prefill);
        if roles.is_empty() {
            continue;
        }
        let grouped = roles.iter().any(|role| role.is_grouped());
        let (kind, name, live) = object(input, prefill, grouped);
        let ready = if grouped {
            "/status/readyReplicas"
        } else {
            "/status/availableReplicas"
        };
        let ready = live.and_then(|live| live.pointer(ready)?.as_i64());
        counts[key] = json!({
            "apiGroup": kind.group,
            "kind": kind.kind,
            "name": name,
            "readyReplicas": ready.unwrap_or(0),
        });
    }
    if crate::managed(spec) {
        let picker = input.scheduler.picker.as_deref();
        let ready = picker.and_then(|picker| picker.pointer("/status/availableReplicas")?.as_i64());
        counts["scheduler"] = json!({
            "apiGroup": kind::DEPLOYMENT.group,
            "kind": kind::DEPLOYMENT.kind,
            "name": ChildNames::new(&input.service.name).picker_deployment(),
            "readyReplicas": ready.unwrap_or(0),
        });
    }
    if input.service_exists {
        let name = ChildNames::new(&input.service.name).workload_service();
        counts["service"] = json!({"kind": kind::CORE_SERVICE.kind, "name": name});
    }
    counts
}

fn roles(spec: &Value, prefill: bool) -> Vec<Role> {
    let mut roles = Role::of(spec);
    roles.retain(|role| role.is_prefill() == prefill);
    roles
}

/// Kind and name of a workload's object, and the object if it exists.
fn object<'a>(
    input: &StatusInput<'a>,
    prefill: bool,
    grouped: bool,
) -> (Kind, String, Option<&'a Value>) {
    let (kind, name) = workload::object_of(input.service, prefill, grouped, input.live);
    let live = workload::find(input.live, kind, &name);
    (kind, name, live)
}

/// Whether the pod has the component of the role.
fn is_of(pod: &Value, role: Role) -> bool {
    text(
        pod,
        &format!("/metadata/labels/{}", label::COMPONENT.replace('/', "~1")),
    ) == role.component()
}

/// What the status tells of workloads that cannot be planned: where the field is that has to change.
#[must_use]
pub fn workload_failure(spec: &Value, error: &Error) -> Failure {
    let grouped = match error {
        Error::NoTemplate { field }
        | Error::NoMainContainer { field }
        | Error::NoAccount { field, .. } => {
            let prefill = field.starts_with("spec.prefill");
            present(
                spec,
                if prefill {
                    "/prefill/worker"
                } else {
                    "/worker"
                },
            )
        }
        _ => present(spec, "/worker"),
    };
    Failure::of_workload(grouped, error.to_string())
}

/// Kinds beyond every cluster's own that workloads may need, and where they come from.
const INSTALLED: [(Kind, &str); 2] = [
    (
        kind::LEADER_WORKER_SET,
        "install the LeaderWorkerSet operator",
    ),
    (
        kind::RESOURCE_CLAIM_TEMPLATE,
        "it comes with Kubernetes 1.34, or remove the service's device claim annotations",
    ),
];

/// Names the kind of a planned object of the workloads that the cluster does not have.
#[must_use]
pub fn workloads_not_served(objects: &[Value], served: impl Fn(Kind) -> bool) -> Option<Failure> {
    let planned = |kind: Kind| objects.iter().any(|object| object["kind"] == kind.kind);
    let (kind, remedy) = INSTALLED
        .into_iter()
        .find(|(kind, _)| planned(*kind) && !served(*kind))?;
    let message = format!(
        "this cluster does not serve {} of {}: {remedy}",
        kind.kind,
        kind.api_version()
    );
    let grouped = kind == kind::LEADER_WORKER_SET || !planned(kind::DEPLOYMENT);
    Some(Failure::of_workload(grouped, message))
}
