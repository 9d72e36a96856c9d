//! ReplicaSets and the pods that they take, keep and give up.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::world::{World, deployment, is_ready};

#[tokio::test(flavor = "multi_thread")]
async fn scaling_makes_exactly_the_pods_and_gives_up_those_that_are_not_ready() -> anyhow::Result<()>
{
    let world = World::new().await?;
    world.create(deployment(6, &json!({}))).await?;
    world
        .roll_out("d", |pods| {
            ensure!(pods.len() <= 6, "{} pods", pods.len());
            Ok(())
        })
        .await?;
    let pods = world.pods().await?;
    for pod in pods.iter().take(4) {
        world.mark(pod, false, 9).await?;
    }
    world
        .until("Deployment", "two ready pods", |all| {
            all[0]["status"]["readyReplicas"] == 2
        })
        .await?;
    world
        .patch("Deployment", "d", json!({"spec": {"replicas": 2}}))
        .await?;
    let left = world
        .until("Pod", "two pods", |pods| pods.len() == 2)
        .await?;
    ensure!(left.iter().all(is_ready), "{}", json!(left));
    world
        .patch("Deployment", "d", json!({"spec": {"replicas": 0}}))
        .await?;
    world.until("Pod", "no pod", <[Value]>::is_empty).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_deleted_is_replaced_once() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.create(deployment(2, &json!({}))).await?;
    world.roll_out("d", |_| Ok(())).await?;
    let name = world.pods().await?[0]["metadata"]["name"]
        .as_str()
        .context("no name")?
        .to_owned();
    world.delete("Pod", &name).await?;
    world
        .roll_out("d", |pods| {
            ensure!(pods.len() <= 2, "{} pods", pods.len());
            Ok(())
        })
        .await?;
    ensure!(
        world
            .pods()
            .await?
            .iter()
            .all(|pod| pod["metadata"]["name"] != *name)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_adopted_by_their_labels_and_released_with_them() -> anyhow::Result<()> {
    let world = World::new().await?;
    let template = json!({"metadata": {"labels": {"app": "r"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "one"}]}});
    let mut orphan = template.clone();
    orphan["apiVersion"] = json!("v1");
    orphan["kind"] = json!("Pod");
    orphan["metadata"]["name"] = json!("orphan");
    world.create(orphan).await?;
    world
        .create(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "r"}}, "template": template}}))
        .await?;
    let pods = world
        .until("Pod", "a second pod", |pods| pods.len() == 2)
        .await?;
    ensure!(pods.iter().any(|pod| pod["metadata"]["name"] == "orphan"));
    let owned = |pod: &Value| pod.pointer("/metadata/ownerReferences/0").is_some();
    world
        .until("Pod", "two pods with an owner", |pods| {
            pods.iter().all(owned)
        })
        .await?;
    // A pod taken out of the set by its label stays, and another takes its place.
    world
        .patch(
            "Pod",
            "orphan",
            json!({"metadata": {"labels": {"app": "debug"}}}),
        )
        .await?;
    world
        .until("Pod", "a third pod", |pods| {
            pods.len() == 3
                && pods
                    .iter()
                    .all(|pod| owned(pod) != (pod["metadata"]["name"] == "orphan"))
        })
        .await?;
    Ok(())
}
