//! One plugin that tokenized, indexed and scored became three.

use serde_json::{Map, Value, json};

use super::object_at;
use super::plugins::Plugins;

/// The plugin that is taken apart.
pub(super) const SCORER: &str = "precise-prefix-cache-scorer";
/// What scores by what a producer knows.
pub(super) const PREFIX_SCORER: &str = "prefix-cache-scorer";
/// Parameter of the scorer that names the producer.
pub(super) const PRODUCER_NAME: &str = "prefixMatchInfoProducerName";
const PRODUCER: &str = "precise-prefix-cache-producer";
const TOKENS: &str = "token-producer";
/// Where the tokenizer has the model.
const MODEL: &str = "/mnt/models/base";

/// Takes the first precise scorer of a configuration apart.
pub(super) fn decompose(config: &mut Value, url: &str) {
    let mut plugins = Plugins::of(config);
    let Some(list) = plugins.list_mut() else {
        return;
    };
    let Some(at) = list.iter().position(|plugin| plugin["type"] == SCORER) else {
        return;
    };
    let name = |plugin: &Value| {
        plugin
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let scorer = list[at].clone();
    let own_name = name(&scorer).filter(|name| name != SCORER);
    let gone = |plugin: &Value| plugin["type"] == SCORER || plugin["type"] == PREFIX_SCORER;
    let other_names: Vec<String> = list
        .iter()
        .filter(|plugin| gone(plugin))
        .filter_map(name)
        .filter(|name| Some(name) != own_name.as_ref())
        .collect();
    list.retain(|plugin| !gone(plugin));

    let mut producer = json!({"type": PRODUCER});
    let parameters = producer_parameters(&scorer);
    if !parameters.is_empty() {
        producer["parameters"] = Value::Object(parameters);
    }
    let mut new_scorer = json!({"type": PREFIX_SCORER, "parameters": {PRODUCER_NAME: PRODUCER}});
    if let Some(own) = &own_name {
        new_scorer["name"] = json!(own);
    }
    let tokens = json!({"type": TOKENS, "parameters": {"modelName": MODEL, "vllm": {"url": url}}});
    let at = at.min(list.len());
    list.splice(at..at, [tokens, producer, new_scorer]);

    let scorer_name = own_name.as_deref().unwrap_or(PREFIX_SCORER);
    for old in other_names
        .iter()
        .map(String::as_str)
        .chain([SCORER, PREFIX_SCORER])
    {
        plugins.rename_references(old, scorer_name);
    }
    for references in plugins.profiles_mut() {
        let mut seen = false;
        references.retain(|reference| {
            let is_scorer = reference["pluginRef"] == scorer_name;
            !(is_scorer && std::mem::replace(&mut seen, true))
        });
    }
}

/// What the old plugin was told, as the producer wants it.
fn producer_parameters(scorer: &Value) -> Map<String, Value> {
    let parameters = scorer.get("parameters").and_then(Value::as_object);
    let mut parameters = parameters.cloned().unwrap_or_default();
    if let Some(indexer) = parameters
        .get_mut("indexerConfig")
        .and_then(Value::as_object_mut)
    {
        indexer.remove("tokenizersPoolConfig");
        let nested = indexer.remove("tokenProcessorConfig");
        if indexer.is_empty() {
            parameters.remove("indexerConfig");
        }
        if let Some(nested) = nested {
            parameters.entry("tokenProcessorConfig").or_insert(nested);
        }
    }
    parameters
}

/// Tells every producer of tokens the model and the tokenizer, where it was not told.
pub(super) fn point_at_tokenizer(config: &mut Value, url: &str) {
    for plugin in Plugins::of(config).all_mut() {
        if plugin["type"] != TOKENS {
            continue;
        }
        let parameters = object_at(plugin, "parameters");
        if parameters.get("modelName").is_none() {
            parameters["modelName"] = json!(MODEL);
        }
        let vllm = object_at(parameters, "vllm");
        if vllm.get("url").is_none() {
            vllm["url"] = json!(url);
        }
    }
}
