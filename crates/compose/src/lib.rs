//! Presets, configs and a service become one effective spec, with the origin of every leaf.
//!
//! [`select`] says which presets a service asks for, [`compose`] merges them in order (the service
//! wins over all) and then evaluates the templates in the merged spec's strings.

pub mod presets;
mod render;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use weir_merge::compose_merge;
use weir_schema::Node;

/// One layer below the service.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; empty for a preset of this program.
    pub namespace: String,
    /// `spec`.
    pub spec: Value,
}

/// What the templates know of the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Name of the default gateway.
    pub gateway_name: String,
    /// Namespace of the default gateway.
    pub gateway_namespace: String,
    /// Header of model-based routing.
    pub model_header: String,
    /// Whether pods serve TLS.
    pub tls: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            gateway_name: "kserve-ingress-gateway".to_owned(),
            gateway_namespace: weir_api::names::SYSTEM_NAMESPACE.to_owned(),
            model_header: "X-Gateway-Model-Name".to_owned(),
            tls: false,
        }
    }
}

/// The spec that a service really has.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The v1alpha2 spec, templates evaluated.
    pub spec: Value,
    /// Which layer each leaf came from, by JSON pointer; `service` is the service itself.
    pub origins: BTreeMap<String, String>,
    /// Names of the configs, in merge order.
    pub applied: Vec<String>,
}

/// Why there is no effective spec.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A template cannot be evaluated.
    #[error("config {config:?}, field {field}: {problem}, in {text:?}")]
    Template {
        /// Config that the text came from, `service` for the service itself.
        config: String,
        /// Path of the field, as `spec.template.containers[0].args[1]`.
        field: String,
        /// The whole text.
        text: String,
        /// What is wrong and where.
        problem: String,
    },
}

/// Returns the suffixes of the presets that `service` asks for, in merge order.
pub fn select(service: &Value) -> Vec<&'static str> {
    let mut selected = vec!["config-llm-template"];
    let route = service.pointer("/spec/router/route");
    let own = route.is_some_and(|route| route.pointer("/http/refs").is_some());
    if route.is_some_and(Value::is_object) && !own {
        selected.push("config-llm-router-route");
    }
    selected
}

/// Schema of the spec: it says which lists are merged by key (containers and env by name, ...).
static SPEC: LazyLock<Node> = LazyLock::new(|| {
    let schema = weir_api::crds::merge_schema();
    schema
        .pointer("/properties/spec")
        .and_then(|spec| Node::parse(spec).ok())
        .unwrap_or_else(Node::any)
});

/// Merges `configs` in order, the service on top, and evaluates the templates of the result.
///
/// # Errors
/// When a template cannot be evaluated.
pub fn compose(service: &Value, configs: &[Config], globals: &Globals) -> Result<Effective, Error> {
    let node = &*SPEC;
    let mut spec = json!({});
    let mut origins = BTreeMap::new();
    let own = Config {
        name: "service".to_owned(),
        namespace: String::new(),
        spec: service["spec"].clone(),
    };
    for layer in configs.iter().chain([&own]) {
        let merged = compose_merge(&spec, &layer.spec, node);
        note_origins(&spec, &merged, &layer.name, &mut origins);
        spec = merged;
    }
    let name = service
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if spec
        .pointer("/model/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
        && spec["model"].is_object()
    {
        spec["model"]["name"] = Value::from(name);
    }
    let root = json!({
        "ObjectMeta": service["metadata"],
        "Name": name,
        "Namespace": service.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default"),
        "Spec": spec,
        "GlobalConfig": {
            "IngressGatewayName": globals.gateway_name,
            "IngressGatewayNamespace": globals.gateway_namespace,
            "ModelBasedRoutingHeaderName": globals.model_header,
            "EnableTLS": globals.tls,
        },
    });
    render::leaves(&mut spec, "", &root, &origins)?;
    let applied = configs.iter().map(|config| config.name.clone()).collect();
    Ok(Effective {
        spec,
        origins,
        applied,
    })
}

/// Records `layer` for every leaf of `after` that `before` does not have with the same value.
fn note_origins(
    before: &Value,
    after: &Value,
    layer: &str,
    origins: &mut BTreeMap<String, String>,
) {
    let mut old = BTreeMap::new();
    collect(before, String::new(), &mut old);
    let mut new = BTreeMap::new();
    collect(after, String::new(), &mut new);
    // List indices move when lists merge: a value keeps its origin if it stood anywhere before.
    let known: BTreeMap<String, String> = old
        .iter()
        .filter_map(|(path, value)| Some((value.clone(), origins.get(path)?.clone())))
        .collect();
    *origins = new
        .into_iter()
        .map(|(path, value)| {
            let origin = match (old.get(&path) == Some(&value), known.get(&value)) {
                (true, _) => origins.get(&path).cloned(),
                (false, Some(origin)) if path.contains("/0") => Some(origin.clone()),
                _ => None,
            };
            (path, origin.unwrap_or_else(|| layer.to_owned()))
        })
        .collect();
}

fn collect(value: &Value, path: String, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{path}/{key}"), into);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                collect(value, format!("{path}/{index}"), into);
            }
        }
        leaf => {
            into.insert(path, leaf.to_string());
        }
    }
}
