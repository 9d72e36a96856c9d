//! The ConfigMap `inferenceservice-config`.

mod fields;
mod storage;

use serde_json::Value;
use weir_api::names::{DEFAULT_GATEWAY, GLOBAL_CONFIG_MAP};
use weir_compose::Globals;

use crate::{CERTIFICATE_EXPIRATION, CredentialSettings, Facts, ModelRouting, Prometheus};

pub(crate) use fields::Fields;
pub use storage::{OciMode, StorageInitializer};

/// A key of the ConfigMap that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to load ConfigMap {name}: key {key}: {cause}")]
pub struct SettingsError {
    /// `namespace/name`.
    pub name: String,
    /// Key in it.
    pub key: &'static str,
    /// The cause.
    pub cause: String,
}

/// What the ConfigMap says, or its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Namespace of the default gateway.
    pub gateway_namespace: String,
    /// Name of the default gateway.
    pub gateway_name: String,
    /// Scheme of published URLs.
    pub url_scheme: String,
    /// Whether gateway, picker and pods speak TLS to each other.
    pub tls: bool,
    /// Header of model-based routing.
    pub model_header: String,
    /// When model-based routing applies.
    pub model_routing: ModelRouting,
    /// How models get into pods.
    pub storage: StorageInitializer,
    /// Where downloads find credentials.
    pub credentials: CredentialSettings,
    /// Whether models may be taken from the nodes' cache.
    pub local_models: bool,
    /// Annotations that say when a certificate is renewed; the first is written, all are read.
    pub expiration_annotations: Vec<String>,
    /// Where autoscalers read.
    pub prometheus: Prometheus,
    /// The namespace of the ConfigMap.
    pub system_namespace: String,
}

/// The key `ingress`.
struct Ingress {
    gateway: Option<String>,
    url_scheme: Option<String>,
    tls: Option<bool>,
    model_header: Option<String>,
    model_routing: ModelRouting,
}

/// Reads one key of the ConfigMap.
fn part<T>(
    config_map: Option<&Value>,
    system_namespace: &str,
    key: &'static str,
    read: impl FnOnce(&Fields<'_>) -> Result<T, String>,
) -> Result<T, SettingsError> {
    let value = config_map.and_then(|map| map.get("data")?.get(key));
    let json = match value {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|error| error.to_string()),
        // An API server refuses it; a file may have it.
        Some(_) => Err("the value is no text: write its JSON as one, after a |".to_owned()),
    };
    json.and_then(|json| read(&Fields::of(&json)))
        .map_err(|cause| SettingsError {
            name: format!("{system_namespace}/{GLOBAL_CONFIG_MAP}"),
            key,
            cause,
        })
}

impl Settings {
    /// Reads the ConfigMap's `data`; without a ConfigMap everything is default.
    ///
    /// # Errors
    /// When a key does not hold JSON, or a field of it is not what it must be.
    pub fn read(config_map: Option<&Value>, system_namespace: &str) -> Result<Self, SettingsError> {
        let ingress = part(config_map, system_namespace, "ingress", |json| {
            let header = json.text("modelBasedRoutingHeaderName")?;
            let mode = json.text("modelBasedRoutingMode")?.unwrap_or_default();
            Ok(Ingress {
                gateway: json.text("kserveIngressGateway")?,
                url_scheme: json.text("urlScheme")?,
                tls: json.switch("enableLLMInferenceServiceTLS")?,
                model_header: header,
                model_routing: match mode.to_ascii_lowercase().as_str() {
                    "forced" => ModelRouting::Forced,
                    "disabled" => ModelRouting::Disabled,
                    _ => ModelRouting::Enabled,
                },
            })
        })?;
        let gateway = ingress
            .gateway
            .unwrap_or_else(|| DEFAULT_GATEWAY.to_owned());
        let (gateway_namespace, gateway_name) = match gateway.split_once('/') {
            Some((namespace, name)) if !name.contains('/') => {
                (namespace.to_owned(), name.to_owned())
            }
            _ => (system_namespace.to_owned(), gateway),
        };
        let mut expiration_annotations = part(config_map, system_namespace, "scheduler", |json| {
            json.texts("expirationAnnotations")
        })?;
        if expiration_annotations.is_empty() {
            expiration_annotations.push(CERTIFICATE_EXPIRATION.to_owned());
        }
        let local_models = part(config_map, system_namespace, "localModel", |json| {
            json.switch("enabled")
        })?;
        Ok(Self {
            gateway_namespace,
            gateway_name,
            url_scheme: ingress.url_scheme.unwrap_or_else(|| "http".to_owned()),
            tls: ingress.tls.unwrap_or(false),
            model_header: ingress
                .model_header
                .unwrap_or_else(|| "X-Gateway-Model-Name".to_owned()),
            model_routing: ingress.model_routing,
            storage: part(
                config_map,
                system_namespace,
                "storageInitializer",
                StorageInitializer::read,
            )?,
            credentials: part(
                config_map,
                system_namespace,
                "credentials",
                CredentialSettings::read,
            )?,
            local_models: local_models.unwrap_or(false),
            expiration_annotations,
            prometheus: part(
                config_map,
                system_namespace,
                "autoscaling-wva-controller-config",
                Prometheus::read,
            )?,
            system_namespace: system_namespace.to_owned(),
        })
    }

    /// What the templates may know of them.
    #[must_use]
    pub fn globals(&self) -> Globals {
        Globals {
            gateway_name: self.gateway_name.clone(),
            gateway_namespace: self.gateway_namespace.clone(),
            model_header: self.model_header.clone(),
            tls: self.tls,
        }
    }

    /// The facts that they settle; the others are as nobody had looked.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            tls: self.tls,
            prometheus: self.prometheus.clone(),
            storage: self.storage.clone(),
            credentials: self.credentials.clone(),
            system_namespace: self.system_namespace.clone(),
            model_header: self.model_header.clone(),
            model_routing: self.model_routing,
            ..Facts::default()
        }
    }
}
