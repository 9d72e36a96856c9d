//! Which presets a service asks for.
//!
//! Only the service and its base references decide: presets take no part, so a preset cannot ask for another
//! one. The order of the answer is that of the merge.

use serde_json::{Value, json};
use weir_merge::{merge_onto, try_compose_merge};

use crate::layer::layers;
use crate::{Config, SPEC};

/// Returns `service` with the spec that it has together with `bases`, for [`select`].
///
/// The layers are merged in their final order. A layer that cannot be merged is left out here: [`crate::compose`]
/// says what is wrong with it.
pub fn detect(service: &Value, bases: &[Config]) -> Value {
    let mut detected = service.clone();
    detected["spec"] = together(service, bases);
    detected
}

/// The spec of [`detect`].
pub(crate) fn together(service: &Value, bases: &[Config]) -> Value {
    let layers = layers(service, bases);
    let mut spec = json!({});
    let merged = layers
        .iter()
        .try_for_each(|layer| merge_onto(&mut spec, layer, &SPEC));
    if merged.is_ok() {
        return spec;
    }
    layers.iter().fold(json!({}), |spec, layer| {
        try_compose_merge(&spec, layer, &SPEC).unwrap_or(spec)
    })
}

/// Returns the suffixes of the presets that `service` asks for, in merge order.
///
/// Features that come from base references count too: give it the answer of [`detect`].
pub fn select(service: &Value) -> Vec<&'static str> {
    select_with(service, None)
}

/// As [`select`], with the text of the picker's configuration where the service names a ConfigMap for it.
pub fn select_with(service: &Value, referenced: Option<&str>) -> Vec<&'static str> {
    suffixes(service.get("spec").unwrap_or(&Value::Null), referenced)
}

/// As [`select_with`], for a spec.
pub(crate) fn suffixes(spec: &Value, referenced: Option<&str>) -> Vec<&'static str> {
    let set = |pointer: &str| spec.pointer(pointer).is_some_and(|value| !value.is_null());
    let filled = |pointer: &str| {
        let text = spec.pointer(pointer).and_then(Value::as_str);
        text.is_some_and(|text| !text.is_empty())
    };
    let list = |pointer: &str| {
        let list = spec.pointer(pointer).and_then(Value::as_array);
        list.is_some_and(|list| !list.is_empty())
    };
    let mut chosen = Vec::new();
    if set("/router/scheduler") {
        let inline = plugins(picker_config(spec).as_ref());
        let either = |name: &str| inline.iter().any(|plugin| plugin == name);
        // A referenced text adds the tokenizer only: nothing is injected beside a picker whose config is
        // managed elsewhere.
        let of_reference = plugins(referenced.and_then(parse).as_ref());
        let tokenizes = TOKENIZING
            .iter()
            .any(|name| either(name) || of_reference.iter().any(|plugin| plugin == name));
        if !filled("/router/scheduler/pool/ref/name") {
            chosen.push("config-llm-scheduler");
        }
        if set("/router/scheduler/tokenizer") || tokenizes {
            chosen.push("config-llm-tokenizer");
        }
        if either("predicted-latency-producer") {
            chosen.push("config-llm-scheduler-latency-predictor");
        }
    }
    if set("/router/route") && !list("/router/route/http/refs") {
        chosen.push("config-llm-router-route");
    }
    if set("/tracing") {
        chosen.push("config-llm-tracing");
    }
    let prefill = spec.get("prefill").filter(|prefill| !prefill.is_null());
    if let Some(prefill) = prefill {
        chosen.extend(workload(prefill, &PREFILL));
    }
    let own = if prefill.is_some() { &DECODE } else { &PLAIN };
    chosen.extend(workload(spec, own));
    chosen
}

/// Presets of one kind of workload: on one node, data parallel, pipeline parallel.
type Shapes = [&'static str; 3];

const PREFILL: Shapes = [
    "config-llm-prefill-template",
    "config-llm-prefill-worker-data-parallel",
    "config-llm-prefill-worker-pipeline-parallel",
];
const DECODE: Shapes = [
    "config-llm-decode-template",
    "config-llm-decode-worker-data-parallel",
    "config-llm-decode-worker-pipeline-parallel",
];
const PLAIN: Shapes = [
    "config-llm-template",
    "config-llm-worker-data-parallel",
    "config-llm-worker-pipeline-parallel",
];

/// Plugins of the picker that need a tokenizer.
const TOKENIZING: [&str; 2] = ["token-producer", "precise-prefix-cache-scorer"];

/// A worker without a kind of parallelism has no preset.
fn workload(spec: &Value, [one_node, data, pipeline]: &Shapes) -> Option<&'static str> {
    let has = |pointer: &str| spec.pointer(pointer).is_some_and(|value| !value.is_null());
    if !has("/worker") {
        Some(one_node)
    } else if has("/parallelism/data") || has("/parallelism/dataLocal") {
        Some(data)
    } else if has("/parallelism/pipeline") {
        Some(pipeline)
    } else {
        None
    }
}

/// The picker's configuration as far as the spec itself has it.
pub(crate) fn picker_config(spec: &Value) -> Option<Value> {
    if let Some(inline) = spec.pointer("/router/scheduler/config/inline") {
        return match inline {
            Value::Null => None,
            Value::String(text) => parse(text),
            inline => Some(inline.clone()),
        };
    }
    let containers = spec.pointer("/router/scheduler/template/containers")?;
    let main = containers
        .as_array()?
        .iter()
        .find(|c| c["name"] == "main")?;
    let args: Vec<&str> = main["args"]
        .as_array()?
        .iter()
        .map(|arg| arg.as_str().unwrap_or_default())
        .collect();
    let flag = args
        .iter()
        .position(|arg| TEXT_FLAGS.contains(arg) || FILE_FLAGS.contains(arg))?;
    let text = TEXT_FLAGS.contains(args.get(flag)?);
    text.then(|| args.get(flag + 1).copied())
        .flatten()
        .and_then(parse)
}

const TEXT_FLAGS: [&str; 4] = [
    "--config-text",
    "-config-text",
    "--configText",
    "-configText",
];
const FILE_FLAGS: [&str; 4] = [
    "--config-file",
    "-config-file",
    "--configFile",
    "-configFile",
];

pub(crate) fn parse(text: &str) -> Option<Value> {
    let documents = weir_manifest::parse(text, "picker configuration").ok()?;
    documents.into_iter().next().map(|document| document.value)
}

/// Types of the plugins of a picker's configuration.
pub(crate) fn plugins(config: Option<&Value>) -> Vec<String> {
    let plugins = config.and_then(|config| config.get("plugins"));
    let plugins = plugins.and_then(Value::as_array).into_iter().flatten();
    plugins
        .filter_map(|plugin| Some(plugin.get("type")?.as_str()?.to_owned()))
        .collect()
}
