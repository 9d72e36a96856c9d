//! Defaults that depend on more than one field, as the mutating webhook fills them in.

use serde_json::{Map, Value, json};

use crate::names;

/// Fills in the defaults of a service or a config; other objects stay as they are. Twice is the same as once.
///
/// * `parallelism.expert` becomes a boolean (an integer above 1 means true): other clients read only that;
/// * `model.name` becomes the service's name, a missing `model.uri` the empty text (which means unset);
/// * the routing group becomes a label, or the label goes;
/// * a PodSpec without `containers` gets an empty list.
pub fn default(object: &mut Value) {
    let is_service = object["kind"] == names::SERVICE_KIND;
    if !is_service && object["kind"] != names::CONFIG_KIND {
        return;
    }
    if !object["spec"].is_object() {
        if !is_service || !object["spec"].is_null() {
            return;
        }
        object["spec"] = json!({});
    }
    let spec = &mut object["spec"];
    for workload in ["", "/prefill"] {
        if let Some(expert) = spec.pointer_mut(&format!("{workload}/parallelism/expert"))
            && let Some(number) = expert.as_i64()
        {
            *expert = json!(number > 1);
        }
    }
    if !is_service {
        return;
    }
    default_model(object);
    default_group_label(object);
    for path in [
        "/template",
        "/worker",
        "/prefill/template",
        "/prefill/worker",
        "/router/scheduler/template",
    ] {
        if let Some(Value::Object(pod)) = object["spec"].pointer_mut(path) {
            let containers = pod.entry("containers").or_insert(Value::Null);
            if containers.is_null() {
                *containers = json!([]);
            }
        }
    }
}

fn default_model(object: &mut Value) {
    let name = object
        .pointer("/metadata/name")
        .cloned()
        .unwrap_or(Value::Null);
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    let model = spec.entry("model").or_insert(Value::Null);
    if model.is_null() {
        *model = json!({});
    }
    let Some(model) = model.as_object_mut() else {
        return;
    };
    if model.get("uri").is_none_or(Value::is_null) {
        model.insert("uri".to_owned(), json!(""));
    }
    if name.is_string()
        && model
            .get("name")
            .is_none_or(|name| name.is_null() || name == "")
    {
        model.insert("name".to_owned(), name);
    }
}

fn default_group_label(object: &mut Value) {
    let group = object
        .pointer("/spec/router/route/group")
        .filter(|group| group.is_string())
        .cloned();
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    match group {
        Some(group) => {
            let labels = metadata.entry("labels").or_insert(Value::Null);
            if labels.is_null() {
                *labels = Value::Object(Map::new());
            }
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(names::label::ROUTING_GROUP.to_owned(), group);
            }
        }
        None => {
            if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
                labels.remove(names::label::ROUTING_GROUP);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &Value) -> Value {
        json!({"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService", "metadata": {"name": "llama"}, "spec": spec})
    }

    #[test]
    fn defaults_are_filled_in_once() {
        let table = [
            (json!({}), json!({"model": {"uri": "", "name": "llama"}})),
            (
                json!({"model": {"uri": "hf://a/b", "name": ""}}),
                json!({"model": {"uri": "hf://a/b", "name": "llama"}}),
            ),
            (
                json!({"model": {"uri": "", "name": "m"}, "parallelism": {"expert": 8}, "prefill": {"parallelism": {"expert": 1}}}),
                json!({"model": {"uri": "", "name": "m"}, "parallelism": {"expert": true}, "prefill": {"parallelism": {"expert": false}}}),
            ),
            (
                json!({"model": {"uri": "", "name": "m"}, "worker": {"nodeName": "n"}}),
                json!({"model": {"uri": "", "name": "m"}, "worker": {"nodeName": "n", "containers": []}}),
            ),
        ];
        for (given, want) in table {
            let mut object = service(&given);
            default(&mut object);
            assert_eq!(object["spec"], want);
            let once = object.clone();
            default(&mut object);
            assert_eq!(object, once);
        }
    }

    #[test]
    fn the_group_label_follows_the_group() {
        let mut object = service(&json!({"router": {"route": {"group": "g", "weight": 1}}}));
        default(&mut object);
        assert_eq!(
            object["metadata"]["labels"][names::label::ROUTING_GROUP],
            "g"
        );
        object["spec"]["router"] = json!({});
        default(&mut object);
        assert_eq!(object["metadata"]["labels"], json!({}));
    }

    #[test]
    fn other_objects_stay() {
        let mut object = json!({"kind": "Pod", "spec": {"parallelism": {"expert": 2}}});
        let before = object.clone();
        default(&mut object);
        assert_eq!(object, before);
    }
}
