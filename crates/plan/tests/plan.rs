//! Rules of single objects, as tables.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{Facts, ServiceIdentity, desired};

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "llama".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

fn spec() -> Value {
    json!({
        "model": {"uri": "hf://org/model", "name": "org/model"},
        "template": {"containers": [{"name": "main", "image": "engine"}]},
    })
}

fn deployment(spec: &Value, facts: &Facts) -> Value {
    let objects = desired(&service(), spec, facts).unwrap();
    objects
        .into_iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap()
}

/// A live object that is the service's primary Deployment.
fn named(mut live: Value) -> Value {
    live["kind"] = json!("Deployment");
    live["metadata"] = json!({"name": "llama-kserve"});
    live
}

#[test]
fn replicas_are_ours_only_when_the_service_sets_them() {
    let mut spec = spec();
    assert_eq!(
        deployment(&spec, &Facts::default()).pointer("/spec/replicas"),
        None
    );
    spec["replicas"] = json!(0);
    assert_eq!(deployment(&spec, &Facts::default())["spec"]["replicas"], 0);
}

#[test]
fn a_live_selector_stays_and_pods_match_it() {
    let live = named(
        json!({"spec": {"selector": {"matchLabels": {"llm-d.ai/role": "both", "old": "1"}}}}),
    );
    let facts = Facts {
        live: vec![Arc::new(live)],
        ..Facts::default()
    };
    let planned = deployment(&spec(), &facts);
    assert_eq!(
        planned["spec"]["selector"]["matchLabels"],
        json!({"llm-d.ai/role": "both", "old": "1"})
    );
    assert_eq!(
        planned["spec"]["template"]["metadata"]["labels"]["old"],
        "1"
    );
}

#[test]
fn gpus_follow_from_parallelism_unless_something_else_says() {
    let gpu = |spec: &Value, facts: &Facts| {
        let planned = deployment(spec, facts);
        planned
            .pointer("/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu")
            .cloned()
    };
    let mut spec = spec();
    assert_eq!(gpu(&spec, &Facts::default()), None);
    spec["parallelism"] = json!({"tensor": 2, "dataLocal": 3});
    assert_eq!(gpu(&spec, &Facts::default()), Some(json!("6")));
    let upstream = Facts {
        live: vec![Arc::new(named(
            json!({"spec": {"selector": {"matchLabels": {"llm-d.ai/role": "both"}}}}),
        ))],
        ..Facts::default()
    };
    assert_eq!(gpu(&spec, &upstream), None);
    spec["template"]["containers"][0]["resources"]["limits"]["amd.com/gpu"] = json!("1");
    assert_eq!(gpu(&spec, &Facts::default()), None);
}

#[test]
fn a_users_storage_initializer_keeps_its_resources_but_not_its_arguments() {
    let mut spec = spec();
    spec["template"]["initContainers"] = json!([
        {"name": "storage-initializer", "image": "mine", "args": ["x"], "resources": {"limits": {"cpu": "9"}}},
    ]);
    let init = deployment(&spec, &Facts::default())["spec"]["template"]["spec"]["initContainers"]
        [0]
    .clone();
    assert_eq!(init["args"], json!(["hf://org/model", "/mnt/models"]));
    assert_eq!(init["image"], "mine");
    assert_eq!(
        init["resources"]["limits"],
        json!({"cpu": "9", "memory": "1Gi"})
    );
}

#[test]
fn a_stopped_service_wants_nothing() {
    let mut service = service();
    service
        .annotations
        .insert("serving.kserve.io/stop".to_owned(), "True".to_owned());
    assert_eq!(
        desired(&service, &spec(), &Facts::default()),
        Ok(Vec::new())
    );
}
