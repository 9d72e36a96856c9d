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
