//! Reading and writing `metadata` of JSON objects.

use serde_json::{Map, Value};

/// Returns a text at a pointer, empty when absent.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// Returns `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Returns `metadata.namespace`, empty for none.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// Returns `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// True when the object waits for its removal.
pub fn deleting(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|v| !v.is_null())
}

/// Returns the finalizers.
pub fn finalizers(object: &Value) -> Vec<String> {
    let list = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    list.map_or_else(Vec::new, |l| {
        l.iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    })
}

/// Returns the owner references as (uid, blockOwnerDeletion).
pub fn owners(object: &Value) -> Vec<(String, bool)> {
    let list = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    list.map_or_else(Vec::new, |list| {
        list.iter()
            .map(|o| {
                let blocks = o["blockOwnerDeletion"].as_bool().unwrap_or(false);
                (o["uid"].as_str().unwrap_or("").to_owned(), blocks)
            })
            .collect()
    })
}

/// Returns `metadata` for writing, made when absent.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    child(object, "metadata")
}

/// Returns the map at `key` for writing, made when absent or of another type.
pub fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let slot = &mut object[key];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// Sets or, with `None`, removes a metadata field.
pub fn set(object: &mut Value, key: &str, value: Option<Value>) {
    let map = metadata(object);
    match value {
        Some(value) => {
            map.insert(key.to_owned(), value);
        }
        None => {
            map.remove(key);
        }
    }
}

/// Returns the current time as Kubernetes writes it.
pub fn now() -> String {
    after(0)
}

/// Returns the time in `seconds` from now as Kubernetes writes it.
pub fn after(seconds: i64) -> String {
    let time = jiff::Timestamp::now();
    let time = time
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(time);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
