//! Services that share traffic: each one's route leads to all, and a member goes only when no route leads to it.

use serde_json::{Value, json};
use weir_api::names::kind;

use crate::world::{World, status_of};

fn service(name: &str, weight: u32) -> Value {
    json!({
        "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
        // What admission writes down of the group.
        "metadata": {"name": name, "labels": {"serving.kserve.io/routing-group": "blue"}},
        "spec": {
            "model": {"uri": "hf://org/model", "name": "org/model"},
            "template": {"containers": [{"name": "main", "image": "engine"}]},
            "router": {"gateway": {}, "route": {"group": "blue", "weight": weight}},
        },
    })
}

/// Name and weight of the backends of the rule that all members share.
fn shared(route: &Value) -> Vec<(String, i64)> {
    let rules = route["spec"]["rules"].as_array().unwrap();
    let rule = rules
        .iter()
        .find(|rule| rule["name"] == "v1-model-routing")
        .unwrap();
    let backends = rule["backendRefs"].as_array().unwrap();
    backends
        .iter()
        .map(|one| {
            let name = one["name"].as_str().unwrap().to_owned();
            (name, one["weight"].as_i64().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn members_share_by_weight_and_leave_in_order() {
    let world = World::start().await;
    for (name, weight) in [("a", 80), ("b", 20)] {
        world.create(kind::SERVICE, &service(name, weight)).await;
        world
            .appears(kind::DEPLOYMENT, &format!("{name}-kserve"))
            .await;
        world
            .make_deployment_available(&format!("{name}-kserve"))
            .await;
        world.accept_route(&format!("{name}-kserve-route")).await;
    }
    let both = |a: i64, b: i64| {
        vec![
            ("a-kserve-workload-svc".to_owned(), a),
            ("b-kserve-workload-svc".to_owned(), b),
        ]
    };
    for name in ["a", "b"] {
        let route = format!("{name}-kserve-route");
        world
            .until(kind::HTTP_ROUTE, &route, |route| {
                shared(route) == both(80, 20)
            })
            .await;
        world.accept_route(&route).await;
        let member = world
            .until(kind::SERVICE, name, |s| {
                status_of(s, "Ready") == "True" && status_of(s, "GroupReady") == "True"
            })
            .await;
        assert_eq!(member["status"]["router"]["group"]["name"], "blue");
    }

    // A change of one reaches the route of the other, and nobody loses a place while gateways are silent.
    let weight = json!({"spec": {"router": {"route": {"weight": 50}}}});
    world.patch(kind::SERVICE, "a", weight).await;
    for name in ["a-kserve-route", "b-kserve-route"] {
        world
            .until(kind::HTTP_ROUTE, name, |route| {
                shared(route) == both(50, 20)
            })
            .await;
    }
    world.settle().await;
    let before = world.appears(kind::HTTP_ROUTE, "a-kserve-route").await;
    world.settle().await;
    let after = world.appears(kind::HTTP_ROUTE, "a-kserve-route").await;
    assert_eq!(
        before["metadata"]["resourceVersion"],
        after["metadata"]["resourceVersion"]
    );

    // Another model is another group.
    let other = json!({"spec": {"model": {"name": "org/other"}}});
    world.patch(kind::SERVICE, "a", other).await;
    let alone = vec![("b-kserve-workload-svc".to_owned(), 20)];
    world
        .until(kind::HTTP_ROUTE, "b-kserve-route", |route| {
            shared(route) == alone
        })
        .await;
    world
        .until(kind::SERVICE, "b", |s| {
            status_of(s, "GroupDegraded") == "True"
        })
        .await;
    let back = json!({"spec": {"model": {"name": "org/model"}}});
    world.patch(kind::SERVICE, "a", back).await;
    for name in ["a-kserve-route", "b-kserve-route"] {
        world.accept_route(name).await;
    }
    world
        .until(kind::HTTP_ROUTE, "b-kserve-route", |route| {
            shared(route) == both(50, 20)
        })
        .await;
    world
        .until(kind::SERVICE, "b", |s| {
            status_of(s, "GroupDegraded").is_empty()
        })
        .await;

    world.delete(kind::SERVICE, "a").await;
    world
        .until(kind::HTTP_ROUTE, "b-kserve-route", |route| {
            shared(route) == alone
        })
        .await;
    world.vanishes(kind::SERVICE, "a").await;
    world.end().await;
}
