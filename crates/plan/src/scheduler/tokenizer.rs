//! The stand-alone tokenizer that a picker asks for token counts.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, annotation, container, kind, port, value};

use super::config::Config;
use super::{SchedulerError, refers_to_pool};
use crate::pod::storage::{self, Attachment};
use crate::{Error, Facts, ServiceIdentity, present};

/// Where it reads the model.
const MODEL: &str = "/mnt/models/base";
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

/// Brings the base model to a container that counts tokens, with the credentials of the picker's account.
///
/// `live` is the Deployment of the pod as it is.
pub(super) fn attach_model(
    pod: &mut Value,
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
    live: Option<&Value>,
    container: &str,
) -> Result<(), Error> {
    if storage::is_off(spec) {
        return Ok(());
    }
    let account = super::account::effective(service, spec);
    let exists = facts
        .accounts
        .as_ref()
        .is_some_and(|known| known.contains_key(&account));
    let overridden = live.and_then(|live| live.pointer("/metadata/annotations"));
    Attachment {
        service,
        spec,
        workload: None,
        facts,
        account: if exists { &account } else { "" },
        live: live.and_then(|live| live.pointer("/spec/template/spec")),
        overridden: overridden.is_some_and(|all| all.get(annotation::OWN_INITIALIZER).is_some()),
        container,
        path: MODEL,
    }
    .attach(pod)
}

/// Deployment and Service.
pub(super) fn objects(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<[Value; 2], Error> {
    let name = ChildNames::new(&service.name).tokenizer();
    let labels = service.labels(value::COMPONENT_TOKENIZER);
    let mut pod = spec
        .pointer("/router/scheduler/tokenizer/template")
        .filter(|pod| pod.is_object())
        .cloned()
        .ok_or(SchedulerError::NoTokenizerTemplate)?;
    let live = facts.find_live(kind::DEPLOYMENT, &name);
    attach_model(&mut pod, service, spec, facts, live, container::MAIN)?;
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
