//! Metric flags of old pickers, which newer ones take from plugins.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::{SchedulerError, flags};
use super::plugins::Plugins;

/// The plugin that knows the names of an engine's metrics, up to 0.7.
pub(super) const ENGINE_OLD: &str = "model-server-protocol-metrics";
/// The same since 0.8.
pub(super) const ENGINE: &str = "core-metrics-extractor";
/// The plugin that knows where metrics are.
const SOURCE: &str = "metrics-data-source";

/// Flags with the name of a metric, and the field of an engine's configuration that it becomes.
const ENGINE_FLAGS: [(&str, &str); 5] = [
    ("total-queued-requests-metric", "queuedRequestsSpec"),
    ("total-running-requests-metric", "runningRequestsSpec"),
    ("kv-cache-usage-percentage-metric", "kvUsageSpec"),
    ("lora-info-metric", "loraSpec"),
    ("cache-info-metric", "cacheInfoSpec"),
];
const SCHEME: &str = "model-server-metrics-scheme";
const PATH: &str = "model-server-metrics-path";
const PORT: &str = "model-server-metrics-port";
const SKIP_VERIFY: &str = "model-server-metrics-https-insecure-skip-verify";

/// Values of flags that were taken out of a pod and want a place in its configuration.
#[derive(Default)]
pub(super) struct Stripped {
    engine: Map<String, Value>,
    engine_flags: Vec<String>,
    source: Map<String, Value>,
    source_flags: BTreeMap<&'static str, ()>,
}

impl Stripped {
    /// Takes the names of metrics.
    pub(super) fn take_engine_flags(
        &mut self,
        pod: &mut Value,
        writable: bool,
    ) -> Result<(), SchedulerError> {
        let names = ENGINE_FLAGS.map(|(flag, _)| flag);
        if !writable {
            let mentioned: Vec<String> = crate::items(pod, "/containers")
                .iter()
                .flat_map(|container| flags::mentions(flags::words(container, "args"), &names))
                .collect();
            return refuse(&mentioned);
        }
        for args in lists(pod, &["args"]) {
            let found = flags::strip(args, &names);
            if found.is_empty() {
                continue;
            }
            self.engine = Map::new();
            for (name, value) in found {
                let field = ENGINE_FLAGS.iter().find(|(flag, _)| *flag == name);
                if let (Some((_, field)), Some(value)) = (field, value.filter(|v| !v.is_empty())) {
                    self.engine.insert((*field).to_owned(), Value::from(value));
                }
                self.engine_flags.push(name);
            }
        }
        Ok(())
    }

    /// Takes where metrics are.
    pub(super) fn take_source_flags(
        &mut self,
        pod: &mut Value,
        writable: bool,
    ) -> Result<(), SchedulerError> {
        // A word of `args` comes after one of `command` on the line, so its value is the one that counts.
        let mut found = Vec::new();
        for list in ["command", "args"] {
            for words in lists(pod, &[list]) {
                found.extend(flags::strip(words, &[SCHEME, PATH, PORT, SKIP_VERIFY]));
            }
        }
        for (name, value) in found {
            let value = value.unwrap_or_default();
            let (flag, key, value) = match name.as_str() {
                SCHEME if !value.is_empty() => (SCHEME, "scheme", json!(value)),
                PATH if !value.is_empty() => (PATH, "path", json!(value)),
                SKIP_VERIFY => (SKIP_VERIFY, "insecureSkipVerify", json!(truth(&value)?)),
                _ => continue,
            };
            self.source.insert(key.to_owned(), value);
            self.source_flags.insert(flag, ());
        }
        if writable {
            Ok(())
        } else {
            self.refuse_if_any()
        }
    }

    /// Fails when there are values without a place.
    pub(super) fn refuse_if_any(&self) -> Result<(), SchedulerError> {
        let source = self.source_flags.keys().map(|flag| (*flag).to_owned());
        let all: Vec<String> = self.engine_flags.iter().cloned().chain(source).collect();
        refuse(&all)
    }

    /// Adds the plugin with the names of metrics, unless there is one.
    pub(super) fn add_engine_plugin(&self, plugins: &mut Plugins<'_>) {
        if self.engine_flags.is_empty() || plugins.has_type(ENGINE_OLD) || plugins.has_type(ENGINE)
        {
            return;
        }
        let mut engine = self.engine.clone();
        engine.insert("name".to_owned(), json!("vllm"));
        plugins.push(json!({
            "name": ENGINE_OLD,
            "type": ENGINE_OLD,
            "parameters": {
                "engineLabelKey": "inference.networking.k8s.io/engine-type",
                "defaultEngine": "vllm",
                "engineConfigs": [engine],
            },
        }));
    }

    /// Adds the plugin with the place of metrics, or what it lacks.
    pub(super) fn add_source_plugin(&self, plugins: &mut Plugins<'_>) {
        if self.source.is_empty() {
            return;
        }
        let Some(plugin) = plugins.all_mut().find(|plugin| plugin["type"] == SOURCE) else {
            plugins.push(json!({"type": SOURCE, "parameters": self.source}));
            return;
        };
        let parameters = super::object_at(plugin, "parameters");
        for (key, value) in &self.source {
            if parameters.get(key).is_none() {
                parameters[key] = value.clone();
            }
        }
    }
}

fn refuse(flags: &[String]) -> Result<(), SchedulerError> {
    if flags.is_empty() {
        return Ok(());
    }
    let mut flags: Vec<String> = flags.iter().map(|flag| format!("--{flag}")).collect();
    flags.sort();
    flags.dedup();
    Err(SchedulerError::NoPlaceForFlags {
        flags: flags.join(", "),
    })
}

/// The word lists of all containers.
fn lists<'a>(pod: &'a mut Value, names: &'a [&str]) -> impl Iterator<Item = &'a mut Vec<Value>> {
    let containers = pod.get_mut("containers").and_then(Value::as_array_mut);
    containers
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
        .flat_map(move |container| container.iter_mut())
        .filter(move |(key, _)| names.contains(&key.as_str()))
        .filter_map(|(_, list)| list.as_array_mut())
}

fn truth(word: &str) -> Result<bool, SchedulerError> {
    match word {
        "" | "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(SchedulerError::NotABoolean {
            flag: SKIP_VERIFY,
            value: word.to_owned(),
        }),
    }
}
