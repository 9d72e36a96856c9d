//! Presets, configs and a service become one effective spec, with the origin of every leaf.
//!
//! [`select`] says which presets a service asks for, [`compose`] merges them in order (the service
//! wins over all) and then evaluates the templates in the merged spec's strings.

mod cache;
mod combine;
mod data;
mod edits;
mod fix;
mod functions;
mod layer;
mod note;
mod origin;
mod picker;
pub mod presets;
mod render;
mod select;
mod words;

pub use combine::{
    CombineError, Combined, Naming, Search, Source, WELL_KNOWN, carried_document, combine,
    find_config,
};
pub use layer::{Config, Spec};
pub use note::Note;
pub use picker::as_sent;
pub use select::{detect, select, select_with};

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use weir_schema::Node;

use crate::origin::Traced;

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
    /// Names of the configs, in merge order.
    pub applied: Vec<String>,
    /// What a user should hear of, as a warning.
    pub notes: Vec<Note>,
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

/// Which layer each leaf of an effective spec came from, by JSON pointer: `service`, `NAMESPACE/NAME` of a config,
/// or `rule` for what follows from the rest. A default has no entry.
pub type Origins = BTreeMap<String, String>;

/// Merges `configs` in order, the service on top, and evaluates the templates of the result.
///
/// # Errors
/// When an item of a keyed list has no key, or a template cannot be evaluated.
pub fn compose(service: &Value, configs: &[Config], globals: &Globals) -> Result<Effective, Error> {
    match run(service, configs, globals, false) {
        Ok((effective, _)) => Ok(effective),
        // The message names the layer of the text: only now it pays to know.
        Err(Error::Template { .. }) => {
            run(service, configs, globals, true).map(|(effective, _)| effective)
        }
        Err(error) => Err(error),
    }
}

/// As [`compose`], with the origin of every leaf. It takes about twice as long.
///
/// # Errors
/// As [`compose`].
pub fn compose_with_origins(
    service: &Value,
    configs: &[Config],
    globals: &Globals,
) -> Result<(Effective, Origins), Error> {
    let (effective, traced) = run(service, configs, globals, true)?;
    let origins = traced.map(|traced| traced.by_pointer());
    Ok((effective, origins.unwrap_or_default()))
}

/// What the service itself is called among the layers.
const SERVICE: &str = "service";

fn run(
    service: &Value,
    configs: &[Config],
    globals: &Globals,
    trace: bool,
) -> Result<(Effective, Option<Traced>), Error> {
    let node = &*SPEC;
    let name = service.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.unwrap_or_default();
    let origin = |index: usize| {
        let config = configs.get(index).map(Config::origin);
        config.unwrap_or_else(|| SERVICE.to_owned())
    };
    let layers = layer::layers(service, configs);
    let mut spec = json!({});
    for (index, layer) in layers.iter().enumerate() {
        weir_merge::merge_onto(&mut spec, layer, node).map_err(|error| Error::Merge {
            config: origin(index),
            problem: error.to_string(),
        })?;
    }
    if model_name(&spec).is_none() && spec.get("model").is_some_and(Value::is_object) {
        spec["model"]["name"] = Value::from(name);
    }
    let mut traced = trace.then(|| {
        let named: Vec<(String, &Value)> = layers
            .iter()
            .enumerate()
            .map(|(index, layer)| (origin(index), &**layer))
            .collect();
        Traced::of(&spec, &named, node)
    });
    fix::Fixes {
        spec: &mut spec,
        traced: &mut traced,
        name,
    }
    .before();
    let notes = render::spec(&mut spec, service, globals, node, &mut traced)?;
    fix::Fixes {
        spec: &mut spec,
        traced: &mut traced,
        name,
    }
    .after();
    let applied = configs.iter().map(|config| config.name.clone()).collect();
    let effective = Effective {
        spec,
        applied,
        notes,
    };
    Ok((effective, traced))
}

fn model_name(spec: &Value) -> Option<&str> {
    spec.pointer("/model/name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
}
