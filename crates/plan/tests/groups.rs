//! Services that share traffic, by the rules of the routing specification: who is a member, and what is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{Facts, Group, Peer, ServiceIdentity, routes};

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "my-llm".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

fn route(spec: &Value, facts: &Facts) -> Value {
    routes(&service(), spec, facts).unwrap().remove(0)
}

/// A stored member that is ready.
fn member(name: &str, model: &str, weight: i64) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "demo", "annotations": {}},
        "spec": {"model": {"name": model}, "router": {"route": {"group": "blue", "weight": weight}}},
        "status": {
            "conditions": [{"type": "RouterReady", "status": "True"}],
            "workloads": {"primary": {"readyReplicas": 1}},
        },
    })
}

fn peer(service: Value, route: Option<Value>) -> Peer {
    Peer {
        service: Arc::new(service),
        route: route.map(Arc::new),
        pool: None,
    }
}

/// A member with a rule of its own path and one that all share.
fn grouped() -> Value {
    let own = json!([{"kind": "Service", "name": "my-llm-kserve-workload-svc", "port": 8000}]);
    let by_model =
        json!([{"name": "X-Gateway-Model-Name", "value": "publishers/demo/models/org/base"}]);
    json!({
        "model": {"name": "org/base"},
        "annotations": {"serving.kserve.io/model-based-routing-enabled": "true"},
        "router": {"route": {"group": "blue", "weight": 80, "http": {"spec": {"rules": [
            {"matches": [{"path": {"value": "/demo/my-llm/v1"}}], "backendRefs": own},
            {"matches": [{"headers": by_model}], "backendRefs": own},
        ]}}}},
    })
}

#[test]
fn members_of_a_group_are_those_that_serve_the_same() {
    let route_of = |status: &str, name: &str| {
        json!({
            "metadata": {"name": format!("{name}-kserve-route"), "namespace": "demo", "generation": 9},
            "spec": {"parentRefs": [{"name": "gw"}]},
            "status": {"parents": [{"parentRef": {"name": "gw"}, "conditions": [
                {"type": "Accepted", "status": status, "observedGeneration": 1},
                {"type": "ResolvedRefs", "status": status, "observedGeneration": 1},
            ]}]},
        })
    };
    let silent = json!({"metadata": {"name": "r"}, "spec": {"parentRefs": [{"name": "gw"}]}});
    let awaiting = |mut service: Value| {
        service["status"]["conditions"] = json!([
            {"type": "RouterReady", "status": "False"},
            {"type": "HTTPRoutesReady", "status": "False", "reason": "HTTPRoutesNotReady"},
        ]);
        service
    };
    let with = |pointer: &str, value: Value| {
        let mut service = member("p", "org/base", 20);
        *service.pointer_mut(pointer).unwrap() = value;
        service
    };
    let table: [(&str, Value, Option<Value>, bool, bool); 14] = [
        ("ready", member("p", "org/base", 20), None, false, true),
        (
            "another model",
            member("p", "org/other", 20),
            None,
            false,
            false,
        ),
        (
            "no pod",
            with("/status/workloads/primary/readyReplicas", json!(0)),
            None,
            true,
            false,
        ),
        (
            "no prefill pod",
            with(
                "/status/workloads",
                json!({"primary": {"readyReplicas": 1}, "prefill": {"readyReplicas": 0}}),
            ),
            None,
            true,
            false,
        ),
        (
            "no counts",
            with("/status/workloads", json!({})),
            None,
            true,
            false,
        ),
        (
            "no word of its router",
            with("/status/conditions", json!([])),
            None,
            true,
            false,
        ),
        (
            "leaving",
            with("/metadata", json!({"name": "p", "deletionTimestamp": "t"})),
            None,
            true,
            false,
        ),
        (
            "another group",
            with("/spec/router/route/group", json!("red")),
            None,
            true,
            false,
        ),
        (
            "good but stale",
            awaiting(member("p", "org/base", 20)),
            Some(route_of("True", "p")),
            false,
            true,
        ),
        (
            "refused",
            awaiting(member("p", "org/base", 20)),
            Some(route_of("False", "p")),
            true,
            false,
        ),
        (
            "a report awaited, was in",
            awaiting(member("p", "org/base", 20)),
            Some(silent.clone()),
            true,
            true,
        ),
        (
            "a report awaited, was not in",
            awaiting(member("p", "org/base", 20)),
            Some(silent),
            false,
            false,
        ),
        (
            "its pool is not accepted",
            {
                let mut service = awaiting(member("p", "org/base", 20));
                service["status"]["conditions"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"type": "InferencePoolReady", "status": "False"}));
                service
            },
            Some(route_of("True", "p")),
            true,
            false,
        ),
        (
            "its route was not written",
            with(
                "/status/conditions",
                json!([
                    {"type": "RouterReady", "status": "False"},
                    {"type": "HTTPRoutesReady", "status": "False", "reason": "RefsInvalid"},
                ]),
            ),
            Some(route_of("True", "p")),
            true,
            false,
        ),
    ];
    for (what, other, its_route, was_in, belongs) in table {
        let mut facts = Facts::default();
        facts.router.peers = vec![peer(other, its_route)];
        if was_in {
            facts.live.push(Arc::new(json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "my-llm-kserve-route"},
                "spec": {"rules": [{"backendRefs": [{"group": "", "kind": "Service", "name": "p-kserve-workload-svc"}]}]},
            })));
        }
        let route = route(&grouped(), &facts);
        let rules = route["spec"]["rules"].as_array().unwrap();
        // Requests by the service's own path stay with it.
        assert_eq!(
            rules[0]["backendRefs"].as_array().unwrap().len(),
            1,
            "{what}"
        );
        let names: Vec<&str> = rules[1]["backendRefs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        let mut wanted = vec!["my-llm-kserve-workload-svc"];
        if belongs {
            wanted.push("p-kserve-workload-svc");
        }
        assert_eq!(names, wanted, "{what}");
        assert_eq!(rules[1]["backendRefs"][0]["weight"], 80, "{what}");
        assert_eq!(
            route["metadata"]["labels"]["serving.kserve.io/routing-group"],
            "blue"
        );
    }
}

#[test]
fn a_stopped_member_is_shown_and_gets_nothing() {
    let mut stopped = member("a", "org/base", 50);
    stopped["metadata"]["annotations"] = json!({"serving.kserve.io/stop": "true"});
    stopped["status"] = json!({});
    let mut facts = Facts::default();
    facts.router.peers = vec![peer(stopped, None), peer(member("z", "org/other", 1), None)];
    let spec = grouped();
    let group = Group::of(&service(), &spec, &facts).unwrap();
    assert_eq!(
        group.status(),
        json!({"name": "blue", "members": [
            {"name": "a", "weight": 50, "stopped": true, "backendRef": {"group": "", "kind": "Service", "name": "a-kserve-workload-svc", "port": 8000}},
            {"name": "my-llm", "weight": 80, "backendRef": {"group": "", "kind": "Service", "name": "my-llm-kserve-workload-svc", "port": 8000}},
        ]})
    );
    assert_eq!(
        group.divergence().unwrap(),
        "group has members with different model sets: org/base, org/other"
    );
    let route = route(&spec, &facts);
    assert_eq!(
        route["spec"]["rules"][1]["backendRefs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
