//! Small edits of pods that several features need.

use serde_json::Value;
use weir_api::names::container;

use crate::items;

/// Appends to the list at `field`, made when absent.
pub(crate) fn push(parent: &mut Value, field: &str, entry: Value) {
    if let Some(list) = parent.get_mut(field).and_then(Value::as_array_mut) {
        list.push(entry);
    } else {
        parent[field] = Value::Array(vec![entry]);
    }
}

/// Appends to a list whose items have names, unless the name is taken.
pub(crate) fn push_new(parent: &mut Value, field: &str, entry: Value) {
    let known = items(parent, &format!("/{field}"))
        .iter()
        .any(|known| known["name"] == entry["name"]);
    if !known {
        push(parent, field, entry);
    }
}

/// The engine's container.
pub(crate) fn main(pod: &mut Value) -> Option<&mut Value> {
    container(pod, "containers", container::MAIN)
}

/// The container or init container of a name.
pub(crate) fn container<'a>(pod: &'a mut Value, list: &str, name: &str) -> Option<&'a mut Value> {
    pod.get_mut(list)?
        .as_array_mut()?
        .iter_mut()
        .find(|container| container["name"] == name)
}
