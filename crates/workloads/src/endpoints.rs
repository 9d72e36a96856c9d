//! The EndpointSlice of a Service, from its pods.

use serde_json::{Value, json};
use weir_api::names::label;

/// Whether labels fulfil an equality selector; an empty selector selects nothing.
pub fn selects(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let Some(selector) = selector
        .and_then(Value::as_object)
        .filter(|map| !map.is_empty())
    else {
        return false;
    };
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether a pod's `Ready` condition is true.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Returns the slice of `service` over `pods`, or `None` for a service without selector.
pub fn slice<'a>(service: &Value, pods: impl IntoIterator<Item = &'a Value>) -> Option<Value> {
    let selector = service
        .pointer("/spec/selector")
        .filter(|s| s.as_object().is_some_and(|m| !m.is_empty()))?;
    let meta = &service["metadata"];
    let chosen: Vec<&Value> = pods
        .into_iter()
        .filter(|pod| {
            pod["metadata"]["namespace"] == meta["namespace"]
                && selects(Some(selector), pod.pointer("/metadata/labels"))
                && pod.pointer("/status/podIP").is_some()
                && !matches!(
                    pod["status"]["phase"].as_str(),
                    Some("Succeeded" | "Failed")
                )
        })
        .collect();
    let ports: Vec<Value> = service["spec"]["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            json!({
                "name": port.get("name").cloned().unwrap_or_else(|| json!("")),
                "port": target(port, chosen.first().copied()),
                "protocol": port.get("protocol").cloned().unwrap_or_else(|| json!("TCP")),
            })
        })
        .filter(|port| !port["port"].is_null())
        .collect();
    // A peer that has to be found before it is ready, as the members of a group are.
    let all = service["spec"]["publishNotReadyAddresses"] == true;
    let endpoints: Vec<Value> = chosen
        .iter()
        .map(|pod| {
            let terminating = pod.pointer("/metadata/deletionTimestamp").is_some();
            let ready = is_ready(pod);
            json!({
                "addresses": [pod["status"]["podIP"]],
                "conditions": {"ready": all || (ready && !terminating), "serving": ready, "terminating": terminating},
                "nodeName": pod["spec"]["nodeName"],
                "targetRef": {"kind": "Pod", "namespace": pod["metadata"]["namespace"],
                              "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            })
        })
        .collect();
    Some(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {
                (label::SERVICE_NAME): meta["name"],
                "endpointslice.kubernetes.io/managed-by": "endpointslices.weir.dev",
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": meta["name"],
                                 "uid": meta["uid"], "controller": true, "blockOwnerDeletion": true}],
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    }))
}

/// Resolves the target port of a service port; a named one by the pod's containers.
fn target(port: &Value, pod: Option<&Value>) -> Value {
    match port.get("targetPort") {
        Some(Value::Number(number)) if number.as_i64() != Some(0) => Value::Number(number.clone()),
        Some(Value::String(name)) => {
            let containers = pod.and_then(|pod| pod.pointer("/spec/containers")?.as_array());
            containers
                .into_iter()
                .flatten()
                .flat_map(|container| container["ports"].as_array().into_iter().flatten())
                .find(|port| port["name"] == *name.as_str())
                .map_or(Value::Null, |port| port["containerPort"].clone())
        }
        _ => port["port"].clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ready_pods_that_stay_are_ready_endpoints() {
        let service = json!({"metadata": {"name": "s", "namespace": "n", "uid": "u"},
                             "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}});
        let pod = |name: &str, ready: &str, gone: bool| {
            let mut pod = json!({
                "metadata": {"name": name, "namespace": "n", "labels": {"a": "b"}},
                "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8000}]}]},
                "status": {"podIP": "127.64.1.1", "conditions": [{"type": "Ready", "status": ready}]},
            });
            if gone {
                pod["metadata"]["deletionTimestamp"] = json!("now");
            }
            pod
        };
        let pods = [
            pod("a", "True", false),
            pod("b", "False", false),
            pod("c", "True", true),
        ];
        let slice = slice(&service, &pods).unwrap();
        assert_eq!(slice["ports"][0]["port"], 8000);
        let ready: Vec<_> = slice["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["conditions"]["ready"])
            .collect();
        assert_eq!(ready, [true, false, false]);
        let mut all = service;
        all["spec"]["publishNotReadyAddresses"] = json!(true);
        let slice = super::slice(&all, &pods).unwrap();
        assert_eq!(slice["endpoints"][1]["conditions"]["ready"], true);
        assert_eq!(slice["endpoints"][1]["conditions"]["serving"], false);
    }
}
