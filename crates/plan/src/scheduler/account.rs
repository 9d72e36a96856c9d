//! As whom the picker runs, and what it may do.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_api::names::{ChildNames, kind, label, value};

use super::labels;
use crate::{DEFAULT_ACCOUNT, Facts, ServiceIdentity, strings, text};

/// Annotation of kubectl that would make the copy look like the original.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The role that lets the picker ask who may read its metrics.
const AUTH_DELEGATOR: &str = "system:auth-delegator";
/// Length of the part of a binding's name before the digest that tells two services apart.
const CUT: usize = 54;

/// The account that the template names, empty when it is the generated one.
pub(super) fn named<'a>(service: &ServiceIdentity, spec: &'a Value) -> &'a str {
    let name = text(spec, "/router/scheduler/template/serviceAccountName");
    if name == ChildNames::new(&service.name).picker_account() {
        ""
    } else {
        name
    }
}

/// The account that the picker's pods run as.
pub(super) fn effective(service: &ServiceIdentity, spec: &Value) -> String {
    match named(service, spec) {
        "" => ChildNames::new(&service.name).picker_account(),
        name => name.to_owned(),
    }
}

/// The generated account; it has the pull secrets and the identity of the account that the model runs as.
pub(super) fn account(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Value {
    let main = text(spec, "/template/serviceAccountName");
    let source = if main.is_empty() {
        DEFAULT_ACCOUNT
    } else {
        main
    };
    let source = facts.accounts.as_ref().and_then(|known| known.get(source));
    let mut annotations = BTreeMap::new();
    if !main.is_empty() {
        annotations = strings(source.and_then(|source| source.pointer("/metadata/annotations")));
        annotations.remove(LAST_APPLIED);
    }
    let mut account = json!({
        "apiVersion": kind::SERVICE_ACCOUNT.api_version(),
        "kind": kind::SERVICE_ACCOUNT.kind,
        "metadata": service.metadata(
            &ChildNames::new(&service.name).picker_account(),
            &labels(service),
            &annotations,
        ),
    });
    for list in ["secrets", "imagePullSecrets"] {
        let copied = source.and_then(|source| source.get(list)?.as_array());
        if let Some(copied) = copied.filter(|list| !list.is_empty()) {
            account[list] = json!(copied);
        }
    }
    account
}

/// What the picker may do in its namespace.
pub(super) fn role(service: &ServiceIdentity) -> Value {
    const READ: [&str; 3] = ["get", "list", "watch"];
    const LEASE: [&str; 7] = [
        "get", "list", "watch", "create", "update", "patch", "delete",
    ];
    let (v1, old) = (kind::INFERENCE_POOL.group, kind::INFERENCE_POOL_ALPHA.group);
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let rules = [
        rule(&[""], &["pods"], &READ),
        rule(
            &[v1, old],
            &["inferencepools", "inferenceobjectives", "inferencemodels"],
            &READ,
        ),
        rule(
            &[old],
            &["inferencemodelrewrites", "inferencepoolimports"],
            &READ,
        ),
        rule(
            &["llm-d.ai"],
            &["inferenceobjectives", "inferencemodelrewrites"],
            &READ,
        ),
        rule(&["discovery.k8s.io"], &["endpointslices"], &READ),
        rule(&["coordination.k8s.io"], &["leases"], &LEASE),
    ];
    json!({
        "apiVersion": kind::ROLE.api_version(),
        "kind": kind::ROLE.kind,
        "metadata": service.metadata(&ChildNames::new(&service.name).picker_role(), &labels(service), &BTreeMap::new()),
        "rules": rules,
    })
}

/// Gives [`role`] to the picker's account.
pub(super) fn role_binding(service: &ServiceIdentity, spec: &Value) -> Value {
    let names = ChildNames::new(&service.name);
    json!({
        "apiVersion": kind::ROLE_BINDING.api_version(),
        "kind": kind::ROLE_BINDING.kind,
        "metadata": service.metadata(&names.picker_role_binding(), &labels(service), &BTreeMap::new()),
        "roleRef": {"apiGroup": kind::ROLE.group, "kind": kind::ROLE.kind, "name": names.picker_role()},
        "subjects": [subject(service, spec)],
    })
}

fn subject(service: &ServiceIdentity, spec: &Value) -> Value {
    json!({
        "kind": kind::SERVICE_ACCOUNT.kind,
        "name": effective(service, spec),
        "namespace": service.namespace,
    })
}

/// Lets the picker check who reads its metrics. It is no child: the cluster's objects have no owner in a
/// namespace.
pub(super) fn cluster_binding(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Value {
    let [usual, other] = cluster_binding_names(service);
    let taken = facts
        .router
        .binding
        .as_ref()
        .is_some_and(|live| !is_of(service, live));
    json!({
        "apiVersion": kind::CLUSTER_ROLE_BINDING.api_version(),
        "kind": kind::CLUSTER_ROLE_BINDING.kind,
        "metadata": {"name": if taken { other } else { usual }, "labels": labels(service)},
        "roleRef": {"apiGroup": kind::ROLE.group, "kind": "ClusterRole", "name": AUTH_DELEGATOR},
        "subjects": [subject(service, spec)],
    })
}

/// The names under which the service's ClusterRoleBinding may be: the usual one, and the one that is taken when
/// the usual one is also that of another service (`team` with `a-llm`, `team-a` with `llm`).
#[must_use]
pub fn cluster_binding_names(service: &ServiceIdentity) -> [String; 2] {
    let usual = ChildNames::new(&service.name).picker_cluster_role_binding(&service.namespace);
    let digest = Sha256::digest(format!("{}/{}", service.namespace, service.name));
    let digest: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let cut: String = usual.chars().take(CUT).collect();
    let other = format!("{cut}-{digest}");
    [usual, other]
}

/// Whether a live ClusterRoleBinding with our labels is that of the service.
#[must_use]
pub fn is_cluster_binding_of(service: &ServiceIdentity, live: &Value) -> bool {
    let labels = strings(live.pointer("/metadata/labels"));
    let has = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    has(label::PART_OF, value::PART_OF)
        && has(label::COMPONENT, value::COMPONENT_SCHEDULER)
        && is_of(service, live)
}

/// Whether name and namespace in a binding are those of the service; one without our labels or subjects is not
/// spoken for.
fn is_of(service: &ServiceIdentity, live: &Value) -> bool {
    let labels = strings(live.pointer("/metadata/labels"));
    let named = labels.get(label::NAME);
    let namespace = live
        .pointer("/subjects/0/namespace")
        .and_then(Value::as_str);
    named.is_none_or(|name| *name == service.name)
        && namespace.is_none_or(|namespace| namespace == service.namespace)
}
