//! Conditions of the router: gateways, routes, pool, picker, tokenizer, and where requests go.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_api::names::{ChildNames, condition, kind, label, reason, value};

use super::conditions::Conditions;
use super::{Health, Outcome, StatusInput, health, urls};
use crate::{items, present, routing, scheduler, text};

/// What is there of the picker and its pool.
#[derive(Clone, Debug, Default)]
pub struct ObservedScheduler {
    /// The picker's Deployment.
    pub picker: Option<Arc<Value>>,
    /// The tokenizer's Deployment.
    pub tokenizer: Option<Arc<Value>>,
    /// The pools of the name in use, the newer group first.
    pub pools: Vec<Arc<Value>>,
    /// What became of the model's metadata.
    pub metadata: Metadata,
}

/// What became of the object with the model's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// Nobody came so far.
    #[default]
    NotTried,
    /// It is there.
    Published,
    /// The cluster serves no kind for it.
    NoServedKind,
    /// The server refused it.
    Failed(String),
}

/// Sets what this pass saw of the router; answers whether it saw everything: an error of a step ends the pass there.
pub(super) fn conditions(
    input: &StatusInput<'_>,
    spec: &Value,
    conditions: &mut Conditions,
    status: &mut Map<String, Value>,
) -> bool {
    conditions.remove(condition::GATEWAYS_READY);
    conditions.remove(condition::HTTP_ROUTES_READY);
    scheduler_conditions(input, spec, conditions);
    let complete = match input.router {
        Outcome::Failed(failure) => {
            conditions.set_false(failure.condition, failure.reason, &failure.message);
            false
        }
        _ if !present(spec, "/router/route") => {
            status.remove("url");
            status.remove("router");
            let scheme = if input.tls { "https" } else { "http" };
            let host = ChildNames::new(&input.service.name).workload_service();
            let url = format!(
                "{scheme}://{host}.{}.svc.{}",
                input.service.namespace, input.cluster_domain
            );
            status.insert("addresses".to_owned(), json!([{ "url": url }]));
            let goes_on = pool_condition(input, spec, conditions, status);
            if goes_on {
                gateways_condition(input, spec, conditions);
            }
            goes_on
        }
        _ => match urls::discover(input, spec) {
            Ok(found) => {
                status.remove("url");
                status.remove("addresses");
                status.remove("router");
                if let Some(url) = found.url {
                    status.insert("url".to_owned(), json!(url));
                }
                if !found.addresses.is_empty() {
                    status.insert("addresses".to_owned(), json!(found.addresses));
                }
                if !found.gateways.is_empty() {
                    status.insert("router".to_owned(), json!({"gateways": found.gateways}));
                }
                let goes_on = pool_condition(input, spec, conditions, status);
                if goes_on {
                    gateways_condition(input, spec, conditions);
                    let routes = health::routes(input.routes);
                    conditions.set_health(condition::HTTP_ROUTES_READY, &routes);
                }
                goes_on
            }
            Err(message) => {
                conditions.set_false(
                    condition::HTTP_ROUTES_READY,
                    reason::HTTP_ROUTE_RECONCILE_ERROR,
                    &format!("Failed to reconcile HTTPRoute: {message}"),
                );
                false
            }
        },
    };
    if *input.router == Outcome::Done {
        group_conditions(input, conditions, status);
    }
    conditions.aggregate(condition::ROUTER_READY, &condition::ROUTER_DEPENDENTS);
    complete
}

fn group_conditions(
    input: &StatusInput<'_>,
    conditions: &mut Conditions,
    status: &mut Map<String, Value>,
) {
    conditions.remove(condition::GROUP_DEGRADED);
    let Some(group) = input.group else {
        conditions.remove(condition::GROUP_READY);
        return;
    };
    if let Some(router) = status.get_mut("router").and_then(Value::as_object_mut) {
        router.insert("group".to_owned(), group.status());
    }
    conditions.set_true(condition::GROUP_READY);
    if let Some(message) = group.divergence() {
        let reason = reason::MEMBER_DIVERGENCE;
        conditions.set(condition::GROUP_DEGRADED, "True", reason, &message);
    }
}

fn gateways_condition(input: &StatusInput<'_>, spec: &Value, conditions: &mut Conditions) {
    if !items(spec, "/router/gateway/refs").is_empty() {
        conditions.set_health(condition::GATEWAYS_READY, &health::gateways(input.gateways));
    }
}

/// Conditions of what is not there any more go; those of what is there are set from what was seen.
fn scheduler_conditions(input: &StatusInput<'_>, spec: &Value, conditions: &mut Conditions) {
    let seen = input.scheduler;
    let pods = |component: &str| -> Vec<&Value> {
        let of = |pod: &&Value| pod["metadata"]["labels"][label::COMPONENT] == component;
        input.pods.iter().filter(of).collect()
    };
    let deployment = |live: &Option<Arc<Value>>, component: &str| {
        health::helper_deployment(live.as_deref(), &pods(component))
    };
    if scheduler::managed(spec) {
        // Before anything was written an earlier failure says why.
        if seen.picker.is_some() || *input.router == Outcome::Done {
            let picker = deployment(&seen.picker, value::COMPONENT_SCHEDULER);
            conditions.set_health(condition::SCHEDULER_WORKLOAD_READY, &picker);
        }
    } else {
        conditions.remove(condition::SCHEDULER_WORKLOAD_READY);
    }
    if seen.tokenizer.is_some() {
        let tokenizer = deployment(&seen.tokenizer, value::COMPONENT_TOKENIZER);
        conditions.set_health(condition::TOKENIZER_READY, &tokenizer);
    } else {
        conditions.remove(condition::TOKENIZER_READY);
    }
    if !present(spec, "/router/scheduler") {
        conditions.remove(condition::INFERENCE_POOL_READY);
        conditions.remove(condition::MODEL_METADATA_PUBLISHED);
        return;
    }
    match &seen.metadata {
        Metadata::NotTried => {}
        Metadata::Published => conditions.set_true(condition::MODEL_METADATA_PUBLISHED),
        Metadata::NoServedKind => conditions.set_false(
            condition::MODEL_METADATA_PUBLISHED,
            reason::NO_SERVED_KIND,
            "this cluster serves neither InferenceModel nor InferenceObjective",
        ),
        Metadata::Failed(cause) => conditions.set_false(
            condition::MODEL_METADATA_PUBLISHED,
            reason::PUBLISH_FAILED,
            cause,
        ),
    }
}

/// Whether a gateway has taken the pool; also names pool and picker in the status. Answers
/// whether the pass goes on: without a pool that the service refers to it does not.
fn pool_condition(
    input: &StatusInput<'_>,
    spec: &Value,
    conditions: &mut Conditions,
    status: &mut Map<String, Value>,
) -> bool {
    if !present(spec, "/router/scheduler") {
        return true;
    }
    let name = scheduler::pool_name(input.service, spec);
    let namespace = &input.service.namespace;
    let Some(first) = input.scheduler.pools.first() else {
        let message = format!("InferencePool {namespace}/{name} does not exist");
        conditions.set_false(
            condition::INFERENCE_POOL_READY,
            reason::INFERENCE_POOL_FETCH_ERROR,
            &message,
        );
        return !scheduler::refers_to_pool(spec);
    };
    let gateways = keys(input, spec);
    let mut healths = input
        .scheduler
        .pools
        .iter()
        .map(|pool| health_of(pool, &gateways));
    let health = match healths.next() {
        Some(first @ Health::NotReady { .. }) => {
            if healths.any(|other| other == Health::Ready) {
                Health::Ready
            } else {
                first
            }
        }
        _ => Health::Ready,
    };
    conditions.set_health(condition::INFERENCE_POOL_READY, &health);
    if let Some(router) = status.get_mut("router").and_then(Value::as_object_mut) {
        let group = text(first, "/apiVersion")
            .split_once('/')
            .map_or("", |(group, _)| group);
        router.insert(
            "scheduler".to_owned(),
            json!({
                "inferencePool": {"group": group, "kind": kind::INFERENCE_POOL.kind, "name": name},
                "service": {"group": "", "kind": kind::CORE_SERVICE.kind, "name": picker_of(first)},
            }),
        );
    }
    true
}

/// Name of the Service that a pool of either group calls its picker.
fn picker_of(pool: &Value) -> &str {
    let name = text(pool, "/spec/endpointPickerRef/name");
    if name.is_empty() {
        text(pool, "/spec/extensionRef/name")
    } else {
        name
    }
}

/// Namespace and name of every gateway whose word about the pool counts.
fn keys(input: &StatusInput<'_>, spec: &Value) -> BTreeSet<(String, String)> {
    let own = input.service.namespace.as_str();
    let managed = input
        .planned_route
        .map(|planned| text(planned, "/metadata/name"));
    let routes = input
        .routes
        .iter()
        .filter(|r| managed != Some(text(r, "/metadata/name")));
    let of_routes = routes
        .chain(input.planned_route)
        .flat_map(routing::parents)
        .map(|(namespace, name, _)| (namespace.to_owned(), name.to_owned()));
    let refs = items(spec, "/router/gateway/refs").iter().map(|one| {
        let namespace = Some(text(one, "/namespace"))
            .filter(|n| !n.is_empty())
            .unwrap_or(own);
        (namespace.to_owned(), text(one, "/name").to_owned())
    });
    of_routes.chain(refs).collect()
}

/// One entry of a pool's status, of either version.
struct Parent<'a> {
    key: (String, String),
    accepted: Option<&'a Value>,
}

fn parents(pool: &Value) -> Vec<Parent<'_>> {
    let own = text(pool, "/metadata/namespace");
    let old = text(pool, "/apiVersion") == kind::INFERENCE_POOL_ALPHA.api_version();
    let list = if old {
        "/status/parent"
    } else {
        "/status/parents"
    };
    let default_entry = |entry: &&Value| old && text(entry, "/parentRef/kind") == "Status";
    items(pool, list)
        .iter()
        .filter(|entry| !default_entry(entry))
        .map(|entry| {
            let namespace = Some(text(entry, "/parentRef/namespace")).filter(|n| !n.is_empty());
            Parent {
                key: (
                    namespace.unwrap_or(own).to_owned(),
                    text(entry, "/parentRef/name").to_owned(),
                ),
                accepted: items(entry, "/conditions")
                    .iter()
                    .find(|one| one["type"] == "Accepted"),
            }
        })
        .collect()
}

/// Whether the gateways of the service have accepted a pool; any gateway, when the service names none.
fn health_of(pool: &Value, gateways: &BTreeSet<(String, String)>) -> Health {
    let id = format!(
        "{}/{}",
        text(pool, "/metadata/namespace"),
        text(pool, "/metadata/name")
    );
    let not_ready = |reason: &str, message: String| Health::NotReady {
        reason: reason.to_owned(),
        message,
    };
    let (relevant, others): (Vec<_>, Vec<_>) = parents(pool)
        .into_iter()
        .partition(|parent| gateways.is_empty() || gateways.contains(&parent.key));
    let generation = pool
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let stale = |one: &Value| {
        let seen = one
            .get("observedGeneration")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        seen > 0 && seen < generation
    };
    let accepts = |parent: &Parent<'_>| {
        parent
            .accepted
            .is_some_and(|one| one["status"] == "True" && !stale(one))
    };
    let elsewhere: Vec<String> = others
        .iter()
        .filter(|parent| accepts(parent))
        .map(|parent| format!("{}/{}", parent.key.0, parent.key.1))
        .collect();
    let elsewhere = if elsewhere.is_empty() {
        String::new()
    } else {
        format!(
            "; accepted by {}, which is not used by this service",
            elsewhere.join(", ")
        )
    };
    if relevant.is_empty() {
        let message = if elsewhere.is_empty() {
            format!("Inference Pool {id} exists but no Gateway controller has accepted it yet")
        } else {
            format!(
                "Inference Pool {id} is not yet accepted by a gateway of this service{elsewhere}"
            )
        };
        return not_ready(reason::WAITING_FOR_GATEWAY, message);
    }
    let silent = gateways
        .iter()
        .find(|key| !relevant.iter().any(|parent| parent.key == **key));
    if let Some((namespace, name)) = silent {
        let message = format!(
            "Inference Pool {id} is not yet accepted by gateway {namespace}/{name}{elsewhere}"
        );
        return not_ready(reason::WAITING_FOR_GATEWAY, message);
    }
    let Some(failing) = relevant.iter().find(|parent| !accepts(parent)) else {
        return Health::Ready;
    };
    let message = match failing.accepted {
        None => format!("The inference pool {id} is not ready"),
        Some(one) if stale(one) => format!(
            "{id}: Accepted=\"Unknown\" (reason \"Stale\", message \"Accepted is of generation {}, the pool of {generation}\")",
            one["observedGeneration"]
        ),
        Some(one) => format!(
            "{id}: Accepted=\"{}\" (reason \"{}\", message \"{}\")",
            text(one, "/status"),
            text(one, "/reason"),
            text(one, "/message")
        ),
    };
    not_ready(reason::INFERENCE_POOL_NOT_READY, message)
}
