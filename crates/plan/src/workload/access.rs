//! Accounts of pods that ask the API server, and what they may read there.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, Kind, kind, label, value};

use crate::pod::account;
use crate::role::Role;
use crate::{DEFAULT_ACCOUNT, Facts, ServiceIdentity, items};

/// One account for the pods of a Deployment or of a group, a Role and its binding where the sidecar is among them.
pub(super) fn objects(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Vec<Value> {
    let roles = Role::of(spec);
    let mut objects = Vec::new();
    let mut done = Vec::new();
    for &role in &roles {
        let managed = role.managed_account(service);
        // Leader and workers share one.
        if !account::is_managed(role, spec) || done.contains(&managed) {
            continue;
        }
        let labels = labels(service, role);
        let user = account::users(role, spec)
            .map(|(name, _)| name)
            .filter(|name| *name != managed);
        if user.is_none() {
            objects.push(account_object(service, &managed, &labels, facts));
        }
        let asks = roles.iter().any(|other| {
            other.managed_account(service) == managed && account::has_sidecar(*other, spec)
        });
        if asks && !role.is_prefill() {
            let account = user.unwrap_or(&managed);
            objects.extend(rights(service, role, account, &labels));
        }
        done.push(managed);
    }
    objects
}

/// Groups share their objects between leader and workers, so these name no component.
fn labels(service: &ServiceIdentity, role: Role) -> BTreeMap<String, String> {
    let mut labels = service.labels(value::COMPONENT_WORKLOAD);
    if role.is_grouped() {
        labels.remove(label::COMPONENT);
    }
    labels
}

fn account_object(
    service: &ServiceIdentity,
    name: &str,
    labels: &BTreeMap<String, String>,
    facts: &Facts,
) -> Value {
    let mut account = json!({
        "apiVersion": kind::SERVICE_ACCOUNT.api_version(),
        "kind": kind::SERVICE_ACCOUNT.kind,
        "metadata": service.metadata(name, labels, &BTreeMap::new()),
    });
    // Its pull secrets and secrets are shared.
    let default = facts
        .accounts
        .as_ref()
        .and_then(|accounts| accounts.get(DEFAULT_ACCOUNT));
    if let Some(default) = default {
        for list in ["imagePullSecrets", "secrets"] {
            let shared = items(default, &format!("/{list}"));
            if !shared.is_empty() {
                account[list] = json!(shared);
            }
        }
    }
    account
}

/// What the sidecar reads: the pool, and the pods that it selects.
fn rights(
    service: &ServiceIdentity,
    role: Role,
    account: &str,
    labels: &BTreeMap<String, String>,
) -> [Value; 2] {
    let names = ChildNames::new(&service.name);
    let (name, binding) = if role.is_grouped() {
        (names.multi_node_role(), names.multi_node_role_binding())
    } else {
        (names.role(), names.role_binding())
    };
    let verbs = ["get", "list", "watch"];
    let groups = |kinds: &[Kind]| kinds.iter().map(|kind| kind.group).collect::<Vec<_>>();
    let metadata = |name: &str| service.metadata(name, labels, &BTreeMap::new());
    [
        json!({
            "apiVersion": kind::ROLE.api_version(),
            "kind": kind::ROLE.kind,
            "metadata": metadata(&name),
            "rules": [
                {"apiGroups": groups(&[kind::POD]), "resources": [kind::POD.plural], "verbs": verbs},
                {
                    "apiGroups": groups(&[kind::INFERENCE_POOL_ALPHA, kind::INFERENCE_POOL]),
                    "resources": [kind::INFERENCE_POOL.plural],
                    "verbs": verbs,
                },
            ],
        }),
        json!({
            "apiVersion": kind::ROLE_BINDING.api_version(),
            "kind": kind::ROLE_BINDING.kind,
            "metadata": metadata(&binding),
            "roleRef": {"apiGroup": kind::ROLE.group, "kind": kind::ROLE.kind, "name": name},
            "subjects": [{
                "kind": kind::SERVICE_ACCOUNT.kind,
                "name": account,
                "namespace": service.namespace,
            }],
        }),
    ]
}
