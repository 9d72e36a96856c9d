//! The objects that run the model: certificate Secret, Deployment, workload Service.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_api::names::{self, ChildNames, annotation, container, label, port, value};

use crate::{
    CERTIFICATE_EXPIRATION, Error, Facts, ServiceIdentity, accelerators, items, present, storage,
    strings, text,
};

/// Fields of a spec that need objects this version does not make.
const NOT_SUPPORTED: [(&str, &str); 5] = [
    ("/prefill", "spec.prefill"),
    ("/worker", "spec.worker"),
    ("/scaling", "spec.scaling"),
    ("/kvCacheOffloading", "spec.kvCacheOffloading"),
    ("/model/lora/adapters/0", "spec.model.lora.adapters"),
];

/// Labels that select the pods: they never change during a service's life.
const SELECTOR: [&str; 4] = [
    label::COMPONENT,
    label::NAME,
    label::PART_OF,
    label::KSERVE_COMPONENT,
];

pub(crate) fn objects(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, Error> {
    if let Some((_, field)) = NOT_SUPPORTED
        .iter()
        .find(|(pointer, _)| present(spec, pointer))
    {
        return Err(Error::NotSupported { field });
    }
    let deployment = deployment(service, spec, facts)?;
    let mut objects = Vec::with_capacity(3);
    objects.extend(secret(service, facts));
    objects.push(deployment);
    objects.push(workload_service(service, spec, facts));
    Ok(objects)
}

fn secret(service: &ServiceIdentity, facts: &Facts) -> Option<Value> {
    let certificate = facts.certificate.as_ref()?;
    let annotations = BTreeMap::from([(
        CERTIFICATE_EXPIRATION.to_owned(),
        certificate.expiration.clone(),
    )]);
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": service.metadata(
            &ChildNames::new(&service.name).tls_secret(),
            &service.labels(value::COMPONENT_WORKLOAD),
            &annotations,
        ),
        "type": "kubernetes.io/tls",
        "data": {"ca.crt": certificate.ca, "tls.crt": certificate.certificate, "tls.key": certificate.key},
    }))
}

fn deployment(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Result<Value, Error> {
    let live = facts.deployment.as_ref();
    let mut pod = spec
        .get("template")
        .filter(|t| t.is_object())
        .cloned()
        .ok_or(Error::NoTemplate)?;
    if !items(&pod, "/containers")
        .iter()
        .any(|c| c["name"] == container::MAIN)
    {
        return Err(Error::NoMainContainer);
    }
    check_account(service, &pod, facts)?;
    accelerators::fill(service, spec, &mut pod, live);
    storage::attach(spec, &mut pod, facts)?;

    let mut base = service.labels(value::COMPONENT_WORKLOAD);
    base.insert(
        label::KSERVE_COMPONENT.to_owned(),
        value::WORKLOAD.to_owned(),
    );
    base.insert(label::ROLE.to_owned(), value::ROLE_BOTH.to_owned());
    base.extend(with_prefix(&service.labels, names::PROPAGATED_LABELS));
    let annotations: BTreeMap<_, _> =
        with_prefix(&service.annotations, names::PROPAGATED_ANNOTATIONS).collect();

    let mut pod_labels = base.clone();
    pod_labels.extend(strings(spec.get("labels")));
    let mut pod_annotations = annotations.clone();
    pod_annotations.extend(pod_annotations_of(spec));

    let selector = match live.map(|live| strings(live.pointer("/spec/selector/matchLabels"))) {
        Some(live) if !live.is_empty() => live,
        _ => SELECTOR
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), pod_labels.get(*key)?.clone())))
            .collect(),
    };
    // The live selector cannot change, so its labels keep their values whatever the spec says now.
    pod_labels.extend(selector.clone());

    let mut template_metadata = Map::new();
    template_metadata.insert("labels".to_owned(), json!(pod_labels));
    if !pod_annotations.is_empty() {
        template_metadata.insert("annotations".to_owned(), json!(pod_annotations));
    }
    let mut body = json!({
        "selector": {"matchLabels": selector},
        "template": {"metadata": template_metadata, "spec": pod},
    });
    if let Some(replicas) = spec.get("replicas").filter(|r| r.is_number()) {
        body["replicas"] = replicas.clone();
    }
    if let Some(limits) = spec
        .get("rolloutStrategy")
        .and_then(Value::as_object)
        .filter(|limits| !limits.is_empty())
    {
        body["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": limits});
    }
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": service.metadata(&ChildNames::new(&service.name).deployment(), &base, &annotations),
        "spec": body,
    }))
}

fn check_account(service: &ServiceIdentity, pod: &Value, facts: &Facts) -> Result<(), Error> {
    let name = text(pod, "/serviceAccountName");
    let missing = !name.is_empty()
        && facts
            .accounts
            .as_ref()
            .is_some_and(|known| !known.contains(name));
    if missing {
        return Err(Error::NoAccount {
            name: name.to_owned(),
            namespace: service.namespace.clone(),
        });
    }
    Ok(())
}

fn workload_service(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Value {
    let mut labels = service.labels(value::COMPONENT_WORKLOAD);
    labels.extend(strings(spec.get("labels")));
    let scheme = if facts.tls { "https" } else { "http" };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": service.metadata(
            &ChildNames::new(&service.name).workload_service(),
            &labels,
            &pod_annotations_of(spec).collect(),
        ),
        "spec": {
            "type": "ClusterIP",
            "selector": {
                label::NAME: service.name,
                label::PART_OF: value::PART_OF,
                label::KSERVE_COMPONENT: value::WORKLOAD,
            },
            "ports": [{
                "name": scheme,
                "appProtocol": scheme,
                "port": port::SERVE,
                "targetPort": port::SERVE,
                "protocol": "TCP",
            }],
        },
    })
}

/// `spec.annotations` without the one that only the router reads.
fn pod_annotations_of(spec: &Value) -> impl Iterator<Item = (String, String)> {
    strings(spec.get("annotations"))
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
