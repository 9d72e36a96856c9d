//! What is planned equals what was recorded of the system that is replaced, but for the named differences.
//!
//! The effective spec is made from the recording itself: the pod that was created without what the plan adds,
//! the route with the pool as its backend.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_plan::{Certificate, Facts, ServiceIdentity};

fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let goldens = shared.join("goldens/controller");
    if goldens.is_dir() {
        return Some(goldens);
    }
    #[allow(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("SKIPPED: no recordings at {}", goldens.display());
    }
    None
}

fn documents(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn remove_named(list: &mut Value, name: &str) {
    list.as_array_mut()
        .unwrap()
        .retain(|item| item["name"] != name);
}

/// Removes what the API server fills in.
fn without_defaults(object: &mut Value) {
    const POD: [&str; 4] = [
        "dnsPolicy",
        "restartPolicy",
        "schedulerName",
        "securityContext",
    ];
    let drop = |value: &mut Value, keys: &[&str]| {
        for key in keys {
            value.as_object_mut().unwrap().remove(*key);
        }
    };
    match object["kind"].as_str().unwrap() {
        "Deployment" => {
            drop(
                &mut object["spec"],
                &[
                    "progressDeadlineSeconds",
                    "revisionHistoryLimit",
                    "strategy",
                ],
            );
            let pod = &mut object["spec"]["template"]["spec"];
            drop(pod, &POD);
            for container in pod["initContainers"].as_array_mut().unwrap() {
                drop(container, &["imagePullPolicy", "terminationMessagePath"]);
            }
            // Weir keeps the role out of the selector (workloads 4.3).
            object["spec"]["selector"]["matchLabels"]
                .as_object_mut()
                .unwrap()
                .remove("llm-d.ai/role");
        }
        "Service" => drop(
            &mut object["spec"],
            &[
                "internalTrafficPolicy",
                "ipFamilies",
                "ipFamilyPolicy",
                "sessionAffinity",
            ],
        ),
        _ => {}
    }
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
            ca: generated(),
            certificate: generated(),
            key: generated(),
            expiration: generated(),
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
        if ours["kind"] == "Deployment" && input["spec"].get("replicas").is_none() {
            ours["spec"]["replicas"] = json!(1);
        }
        assert_eq!(&ours, wanted, "{case}");
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
