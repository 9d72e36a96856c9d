//! The stand-alone tokenizer that a picker asks for token counts.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, kind, port, value};

use super::config::Config;
use super::{SchedulerError, refers_to_pool};
use crate::{Facts, ServiceIdentity, present};

/// Name of its port.
const PORT_NAME: &str = "render-http";

/// Whether the service has one: asked for, or needed by the configuration that is really used.
pub(super) fn wanted(spec: &Value, config: &Config) -> bool {
    !refers_to_pool(spec) && (present(spec, "/router/scheduler/tokenizer") || config.tokenizes())
}

/// Where the picker finds it.
pub(super) fn url(service: &ServiceIdentity, facts: &Facts) -> String {
    let scheme = if facts.tls { "https" } else { "http" };
    let host = ChildNames::new(&service.name).tokenizer();
    format!(
        "{scheme}://{host}.{}.svc.{}:{}",
        service.namespace,
        facts.router.cluster_domain,
        port::SERVE
    )
}

/// Deployment and Service.
pub(super) fn objects(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<[Value; 2], SchedulerError> {
    let _ = facts;
    let name = ChildNames::new(&service.name).tokenizer();
    let labels = service.labels(value::COMPONENT_TOKENIZER);
    let pod = spec
        .pointer("/router/scheduler/tokenizer/template")
        .filter(|pod| pod.is_object())
        .cloned()
        .ok_or(SchedulerError::NoTokenizerTemplate)?;
    let metadata = || service.metadata(&name, &labels, &BTreeMap::new());
    Ok([
        json!({
            "apiVersion": kind::DEPLOYMENT.api_version(),
            "kind": kind::DEPLOYMENT.kind,
            "metadata": metadata(),
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }),
        json!({
            "apiVersion": kind::CORE_SERVICE.api_version(),
            "kind": kind::CORE_SERVICE.kind,
            "metadata": metadata(),
            "spec": {
                "type": "ClusterIP",
                "selector": labels,
                "ports": [{"name": PORT_NAME, "port": port::SERVE, "targetPort": PORT_NAME, "protocol": "TCP"}],
            },
        }),
    ])
}
