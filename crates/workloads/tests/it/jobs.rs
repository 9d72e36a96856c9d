//! Jobs and the pods that they try.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::world::{World, reason};

fn job(more: &Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {
        "template": {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
                              "containers": [{"name": "c", "image": "one"}]}}}});
    weir_merge::json_merge_patch(&mut job["spec"], more);
    job
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_so_many_pods_at_a_time_until_enough_have_succeeded() -> anyhow::Result<()> {
    let world = World::new().await?;
    let size = json!({"completions": 3, "parallelism": 2});
    world.create(job(&size)).await?;
    for turn in 1..=3 {
        let running = if turn < 3 { 2 } else { 1 };
        let pods = world
            .until("Pod", "pods that run", |pods| {
                pods.iter().filter(|pod| phase(pod) != "Succeeded").count() == running
            })
            .await?;
        let next = pods.iter().find(|pod| phase(pod) != "Succeeded");
        world
            .finish(next.unwrap_or(&Value::Null), "Succeeded")
            .await?;
        world
            .until("Job", "one more success", |jobs| {
                jobs[0]["status"]["succeeded"] == turn
            })
            .await?;
    }
    let jobs = world
        .until("Job", "its end", |jobs| {
            reason(&jobs[0], "Complete") == "CompletionsReached"
        })
        .await?;
    ensure!(jobs[0]["status"]["completionTime"].is_string());
    ensure!(jobs[0]["status"]["active"].is_null(), "{}", jobs[0]);
    ensure!(world.pods().await?.len() == 3);
    world.delete("Job", "j").await?;
    world.until("Pod", "no pod", <[Value]>::is_empty).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_too_often_ends_with_its_pods() -> anyhow::Result<()> {
    let world = World::new().await?;
    let size = json!({"completions": 2, "parallelism": 2, "backoffLimit": 0});
    world.create(job(&size)).await?;
    let pods = world
        .until("Pod", "two pods", |pods| pods.len() == 2)
        .await?;
    world.finish(&pods[0], "Failed").await?;
    world
        .until("Job", "its end", |jobs| {
            reason(&jobs[0], "Failed") == "BackoffLimitExceeded"
        })
        .await?;
    let left = world
        .until("Pod", "the pod that failed alone", |pods| pods.len() == 1)
        .await?;
    ensure!(phase(&left[0]) == "Failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_has_no_pods_and_an_old_one_goes() -> anyhow::Result<()> {
    let world = World::new().await?;
    let spec = json!({"suspend": true, "ttlSecondsAfterFinished": 0, "completionMode": "Indexed",
                      "completions": 1});
    world.create(job(&spec)).await?;
    world
        .until("Job", "a word of it", |jobs| {
            reason(&jobs[0], "Suspended") == "JobSuspended"
        })
        .await?;
    ensure!(world.pods().await?.is_empty());
    world
        .patch("Job", "j", json!({"spec": {"suspend": false}}))
        .await?;
    let pods = world.until("Pod", "a pod", |pods| pods.len() == 1).await?;
    let index = "batch.kubernetes.io/job-completion-index";
    ensure!(pods[0]["metadata"]["annotations"][index] == "0");
    world.finish(&pods[0], "Succeeded").await?;
    world.until("Job", "no job", <[Value]>::is_empty).await?;
    world.until("Pod", "no pod", <[Value]>::is_empty).await?;
    Ok(())
}
