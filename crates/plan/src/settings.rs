//! The ConfigMap `inferenceservice-config`.

mod storage;

use serde_json::Value;
use weir_api::names::{DEFAULT_GATEWAY, GLOBAL_CONFIG_MAP};
use weir_compose::Globals;

use crate::{CERTIFICATE_EXPIRATION, CredentialSettings, Facts, ModelRouting, Prometheus, items};

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

impl Settings {
    /// Reads the ConfigMap's `data`; without a ConfigMap everything is default.
    ///
    /// # Errors
    /// When a key does not hold JSON.
    pub fn read(config_map: Option<&Value>, system_namespace: &str) -> Result<Self, SettingsError> {
        let part = |key: &'static str| -> Result<Value, SettingsError> {
            let text = config_map
                .and_then(|map| map.pointer(&format!("/data/{key}")))
                .and_then(Value::as_str);
            let Some(text) = text else {
                return Ok(Value::Null);
            };
            serde_json::from_str(text).map_err(|error| SettingsError {
                name: format!("{system_namespace}/{GLOBAL_CONFIG_MAP}"),
                key,
                cause: error.to_string(),
            })
        };
        let ingress = part("ingress")?;
        let storage = part("storageInitializer")?;
        let text = |from: &Value, key: &str, default: &str| {
            from.get(key)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
                .unwrap_or(default)
                .to_owned()
        };
        let gateway = text(&ingress, "kserveIngressGateway", DEFAULT_GATEWAY);
        let (gateway_namespace, gateway_name) = match gateway.split_once('/') {
            Some((namespace, name)) if !name.contains('/') => {
                (namespace.to_owned(), name.to_owned())
            }
            _ => (system_namespace.to_owned(), gateway),
        };
        let scheduler = part("scheduler")?;
        let mut expiration_annotations: Vec<String> = items(&scheduler, "/expirationAnnotations")
            .iter()
            .filter_map(Value::as_str)
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect();
        if expiration_annotations.is_empty() {
            expiration_annotations.push(CERTIFICATE_EXPIRATION.to_owned());
        }
        Ok(Self {
            gateway_namespace,
            gateway_name,
            url_scheme: text(&ingress, "urlScheme", "http"),
            tls: ingress
                .get("enableLLMInferenceServiceTLS")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            model_header: text(
                &ingress,
                "modelBasedRoutingHeaderName",
                "X-Gateway-Model-Name",
            ),
            model_routing: match text(&ingress, "modelBasedRoutingMode", "")
                .to_ascii_lowercase()
                .as_str()
            {
                "forced" => ModelRouting::Forced,
                "disabled" => ModelRouting::Disabled,
                _ => ModelRouting::Enabled,
            },
            storage: StorageInitializer::read(&storage).map_err(|cause| SettingsError {
                name: format!("{system_namespace}/{GLOBAL_CONFIG_MAP}"),
                key: "storageInitializer",
                cause,
            })?,
            credentials: CredentialSettings::read(&part("credentials")?),
            local_models: part("localModel")?["enabled"] == true,
            expiration_annotations,
            prometheus: Prometheus::read(&part("autoscaling-wva-controller-config")?),
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
