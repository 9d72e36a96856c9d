//! Status of GatewayClasses, Gateways, HTTPRoutes and InferencePools: pure, from reports to the status that has to be
//! written, or nothing when it is there already.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::attach::{Key, ListenerReport, Model, ParentReport, Verdict, World};
use crate::objects::{GROUP, Gateway, GatewayClass, HttpRoute, InferencePool};

pub use weir_api::names::GATEWAY_CONTROLLER as CONTROLLER;

/// Kinds whose status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// GatewayClass.
    Class,
    /// Gateway.
    Gateway,
    /// HTTPRoute.
    Route,
    /// InferencePool.
    Pool,
}

/// A status to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Kind of the object.
    pub kind: Kind,
    /// Namespace and name.
    pub key: Key,
    /// Version of the object that the status was computed from.
    pub resource_version: String,
    /// Fields of the status to set.
    pub status: Value,
}

/// Returns every status that is not as it should be. `now` is RFC 3339.
#[must_use]
pub fn writes(world: &World, model: &Model, published: SocketAddr, now: &str) -> Vec<Write> {
    let mut out = Vec::new();
    let mut push = |kind, key: &Key, version: &str, status: Option<Value>| {
        if let Some(status) = status {
            out.push(Write {
                kind,
                key: key.clone(),
                resource_version: version.to_owned(),
                status,
            });
        }
    };
    for (key, class) in &world.classes {
        push(
            Kind::Class,
            key,
            &class.metadata.resource_version,
            class_status(class, now),
        );
    }
    for (key, gateway) in &world.gateways {
        let reports = model
            .gateways
            .get(key)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let status = gateway_status(gateway, reports, published, now);
        push(
            Kind::Gateway,
            key,
            &gateway.metadata.resource_version,
            status,
        );
    }
    for (key, route) in &world.routes {
        let reports = model.routes.get(key).map(Vec::as_slice).unwrap_or_default();
        push(
            Kind::Route,
            key,
            &route.metadata.resource_version,
            route_status(route, reports, now),
        );
    }
    let none = BTreeSet::new();
    for (key, pool) in &world.pools {
        let gateways = model.pools.get(key).unwrap_or(&none);
        push(
            Kind::Pool,
            key,
            &pool.metadata.resource_version,
            pool_status(pool, gateways, now),
        );
    }
    out
}

/// Returns the status of a class of this controller.
#[must_use]
pub fn class_status(class: &GatewayClass, now: &str) -> Option<Value> {
    if class.spec.controller_name != CONTROLLER {
        return None;
    }
    let wanted = [(
        "Accepted",
        Verdict::yes("Accepted", "Served by this machine's gateway"),
    )];
    let conditions = conditions(
        &class.status["conditions"],
        &wanted,
        class.metadata.generation,
        now,
    );
    changed(&class.status, json!({"conditions": conditions}))
}

/// Returns the status of a Gateway.
#[must_use]
pub fn gateway_status(
    gateway: &Gateway,
    reports: &[ListenerReport],
    published: SocketAddr,
    now: &str,
) -> Option<Value> {
    let generation = gateway.metadata.generation;
    let served = reports
        .iter()
        .filter(|report| report.accepted.holds && !report.conflicted);
    let (accepted, programmed) = if served.count() == 0 {
        (
            Verdict::no(
                "ListenersNotValid",
                "No listener can be served; one of protocol HTTP is needed",
            ),
            Verdict::no("Invalid", "No listener can be served"),
        )
    } else if reports
        .iter()
        .any(|report| !report.accepted.holds || report.conflicted)
    {
        (
            Verdict::yes(
                "ListenersNotValid",
                "Some listeners are not served, see their conditions",
            ),
            Verdict::yes(
                "Programmed",
                format!("HTTP listeners are served on {published}"),
            ),
        )
    } else {
        (
            Verdict::yes("Accepted", "All listeners are served"),
            Verdict::yes(
                "Programmed",
                format!("HTTP listeners are served on {published}"),
            ),
        )
    };
    let old = &gateway.status;
    let listeners: Vec<Value> = reports
        .iter()
        .map(|report| {
            let empty = Value::Null;
            let before = old["listeners"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|listener| listener["name"] == report.name.as_str())
                .map_or(&empty, |listener| &listener["conditions"]);
            let kinds: Vec<Value> = report
                .kinds
                .iter()
                .map(|kind| json!({"group": GROUP, "kind": kind}))
                .collect();
            json!({
                "name": report.name,
                "attachedRoutes": report.attached,
                "supportedKinds": kinds,
                "conditions": conditions(before, &listener_verdicts(report), generation, now),
            })
        })
        .collect();
    let address = match published.ip() {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address,
    };
    changed(
        old,
        json!({
            "addresses": [{"type": "IPAddress", "value": address.to_string()}],
            "conditions": conditions(
                &old["conditions"],
                &[("Accepted", accepted), ("Programmed", programmed)],
                generation,
                now,
            ),
            "listeners": listeners,
        }),
    )
}

fn listener_verdicts(report: &ListenerReport) -> Vec<(&'static str, Verdict)> {
    let works = report.accepted.holds && !report.conflicted;
    let programmed = if works && report.resolved.holds {
        Verdict::yes("Programmed", "Served")
    } else {
        Verdict::no("Invalid", "Not served, see the other conditions")
    };
    let conflicted = if report.conflicted {
        Verdict::yes(
            "HostnameConflict",
            "An earlier listener has the same port and host name",
        )
    } else {
        Verdict::no("NoConflicts", "No other listener claims the same")
    };
    vec![
        ("Accepted", report.accepted.clone()),
        ("Programmed", programmed),
        ("ResolvedRefs", report.resolved.clone()),
        ("Conflicted", conflicted),
    ]
}

/// Returns the status of a route. Parents that other controllers wrote are kept.
#[must_use]
pub fn route_status(route: &HttpRoute, reports: &[ParentReport], now: &str) -> Option<Value> {
    let none = Vec::new();
    let old = route.status["parents"].as_array().unwrap_or(&none);
    let (mine, others): (Vec<&Value>, Vec<&Value>) = old
        .iter()
        .partition(|parent| parent["controllerName"] == CONTROLLER);
    let mut parents: Vec<Value> = others.into_iter().cloned().collect();
    for report in reports {
        let empty = Value::Null;
        let before = mine
            .iter()
            .find(|parent| parent["parentRef"] == report.parent)
            .map_or(&empty, |parent| &parent["conditions"]);
        let wanted = [
            ("Accepted", report.accepted.clone()),
            ("ResolvedRefs", report.resolved.clone()),
        ];
        parents.push(json!({
            "parentRef": report.parent,
            "controllerName": CONTROLLER,
            "conditions": conditions(before, &wanted, route.metadata.generation, now),
        }));
    }
    if parents.is_empty() && old.is_empty() {
        return None;
    }
    changed(&route.status, json!({"parents": parents}))
}

/// Returns the status of a pool that is reached from `gateways`. Parents that other controllers wrote are kept.
#[must_use]
pub fn pool_status(pool: &InferencePool, gateways: &BTreeSet<Key>, now: &str) -> Option<Value> {
    let none = Vec::new();
    let old = pool.status["parents"].as_array().unwrap_or(&none);
    let (mine, others): (Vec<&Value>, Vec<&Value>) = old
        .iter()
        .partition(|parent| parent["controllerName"] == CONTROLLER);
    let mut parents: Vec<Value> = others.into_iter().cloned().collect();
    for (namespace, name) in gateways {
        let parent = json!({
            "group": GROUP, "kind": "Gateway", "name": name, "namespace": namespace,
        });
        let empty = Value::Null;
        let before = mine
            .iter()
            .find(|known| known["parentRef"] == parent)
            .map_or(&empty, |known| &known["conditions"]);
        let wanted = [
            (
                "Accepted",
                Verdict::yes("Accepted", "Requests go through its picker"),
            ),
            (
                "ResolvedRefs",
                Verdict::yes("ResolvedRefs", "All references are resolved"),
            ),
        ];
        parents.push(json!({
            "parentRef": parent,
            "controllerName": CONTROLLER,
            "conditions": conditions(before, &wanted, pool.metadata.generation, now),
        }));
    }
    if parents.is_empty() && old.is_empty() {
        return None;
    }
    changed(&pool.status, json!({"parents": parents}))
}

/// Merges `wanted` into the conditions that are there: others stay, and the time of one that keeps its
/// status stays.
fn conditions(
    old: &Value,
    wanted: &[(&'static str, Verdict)],
    generation: i64,
    now: &str,
) -> Vec<Value> {
    let old = old.as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = |condition: &Value| wanted.iter().any(|(kind, _)| condition["type"] == *kind);
    let mut out: Vec<Value> = wanted
        .iter()
        .map(|(kind, verdict)| {
            let status = if verdict.holds { "True" } else { "False" };
            let since = old
                .iter()
                .find(|condition| condition["type"] == *kind && condition["status"] == status)
                .and_then(|condition| condition["lastTransitionTime"].as_str())
                .unwrap_or(now);
            json!({
                "type": kind,
                "status": status,
                "reason": verdict.reason,
                "message": verdict.message,
                "observedGeneration": generation,
                "lastTransitionTime": since,
            })
        })
        .collect();
    out.extend(old.iter().filter(|condition| !ours(condition)).cloned());
    out
}

/// Returns `wanted` unless every field of it is in `old` already.
fn changed(old: &Value, wanted: Value) -> Option<Value> {
    let same = wanted.as_object().is_some_and(|fields| {
        fields
            .iter()
            .all(|(field, value)| old.get(field) == Some(value))
    });
    (!same).then_some(wanted)
}

#[cfg(test)]
mod tests;
