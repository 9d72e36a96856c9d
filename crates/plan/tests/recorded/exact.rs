//! What is planned equals what was recorded of the system that is replaced, but for the named differences.
//!
//! The effective spec is made from the recording itself: the pod that was created without what the plan adds,
//! the route with the pool as its backend.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_plan::{CERTIFICATE_EXPIRATION, Certificate, Facts, ServiceIdentity};

use crate::files::{documents, recordings, without_defaults};

fn remove_named(list: &mut Value, name: &str) {
    list.as_array_mut()
        .unwrap()
        .retain(|item| item["name"] != name);
}

fn check(case: &str, name: &str) {
    let Some(goldens) = recordings() else { return };
    let mut recorded = documents(&goldens.join(case).join("objects.yaml"));
    recorded.iter_mut().for_each(without_defaults);
    let of_kind = |kind: &str| recorded.iter().find(|object| object["kind"] == kind);
    let input = documents(&goldens.join(case).join("input.yaml")).remove(0);
    let deployment = of_kind("Deployment").unwrap();

    let mut spec = input["spec"].clone();
    spec["annotations"] = json!({"serving.kserve.io/model-based-routing-enabled": "true"});
    spec["template"] = deployment["spec"]["template"]["spec"].clone();
    let template = &mut spec["template"];
    template.as_object_mut().unwrap().remove("initContainers");
    remove_named(&mut template["volumes"], "kserve-provision-location");
    remove_named(
        &mut template["containers"][0]["volumeMounts"],
        "kserve-provision-location",
    );
    if let Some(route) = of_kind("HTTPRoute") {
        let mut body = route["spec"].clone();
        for rule in body["rules"].as_array_mut().unwrap() {
            let backend = &mut rule["backendRefs"][0];
            backend["group"] = json!("inference.networking.k8s.io");
            backend["kind"] = json!("InferencePool");
            backend["name"] = json!(format!("{name}-inference-pool"));
        }
        spec["router"]["route"] = json!({"http": {"spec": body}});
    }

    let service = ServiceIdentity {
        name: name.to_owned(),
        namespace: deployment["metadata"]["namespace"]
            .as_str()
            .unwrap()
            .to_owned(),
        uid: "<uid>".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    };
    let generated = || "<generated>".to_owned();
    let facts = Facts {
        tls: true,
        certificate: Some(Certificate {
            ca: Some(generated()),
            certificate: generated(),
            key: generated(),
            expiration: Some((CERTIFICATE_EXPIRATION.to_owned(), generated())),
        }),
        ..Facts::default()
    };
    let planned = weir_plan::desired(&service, &spec, &facts).unwrap();
    assert_eq!(planned.len(), recorded.len(), "{case}");
    for wanted in &recorded {
        let ours = planned
            .iter()
            .find(|p| p["kind"] == wanted["kind"])
            .unwrap();
        let mut ours = ours.clone();
        let mut wanted = wanted.clone();
        without_defaults(&mut ours);
        // Weir keeps the role out of the selector (workloads 4.3).
        if let Some(labels) = wanted.pointer_mut("/spec/selector/matchLabels") {
            labels.as_object_mut().unwrap().remove("llm-d.ai/role");
        }
        assert_eq!(ours, wanted, "{case}");
    }
}

#[test]
fn the_basic_route_is_as_recorded() {
    check("basic-route", "llama");
}

#[test]
fn a_service_without_a_router_is_as_recorded() {
    check("minimal", "llama");
}

#[test]
fn the_opt_125m_sample_is_as_recorded() {
    check(
        "sample-opt-125m-cpu-llm-inference-service-facebook-opt-125m-cpu-no-scheduler",
        "facebook-opt-125m-single",
    );
}
