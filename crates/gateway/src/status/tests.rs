//! What is written, and what is not written twice.

use serde::de::DeserializeOwned;
use weir_discovery::Snapshot;

use super::*;
use crate::attach::attach;

const NOW: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-02T00:00:00Z";

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn published() -> SocketAddr {
    "0.0.0.0:8080".parse().unwrap()
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

fn world() -> World {
    let mut world = World::default();
    world.classes.insert(
        key("", "weir"),
        object(json!({"metadata": {"name": "weir", "generation": 1},
            "spec": {"controllerName": CONTROLLER}})),
    );
    world.classes.insert(
        key("", "other"),
        object(json!({"metadata": {"name": "other"}, "spec": {"controllerName": "example.com/x"}})),
    );
    world.gateways.insert(
        key("kserve", "gw"),
        object(json!({
            "metadata": {"namespace": "kserve", "name": "gw", "generation": 3, "resourceVersion": "7"},
            "spec": {"gatewayClassName": "other", "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "All"}}},
                {"name": "https", "port": 443, "protocol": "HTTPS"},
                {"name": "same", "port": 81, "protocol": "HTTP", "hostname": "a.example"}]},
            "status": {"conditions": [{"type": "Custom", "status": "True"}]}})),
    );
    world
}

fn route(parent: &Value, backend: &Value) -> HttpRoute {
    object(json!({
        "metadata": {"namespace": "default", "name": "r", "generation": 2, "resourceVersion": "9"},
        "spec": {"parentRefs": [parent], "hostnames": ["b.example"],
            "rules": [{"backendRefs": [backend]}]},
        "status": {"parents": [
            {"controllerName": "example.com/x", "parentRef": {"name": "gw"}, "conditions": []}]}}))
}

fn condition<'a>(conditions: &'a Value, kind: &str) -> &'a Value {
    conditions
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["type"] == kind)
        .unwrap()
}

fn find(writes: &[Write], kind: Kind) -> &Value {
    &writes
        .iter()
        .find(|write| write.kind == kind)
        .unwrap()
        .status
}

#[test]
fn written_once_and_others_kept() {
    let mut world = world();
    let parent = json!({"name": "gw", "namespace": "kserve"});
    world.routes.insert(
        key("default", "r"),
        route(&parent, &json!({"name": "missing", "port": 80})),
    );
    let model = attach(&world, &Snapshot::default());
    let first = writes(&world, &model, published(), NOW);
    assert_eq!(first.len(), 3, "{first:?}");
    assert_eq!(
        condition(&find(&first, Kind::Class)["conditions"], "Accepted")["status"],
        "True"
    );

    let gateway = find(&first, Kind::Gateway);
    assert_eq!(
        gateway["addresses"],
        json!([{"type": "IPAddress", "value": "127.0.0.1"}])
    );
    assert_eq!(
        condition(&gateway["conditions"], "Programmed")["observedGeneration"],
        3
    );
    assert_eq!(
        condition(&gateway["conditions"], "Custom")["status"],
        "True"
    );
    let attached: Vec<_> = gateway["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|listener| listener["attachedRoutes"].as_u64().unwrap())
        .collect();
    assert_eq!(attached, [1, 0, 0]);
    let https = condition(&gateway["listeners"][1]["conditions"], "Accepted");
    assert_eq!(
        (&https["status"], &https["reason"]),
        (&json!("False"), &json!("UnsupportedProtocol"))
    );

    let parents = &find(&first, Kind::Route)["parents"];
    assert_eq!(parents[0]["controllerName"], "example.com/x");
    assert_eq!(parents[1]["controllerName"], CONTROLLER);
    assert_eq!(
        condition(&parents[1]["conditions"], "Accepted")["status"],
        "True"
    );
    let resolved = condition(&parents[1]["conditions"], "ResolvedRefs");
    assert_eq!(resolved["reason"], "BackendNotFound");
    assert_eq!(
        resolved["message"],
        "Service default/missing does not exist"
    );

    // As written, nothing is to be written.
    for write in first {
        let status = match write.kind {
            Kind::Class => &mut world.classes.get_mut(&write.key).unwrap().status,
            Kind::Gateway => &mut world.gateways.get_mut(&write.key).unwrap().status,
            Kind::Route => &mut world.routes.get_mut(&write.key).unwrap().status,
            Kind::Pool => &mut world.pools.get_mut(&write.key).unwrap().status,
        };
        *status = write.status;
    }
    assert_eq!(writes(&world, &model, published(), LATER), []);

    // What keeps its status keeps its time.
    world
        .routes
        .get_mut(&key("default", "r"))
        .unwrap()
        .metadata
        .generation = 4;
    let again = writes(
        &world,
        &attach(&world, &Snapshot::default()),
        published(),
        LATER,
    );
    let conditions = &find(&again, Kind::Route)["parents"][1]["conditions"];
    assert_eq!(condition(conditions, "Accepted")["lastTransitionTime"], NOW);
    assert_eq!(condition(conditions, "Accepted")["observedGeneration"], 4);
}

#[test]
fn reasons_of_refusal() {
    let backend = json!({"name": "s", "port": 80});
    for (parent, reason) in [
        (
            json!({"name": "nope", "namespace": "kserve"}),
            "NoMatchingParent",
        ),
        (
            json!({"name": "gw", "namespace": "kserve", "sectionName": "nope"}),
            "NoMatchingParent",
        ),
        (
            json!({"name": "gw", "namespace": "kserve", "sectionName": "same"}),
            "NotAllowedByListeners",
        ),
    ] {
        let mut world = world();
        world
            .routes
            .insert(key("default", "r"), route(&parent, &backend));
        let model = attach(&world, &Snapshot::default());
        let report = &model.routes[&key("default", "r")][0];
        assert_eq!(
            (report.accepted.holds, report.accepted.reason),
            (false, reason)
        );
        assert!(model.routing.table.is_empty());
    }
    let mut world = world();
    let mut same_namespace = route(
        &json!({"name": "gw", "namespace": "kserve", "sectionName": "same"}),
        &backend,
    );
    same_namespace.metadata.namespace = "kserve".into();
    world.routes.insert(key("kserve", "r"), same_namespace);
    let model = attach(&world, &Snapshot::default());
    assert_eq!(
        model.routes[&key("kserve", "r")][0].accepted.reason,
        "NoMatchingListenerHostname"
    );
}
