//! From a template of the effective spec to the pod that runs: each feature is one function over one role's pod.

mod accelerators;
pub(crate) mod account;
pub(crate) mod claims;
mod edit;
mod lora;
mod offload;
mod sidecar;
pub(crate) mod storage;
mod tracing;
mod transfer;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_api::names::{self, annotation, container};

use crate::role::Role;
use crate::{Error, Facts, Note, ServiceIdentity, items, present, strings};

/// What a feature may know beside the pod.
pub(crate) struct Context<'a> {
    /// Whose pod it is.
    pub(crate) service: &'a ServiceIdentity,
    /// The whole effective spec.
    pub(crate) spec: &'a Value,
    /// `spec` or `spec.prefill`: replicas, parallelism, offloading of this pod's workload.
    pub(crate) workload: &'a Value,
    /// Which pod it is.
    pub(crate) role: Role,
    /// What is known of the cluster.
    pub(crate) facts: &'a Facts,
    /// The workload object of this pod as it is in the cluster.
    pub(crate) live: Option<&'a Value>,
}

/// Changes the pod's spec.
type Feature = fn(&mut Value, &Context<'_>) -> Result<(), Error>;

/// Every feature, in the order in which they are applied: what a later one adds stands after what an earlier one
/// added, and existing installations have that order.
const FEATURES: &[Feature] = &[
    claims::apply,
    accelerators::apply,
    account::apply,
    sidecar::apply,
    transfer::apply,
    storage::apply,
    lora::apply,
    offload::apply,
    tracing::apply,
];

/// A pod with its metadata, as a workload object holds it.
pub(crate) struct Template {
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The pod's spec.
    pub(crate) spec: Value,
}

impl Template {
    /// As a workload object holds it.
    pub(crate) fn into_value(self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("labels".to_owned(), json!(self.labels));
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(self.annotations));
        }
        json!({"metadata": metadata, "spec": self.spec})
    }
}

/// The pod of a role.
pub(crate) fn template(context: &Context<'_>) -> Result<Template, Error> {
    let field = context.role.field();
    let mut pod = context
        .role
        .template(context.spec)
        .cloned()
        .ok_or(Error::NoTemplate { field })?;
    if !items(&pod, "/containers")
        .iter()
        .any(|c| c["name"] == container::MAIN)
    {
        return Err(Error::NoMainContainer { field });
    }
    for feature in FEATURES {
        feature(&mut pod, context).map_err(|error| error.of_template(field))?;
    }
    let mut annotations = propagated_annotations(context);
    annotations.extend(workload_annotations(context.workload));
    Ok(Template {
        labels: labels(context),
        annotations,
        spec: pod,
    })
}

/// Whether every adapter of the spec can be fetched.
pub(crate) fn check_adapters(spec: &Value) -> Result<(), Error> {
    lora::adapters(spec).map(drop)
}

/// What a user should hear of the pod.
pub(crate) fn notes(context: &Context<'_>) -> Vec<Note> {
    let mut notes: Vec<Note> = accelerators::note(context).into_iter().collect();
    let template = context.role.template(context.spec).unwrap_or(&Value::Null);
    let written = items(template, "/initContainers").iter().any(|container| {
        let own = container["name"] == container::STORAGE_INITIALIZER;
        own && ["/args", "/command"]
            .iter()
            .any(|field| present(container, field))
    });
    let disabled = context.spec.pointer("/storageInitializer/enabled") == Some(&Value::Bool(false));
    if written && !disabled {
        notes.push(Note {
            reason: "StorageInitializerOverride",
            message:
                "User-specified Args/Command on storage-initializer were overridden by controller"
                    .to_owned(),
        });
    }
    notes
}

/// Labels of the pod: those of the role, those of the service that workloads pass on, those of the workload.
pub(crate) fn labels(context: &Context<'_>) -> BTreeMap<String, String> {
    let mut labels = context.role.labels(context.service, context.spec);
    labels.extend(with_prefix(
        &context.service.labels,
        names::PROPAGATED_LABELS,
    ));
    labels.extend(strings(context.workload.get("labels")));
    labels
}

/// Annotations of a workload object.
pub(crate) fn object_annotations(context: &Context<'_>) -> BTreeMap<String, String> {
    let mut annotations = propagated_annotations(context);
    let templates = ["template", "worker"]
        .into_iter()
        .filter_map(|field| context.workload.get(field));
    if templates.into_iter().any(storage::is_overridden) {
        annotations.insert(annotation::OWN_INITIALIZER.to_owned(), "true".to_owned());
    }
    annotations
}

/// Annotations of the service that workloads and pods pass on.
fn propagated_annotations(context: &Context<'_>) -> BTreeMap<String, String> {
    let service = &context.service.annotations;
    let mut annotations: BTreeMap<_, _> =
        with_prefix(service, names::PROPAGATED_ANNOTATIONS).collect();
    if context.role.is_grouped() {
        annotations.extend(with_prefix(service, &[names::PROPAGATED_LWS_ANNOTATION]));
    }
    annotations
}

/// `annotations` of a workload without the one that only the router reads.
pub(crate) fn workload_annotations(workload: &Value) -> impl Iterator<Item = (String, String)> {
    strings(workload.get("annotations"))
        .into_iter()
        .filter(|(key, _)| key != annotation::MODEL_BASED_ROUTING)
}

/// The entries whose key starts with one of the prefixes.
fn with_prefix<'a>(
    map: &'a BTreeMap<String, String>,
    prefixes: &'a [&str],
) -> impl Iterator<Item = (String, String)> + 'a {
    map.iter()
        .filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix)))
        .map(|(key, value)| (key.clone(), value.clone()))
}
