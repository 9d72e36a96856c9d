//! The managed HTTPRoute.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, annotation, kind, label, value};

use super::{Group, migration, model};
use crate::{Error, Facts, ServiceIdentity, items, present, scheduler, text};

/// The managed route, if the spec wants one.
pub(crate) fn object(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Option<Value>, Error> {
    if !present(spec, "/router/route") || !items(spec, "/router/route/http/refs").is_empty() {
        return Ok(None);
    }
    let name = ChildNames::new(&service.name).route();
    let mut body = spec
        .pointer("/router/route/http/spec")
        .filter(|s| s.is_object())
        .cloned()
        .ok_or(Error::NoRouteSpec)?;
    attach_gateways(&mut body, items(spec, "/router/gateway/refs"));
    to_service(service, spec, &mut body);
    let mut annotations = BTreeMap::new();
    if scheduler::has_own_pool(spec) {
        let pool = migration::choose(facts.find_live(kind::HTTP_ROUTE, &name), facts);
        for backend in backends(&mut body).filter(|one| is_default(one, service)) {
            backend["group"] = json!(pool.group);
        }
        if pool.settled {
            annotations.insert(
                annotation::POOL_MIGRATED.to_owned(),
                migration::SETTLED.to_owned(),
            );
        }
    }
    model::apply(service, spec, facts, &mut body)?;
    if let Some(group) = Group::of(service, spec, facts) {
        group.apply(service, spec, &mut body);
    }
    let mut labels = service.labels(value::COMPONENT_ROUTER);
    let group = text(spec, "/router/route/group");
    if !group.is_empty() {
        labels.insert(label::ROUTING_GROUP.to_owned(), group.to_owned());
    }
    Ok(Some(json!({
        "apiVersion": kind::HTTP_ROUTE.api_version(),
        "kind": kind::HTTP_ROUTE.kind,
        "metadata": service.metadata(
            &name,
            &labels,
            &annotations,
        ),
        "spec": body,
    })))
}

/// Replaces the parents of a route's spec by gateways that the service names, if it names any.
pub fn attach_gateways(body: &mut Value, refs: &[Value]) {
    if refs.is_empty() {
        return;
    }
    let parent = |gateway: &Value| {
        let mut parent = json!({
            "group": kind::GATEWAY.group,
            "kind": kind::GATEWAY.kind,
            "name": gateway["name"],
        });
        for key in ["namespace", "sectionName"] {
            if let Some(name) = gateway
                .get(key)
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty())
            {
                parent[key] = json!(name);
            }
        }
        parent
    };
    body["parentRefs"] = refs.iter().map(parent).collect();
}

/// Every backend of every rule.
fn backends(body: &mut Value) -> impl Iterator<Item = &mut Value> {
    let rules = body.get_mut("rules").and_then(Value::as_array_mut);
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.get_mut("backendRefs")?.as_array_mut())
        .flatten()
}

/// Whether a backend is the pool that presets write.
fn is_default(backend: &Value, service: &ServiceIdentity) -> bool {
    backend["kind"] == kind::INFERENCE_POOL.kind
        && backend["name"] == ChildNames::new(&service.name).pool()
}

/// Without a picker requests go to the workload Service instead of the pool, and with a pool of somebody else
/// there.
fn to_service(service: &ServiceIdentity, spec: &Value, body: &mut Value) {
    let scheduled = present(spec, "/router/scheduler");
    let named = text(spec, "/router/scheduler/pool/ref/name");
    for backend in backends(body).filter(|one| is_default(one, service)) {
        if !scheduled {
            backend["group"] = json!("");
            backend["kind"] = json!(kind::CORE_SERVICE.kind);
            backend["name"] = json!(ChildNames::new(&service.name).workload_service());
        } else if !named.is_empty() {
            backend["name"] = json!(named);
        }
    }
}
