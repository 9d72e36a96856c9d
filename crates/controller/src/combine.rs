//! Finding the configs of a service and combining them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{condition, kind, reason};
use weir_compose::{Config, Globals};
use weir_plan::Failure;

use crate::globals::Settings;
use crate::snapshot::get;
use crate::{Context, Error};

/// Suffixes of the preset names that are pinned per service.
pub(crate) const WELL_KNOWN: [&str; 14] = [
    "config-llm-decode-template",
    "config-llm-decode-worker-data-parallel",
    "config-llm-decode-worker-pipeline-parallel",
    "config-llm-prefill-template",
    "config-llm-prefill-worker-data-parallel",
    "config-llm-prefill-worker-pipeline-parallel",
    "config-llm-router-route",
    "config-llm-scheduler",
    "config-llm-scheduler-latency-predictor",
    "config-llm-template",
    "config-llm-tokenizer",
    "config-llm-tracing",
    "config-llm-worker-data-parallel",
    "config-llm-worker-pipeline-parallel",
];

/// The effective spec and where it came from.
pub(crate) struct Combined {
    pub(crate) spec: Value,
    pub(crate) applied: Vec<Value>,
}

/// Combines presets, base references and the service.
///
/// A config is looked up in the service's namespace, then in the system namespace; a preset that is on
/// neither comes from this program.
pub(crate) async fn effective(
    context: &Context,
    live: &Value,
    settings: &Settings,
    pinned: &BTreeMap<String, String>,
) -> Result<Result<Combined, Failure>, Error> {
    let namespace = live.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let presets = weir_compose::select(live).into_iter().map(|suffix| {
        let name = pinned.get(&format!("serving.kserve.io/{suffix}"));
        let own = || format!("{}{suffix}", context.options.config_prefix);
        (name.cloned().unwrap_or_else(own), "Preset", Some(suffix))
    });
    let references = live.pointer("/spec/baseRefs").and_then(Value::as_array);
    let references = references.into_iter().flatten().filter_map(|reference| {
        Some((reference.get("name")?.as_str()?.to_owned(), "UserRef", None))
    });
    let mut configs = Vec::new();
    let mut applied = Vec::new();
    for (name, source, suffix) in presets.chain(references) {
        let mut found = None;
        for namespace in [namespace, context.options.system_namespace.as_str()] {
            if let Some(config) = get(&context.client, kind::CONFIG, namespace, &name).await? {
                found = Some(Config {
                    name: name.clone(),
                    namespace: namespace.to_owned(),
                    spec: config["spec"].clone(),
                });
                break;
            }
        }
        let suffix = suffix.or_else(|| name.strip_prefix("kserve-"));
        let Some(config) = found.or_else(|| weir_compose::presets::find(suffix?).cloned()) else {
            return Ok(Err(Failure {
                condition: condition::PRESETS_COMBINED,
                reason: reason::CONFIG_NOT_FOUND,
                message: format!(
                    "config {name:?} exists neither in namespace {namespace:?} nor in {:?}: create it or correct the name",
                    context.options.system_namespace
                ),
            }));
        };
        let mut entry = json!({"name": config.name, "source": source});
        if !config.namespace.is_empty() {
            entry["namespace"] = Value::from(config.namespace.as_str());
        }
        applied.push(entry);
        configs.push(config);
    }
    let globals = Globals {
        gateway_name: settings.gateway_name.clone(),
        gateway_namespace: settings.gateway_namespace.clone(),
        model_header: settings.model_header.clone(),
        tls: settings.tls,
    };
    Ok(match weir_compose::compose(live, &configs, &globals) {
        Ok(effective) => Ok(Combined { spec: effective.spec, applied }),
        Err(error) => Err(Failure {
            condition: condition::PRESETS_COMBINED,
            reason: reason::COMBINE_BASE_ERROR,
            message: error.to_string(),
        }),
    })
}
