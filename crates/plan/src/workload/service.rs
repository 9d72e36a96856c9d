//! The Services: over all pods that serve, over the prefill pods, and headless over the pool.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, label, port, value};

use crate::pod::workload_annotations;
use crate::{Facts, ServiceIdentity, strings, text};

pub(super) fn objects(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Vec<Value> {
    let names = ChildNames::new(&service.name);
    let mut all = vec![one(
        service,
        facts,
        &names.workload_service(),
        &labels(service, value::COMPONENT_WORKLOAD, spec),
        &workload_annotations(spec).collect(),
        &json!(workload_selector(service)),
    )];
    if let Some(prefill) = spec.get("prefill").filter(|prefill| prefill.is_object()) {
        let mut selector = workload_selector(service);
        selector.insert(label::ROLE, value::ROLE_PREFILL.to_owned());
        all.push(one(
            service,
            facts,
            &names.prefill_service(),
            &labels(service, value::COMPONENT_PREFILL, prefill),
            &workload_annotations(prefill).collect(),
            &json!(selector),
        ));
    }
    if let Some(selector) = pool_selector(service, spec) {
        let mut headless = one(
            service,
            facts,
            &names.headless_service(),
            &service.labels(value::COMPONENT_WORKLOAD),
            &BTreeMap::new(),
            &selector,
        );
        headless["spec"]["clusterIP"] = json!("None");
        all.push(headless);
    }
    all
}

/// Selects every pod that takes requests, prefill pods too.
fn workload_selector(service: &ServiceIdentity) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (label::NAME, service.name.clone()),
        (label::PART_OF, value::PART_OF.to_owned()),
        (label::KSERVE_COMPONENT, value::WORKLOAD.to_owned()),
    ])
}

/// The pods of the pool that the service has of its own; what a pool of somebody else selects is not known.
fn pool_selector(service: &ServiceIdentity, spec: &Value) -> Option<Value> {
    let scheduler = spec.pointer("/router/scheduler")?;
    if !scheduler.is_object() || !text(scheduler, "/pool/ref/name").is_empty() {
        return None;
    }
    let of_pool = scheduler.pointer("/pool/spec/selector/matchLabels");
    let of_pool = of_pool.filter(|labels| labels.as_object().is_some_and(|map| !map.is_empty()));
    Some(
        of_pool
            .cloned()
            .unwrap_or_else(|| json!(workload_selector(service))),
    )
}

fn labels(
    service: &ServiceIdentity,
    component: &str,
    workload: &Value,
) -> BTreeMap<String, String> {
    let mut labels = service.labels(component);
    labels.extend(strings(workload.get("labels")));
    labels
}

fn one(
    service: &ServiceIdentity,
    facts: &Facts,
    name: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    selector: &Value,
) -> Value {
    let scheme = if facts.tls { "https" } else { "http" };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": service.metadata(name, labels, annotations),
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{
                "name": scheme,
                "appProtocol": scheme,
                "port": port::SERVE,
                "targetPort": port::SERVE,
                "protocol": "TCP",
            }],
        },
    })
}
