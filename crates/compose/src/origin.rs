//! Which layer each leaf came from.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_schema::Node;

use crate::render::escape;

/// Origins by JSON pointer and, while layers are merged, by names that survive a change of list order.
#[derive(Default)]
pub(crate) struct Origins(BTreeMap<String, String>);

impl Origins {
    /// Notes that `layer`, whose spec is `own`, led to `merged`.
    pub(crate) fn note(&mut self, own: &Value, merged: &Value, layer: &str, node: &Node) {
        let named = leaves(own, node);
        let merged = leaves(merged, node)
            .into_iter()
            .map(|(identity, (_, value))| {
                let inherited = self.0.get(&identity);
                let own = named.get(&identity).is_some_and(|(_, own)| *own == value);
                let origin = match inherited {
                    Some(inherited) if !own => inherited.clone(),
                    _ => layer.to_owned(),
                };
                (identity, origin)
            });
        self.0 = merged.collect();
    }

    /// The origins by JSON pointer into `spec`.
    pub(crate) fn by_pointer(&self, spec: &Value, node: &Node) -> BTreeMap<String, String> {
        leaves(spec, node)
            .into_iter()
            .filter_map(|(identity, (pointer, _))| Some((pointer, self.0.get(&identity)?.clone())))
            .collect()
    }
}

/// Leaves by identity: their JSON pointer and value.
fn leaves<'v>(value: &'v Value, node: &Node) -> BTreeMap<String, (String, &'v Value)> {
    let mut into = BTreeMap::new();
    walk(value, node, (String::new(), String::new()), &mut into);
    into
}

fn walk<'v>(
    value: &'v Value,
    node: &Node,
    (identity, pointer): (String, String),
    into: &mut BTreeMap<String, (String, &'v Value)>,
) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let part = escape(key);
                let below = node.field(key).unwrap_or_else(Node::any);
                walk(
                    value,
                    &below,
                    (format!("{identity}/{part}"), format!("{pointer}/{part}")),
                    into,
                );
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let key = node.patch_merge_key();
            let below = node.items().unwrap_or_else(Node::any);
            for (index, value) in list.iter().enumerate() {
                let name = key.as_ref().and_then(|key| value.get(key));
                let name = name.map_or_else(|| index.to_string(), |name| format!("[{name}]"));
                walk(
                    value,
                    &below,
                    (format!("{identity}/{name}"), format!("{pointer}/{index}")),
                    into,
                );
            }
        }
        leaf => {
            into.insert(identity, (pointer, leaf));
        }
    }
}
