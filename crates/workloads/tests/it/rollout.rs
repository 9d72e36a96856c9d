//! Deployments from one template to the next.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::world::{World, deployment, image, is_ready, reason, with_image};

fn nothing(_: &[Value]) -> anyhow::Result<()> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_keeps_to_surge_and_unavailable() -> anyhow::Result<()> {
    for (surge, unavailable) in [(1, 0), (0, 1), (2, 1)] {
        let world = World::new().await?;
        let rolling = json!({"strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}});
        world.create(deployment(3, &rolling)).await?;
        let done = world
            .roll_out("d", |pods| {
                ensure!(pods.len() <= 3, "{} pods at first", pods.len());
                Ok(())
            })
            .await?;
        ensure!(
            reason(&done, "Progressing") == "NewReplicaSetAvailable",
            "{done}"
        );
        world.patch("Deployment", "d", with_image("two")).await?;
        let row = format!("surge {surge}, unavailable {unavailable}");
        world
            .roll_out("d", |pods| {
                let ready = pods.iter().filter(|pod| is_ready(pod)).count();
                ensure!(pods.len() <= 3 + surge, "{row}: {} pods", pods.len());
                ensure!(ready + unavailable >= 3, "{row}: {ready} ready");
                Ok(())
            })
            .await?;
        for pod in world.pods().await? {
            ensure!(image(&pod) == "two", "{row}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_starts_no_new_pod_beside_an_old_one() -> anyhow::Result<()> {
    let world = World::new().await?;
    let recreate = json!({"strategy": {"type": "Recreate"}});
    world.create(deployment(2, &recreate)).await?;
    world.roll_out("d", nothing).await?;
    world.patch("Deployment", "d", with_image("two")).await?;
    world
        .roll_out("d", |pods| {
            let new = pods.iter().filter(|pod| image(pod) == "two").count();
            ensure!(new == 0 || new == pods.len(), "both kinds at once");
            Ok(())
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_finds_the_set_of_then_and_history_has_a_limit() -> anyhow::Result<()> {
    let world = World::new().await?;
    world
        .create(deployment(1, &json!({"revisionHistoryLimit": 1})))
        .await?;
    world.roll_out("d", nothing).await?;
    for image in ["two", "one"] {
        world.patch("Deployment", "d", with_image(image)).await?;
        world.roll_out("d", nothing).await?;
    }
    let revision = "/metadata/annotations/deployment.kubernetes.io~1revision";
    world
        .until("Deployment", "the third revision", |all| {
            all[0].pointer(revision) == Some(&json!("3"))
        })
        .await?;
    let sets = world.list("ReplicaSet").await?;
    ensure!(sets.len() == 2, "{} sets", sets.len());
    let back = sets.iter().find(|set| image(set) == "one");
    ensure!(back.and_then(|set| set.pointer(revision)) == Some(&json!("3")));
    world.patch("Deployment", "d", with_image("three")).await?;
    world.roll_out("d", nothing).await?;
    world
        .until("ReplicaSet", "one set of history", |sets| {
            sets.len() == 2 && sets.iter().all(|set| image(set) != "two")
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_get_ready_is_reported_when_the_deadline_is_over() -> anyhow::Result<()> {
    let world = World::new().await?;
    world
        .create(deployment(1, &json!({"progressDeadlineSeconds": 1})))
        .await?;
    let late = world
        .until("Deployment", "the end of the deadline", |all| {
            reason(&all[0], "Progressing") == "ProgressDeadlineExceeded"
        })
        .await?;
    ensure!(reason(&late[0], "Available") == "MinimumReplicasUnavailable");
    let done = world.roll_out("d", nothing).await?;
    ensure!(
        reason(&done, "Progressing") == "NewReplicaSetAvailable",
        "{done}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_scales_but_does_not_roll_out() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.create(deployment(1, &json!({}))).await?;
    world.roll_out("d", nothing).await?;
    let mut patch = with_image("two");
    patch["spec"]["paused"] = json!(true);
    patch["spec"]["replicas"] = json!(3);
    world.patch("Deployment", "d", patch).await?;
    world
        .until("Pod", "three pods", |pods| pods.len() == 3)
        .await?;
    world
        .until("Deployment", "the pause", |all| {
            reason(&all[0], "Progressing") == "DeploymentPaused"
        })
        .await?;
    ensure!(world.list("ReplicaSet").await?.len() == 1);
    world
        .patch("Deployment", "d", json!({"spec": {"paused": false}}))
        .await?;
    world.roll_out("d", nothing).await?;
    for pod in world.pods().await? {
        ensure!(image(&pod) == "two");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_counts_once_it_has_been_ready_long_enough() -> anyhow::Result<()> {
    let world = World::new().await?;
    world
        .create(deployment(1, &json!({"minReadySeconds": 2})))
        .await?;
    world.until("Pod", "a pod", |pods| pods.len() == 1).await?;
    world.mark_all().await?;
    let ready = world
        .until("Deployment", "a ready pod", |all| {
            all[0]["status"]["readyReplicas"] == 1
        })
        .await?;
    ensure!(
        ready[0]["status"].get("availableReplicas").is_none(),
        "{}",
        ready[0]
    );
    world
        .until("Deployment", "an available pod", |all| {
            all[0]["status"]["availableReplicas"] == 1
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_somebody_else_under_the_name_is_gone_around() -> anyhow::Result<()> {
    let world = World::new().await?;
    world.create(deployment(1, &json!({}))).await?;
    world.roll_out("d", nothing).await?;
    let sets = world.list("ReplicaSet").await?;
    let mut foreign = sets[0].clone();
    // The items of the real server's lists do not say what they are.
    foreign["apiVersion"] = json!("apps/v1");
    foreign["kind"] = json!("ReplicaSet");
    let name = foreign["metadata"]["name"].clone();
    world.delete("Deployment", "d").await?;
    // The real server alone collects no garbage; the store may have been faster.
    let _ = world
        .delete("ReplicaSet", name.as_str().unwrap_or_default())
        .await;
    let none = |sets: &[Value]| sets.is_empty();
    world
        .until("ReplicaSet", "the end of the set", none)
        .await?;
    foreign["metadata"] = json!({"name": name});
    foreign["spec"]["replicas"] = json!(0);
    foreign["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    foreign["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    foreign["status"] = json!(null);
    world.create(foreign).await?;
    world.create(deployment(1, &json!({}))).await?;
    let done = world.roll_out("d", nothing).await?;
    ensure!(done["status"]["collisionCount"] == 1, "{done}");
    let sets = world.list("ReplicaSet").await?;
    ensure!(sets.len() == 2, "{} sets", sets.len());
    Ok(())
}
