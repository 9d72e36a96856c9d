//! Finding the configs of a service and combining them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{PRESET_PREFIX, condition, kind, reason};
use weir_compose::{Config, Globals, presets};
use weir_plan::Failure;

use crate::globals::Settings;
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
pub(crate) fn effective(
    context: &Context,
    live: &Value,
    settings: &Settings,
    pinned: &BTreeMap<String, String>,
) -> Result<Result<Combined, Failure>, Error> {
    let mut service = live.clone();
    let namespace = live
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut bases = Vec::new();
    for one in live
        .pointer("/spec/baseRefs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = one["name"].as_str().unwrap_or_default();
        match find(context, namespace, name)? {
            Some(config) => bases.push(config),
            None => return Ok(Err(not_found(context, namespace, name))),
        }
    }
    yield_default_name(&mut service, &bases);
    // What any base reference turns on counts as on; presets take no part in this.
    let mut detection = service.clone();
    for base in &bases {
        weir_merge::json_merge_patch(&mut detection["spec"], &base.spec);
    }
    let mut configs = Vec::new();
    for suffix in weir_compose::select(&detection) {
        let current = format!("{}{suffix}", context.options.config_prefix);
        let pinned = pinned.get(&format!("serving.kserve.io/{suffix}"));
        // The route preset always follows the current prefix.
        let name = pinned
            .filter(|_| suffix != "config-llm-router-route")
            .unwrap_or(&current);
        match find(context, namespace, name)? {
            Some(config) => configs.push(config),
            None => return Ok(Err(not_found(context, namespace, name))),
        }
    }
    let entry = |source: &'static str| move |config: &Config| json!({"name": config.name, "namespace": config.namespace, "source": source});
    let applied = configs
        .iter()
        .map(entry("Preset"))
        .chain(bases.iter().map(entry("UserRef")));
    let applied = applied.collect();
    configs.extend(bases);
    let globals = Globals {
        gateway_name: settings.gateway_name.clone(),
        gateway_namespace: settings.gateway_namespace.clone(),
        model_header: settings.model_header.clone(),
        tls: settings.tls,
    };
    Ok(match weir_compose::compose(&service, &configs, &globals) {
        Ok(effective) => Ok(Combined {
            spec: effective.spec,
            applied,
        }),
        Err(error) => Err(Failure {
            condition: condition::PRESETS_COMBINED,
            reason: reason::COMBINE_BASE_ERROR,
            message: error.to_string(),
        }),
    })
}

/// A model name that only stands for "the service's name" gives way to one of a base reference.
fn yield_default_name(service: &mut Value, bases: &[Config]) {
    let model = service
        .pointer("/spec/model/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let defaulted = model.is_empty() || service["metadata"]["name"] == model;
    let supplied = bases.iter().any(|base| {
        base.spec
            .pointer("/model/name")
            .is_some_and(Value::is_string)
    });
    if defaulted
        && supplied
        && let Some(model) = service
            .pointer_mut("/spec/model")
            .and_then(Value::as_object_mut)
    {
        model.remove("name");
    }
}

/// The config in the service's namespace, else in the system's, else the one that this program carries.
fn find(context: &Context, namespace: &str, name: &str) -> Result<Option<Config>, Error> {
    let system = context.options.system_namespace.as_str();
    let mut terminating = None;
    for namespace in [namespace, system] {
        let Some(found) = context.cache.get(kind::CONFIG, namespace, name)? else {
            continue;
        };
        let config = Config {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            spec: found.get("spec").cloned().unwrap_or_else(|| json!({})),
        };
        if found.pointer("/metadata/deletionTimestamp").is_none() {
            return Ok(Some(config));
        }
        terminating = terminating.or(Some(config));
    }
    let carried = || {
        let prefixes = [context.options.config_prefix.as_str(), PRESET_PREFIX];
        let suffix = prefixes
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))?;
        let preset = WELL_KNOWN
            .contains(&suffix)
            .then(|| presets::find(suffix))??;
        Some(Config {
            name: name.to_owned(),
            namespace: system.to_owned(),
            spec: preset.spec.clone(),
        })
    };
    Ok(terminating.or_else(carried))
}

fn not_found(context: &Context, namespace: &str, name: &str) -> Failure {
    let system = &context.options.system_namespace;
    Failure {
        condition: condition::PRESETS_COMBINED,
        reason: reason::CONFIG_NOT_FOUND,
        message: format!(
            "LLMInferenceServiceConfig \"{name}\" not found in namespaces [{namespace} {system}]"
        ),
    }
}
