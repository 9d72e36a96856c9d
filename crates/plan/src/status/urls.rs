//! Where a service answers: URLs from routes, gateways and their listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};
use weir_api::names::kind;

use super::{ObservedGateway, StatusInput};
use crate::{items, model_name, routing, text};

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) url: Option<String>,
    pub(super) addresses: Vec<Value>,
    pub(super) gateways: Vec<Value>,
}

/// Subdomain that stands for the `*` of a wildcard host name.
const WILDCARD: &str = "inference";

struct Link {
    url: String,
    host: String,
    path: String,
    scheme: &'static str,
    gateway: (String, String),
}

/// Finds the URLs of the routes in use.
pub(super) fn discover(input: &StatusInput<'_>, spec: &Value) -> Result<Found, String> {
    let managed = input
        .planned_route
        .map(|planned| text(planned, "/metadata/name"));
    let mut routes: Vec<&Value> = input
        .routes
        .iter()
        .filter(|r| managed != Some(text(r, "/metadata/name")))
        .collect();
    routes.extend(input.planned_route);

    let mut links: Vec<Link> = Vec::new();
    let mut topology: BTreeMap<(String, String), (BTreeSet<String>, BTreeSet<String>)> =
        BTreeMap::new();
    for one in routes {
        let paths = paths(one, input.model_header);
        for (namespace, name, section) in routing::parents(one) {
            let seen = topology
                .entry((namespace.to_owned(), name.to_owned()))
                .or_default();
            if !section.is_empty() {
                seen.0.insert(section.to_owned());
            }
            seen.1.insert(text(one, "/metadata/name").to_owned());
            let gateway = input
                .gateways
                .iter()
                .find(|g| g.namespace == namespace && g.name == name);
            let gateway =
                gateway.ok_or_else(|| format!("Gateway {namespace}/{name} does not exist"))?;
            of_parent(input, one, gateway, section, &paths, &mut links)?;
        }
    }
    links.sort_by(|a, b| a.url.cmp(&b.url));
    links.dedup_by(|a, b| a.url == b.url && a.gateway == b.gateway);

    let namespace = &input.service.namespace;
    let gateways = topology
        .into_iter()
        .map(|((ns, name), (sections, routes))| {
            let mut gateway = json!({
                "group": kind::GATEWAY.group,
                "kind": kind::GATEWAY.kind,
                "name": name,
                "namespace": ns,
                "httpRoutes": routes.iter().map(|route| json!({
                    "group": kind::HTTP_ROUTE.group,
                    "kind": kind::HTTP_ROUTE.kind,
                    "name": route,
                    "namespace": namespace,
                })).collect::<Vec<_>>(),
            });
            if !sections.is_empty() {
                gateway["listeners"] = json!(sections);
            }
            gateway
        });
    Ok(Found {
        url: primary(input, &links),
        addresses: links
            .iter()
            .map(|link| address(input, spec, link))
            .collect(),
        gateways: gateways.collect(),
    })
}

fn primary(input: &StatusInput<'_>, links: &[Link]) -> Option<String> {
    let prefix = format!("/{}/{}", input.service.namespace, input.service.name);
    let own = |link: &&Link| link.path.starts_with(&prefix);
    let (inside, outside): (Vec<&Link>, Vec<&Link>) = links
        .iter()
        .partition(|link| internal(&link.host, input.cluster_domain));
    let chosen = if outside.is_empty() {
        let preferred = inside
            .iter()
            .copied()
            .find(|link| own(link) && link.scheme == input.url_scheme);
        preferred
            .or_else(|| inside.iter().copied().find(own))
            .or_else(|| inside.first().copied())
    } else {
        outside
            .iter()
            .copied()
            .find(own)
            .or_else(|| outside.first().copied())
    };
    chosen.map(|link| link.url.clone())
}

fn address(input: &StatusInput<'_>, spec: &Value, link: &Link) -> Value {
    let mut name = if link.host.ends_with(input.cluster_domain) {
        "gateway-internal"
    } else if internal(&link.host, input.cluster_domain) {
        "internal"
    } else {
        "gateway-external"
    }
    .to_owned();
    let by_model = matches!(link.path.as_str(), "" | "/");
    if by_model {
        name.push_str("-model-routing");
    }
    let adapters = items(spec, "/model/lora/adapters").iter();
    let adapters = adapters.map(|adapter| text(adapter, "/name"));
    let mut models = Vec::new();
    for model in [model_name(input.service, spec)]
        .into_iter()
        .chain(adapters)
    {
        if model.is_empty() {
            continue;
        }
        let qualified = format!("publishers/{}/models/{model}", input.service.namespace);
        models.push(json!({"name": qualified}));
        if !by_model {
            models.push(json!({"name": model}));
        }
    }
    json!({
        "name": name,
        "url": link.url,
        "origin": {
            "group": kind::GATEWAY.group,
            "kind": kind::GATEWAY.kind,
            "namespace": link.gateway.0,
            "name": link.gateway.1,
        },
        "models": models,
    })
}

fn of_parent(
    input: &StatusInput<'_>,
    route: &Value,
    gateway: &ObservedGateway,
    section: &str,
    paths: &[String],
    links: &mut Vec<Link>,
) -> Result<(), String> {
    let id = format!("{}/{}", gateway.namespace, gateway.name);
    let object = gateway
        .object
        .as_ref()
        .ok_or_else(|| format!("Gateway {id} does not exist"))?;
    if !gateway.class_exists {
        let class = text(object, "/spec/gatewayClassName");
        return Err(format!(
            "GatewayClass {class} of Gateway {id} does not exist"
        ));
    }
    let all = items(object, "/spec/listeners");
    let mut listeners: Vec<(&Value, &'static str)> = Vec::new();
    if section.is_empty() {
        listeners.extend(all.iter().filter_map(|one| Some((one, scheme(one)?))));
        if listeners.is_empty() {
            return Err(format!("Gateway {id} has no HTTP, HTTPS or TLS listener"));
        }
        let order = |scheme: &str| (scheme != input.url_scheme, scheme != "https");
        listeners.sort_by_key(|(_, scheme)| order(scheme));
    } else {
        let one = all.iter().find(|one| text(one, "/name") == section);
        let one = one.ok_or_else(|| format!("Gateway {id} has no listener {section}"))?;
        let scheme = scheme(one).ok_or_else(|| {
            format!("listener {section} of Gateway {id} is not HTTP, HTTPS or TLS")
        })?;
        listeners.push((one, scheme));
    }
    let addresses: Vec<&str> = items(object, "/status/addresses")
        .iter()
        .map(|a| text(a, "/value"))
        .filter(|a| !a.is_empty())
        .collect();
    for path in paths {
        for (listener, scheme) in &listeners {
            let port = listener.get("port").and_then(Value::as_u64).unwrap_or(0);
            let mut add = |host: &str| {
                let bracketed = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.to_owned()
                };
                let port = if (*scheme, port) == ("http", 80) || (*scheme, port) == ("https", 443) {
                    String::new()
                } else {
                    format!(":{port}")
                };
                links.push(Link {
                    url: format!("{scheme}://{bracketed}{port}{path}"),
                    host: host.to_owned(),
                    path: path.clone(),
                    scheme,
                    gateway: (gateway.namespace.clone(), gateway.name.clone()),
                });
            };
            if !addresses.is_empty() {
                for host in hosts(route, listener, &addresses) {
                    add(&host);
                }
            }
            if let Some(service) = &gateway.service {
                let ports = items(service, "/spec/ports");
                if ports.is_empty()
                    || ports
                        .iter()
                        .any(|p| p.get("port").and_then(Value::as_u64) == Some(port))
                {
                    add(&format!(
                        "{}.{}.svc.{}",
                        text(service, "/metadata/name"),
                        gateway.namespace,
                        input.cluster_domain
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Host names of the route, else of the listener, else the gateway's addresses.
fn hosts(route: &Value, listener: &Value, addresses: &[&str]) -> Vec<String> {
    let concrete = |host: &str| {
        host.strip_prefix('*')
            .map_or_else(|| host.to_owned(), |rest| format!("{WILDCARD}{rest}"))
    };
    let mut hosts: Vec<String> = items(route, "/spec/hostnames")
        .iter()
        .filter_map(Value::as_str)
        .filter(|host| !matches!(*host, "" | "*"))
        .map(concrete)
        .collect();
    if hosts.is_empty() {
        let own = text(listener, "/hostname");
        if own.is_empty() || own == "*" {
            hosts.extend(addresses.iter().map(ToString::to_string));
        } else {
            hosts.push(concrete(own));
        }
    }
    hosts.sort();
    hosts
}

fn scheme(listener: &Value) -> Option<&'static str> {
    match text(listener, "/protocol") {
        "HTTP" => Some("http"),
        "HTTPS" | "TLS" => Some("https"),
        _ => None,
    }
}

/// The shortest path of each kind: by publisher, by name, by model header; Service backends first.
fn paths(route: &Value, header: &str) -> Vec<String> {
    let mut best: [Option<(bool, usize, usize, String)>; 3] = [None, None, None];
    for rule in items(route, "/spec/rules") {
        let to_service = items(rule, "/backendRefs").iter().any(|backend| {
            backend
                .get("kind")
                .and_then(Value::as_str)
                .is_none_or(|k| k == kind::CORE_SERVICE.kind)
        });
        for one in items(rule, "/matches") {
            let path = one
                .pointer("/path/value")
                .and_then(Value::as_str)
                .unwrap_or("/");
            let headers = items(one, "/headers");
            let bucket = match headers.is_empty() {
                true if path.starts_with("/publishers/") => 0,
                true => 1,
                false if headers.iter().any(|h| h["name"] == header) => 2,
                false => continue,
            };
            let rank = (
                !to_service,
                path.matches('/').count(),
                path.len(),
                path.to_owned(),
            );
            let better = best[bucket]
                .as_ref()
                .is_none_or(|old| (rank.0, rank.1, rank.2) < (old.0, old.1, old.2));
            if better {
                best[bucket] = Some(rank);
            }
        }
    }
    let mut found: Vec<String> = best
        .into_iter()
        .flatten()
        .map(|(_, _, _, path)| path)
        .collect();
    found.sort_by_key(|path| (path.matches('/').count(), path.len()));
    found.dedup();
    if found.is_empty() {
        found.push("/".to_owned());
    }
    found
}

/// Whether a host is only reachable from inside.
fn internal(host: &str, cluster_domain: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(v4) => v4.is_private(),
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
    }
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(cluster_domain)
        || [".local", ".localhost", ".internal"]
            .iter()
            .any(|suffix| host.ends_with(suffix))
}
