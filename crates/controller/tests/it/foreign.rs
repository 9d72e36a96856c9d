//! What is not ours: fields that others put on our objects stay, and a kind that an operator takes away is noticed.

use serde_json::{Value, json};
use weir_api::names::{Kind, kind};

use crate::world::{World, status_of};

const KINDS: [Kind; 8] = [
    kind::DEPLOYMENT,
    kind::LEADER_WORKER_SET,
    kind::CORE_SERVICE,
    kind::SERVICE_ACCOUNT,
    kind::SECRET,
    kind::ROLE,
    kind::ROLE_BINDING,
    kind::HTTP_ROUTE,
];

/// The children of a service, by kind and name.
async fn children(world: &World) -> Vec<(Kind, String, Value)> {
    let all = world.children("llama").await.into_iter();
    all.map(|(id, object)| {
        let (of, name) = id.split_once(' ').unwrap();
        let kind = KINDS.into_iter().find(|kind| kind.kind == of).unwrap();
        (kind, name.to_owned(), object)
    })
    .collect()
}

#[tokio::test]
async fn what_others_put_on_children_stays() {
    let world = World::start().await;
    let mut service = world.service("llama");
    service["spec"]["prefill"] = json!({
        "parallelism": {"pipeline": 2},
        "worker": {"containers": [{"name": "main", "image": "engine"}]},
    });
    world.create(kind::SERVICE, &service).await;
    world.appears(kind::HTTP_ROUTE, "llama-kserve-route").await;
    world.quiet("llama").await;
    let before = children(&world).await;
    for kind in KINDS {
        assert!(
            before.iter().any(|(of, ..)| *of == kind),
            "no {}",
            kind.kind
        );
    }
    let theirs = json!({"metadata": {
        "annotations": {"example.com/note": "x"},
        "labels": {"example.com/team": "y"},
    }});
    for (kind, name, _) in &before {
        world.patch(*kind, name, theirs.clone()).await;
    }
    let changes = [
        json!({"spec": {
            "labels": {"own": "1"}, "annotations": {"own": "1"},
            "prefill": {"labels": {"own": "1"}, "annotations": {"own": "1"}},
        }}),
        json!({"spec": {
            "labels": null, "annotations": null,
            "prefill": {"labels": null, "annotations": null},
        }}),
    ];
    for (change, own) in changes.into_iter().zip([true, false]) {
        world.patch(kind::SERVICE, "llama", change).await;
        world.quiet("llama").await;
        let mut carriers = 0;
        for (_, name, object) in children(&world).await {
            let metadata = &object["metadata"];
            assert_eq!(metadata["annotations"]["example.com/note"], "x", "{name}");
            assert_eq!(metadata["labels"]["example.com/team"], "y", "{name}");
            carriers += usize::from(metadata["labels"]["own"] == "1");
        }
        // What the service no longer wants goes from everything that had it.
        assert_eq!(carriers > 0, own);
    }
    world.requests.take();
    let poke = json!({"metadata": {"labels": {"poke": "1"}}});
    world.patch(kind::SERVICE, "llama", poke).await;
    world.settle().await;
    assert_eq!(world.requests.take(), Vec::<String>::new());
    world.end().await;
}

#[tokio::test]
async fn a_kind_that_goes_is_noticed_and_its_return_too() {
    let world = World::start().await;
    if world.is_real() {
        eprintln!("SKIPPED: tests on the real server share its definitions");
        return;
    }
    let mut service = world.service("llama");
    service["spec"]["parallelism"] = json!({"pipeline": 2});
    service["spec"]["worker"] = service["spec"]["template"].clone();
    world.create(kind::SERVICE, &service).await;
    world.appears(kind::LEADER_WORKER_SET, "llama-lws").await;
    world.quiet("llama").await;

    world.uninstall(kind::LEADER_WORKER_SET).await;
    // The watch ends with the kind; what made the service look again is a change of it.
    let told = |s: &Value| {
        status_of(s, "WorkerWorkloadReady") == "False"
            && s.to_string()
                .contains("this cluster does not serve LeaderWorkerSet")
    };
    world.until(kind::SERVICE, "llama", told).await;

    world.install_gateway_api().await;
    world.appears(kind::LEADER_WORKER_SET, "llama-lws").await;
    world.end().await;
}

#[tokio::test]
async fn an_autoscaler_that_is_not_served_is_told_of_once() {
    let world = World::start().await;
    let mut service = world.service("llama");
    service["spec"].as_object_mut().unwrap().remove("replicas");
    service["spec"]["scaling"] = json!({
        "maxReplicas": 3,
        "keda": {"triggers": [{"type": "cpu", "metadata": {"value": "60"}}]},
    });
    world.create(kind::SERVICE, &service).await;
    let told = |s: &Value| s.to_string().contains("ScalingCRDNotFound");
    world.until(kind::SERVICE, "llama", told).await;
    for count in ["1", "2"] {
        let change = json!({"metadata": {"annotations": {"looked-at": count}}});
        world.patch(kind::SERVICE, "llama", change).await;
        world.settle().await;
    }
    let events = world.events("llama").await;
    let events = events
        .iter()
        .filter(|e| e["reason"] == "ScalingCRDNotFound");
    let counts: Vec<&Value> = events.map(|event| &event["count"]).collect();
    assert_eq!(counts, [1]);
    world.end().await;
}
