//! Pods on many nodes: a LeaderWorkerSet each for the primary and for prefill, whose replicas are groups.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, Kind, kind};

use super::{deployment, find};
use crate::pod::{self, Context};
use crate::{Error, ServiceIdentity};

pub(super) const KIND: Kind = kind::LEADER_WORKER_SET;

/// The name of a set that we make.
pub(crate) fn own_name(service: &ServiceIdentity, prefill: bool) -> String {
    let names = ChildNames::new(&service.name);
    if prefill {
        names.prefill_lws()
    } else {
        names.lws()
    }
}

/// The set's name. A set that an existing installation made keeps its name, for everything that follows it.
pub(super) fn name(service: &ServiceIdentity, prefill: bool, live: &[Arc<Value>]) -> String {
    let names = ChildNames::new(&service.name);
    let upstream = if prefill {
        names.upstream_prefill_lws()
    } else {
        names.upstream_lws()
    };
    if find(live, KIND, &upstream).is_some() {
        upstream
    } else {
        own_name(service, prefill)
    }
}

pub(super) fn object(leader: Option<&Context<'_>>, worker: &Context<'_>) -> Result<Value, Error> {
    let service = worker.service;
    let workers = pod::template(worker)?;
    let labels = workers.labels.clone();
    let size = size(worker.workload);
    let mut template = json!({"restartPolicy": "RecreateGroupOnPodRestart"});
    if let Some(size) = size {
        template["size"] = json!(size);
        if worker.role.is_prefill() && is_data_parallel(worker.workload) {
            template["subGroupPolicy"] = json!({"subGroupSize": size});
        }
    }
    if let Some(leader) = leader {
        template["leaderTemplate"] = pod::template(leader)?.into_value();
    }
    template["workerTemplate"] = workers.into_value();
    let mut rollout = json!({"type": "RollingUpdate"});
    if let Some(limits) = deployment::rollout(worker.workload) {
        let limit = |name: &str, default: u32| match limits.get(name) {
            Some(limit) if !limit.is_null() => limit.clone(),
            _ => json!(default),
        };
        rollout["rollingUpdateConfiguration"] = json!({
            "maxUnavailable": limit("maxUnavailable", 1),
            "maxSurge": limit("maxSurge", 0),
        });
    }
    let mut spec = json!({
        "leaderWorkerTemplate": template,
        "rolloutStrategy": rollout,
        "startupPolicy": "LeaderCreated",
    });
    if let Some(replicas) = deployment::replicas(worker.workload) {
        spec["replicas"] = replicas.clone();
    }
    let name = name(service, worker.role.is_prefill(), &worker.facts.live);
    Ok(json!({
        "apiVersion": KIND.api_version(),
        "kind": KIND.kind,
        "metadata": service.metadata(&name, &labels, &pod::object_annotations(worker)),
        "spec": spec,
    }))
}

/// Pods of a group: the nodes that data parallelism takes, else those of pipeline parallelism.
fn size(workload: &Value) -> Option<u64> {
    if is_data_parallel(workload) {
        let local = factor(workload, "dataLocal").unwrap_or(1);
        let all = factor(workload, "data").unwrap_or(1);
        return Some((all / local).max(1));
    }
    factor(workload, "pipeline")
}

fn is_data_parallel(workload: &Value) -> bool {
    factor(workload, "data").is_some() || factor(workload, "dataLocal").is_some()
}

/// A positive factor of `parallelism`.
fn factor(workload: &Value, name: &str) -> Option<u64> {
    workload
        .get("parallelism")?
        .get(name)?
        .as_u64()
        .filter(|factor| *factor > 0)
}
