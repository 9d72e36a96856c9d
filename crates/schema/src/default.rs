//! Filling in defaults.

use serde_json::Value;

use crate::node::{Additional, Node};

impl Node {
    /// Fills in the defaults of the schema, in every object and list that is there.
    ///
    /// A `null` where the schema does not allow it is replaced by the default. A field of an object is taken
    /// away when there is none.
    pub fn default(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in self.data().properties.names() {
                    let Some(child) = self.property(name) else {
                        continue;
                    };
                    let missing = match fields.get(name) {
                        None => true,
                        Some(Value::Null) => !child.nullable(),
                        Some(_) => false,
                    };
                    if missing {
                        match child.default_value() {
                            Some(default) => {
                                fields.insert(name.to_owned(), default);
                            }
                            None => {
                                fields.remove(name);
                            }
                        }
                    }
                    if let Some(value) = fields.get_mut(name) {
                        child.default(value);
                    }
                }
                if let Additional::Schema(child) = self.additional() {
                    fields.retain(|name, value| {
                        if self.has_property(name) {
                            return true;
                        }
                        if value.is_null() && !child.nullable() {
                            match child.default_value() {
                                Some(default) => *value = default,
                                None => return false,
                            }
                        }
                        child.default(value);
                        true
                    });
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
