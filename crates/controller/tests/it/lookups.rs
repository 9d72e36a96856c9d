//! What a service needs of others: device claims, credentials, certificate authorities. What is missing is named, and
//! its appearance noticed.

use serde_json::{Value, json};
use weir_api::names::{GLOBAL_CONFIG_MAP, kind};

use crate::world::{World, status_of};

/// The message of a condition, empty when absent.
fn message_of(service: &Value, condition: &str) -> String {
    let all = service
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let found = all.into_iter().flatten().find(|c| c["type"] == condition);
    let message = found.and_then(|c| c["message"].as_str());
    message.unwrap_or_default().to_owned()
}

fn annotated(world: &World, annotations: Value) -> Value {
    let mut service = world.service("llama");
    service["metadata"]["annotations"] = annotations;
    service
}

#[tokio::test]
async fn a_changed_claim_is_made_anew() {
    let world = World::start().await;
    let claim = |count: &str| {
        json!({
            "serving.kserve.io/exp-dra-device-class": "gpu.example.com",
            "serving.kserve.io/exp-dra-device-count": count,
        })
    };
    let service = annotated(&world, claim("2"));
    world.create(kind::SERVICE, &service).await;
    let of = kind::RESOURCE_CLAIM_TEMPLATE;
    let first = world.appears(of, "llama-managed-dra").await;
    let count = "/spec/spec/devices/requests/0/exactly/count";
    assert_eq!(first.pointer(count), Some(&json!(2)));
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;

    let more = json!({"metadata": {"annotations": claim("3")}});
    world.patch(kind::SERVICE, "llama", more).await;
    let anew = world
        .until(of, "llama-managed-dra", |template| {
            template.pointer(count) == Some(&json!(3))
        })
        .await;
    assert_ne!(anew["metadata"]["uid"], first["metadata"]["uid"]);
    world.end().await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_looked_for_again() {
    let world = World::start().await;
    world.make_default_account().await;
    let service = annotated(
        &world,
        json!({"serving.kserve.io/storageSecretName": "hub"}),
    );
    world.create(kind::SERVICE, &service).await;
    let service = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "MainWorkloadReady") == "False"
        })
        .await;
    let message = message_of(&service, "MainWorkloadReady");
    assert!(
        message.starts_with("secret hub with credentials"),
        "{message}"
    );
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"},
        "stringData": {"HF_TOKEN": "hf_x"},
    });
    world.create(kind::SECRET, &secret).await;
    let deployment = world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    let text = deployment.to_string();
    assert!(
        text.contains(r#""secretKeyRef":{"key":"HF_TOKEN","name":"hub"}"#),
        "{text}"
    );
    assert!(!text.contains("hf_x"));
    world.end().await;
}

#[tokio::test]
async fn authorities_are_copied_to_the_services_and_stay() {
    let Some(world) = World::start_everywhere("weir-shared").await else {
        eprintln!("SKIPPED: tests on the real server share its namespaces");
        return;
    };
    world.make_gateway("kserve-ingress-gateway").await;
    let map = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    let storage = json!({"caBundleConfigMapName": "authorities"}).to_string();
    let globals = map(GLOBAL_CONFIG_MAP, json!({"storageInitializer": storage}));
    world
        .create_in("weir-shared", kind::CONFIG_MAP, &globals)
        .await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    world
        .until_event(
            "llama",
            "which storageInitializer.caBundleConfigMapName names",
        )
        .await;

    let bundle = map("authorities", json!({"cabundle.crt": "one"}));
    world
        .create_in("weir-shared", kind::CONFIG_MAP, &bundle)
        .await;
    let copied = |text: &'static str| move |map: &Value| map["data"]["cabundle.crt"] == text;
    let copy = "global-ca-bundle";
    world.until(kind::CONFIG_MAP, copy, copied("one")).await;
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;

    let two = json!({"data": {"cabundle.crt": "two"}});
    world
        .patch_in("weir-shared", kind::CONFIG_MAP, "authorities", two)
        .await;
    let now = world.until(kind::CONFIG_MAP, copy, copied("two")).await;
    assert_eq!(now["metadata"]["ownerReferences"], Value::Null);

    let stop = json!({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}});
    world.patch(kind::SERVICE, "llama", stop).await;
    world.vanishes(kind::DEPLOYMENT, "llama-kserve").await;
    world.appears(kind::CONFIG_MAP, copy).await;
    world.end().await;
}
