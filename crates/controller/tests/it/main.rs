//! The controller against an API server: the embedded store, or the server named by `WEIR_TEST_KUBECONFIG`.

#![allow(
    clippy::disallowed_methods,
    reason = "the runtime of a test ends with it, and what it spawned too"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod certificates;
mod configs;
mod exact;
mod foreign;
mod group;
mod lookups;
mod models;
mod pickers;
mod samples;
mod scheduler;
mod shapes;
mod toggles;
mod world;

use serde_json::json;
use weir_api::names::kind;
use world::{World, status_of};

#[tokio::test]
async fn a_service_is_ready_while_its_children_are_and_not_before() {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    let deployment = world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "engine"
    );
    world
        .appears(kind::CORE_SERVICE, "llama-kserve-workload-svc")
        .await;
    world
        .appears(kind::SECRET, "llama-kserve-self-signed-certs")
        .await;
    world.appears(kind::HTTP_ROUTE, "llama-kserve-route").await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "HTTPRoutesReady") == "False"
        })
        .await;
    assert_eq!(status_of(&service, "Ready"), "False");
    assert_eq!(service["status"]["observedGeneration"], 1);
    assert_eq!(service["metadata"]["generation"], 1);

    world.make_deployment_available("llama-kserve").await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "MainWorkloadReady") == "True"
        })
        .await;
    assert_eq!(status_of(&service, "Ready"), "False");
    world.accept_route("llama-kserve-route").await;
    let service = world
        .until(kind::SERVICE, "llama", |s| status_of(s, "Ready") == "True")
        .await;
    let url = format!("http://127.0.0.1:8080/{}/llama", world.namespace);
    assert_eq!(service["status"]["url"], url);
    assert_eq!(
        service["status"]["workloads"]["primary"]["readyReplicas"],
        1
    );
    // The event follows the status.
    world
        .until_event("llama", "LLMInferenceService [llama] is Ready")
        .await;

    world.make_deployment_unavailable("llama-kserve").await;
    let service = world
        .until(kind::SERVICE, "llama", |s| status_of(s, "Ready") == "False")
        .await;
    assert_eq!(
        service["status"]["workloads"]["primary"]["readyReplicas"],
        0
    );
    assert_eq!(status_of(&service, "HTTPRoutesReady"), "True");
    world.make_deployment_available("llama-kserve").await;
    world
        .until(kind::SERVICE, "llama", |s| status_of(s, "Ready") == "True")
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_pass_over_an_unchanged_service_asks_nothing_of_the_server() {
    let mut world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    // One whose route is the preset's.
    let mut preset = world.service("preset");
    preset["spec"]["router"]["route"] = json!({});
    world.create(kind::SERVICE, &preset).await;
    for name in ["llama", "preset"] {
        world
            .appears(kind::HTTP_ROUTE, &format!("{name}-kserve-route"))
            .await;
        world
            .make_deployment_available(&format!("{name}-kserve"))
            .await;
        world.accept_route(&format!("{name}-kserve-route")).await;
        world
            .until(kind::SERVICE, name, |s| status_of(s, "Ready") == "True")
            .await;
    }
    world.settle().await;
    let before = world.versions("llama").await;
    let count = world.events("llama").await.len();
    world.requests.take();
    // Passes for another reason: a label that nothing reads, a status of a child that changes nothing.
    for round in ["1", "2", "3"] {
        let poke = json!({"metadata": {"labels": {"poke": round}}});
        world.patch(kind::SERVICE, "llama", poke.clone()).await;
        world
            .patch(kind::GATEWAY, "kserve-ingress-gateway", poke)
            .await;
        world.settle().await;
    }
    assert_eq!(world.requests.take(), Vec::<String>::new());
    world.restart().await;
    world.settle().await;
    world.settle().await;
    assert_eq!(world.requests.take(), Vec::<String>::new());
    assert_eq!(world.versions("llama").await, before);
    assert_eq!(world.events("llama").await.len(), count);
    // It does look: what differs is still repaired.
    let drift = json!({"spec": {"template": {"metadata": {"labels": {"llm-d.ai/role": "other"}}}}});
    world.patch(kind::DEPLOYMENT, "llama-kserve", drift).await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", |d| {
            d["spec"]["template"]["metadata"]["labels"]["llm-d.ai/role"] == "both"
        })
        .await;
    assert!(!world.requests.take().is_empty());
    world.end().await;
}

#[tokio::test]
async fn drift_is_repaired_and_what_others_own_stays() {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    let foreign = json!({
        "metadata": {"annotations": {"foreign": "1"}},
        "spec": {"replicas": 4, "template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}},
    });
    world
        .patch_strategic(kind::DEPLOYMENT, "llama-kserve", foreign)
        .await;
    let image = "/spec/template/spec/containers/0/image";
    let repaired = world
        .until(kind::DEPLOYMENT, "llama-kserve", |d| {
            d.pointer(image) == Some(&json!("engine"))
        })
        .await;
    assert_eq!(repaired["spec"]["replicas"], 4);
    assert_eq!(repaired["metadata"]["annotations"]["foreign"], "1");

    world
        .patch(kind::SERVICE, "llama", json!({"spec": {"replicas": 2}}))
        .await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", |d| {
            d["spec"]["replicas"] == 2
        })
        .await;
    world
        .patch(
            kind::DEPLOYMENT,
            "llama-kserve",
            json!({"spec": {"replicas": 5}}),
        )
        .await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", |d| {
            d["spec"]["replicas"] == 2
        })
        .await;
    world
        .patch(kind::SERVICE, "llama", json!({"spec": {"replicas": null}}))
        .await;
    world
        .until(kind::SERVICE, "llama", |s| {
            s["status"]["observedGeneration"] == s["metadata"]["generation"]
        })
        .await;
    world.settle().await;
    assert_eq!(
        world.appears(kind::DEPLOYMENT, "llama-kserve").await["spec"]["replicas"],
        2
    );
    world
        .patch(
            kind::DEPLOYMENT,
            "llama-kserve",
            json!({"spec": {"replicas": 3}}),
        )
        .await;
    world.settle().await;
    assert_eq!(
        world.appears(kind::DEPLOYMENT, "llama-kserve").await["spec"]["replicas"],
        3
    );

    world
        .delete(kind::CORE_SERVICE, "llama-kserve-workload-svc")
        .await;
    world
        .appears(kind::CORE_SERVICE, "llama-kserve-workload-svc")
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_scaled_deployment_is_put_back_only_when_the_service_has_a_count() {
    let world = World::start().await;
    let mut counted = world.service("counted");
    counted["spec"]["replicas"] = json!(2);
    world.create(kind::SERVICE, &counted).await;
    world.create(kind::SERVICE, &world.service("free")).await;
    for name in ["counted-kserve", "free-kserve"] {
        world.appears(kind::DEPLOYMENT, name).await;
        world.scale(name, 4).await;
    }
    let back =
        |d: &serde_json::Value| d["spec"]["replicas"] == 2 && d["metadata"]["generation"] == 3;
    world.until(kind::DEPLOYMENT, "counted-kserve", back).await;
    world.settle().await;
    let free = world.appears(kind::DEPLOYMENT, "free-kserve").await;
    assert_eq!(free["spec"]["replicas"], 4);
    assert_eq!(free["metadata"]["generation"], 2);
    world.end().await;
}

#[tokio::test]
async fn a_stopped_service_loses_its_children_and_a_deleted_one_goes() {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    world.appears(kind::HTTP_ROUTE, "llama-kserve-route").await;
    let stop = |value: serde_json::Value| json!({"metadata": {"annotations": {"serving.kserve.io/stop": value}}});
    world
        .patch(kind::SERVICE, "llama", stop(json!("true")))
        .await;
    for (kind, name) in [
        (kind::HTTP_ROUTE, "llama-kserve-route"),
        (kind::DEPLOYMENT, "llama-kserve"),
        (kind::CORE_SERVICE, "llama-kserve-workload-svc"),
    ] {
        world.vanishes(kind, name).await;
    }
    let service = world
        .until(kind::SERVICE, "llama", |s| s["status"].get("url").is_none())
        .await;
    assert_eq!(status_of(&service, "Ready"), "False");
    world
        .patch(kind::SERVICE, "llama", stop(serde_json::Value::Null))
        .await;
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    world.delete(kind::SERVICE, "llama").await;
    world.vanishes(kind::SERVICE, "llama").await;
    world.end().await;
}

#[tokio::test]
async fn a_foreign_object_under_a_wanted_name_is_named_and_left_alone() {
    let world = World::start().await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "llama-kserve-workload-svc"},
        "spec": {"ports": [{"port": 1}]},
    });
    world.create(kind::CORE_SERVICE, &theirs).await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "MainWorkloadReady") == "False"
        })
        .await;
    let conditions = service["status"]["conditions"].to_string();
    assert!(
        conditions.contains("llama-kserve-workload-svc exists and is not controlled"),
        "{conditions}"
    );
    let kept = world
        .appears(kind::CORE_SERVICE, "llama-kserve-workload-svc")
        .await;
    assert_eq!(kept["spec"]["ports"][0]["port"], 1);
    world.end().await;
}

#[tokio::test]
async fn a_missing_gateway_is_named_and_its_appearance_noticed() {
    let world = World::start().await;
    let mut service = world.service("llama");
    service["spec"]["router"]["gateway"] = json!({"refs": [{"name": "mine"}]});
    world.create(kind::SERVICE, &service).await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "GatewaysReady") == "False"
        })
        .await;
    let conditions = service["status"]["conditions"].to_string();
    let message = format!("Gateway {}/mine does not exist", world.namespace);
    assert!(conditions.contains(&message), "{conditions}");
    assert_eq!(status_of(&service, "RouterReady"), "False");
    // Told once, however often it is looked at.
    world.settle().await;
    world.requests.take();
    let poke = json!({"metadata": {"labels": {"poke": "1"}}});
    world.patch(kind::SERVICE, "llama", poke).await;
    world.settle().await;
    assert_eq!(world.requests.take(), Vec::<String>::new());
    world.make_gateway("mine").await;
    let route = world.appears(kind::HTTP_ROUTE, "llama-kserve-route").await;
    assert_eq!(route["spec"]["parentRefs"][0]["name"], "mine");
    world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "GatewaysReady") == "True"
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_missing_gateway_api_is_named_and_its_installation_noticed() {
    let Some(world) = World::start_without_gateway_api().await else {
        eprintln!("SKIPPED: tests on the real server share its definitions");
        return;
    };
    world.create(kind::SERVICE, &world.service("llama")).await;
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "HTTPRoutesReady") == "False"
        })
        .await;
    let conditions = service["status"]["conditions"].to_string();
    let message = "this cluster does not serve Gateway and HTTPRoute of gateway.networking.k8s.io/v1: install the Gateway API";
    assert!(conditions.contains(message), "{conditions}");

    world.install_gateway_api().await;
    world.make_gateway("kserve-ingress-gateway").await;
    world.appears(kind::HTTP_ROUTE, "llama-kserve-route").await;
    world.accept_route("llama-kserve-route").await;
    world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "HTTPRoutesReady") == "True"
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn an_object_of_the_upstream_controller_is_taken_over() {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    let made = world
        .appears(kind::CORE_SERVICE, "llama-kserve-workload-svc")
        .await;
    // As upstream would have left it: one update by one manager, with a label that is no longer wanted.
    let mut entry = made["metadata"]["managedFields"][0].clone();
    entry["manager"] = json!("manager");
    entry["operation"] = json!("Update");
    entry["fieldsV1"]["f:metadata"]["f:labels"]["f:old"] = json!({});
    let name = "llama-kserve-workload-svc";
    world
        .patch(
            kind::CORE_SERVICE,
            name,
            json!({"metadata": {"labels": {"old": "1"}}}),
        )
        .await;
    world
        .patch(
            kind::CORE_SERVICE,
            name,
            json!({"metadata": {"managedFields": [entry]}}),
        )
        .await;
    let service = world
        .until(kind::CORE_SERVICE, "llama-kserve-workload-svc", |s| {
            s.pointer("/metadata/labels/old").is_none()
                && s["metadata"]["managedFields"][0]["manager"] == "weir"
        })
        .await;
    assert_eq!(service["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    world.end().await;
}

#[tokio::test]
async fn configs_are_inherited_and_a_missing_one_is_named() {
    let world = World::start().await;
    let mut service = world.service("llama");
    service["spec"]["baseRefs"] = json!([{"name": "base"}]);
    service["spec"]["model"] = json!({"uri": "hf://org/model"});
    world.create(kind::SERVICE, &service).await;
    let seen = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "PresetsCombined") == "False"
        })
        .await;
    let conditions = seen["status"]["conditions"].to_string();
    assert!(
        conditions.contains("LLMInferenceServiceConfig \\\"base\\\" not found"),
        "{conditions}"
    );

    let config = json!({
        "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceServiceConfig",
        "metadata": {"name": "base"},
        "spec": {
            "model": {"name": "from-base", "uri": "hf://not/this"},
            "template": {"containers": [{
                "name": "main", "image": "not-this",
                "env": [{"name": "INHERITED", "value": "{{ .Spec.Model.Name }}"}],
            }]},
        },
    });
    world.create(kind::CONFIG, &config).await;
    let deployment = world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    let main = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(main["image"], "engine");
    let env = main["env"].as_array().unwrap();
    let inherited = env.iter().find(|e| e["name"] == "INHERITED").unwrap();
    assert_eq!(inherited["value"], "from-base");
    let seen = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "PresetsCombined") == "True"
        })
        .await;
    assert_eq!(
        seen["status"]["appliedConfigs"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()["name"],
        "base"
    );
    world.end().await;
}
