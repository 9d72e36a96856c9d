//! The objects that run the model: certificate, accounts with their rights, Deployments or groups, Services.

mod access;
mod authorities;
mod certificate;
mod claims;
mod deployment;
pub(crate) mod group;
mod service;

use std::sync::Arc;

use serde_json::Value;
use weir_api::names::Kind;

use crate::pod::{self, Context};
use crate::role::Role;
use crate::{Error, Facts, Note, ServiceIdentity};

/// Everything but routes, in the order of application: what a pod refers to comes before it.
pub(crate) fn objects(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::with_capacity(10);
    objects.extend(certificate::secret(service, facts));
    objects.extend(authorities::copy(service, facts));
    objects.extend(claims::template(service)?);
    objects.extend(access::objects(service, spec, facts));
    let context = |role: Role| context(service, spec, facts, role);
    let roles = Role::of(spec);
    for &role in &roles {
        match role {
            Role::Single | Role::Prefill => objects.push(deployment::object(&context(role))?),
            // A leader is part of its workers' object.
            Role::Leader | Role::PrefillLeader => {}
            Role::Worker | Role::PrefillWorker => {
                let leader = roles
                    .iter()
                    .find(|other| {
                        other.is_grouped()
                            && !other.is_worker()
                            && other.is_prefill() == role.is_prefill()
                    })
                    .map(|leader| context(*leader));
                objects.push(group::object(leader.as_ref(), &context(role))?);
            }
        }
    }
    objects.extend(service::objects(service, spec, facts));
    Ok(objects)
}

/// What a user should hear of the workloads, once each.
pub(crate) fn notes(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    for role in Role::of(spec) {
        let context = context(service, spec, facts, role);
        let mut found = pod::notes(&context);
        if !role.is_grouped() {
            found.extend(deployment::notes(&context));
        }
        found.retain(|note| !notes.contains(note));
        notes.append(&mut found);
    }
    notes
}

fn context<'a>(
    service: &'a ServiceIdentity,
    spec: &'a Value,
    facts: &'a Facts,
    role: Role,
) -> Context<'a> {
    Context {
        service,
        spec,
        workload: role.workload(spec),
        role,
        facts,
        live: live(service, role, facts),
    }
}

/// The workload object of a role as it is in the cluster.
fn live<'a>(service: &ServiceIdentity, role: Role, facts: &'a Facts) -> Option<&'a Value> {
    let (kind, name) = object_of(service, role.is_prefill(), role.is_grouped(), &facts.live);
    find(&facts.live, kind, &name)
}

/// Kind and name of the object of the primary or the prefill workload, on one node or in groups.
pub(crate) fn object_of(
    service: &ServiceIdentity,
    prefill: bool,
    grouped: bool,
    live: &[Arc<Value>],
) -> (Kind, String) {
    if grouped {
        (group::KIND, group::name(service, prefill, live))
    } else {
        (deployment::KIND, deployment::name(service, prefill))
    }
}

/// A live object by kind and name.
pub(crate) fn find<'a>(live: &'a [Arc<Value>], kind: Kind, name: &str) -> Option<&'a Value> {
    live.iter()
        .map(AsRef::as_ref)
        .find(|live: &&Value| live["kind"] == kind.kind && live["metadata"]["name"] == name)
}
