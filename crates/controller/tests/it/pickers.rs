//! A picker's configuration in a ConfigMap: it is read, followed, and named when it is not there.

use serde_json::{Value, json};
use weir_api::names::kind;

use crate::world::World;

const PICKER: &str = "llama-kserve-router-scheduler";

fn map(scorer: &str) -> Value {
    let text = format!(
        "plugins:\n- type: {scorer}\n- type: predicted-latency-producer\n\
         schedulingProfiles:\n- name: default\n  plugins:\n  - pluginRef: {scorer}\n"
    );
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "picking"}, "data": {"epp": text}})
}

/// Whether the picker is told of a scorer.
fn scores_by(scorer: &'static str) -> impl Fn(&Value) -> bool {
    move |deployment: &Value| {
        let pod = &deployment["spec"]["template"]["spec"];
        pod["containers"].to_string().contains(scorer)
    }
}

fn combined(service: &Value) -> &Value {
    let all = service["status"]["conditions"].as_array();
    let mut all = all.into_iter().flatten();
    all.find(|one| one["type"] == "PresetsCombined")
        .unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_referenced_configuration_is_read_followed_and_told_of_once() {
    let world = World::start().await;
    let mut service = world.service("llama");
    service["spec"]["router"]["scheduler"] =
        json!({"config": {"ref": {"name": "picking", "key": "epp"}}});
    world.create(kind::SERVICE, &service).await;
    let refused = world
        .until(kind::SERVICE, "llama", |s| combined(s)["status"] == "False")
        .await;
    assert_eq!(combined(&refused)["reason"], "CombineBaseError");
    assert_eq!(
        combined(&refused)["message"],
        format!(
            "spec.router.scheduler.config.ref: there is no key \"epp\" in a ConfigMap \"picking\" in namespace {}",
            world.namespace
        )
    );

    world.create(kind::CONFIG_MAP, &map("queue-scorer")).await;
    let told = world
        .until(kind::SERVICE, "llama", |s| combined(s)["status"] == "True")
        .await;
    let message = combined(&told)["message"].as_str().unwrap();
    for part in [
        "spec.template: neither the image \"engine\" nor",
        "the referenced configuration has the plugin",
    ] {
        assert!(message.contains(part), "{message}");
    }
    world
        .until(kind::DEPLOYMENT, PICKER, scores_by("queue-scorer"))
        .await;

    world
        .patch(
            kind::CONFIG_MAP,
            "picking",
            map("kv-cache-utilization-scorer"),
        )
        .await;
    world
        .until(
            kind::DEPLOYMENT,
            PICKER,
            scores_by("kv-cache-utilization-scorer"),
        )
        .await;

    // Passes in between have told of it no second time.
    world.settle().await;
    let events = world.events("llama").await;
    let told: Vec<&Value> = events
        .iter()
        .filter(|event| event["reason"] == "LatencyPredictorConfigRef")
        .collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        (&told[0]["type"], &told[0]["count"]),
        (&json!("Warning"), &json!(1))
    );
    let advice = events
        .iter()
        .find(|e| e["reason"] == "EngineVersionUnknown");
    assert_eq!(advice.unwrap()["type"], "Normal");
    world.end().await;
}

#[tokio::test]
async fn a_shared_configuration_is_read_once() {
    let Some(world) = World::start_everywhere("shared").await else {
        return;
    };
    world.make_gateway("kserve-ingress-gateway").await;
    let mut shared = map("queue-scorer");
    shared["metadata"]["name"] = json!("config-scheduler-picking");
    world.create_in("shared", kind::CONFIG_MAP, &shared).await;
    let mut service = world.service("llama");
    service["spec"]["router"]["scheduler"] =
        json!({"config": {"ref": {"name": "config-scheduler-picking", "key": "epp"}}});
    world.create(kind::SERVICE, &service).await;
    world
        .until(kind::DEPLOYMENT, PICKER, scores_by("queue-scorer"))
        .await;
    world.quiet("llama").await;

    // That there is none in the service's own namespace is known as well.
    let change = json!({"spec": {"replicas": 3}});
    world.patch(kind::SERVICE, "llama", change).await;
    let scaled = |d: &Value| d["spec"]["replicas"] == 3;
    world.until(kind::DEPLOYMENT, "llama-kserve", scaled).await;
    world.settle().await;
    let asked = world.requests.take();
    let of_maps = |line: &&String| line.contains("/configmaps/config-scheduler-picking");
    assert_eq!(asked.iter().find(of_maps), None, "{asked:#?}");

    // One of its own comes before the shared one.
    shared = map("kv-cache-utilization-scorer");
    shared["metadata"]["name"] = json!("config-scheduler-picking");
    world.create(kind::CONFIG_MAP, &shared).await;
    world
        .until(
            kind::DEPLOYMENT,
            PICKER,
            scores_by("kv-cache-utilization-scorer"),
        )
        .await;
    world.end().await;
}
