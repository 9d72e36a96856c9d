//! The ConfigMap `inferenceservice-config`.

use serde_json::Value;
use weir_api::names::{DEFAULT_GATEWAY, GLOBAL_CONFIG_MAP};
use weir_plan::{ModelRouting, StorageInitializer};

use crate::{Error, Options};

/// What the ConfigMap says, or its defaults.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) gateway_namespace: String,
    pub(crate) gateway_name: String,
    pub(crate) url_scheme: String,
    pub(crate) tls: bool,
    pub(crate) model_header: String,
    pub(crate) model_routing: ModelRouting,
    pub(crate) storage: StorageInitializer,
}

impl Settings {
    /// Reads the ConfigMap's `data`; without a ConfigMap everything is default.
    pub(crate) fn read(config_map: Option<&Value>, options: &Options) -> Result<Self, Error> {
        let part = |key: &'static str| -> Result<Value, Error> {
            let text = config_map
                .and_then(|map| map.pointer(&format!("/data/{key}")))
                .and_then(Value::as_str);
            let Some(text) = text else {
                return Ok(Value::Null);
            };
            serde_json::from_str(text).map_err(|error| Error::Globals {
                name: format!("{}/{GLOBAL_CONFIG_MAP}", options.system_namespace),
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
            _ => (options.system_namespace.clone(), gateway),
        };
        let defaults = StorageInitializer::default();
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
            storage: StorageInitializer {
                image: text(&storage, "image", &defaults.image),
                cpu_request: text(&storage, "cpuRequest", &defaults.cpu_request),
                cpu_limit: text(&storage, "cpuLimit", &defaults.cpu_limit),
                memory_request: text(&storage, "memoryRequest", &defaults.memory_request),
                memory_limit: text(&storage, "memoryLimit", &defaults.memory_limit),
            },
        })
    }
}
