//! Conversion both ways: the worked example, round trips, and objects that are not whole.

use serde_json::{Value, json};

use super::{ConvertError, convert};
use crate::names::annotation;

fn service(version: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("serving.kserve.io/{version}"),
        "kind": "LLMInferenceService",
        "metadata": {"name": "m"},
        "spec": spec,
    })
}

#[test]
fn an_old_object_becomes_new_and_old_again() {
    let old = service(
        "v1alpha1",
        &json!({
            "model": {"uri": "hf://a/b", "criticality": "Critical", "lora": {"adapters": [
                {"name": "x", "uri": "hf://a/x"},
                {"name": "y", "uri": "hf://a/y", "criticality": "Sheddable"},
            ]}},
            "router": {"scheduler": {"pool": {"spec": {
                "selector": {"app": "m"},
                "targetPortNumber": 8000,
                "extensionRef": {"name": "e", "failureMode": "FailOpen"},
            }}}},
        }),
    );
    let hub = convert(old, "v1alpha2").unwrap();
    assert_eq!(
        hub["metadata"]["annotations"],
        json!({annotation::MODEL_CRITICALITY: "Critical", annotation::LORA_CRITICALITIES: "{\"1\":\"Sheddable\"}"})
    );
    assert!(!hub["spec"].to_string().contains("criticality"));
    assert_eq!(
        hub["spec"]["router"]["scheduler"]["pool"]["spec"],
        json!({
            "selector": {"matchLabels": {"app": "m"}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"kind": "Service", "name": "e", "failureMode": "FailOpen", "port": {"number": 9002}},
        })
    );
    let back = convert(hub, "serving.kserve.io/v1alpha1").unwrap();
    assert_eq!(back["metadata"], json!({"name": "m"}));
    assert_eq!(back["spec"]["model"]["criticality"], "Critical");
    assert_eq!(
        back["spec"]["model"]["lora"]["adapters"][1]["criticality"],
        "Sheddable"
    );
    assert_eq!(
        back["spec"]["router"]["scheduler"]["pool"]["spec"]["extensionRef"],
        json!({"kind": "Service", "name": "e", "failureMode": "FailOpen", "portNumber": 9002})
    );
}

#[test]
fn a_new_object_survives_an_old_client() {
    let hub = service(
        "v1alpha2",
        &json!({
            "model": {
                "uri": "hf://a/b",
                "confidential": {"enabled": true},
                "lora": {"adapters": [{"name": "x", "confidential": {"enabled": false}}]},
            },
            "kvCacheOffloading": {"cpu": "10Gi"},
            "prefill": {"kvCacheOffloading": {"cpu": "1Gi"}},
            "router": {"scheduler": {"pool": {"spec": {
                "appProtocol": "kubernetes.io/h2c",
                "selector": {"matchLabels": {"app": "m"}},
                "targetPorts": [{"number": 8000}, {"number": 8001}, {"number": 8002}],
                "endpointPickerRef": {"kind": "Service", "name": "e", "failureMode": "FailClose", "port": {"number": 1}},
            }}}},
        }),
    );
    let old = convert(hub.clone(), "v1alpha1").unwrap();
    assert!(old["spec"]["kvCacheOffloading"].is_null());
    assert_eq!(
        old["spec"]["router"]["scheduler"]["pool"]["spec"]["targetPortNumber"],
        8000
    );
    assert_eq!(convert(old.clone(), "v1alpha2").unwrap(), hub);

    let mut without_prefill = old;
    without_prefill["spec"]
        .as_object_mut()
        .unwrap()
        .remove("prefill");
    let hub = convert(without_prefill, "v1alpha2").unwrap();
    assert!(hub["spec"]["prefill"].is_null());
    assert_eq!(hub["spec"]["kvCacheOffloading"]["cpu"], "10Gi");
}

#[test]
fn broken_annotations_and_pools_are_survived() {
    let mut old = service("v1alpha1", &json!({"model": {"uri": "u"}}));
    old["metadata"]["annotations"] = json!({annotation::HUB_ONLY_FIELDS: "{not json"});
    assert!(convert(old, "v1alpha2").unwrap()["metadata"]["annotations"].is_null());

    let mut hub = service(
        "v1alpha2",
        &json!({"model": {"uri": "u", "lora": {"adapters": []}}}),
    );
    hub["metadata"]["annotations"] =
        json!({annotation::LORA_CRITICALITIES: "{\"7\":\"Critical\"}"});
    assert!(convert(hub, "v1alpha1").unwrap()["metadata"]["annotations"].is_null());

    let pool = json!({"selector": {"matchLabels": {"a": "b"}}, "targetPorts": []});
    let hub = service(
        "v1alpha2",
        &json!({"router": {"scheduler": {"pool": {"spec": pool}}}}),
    );
    let old = convert(hub, "v1alpha1").unwrap();
    assert_eq!(old["spec"]["router"]["scheduler"]["pool"]["spec"], pool);
}

#[test]
fn status_that_the_old_version_lacks_goes() {
    let mut hub = service("v1alpha2", &json!({}));
    hub["status"] = json!({
        "url": "http://x", "router": {}, "workloads": {}, "appliedConfigs": [],
        "addresses": [{"url": "http://x", "origin": {}, "models": []}],
    });
    let old = convert(hub, "v1alpha1").unwrap();
    assert_eq!(
        old["status"],
        json!({"url": "http://x", "addresses": [{"url": "http://x"}]})
    );
}

#[test]
fn foreign_kinds_and_versions_are_refused() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod"});
    assert!(matches!(
        convert(pod, "v1alpha2"),
        Err(ConvertError::UnknownKind { .. })
    ));
    let service = service("v1alpha2", &json!({}));
    assert_eq!(
        convert(service, "v1beta1"),
        Err(ConvertError::UnknownVersion("v1beta1".to_owned()))
    );
}
