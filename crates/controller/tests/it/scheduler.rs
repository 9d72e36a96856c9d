//! A service with a picker: its objects come, are kept, tell of themselves and go.

use serde_json::{Value, json};
use weir_api::names::{Kind, kind};

use crate::world::{World, condition, status_of};

/// A service whose route and picker are the presets'.
fn service(name: &str) -> Value {
    json!({
        "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
        "metadata": {"name": name},
        "spec": {
            "model": {"uri": "hf://org/model", "name": "org/model"},
            "template": {"containers": [{"name": "main", "image": "engine"}]},
            "router": {"gateway": {}, "route": {}, "scheduler": {}},
        },
    })
}

const CHILDREN: [(Kind, &str); 8] = [
    (kind::SERVICE_ACCOUNT, "epp-sa"),
    (kind::ROLE, "epp-role"),
    (kind::ROLE_BINDING, "epp-rb"),
    (kind::DEPLOYMENT, "kserve-router-scheduler"),
    (kind::CORE_SERVICE, "epp-service"),
    (kind::CORE_SERVICE, "kserve-headless-svc"),
    (kind::INFERENCE_POOL, "inference-pool"),
    (kind::INFERENCE_OBJECTIVE, "model"),
];

#[tokio::test]
async fn a_picker_comes_is_ready_and_goes_with_its_pool_and_rights() {
    let world = World::start().await;
    world.create(kind::SERVICE, &service("llama")).await;
    for (kind, suffix) in CHILDREN {
        world.appears(kind, &format!("llama-{suffix}")).await;
    }
    let binding = format!("{}-llama-epp-auth-rb", world.namespace);
    world.appears(kind::CLUSTER_ROLE_BINDING, &binding).await;
    let route = world.appears(kind::HTTP_ROUTE, "llama-kserve-route").await;
    assert_eq!(
        route["spec"]["rules"][0]["backendRefs"][0]["kind"],
        "InferencePool"
    );

    world.make_deployment_available("llama-kserve").await;
    world.accept_route("llama-kserve-route").await;
    let waiting = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "HTTPRoutesReady") == "True"
        })
        .await;
    assert_eq!(status_of(&waiting, "InferencePoolReady"), "False");
    assert_eq!(status_of(&waiting, "SchedulerWorkloadReady"), "False");
    assert_eq!(status_of(&waiting, "ModelMetadataPublished"), "True");
    assert_eq!(status_of(&waiting, "Ready"), "False");

    world
        .make_deployment_available("llama-kserve-router-scheduler")
        .await;
    let parent = json!({"status": {"parents": [{
        "parentRef": {"kind": "Gateway", "name": "kserve-ingress-gateway"},
        "conditions": [condition("Accepted", 1)],
    }]}});
    world
        .patch_status(kind::INFERENCE_POOL, "llama-inference-pool", parent)
        .await;
    let ready = world
        .until(kind::SERVICE, "llama", |s| status_of(s, "Ready") == "True")
        .await;
    assert_eq!(
        ready["status"]["workloads"]["scheduler"]["readyReplicas"],
        1
    );
    assert_eq!(
        ready["status"]["router"]["scheduler"]["service"]["name"],
        "llama-epp-service"
    );

    // What somebody deletes or changes comes back.
    for (kind, name) in [
        (kind::ROLE, "llama-epp-role"),
        (kind::CLUSTER_ROLE_BINDING, binding.as_str()),
        (kind::INFERENCE_POOL, "llama-inference-pool"),
    ] {
        let before = world.appears(kind, name).await;
        world.delete(kind, name).await;
        let uid = &before["metadata"]["uid"];
        world
            .until(kind, name, |now| now["metadata"]["uid"] != *uid)
            .await;
    }

    let without = json!({"spec": {"router": {"scheduler": null}}});
    world.patch(kind::SERVICE, "llama", without).await;
    for (kind, suffix) in CHILDREN {
        world.vanishes(kind, &format!("llama-{suffix}")).await;
    }
    world.vanishes(kind::CLUSTER_ROLE_BINDING, &binding).await;
    // Its backends are others now, which the gateway has to say something about again.
    world.accept_route("llama-kserve-route").await;
    let service = world
        .until(kind::SERVICE, "llama", |s| status_of(s, "Ready") == "True")
        .await;
    for gone in [
        "InferencePoolReady",
        "SchedulerWorkloadReady",
        "ModelMetadataPublished",
    ] {
        assert_eq!(status_of(&service, gone), "", "{gone}");
    }
    world.end().await;
}

#[tokio::test]
async fn stop_and_delete_leave_no_rights_behind() {
    let world = World::start().await;
    world.create(kind::SERVICE, &service("llama")).await;
    let binding = format!("{}-llama-epp-auth-rb", world.namespace);
    world.appears(kind::CLUSTER_ROLE_BINDING, &binding).await;
    world
        .appears(kind::INFERENCE_OBJECTIVE, "llama-model")
        .await;
    let stop =
        |value: &str| json!({"metadata": {"annotations": {"serving.kserve.io/stop": value}}});
    world.patch(kind::SERVICE, "llama", stop("true")).await;
    for (kind, suffix) in CHILDREN {
        world.vanishes(kind, &format!("llama-{suffix}")).await;
    }
    world.vanishes(kind::CLUSTER_ROLE_BINDING, &binding).await;
    world.patch(kind::SERVICE, "llama", stop("no")).await;
    world.appears(kind::CLUSTER_ROLE_BINDING, &binding).await;
    world
        .appears(kind::INFERENCE_POOL, "llama-inference-pool")
        .await;
    world.delete(kind::SERVICE, "llama").await;
    world.vanishes(kind::CLUSTER_ROLE_BINDING, &binding).await;
    world.vanishes(kind::SERVICE, "llama").await;
    world.end().await;
}

#[tokio::test]
async fn what_stands_is_not_written_again() {
    let mut world = World::start().await;
    world.create(kind::SERVICE, &service("llama")).await;
    world
        .appears(kind::INFERENCE_OBJECTIVE, "llama-model")
        .await;
    world.make_deployment_available("llama-kserve").await;
    world
        .make_deployment_available("llama-kserve-router-scheduler")
        .await;
    world.accept_route("llama-kserve-route").await;
    world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "SchedulerWorkloadReady") == "True"
                && status_of(s, "HTTPRoutesReady") == "True"
        })
        .await;
    world.settle().await;
    world.requests.take();
    for round in ["1", "2"] {
        let poke = json!({"metadata": {"labels": {"poke": round}}});
        world.patch(kind::SERVICE, "llama", poke).await;
        world.settle().await;
    }
    assert_eq!(world.requests.take(), Vec::<String>::new());
    world.restart().await;
    world.settle().await;
    world.settle().await;
    assert_eq!(world.requests.take(), Vec::<String>::new());
    world.end().await;
}
