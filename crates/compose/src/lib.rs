//! Presets, configs and a service become one effective spec, with the origin of every leaf.
//!
//! [`select`] says which presets a service asks for, [`compose`] merges them in order (the service
//! wins over all) and then evaluates the templates in the merged spec's strings.

mod combine;
mod fix;
mod functions;
mod origin;
pub mod presets;
mod render;
mod select;
mod words;

pub use combine::{
    CombineError, Combined, Naming, Source, WELL_KNOWN, carried_document, combine, find_config,
};

pub use fix::{picker_reference, resolve_picker_reference};
pub use select::{detect, select, select_with};

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use weir_merge::try_compose_merge;
use weir_schema::Node;

use crate::origin::Origins;

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
    /// What a user should hear of, as a warning.
    pub notes: Vec<String>,
}

/// Why there is no effective spec.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A layer cannot be put on top of those below it.
    #[error("config {config:?}: spec.{problem}")]
    Merge {
        /// The layer, `service` for the service itself.
        config: String,
        /// Which field, and what is wrong with it.
        problem: String,
    },
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
/// When an item of a keyed list has no key, or a template cannot be evaluated.
pub fn compose(service: &Value, configs: &[Config], globals: &Globals) -> Result<Effective, Error> {
    let node = &*SPEC;
    let name = service
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut own = service.get("spec").cloned().unwrap_or_else(|| json!({}));
    yield_default_name(service, &mut own, configs);
    let mut spec = json!({});
    let mut origins = Origins::default();
    let layers = configs
        .iter()
        .map(|config| (config.origin(), config.spec.clone()));
    for (origin, mut layer) in layers.chain([("service".to_owned(), own)]) {
        drop_nulls(&mut layer);
        drop_default_rules(&mut layer);
        spec = merge_layer(&spec, &layer).map_err(|error| Error::Merge {
            config: origin.clone(),
            problem: error.to_string(),
        })?;
        origins.note(layer, origin);
    }
    if model_name(&spec).is_none() && spec.get("model").is_some_and(Value::is_object) {
        spec["model"]["name"] = Value::from(name);
    }
    let mut by_pointer = origins.by_pointer(&spec, node);
    fix::Fixes {
        spec: &mut spec,
        origins: &mut by_pointer,
        name,
    }
    .before();
    let mut rendered = render::spec(&mut spec, service, globals, node, &by_pointer)?;
    fix::Fixes {
        spec: &mut spec,
        origins: &mut rendered.origins,
        name,
    }
    .after();
    let applied = configs.iter().map(|config| config.name.clone()).collect();
    Ok(Effective {
        spec,
        origins: rendered.origins,
        applied,
        notes: rendered.notes,
    })
}

/// Puts `layer` on top of `spec`.
fn merge_layer(spec: &Value, layer: &Value) -> Result<Value, weir_merge::Error> {
    try_compose_merge(spec, layer, &SPEC)
}

/// A name that is only the default gives way to that of a config.
fn yield_default_name(service: &Value, own: &mut Value, configs: &[Config]) {
    let name = service.pointer("/metadata/name").and_then(Value::as_str);
    if model_name(own) == name
        && configs
            .iter()
            .any(|config| model_name(&config.spec).is_some())
        && let Some(model) = own.get_mut("model").and_then(Value::as_object_mut)
    {
        model.remove("name");
    }
}

/// A null is a field that is not set: an API server drops it, so what comes from a file has none either. A
/// picker's own configuration stays as it is.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            for (key, value) in map {
                if key != "inline" {
                    drop_nulls(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl Config {
    fn origin(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

fn model_name(spec: &Value) -> Option<&str> {
    spec.pointer("/model/name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
}

/// One rule that only matches `/` is what other versions of the CRD fill in where rules are absent; taken at
/// its word it would replace every rule of the preset by one that leads nowhere.
fn drop_default_rules(spec: &mut Value) {
    let filled = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]);
    if let Some(route) = spec
        .pointer_mut("/router/route/http/spec")
        .and_then(Value::as_object_mut)
        && route.get("rules") == Some(&filled)
    {
        route.remove("rules");
    }
}
