//! The managed HTTPRoute.

use serde_json::{Value, json};
use weir_api::names::{ChildNames, Kind, annotation, condition, kind, reason, value};

use crate::{
    Error, Facts, Failure, ModelRouting, ObservedGateway, ServiceIdentity, items, present, text,
};

/// The managed route, if the spec wants one.
pub(crate) fn object(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Option<Value>, Error> {
    if present(spec, "/router/scheduler") {
        return Err(Error::NotSupported {
            field: "spec.router.scheduler",
        });
    }
    if present(spec, "/router/route/group") {
        return Err(Error::NotSupported {
            field: "spec.router.route.group",
        });
    }
    if !present(spec, "/router/route") || !items(spec, "/router/route/http/refs").is_empty() {
        return Ok(None);
    }
    let mut body = spec
        .pointer("/router/route/http/spec")
        .filter(|s| s.is_object())
        .cloned()
        .ok_or(Error::NoRouteSpec)?;
    attach_gateways(&mut body, items(spec, "/router/gateway/refs"));
    to_service(service, &mut body);
    if !model_routing(spec, facts) {
        strip_model_routing(&mut body, &facts.model_header);
    }
    Ok(Some(json!({
        "apiVersion": kind::HTTP_ROUTE.api_version(),
        "kind": kind::HTTP_ROUTE.kind,
        "metadata": service.metadata(
            &ChildNames::new(&service.name).route(),
            &service.labels(value::COMPONENT_ROUTER),
            &std::collections::BTreeMap::new(),
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

/// The gateways a route attaches to: namespace, name, section.
pub fn parents(route: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let own = text(route, "/metadata/namespace");
    items(route, "/spec/parentRefs")
        .iter()
        .filter_map(move |parent| {
            let is_gateway = parent
                .get("kind")
                .and_then(Value::as_str)
                .is_none_or(|k| k == kind::GATEWAY.kind);
            let namespace = parent
                .get("namespace")
                .and_then(Value::as_str)
                .filter(|n| !n.is_empty())
                .unwrap_or(own);
            is_gateway.then(|| {
                (
                    namespace,
                    text(parent, "/name"),
                    text(parent, "/sectionName"),
                )
            })
        })
}

/// Without a picker requests go to the workload Service instead of the pool.
fn to_service(service: &ServiceIdentity, body: &mut Value) {
    let names = ChildNames::new(&service.name);
    let (pool, target) = (names.pool(), names.workload_service());
    for rule in body
        .get_mut("rules")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for backend in rule
            .get_mut("backendRefs")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if backend["kind"] == kind::INFERENCE_POOL.kind && backend["name"] == pool {
                backend["group"] = json!("");
                backend["kind"] = json!(kind::CORE_SERVICE.kind);
                backend["name"] = json!(target);
            }
        }
    }
}

fn model_routing(spec: &Value, facts: &Facts) -> bool {
    let pods_know = spec
        .get("annotations")
        .and_then(|all| all.get(annotation::MODEL_BASED_ROUTING))
        .is_some_and(|value| value == "true");
    pods_know
        && match facts.model_routing {
            ModelRouting::Enabled => !facts.gateway_opts_out,
            ModelRouting::Forced => true,
            ModelRouting::Disabled => false,
        }
}

/// Drops matches by the model header, and rules that are left without a match.
fn strip_model_routing(body: &mut Value, header: &str) {
    let Some(rules) = body.get_mut("rules").and_then(Value::as_array_mut) else {
        return;
    };
    for rule in rules.iter_mut() {
        if let Some(matches) = rule.get_mut("matches").and_then(Value::as_array_mut) {
            matches.retain(|one| !items(one, "/headers").iter().any(|h| h["name"] == header));
        }
    }
    rules.retain(|rule| !items(rule, "/matches").is_empty());
}

/// Checks that the gateways which the service and its managed route name exist.
#[must_use]
pub fn check_gateways(
    service: &ServiceIdentity,
    spec: &Value,
    planned: Option<&Value>,
    gateways: &[ObservedGateway],
) -> Option<Failure> {
    let missing = |namespace: &str, name: &str| {
        !gateways
            .iter()
            .any(|g| g.namespace == namespace && g.name == name && g.object.is_some())
    };
    let failure = |condition, messages: Vec<String>| {
        (!messages.is_empty()).then(|| Failure {
            condition,
            reason: reason::REFS_INVALID,
            message: messages.join("; "),
        })
    };
    let named = items(spec, "/router/gateway/refs")
        .iter()
        .filter_map(|gateway| {
            let own = text(gateway, "/namespace");
            let (namespace, name) = (
                if own.is_empty() {
                    &service.namespace
                } else {
                    own
                },
                text(gateway, "/name"),
            );
            missing(namespace, name).then(|| format!("Gateway {namespace}/{name} does not exist"))
        });
    failure(condition::GATEWAYS_READY, named.collect()).or_else(|| {
        let of_route = planned.map(parents).into_iter().flatten();
        let lost = of_route.filter(|(namespace, name, _)| missing(namespace, name));
        let tell = |(namespace, name, _)| {
            format!("Managed HTTPRoute references non-existent Gateway {namespace}/{name}")
        };
        failure(condition::HTTP_ROUTES_READY, lost.map(tell).collect())
    })
}

/// Whether a gateway declines model-based routing by its annotation.
#[must_use]
pub fn opts_out(gateway: &Value) -> bool {
    let annotations = gateway.pointer("/metadata/annotations");
    annotations
        .and_then(|all| all.get(annotation::MODEL_BASED_ROUTING))
        .is_some_and(|value| value == "false")
}

/// Names the kinds of the Gateway API that the service needs and the cluster does not have.
#[must_use]
pub fn not_served(
    spec: &Value,
    route_planned: bool,
    served: impl Fn(Kind) -> bool,
) -> Option<Failure> {
    let uses_routes = route_planned || spec.pointer("/router/route/http/refs/0").is_some();
    let uses_gateways = route_planned || spec.pointer("/router/gateway/refs/0").is_some();
    let needed = [
        (uses_gateways, kind::GATEWAY),
        (uses_routes, kind::HTTP_ROUTE),
    ];
    let missing = needed
        .into_iter()
        .filter(|(used, kind)| *used && !served(*kind));
    let missing: Vec<&str> = missing.map(|(_, kind)| kind.kind).collect();
    let (condition, reason) = if uses_routes {
        (
            condition::HTTP_ROUTES_READY,
            reason::HTTP_ROUTE_RECONCILE_ERROR,
        )
    } else {
        (condition::GATEWAYS_READY, reason::GATEWAYS_NOT_READY)
    };
    (!missing.is_empty()).then(|| Failure {
        condition,
        reason,
        message: format!(
            "this cluster does not serve {} of {}: install the Gateway API",
            missing.join(" and "),
            kind::GATEWAY.api_version()
        ),
    })
}
