//! The objects that a usual cluster has before a user's first: definitions, namespaces, the global
//! configuration. The gateway's own objects are made by the gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::apply::{self, apply};

/// Namespace of Weir's own configuration objects.
pub const SYSTEM_NAMESPACE: &str = "kserve";

/// Installs what is missing and waits until every definition is served.
///
/// # Errors
/// When the store refuses an object or a definition is not served within ten seconds.
pub async fn install(client: &kube::Client) -> Result<(), apply::Error> {
    for definition in weir_api::crds::foreign()
        .iter()
        .chain(&weir_api::crds::own())
    {
        apply(client, definition).await?;
    }
    apply(client, &namespace(SYSTEM_NAMESPACE)).await?;
    let configuration = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "inferenceservice-config", "namespace": SYSTEM_NAMESPACE},
        "data": {
            "ingress": r#"{"kserveIngressGateway":"kserve/kserve-ingress-gateway","enableLLMInferenceServiceTLS":false}"#,
        },
    });
    apply(client, &configuration).await?;
    Ok(())
}

/// Returns a Namespace object.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// How long a freshly installed definition may take to be served.
pub const DEFINITION_SERVED: Duration = Duration::from_secs(10);
