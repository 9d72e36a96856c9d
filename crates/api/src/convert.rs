//! Conversion between v1alpha1 and v1alpha2 without loss.
//!
//! What only one version has is kept in an annotation while the object is read in the other. Conversion works on
//! a value of its own, never panics, and ignores annotations that do not parse.

mod pool;

use serde_json::{Map, Value, json};

use crate::names::{self, annotation};

/// Why an object was not converted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConvertError {
    /// Not one of our kinds.
    #[error(
        "{kind} of {api_version} is not converted here; send it in the version it is served in"
    )]
    UnknownKind {
        /// Kind of the object.
        kind: String,
        /// `apiVersion` of the object.
        api_version: String,
    },
    /// Not a version of ours.
    #[error(
        "there is no version {0}; use serving.kserve.io/v1alpha1 or serving.kserve.io/v1alpha2"
    )]
    UnknownVersion(String),
}

/// Converts an object to `to` (`v1alpha2` or `serving.kserve.io/v1alpha2`).
///
/// # Errors
/// When the kind or one of the two versions is not ours.
pub fn convert(mut object: Value, to: &str) -> Result<Value, ConvertError> {
    let to = to.strip_prefix("serving.kserve.io/").unwrap_or(to);
    let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    let kind = object["kind"].as_str().unwrap_or_default();
    let from = api_version
        .strip_prefix("serving.kserve.io/")
        .unwrap_or_default()
        .to_owned();
    if ![names::SERVICE_KIND, names::CONFIG_KIND].contains(&kind) || from.is_empty() {
        return Err(ConvertError::UnknownKind {
            kind: kind.to_owned(),
            api_version,
        });
    }
    for version in [from.as_str(), to] {
        if ![names::VERSION, names::OLD_VERSION].contains(&version) {
            return Err(ConvertError::UnknownVersion(version.to_owned()));
        }
    }
    if from != to {
        if to == names::VERSION {
            to_hub(&mut object)
        } else {
            from_hub(&mut object)
        }
        object["apiVersion"] = json!(format!("{}/{to}", names::GROUP));
    }
    Ok(object)
}

fn to_hub(object: &mut Value) {
    let saved = take_annotation(object, annotation::HUB_ONLY_FIELDS)
        .and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).ok())
        .unwrap_or_default();
    if let Some(model) = object
        .pointer_mut("/spec/model")
        .and_then(Value::as_object_mut)
    {
        let criticality = model.remove("criticality");
        let adapters = take_criticalities(model);
        if let Some(criticality) = criticality
            .as_ref()
            .and_then(Value::as_str)
            .filter(|c| !c.is_empty())
        {
            set_annotation(object, annotation::MODEL_CRITICALITY, criticality);
        }
        if !adapters.is_empty() {
            set_annotation(
                object,
                annotation::LORA_CRITICALITIES,
                &Value::Object(adapters).to_string(),
            );
        }
    }
    if let Some(spec) = object.pointer_mut("/spec/router/scheduler/pool/spec") {
        pool::to_hub(spec);
    }
    for (pointer, value) in saved {
        restore(object, &pointer, value);
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("router");
    }
}

/// Takes `criticality` off the adapters: index to value.
fn take_criticalities(model: &mut Map<String, Value>) -> Map<String, Value> {
    let mut taken = Map::new();
    let adapters = model
        .get_mut("lora")
        .and_then(|lora| lora.get_mut("adapters"))
        .and_then(Value::as_array_mut);
    for (index, adapter) in adapters.into_iter().flatten().enumerate() {
        let criticality = adapter
            .as_object_mut()
            .and_then(|adapter| adapter.remove("criticality"));
        if let Some(criticality) = criticality.filter(|c| c.as_str().is_some_and(|c| !c.is_empty()))
        {
            taken.insert(index.to_string(), criticality);
        }
    }
    taken
}

fn from_hub(object: &mut Value) {
    let mut saved = Map::new();
    for pointer in [
        "/spec/kvCacheOffloading",
        "/spec/prefill/kvCacheOffloading",
        "/spec/model/confidential",
    ] {
        save(object, pointer, &mut saved);
    }
    let adapters = object
        .pointer("/spec/model/lora/adapters")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    for index in 0..adapters {
        save(
            object,
            &format!("/spec/model/lora/adapters/{index}/confidential"),
            &mut saved,
        );
    }
    if let Some(spec) = object.pointer_mut("/spec/router/scheduler/pool/spec") {
        let before = spec.clone();
        if pool::from_hub(spec) {
            let at = "/spec/router/scheduler/pool/spec";
            if let Some(protocol) = before.get("appProtocol") {
                saved.insert(format!("{at}/appProtocol"), protocol.clone());
            }
            let more = before
                .get("targetPorts")
                .and_then(Value::as_array)
                .and_then(|ports| ports.get(1..));
            for (index, port) in more.into_iter().flatten().enumerate() {
                saved.insert(format!("{at}/targetPorts/{}", index + 1), port.clone());
            }
        }
    }
    if !saved.is_empty() {
        set_annotation(
            object,
            annotation::HUB_ONLY_FIELDS,
            &Value::Object(saved).to_string(),
        );
    }
    let criticality =
        annotation_of(object, annotation::MODEL_CRITICALITY).filter(|text| !text.is_empty());
    if let (Some(criticality), Some(model)) = (criticality, object.pointer_mut("/spec/model")) {
        model["criticality"] = json!(criticality);
        take_annotation(object, annotation::MODEL_CRITICALITY);
    }
    if let Some(text) = take_annotation(object, annotation::LORA_CRITICALITIES) {
        for (index, value) in serde_json::from_str::<Map<String, Value>>(&text).unwrap_or_default()
        {
            let adapter = object.pointer_mut(&format!("/spec/model/lora/adapters/{index}"));
            if let Some(adapter) = adapter.and_then(Value::as_object_mut) {
                adapter.insert("criticality".to_owned(), value);
            }
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        for field in ["router", "workloads", "appliedConfigs", "referencedBy"] {
            status.remove(field);
        }
        for address in status
            .get_mut("addresses")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(address) = address.as_object_mut() {
                address.remove("origin");
                address.remove("models");
            }
        }
    }
}

/// Moves the field at `pointer` out of the object.
fn save(object: &mut Value, pointer: &str, saved: &mut Map<String, Value>) {
    let Some((parent, field)) = pointer.rsplit_once('/') else {
        return;
    };
    let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
    if let Some(value) = parent.and_then(|parent| parent.remove(field)) {
        saved.insert(pointer.to_owned(), value);
    }
}

/// Puts a saved field back where its parent still exists and the pointer is one that [`save`] writes.
fn restore(object: &mut Value, pointer: &str, value: Value) {
    let Some((parent, field)) = pointer.rsplit_once('/') else {
        return;
    };
    let known = ["kvCacheOffloading", "confidential", "appProtocol"].contains(&field)
        || parent.ends_with("/targetPorts");
    if !known || !pointer.starts_with("/spec/") {
        return;
    }
    match object.pointer_mut(parent) {
        Some(Value::Object(parent)) => {
            parent.entry(field).or_insert(value);
        }
        Some(Value::Array(parent)) if field.parse() == Ok(parent.len()) => parent.push(value),
        _ => {}
    }
}

fn annotation_of(object: &Value, key: &str) -> Option<String> {
    object
        .get("metadata")?
        .get("annotations")?
        .get(key)?
        .as_str()
        .map(str::to_owned)
}

fn set_annotation(object: &mut Value, key: &str, value: &str) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][key] = json!(value);
}

/// Removes an annotation; a map that is left empty goes too.
fn take_annotation(object: &mut Value, key: &str) -> Option<String> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let value = annotations.remove(key)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
