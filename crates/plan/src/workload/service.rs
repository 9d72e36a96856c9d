//! The Services over all pods that serve, and over the prefill pods.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, label, port, value};

use crate::pod::workload_annotations;
use crate::{Facts, ServiceIdentity, strings};

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
