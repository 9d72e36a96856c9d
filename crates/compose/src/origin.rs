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
    let mut walk = Walk::default();
    walk.value(value, node);
    walk.leaves
}

/// Where a walk is, in both forms, and what it has found.
#[derive(Default)]
struct Walk<'v> {
    identity: String,
    pointer: String,
    leaves: Leaves<'v>,
}

impl<'v> Walk<'v> {
    fn value(&mut self, value: &'v Value, node: &Node) {
        let here = (self.identity.len(), self.pointer.len());
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    let below = node.field(key).unwrap_or_else(Node::any);
                    for path in [&mut self.identity, &mut self.pointer] {
                        path.push('/');
                        push_escaped(path, key);
                    }
                    self.value(value, &below);
                    self.back(here);
                }
            }
            Value::Array(list) if !list.is_empty() => {
                let key = node.patch_merge_key();
                let below = node.items().unwrap_or_else(Node::any);
                for (index, value) in list.iter().enumerate() {
                    let index = index.to_string();
                    self.identity.push('/');
                    match key.and_then(|key| value.get(key)) {
                        Some(name) => {
                            // No field is called like this.
                            self.identity.push('[');
                            match name.as_str() {
                                Some(name) => self.identity.push_str(name),
                                None => self.identity.push_str(&name.to_string()),
                            }
                            self.identity.push(']');
                        }
                        None => self.identity.push_str(&index),
                    }
                    self.pointer.push('/');
                    self.pointer.push_str(&index);
                    self.value(value, &below);
                    self.back(here);
                }
            }
            leaf => {
                let at = (self.pointer.clone(), leaf);
                self.leaves.insert(self.identity.clone(), at);
            }
        }
    }

    fn back(&mut self, (identity, pointer): (usize, usize)) {
        self.identity.truncate(identity);
        self.pointer.truncate(pointer);
    }
}

fn push_escaped(path: &mut String, key: &str) {
    if key.contains(['~', '/']) {
        path.push_str(&escape(key));
    } else {
        path.push_str(key);
    }
}
