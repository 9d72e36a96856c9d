//! The plugins of a configuration and the profiles that refer to them.

use serde_json::{Value, json};

use super::super::SchedulerError;

/// Handler of prefill and decode profiles.
pub(super) const HANDLER: &str = "disagg-profile-handler";
/// Decider that always prefills.
const ALWAYS: &str = "always-disagg-pd-decider";
/// Decider by what is not in a cache.
const BY_PREFIX: &str = "prefix-based-pd-decider";
/// Characters of a token, where an old threshold counted characters.
const CHARACTERS_PER_TOKEN: f64 = 4.0;

/// A configuration, seen as its plugins.
pub(super) struct Plugins<'a> {
    config: &'a mut Value,
}

impl<'a> Plugins<'a> {
    pub(super) fn of(config: &'a mut Value) -> Self {
        Self { config }
    }

    fn list(&self) -> &[Value] {
        crate::items(self.config, "/plugins")
    }

    /// The list itself, made when there is none.
    pub(super) fn list_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Some(config) = self.config.as_object_mut() {
            let list = config.entry("plugins").or_insert_with(|| json!([]));
            if list.is_null() {
                *list = json!([]);
            }
            return list.as_array_mut();
        }
        None
    }

    /// Every plugin that is a mapping.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let list = self.config.get_mut("plugins").and_then(Value::as_array_mut);
        list.into_iter()
            .flatten()
            .filter(|plugin| plugin.is_object())
    }

    pub(super) fn has_type(&self, kind: &str) -> bool {
        self.list().iter().any(|plugin| plugin["type"] == kind)
    }

    pub(super) fn push(&mut self, plugin: Value) {
        if let Some(list) = self.list_mut() {
            list.push(plugin);
        }
    }

    /// The lists of references of all profiles.
    pub(super) fn profiles_mut(&mut self) -> impl Iterator<Item = &mut Vec<Value>> {
        let profiles = self
            .config
            .get_mut("schedulingProfiles")
            .and_then(Value::as_array_mut);
        profiles
            .into_iter()
            .flatten()
            .filter_map(|profile| profile.get_mut("plugins")?.as_array_mut())
    }

    /// Gives a type its new name, where plugins and profiles use it.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        for plugin in self.all_mut() {
            for key in ["type", "name"] {
                if plugin[key] == old {
                    plugin[key] = json!(new);
                }
            }
        }
        self.rename_references(old, new);
    }

    /// Lets profiles refer to another name.
    pub(super) fn rename_references(&mut self, old: &str, new: &str) {
        for references in self.profiles_mut() {
            for reference in references {
                if reference["pluginRef"] == old {
                    reference["pluginRef"] = json!(new);
                }
            }
        }
    }

    /// Turns thresholds and names of deciders into what the handler knows now.
    pub(super) fn handler_parameters(&mut self) -> Result<(), SchedulerError> {
        let mut wanted: Vec<Value> = Vec::new();
        for plugin in self.all_mut().filter(|plugin| plugin["type"] == HANDLER) {
            let Some(parameters) = plugin.get_mut("parameters").and_then(Value::as_object_mut)
            else {
                continue;
            };
            if parameters.contains_key("deciders") {
                continue;
            }
            let threshold = parameters.get("threshold").cloned();
            let prefill = match parameters.get("deciderPluginName") {
                Some(Value::String(name)) => name.clone(),
                Some(other) => {
                    return Err(SchedulerError::DeciderName {
                        value: other.to_string(),
                    });
                }
                None => {
                    match threshold.as_ref().map(tokens) {
                        None => continue,
                        Some(None) => {
                            wanted.push(json!({"type": ALWAYS}));
                            ALWAYS.to_owned()
                        }
                        Some(Some(tokens)) => {
                            wanted.push(json!({"type": BY_PREFIX, "parameters": {"nonCachedTokens": tokens}}));
                            BY_PREFIX.to_owned()
                        }
                    }
                }
            };
            parameters.remove("deciderPluginName");
            parameters.remove("threshold");
            parameters.insert("deciders".to_owned(), json!({"prefill": prefill}));
        }
        for decider in wanted {
            self.insert_decider(decider);
        }
        Ok(())
    }

    /// Puts a decider before the handler that names it, unless there is one of its type.
    fn insert_decider(&mut self, decider: Value) {
        let known = decider["type"]
            .as_str()
            .is_some_and(|kind| self.has_type(kind));
        if known {
            return;
        }
        if let Some(list) = self.list_mut() {
            let handler = list.iter().position(|plugin| plugin["type"] == HANDLER);
            list.insert(handler.unwrap_or(list.len()), decider);
        }
    }
}

/// Tokens of a threshold in characters; `None` for zero, which meant always.
fn tokens(threshold: &Value) -> Option<u64> {
    let number = match threshold {
        Value::String(text) => text.trim().parse::<f64>().ok(),
        other => other.as_f64(),
    };
    match number {
        Some(0.0) => None,
        Some(characters) if characters > 0.0 && characters.is_finite() => {
            let tokens = (characters / CHARACTERS_PER_TOKEN).ceil().max(1.0);
            // A float beyond the range saturates.
            Some(tokens as u64)
        }
        _ => Some(1),
    }
}
