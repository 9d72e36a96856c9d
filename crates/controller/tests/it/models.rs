//! Where a service's model comes from: caches of the nodes, secrets, adapters.

use serde_json::{Value, json};
use weir_api::names::{GLOBAL_CONFIG_MAP, kind};

use crate::world::{World, condition_of};

const LABEL: &str = "internal.serving.kserve.io/localmodel";

async fn globals(world: &World, data: Value) {
    let data: serde_json::Map<_, _> = data
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), json!(value.to_string())))
        .collect();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": GLOBAL_CONFIG_MAP}, "data": data,
    });
    world.create(kind::CONFIG_MAP, &map).await;
}

/// The claim that the model is mounted from.
fn claim(deployment: &Value) -> Option<&str> {
    let volumes = deployment
        .pointer("/spec/template/spec/volumes")?
        .as_array()?;
    let volume = volumes.iter().find(|v| v["name"] == "kserve-pvc-source")?;
    volume.pointer("/persistentVolumeClaim/claimName")?.as_str()
}

#[tokio::test]
async fn an_inherited_model_is_taken_from_the_cache_that_has_it_when_the_service_is_written() {
    let mut world = World::start().await;
    world.install_kind(kind::LOCAL_MODEL_NAMESPACE_CACHE).await;
    globals(&world, json!({"localModel": {"enabled": true}})).await;
    let cache = json!({
        "apiVersion": kind::LOCAL_MODEL_NAMESPACE_CACHE.api_version(),
        "kind": kind::LOCAL_MODEL_NAMESPACE_CACHE.kind,
        "metadata": {"name": "held"},
        "spec": {"sourceModelUri": "hf://org/model", "nodeGroups": ["a", "b"]},
    });
    world
        .create(kind::LOCAL_MODEL_NAMESPACE_CACHE, &cache)
        .await;
    // What is installed while it runs is noticed within half a minute; a restart notices it at once.
    world.restart().await;
    let config = json!({
        "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceServiceConfig",
        "metadata": {"name": "base"}, "spec": {"model": {"uri": "hf://org/model/part"}},
    });
    world.create(kind::CONFIG, &config).await;
    let mut service = world.service("llama");
    service["spec"]["baseRefs"] = json!([{"name": "base"}]);
    service["spec"]["model"] = json!({"uri": "", "name": "org/model"});
    world.create(kind::SERVICE, &service).await;

    let deployment = world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    let marked = world
        .until(kind::SERVICE, "llama", |s| {
            s["metadata"]["labels"][LABEL] == "held"
        })
        .await;
    assert_eq!(
        marked["metadata"]["labels"][format!("{LABEL}-namespace")],
        *world.namespace
    );
    assert_eq!(claim(&deployment), Some("held-a"));
    world.quiet("llama").await;

    // A cache that goes restarts nothing, until somebody writes the service.
    world
        .delete(kind::LOCAL_MODEL_NAMESPACE_CACHE, "held")
        .await;
    world.quiet("llama").await;
    let same = world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    assert_eq!(claim(&same), Some("held-a"));
    world
        .patch(kind::SERVICE, "llama", json!({"spec": {"replicas": 2}}))
        .await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", |d| claim(d).is_none())
        .await;
    world.quiet("llama").await;
    world.end().await;
}

#[tokio::test]
async fn an_adapter_that_cannot_be_fetched_fails_composition() {
    let world = World::start().await;
    let mut service = world.service("llama");
    service["spec"]["model"]["lora"] = json!({"adapters": [{"name": "x", "uri": "oci://r/x:1"}]});
    world.create(kind::SERVICE, &service).await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            condition_of(s, "PresetsCombined")["status"] == "False"
        })
        .await;
    let combined = condition_of(&service, "PresetsCombined");
    assert_eq!(combined["reason"], "CombineBaseError");
    let message = combined["message"].as_str().unwrap();
    assert!(
        message.starts_with("failed to enumerate LoRA adapters: LoRA adapter \"x\": "),
        "{message}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_secret_that_comes_later_is_found() {
    let world = World::start().await;
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "hub"}, "secrets": [{"name": "token"}],
    });
    world.create(kind::SERVICE_ACCOUNT, &account).await;
    let mut service = world.service("llama");
    service["spec"]["template"]["serviceAccountName"] = json!("hub");
    world.create(kind::SERVICE, &service).await;
    let waiting = world
        .until(kind::SERVICE, "llama", |s| {
            condition_of(s, "MainWorkloadReady")["status"] == "False"
        })
        .await;
    let message = condition_of(&waiting, "MainWorkloadReady")["message"].clone();
    assert!(
        message.as_str().unwrap().contains("secret token"),
        "{message}"
    );
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "token"}, "stringData": {"HF_TOKEN": "t"},
    });
    world.create(kind::SECRET, &secret).await;
    let deployment = world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    let env = "/spec/template/spec/initContainers/0/env/0/valueFrom/secretKeyRef/name";
    assert_eq!(deployment.pointer(env), Some(&json!("token")));
    world.end().await;
}
