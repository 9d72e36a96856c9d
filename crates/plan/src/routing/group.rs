//! Services that share traffic by weight: each one's route carries the backends of all.
//!
//! ```text
//! peers of the group ─► eligible (there, and good) ─► matching (same models) ─► backends of the shared rules
//!                                                  └► divergent ─► told, not served
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, condition, kind, port, reason};

use super::parents::same_parent;
use crate::{Facts, ServiceIdentity, items, model_name, present, scheduler, stopped, text};

/// Another service of the namespace that names the same group.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The service as it is stored.
    pub service: Arc<Value>,
    /// Its managed route.
    pub route: Option<Arc<Value>>,
    /// The pool that it refers to, as it is.
    pub pool: Option<Arc<Value>>,
}

/// What the group is to one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Members with the same models, by name; stopped ones too.
    pub members: Vec<Member>,
    /// Sets of models of the members that have others.
    pub divergent: BTreeSet<String>,
    /// The service's own set.
    own: String,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    name: String,
    weight: i64,
    stopped: bool,
    /// Group, kind, name and port.
    backend: Value,
}

impl Group {
    /// The group of a service, if it has one.
    #[must_use]
    pub fn of(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Option<Self> {
        let name = text(spec, "/router/route/group");
        if name.is_empty() || stopped(service) {
            return None;
        }
        let own = model_names(&facts.router.previous, service, spec);
        let live = facts.find_live(kind::HTTP_ROUTE, &ChildNames::new(&service.name).route());
        let mut group = Self {
            name: name.to_owned(),
            own: own.join("+"),
            ..Self::default()
        };
        group.members.push(Member {
            name: service.name.clone(),
            weight: weight(spec),
            stopped: false,
            backend: own_backend(service, spec, facts),
        });
        for peer in &facts.router.peers {
            let identity = ServiceIdentity::of(&peer.service);
            let stored = &peer.service["spec"];
            let leaving = peer
                .service
                .pointer("/metadata/deletionTimestamp")
                .is_some();
            if identity.name == service.name
                || leaving
                || text(stored, "/router/route/group") != name
            {
                continue;
            }
            let backend = peer_backend(peer, &identity);
            let stopped = stopped(&identity);
            let was_in = live.is_some_and(|live| has_backend(live, &backend));
            if !stopped && !routable(peer, was_in) {
                continue;
            }
            let models = model_names(&peer.service["status"], &identity, stored);
            let matches = if stopped {
                models
                    .iter()
                    .any(|model| model == model_name(service, spec))
            } else {
                models == own
            };
            if matches {
                group.members.push(Member {
                    name: identity.name,
                    weight: weight(stored),
                    stopped,
                    backend,
                });
            } else {
                group.divergent.insert(models.join("+"));
            }
        }
        group.members.sort_by(|a, b| a.name.cmp(&b.name));
        Some(group)
    }

    /// Lets every shared rule of a route lead to all members that run.
    pub(super) fn apply(&self, service: &ServiceIdentity, spec: &Value, body: &mut Value) {
        let backends: Vec<Value> = self
            .members
            .iter()
            .filter(|member| !member.stopped)
            .map(|member| {
                let mut backend = member.backend.clone();
                backend["weight"] = json!(member.weight);
                backend
            })
            .collect();
        let rules = body.get_mut("rules").and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            let own_path = is_of_one(service, rule);
            let managed = items(rule, "/backendRefs")
                .iter()
                .any(|one| is_managed(service, spec, one));
            if !own_path && managed && !backends.is_empty() {
                rule["backendRefs"] = json!(backends);
            }
        }
    }

    /// `status.router.group`.
    #[must_use]
    pub fn status(&self) -> Value {
        let members = self.members.iter().map(|member| {
            let mut one = json!({
                "name": member.name,
                "weight": member.weight,
                "backendRef": member.backend,
            });
            if member.stopped {
                one["stopped"] = json!(true);
            }
            one
        });
        json!({"name": self.name, "members": members.collect::<Vec<_>>()})
    }

    /// What is told when members have other models.
    #[must_use]
    pub fn divergence(&self) -> Option<String> {
        if self.divergent.is_empty() {
            return None;
        }
        let mut sets = self.divergent.clone();
        sets.insert(self.own.clone());
        let sets: Vec<String> = sets.into_iter().collect();
        Some(format!(
            "group has members with different model sets: {}",
            sets.join(", ")
        ))
    }
}

fn weight(spec: &Value) -> i64 {
    spec.pointer("/router/route/weight")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// The names that clients call the models by: what was published, else what the spec says.
fn model_names(status: &Value, service: &ServiceIdentity, spec: &Value) -> Vec<String> {
    let published = items(status, "/addresses").iter();
    let published = published.flat_map(|address| items(address, "/models"));
    let mut names: BTreeSet<String> = published
        .map(|model| text(model, "/name").to_owned())
        .collect();
    names.remove("");
    if names.is_empty() {
        names.insert(model_name(service, spec).to_owned());
        let adapters = items(spec, "/model/lora/adapters").iter();
        names.extend(adapters.map(|adapter| text(adapter, "/name").to_owned()));
        names.remove("");
    }
    names.into_iter().collect()
}

fn backend(group: &str, kind: &str, name: &str) -> Value {
    json!({"group": group, "kind": kind, "name": name, "port": port::SERVE})
}

fn own_backend(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Value {
    if present(spec, "/router/scheduler") {
        let name = scheduler::pool_name(service, spec);
        backend(
            scheduler::pool_group(facts),
            kind::INFERENCE_POOL.kind,
            &name,
        )
    } else {
        to_service(service)
    }
}

fn to_service(service: &ServiceIdentity) -> Value {
    let name = ChildNames::new(&service.name).workload_service();
    backend(kind::CORE_SERVICE.group, kind::CORE_SERVICE.kind, &name)
}

fn peer_backend(peer: &Peer, identity: &ServiceIdentity) -> Value {
    let named = text(&peer.service, "/spec/router/scheduler/pool/ref/name");
    if !named.is_empty() {
        let version = peer.pool.as_deref().map(|pool| text(pool, "/apiVersion"));
        let old = version == Some(kind::INFERENCE_POOL_ALPHA.api_version().as_str());
        let kind = if old {
            kind::INFERENCE_POOL_ALPHA
        } else {
            kind::INFERENCE_POOL
        };
        return backend(kind.group, kind.kind, named);
    }
    let pool = &peer.service["status"]["router"]["scheduler"]["inferencePool"];
    if text(pool, "/name").is_empty() {
        return to_service(identity);
    }
    backend(
        text(pool, "/group"),
        text(pool, "/kind"),
        text(pool, "/name"),
    )
}

fn has_backend(route: &Value, backend: &Value) -> bool {
    let rules = items(route, "/spec/rules").iter();
    rules
        .flat_map(|rule| items(rule, "/backendRefs"))
        .any(|one| {
            ["group", "kind", "name"]
                .iter()
                .all(|key| text(one, &format!("/{key}")) == text(backend, &format!("/{key}")))
        })
}

/// Whether requests may be sent to a member.
///
/// A route that was changed waits for its gateways to say so again. Would that take its owner out of the group, the
/// routes of the others would change and wait in turn, without end: so the newest report counts, of whatever
/// generation, and who was in stays in while one is awaited.
fn routable(peer: &Peer, was_in: bool) -> bool {
    let status = &peer.service["status"];
    let find = |kind: &str| {
        items(status, "/conditions")
            .iter()
            .find(|one| one["type"] == kind)
    };
    let holds = |kind: &str| find(kind).is_none_or(|one| one["status"] == "True");
    let counts = &status["workloads"];
    let serves = |key: &str| {
        counts
            .get(key)
            .is_none_or(|one| one["readyReplicas"].as_i64().unwrap_or(0) > 0)
    };
    if counts.get("primary").is_none()
        || !["primary", "prefill", "scheduler"].into_iter().all(serves)
    {
        return false;
    }
    match find(condition::ROUTER_READY) {
        None => return false,
        Some(one) if one["status"] == "True" => return true,
        Some(_) => {}
    }
    let routes = find(condition::HTTP_ROUTES_READY);
    let only_reports = routes.is_some_and(|one| {
        one["status"] == "True" || one["reason"] == reason::HTTP_ROUTES_NOT_READY
    });
    let others = condition::ROUTER_DEPENDENTS
        .into_iter()
        .filter(|kind| *kind != condition::HTTP_ROUTES_READY)
        .all(holds);
    only_reports
        && others
        && match peer.route.as_deref().map(newest_reports) {
            Some(Reports::Good) => true,
            Some(Reports::Awaited) => was_in,
            Some(Reports::Bad) | None => false,
        }
}

/// What gateways last said of a route, of whatever generation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reports {
    Good,
    Awaited,
    Bad,
}

fn newest_reports(route: &Value) -> Reports {
    let mut all = Reports::Good;
    for parent in items(route, "/spec/parentRefs") {
        let entries = items(route, "/status/parents").iter();
        let mut said = false;
        for entry in entries.filter(|entry| same_parent(route, parent, &entry["parentRef"])) {
            let status = |kind: &str| {
                let one = items(entry, "/conditions")
                    .iter()
                    .find(|one| one["type"] == kind);
                one.map(|one| text(one, "/status").to_owned())
            };
            match (
                status("Accepted").as_deref(),
                status("ResolvedRefs").as_deref(),
            ) {
                (Some("True"), Some("True")) => said = true,
                (Some("False"), _) | (Some(_), Some("False")) => return Reports::Bad,
                _ => {}
            }
        }
        if !said {
            all = Reports::Awaited;
        }
    }
    all
}

/// Whether a rule is for requests that name the service, and so not shared.
fn is_of_one(service: &ServiceIdentity, rule: &Value) -> bool {
    let own = format!("/{}/{}", service.namespace, service.name);
    items(rule, "/matches").iter().any(|one| {
        let rest = text(one, "/path/value").strip_prefix(own.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a backend is one that the controller writes for the service.
fn is_managed(service: &ServiceIdentity, spec: &Value, backend: &Value) -> bool {
    let names = ChildNames::new(&service.name);
    let (kind, name) = (text(backend, "/kind"), text(backend, "/name"));
    let named = text(spec, "/router/scheduler/pool/ref/name");
    if kind == kind::INFERENCE_POOL.kind {
        name == names.pool() || !named.is_empty() && name == named
    } else {
        matches!(kind, "" | "Service") && name == names.workload_service()
    }
}

/// The peer whose route still leads to a service that is to go.
#[must_use]
pub fn still_routed_by(service: &ServiceIdentity, peers: &[Peer]) -> Option<String> {
    let names = ChildNames::new(&service.name);
    let own = [names.pool(), names.workload_service()];
    let mut leading = peers.iter().filter(|peer| {
        let leaving = peer
            .service
            .pointer("/metadata/deletionTimestamp")
            .is_some();
        let route = peer.route.as_deref();
        !leaving
            && text(&peer.service, "/metadata/name") != service.name
            && route.is_some_and(|route| {
                let rules = items(route, "/spec/rules").iter();
                rules
                    .flat_map(|rule| items(rule, "/backendRefs"))
                    .any(|backend| own.iter().any(|name| backend["name"] == *name))
            })
    });
    leading
        .next()
        .map(|peer| text(&peer.service, "/metadata/name").to_owned())
}
