//! The kube client and its watcher against the store.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::kit::{DEPLOYMENT, Store};

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_what_happens() {
    let store = Store::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(store.client().await);
    api.create(&PostParams::default(), &map("first"))
        .await
        .unwrap();
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut events = watcher(api.clone(), config).default_backoff().boxed();
        let mut names = Vec::new();
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                watcher::Event::InitApply(m) => names.push(m.metadata.name.unwrap()),
                watcher::Event::InitDone => break,
                _ => {}
            }
        }
        assert_eq!(names, ["first"]);
        api.create(&PostParams::default(), &map("second"))
            .await
            .unwrap();
        api.delete("second", &DeleteParams::default())
            .await
            .unwrap();
        let Some(watcher::Event::Apply(seen)) = events.try_next().await.unwrap() else {
            panic!()
        };
        assert_eq!(seen.metadata.name.as_deref(), Some("second"));
        let Some(watcher::Event::Delete(_)) = events.try_next().await.unwrap() else {
            panic!()
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_found_again_after_a_restart() {
    let mut store = Store::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(store.client().await);
    let made = api
        .create(&PostParams::default(), &map("kept"))
        .await
        .unwrap();
    drop(api);
    store.reopen().await;
    let api: Api<ConfigMap> = Api::default_namespaced(store.client().await);
    let found = api.get("kept").await.unwrap();
    assert_eq!(found.metadata.uid, made.metadata.uid);
    assert_eq!(
        found.metadata.resource_version,
        made.metadata.resource_version
    );
    let again = api
        .create(&PostParams::default(), &map("other"))
        .await
        .unwrap();
    let version = |m: &ConfigMap| -> u64 {
        m.metadata
            .resource_version
            .clone()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(version(&again) > version(&found));
    // The history does not reach back beyond the restart.
    let gone = match api.watch(&WatchParams::default(), "1").await {
        Err(kube::Error::Api(error)) => error.code,
        _ => panic!("a watch from a forgotten version must be refused"),
    };
    assert_eq!(gone, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_version_is_a_conflict() {
    let store = Store::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(store.client().await);
    let first = api.create(&PostParams::default(), &map("a")).await.unwrap();
    let mut next = first.clone();
    next.data
        .as_mut()
        .unwrap()
        .insert("b".to_owned(), "2".to_owned());
    api.replace("a", &PostParams::default(), &next)
        .await
        .unwrap();
    let Err(kube::Error::Api(error)) = api.replace("a", &PostParams::default(), &first).await
    else {
        panic!()
    };
    assert_eq!((error.code, error.reason.as_str()), (409, "Conflict"));
    assert!(
        error.message.contains("the object has been modified"),
        "{}",
        error.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dependents_go_with_their_owner_and_finalizers_hold() {
    let store = Store::start().await;
    let client = store.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let owner = maps
        .create(&PostParams::default(), &map("owner"))
        .await
        .unwrap();
    let mut child = map("child");
    child.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid,
        "blockOwnerDeletion": true, "controller": true}))
        .unwrap(),
    ]);
    child.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    maps.create(&PostParams::default(), &child).await.unwrap();
    maps.delete("owner", &DeleteParams::foreground())
        .await
        .unwrap();
    // The child is marked, and the owner waits for it.
    let marked =
        kube::runtime::wait::await_condition(maps.clone(), "child", |m: Option<&ConfigMap>| {
            m.is_some_and(|m| m.metadata.deletion_timestamp.is_some())
        });
    marked.await.unwrap();
    assert!(
        maps.get("owner")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("child", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let gone =
        kube::runtime::wait::await_condition(maps.clone(), "owner", |m: Option<&ConfigMap>| {
            m.is_none()
        });
    gone.await.unwrap();
    assert!(maps.get_opt("child").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_node_goes_when_its_node_says_so() {
    let store = Store::start().await;
    let pods: Api<Pod> = Api::default_namespaced(store.client().await);
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    let marked = pods.get("p").await.unwrap();
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(
        marked.spec.unwrap().containers[0]
            .image_pull_policy
            .as_deref(),
        Some("Always")
    );
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_owns_fields_and_takes_yaml() {
    let store = Store::start().await;
    let api: Api<Deployment> = Api::default_namespaced(store.client().await);
    let value: serde_json::Value = serde_saphyr::from_str(DEPLOYMENT).unwrap();
    let params = PatchParams::apply("weir");
    let made = api
        .patch("web", &params, &Patch::Apply(&value))
        .await
        .unwrap();
    let again = api
        .patch("web", &params, &Patch::Apply(&value))
        .await
        .unwrap();
    assert_eq!(
        made.metadata.resource_version,
        again.metadata.resource_version
    );
    let fields = made.metadata.managed_fields.unwrap();
    assert_eq!(
        (fields.len(), fields[0].manager.as_deref()),
        (1, Some("weir"))
    );
    let mut other = value.clone();
    other["spec"]["replicas"] = json!(9);
    let Err(kube::Error::Api(error)) = api
        .patch("web", &PatchParams::apply("x"), &Patch::Apply(&other))
        .await
    else {
        panic!()
    };
    assert_eq!(error.code, 409);
    // A field that its only owner gives up goes.
    let mut less = value.clone();
    less["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    let after = api
        .patch("web", &params, &Patch::Apply(&less))
        .await
        .unwrap();
    let container = &after.spec.unwrap().template.spec.unwrap().containers[0];
    assert!(container.env.as_ref().is_none_or(Vec::is_empty));
}

struct Doubling;

impl weir_apiserver::Hooks for Doubling {
    fn admit(
        &self,
        request: &mut weir_apiserver::AdmissionRequest<'_>,
    ) -> Result<Vec<String>, weir_apiserver::Refusal> {
        if request.kind == "ConfigMap" && request.object["data"]["a"] == "refuse" {
            return Err(weir_apiserver::Refusal {
                code: 422,
                reason: "Invalid".to_owned(),
                message: "refused by the hook".to_owned(),
                causes: vec![("FieldValueInvalid".into(), "no".into(), "data.a".into())],
            });
        }
        Ok(Vec::new())
    }

    fn converts(&self, group: &str) -> bool {
        group == "example.com"
    }

    fn convert(
        &self,
        mut object: serde_json::Value,
        to: &str,
    ) -> Result<serde_json::Value, String> {
        let size = object["spec"]["size"].as_i64().unwrap_or(0);
        object["spec"]["size"] = json!(if to.ends_with("v2") {
            size * 2
        } else {
            size / 2
        });
        object["apiVersion"] = json!(to);
        Ok(object)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_refuse_and_convert() {
    let store = Store::with(std::sync::Arc::new(Doubling)).await;
    let client = store.client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut bad = map("bad");
    bad.data
        .as_mut()
        .unwrap()
        .insert("a".to_owned(), "refuse".to_owned());
    let Err(kube::Error::Api(error)) = maps.create(&PostParams::default(), &bad).await else {
        panic!()
    };
    assert_eq!(
        (error.code, error.message.as_str()),
        (422, "refused by the hook")
    );

    let mut definition: serde_json::Value = serde_saphyr::from_str(super::kit::DEFINITION).unwrap();
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    definition["spec"]["versions"]
        .as_array_mut()
        .unwrap()
        .push(second);
    let resource = |version: &str, kind: &str, group: &str| {
        kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind))
    };
    let definitions: Api<kube::core::DynamicObject> = Api::all_with(
        client.clone(),
        &resource("v1", "CustomResourceDefinition", "apiextensions.k8s.io"),
    );
    let params = PatchParams::apply("t");
    definitions
        .patch("widgets.example.com", &params, &Patch::Apply(&definition))
        .await
        .unwrap();
    let of = |version: &str| -> Api<kube::core::DynamicObject> {
        Api::default_namespaced_with(client.clone(), &resource(version, "Widget", "example.com"))
    };
    let widget: serde_json::Value = serde_saphyr::from_str(super::kit::WIDGET).unwrap();
    of("v1")
        .patch("one", &params, &Patch::Apply(&widget))
        .await
        .unwrap();
    assert_eq!(of("v2").get("one").await.unwrap().data["spec"]["size"], 6);
    let patch = Patch::Merge(json!({"spec": {"size": 10}}));
    of("v2")
        .patch("one", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(of("v1").get("one").await.unwrap().data["spec"]["size"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_applied_alone_and_many_writers_are_served() {
    let store = Store::start().await;
    let client = store.client().await;
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let value: serde_json::Value = serde_saphyr::from_str(DEPLOYMENT).unwrap();
    api.patch("web", &PatchParams::apply("weir"), &Patch::Apply(&value))
        .await
        .unwrap();
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 99}, "status": {"readyReplicas": 2, "replicas": 2}});
    let after = api
        .patch_status(
            "web",
            &PatchParams::apply("node").force(),
            &Patch::Apply(&status),
        )
        .await
        .unwrap();
    assert_eq!(after.status.unwrap().ready_replicas, Some(2));
    assert_eq!(after.spec.unwrap().replicas, Some(2));
    assert_eq!(after.metadata.generation, Some(1));
    // The next apply of the object keeps the status.
    let after = api
        .patch("web", &PatchParams::apply("weir"), &Patch::Apply(&value))
        .await
        .unwrap();
    assert_eq!(after.status.unwrap().ready_replicas, Some(2));

    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let writes = (0..200).map(|n| {
        let maps = maps.clone();
        async move {
            maps.create(&PostParams::default(), &map(&format!("m{n}")))
                .await
        }
    });
    let begun = std::time::Instant::now();
    futures::future::try_join_all(writes).await.unwrap();
    eprintln!("200 concurrent creates took {:?}", begun.elapsed());
    assert_eq!(
        maps.list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        200
    );
}
