//! The certificate of a service stays as long as it serves.

use serde_json::{Value, json};
use weir_api::names::kind;

use crate::world::World;

const SECRET: &str = "llama-kserve-self-signed-certs";
const EXPIRATION: &str = "certificates.kserve.io/expiration";

fn certificate(secret: &Value) -> String {
    secret["data"]["tls.crt"].as_str().unwrap().to_owned()
}

/// A pod of the service, as nobody but its own controller would make it.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p1", "labels": {
            "app.kubernetes.io/name": "llama",
            "app.kubernetes.io/part-of": "llminferenceservice",
            "kserve.io/component": "workload",
        }},
        "spec": {"containers": [{"name": "main", "image": "x:1"}]},
    })
}

#[tokio::test]
async fn a_new_service_gets_one_certificate_and_keeps_it() {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    let first = world.appears(kind::SECRET, SECRET).await;
    assert_eq!(first["type"], "kubernetes.io/tls");
    assert_eq!(first["data"]["ca.crt"], first["data"]["tls.crt"]);
    // The Services have addresses by now, which the first certificate could not know.
    world.quiet("llama").await;
    assert_eq!(
        certificate(&world.appears(kind::SECRET, SECRET).await),
        certificate(&first)
    );

    // A pod that waits has no address; one that comes soon after the certificate waits for the next.
    world.create(kind::POD, &pod()).await;
    world.quiet("llama").await;
    let addresses = json!({"status": {"podIP": "10.9.8.7", "podIPs": [{"ip": "10.9.8.7"}]}});
    world.patch_status(kind::POD, "p1", addresses).await;
    world.quiet("llama").await;
    let foreign = json!({"metadata": {"annotations": {"foreign": "a"}}});
    world.patch(kind::SECRET, SECRET, foreign).await;
    world.quiet("llama").await;
    let kept = world.appears(kind::SECRET, SECRET).await;
    assert_eq!(certificate(&kept), certificate(&first));
    let annotations = &kept["metadata"]["annotations"];
    assert_eq!(annotations["foreign"], "a");
    assert_eq!(
        annotations[EXPIRATION],
        first["metadata"]["annotations"][EXPIRATION]
    );
    world.end().await;
}

#[tokio::test]
async fn a_certificate_that_is_due_broken_or_gone_is_made_anew() {
    let world = World::start().await;
    world.create(kind::SERVICE, &world.service("llama")).await;
    let mut last = certificate(&world.appears(kind::SECRET, SECRET).await);
    let past =
        json!({"metadata": {"annotations": {EXPIRATION: "2020-01-01T00:00:00Z", "foreign": "a"}}});
    for patch in [past, json!({"data": {"tls.key": "eA=="}})] {
        world.quiet("llama").await;
        world.patch(kind::SECRET, SECRET, patch.clone()).await;
        let renewed = world
            .until(kind::SECRET, SECRET, |secret| certificate(secret) != last)
            .await;
        let annotations = &renewed["metadata"]["annotations"];
        assert!(
            annotations[EXPIRATION].as_str().unwrap() > "2030",
            "{patch}"
        );
        assert_eq!(annotations["foreign"], "a", "{patch}");
        last = certificate(&renewed);
    }
    world.quiet("llama").await;
    world.delete(kind::SECRET, SECRET).await;
    world
        .until(kind::SECRET, SECRET, |secret| certificate(secret) != last)
        .await;
    world.end().await;
}
