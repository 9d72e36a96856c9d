//! Which routes attach to which listeners: pure, from objects to the routing table and to what the status
//! has to say about it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::convert;
use crate::hosts::HostPattern;
use crate::objects::{
    GROUP, Gateway, GatewayClass, HttpRoute, InferencePool, LabelSelector, Listener, ParentRef,
};
use crate::table::{Entry, Rule, Table, Target};

/// Namespace and name.
pub type Key = (String, String);

/// Everything the gateway is programmed from.
#[derive(Debug, Default)]
pub struct World {
    /// Classes by name.
    pub classes: BTreeMap<Key, GatewayClass>,
    /// Gateways.
    pub gateways: BTreeMap<Key, Gateway>,
    /// Routes.
    pub routes: BTreeMap<Key, HttpRoute>,
    /// Pools.
    pub pools: BTreeMap<Key, InferencePool>,
    /// Labels of namespaces, by name (the namespace of the key is empty).
    pub namespaces: BTreeMap<Key, BTreeMap<String, String>>,
}

/// Answers whether a Service and its port exist.
pub trait Services {
    /// Says what is missing of `port` of `namespace/name`, if anything.
    fn missing(&self, namespace: &str, name: &str, port: u16) -> Option<weir_discovery::Missing>;
}

impl Services for weir_discovery::Snapshot {
    fn missing(&self, namespace: &str, name: &str, port: u16) -> Option<weir_discovery::Missing> {
        self.find(namespace, name, port).err()
    }
}

/// A condition without its time and generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `True` or `False`.
    pub holds: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

impl Verdict {
    /// Returns a condition that holds.
    pub fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: true,
            reason,
            message: message.into(),
        }
    }

    /// Returns a condition that does not hold.
    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: false,
            reason,
            message: message.into(),
        }
    }
}

/// What a listener's status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerReport {
    /// Name of the listener.
    pub name: String,
    /// Number of routes attached.
    pub attached: usize,
    /// Kinds of routes that may attach.
    pub kinds: Vec<&'static str>,
    /// Whether it is served.
    pub accepted: Verdict,
    /// Whether all it refers to was found.
    pub resolved: Verdict,
    /// Whether another listener of the Gateway claims the same.
    pub conflicted: bool,
}

/// What a route's status says of one parent.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentReport {
    /// The reference as the route writes it.
    pub parent: Value,
    /// Whether the route is attached.
    pub accepted: Verdict,
    /// Whether its backends were found.
    pub resolved: Verdict,
}

/// What a pool is to the serving side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Which pods.
    pub selector: LabelSelector,
    /// Ports of the engines.
    pub ports: Vec<u16>,
    /// Service of the picker, and its port.
    pub picker: Option<(String, u16)>,
    /// Whether any ready endpoint will do when there is no picker.
    pub fail_open: bool,
}

/// What requests are served from.
#[derive(Debug, Default)]
pub struct Routing {
    /// The table.
    pub table: Table,
    /// Pools by namespace and name.
    pub pools: HashMap<Key, PoolView>,
}

/// Port of pickers that name none.
const PICKER_PORT: u16 = 9002;

/// The outcome.
#[derive(Debug, Default)]
pub struct Model {
    /// What requests are served from.
    pub routing: Arc<Routing>,
    /// Listeners of each Gateway.
    pub gateways: BTreeMap<Key, Vec<ListenerReport>>,
    /// Parents of each route.
    pub routes: BTreeMap<Key, Vec<ParentReport>>,
    /// Gateways from which each pool is reached.
    pub pools: BTreeMap<Key, BTreeSet<Key>>,
}

/// Attaches routes and builds the table.
#[must_use]
pub fn attach(world: &World, services: &dyn Services) -> Model {
    let mut gateways: BTreeMap<Key, Vec<ListenerReport>> = world
        .gateways
        .iter()
        .map(|(key, gateway)| (key.clone(), listeners(gateway)))
        .collect();
    let mut routes = BTreeMap::new();
    let mut reached: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    let mut entries = Vec::new();
    for (key, route) in &world.routes {
        let converted = convert::rules(key, route, world, services);
        let mut hosts: Vec<HostPattern> = Vec::new();
        let mut parents = Vec::new();
        for parent in &route.spec.parent_refs {
            let accepted = match &converted.unsupported {
                Some(what) => Verdict::no("UnsupportedValue", what.clone()),
                None => attach_parent(key, route, parent, world, &mut gateways, &mut hosts),
            };
            if let Some(accepted) = applies(parent).then_some(accepted) {
                if accepted.holds {
                    for pool in pools_of(&converted.rules) {
                        reached
                            .entry(pool)
                            .or_default()
                            .insert(gateway_of(key, parent));
                    }
                }
                parents.push(ParentReport {
                    parent: parent_value(parent),
                    accepted,
                    resolved: converted.resolved.clone(),
                });
            }
        }
        push_entries(&mut entries, key, route, &hosts, converted.rules);
        routes.insert(key.clone(), parents);
    }
    let named = world
        .gateways
        .values()
        .flat_map(|gateway| &gateway.spec.listeners)
        .map(|listener| HostPattern::parse(listener.hostname.as_deref()))
        .filter(|pattern| *pattern != HostPattern::Any)
        .collect();
    let pools = world
        .pools
        .iter()
        .map(|(key, pool)| (key.clone(), pool_view(pool)))
        .collect();
    Model {
        routing: Arc::new(Routing {
            table: Table::new(entries, named),
            pools,
        }),
        gateways,
        routes,
        pools: reached,
    }
}

/// The Gateway that a route's parent is.
fn gateway_of(route: &Key, parent: &ParentRef) -> Key {
    (
        parent.namespace.clone().unwrap_or_else(|| route.0.clone()),
        parent.name.clone(),
    )
}

/// The pools that rules send to.
fn pools_of(rules: &[(Arc<Rule>, Vec<crate::table::Match>)]) -> impl Iterator<Item = Key> {
    rules
        .iter()
        .flat_map(|(rule, _)| &rule.backends)
        .filter_map(|backend| match &backend.target {
            Target::Pool { namespace, name } => Some((namespace.clone(), name.clone())),
            _ => None,
        })
}

fn push_entries(
    entries: &mut Vec<Entry>,
    key: &Key,
    route: &HttpRoute,
    hosts: &[HostPattern],
    rules: Vec<(Arc<Rule>, Vec<crate::table::Match>)>,
) {
    for (rule_at, (rule, matches)) in rules.into_iter().enumerate() {
        for (match_at, matched) in matches.into_iter().enumerate() {
            for host in hosts {
                entries.push(Entry {
                    host: host.clone(),
                    matched: matched.clone(),
                    created: route.metadata.creation_timestamp.clone(),
                    route: key.clone(),
                    position: (rule_at, match_at),
                    rule: Arc::clone(&rule),
                });
            }
        }
    }
}

fn pool_view(pool: &InferencePool) -> PoolView {
    let picker = pool.spec.endpoint_picker_ref.as_ref();
    PoolView {
        selector: pool.spec.selector.clone(),
        ports: pool
            .spec
            .target_ports
            .iter()
            .map(|port| port.number)
            .collect(),
        picker: picker.map(|picker| {
            let port = picker.port.as_ref().map_or(PICKER_PORT, |port| port.number);
            (picker.name.clone(), port)
        }),
        fail_open: picker.is_none_or(|picker| picker.failure_mode.as_deref() == Some("FailOpen")),
    }
}

/// Says whether the parent is a Gateway; others are the business of other controllers.
fn applies(parent: &ParentRef) -> bool {
    parent.group.as_deref().unwrap_or(GROUP) == GROUP
        && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway"
}

fn parent_value(parent: &ParentRef) -> Value {
    let mut value = json!({
        "group": parent.group.as_deref().unwrap_or(GROUP),
        "kind": parent.kind.as_deref().unwrap_or("Gateway"),
        "name": parent.name,
    });
    for (field, content) in [
        ("namespace", parent.namespace.clone().map(Value::from)),
        ("sectionName", parent.section_name.clone().map(Value::from)),
        ("port", parent.port.map(Value::from)),
    ] {
        if let Some(content) = content {
            value[field] = content;
        }
    }
    value
}

fn served_kinds(listener: &Listener) -> (Vec<&'static str>, bool) {
    let kinds = &listener.allowed_routes.kinds;
    if kinds.is_empty() {
        return (vec!["HTTPRoute"], true);
    }
    let known = |kind: &crate::objects::RouteKind| {
        kind.kind == "HTTPRoute" && kind.group.as_deref().unwrap_or(GROUP) == GROUP
    };
    let served = if kinds.iter().any(known) {
        vec!["HTTPRoute"]
    } else {
        Vec::new()
    };
    (served, kinds.iter().all(known))
}

fn listeners(gateway: &Gateway) -> Vec<ListenerReport> {
    let all = &gateway.spec.listeners;
    let reports = all.iter().enumerate().map(|(at, listener)| {
        let (mut kinds, all_known) = served_kinds(listener);
        let conflicted = all.iter().enumerate().any(|(other_at, other)| {
            other_at < at
                && other.port == listener.port
                && other.protocol == listener.protocol
                && HostPattern::parse(other.hostname.as_deref())
                    == HostPattern::parse(listener.hostname.as_deref())
        });
        let accepted = if listener.protocol == "HTTP" {
            Verdict::yes("Accepted", "Served")
        } else {
            kinds.clear();
            Verdict::no(
                "UnsupportedProtocol",
                format!(
                    "Protocol {} is not served here, use HTTP",
                    listener.protocol
                ),
            )
        };
        let resolved = if all_known || listener.protocol != "HTTP" {
            Verdict::yes("ResolvedRefs", "All references are resolved")
        } else {
            Verdict::no("InvalidRouteKinds", "Only HTTPRoute may attach here")
        };
        ListenerReport {
            name: listener.name.clone(),
            attached: 0,
            kinds,
            accepted,
            resolved,
            conflicted,
        }
    });
    reports.collect()
}

fn attach_parent(
    key: &Key,
    route: &HttpRoute,
    parent: &ParentRef,
    world: &World,
    reports: &mut BTreeMap<Key, Vec<ListenerReport>>,
    hosts: &mut Vec<HostPattern>,
) -> Verdict {
    let gateway_key = gateway_of(key, parent);
    let (Some(gateway), Some(reports)) = (
        world.gateways.get(&gateway_key),
        reports.get_mut(&gateway_key),
    ) else {
        return Verdict::no(
            "NoMatchingParent",
            format!("There is no Gateway {}/{}", gateway_key.0, gateway_key.1),
        );
    };
    let wanted: Vec<HostPattern> = if route.spec.hostnames.is_empty() {
        vec![HostPattern::Any]
    } else {
        route
            .spec
            .hostnames
            .iter()
            .map(|name| HostPattern::parse(Some(name)))
            .collect()
    };
    let (mut seen, mut allowed, mut attached) = (false, false, false);
    for (listener, report) in gateway.spec.listeners.iter().zip(reports) {
        if parent
            .section_name
            .as_ref()
            .is_some_and(|name| *name != listener.name)
            || parent.port.is_some_and(|port| port != listener.port)
            || !report.accepted.holds
        {
            continue;
        }
        seen = true;
        if report.kinds.is_empty() || !may_attach(&gateway_key.0, &key.0, listener, world) {
            continue;
        }
        allowed = true;
        let listens = HostPattern::parse(listener.hostname.as_deref());
        let common: Vec<HostPattern> = wanted
            .iter()
            .filter_map(|host| listens.intersect(host))
            .collect();
        if common.is_empty() {
            continue;
        }
        attached = true;
        report.attached += 1;
        for host in common {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    let gateway_name = format!("{}/{}", gateway_key.0, gateway_key.1);
    match (seen, allowed, attached) {
        (_, _, true) => Verdict::yes("Accepted", "Route is attached"),
        (_, true, false) => Verdict::no(
            "NoMatchingListenerHostname",
            format!("No host name of the route is one of a listener of Gateway {gateway_name}"),
        ),
        (true, false, false) => Verdict::no(
            "NotAllowedByListeners",
            format!(
                "No listener of Gateway {gateway_name} allows HTTPRoutes of namespace {}, see its allowedRoutes",
                key.0
            ),
        ),
        (false, _, false) => Verdict::no(
            "NoMatchingParent",
            format!("Gateway {gateway_name} has no HTTP listener of that name or port"),
        ),
    }
}

fn may_attach(
    gateway_namespace: &str,
    namespace: &str,
    listener: &Listener,
    world: &World,
) -> bool {
    let allowed = &listener.allowed_routes.namespaces;
    match allowed.from.as_deref() {
        None | Some("Same") => gateway_namespace == namespace,
        Some("All") => true,
        Some("Selector") => allowed.selector.as_ref().is_some_and(|selector| {
            let key = (String::new(), namespace.to_owned());
            world
                .namespaces
                .get(&key)
                .is_some_and(|labels| selector.matches(labels))
        }),
        Some(_) => false,
    }
}
