//! The schemas of built-in kinds, read as an API store reads them.

#![allow(clippy::unwrap_used, reason = "a test")]

use rstest::rstest;
use serde_json::{Value, json};
use weir_schema::{ListType, Node};

fn kind(group: &str, version: &str, kind: &str) -> Node {
    let schema = weir_api::builtin::schema(group, version, kind).unwrap();
    Node::parse_with_definitions(&schema, &Value::Null).unwrap()
}

#[test]
fn every_kind_is_read() {
    let mut read = 0;
    for (group, version, name, _) in weir_api::builtin::kinds() {
        let node = kind(group, version, name);
        let mut value = json!({
            "apiVersion": version, "kind": name,
            "metadata": {"name": "x", "creationTimestamp": null, "managedFields": [
                {"manager": "m", "fieldsV1": {"f:spec": {"f:x": {}}}, "time": "2024-01-01T00:00:00Z"}]},
        });
        let before = value.clone();
        assert_eq!(
            node.prune(&mut value),
            Vec::<String>::new(),
            "{group}/{version} {name}"
        );
        assert_eq!(value, before);
        read += 1;
    }
    assert!(read > 20, "{read}");
}

#[rstest]
#[case("apps", "v1", "Deployment", json!({"spec": {
    "replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
    "template": {"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}, "spec": {
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 1, "memory": "1Gi", "nvidia.com/gpu": "1"}},
            "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": "http", "path": "/"}},
            "env": [{"name": "A"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}],
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
    }},
}}))]
#[case("", "v1", "Service", json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}}))]
#[case("", "v1", "ConfigMap", json!({"data": {"a": "b"}, "binaryData": {"c": "aGk="}}))]
#[case("", "v1", "Secret", json!({"data": {"a": "aGk="}, "stringData": {"b": "c"}, "type": "Opaque"}))]
fn usual_objects_are_valid(
    #[case] group: &str,
    #[case] version: &str,
    #[case] name: &str,
    #[case] mut value: Value,
) {
    value["metadata"] = json!({"name": "x"});
    let node = kind(group, version, name);
    assert_eq!(node.unknown_fields(&value), Vec::<String>::new());
    assert_eq!(node.validate(&value), []);
}

#[test]
fn merge_hints_are_there() {
    let pod = kind("", "v1", "Pod");
    let spec = pod.property("spec").unwrap();
    let containers = spec.property("containers").unwrap();
    assert_eq!(containers.list_type(), Some(ListType::Map));
    assert_eq!(containers.list_map_keys(), ["name"]);
    assert_eq!(containers.patch_merge_key(), Some("name"));
    let container = containers.items().unwrap();
    let ports = container.property("ports").unwrap();
    assert_eq!(ports.list_map_keys(), ["containerPort", "protocol"]);
    assert_eq!(ports.patch_merge_key(), Some("containerPort"));
    assert_eq!(
        ports
            .items()
            .unwrap()
            .property("protocol")
            .unwrap()
            .default_value(),
        Some(json!("TCP"))
    );
    assert_eq!(
        spec.property("volumes").unwrap().patch_strategy(),
        Some("merge,retainKeys")
    );
    assert!(spec.property("nodeSelector").unwrap().atomic_map());
    assert_eq!(
        pod.property("metadata")
            .unwrap()
            .property("finalizers")
            .unwrap()
            .list_type(),
        Some(ListType::Set)
    );
}
