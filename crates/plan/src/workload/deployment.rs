//! Pods on one node: a Deployment each for the primary and for prefill.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_api::names::{ChildNames, Kind, kind, label};

use crate::pod::{self, Context};
use crate::{Error, Note, ServiceIdentity, strings};

pub(super) const KIND: Kind = kind::DEPLOYMENT;

/// Labels that select the pods. The role is not among them: it changes when prefill comes or goes, and a selector
/// never changes.
const SELECTOR: [&str; 4] = [
    label::COMPONENT,
    label::NAME,
    label::PART_OF,
    label::KSERVE_COMPONENT,
];

pub(super) fn name(service: &ServiceIdentity, prefill: bool) -> String {
    let names = ChildNames::new(&service.name);
    if prefill {
        names.prefill_deployment()
    } else {
        names.deployment()
    }
}

pub(super) fn object(context: &Context<'_>) -> Result<Value, Error> {
    let service = context.service;
    let mut template = pod::template(context)?;
    let labels = template.labels.clone();
    let selector = selector(&template.labels, context.live);
    // The live selector cannot change, so its labels keep their values whatever the spec says now.
    template.labels.extend(selector.clone());
    let mut spec = Map::new();
    if let Some(replicas) = replicas(context.workload) {
        spec.insert("replicas".to_owned(), replicas.clone());
    }
    spec.insert("selector".to_owned(), json!({"matchLabels": selector}));
    if let Some(limits) = rollout(context.workload) {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": limits});
        spec.insert("strategy".to_owned(), strategy);
    }
    spec.insert("template".to_owned(), template.into_value());
    let name = name(service, context.role.is_prefill());
    Ok(json!({
        "apiVersion": KIND.api_version(),
        "kind": KIND.kind,
        "metadata": service.metadata(&name, &labels, &pod::object_annotations(context)),
        "spec": spec,
    }))
}

/// Labels that the selector of the live object holds on to.
pub(super) fn notes(context: &Context<'_>) -> Vec<Note> {
    let labels = pod::labels(context);
    let name = name(context.service, context.role.is_prefill());
    let kept = selector(&labels, context.live).into_iter();
    kept.filter(|(key, value)| labels.get(key) != Some(value))
        .map(|(key, value)| Note {
            reason: "SelectorLabelKept",
            message: format!(
                "label {key} of the pods of Deployment {name} stays {value:?}: its selector needs it and cannot \
                 change; another value takes another service"
            ),
        })
        .collect()
}

/// The selector of the live object, or that of a new one. Pods under a wrong role are a broken disaggregation, so a
/// live selector with another role is given up: the object has to be made anew, and adopts the running pods.
fn selector(labels: &BTreeMap<String, String>, live: Option<&Value>) -> BTreeMap<String, String> {
    let live = live.map(|live| strings(live.pointer("/spec/selector/matchLabels")));
    let kept = live.filter(|live| {
        let role = live.get(label::ROLE);
        !live.is_empty() && (role.is_none() || role == labels.get(label::ROLE))
    });
    kept.unwrap_or_else(|| {
        SELECTOR
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), labels.get(*key)?.clone())))
            .collect()
    })
}

/// The count of pods or groups that the spec sets; without one somebody else owns it.
pub(super) fn replicas(workload: &Value) -> Option<&Value> {
    workload
        .get("replicas")
        .filter(|replicas| replicas.is_number())
}

/// The limits of a rolling update that the spec sets.
pub(super) fn rollout(workload: &Value) -> Option<&Map<String, Value>> {
    workload
        .get("rolloutStrategy")
        .and_then(Value::as_object)
        .filter(|limits| limits.values().any(|limit| !limit.is_null()))
}
