//! A service changes its shape: what the new one needs appears, what only the old one needed goes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{Kind, kind};

use crate::world::{World, status_of};

/// Waits until all of `present` and none of `absent` exist, and passes that were due are over.
async fn becomes(world: &World, present: &[(Kind, &str)], absent: &[(Kind, &str)]) {
    for (kind, name) in present {
        world.appears(*kind, name).await;
    }
    for (kind, name) in absent {
        world.vanishes(*kind, name).await;
    }
    world.settle().await;
}

fn same(now: &BTreeMap<String, Value>, before: &BTreeMap<String, Value>) {
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(now), names(before));
    for (name, object) in now {
        assert_eq!(object, &before[name], "{name}");
    }
}

/// Switches between two shapes there, back and there again; every time the same objects exist, and nothing is asked
/// of the server once they do.
async fn toggles(change: Value, back: Value, ours: &[(Kind, &str)], theirs: &[(Kind, &str)]) {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    becomes(&world, ours, theirs).await;
    let before = world.children("llama").await;

    world.patch(kind::SERVICE, "llama", change.clone()).await;
    becomes(&world, theirs, ours).await;
    let there = world.children("llama").await;
    assert_ne!(there, before);
    world.requests.take();
    let poke = json!({"metadata": {"labels": {"poke": "1"}}});
    world.patch(kind::SERVICE, "llama", poke).await;
    world.settle().await;
    assert_eq!(world.requests.take(), Vec::<String>::new());

    world.patch(kind::SERVICE, "llama", back).await;
    becomes(&world, ours, theirs).await;
    same(&world.children("llama").await, &before);

    world.patch(kind::SERVICE, "llama", change).await;
    becomes(&world, theirs, ours).await;
    same(&world.children("llama").await, &there);

    let stop = json!({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}});
    world.patch(kind::SERVICE, "llama", stop).await;
    becomes(&world, &[], theirs).await;
    assert!(world.children("llama").await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn prefill_comes_and_goes() {
    toggles(
        json!({"spec": {"prefill": {"replicas": 1, "template": {"containers": [{"name": "main", "image": "engine"}]}}}}),
        json!({"spec": {"prefill": null}}),
        &[],
        &[
            (kind::DEPLOYMENT, "llama-kserve-prefill"),
            (kind::CORE_SERVICE, "llama-kserve-prefill-svc"),
            (kind::SERVICE_ACCOUNT, "llama-kserve"),
            (kind::ROLE, "llama-kserve-role"),
            (kind::ROLE_BINDING, "llama-kserve-rb"),
        ],
    )
    .await;
}

#[tokio::test]
async fn one_node_becomes_a_group_and_one_node_again() {
    toggles(
        json!({"spec": {
            "parallelism": {"data": 4, "dataLocal": 2},
            "worker": {"containers": [{"name": "main", "image": "engine"}]},
        }}),
        json!({"spec": {"parallelism": null, "worker": null}}),
        &[(kind::DEPLOYMENT, "llama-kserve")],
        &[
            (kind::LEADER_WORKER_SET, "llama-lws"),
            (kind::SERVICE_ACCOUNT, "llama-kserve-mn"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_selector_with_the_role_in_it_is_kept_until_the_role_changes() {
    let world = World::start().await;
    let mut service = world.service("llama");
    // Nothing is planned while a config is missing.
    service["spec"]["baseRefs"] = json!([{"name": "later"}]);
    world.create(kind::SERVICE, &service).await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "PresetsCombined") == "False"
        })
        .await;
    let labels = json!({
        "app.kubernetes.io/component": "llminferenceservice-workload",
        "app.kubernetes.io/name": "llama",
        "app.kubernetes.io/part-of": "llminferenceservice",
        "kserve.io/component": "workload",
        "llm-d.ai/role": "both",
    });
    let upstream = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "llama-kserve", "labels": labels,
            "ownerReferences": [{
                "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService", "name": "llama",
                "uid": service["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "old"}]},
            },
        },
    });
    world.create(kind::DEPLOYMENT, &upstream).await;
    let found = json!({"spec": {"baseRefs": null}});
    world.patch(kind::SERVICE, "llama", found).await;
    let adopted = world
        .until(kind::DEPLOYMENT, "llama-kserve", |d| {
            d["spec"]["template"]["spec"]["containers"][0]["image"] == "engine"
        })
        .await;
    assert_eq!(adopted["spec"]["selector"]["matchLabels"], labels);
    // Another value of a label in the selector would need another Deployment.
    let renamed = json!({"spec": {"labels": {"app.kubernetes.io/name": "other"}}});
    world.patch(kind::SERVICE, "llama", renamed).await;
    let told = |s: &Value| s["status"]["observedGeneration"] == s["metadata"]["generation"];
    world.until(kind::SERVICE, "llama", told).await;
    world.settle().await;
    let events = world.events("llama").await;
    assert!(
        events.iter().any(|e| e["reason"] == "SelectorLabelKept"),
        "{events:?}"
    );
    let back = json!({"spec": {"labels": null}});
    world.patch(kind::SERVICE, "llama", back).await;

    let prefill = json!({"spec": {"prefill": {"template": {"containers": [{"name": "main", "image": "engine"}]}}}});
    world.patch(kind::SERVICE, "llama", prefill).await;
    let anew = world
        .until(kind::DEPLOYMENT, "llama-kserve", |d| {
            d["metadata"]["uid"] != adopted["metadata"]["uid"]
        })
        .await;
    let mut selector = labels;
    selector.as_object_mut().unwrap().remove("llm-d.ai/role");
    assert_eq!(anew["spec"]["selector"]["matchLabels"], selector);
    assert_eq!(
        anew["spec"]["template"]["metadata"]["labels"]["llm-d.ai/role"],
        "decode"
    );
    world.end().await;
}

#[tokio::test]
async fn a_cluster_without_groups_is_named_and_their_installation_noticed() {
    let Some(world) = World::start_without_gateway_api().await else {
        eprintln!("SKIPPED: tests on the real server share its definitions");
        return;
    };
    let mut service = world.service("llama");
    service["spec"].as_object_mut().unwrap().remove("router");
    service["spec"]["parallelism"] = json!({"pipeline": 2});
    service["spec"]["worker"] = service["spec"]["template"].clone();
    world.create(kind::SERVICE, &service).await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "WorkerWorkloadReady") == "False"
        })
        .await;
    let conditions = service["status"]["conditions"].to_string();
    let message = "this cluster does not serve LeaderWorkerSet of leaderworkerset.x-k8s.io/v1";
    assert!(conditions.contains(message), "{conditions}");
    assert_eq!(status_of(&service, "Ready"), "False");
    assert!(world.children("llama").await.is_empty());

    world.install_gateway_api().await;
    let set = world.appears(kind::LEADER_WORKER_SET, "llama-lws").await;
    assert_eq!(set["spec"]["leaderWorkerTemplate"]["size"], 2);
    world.end().await;
}
