//! The service account of a pod: the user's, or one that the plan makes where the pod has to ask the API server.

use serde_json::{Value, json};
use weir_api::names::container;

use super::Context;
use crate::role::Role;
use crate::{Error, items, text};

/// Settles the pod's `serviceAccountName`.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    if let Some(name) = of(context)? {
        pod["serviceAccountName"] = json!(name);
        // The server copies the name into the old field of a Deployment's pod. A copy that is not ours would stay
        // when the name goes, and bring it back.
        if !context.role.is_grouped() {
            pod["serviceAccount"] = json!(name);
        }
    }
    Ok(())
}

/// The account of the pod; none leaves it to the namespace's default.
pub(crate) fn of(context: &Context<'_>) -> Result<Option<String>, Error> {
    let managed = context.role.managed_account(context.service);
    if let Some((name, field)) = users(context.role, context.spec)
        && (name != managed || !is_managed(context.role, context.spec))
    {
        let known = context.facts.accounts.as_ref();
        if known.is_some_and(|known| !known.contains_key(name)) {
            return Err(Error::NoAccount {
                name: name.to_owned(),
                field,
                namespace: context.service.namespace.clone(),
            });
        }
        return Ok(Some(name.to_owned()));
    }
    Ok(is_managed(context.role, context.spec).then_some(managed))
}

/// The account that the user wrote for a role, and where; the pods of a group share one.
pub(crate) fn users(role: Role, spec: &Value) -> Option<(&str, &'static str)> {
    let roles: &[Role] = match role {
        Role::Single | Role::Prefill => &[role],
        Role::Leader | Role::Worker => &[Role::Leader, Role::Worker],
        Role::PrefillLeader | Role::PrefillWorker => &[Role::PrefillLeader, Role::PrefillWorker],
    };
    roles.iter().find_map(|role| {
        let name = text(role.template(spec)?, "/serviceAccountName");
        (!name.is_empty()).then(|| (name, role.field()))
    })
}

/// Whether pods of a role that name no account, or the managed one, run under one that the plan makes.
pub(crate) fn is_managed(role: Role, spec: &Value) -> bool {
    role.is_grouped() || (role == Role::Single && has_sidecar(role, spec))
}

/// Whether the routing sidecar is in the pod of a role.
pub(crate) fn has_sidecar(role: Role, spec: &Value) -> bool {
    role.template(spec).is_some_and(|pod| {
        items(pod, "/initContainers")
            .iter()
            .any(|c| c["name"] == container::SIDECAR)
    })
}
