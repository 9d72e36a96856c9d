//! The gateways that a route attaches to, and what they say of it.

use serde_json::Value;
use weir_api::names::kind;

use crate::{items, text};

/// The gateways a route attaches to: namespace, name, section.
pub fn parents(route: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let own = text(route, "/metadata/namespace");
    items(route, "/spec/parentRefs")
        .iter()
        .filter_map(move |parent| {
            let is_gateway = parent
                .get("kind")
                .and_then(Value::as_str)
                .is_none_or(|k| k == kind::GATEWAY.kind);
            let namespace = parent
                .get("namespace")
                .and_then(Value::as_str)
                .filter(|n| !n.is_empty())
                .unwrap_or(own);
            is_gateway.then(|| {
                (
                    namespace,
                    text(parent, "/name"),
                    text(parent, "/sectionName"),
                )
            })
        })
}

/// Whether a status entry's reference means this parent.
pub(crate) fn same_parent(route: &Value, parent: &Value, reference: &Value) -> bool {
    let own = text(route, "/metadata/namespace");
    let or = |value: &'_ str, default: &str| {
        if value.is_empty() {
            default.to_owned()
        } else {
            value.to_owned()
        }
    };
    let key = |one: &Value| {
        (
            or(text(one, "/group"), kind::GATEWAY.group),
            or(text(one, "/kind"), kind::GATEWAY.kind),
            or(text(one, "/namespace"), own),
            text(one, "/name").to_owned(),
            text(one, "/sectionName").to_owned(),
            one.get("port").and_then(Value::as_i64).unwrap_or(0),
        )
    };
    key(parent) == key(reference)
}

/// The entries of a route's status about parents that it has; all, when it has none.
pub(crate) fn matching_entries(route: &Value) -> impl Iterator<Item = &Value> {
    let parents = items(route, "/spec/parentRefs");
    items(route, "/status/parents").iter().filter(move |entry| {
        parents.is_empty()
            || parents
                .iter()
                .any(|parent| same_parent(route, parent, &entry["parentRef"]))
    })
}
