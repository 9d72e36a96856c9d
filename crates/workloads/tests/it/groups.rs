//! LeaderWorkerSets and their groups of pods.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use weir_api::names::lws;

use crate::world::{World, image, is_ready, reason};

const KIND: &str = "LeaderWorkerSet";

/// A set `s` whose pods go at once when deleted.
fn set(groups: i64, size: i64, more: &Value) -> Value {
    let template = |image: &str| {
        json!({"spec": {"terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "c", "image": image}]}})
    };
    let mut set = json!({
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": KIND, "metadata": {"name": "s"},
        "spec": {"replicas": groups, "leaderWorkerTemplate": {
            "size": size, "leaderTemplate": template("one"), "workerTemplate": template("one")}},
    });
    weir_merge::json_merge_patch(&mut set["spec"], more);
    set
}

fn with_image(image: &str) -> Value {
    let template = json!({"spec": {"terminationGracePeriodSeconds": 0,
                                   "containers": [{"name": "c", "image": image}]}});
    json!({"spec": {"leaderWorkerTemplate": {"leaderTemplate": template, "workerTemplate": template}}})
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn names(pods: &[Value]) -> BTreeSet<&str> {
    pods.iter().map(name).collect()
}

fn uids(pods: &[Value]) -> BTreeSet<String> {
    let uid = |pod: &Value| pod["metadata"]["uid"].to_string();
    pods.iter().map(uid).collect()
}

fn label<'a>(pod: &'a Value, key: &str) -> &'a str {
    pod["metadata"]["labels"][key].as_str().unwrap_or_default()
}

/// Groups of which every pod is there and ready.
fn serving(pods: &[Value], size: usize) -> usize {
    let groups: BTreeSet<&str> = pods
        .iter()
        .map(|pod| label(pod, lws::GROUP_INDEX))
        .collect();
    let ready = |group: &&str| {
        let own = pods
            .iter()
            .filter(|pod| label(pod, lws::GROUP_INDEX) == *group);
        own.filter(|pod| is_ready(pod)).count() == size
    };
    groups.iter().filter(|group| ready(group)).count()
}

impl World {
    /// Plays the node until the set is available and of one image; `check` sees the pods at each look.
    async fn settle(
        &self,
        image_wanted: &str,
        check: impl Fn(&[Value]) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Value>> {
        for _ in 0..3000 {
            let pods = self.pods().await?;
            check(&pods)?;
            let set = self.get(KIND, "s").await?;
            let done = reason(&set, "Available") == "AllGroupsReady"
                && pods
                    .iter()
                    .all(|pod| image(pod) == image_wanted && is_ready(pod));
            let groups = set["spec"]["replicas"].as_u64().unwrap_or(0);
            let size = set["spec"]["leaderWorkerTemplate"]["size"]
                .as_u64()
                .unwrap_or(1);
            // A status that is older than the last change of size says nothing.
            let counted = ["replicas", "readyReplicas", "updatedReplicas"]
                .iter()
                .all(|key| set["status"][*key] == groups);
            if done && counted && pods.len() as u64 == groups * size {
                return Ok(pods);
            }
            self.mark_all().await?;
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        anyhow::bail!("not settled: {:#}", self.get(KIND, "s").await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_group_has_a_leader_and_workers_that_know_its_address() -> anyhow::Result<()> {
    let world = World::with_definitions().await?;
    world.create(set(2, 3, &json!({}))).await?;
    let pods = world.settle("one", |_| Ok(())).await?;
    let expected = ["s-0", "s-0-1", "s-0-2", "s-1", "s-1-1", "s-1-2"];
    ensure!(names(&pods) == expected.into(), "{:?}", names(&pods));
    let of = |wanted: &str| pods.iter().find(|pod| name(pod) == wanted);
    let (leader, worker) = (
        of("s-1").context("no s-1")?,
        of("s-1-2").context("no s-1-2")?,
    );
    let env = |pod: &Value, key: &str| -> Value {
        let all = pod["spec"]["containers"][0]["env"].as_array().cloned();
        let mut all = all.unwrap_or_default().into_iter();
        all.find(|entry| entry["name"] == key).unwrap_or_default()
    };
    let address = &env(worker, lws::LEADER_ADDRESS_ENV)["value"];
    ensure!(*address == leader["status"]["podIP"], "{address}");
    ensure!(
        env(leader, lws::LEADER_ADDRESS_ENV)["valueFrom"]["fieldRef"]["fieldPath"]
            == "status.podIP"
    );
    ensure!(env(worker, lws::WORKER_INDEX_ENV)["value"] == "2");
    ensure!(env(worker, lws::GROUP_SIZE_ENV)["value"] == "3");
    ensure!(label(worker, lws::GROUP_KEY) == label(leader, lws::GROUP_KEY));
    let found = world.get(KIND, "s").await?;
    for key in ["replicas", "readyReplicas", "updatedReplicas"] {
        ensure!(found["status"][key] == 2, "{found:#}");
    }
    // What the set owns goes with it.
    world.delete(KIND, "s").await?;
    world.until("Pod", "no pod", <[Value]>::is_empty).await?;
    world
        .until("ControllerRevision", "no revision", <[Value]>::is_empty)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_wait_for_a_leader_that_is_ready_where_that_is_asked_for() -> anyhow::Result<()> {
    let world = World::with_definitions().await?;
    let policy = json!({"startupPolicy": "LeaderReady"});
    world.create(set(1, 2, &policy)).await?;
    let pods = world
        .until("Pod", "a leader", |pods| pods.len() == 1)
        .await?;
    world.mark(&pods[0], false, 7).await?;
    world
        .until(KIND, "a status", |sets| sets[0]["status"]["replicas"] == 1)
        .await?;
    ensure!(world.pods().await?.len() == 1);
    world.mark(&pods[0], true, 7).await?;
    world
        .until("Pod", "a worker", |pods| pods.len() == 2)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_in_a_group_the_whole_group_is_made_anew_and_no_other() -> anyhow::Result<()>
{
    let world = World::with_definitions().await?;
    world.create(set(2, 2, &json!({}))).await?;
    let mut before = world.settle("one", |_| Ok(())).await?;
    // Each group once: a second time in a row would have to wait.
    for (dies, group) in [("s-0-1", "0"), ("s-1", "1")] {
        world.delete("Pod", dies).await?;
        let old = uids(&before);
        let anew = |pod: &Value| !old.contains(&pod["metadata"]["uid"].to_string());
        world
            .until("Pod", "a new leader", |pods| {
                let mut own = pods
                    .iter()
                    .filter(|pod| label(pod, lws::GROUP_INDEX) == group);
                own.clone().next().is_some() && own.all(anew)
            })
            .await?;
        let after = world.settle("one", |_| Ok(())).await?;
        let kept: BTreeSet<String> = uids(&after).intersection(&old).cloned().collect();
        ensure!(kept.len() == 2, "{dies}: {} pods stayed", kept.len());
        before = after;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_container_counts_and_the_policy_none_keeps_the_group() -> anyhow::Result<()> {
    let world = World::with_definitions().await?;
    world.create(set(1, 2, &json!({}))).await?;
    let before = uids(&world.settle("one", |_| Ok(())).await?);
    world.restarted("s-0-1").await?;
    world
        .until("Pod", "a new leader", |pods| {
            pods.iter().any(|pod| name(pod) == "s-0") && uids(pods).is_disjoint(&before)
        })
        .await?;
    let policy = json!({"spec": {"leaderWorkerTemplate": {"restartPolicy": "None"}}});
    world.patch(KIND, "s", policy).await?;
    let before = uids(&world.settle("one", |_| Ok(())).await?);
    world.restarted("s-0-1").await?;
    world.delete("Pod", "s-0-1").await?;
    let after = world.settle("one", |_| Ok(())).await?;
    ensure!(uids(&after).intersection(&before).count() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_goes_from_the_last_group_to_the_first_within_its_bounds() -> anyhow::Result<()>
{
    for (surge, unavailable) in [(0, 1), (1, 0)] {
        let world = World::with_definitions().await?;
        let roll = json!({"rolloutStrategy": {"rollingUpdateConfiguration":
            {"maxSurge": surge, "maxUnavailable": unavailable}}});
        world.create(set(3, 2, &roll)).await?;
        world.settle("one", |_| Ok(())).await?;
        world.patch(KIND, "s", with_image("two")).await?;
        let check = |pods: &[Value]| {
            let least = 3 - usize::try_from(unavailable)?;
            ensure!(serving(pods, 2) >= least, "{:?}", names(pods));
            ensure!(pods.len() <= 2 * (3 + usize::try_from(surge)?));
            // No group is of two minds.
            let minds = |pod: &Value| {
                (
                    label(pod, lws::GROUP_INDEX).to_owned(),
                    image(pod).to_owned(),
                )
            };
            let all: BTreeSet<_> = pods.iter().map(minds).collect();
            let groups: BTreeSet<_> = all.iter().map(|(group, _)| group).collect();
            ensure!(all.len() == groups.len(), "{all:?}");
            Ok(())
        };
        world.settle("two", check).await?;
        let left = world
            .until("ControllerRevision", "one revision", |all| all.len() == 1)
            .await?;
        ensure!(left[0]["revision"] == 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_groups_follows_and_an_idle_set_is_left_alone() -> anyhow::Result<()> {
    let world = World::with_definitions().await?;
    world.create(set(1, 2, &json!({}))).await?;
    let first = uids(&world.settle("one", |_| Ok(())).await?);
    world
        .patch(KIND, "s", json!({"spec": {"replicas": 3}}))
        .await?;
    let more = world.settle("one", |_| Ok(())).await?;
    ensure!(uids(&more).is_superset(&first));
    world
        .patch(KIND, "s", json!({"spec": {"replicas": 1}}))
        .await?;
    let less = world.settle("one", |_| Ok(())).await?;
    ensure!(uids(&less) == first, "{:?}", names(&less));
    let version = |set: Value| set["metadata"]["resourceVersion"].clone();
    let before = version(world.get(KIND, "s").await?);
    // An annotation that nobody reads wakes the controller, which finds nothing to do.
    world
        .patch(
            "Pod",
            "s-0",
            json!({"metadata": {"annotations": {"a": "b"}}}),
        )
        .await?;
    let mut other = set(0, 1, &json!({}));
    other["metadata"]["name"] = json!("other");
    world.create(other).await?;
    world
        .until(KIND, "the other set", |sets| {
            sets.iter()
                .any(|set| name(set) == "other" && reason(set, "Available") == "AllGroupsReady")
        })
        .await?;
    ensure!(version(world.get(KIND, "s").await?) == before);
    Ok(())
}
