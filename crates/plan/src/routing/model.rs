//! Routing by the name of the model: which matches a route keeps, and the copies for adapters.

use serde_json::{Value, json};
use weir_api::names::annotation;

use crate::{Error, Facts, ModelRouting, ServiceIdentity, items, text};

/// Matches that one rule may have.
const MATCHES_OF_A_RULE: usize = 64;
/// Matches that all rules of a route may have.
const MATCHES: usize = 128;
/// Rules that a route may have.
const RULES: usize = 16;

/// Makes a route's rules route by model, or not, as the service, the gateways and the cluster want it.
///
/// # Errors
/// When the adapters need more matches than a route may have.
pub(super) fn apply(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
    body: &mut Value,
) -> Result<(), Error> {
    if !enabled(spec, facts) {
        strip(body, &facts.model_header);
        return Ok(());
    }
    let mut adapters: Vec<&str> = items(spec, "/model/lora/adapters")
        .iter()
        .map(|adapter| text(adapter, "/name"))
        .filter(|name| !name.is_empty())
        .collect();
    if adapters.is_empty() {
        return Ok(());
    }
    adapters.sort_unstable();
    let values: Vec<String> = adapters
        .iter()
        .map(|name| format!("publishers/{}/models/{name}", service.namespace))
        .collect();
    let Some(rules) = body.get_mut("rules").and_then(Value::as_array_mut) else {
        return Ok(());
    };
    let mut all = Vec::with_capacity(rules.len() + 1);
    for rule in std::mem::take(rules) {
        all.extend(with_adapters(rule, &values, &facts.model_header));
    }
    let matches = all
        .iter()
        .map(|rule| items(rule, "/matches").len().max(1))
        .sum();
    if all.len() > RULES || matches > MATCHES {
        return Err(Error::TooManyAdapters {
            adapters: adapters.len(),
            rules: all.len(),
            matches,
        });
    }
    *rules = all;
    Ok(())
}

fn enabled(spec: &Value, facts: &Facts) -> bool {
    let pods_know = spec
        .get("annotations")
        .and_then(|all| all.get(annotation::MODEL_BASED_ROUTING))
        .is_some_and(|value| value == "true");
    pods_know
        && match facts.model_routing {
            ModelRouting::Enabled => !facts.gateway_opts_out,
            ModelRouting::Forced => true,
            ModelRouting::Disabled => false,
        }
}

/// Drops matches by the model header, and rules that are left without a match.
fn strip(body: &mut Value, header: &str) {
    let Some(rules) = body.get_mut("rules").and_then(Value::as_array_mut) else {
        return;
    };
    for rule in rules.iter_mut() {
        if let Some(matches) = rule.get_mut("matches").and_then(Value::as_array_mut) {
            matches.retain(|one| !items(one, "/headers").iter().any(|h| h["name"] == header));
        }
    }
    rules.retain(|rule| !items(rule, "/matches").is_empty());
}

/// The rule with a copy of every match by the header for each adapter; what does not fit goes to rules after it.
fn with_adapters(mut rule: Value, values: &[String], header: &str) -> Vec<Value> {
    let original = items(&rule, "/matches").to_vec();
    let by_header: Vec<&Value> = original
        .iter()
        .filter(|one| names_header(one, header))
        .collect();
    if by_header.is_empty() {
        return vec![rule];
    }
    let copies = |values: &[String]| -> Vec<Value> {
        let of_match = |one: &&Value| {
            values
                .iter()
                .map(|value| with_value(one, header, value))
                .collect::<Vec<_>>()
        };
        by_header.iter().flat_map(of_match).collect()
    };
    let room = |taken: usize| MATCHES_OF_A_RULE.saturating_sub(taken) / by_header.len();
    let (first, mut rest) = values.split_at(room(original.len()).min(values.len()));
    let mut rules = Vec::new();
    let mut matches = original.clone();
    matches.extend(copies(first));
    rule["matches"] = Value::Array(matches);
    let template = rule.clone();
    rules.push(rule);
    while !rest.is_empty() {
        let (next, more) = rest.split_at(room(0).clamp(1, rest.len()));
        let mut copy = template.clone();
        copy["matches"] = Value::Array(copies(next));
        if let Some(name) = template.get("name").and_then(Value::as_str) {
            copy["name"] = json!(format!("{name}-{}", rules.len() + 1));
        }
        rules.push(copy);
        rest = more;
    }
    rules
}

fn names_header(one: &Value, header: &str) -> bool {
    items(one, "/headers")
        .iter()
        .any(|named| named["name"] == header)
}

fn with_value(one: &Value, header: &str, value: &str) -> Value {
    let mut copy = one.clone();
    let headers = copy.get_mut("headers").and_then(Value::as_array_mut);
    for named in headers
        .into_iter()
        .flatten()
        .filter(|named| named["name"] == header)
    {
        named["value"] = json!(value);
    }
    copy
}

/// Whether a gateway declines model-based routing by its annotation.
#[must_use]
pub fn opts_out(gateway: &Value) -> bool {
    let annotations = gateway.pointer("/metadata/annotations");
    annotations
        .and_then(|all| all.get(annotation::MODEL_BASED_ROUTING))
        .is_some_and(|value| value == "false")
}
