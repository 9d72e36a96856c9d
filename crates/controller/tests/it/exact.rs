//! Updates are exact: one changed field touches one object, and live sets of an existing installation are adopted.

use serde_json::{Value, json};
use weir_api::names::kind;

use crate::world::{World, status_of};

/// A service of two Deployments.
fn disaggregated(world: &World) -> Value {
    let mut service = world.service("llama");
    service["spec"]["replicas"] = json!(2);
    service["spec"]["prefill"] = json!({
        "replicas": 1,
        "template": {"containers": [{"name": "main", "image": "engine"}]},
    });
    service
}

#[tokio::test]
async fn a_changed_field_touches_the_object_that_it_is_in() {
    let world = World::start().await;
    world.create(kind::SERVICE, &disaggregated(&world)).await;
    world.appears(kind::HTTP_ROUTE, "llama-kserve-route").await;
    world.settle().await;
    let rows = [
        (
            json!({"spec": {"replicas": 3}}),
            vec!["Deployment llama-kserve"],
        ),
        (
            json!({"spec": {"prefill": {"replicas": 4}}}),
            vec!["Deployment llama-kserve-prefill"],
        ),
        (
            json!({"spec": {"prefill": {"labels": {"team": "b"}}}}),
            vec![
                "Deployment llama-kserve-prefill",
                "Service llama-kserve-prefill-svc",
            ],
        ),
        (
            json!({"spec": {"prefill": {"template": {"terminationGracePeriodSeconds": 90}}}}),
            vec!["Deployment llama-kserve-prefill"],
        ),
        (
            json!({"spec": {"annotations": {"note": "x"}}}),
            vec![
                "Deployment llama-kserve",
                "Service llama-kserve-workload-svc",
            ],
        ),
        (json!({"metadata": {"labels": {"own": "x"}}}), vec![]),
    ];
    for (change, wanted) in rows {
        let before = world.children("llama").await;
        world.requests.take();
        world.patch(kind::SERVICE, "llama", change.clone()).await;
        let observed = |s: &Value| s["status"]["observedGeneration"] == s["metadata"]["generation"];
        world.until(kind::SERVICE, "llama", observed).await;
        world.settle().await;
        let after = world.children("llama").await;
        let touched: Vec<&str> = after
            .iter()
            .filter(|(name, object)| before.get(*name) != Some(object))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(touched, wanted, "{change}");
        let written = world.requests.take();
        // Events repeat by a patch too.
        let of_others = ["/llminferenceservices/", "/events/"];
        let written = written
            .iter()
            .filter(|request| request.starts_with("PATCH "))
            .filter(|request| !of_others.iter().any(|other| request.contains(other)))
            .count();
        assert_eq!(written, wanted.len(), "{change}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_live_set_of_the_upstream_name_is_adopted() {
    let world = World::start().await;
    let mut service = world.service("llama");
    service["spec"]["parallelism"] = json!({"pipeline": 2});
    service["spec"]["worker"] = service["spec"]["template"].clone();
    // Nothing is planned while a config is missing.
    service["spec"]["baseRefs"] = json!([{"name": "later"}]);
    world.create(kind::SERVICE, &service).await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "PresetsCombined") == "False"
        })
        .await;
    let pod = json!({"spec": {"containers": [{"name": "main", "image": "old"}]}});
    let upstream = json!({
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
        "metadata": {
            "name": "llama-kserve-mn",
            "labels": {"app.kubernetes.io/name": "llama", "app.kubernetes.io/part-of": "llminferenceservice"},
            "ownerReferences": [{
                "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService", "name": "llama",
                "uid": service["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 2, "workerTemplate": pod}},
    });
    world.create(kind::LEADER_WORKER_SET, &upstream).await;
    world
        .patch(kind::SERVICE, "llama", json!({"spec": {"baseRefs": null}}))
        .await;
    let image = "/spec/leaderWorkerTemplate/leaderTemplate/spec/containers/0/image";
    world
        .until(kind::LEADER_WORKER_SET, "llama-kserve-mn", |set| {
            set.pointer(image) == Some(&json!("engine"))
        })
        .await;
    world.settle().await;
    let children = world.children("llama").await;
    assert!(!children.contains_key("LeaderWorkerSet llama-lws"));
    let service = world.appears(kind::SERVICE, "llama").await;
    assert_eq!(
        service["status"]["workloads"]["primary"]["name"],
        "llama-kserve-mn"
    );
    // It goes with the shape, whatever its name.
    let one_node = json!({"spec": {"worker": null, "parallelism": null}});
    world.patch(kind::SERVICE, "llama", one_node).await;
    world
        .vanishes(kind::LEADER_WORKER_SET, "llama-kserve-mn")
        .await;
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    world.end().await;
}
