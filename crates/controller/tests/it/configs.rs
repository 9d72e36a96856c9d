//! Configs: who uses them, that they stay while they are used, and what services say of them.

use serde_json::{Value, json};
use weir_api::names::{CONFIG_FINALIZER, kind};

use crate::world::{World, status_of};

fn config(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceServiceConfig",
        "metadata": {"name": name}, "spec": spec,
    })
}

fn environment(value: &str) -> Value {
    json!({"template": {"containers": [{"name": "main", "env": [{"name": "INHERITED", "value": value}]}]}})
}

fn inherits(mut service: Value, bases: &[&str]) -> Value {
    let bases: Vec<Value> = bases.iter().map(|name| json!({"name": name})).collect();
    service["spec"]["baseRefs"] = json!(bases);
    service
}

/// Whether a Deployment has the environment of a config.
fn inherited(value: &'static str) -> impl Fn(&Value) -> bool {
    move |deployment: &Value| {
        let main = &deployment["spec"]["template"]["spec"]["containers"][0];
        let env = main["env"].as_array();
        let mut env = env.into_iter().flatten();
        env.any(|e| e["name"] == "INHERITED" && e["value"] == value)
    }
}

fn users(config: &Value) -> Vec<&str> {
    let users = config
        .pointer("/status/referencedBy")
        .and_then(Value::as_array);
    let users = users.into_iter().flatten();
    users.filter_map(|user| user["name"].as_str()).collect()
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    let mut all = all.into_iter().flatten();
    all.find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_config_says_who_uses_it_and_stays_as_long() {
    let world = World::start().await;
    for name in ["one", "two"] {
        world
            .create(kind::CONFIG, &config(name, &environment(name)))
            .await;
    }
    for name in ["b", "a", "c"] {
        let service = inherits(world.service(name), &["one", "two"]);
        world.create(kind::SERVICE, &service).await;
    }
    let seen = world
        .until(kind::CONFIG, "one", |c| users(c) == ["a", "b", "c"])
        .await;
    assert_eq!(seen["metadata"]["finalizers"], json!([CONFIG_FINALIZER]));
    let in_use = condition(&seen, "ConfigInUse");
    assert_eq!(
        (&in_use["status"], &in_use["reason"]),
        (&json!("True"), &json!("InUse"))
    );
    assert_eq!(in_use["message"], "referenced by 3 LLMInferenceService(s)");
    assert_eq!(status_of(&seen, "Ready"), "True");

    world.delete(kind::CONFIG, "one").await;
    let blocked = |c: &Value| condition(c, "ConfigInUse")["reason"] == "DeletionBlocked";
    world.until(kind::CONFIG, "one", blocked).await;
    let without = json!({"spec": {"baseRefs": [{"name": "two"}]}});
    for (name, left) in [("a", vec!["b", "c"]), ("c", vec!["b"])] {
        world.patch(kind::SERVICE, name, without.clone()).await;
        let seen = world.until(kind::CONFIG, "one", |c| users(c) == left).await;
        assert!(blocked(&seen), "{seen:#}");
    }
    let events = world.events("one").await;
    let event = events
        .iter()
        .find(|e| e["reason"] == "DeletionBlocked")
        .unwrap();
    assert_eq!(event["involvedObject"]["kind"], "LLMInferenceServiceConfig");
    assert_eq!(event["type"], "Warning");
    // A service that goes lets go, too; the other config stays in use.
    world.delete(kind::SERVICE, "b").await;
    world.vanishes(kind::CONFIG, "one").await;
    world
        .until(kind::CONFIG, "two", |c| users(c) == ["a", "c"])
        .await;
    for name in ["a", "c"] {
        world.delete(kind::SERVICE, name).await;
    }
    world
        .until(kind::CONFIG, "two", |c| {
            condition(c, "ConfigInUse")["reason"] == "NotInUse"
        })
        .await;
    world.delete(kind::CONFIG, "two").await;
    world.vanishes(kind::CONFIG, "two").await;
    world.end().await;
}

#[tokio::test]
async fn a_preset_in_the_cluster_replaces_ours_and_counts_as_used() {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    let name = "kserve-config-llm-template";
    let seen = world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "PresetsCombined") == "True"
        })
        .await;
    let pinned = seen["status"]["annotations"].as_object().unwrap();
    assert_eq!(pinned.len(), 14, "{pinned:?}");
    assert_eq!(pinned["serving.kserve.io/config-llm-template"], name);

    world
        .create(kind::CONFIG, &config(name, &environment("preset")))
        .await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", inherited("preset"))
        .await;
    world
        .until(kind::CONFIG, name, |c| users(c) == ["llama"])
        .await;
    // A change reaches those that use it.
    world
        .patch(kind::CONFIG, name, json!({"spec": environment("changed")}))
        .await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", inherited("changed"))
        .await;
    world.end().await;
}

#[tokio::test]
async fn what_cannot_be_combined_or_breaks_rules_is_said_and_nothing_is_touched() {
    let world = World::start().await;
    let base =
        json!({"template": {"containers": [{"name": "main", "args": ["{{ .Spec.Model.Nmae }}"]}]}});
    world.create(kind::CONFIG, &config("base", &base)).await;
    let service = inherits(world.service("llama"), &["base"]);
    world.create(kind::SERVICE, &service).await;
    let reason =
        |wanted: &'static str| move |s: &Value| condition(s, "PresetsCombined")["reason"] == wanted;
    let seen = world
        .until(kind::SERVICE, "llama", reason("CombineBaseError"))
        .await;
    let message = condition(&seen, "PresetsCombined")["message"].to_string();
    assert!(
        message.contains("Nmae") && message.contains("args[0]"),
        "{message}"
    );
    assert!(seen["status"]["appliedConfigs"].is_null());

    let good = json!({"spec": {"template": {"containers": [{"name": "main", "args": ["--x"]}]}}});
    world.patch(kind::CONFIG, "base", good).await;
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;
    world
        .until(kind::SERVICE, "llama", |s| {
            status_of(s, "PresetsCombined") == "True"
        })
        .await;

    let broken = json!({"spec": {"parallelism": {"data": 4}}});
    world.patch(kind::CONFIG, "base", broken).await;
    let seen = world
        .until(kind::SERVICE, "llama", reason("InvalidRenderedConfig"))
        .await;
    let message = condition(&seen, "PresetsCombined")["message"]
        .as_str()
        .unwrap();
    let wanted = format!(
        "validation failed after merging configs [Preset:{0}/kserve-config-llm-router-route, \
         Preset:{0}/kserve-config-llm-template, UserRef:{0}/base]: \
         spec.parallelism.dataLocal: must be set when data is set",
        world.namespace
    );
    assert_eq!(message, wanted);
    assert_eq!(
        seen["status"]["appliedConfigs"].as_array().unwrap().len(),
        3
    );
    assert_eq!(status_of(&seen, "Ready"), "False");
    world.appears(kind::DEPLOYMENT, "llama-kserve").await;

    // Stopped, the reason is that, and its children go all the same.
    let stop = json!({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}});
    world.patch(kind::SERVICE, "llama", stop).await;
    let seen = world.until(kind::SERVICE, "llama", reason("Stopped")).await;
    assert_eq!(
        seen["status"]["appliedConfigs"].as_array().unwrap().len(),
        3
    );
    world.vanishes(kind::DEPLOYMENT, "llama-kserve").await;
    world.end().await;
}

#[tokio::test]
async fn the_config_of_the_own_namespace_wins_until_it_goes() {
    let Some(world) = World::start_everywhere("shared").await else {
        return;
    };
    let base = |value: &str| config("base", &environment(value));
    world
        .create_in("shared", kind::CONFIG, &base("shared"))
        .await;
    let service = inherits(world.service("llama"), &["base"]);
    world.create(kind::SERVICE, &service).await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", inherited("shared"))
        .await;
    world.create(kind::CONFIG, &base("own")).await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", inherited("own"))
        .await;
    world
        .until(kind::CONFIG, "base", |c| users(c) == ["llama"])
        .await;
    // While it is on its way out the service moves over, which lets it go.
    world.delete(kind::CONFIG, "base").await;
    world
        .until(kind::DEPLOYMENT, "llama-kserve", inherited("shared"))
        .await;
    world.vanishes(kind::CONFIG, "base").await;
    world.end().await;
}
