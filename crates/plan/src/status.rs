//! What was observed becomes the service's status: conditions, addresses, counts.
//!
//! Nothing is said to be ready that was not observed so, and what is not ready says why.

mod conditions;
mod health;
mod images;
mod pods;
mod router;
mod urls;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_api::names::{condition, reason};

use crate::{Group, ServiceIdentity, items, routing, stopped};
use conditions::Conditions;
pub use health::Health;
pub use images::ImageVolumes;
pub use router::{Metadata, ObservedScheduler};
pub use workloads::{workload_failure, workloads_not_served};

/// A step of the reconcile that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Condition that tells of it.
    pub condition: &'static str,
    /// Its reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

impl Failure {
    /// A step that made the object of a workload, on one node or in groups, did not succeed.
    #[must_use]
    pub fn of_workload(grouped: bool, message: String) -> Self {
        let (condition, reason) = if grouped {
            (
                condition::WORKER_WORKLOAD_READY,
                reason::RECONCILE_MULTI_NODE_ERROR,
            )
        } else {
            (
                condition::MAIN_WORKLOAD_READY,
                reason::RECONCILE_SINGLE_NODE_ERROR,
            )
        };
        Self {
            condition,
            reason,
            message,
        }
    }
}

/// How a step of the reconcile ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// An earlier step failed.
    #[default]
    NotRun,
    /// Done.
    Done,
    /// Failed.
    Failed(Failure),
}

/// A gateway that a route in use attaches to.
#[derive(Clone, Debug, Default)]
pub struct ObservedGateway {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The gateway, if it exists.
    pub object: Option<Value>,
    /// Whether its class exists.
    pub class_exists: bool,
    /// The Service in front of it, if there is one.
    pub service: Option<Value>,
}

/// Everything a status is made of.
#[derive(Clone, Debug)]
pub struct StatusInput<'a> {
    /// The service.
    pub service: &'a ServiceIdentity,
    /// `metadata.generation` of the service as it was read.
    pub generation: i64,
    /// The status as it was read; null when there is none.
    pub previous: &'a Value,
    /// The effective spec, if configs could be combined.
    pub spec: Option<&'a Value>,
    /// Pinned preset names by annotation key.
    pub pinned: &'a BTreeMap<String, String>,
    /// Configs that were merged: `{name, namespace, source}`, lowest precedence first.
    pub applied: &'a [Value],
    /// How combining configs ended.
    pub presets: &'a Outcome,
    /// What a user should hear of although configs could be combined; empty when there is nothing.
    pub notes: &'a str,
    /// How applying workloads ended.
    pub workloads: &'a Outcome,
    /// How applying routes ended.
    pub router: &'a Outcome,
    /// The Deployments, LeaderWorkerSets and autoscalers of the service as they are.
    pub live: &'a [Arc<Value>],
    /// Whether the workload Service exists.
    pub service_exists: bool,
    /// Pods of the service.
    pub pods: &'a [Value],
    /// What is there of the picker and its pool.
    pub scheduler: &'a ObservedScheduler,
    /// What the service's group is to it.
    pub group: Option<&'a Group>,
    /// The managed route as it should be.
    pub planned_route: Option<&'a Value>,
    /// The routes in use as they are: referenced ones in order, then the managed one.
    pub routes: &'a [Value],
    /// The gateways of these routes.
    pub gateways: &'a [ObservedGateway],
    /// Preferred scheme of URLs.
    pub url_scheme: &'a str,
    /// Domain of Services.
    pub cluster_domain: &'a str,
    /// Header of model-based routing.
    pub model_header: &'a str,
    /// Whether pods speak TLS.
    pub tls: bool,
    /// What is known of image volumes.
    pub image_volumes: ImageVolumes,
    /// Now, RFC 3339.
    pub now: &'a str,
}

/// Conditions of a service that runs nothing.
const STOPPED: [&str; 9] = [
    condition::MAIN_WORKLOAD_READY,
    condition::WORKER_WORKLOAD_READY,
    condition::PREFILL_WORKLOAD_READY,
    condition::PREFILL_WORKER_WORKLOAD_READY,
    condition::SCHEDULER_WORKLOAD_READY,
    condition::TOKENIZER_READY,
    condition::INFERENCE_POOL_READY,
    condition::GATEWAYS_READY,
    condition::HTTP_ROUTES_READY,
];

/// Returns the whole status of a service.
#[must_use]
pub fn status(input: &StatusInput<'_>) -> Value {
    if stopped(input.service) {
        return stopped_status(input);
    }
    let mut conditions = Conditions::read(input.previous);
    let mut status = base(input);

    match input.presets {
        Outcome::Done => conditions.set(condition::PRESETS_COMBINED, "True", "", input.notes),
        Outcome::Failed(failure) if failure.reason == reason::VALIDATION_UNAVAILABLE => {
            conditions.set(
                failure.condition,
                "Unknown",
                failure.reason,
                &failure.message,
            );
        }
        Outcome::Failed(failure) => {
            conditions.set_false(failure.condition, failure.reason, &failure.message)
        }
        Outcome::NotRun => {}
    }
    let mut complete = false;
    if let (Outcome::Done, Some(spec)) = (input.presets, input.spec) {
        workloads::conditions(input, spec, &mut conditions);
        images::conditions(input, spec, &mut conditions);
        if *input.router != Outcome::NotRun {
            complete = router::conditions(input, spec, &mut conditions, &mut status);
        }
    }
    let evaluated = [
        *input.presets != Outcome::NotRun,
        *input.workloads != Outcome::NotRun,
        *input.router != Outcome::NotRun,
    ];
    conditions.conclude(evaluated);
    status.insert(
        "conditions".to_owned(),
        conditions.write(input.previous, input.now),
    );
    match input.spec {
        Some(spec) if *input.workloads == Outcome::Done && complete => {
            status.insert("workloads".to_owned(), workloads::counts(input, spec));
        }
        _ => keep(input.previous, &mut status, "workloads"),
    }
    Value::Object(status)
}

/// Returns the whole status of a service that is stopped by its annotation.
#[must_use]
pub fn stopped_status(input: &StatusInput<'_>) -> Value {
    let mut conditions = Conditions::read(input.previous);
    let message = "Service is stopped";
    match input.presets {
        Outcome::Failed(failure) => conditions.set_false(
            condition::PRESETS_COMBINED,
            reason::STOPPED,
            &format!("{message} with warning: {}", failure.message),
        ),
        _ => conditions.set_true(condition::PRESETS_COMBINED),
    }
    for part in STOPPED {
        conditions.set_false(part, reason::STOPPED, message);
    }
    for gone in [
        condition::SCALING_READY,
        condition::PREFILL_SCALING_READY,
        condition::GROUP_READY,
        condition::GROUP_DEGRADED,
        condition::MODEL_METADATA_PUBLISHED,
        condition::OCI_IMAGE_VOLUME_COMPATIBLE,
    ] {
        conditions.remove(gone);
    }
    for (step, part) in [
        (input.workloads, condition::MAIN_WORKLOAD_READY),
        (input.router, condition::HTTP_ROUTES_READY),
    ] {
        if let Outcome::Failed(failure) = step {
            conditions.set_false(part, failure.reason, &failure.message);
        }
    }
    conditions.aggregate(condition::WORKLOADS_READY, &condition::WORKLOADS_DEPENDENTS);
    conditions.aggregate(condition::ROUTER_READY, &condition::ROUTER_DEPENDENTS);
    conditions.conclude([true; 3]);
    let mut status = base(input);
    status.insert(
        "conditions".to_owned(),
        conditions.write(input.previous, input.now),
    );
    for gone in ["url", "addresses", "router"] {
        status.remove(gone);
    }
    Value::Object(status)
}

/// Returns the status of a service that cannot go yet.
#[must_use]
pub fn awaiting_deletion(previous: &Value, awaited: &Failure, now: &str) -> Value {
    let mut conditions = Conditions::read(previous);
    conditions.set_false(awaited.condition, awaited.reason, &awaited.message);
    conditions.remove(condition::GROUP_DEGRADED);
    let mut status = previous.as_object().cloned().unwrap_or_default();
    status.insert("conditions".to_owned(), conditions.write(previous, now));
    Value::Object(status)
}

/// What every status has; routing as it was until it is observed anew.
fn base(input: &StatusInput<'_>) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("observedGeneration".to_owned(), json!(input.generation));
    if !input.pinned.is_empty() {
        status.insert("annotations".to_owned(), json!(input.pinned));
    }
    // Refused or not, it is known what was combined; of a service that does not run it is not asked anew.
    if !input.applied.is_empty() {
        status.insert("appliedConfigs".to_owned(), json!(input.applied));
    } else if stopped(input.service) {
        keep(input.previous, &mut status, "appliedConfigs");
    }
    for key in ["url", "addresses", "router"] {
        keep(input.previous, &mut status, key);
    }
    status
}

fn keep(previous: &Value, status: &mut Map<String, Value>, key: &str) {
    if let Some(value) = previous.get(key).filter(|value| !value.is_null()) {
        status.insert(key.to_owned(), value.clone());
    }
}

/// The gateways that the routes and the service's references name, without what is to be looked up.
#[must_use]
pub fn observed_gateways_of(
    routes: &[Value],
    spec: &Value,
    namespace: &str,
) -> Vec<ObservedGateway> {
    let mut found: Vec<ObservedGateway> = Vec::new();
    let mut add = |namespace: &str, name: &str| {
        if !name.is_empty()
            && !found
                .iter()
                .any(|g| g.namespace == namespace && g.name == name)
        {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            found.push(ObservedGateway {
                namespace,
                name,
                ..ObservedGateway::default()
            });
        }
    };
    for one in routes {
        for (namespace, name, _) in routing::parents(one) {
            add(namespace, name);
        }
    }
    for one in items(spec, "/router/gateway/refs") {
        let own = crate::text(one, "/namespace");
        add(
            if own.is_empty() { namespace } else { own },
            crate::text(one, "/name"),
        );
    }
    found
}
