//! The pools, the Service over their pods and the model's metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_api::names::{ChildNames, Kind, annotation, kind, value};

use super::{SchedulerError, labels};
use crate::{Facts, ServiceIdentity, items, model_name, strings, text};

/// The kinds of model metadata; the first one that the cluster serves is used.
pub const METADATA_KINDS: [Kind; 3] = [
    kind::INFERENCE_MODEL,
    kind::INFERENCE_OBJECTIVE,
    kind::LLM_D_INFERENCE_OBJECTIVE,
];

/// The pools of the kinds that the cluster serves.
pub(super) fn pools(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, SchedulerError> {
    let pool = spec
        .pointer("/router/scheduler/pool/spec")
        .filter(|spec| spec.as_object().is_some_and(|spec| !spec.is_empty()))
        .ok_or(SchedulerError::NoPoolSpec)?;
    let object = |kind: Kind, spec: Value| {
        json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "metadata": service.metadata(&ChildNames::new(&service.name).pool(), &labels(service), &BTreeMap::new()),
            "spec": spec,
        })
    };
    let mut pools = Vec::new();
    if facts.router.serves(kind::INFERENCE_POOL) {
        pools.push(object(kind::INFERENCE_POOL, pool.clone()));
    }
    if facts.router.serves(kind::INFERENCE_POOL_ALPHA) {
        pools.push(object(kind::INFERENCE_POOL_ALPHA, older(pool)));
    }
    if pools.is_empty() {
        return Err(SchedulerError::NoPoolKind);
    }
    Ok(pools)
}

/// The spec of a pool as `v1alpha2` writes it.
fn older(pool: &Value) -> Value {
    let mut older = Map::new();
    if let Some(labels) = pool.pointer("/selector/matchLabels") {
        older.insert("selector".to_owned(), labels.clone());
    }
    if let Some(number) = pool.pointer("/targetPorts/0/number") {
        older.insert("targetPortNumber".to_owned(), number.clone());
    }
    if let Some(picker) = pool
        .get("endpointPickerRef")
        .filter(|picker| picker.is_object())
    {
        let mut extension = Map::new();
        for (from, to) in [
            ("/group", "group"),
            ("/kind", "kind"),
            ("/name", "name"),
            ("/port/number", "portNumber"),
            ("/failureMode", "failureMode"),
        ] {
            if let Some(value) = picker.pointer(from).filter(|value| !value.is_null()) {
                extension.insert(to.to_owned(), value.clone());
            }
        }
        older.insert("extensionRef".to_owned(), Value::Object(extension));
    }
    Value::Object(older)
}

/// The headless Service by whose name every pod of the pool is found.
pub(super) fn headless(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Value {
    let pool = &spec["router"]["scheduler"]["pool"]["spec"];
    let scheme = if facts.tls { "https" } else { "http" };
    let ports = items(pool, "/targetPorts");
    let ports: Vec<Value> = ports
        .iter()
        .enumerate()
        .map(|(index, target)| {
            let name = if index == 0 {
                scheme.to_owned()
            } else {
                format!("{scheme}-{}", index + 1)
            };
            json!({
                "name": name, "appProtocol": scheme, "protocol": "TCP",
                "port": target["number"], "targetPort": target["number"],
            })
        })
        .collect();
    json!({
        "apiVersion": kind::CORE_SERVICE.api_version(),
        "kind": kind::CORE_SERVICE.kind,
        "metadata": service.metadata(
            &ChildNames::new(&service.name).headless_service(),
            &service.labels(value::COMPONENT_WORKLOAD),
            &BTreeMap::new(),
        ),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": strings(pool.pointer("/selector/matchLabels")),
            "ports": ports,
        },
    })
}

/// The group of the pool in use: v1 where there is one.
pub(crate) fn group(facts: &Facts) -> &'static str {
    let pool = facts
        .router
        .pool
        .as_ref()
        .map(|pool| text(pool, "/apiVersion"));
    let old = match pool {
        Some(version) => version == kind::INFERENCE_POOL_ALPHA.api_version(),
        None => {
            !facts.router.serves(kind::INFERENCE_POOL)
                && facts.router.serves(kind::INFERENCE_POOL_ALPHA)
        }
    };
    if old {
        kind::INFERENCE_POOL_ALPHA.group
    } else {
        kind::INFERENCE_POOL.group
    }
}

/// Name of the pool in use: the one that is referred to, or our own.
pub(crate) fn name(service: &ServiceIdentity, spec: &Value) -> String {
    match text(spec, "/router/scheduler/pool/ref/name") {
        "" => ChildNames::new(&service.name).pool(),
        name => name.to_owned(),
    }
}

/// What is published about the model, in the newest kind that the cluster serves.
pub(super) fn metadata(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Option<Value> {
    let kind = METADATA_KINDS
        .into_iter()
        .find(|kind| facts.router.serves(*kind))?;
    let mut body = json!({
        "poolRef": {
            "group": group(facts),
            "kind": kind::INFERENCE_POOL.kind,
            "name": name(service, spec),
        },
    });
    let criticality = service.annotations.get(annotation::MODEL_CRITICALITY);
    if kind == kind::INFERENCE_MODEL {
        body["modelName"] = json!(model_name(service, spec));
        if let Some(criticality) = criticality {
            body["criticality"] = json!(criticality);
        }
    } else if let Some(priority) = criticality.and_then(|word| priority(word)) {
        body["priority"] = json!(priority);
    }
    Some(json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": service.metadata(&ChildNames::new(&service.name).model(), &labels(service), &BTreeMap::new()),
        "spec": body,
    }))
}

fn priority(criticality: &str) -> Option<i8> {
    match criticality {
        "Critical" => Some(1),
        "Standard" => Some(0),
        "Sheddable" => Some(-1),
        _ => None,
    }
}
