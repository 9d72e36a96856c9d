//! The router's part of a pass: gateways and routes that are referred to, the picker with its pool, the route.

use std::sync::Arc;

use serde_json::Value;
use weir_api::names::{ChildNames, Kind, condition, kind, reason};
use weir_plan::{
    Facts, Failure, Group, Metadata, ObservedGateway, ObservedScheduler, Outcome, Peer,
    ServiceIdentity,
};

use crate::events;
use crate::snapshot::{self, Children};
use crate::{Context, Error, apply};

/// Kinds that a cluster may lack.
const OPTIONAL: [Kind; 5] = [
    kind::INFERENCE_POOL,
    kind::INFERENCE_POOL_ALPHA,
    kind::INFERENCE_MODEL,
    kind::INFERENCE_OBJECTIVE,
    kind::LLM_D_INFERENCE_OBJECTIVE,
];

/// What was read and done of the router.
#[derive(Default)]
pub(crate) struct Observed {
    pub(crate) outcome: Outcome,
    pub(crate) scheduler: ObservedScheduler,
    pub(crate) planned_route: Option<Value>,
    /// Referenced routes, then the managed one.
    pub(crate) routes: Vec<Value>,
    pub(crate) gateways: Vec<ObservedGateway>,
    pub(crate) group: Option<Group>,
}

/// Reads what the spec refers to, into the facts for planning and into what the status tells.
pub(crate) fn read(
    context: &Context,
    service: &ServiceIdentity,
    spec: &Value,
    facts: &mut Facts,
    observed: &mut Observed,
) -> Result<(), Error> {
    let cache = &context.cache;
    let served = OPTIONAL.into_iter().filter(|kind| cache.served(*kind));
    facts.router.served = served.collect();
    facts
        .router
        .cluster_domain
        .clone_from(&context.options.cluster_domain);
    let [binding, _] = weir_plan::cluster_binding_names(service);
    let binding = cache.get(kind::CLUSTER_ROLE_BINDING, "", &binding)?;
    facts.router.binding = binding.map(|binding| binding.as_ref().clone());
    observed.scheduler.pools = referenced_pool(context, service, spec)?
        .into_iter()
        .collect();
    let pool = observed.scheduler.pools.first();
    facts.router.pool = pool.map(|pool| pool.as_ref().clone());

    let group = spec.pointer("/router/route/group").and_then(Value::as_str);
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        facts.router.peers = peers(context, service, group)?;
    }
    let refs = spec
        .pointer("/router/route/http/refs")
        .and_then(Value::as_array);
    for one in refs.into_iter().flatten() {
        let name = one["name"].as_str().unwrap_or_default();
        let route = cache.get(kind::HTTP_ROUTE, &service.namespace, name)?;
        observed
            .routes
            .extend(route.map(|route| route.as_ref().clone()));
    }
    let mut of_routes = observed.routes.clone();
    if let Ok(routes) = weir_plan::routes(service, spec, facts) {
        of_routes.extend(routes);
    }
    observed.gateways = weir_plan::observed_gateways_of(&of_routes, spec, &service.namespace);
    snapshot::gateways(cache, &mut observed.gateways)?;
    let refers = spec.pointer("/router/gateway/refs/0").is_some();
    facts.gateway_opts_out = refers
        && observed
            .gateways
            .iter()
            .any(|gateway| gateway.object.as_ref().is_some_and(weir_plan::opts_out));
    Ok(())
}

/// The other services of a group, with their routes.
fn peers(context: &Context, service: &ServiceIdentity, group: &str) -> Result<Vec<Peer>, Error> {
    let cache = &context.cache;
    let of_group = |other: &Value| {
        other.pointer("/spec/router/route/group") == Some(&Value::from(group))
            && other["metadata"]["name"] != service.name.as_str()
    };
    let mut peers = Vec::new();
    for other in cache.list(kind::SERVICE, &service.namespace, of_group)? {
        let identity = ServiceIdentity::of(&other);
        let route = ChildNames::new(&identity.name).route();
        peers.push(Peer {
            route: cache.get(kind::HTTP_ROUTE, &service.namespace, &route)?,
            pool: referenced_pool(context, service, &other["spec"])?,
            service: other,
        });
    }
    Ok(peers)
}

/// The pool of somebody else that the service names, of the newer group if it is in both.
fn referenced_pool(
    context: &Context,
    service: &ServiceIdentity,
    spec: &Value,
) -> Result<Option<Arc<Value>>, Error> {
    let name = spec.pointer("/router/scheduler/pool/ref/name");
    let name = name.and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    for kind in [kind::INFERENCE_POOL, kind::INFERENCE_POOL_ALPHA] {
        let found = context.cache.get(kind, &service.namespace, name)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Writes the picker's objects and the route. Answers everything that was planned, or `None` when planning failed
/// and nothing may be pruned.
pub(crate) async fn write(
    context: &Context,
    service: &ServiceIdentity,
    children: &Children,
    spec: &Value,
    facts: &Facts,
    observed: &mut Observed,
) -> Result<Option<Vec<Value>>, Error> {
    let route = match weir_plan::routes(service, spec, facts) {
        Ok(routes) => routes.into_iter().next(),
        Err(error) => {
            observed.outcome = route_failure(&error);
            return Ok(None);
        }
    };
    let scheduler = match weir_plan::scheduler(service, spec, facts) {
        Ok(scheduler) => scheduler,
        Err(error) => {
            observed.outcome = scheduler_failure(&error);
            return Ok(None);
        }
    };
    let served = |kind| context.cache.served(kind);
    let refused = weir_plan::not_served(spec, route.is_some(), served).or_else(|| {
        let (routes, gateways) = (&observed.routes, &observed.gateways);
        weir_plan::check_refs(service, spec, route.as_ref(), routes, gateways)
    });
    let mut all = scheduler.clone();
    all.extend(route.iter().cloned());
    observed.group = route.as_ref().and_then(|_| Group::of(service, spec, facts));
    observed.planned_route = route;
    if let Some(failure) = refused {
        // What is missing wakes the service up when it comes.
        observed.outcome = Outcome::Failed(failure);
        return Ok(Some(all));
    }
    observed.outcome = Outcome::Done;
    if let Err(error) = write_scheduler(context, service, children, &scheduler, observed).await {
        observed.outcome = scheduler_failure(&error);
        return Err(error);
    }
    let has_scheduler = spec
        .pointer("/router/scheduler")
        .is_some_and(|s| !s.is_null());
    if has_scheduler && observed.scheduler.metadata == Metadata::NotTried {
        observed.scheduler.metadata = Metadata::NoServedKind;
    }
    if let Some(wanted) = observed.planned_route.clone() {
        match apply::ensure(context, service, &wanted, live_of(children, &wanted)).await {
            Ok(now) => observed.routes.push(now.as_ref().clone()),
            Err(error) => {
                observed.outcome = route_failure(&error);
                return Err(error);
            }
        }
    }
    Ok(Some(all))
}

/// The child that is to become `wanted`, as it is.
pub(crate) fn live_of<'a>(children: &'a Children, wanted: &Value) -> Option<&'a Arc<Value>> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    children.get(apply::kind_of(wanted)?, name)
}

async fn write_scheduler(
    context: &Context,
    service: &ServiceIdentity,
    children: &Children,
    objects: &[Value],
    observed: &mut Observed,
) -> Result<(), Error> {
    let names = ChildNames::new(&service.name);
    let (picker, tokenizer) = (names.picker_deployment(), names.tokenizer());
    for wanted in objects {
        let result = apply::ensure(context, service, wanted, live_of(children, wanted)).await;
        let is_metadata = weir_plan::METADATA_KINDS
            .iter()
            .any(|kind| wanted["kind"] == kind.kind);
        let seen = &mut observed.scheduler;
        if is_metadata {
            // It is informational: requests are served without it.
            seen.metadata = match result {
                Ok(_) => Metadata::Published,
                Err(error) => Metadata::Failed(error.to_string()),
            };
            continue;
        }
        let now = result?;
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        match apply::kind_of(wanted) {
            Some(kind::DEPLOYMENT) if name == picker => seen.picker = Some(now),
            Some(kind::DEPLOYMENT) if name == tokenizer => seen.tokenizer = Some(now),
            Some(kind::INFERENCE_POOL | kind::INFERENCE_POOL_ALPHA) => seen.pools.push(now),
            _ => {}
        }
    }
    Ok(())
}

/// Warns of what does no harm by itself, once.
pub(crate) async fn warn(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
    spec: &Value,
    observed: &Observed,
) {
    let generation = live.pointer("/metadata/generation");
    let looked_at = live.pointer("/status/observedGeneration") == generation;
    let divergence = observed.group.as_ref().and_then(Group::divergence);
    let collision = observed.planned_route.as_ref().and_then(|_| {
        let all = context.store.state();
        let others = all.iter().filter_map(|other| {
            let meta = &other.metadata;
            let near = meta.namespace.as_deref() == Some(&service.namespace)
                && meta.deletion_timestamp.is_none();
            Some((meta.name.as_deref().filter(|_| near)?, &other.data))
        });
        weir_plan::model_name_collision(service, spec, others)
    });
    for (reason, message) in [
        (reason::MEMBER_DIVERGENCE, divergence),
        (reason::MODEL_NAME_COLLISION, collision),
    ] {
        let message = message.as_deref();
        if context.warned.is_new(service, reason, message, looked_at)
            && let Some(message) = message
        {
            let severity = events::Severity::Warning;
            events::report(&context.client, service, severity, reason, message).await;
        }
    }
}

/// Brings to an end what does not go with its owner. Answers what has to be waited for.
pub(crate) async fn finalize(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
) -> Result<Option<Failure>, Error> {
    let group = live
        .pointer("/spec/router/route/group")
        .and_then(Value::as_str);
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        let peers = peers(context, service, group)?;
        if let Some(peer) = weir_plan::still_routed_by(service, &peers) {
            return Ok(Some(Failure {
                condition: condition::GROUP_READY,
                reason: reason::FINALIZATION_PENDING,
                message: format!("waiting for member {peer} to remove backendRef before deletion"),
            }));
        }
    }
    // What is in no namespace has no owner in one.
    for binding in snapshot::cluster_bindings(&context.cache, service)? {
        apply::delete(context, service, &binding).await?;
    }
    Ok(None)
}

fn failed(condition: &'static str, reason: &'static str, message: String) -> Outcome {
    Outcome::Failed(Failure {
        condition,
        reason,
        message,
    })
}

fn route_failure(error: &dyn std::fmt::Display) -> Outcome {
    failed(
        condition::HTTP_ROUTES_READY,
        reason::HTTP_ROUTE_RECONCILE_ERROR,
        format!("Failed to reconcile HTTPRoute: {error}"),
    )
}

fn scheduler_failure(error: &dyn std::fmt::Display) -> Outcome {
    failed(
        condition::SCHEDULER_WORKLOAD_READY,
        reason::SCHEDULER_RECONCILE_ERROR,
        format!("Failed to reconcile scheduler: {error}"),
    )
}
