//! A cluster that consists of documents: what the controller would make of the services among them.
//!
//! `weir render`, `weir validate` and `weir explain` read files into an [`Offline`]; the search for configs, the
//! composition and the plan are those of the controller (`weir_compose`, `weir_plan`).

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::{self, Kind, kind};
use weir_compose::{CombineError, Combined, Naming, Origins, Search, Source};
use weir_manifest::{Document, Position};
use weir_plan::{ServiceIdentity, Settings, SettingsError};

use crate::kinds::{Kinds, Known};
use crate::locate;

/// What only a cluster knows, or the command line.
#[derive(Clone, Debug)]
pub struct Given {
    /// Namespace of documents that name none.
    pub namespace: String,
    /// Namespace of shared configs and of the ConfigMap `inferenceservice-config`.
    pub system_namespace: String,
    /// Prefix of preset names.
    pub config_prefix: String,
    /// Served API versions beside the built-in ones, as `gateway.networking.k8s.io/v1`.
    pub api_versions: Vec<String>,
    /// The default gateway as `namespace/name`, above what the ConfigMap says.
    pub gateway: Option<(String, String)>,
    /// Whether pods serve TLS, above what the ConfigMap says.
    pub tls: Option<bool>,
}

impl Default for Given {
    fn default() -> Self {
        let served = [
            "gateway.networking.k8s.io/v1",
            "inference.networking.k8s.io/v1",
            "leaderworkerset.x-k8s.io/v1",
        ];
        Self {
            namespace: "default".to_owned(),
            system_namespace: names::SYSTEM_NAMESPACE.to_owned(),
            config_prefix: names::PRESET_PREFIX.to_owned(),
            api_versions: served.map(str::to_owned).to_vec(),
            gateway: None,
            tls: None,
        }
    }
}

/// One object of a document.
#[derive(Clone, Debug)]
pub struct Object<'d> {
    /// The document that it stands in.
    pub document: &'d Document,
    /// Where in the document: the empty pointer, or `/items/N` in a `List`.
    pub at: String,
    /// As a server would have stored it: in the hub version, with its namespace and defaults.
    pub value: Value,
}

/// Why a service has no objects.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no effective spec.
    #[error("{0}")]
    Combine(#[from] CombineError<Infallible>),
    /// The effective spec cannot be turned into objects.
    #[error("{0}")]
    Plan(#[from] weir_plan::Error),
    /// The cluster lacks what the service needs.
    #[error("{0}")]
    NotServed(String),
}

/// Documents, taken as a cluster.
#[derive(Debug)]
pub struct Offline<'d> {
    given: Given,
    naming: Naming,
    settings: Settings,
    services: Vec<Object<'d>>,
    configs: Vec<Object<'d>>,
    gateways: Vec<Object<'d>>,
    maps: Vec<Object<'d>>,
}

/// The documents, as something to be searched.
struct Stored<'a, 'd>(&'a Offline<'d>);

impl Search for Stored<'_, '_> {
    type Error = Infallible;

    fn config(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Infallible> {
        self.0.find(namespace, name)
    }

    fn config_map(
        &mut self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Infallible> {
        let is = |map: &&Object<'_>| map.namespace() == namespace && map.name() == name;
        let found = self.0.maps.iter().find(is);
        Ok(found.map(|map| Arc::new(map.value.clone())))
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or the preset's file in the source of this program.
    pub source: String,
    /// Line and column in it.
    pub position: Position,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{}:{line}:{column}", self.source)
    }
}

impl<'d> Offline<'d> {
    /// Takes services, configs, gateways and the global ConfigMap out of `documents`; the others have no
    /// influence on what a service comes to.
    ///
    /// # Errors
    /// When the ConfigMap cannot be read.
    pub fn read(
        documents: impl IntoIterator<Item = &'d Document>,
        given: Given,
    ) -> Result<Self, SettingsError> {
        let (mut services, mut configs, mut gateways) = (Vec::new(), Vec::new(), Vec::new());
        let (mut map, mut maps) = (None, Vec::new());
        for (document, at, value) in documents.into_iter().flat_map(unfold) {
            let object = || Object {
                document,
                at: at.clone(),
                value: stored(value, &given.namespace),
            };
            let group = value["apiVersion"].as_str().unwrap_or_default();
            let ours = group.split('/').next() == Some(names::GROUP);
            match value["kind"].as_str() {
                Some(names::SERVICE_KIND) if ours => services.push(object()),
                Some(names::CONFIG_KIND) if ours => configs.push(object()),
                Some("Gateway") => gateways.push(object()),
                Some("ConfigMap") if value["metadata"]["name"] == names::GLOBAL_CONFIG_MAP => {
                    map = Some(value);
                }
                Some("ConfigMap") => maps.push(object()),
                _ => {}
            }
        }
        let mut settings = Settings::read(map, &given.system_namespace)?;
        if let Some((namespace, name)) = &given.gateway {
            settings.gateway_namespace.clone_from(namespace);
            settings.gateway_name.clone_from(name);
        }
        settings.tls = given.tls.unwrap_or(settings.tls);
        let naming = Naming {
            system_namespace: given.system_namespace.clone(),
            config_prefix: given.config_prefix.clone(),
            ..Naming::default()
        };
        Ok(Self {
            given,
            naming,
            settings,
            services,
            configs,
            gateways,
            maps,
        })
    }

    /// The services, in the order of the documents.
    #[must_use]
    pub fn services(&self) -> &[Object<'d>] {
        &self.services
    }

    /// Namespaces in which a service's configs are looked for.
    #[must_use]
    pub fn config_namespaces<'a>(&'a self, service: &'a Object<'_>) -> [&'a str; 2] {
        [service.namespace(), &self.naming.system_namespace]
    }

    /// Names of the configs that a service could name.
    pub fn config_names<'a>(&'a self, service: &'a Object<'_>) -> impl Iterator<Item = &'a str> {
        let namespaces = self.config_namespaces(service);
        self.configs
            .iter()
            .filter(move |config| namespaces.contains(&config.namespace()))
            .map(Object::name)
    }

    /// Whether a service's config of this name is there.
    #[must_use]
    pub fn has_config(&self, service: &Object<'_>, name: &str) -> bool {
        let found = weir_compose::find_config(&self.naming, service.namespace(), name, |a, b| {
            self.find(a, b)
        });
        matches!(found, Ok(Some(_)))
    }

    /// The effective spec of a service and its layers.
    ///
    /// # Errors
    /// When a config is missing or the layers do not go together.
    pub fn combine(&self, service: &Object<'_>) -> Result<Combined, CombineError<Infallible>> {
        let globals = self.settings.globals();
        weir_compose::combine(&service.value, &globals, &self.naming, Stored(self))
    }

    /// The origin of every leaf of what [`Offline::combine`] made.
    #[must_use]
    pub fn origins(&self, service: &Object<'_>, combined: &Combined) -> Origins {
        let origins = combined.origins(&service.value, &self.settings.globals());
        // It was composed before, of the same.
        origins.unwrap_or_default()
    }

    fn find(&self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Infallible> {
        let config = self.config(namespace, name);
        Ok(config.map(|config| Arc::new(config.value.clone())))
    }

    fn config(&self, namespace: &str, name: &str) -> Option<&Object<'d>> {
        let is = |config: &&Object<'_>| config.namespace() == namespace && config.name() == name;
        self.configs.iter().find(is)
    }

    /// The objects of a service with the effective spec `spec`, in apply order. The Secret with the serving
    /// certificate is not among them: its key is made in the cluster.
    ///
    /// # Errors
    /// When the spec cannot be turned into objects, or the cluster lacks kinds that it needs.
    pub fn plan(&self, service: &Object<'_>, spec: &Value) -> Result<Vec<Value>, Error> {
        let identity = ServiceIdentity::of(&service.value);
        let mut facts = self.settings.facts();
        let references = spec
            .pointer("/router/gateway/refs")
            .and_then(Value::as_array);
        facts.gateway_opts_out = references.into_iter().flatten().any(|reference| {
            let namespace = reference["namespace"].as_str();
            let namespace = namespace.unwrap_or_else(|| service.namespace());
            let is = |gateway: &&Object<'_>| {
                reference["name"] == gateway.name() && namespace == gateway.namespace()
            };
            let gateway = self.gateways.iter().find(is);
            gateway.is_some_and(|gateway| weir_plan::opts_out(&gateway.value))
        });
        let objects = weir_plan::desired(&identity, spec, &facts)?;
        let planned = |kind: Kind| objects.iter().any(|object| object["kind"] == kind.kind);
        let served = |kind: Kind| {
            // Claim templates are built in, since Kubernetes 1.34.
            kind == kind::RESOURCE_CLAIM_TEMPLATE
                || self.given.api_versions.contains(&kind.api_version())
        };
        let lacking = weir_plan::not_served(spec, planned(kind::HTTP_ROUTE), served)
            .or_else(|| weir_plan::workloads_not_served(&objects, served));
        match lacking {
            Some(failure) => Err(Error::NotServed(failure.message)),
            None => Ok(objects),
        }
    }

    /// The spec of a layer as it was written, in the hub version.
    pub(crate) fn spec_of(&self, service: &Object<'_>, layer: &str) -> Option<Value> {
        if layer == SERVICE {
            return service.value.get("spec").cloned();
        }
        let (namespace, name) = layer.split_once('/')?;
        let found =
            weir_compose::find_config(&self.naming, namespace, name, |a, b| self.find(a, b));
        found
            .ok()
            .flatten()
            .map(|config| Value::clone(&config.spec))
    }

    /// Where the value of a layer at a pointer into its spec was written, when it was; the layer is that of
    /// [`Origins`], the nearest thing around counts with `near`.
    #[must_use]
    pub fn place(
        &self,
        service: &Object<'_>,
        layer: &str,
        pointer: &str,
        near: bool,
    ) -> Option<Place> {
        let (document, at) = if layer == SERVICE {
            (service.document, service.at.as_str())
        } else {
            let (namespace, name) = layer.split_once('/')?;
            match self.config(namespace, name) {
                Some(config) => (config.document, config.at.as_str()),
                None => (weir_compose::carried_document(&self.naming, name)?, ""),
            }
        };
        let pointer = format!("{at}/spec{pointer}");
        let position = if near {
            document.nearest(&pointer)
        } else {
            document.key_position(&pointer)?
        };
        Some(Place {
            source: document.source().to_owned(),
            position,
        })
    }
}

/// The layer that is the service itself.
pub const SERVICE: &str = "service";

/// What a layer is called where people read it.
#[must_use]
pub fn describe(layer: &str, combined: &Combined) -> String {
    let is = |(_, config): &&(Source, weir_compose::Config)| {
        layer.split_once('/') == Some((config.namespace.as_str(), config.name.as_str()))
    };
    match combined.layers.iter().find(is) {
        Some((Source::Preset, config)) => format!("preset {}", config.name),
        Some((Source::UserRef, config)) => format!("baseRef {}", config.name),
        None => layer.to_owned(),
    }
}

impl Object<'_> {
    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Where the value at a pointer stands, or the nearest thing around it.
    #[must_use]
    pub fn nearest(&self, pointer: &str) -> Position {
        self.document.nearest(&format!("{}{pointer}", self.at))
    }
}

/// The objects of a document: itself, or the items of a `List`.
fn unfold(document: &Document) -> Vec<(&Document, String, &Value)> {
    let value = &document.value;
    if value["kind"] == "List" && value["apiVersion"] == "v1" {
        let items = value["items"].as_array().map_or(&[][..], Vec::as_slice);
        let item = |(index, item)| (document, format!("/items/{index}"), item);
        return items.iter().enumerate().map(item).collect();
    }
    vec![(document, String::new(), value)]
}

/// The object as a server would have stored it.
fn stored(value: &Value, namespace: &str) -> Value {
    let mut object = value.clone();
    if object["metadata"].is_object() && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let mut object = match weir_api::convert(object.clone(), names::VERSION) {
        Ok(hub) => hub,
        Err(_) => object,
    };
    let (api_version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    let known = Kinds::default().get(api_version.unwrap_or_default(), kind.unwrap_or_default());
    weir_api::default(&mut object);
    if let Known::Schema(node) = known {
        node.prune(&mut object);
        node.default(&mut object);
    }
    object
}

/// The JSON pointer of a path that begins with `spec`, below the spec.
pub(crate) fn below_spec(spec: &Value, path: &str) -> String {
    let path = path.strip_prefix("spec").unwrap_or(path);
    locate::pointer(spec, path.trim_start_matches('.'))
}
