//! Optional features switched on, off and on again: the same objects each time, nothing left over, and nothing asked
//! of the server once they are there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_api::names::{GLOBAL_CONFIG_MAP, kind};

use crate::world::World;

const SERVICE: &str = "llama";

/// What is switched.
enum Switch {
    /// Merge patches of the service.
    Service { on: Value, off: Value },
    /// Merge patches of the global configuration.
    Globals { on: Value, off: Value },
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write both out in place"
)]
fn of_spec(on: Value, off: Value) -> Switch {
    Switch::Service {
        on: json!({"spec": on}),
        off: json!({"spec": off}),
    }
}

impl Switch {
    async fn turn(&self, world: &World, on: bool) {
        match self {
            Self::Service { on: patch, .. } if on => {
                world.patch(kind::SERVICE, SERVICE, patch.clone()).await;
            }
            Self::Service { off, .. } => world.patch(kind::SERVICE, SERVICE, off.clone()).await,
            Self::Globals { on: patch, .. } if on => {
                world
                    .patch(kind::CONFIG_MAP, GLOBAL_CONFIG_MAP, patch.clone())
                    .await;
            }
            Self::Globals { off, .. } => {
                world
                    .patch(kind::CONFIG_MAP, GLOBAL_CONFIG_MAP, off.clone())
                    .await;
            }
        }
        world.quiet(SERVICE).await;
    }
}

fn assert_same(what: &str, now: &BTreeMap<String, Value>, before: &BTreeMap<String, Value>) {
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(now), names(before), "{what}");
    for (name, object) in now {
        assert_eq!(object, &before[name], "{what}: {name}");
    }
}

/// Switches one feature of a service whose pods are the presets'; `added` are the objects that only it has.
async fn toggles(base: Value, switch: Switch, added: &[&str]) {
    let world = World::start().await;
    let globals = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": GLOBAL_CONFIG_MAP},
        "data": {"ingress": json!({
            "kserveIngressGateway": format!("{}/kserve-ingress-gateway", world.namespace),
        }).to_string()},
    });
    world.create(kind::CONFIG_MAP, &globals).await;
    let mut service = world.service(SERVICE);
    service["spec"]["template"] = Value::Null;
    for (key, value) in base.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    world.create(kind::SERVICE, &service).await;
    world
        .appears(kind::CORE_SERVICE, "llama-kserve-workload-svc")
        .await;
    world.quiet(SERVICE).await;
    let without = world.children(SERVICE).await;

    switch.turn(&world, true).await;
    let with = world.children(SERVICE).await;
    assert_ne!(with, without);
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<BTreeSet<_>>();
    let new: BTreeSet<String> = names(&with).difference(&names(&without)).cloned().collect();
    let wanted: BTreeSet<String> = added.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(new, wanted);
    world.requests.take();
    let poke = json!({"metadata": {"labels": {"poke": "1"}}});
    world.patch(kind::SERVICE, SERVICE, poke).await;
    world.settle().await;
    assert_eq!(world.requests.take(), Vec::<String>::new());

    switch.turn(&world, false).await;
    assert_same("off", &world.children(SERVICE).await, &without);
    switch.turn(&world, true).await;
    assert_same("on again", &world.children(SERVICE).await, &with);

    let stop = json!({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}});
    world.patch(kind::SERVICE, SERVICE, stop).await;
    for name in with.keys() {
        let (of, name) = name.split_once(' ').unwrap();
        let kinds = [
            kind::DEPLOYMENT,
            kind::SECRET,
            kind::SERVICE_ACCOUNT,
            kind::RESOURCE_CLAIM_TEMPLATE,
        ];
        if let Some(kind) = kinds.into_iter().find(|kind| kind.kind == of) {
            world.vanishes(kind, name).await;
        }
    }
    world.quiet(SERVICE).await;
    assert!(world.children(SERVICE).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn adapters() {
    let adapters = json!([
        {"name": "a", "uri": "hf://org/a"},
        {"name": "b", "uri": "pvc://claim/b"},
    ]);
    let on = json!({"model": {"lora": {"maxRank": 16, "adapters": adapters}}});
    let off = json!({"model": {"lora": null}});
    toggles(json!({}), of_spec(on, off), &[]).await;
}

#[tokio::test]
async fn cache_tiers() {
    let tiers = json!([
        {"fileSystem": {"emptyDir": {"size": "5Gi"}}},
        {"fileSystem": {"pvc": {"ref": {"name": "kv", "path": "a"}}}},
    ]);
    let on = json!({"kvCacheOffloading": {"cpu": "10Gi", "secondary": tiers}});
    let off = json!({"kvCacheOffloading": null});
    toggles(json!({}), of_spec(on, off), &[]).await;
}

#[tokio::test]
async fn tracing() {
    let switch = of_spec(json!({"tracing": {}}), json!({"tracing": null}));
    toggles(json!({}), switch, &[]).await;
}

#[tokio::test]
async fn device_claims() {
    let annotations = |class: Value| {
        let count = if class.is_null() {
            Value::Null
        } else {
            json!("2")
        };
        json!({"metadata": {"annotations": {
            "serving.kserve.io/exp-dra-device-class": class,
            "serving.kserve.io/exp-dra-device-count": count,
        }}})
    };
    let switch = Switch::Service {
        on: annotations(json!("gpu.example.com")),
        off: annotations(Value::Null),
    };
    let added = ["ResourceClaimTemplate llama-managed-dra"];
    toggles(json!({}), switch, &added).await;
}

#[tokio::test]
async fn a_sidecar_of_the_users() {
    let sidecar = json!({
        "name": "llm-d-routing-sidecar", "image": "sidecar", "restartPolicy": "Always",
        "args": ["--port=8000"],
    });
    let on = json!({"template": {"initContainers": [sidecar]}});
    let off = json!({"template": {"initContainers": null}});
    let base = json!({"template": {"containers": [{"name": "main", "image": "engine"}]}});
    let added = [
        "Role llama-kserve-role",
        "RoleBinding llama-kserve-rb",
        "ServiceAccount llama-kserve",
    ];
    toggles(base, of_spec(on, off), &added).await;
}

#[tokio::test]
async fn another_source_of_the_model() {
    let on = json!({"model": {"uri": "pvc://claim/model"}});
    let off = json!({"model": {"uri": "hf://org/model"}});
    toggles(json!({}), of_spec(on, off), &[]).await;
}

#[tokio::test]
async fn tls() {
    let globals = |tls: bool| {
        json!({"data": {"ingress": json!({
            "enableLLMInferenceServiceTLS": tls,
            "urlScheme": "http",
        }).to_string()}})
    };
    let switch = Switch::Globals {
        on: globals(true),
        off: globals(false),
    };
    toggles(json!({}), switch, &[]).await;
}

#[tokio::test]
async fn groups_of_prefill() {
    let group = json!({
        "parallelism": {"data": 4, "dataLocal": 2},
        "worker": {"containers": [{"name": "main", "image": "engine"}]},
    });
    let switch = of_spec(json!({"prefill": group}), json!({"prefill": null}));
    let added = [
        "LeaderWorkerSet llama-lws-prefill",
        "Role llama-kserve-role",
        "RoleBinding llama-kserve-rb",
        "Service llama-kserve-prefill-svc",
        "ServiceAccount llama-kserve",
        "ServiceAccount llama-kserve-mn-prefill",
    ];
    toggles(json!({}), switch, &added).await;
}
