//! What a client may ask for at most, and how large lists are taken in parts.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use super::kit::Store;

fn map(name: &str, size: usize) -> ConfigMap {
    let text = "x".repeat(size);
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": text}})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_more_than_three_mebibytes_is_refused() {
    let store = Store::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(store.client().await);
    let Err(kube::Error::Api(status)) = api
        .create(&PostParams::default(), &map("large", 3 << 20))
        .await
    else {
        panic!()
    };
    assert_eq!(
        (status.code, status.reason.as_str(), status.message.as_str()),
        (
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728"
        )
    );
    api.create(&PostParams::default(), &map("less", 1 << 20))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_one_state_whatever_happens_between_them() {
    let store = Store::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(store.client().await);
    for name in ["a", "b", "c", "d", "e"] {
        api.create(&PostParams::default(), &map(name, 1))
            .await
            .unwrap();
    }
    let mut parameters = ListParams::default().limit(2);
    let mut seen = Vec::new();
    let mut versions = Vec::new();
    loop {
        let page = api.list(&parameters).await.unwrap();
        seen.extend(page.items.into_iter().filter_map(|map| map.metadata.name));
        versions.extend(page.metadata.resource_version);
        // Neither of them belongs to the state of the first page.
        let later = format!("c{}", versions.len());
        api.create(&PostParams::default(), &map(&later, 1))
            .await
            .unwrap();
        let _ = api.delete("d", &kube::api::DeleteParams::default()).await;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    versions.dedup();
    assert_eq!(versions.len(), 1);
}
