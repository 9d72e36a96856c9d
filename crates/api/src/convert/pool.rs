//! The pool spec: v1alpha1 has the shape of the inference extension's v1alpha2, v1alpha2 that of its v1.

use serde_json::{Map, Value, json};

/// Port of a picker whose reference names none.
const PICKER_PORT: u16 = crate::names::port::PICKER_GRPC;

/// To the v1 shape; a spec without a target port is left as it is, for validation to refuse.
pub(super) fn to_hub(spec: &mut Value) {
    let Some(object) = spec.as_object() else {
        return;
    };
    let Some(number) = object.get("targetPortNumber") else {
        return;
    };
    let mut hub = others(object, &["targetPortNumber", "selector", "extensionRef"]);
    hub.insert("targetPorts".to_owned(), json!([{"number": number}]));
    if let Some(selector) = object.get("selector") {
        hub.insert("selector".to_owned(), json!({"matchLabels": selector}));
    }
    if let Some(Value::Object(reference)) = object.get("extensionRef") {
        let mut picker = others(reference, &["portNumber"]);
        let kind = picker.entry("kind").or_insert_with(|| json!("Service"));
        if kind == "" {
            *kind = json!("Service");
        }
        let is_service = kind == "Service";
        picker
            .entry("failureMode")
            .or_insert_with(|| json!("FailClose"));
        let port = reference
            .get("portNumber")
            .and_then(Value::as_i64)
            .filter(|port| *port != 0);
        if let Some(port) = port.or_else(|| is_service.then_some(i64::from(PICKER_PORT))) {
            picker.insert("port".to_owned(), json!({"number": port}));
        }
        hub.insert("endpointPickerRef".to_owned(), Value::Object(picker));
    }
    *spec = Value::Object(hub);
}

/// To the v1alpha2 shape: the first target port. False when there is none, and nothing is changed.
pub(super) fn from_hub(spec: &mut Value) -> bool {
    let Some(object) = spec.as_object() else {
        return false;
    };
    let Some(number) = object
        .get("targetPorts")
        .and_then(|ports| ports.get(0)?.get("number"))
    else {
        return false;
    };
    let mut old = others(
        object,
        &[
            "targetPorts",
            "selector",
            "endpointPickerRef",
            "appProtocol",
        ],
    );
    old.insert("targetPortNumber".to_owned(), number.clone());
    if let Some(labels) = object
        .get("selector")
        .and_then(|selector| selector.get("matchLabels"))
    {
        old.insert("selector".to_owned(), labels.clone());
    }
    if let Some(Value::Object(picker)) = object.get("endpointPickerRef") {
        let mut reference = others(picker, &["port"]);
        if let Some(port) = picker.get("port").and_then(|port| port.get("number")) {
            reference.insert("portNumber".to_owned(), port.clone());
        }
        old.insert("extensionRef".to_owned(), Value::Object(reference));
    }
    *spec = Value::Object(old);
    true
}

fn others(object: &Map<String, Value>, without: &[&str]) -> Map<String, Value> {
    let kept = object
        .iter()
        .filter(|(key, _)| !without.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
