//! Dropping the fields that a schema does not name.

use serde_json::Value;

use crate::node::{Additional, Kind, Node};

impl Node {
    /// Drops the fields of an object that the schema does not name, and returns their paths (`spec.foo`).
    ///
    /// `apiVersion`, `kind` and `metadata` of the object itself are always known.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        prune(self, object, &mut String::new(), true, &mut dropped);
        dropped
    }

    /// Returns a message for every field that [`Node::prune`] would drop: `unknown field "spec.foo"`.
    #[must_use]
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        let mut copy = object.clone();
        self.prune(&mut copy)
            .into_iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect()
    }
}

fn prune(node: &Node, value: &mut Value, path: &mut String, root: bool, dropped: &mut Vec<String>) {
    let root = root || node.embedded_resource();
    let length = path.len();
    match value {
        Value::Object(fields) => {
            let additional = node.additional();
            let keep = node.preserves_unknown() || matches!(additional, Additional::Any);
            fields.retain(|name, value| {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                let known = if root && matches!(name.as_str(), "apiVersion" | "kind") {
                    true
                } else if root && name == "metadata" {
                    let declared = node
                        .property(name)
                        .filter(|meta| meta.property_names().next().is_some());
                    prune(
                        &declared.unwrap_or_else(Node::object_meta),
                        value,
                        path,
                        false,
                        dropped,
                    );
                    true
                } else if let Some(child) = node.property(name) {
                    prune(&child, value, path, false, dropped);
                    true
                } else if let Additional::Schema(child) = &additional {
                    prune(child, value, path, false, dropped);
                    true
                } else {
                    keep || node.kind().is_some_and(|kind| kind != Kind::Object)
                };
                if !known {
                    dropped.push(path.clone());
                }
                path.truncate(length);
                known
            });
        }
        Value::Array(list) => {
            let Some(items) = node.items() else { return };
            for (index, value) in list.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                prune(&items, value, path, false, dropped);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
