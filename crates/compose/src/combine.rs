//! Which configs a service has, and what they and the service come to.
//!
//! The controller asks its cache for configs, `weir render` the files that it was given; everything else is
//! decided here, so that both come to the same spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use weir_api::names::{PRESET_PREFIX, SYSTEM_NAMESPACE};
use weir_manifest::Document;

use crate::picker;
use crate::select::{suffixes, together};
use crate::{
    Config, Effective, Error, Globals, Origins, Spec, compose, compose_with_origins, presets,
};

/// Suffixes of the preset names that are pinned per service.
pub const WELL_KNOWN: [&str; 14] = [
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

/// Where configs are looked for, and under which names.
#[derive(Clone, Debug)]
pub struct Naming {
    /// Namespace of shared configs.
    pub system_namespace: String,
    /// Prefix of preset names.
    pub config_prefix: String,
    /// Preset names that the service is pinned to, by annotation.
    pub pinned: BTreeMap<String, String>,
}

impl Combined {
    /// The origin of every leaf. The layers are merged once more for it, since few ask.
    ///
    /// # Errors
    /// None, when `service` and `globals` are those that the spec was made with.
    pub fn origins(&self, service: &Value, globals: &Globals) -> Result<Origins, Error> {
        let configs: Vec<Config> = self.layers.iter().map(|(_, one)| one.clone()).collect();
        compose_with_origins(service, &configs, globals).map(|(_, origins)| origins)
    }
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            system_namespace: SYSTEM_NAMESPACE.to_owned(),
            config_prefix: PRESET_PREFIX.to_owned(),
            pinned: BTreeMap::new(),
        }
    }
}

/// What a config is to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The service's shape asked for it.
    Preset,
    /// The service names it in `baseRefs`.
    UserRef,
}

impl Source {
    /// As in `status.appliedConfigs`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preset => "Preset",
            Self::UserRef => "UserRef",
        }
    }
}

/// The effective spec and the layers that it came from.
#[derive(Clone, Debug)]
pub struct Combined {
    /// The spec.
    pub effective: Effective,
    /// The configs below the service, in merge order.
    pub layers: Vec<(Source, Config)>,
}

/// Why there is no effective spec; `E` is what the search for configs fails with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError<E> {
    /// The search failed.
    #[error("{0}")]
    Search(E),
    /// Nowhere is a config of that name.
    #[error(
        "LLMInferenceServiceConfig \"{name}\" not found in namespaces [{namespace} {system_namespace}]"
    )]
    NotFound {
        /// The config.
        name: String,
        /// Namespace of the service.
        namespace: String,
        /// Namespace of shared configs.
        system_namespace: String,
        /// Its place in `spec.baseRefs`; none for a preset.
        base: Option<usize>,
    },
    /// The layers do not go together.
    #[error("{0}")]
    Compose(Error),
    /// The picker's configuration is not where the spec says.
    #[error(
        "spec.router.scheduler.config.ref: there is no key {key:?} in a ConfigMap {name:?} in {}",
        among(.namespaces)
    )]
    NoPickerConfig {
        /// The ConfigMap.
        name: String,
        /// The key in it.
        key: String,
        /// Where it was looked for.
        namespaces: Vec<String>,
    },
}

/// Where stored objects are looked for.
pub trait Search {
    /// Why a search can fail.
    type Error;

    /// The config of a namespace and name.
    ///
    /// # Errors
    /// When it cannot be told whether there is one.
    fn config(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Self::Error>;

    /// The ConfigMap of a namespace and name.
    ///
    /// # Errors
    /// When it cannot be told whether there is one.
    fn config_map(
        &mut self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Self::Error>;
}

/// Where there are no ConfigMaps, a search for configs is enough.
impl<F, E> Search for F
where
    F: FnMut(&str, &str) -> Result<Option<Arc<Value>>, E>,
{
    type Error = E;

    fn config(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, E> {
        self(namespace, name)
    }

    fn config_map(&mut self, _: &str, _: &str) -> Result<Option<Arc<Value>>, E> {
        Ok(None)
    }
}

fn among(namespaces: &[String]) -> String {
    let word = if namespaces.len() > 1 {
        "namespaces"
    } else {
        "namespace"
    };
    format!("{word} {}", namespaces.join(" and "))
}

/// Finds the presets and base references of `service` and combines them with it. Configs and the picker's
/// configuration are looked for with `search`.
///
/// # Errors
/// When a config is missing, the layers do not go together or the search fails.
pub fn combine<S: Search>(
    service: &Value,
    globals: &Globals,
    naming: &Naming,
    mut search: S,
) -> Result<Combined, CombineError<S::Error>> {
    let namespace = service
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let look = |search: &mut S, name: &str, base: Option<usize>| {
        find_config(naming, &namespace, name, |of, name| search.config(of, name))
            .map_err(CombineError::Search)?
            .ok_or_else(|| CombineError::NotFound {
                name: name.to_owned(),
                namespace: namespace.clone(),
                system_namespace: naming.system_namespace.clone(),
                base,
            })
    };
    let mut bases = Vec::new();
    let references = service.pointer("/spec/baseRefs").and_then(Value::as_array);
    for (index, one) in references.into_iter().flatten().enumerate() {
        bases.push(look(
            &mut search,
            one["name"].as_str().unwrap_or_default(),
            Some(index),
        )?);
    }
    // What any base reference turns on counts as on; presets take no part in this.
    let detected = together(service, &bases);
    let referenced = match picker::reference(&detected) {
        Some(reference) => reference.find(naming, &namespace, &mut search)?,
        None => None,
    };
    let mut layers = Vec::new();
    for suffix in suffixes(&detected, referenced.as_deref()) {
        let current = format!("{}{suffix}", naming.config_prefix);
        let pinned = naming.pinned.get(&format!("serving.kserve.io/{suffix}"));
        // The route preset always follows the current prefix.
        let name = pinned
            .filter(|_| suffix != "config-llm-router-route")
            .unwrap_or(&current);
        layers.push((Source::Preset, look(&mut search, name, None)?));
    }
    layers.extend(bases.into_iter().map(|base| (Source::UserRef, base)));
    let configs: Vec<Config> = layers.iter().map(|(_, config)| config.clone()).collect();
    let mut effective = compose(service, &configs, globals).map_err(CombineError::Compose)?;
    if let Some(reference) = picker::reference(&effective.spec) {
        let text = reference.find(naming, &namespace, &mut search)?;
        let text = text.ok_or_else(|| reference.missing(naming, &namespace))?;
        picker::put(&mut effective, text);
    }
    effective.notes.extend(picker::deprecated(&effective.spec));
    Ok(Combined { effective, layers })
}

/// The config in the service's namespace, else in the system's, else the one that this program carries.
///
/// # Errors
/// When the search fails.
pub fn find_config<E>(
    naming: &Naming,
    namespace: &str,
    name: &str,
    mut find: impl FnMut(&str, &str) -> Result<Option<Arc<Value>>, E>,
) -> Result<Option<Config>, E> {
    let mut terminating = None;
    for namespace in [namespace, naming.system_namespace.as_str()] {
        let Some(found) = find(namespace, name)? else {
            continue;
        };
        let terminates = found.pointer("/metadata/deletionTimestamp").is_some();
        let config = Config {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            spec: Spec::of_object(found),
        };
        if !terminates {
            return Ok(Some(config));
        }
        terminating = terminating.or(Some(config));
    }
    // One on its way out serves as long as there is nothing else: else its users would keep it for ever.
    Ok(carried(naming, name).or(terminating))
}

/// The preset of this program that has the name, in the system's namespace.
fn carried(naming: &Naming, name: &str) -> Option<Config> {
    let suffix = suffix(naming, name)?;
    Some(Config {
        name: name.to_owned(),
        namespace: naming.system_namespace.clone(),
        spec: presets::find(suffix)?.spec.clone(),
    })
}

/// The file of the preset that this program carries under a name.
#[must_use]
pub fn carried_document(naming: &Naming, name: &str) -> Option<&'static Document> {
    presets::document(suffix(naming, name)?)
}

fn suffix<'a>(naming: &Naming, name: &'a str) -> Option<&'a str> {
    let prefixes = [naming.config_prefix.as_str(), PRESET_PREFIX];
    let suffix = prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    WELL_KNOWN.contains(&suffix).then_some(suffix)
}
