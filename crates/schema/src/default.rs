//! Filling in defaults.

use serde_json::Value;

use crate::node::{Additional, Node};

impl Node {
    /// Fills in the defaults of the schema, in every object and list that is there.
    ///
    /// A `null` where the schema does not allow it is replaced by the default, if there is one.
    pub fn default(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in self.data().properties.keys() {
                    let Some(child) = self.property(name) else {
                        continue;
                    };
                    let missing = match fields.get(name) {
                        None => true,
                        Some(Value::Null) => !child.nullable(),
                        Some(_) => false,
                    };
                    if missing && let Some(default) = child.default_value() {
                        fields.insert(name.clone(), default);
                    }
                    if let Some(value) = fields.get_mut(name) {
                        child.default(value);
                    }
                }
                if let Additional::Schema(child) = self.additional() {
                    for (name, value) in fields.iter_mut() {
                        if self.has_property(name) {
                            continue;
                        }
                        if value.is_null()
                            && !child.nullable()
                            && let Some(default) = child.default_value()
                        {
                            *value = default;
                        }
                        child.default(value);
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = self.items() else { return };
                for value in list {
                    if value.is_null()
                        && !items.nullable()
                        && let Some(default) = items.default_value()
                    {
                        *value = default;
                    }
                    items.default(value);
                }
            }
            _ => {}
        }
    }
}
