//! Which layer each leaf came from.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use weir_schema::Node;

use crate::render::escape;

/// The layers, lowest first, each with its own spec.
#[derive(Default)]
pub(crate) struct Origins(Vec<(String, Value)>);

impl Origins {
    /// Notes that `layer`, whose spec is `own`, was put on top.
    pub(crate) fn note(&mut self, own: Value, layer: String) {
        self.0.push((layer, own));
    }

    /// The origins by JSON pointer into `spec`, to which the layers led: of a leaf the last layer that says just
    /// this, else the last one that says something there.
    pub(crate) fn by_pointer(&self, spec: &Value, node: &Node) -> BTreeMap<String, String> {
        let layers: Vec<(&String, Leaves<'_>)> = self
            .0
            .iter()
            .map(|(layer, own)| (layer, leaves(own, node)))
            .collect();
        let origin = |identity: &String, value: &Value| {
            let last = |fits: &dyn Fn(&Value) -> bool| {
                let found = layers
                    .iter()
                    .rev()
                    .find(|(_, leaves)| leaves.get(identity).is_some_and(|(_, own)| fits(own)));
                found.map(|(layer, _)| (*layer).clone())
            };
            last(&|own| own == value).or_else(|| last(&|_| true))
        };
        leaves(spec, node)
            .into_iter()
            .filter_map(|(identity, (pointer, value))| Some((pointer, origin(&identity, value)?)))
            .collect()
    }
}

/// Leaves by names that survive a change of list order: their JSON pointer and value.
type Leaves<'v> = HashMap<String, (String, &'v Value)>;

fn leaves<'v>(value: &'v Value, node: &Node) -> Leaves<'v> {
    let mut into = Leaves::new();
    walk(value, node, (String::new(), String::new()), &mut into);
    into
}

fn walk<'v>(
    value: &'v Value,
    node: &Node,
    (identity, pointer): (String, String),
    into: &mut Leaves<'v>,
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
