//! What the router refers to must be there before anything is created.

use serde_json::Value;
use weir_api::names::{Kind, condition, kind, reason};

use super::parents::parents;
use crate::{Failure, ObservedGateway, ServiceIdentity, items, text};

/// Checks that gateways and routes which the service and its managed route name exist.
///
/// `routes` are the referenced routes that exist; `planned` is the managed one.
#[must_use]
pub fn check_refs(
    service: &ServiceIdentity,
    spec: &Value,
    planned: Option<&Value>,
    routes: &[Value],
    gateways: &[ObservedGateway],
) -> Option<Failure> {
    let missing = |namespace: &str, name: &str| {
        !gateways
            .iter()
            .any(|g| g.namespace == namespace && g.name == name && g.object.is_some())
    };
    let own = service.namespace.as_str();
    let failure = |condition, prefix: &str, messages: Vec<String>| {
        (!messages.is_empty()).then(|| Failure {
            condition,
            reason: reason::REFS_INVALID,
            message: format!("{prefix}{}", messages.join("; ")),
        })
    };
    let gateway_refs = items(spec, "/router/gateway/refs")
        .iter()
        .filter_map(|gateway| {
            let namespace = Some(text(gateway, "/namespace"))
                .filter(|n| !n.is_empty())
                .unwrap_or(own);
            let name = text(gateway, "/name");
            missing(namespace, name).then(|| format!("Gateway {namespace}/{name} does not exist"))
        });
    let gateway_refs = failure(condition::GATEWAYS_READY, "", gateway_refs.collect());
    let route_refs = || {
        let known = |name: &str| routes.iter().any(|route| route["metadata"]["name"] == name);
        let refs = items(spec, "/router/route/http/refs").iter();
        let names = refs
            .map(|one| text(one, "/name"))
            .filter(|name| !known(name));
        let messages = names.map(|name| format!("HTTPRoute {own}/{name} does not exist"));
        failure(condition::HTTP_ROUTES_READY, "", messages.collect())
    };
    let parents_of_managed = || {
        let of_route = planned.map(parents).into_iter().flatten();
        let lost = of_route.filter(|(namespace, name, _)| missing(namespace, name));
        let tell = |(namespace, name, _)| {
            format!("Managed HTTPRoute references non-existent Gateway {namespace}/{name}")
        };
        failure(condition::HTTP_ROUTES_READY, "", lost.map(tell).collect())
    };
    let parents_of_refs = || {
        let mut messages = Vec::new();
        for route in routes {
            let name = text(route, "/metadata/name");
            if items(route, "/spec/parentRefs").is_empty() {
                messages.push(format!(
                    "HTTPRoute {own}/{name} has no parent gateway references"
                ));
            }
            let lost = parents(route).filter(|(namespace, name, _)| missing(namespace, name));
            messages.extend(lost.map(|(namespace, gateway, _)| {
                format!(
                    "HTTPRoute {own}/{name} references non-existent Gateway {namespace}/{gateway}"
                )
            }));
        }
        failure(
            condition::HTTP_ROUTES_READY,
            "HTTPRoute target validation failed: ",
            messages,
        )
    };
    gateway_refs
        .or_else(route_refs)
        .or_else(parents_of_managed)
        .or_else(parents_of_refs)
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
