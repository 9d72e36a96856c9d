//! Deployments: one ReplicaSet for each pod template, and the way from one to the next.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::Error;
use crate::conditions::{self, Facts};
use crate::controllers::Controllers;
use crate::endpoints::is_ready;
use crate::kinds::{
    Kind, active, controlled_by, deleting, name, namespace, owner, revision, text, uid,
};
use crate::rollout::{self, Set, Strategy};
use crate::{pods, template};

const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its sets do not show.
const NOT_COPIED: [&str; 4] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    DESIRED,
    MAXIMUM,
];

impl Controllers {
    /// Brings a Deployment one step further.
    pub(crate) async fn deployment(&mut self, deployment: &Value) -> Result<Option<u64>, Error> {
        if deleting(deployment) {
            return Ok(None);
        }
        let spec = &deployment["spec"];
        let selector = spec.pointer("/selector/matchLabels");
        self.claim(Kind::ReplicaSet, (deployment, Kind::Deployment), selector)
            .await?;
        let wanted = spec["replicas"].as_i64().unwrap_or(1);
        let strategy = Strategy::of(spec, wanted);
        let paused = spec["paused"] == true;
        let now = jiff::Timestamp::now().as_second();
        let (mut new, old) = self.sets_of(deployment);
        let newest = old.iter().map(|set| revision(set)).max().unwrap_or(0);
        let mut created = false;
        if !paused {
            let at_least = newest + 1;
            match &new {
                Some(set) => {
                    let at = revision(set).max(at_least);
                    new = Some(self.annotate(deployment, set, at).await?);
                }
                None => {
                    new = Some(self.add_set(deployment, at_least).await?);
                    created = true;
                }
            }
        }
        let count = |set: &Value| self.count(set, now);
        let old_counts: Vec<Set> = old.iter().map(|set| count(set)).collect();
        let new_count = new.as_deref().map(count).unwrap_or_default();
        let resized = new.iter().chain(&old).any(|set| is_resized(set, wanted));
        let (new_next, old_next) = if resized || paused {
            resize(
                wanted,
                strategy,
                new.as_ref().map(|_| new_count),
                &old_counts,
            )
        } else {
            rollout::step(wanted, strategy, new_count, &old_counts)
        };
        let most = if wanted > 0 {
            wanted + strategy.surge()
        } else {
            0
        };
        if let Some(set) = &new {
            self.scale(deployment, set, new_next, (wanted, most))
                .await?;
        }
        for (set, next) in old.iter().zip(&old_next) {
            if set["spec"]["replicas"] != *next || *next > 0 {
                self.scale(deployment, set, *next, (wanted, most)).await?;
            }
        }
        if !paused {
            self.forget_history(spec, &old, &old_counts).await?;
        }
        let failure = new
            .as_ref()
            .and_then(|set| set.pointer("/status/conditions/0").cloned())
            .filter(|condition| condition["type"] == "ReplicaFailure");
        let facts = Facts {
            generation: &deployment["metadata"]["generation"],
            wanted,
            strategy,
            paused,
            deadline: spec["progressDeadlineSeconds"].as_i64().unwrap_or(600),
            new: new_count,
            new_name: new.as_deref().map(name).unwrap_or_default(),
            created,
            old: &old_counts,
            failure: failure.as_ref(),
            now,
        };
        let (status, again) = conditions::status(&facts, &deployment["status"]);
        if let Some(set) = &new
            && revision(deployment) != revision(set)
        {
            let patch = json!({"metadata": {"annotations": {REVISION: revision(set).to_string()}}});
            self.patch(Kind::Deployment, deployment, patch).await?;
        }
        self.status(Kind::Deployment, deployment, status).await?;
        Ok(again)
    }

    /// The set of the present template, and all others, oldest first.
    fn sets_of(&self, deployment: &Value) -> (Option<Arc<Value>>, Vec<Arc<Value>>) {
        let mut sets: Vec<Arc<Value>> = self
            .cache
            .within(Kind::ReplicaSet, namespace(deployment))
            .filter(|set| controlled_by(set, uid(deployment)) && !deleting(set))
            .cloned()
            .collect();
        sets.sort_by_cached_key(|set| {
            let made = text(set, "/metadata/creationTimestamp").to_owned();
            (made, name(set).to_owned())
        });
        let wanted = &deployment["spec"]["template"];
        let new = sets
            .iter()
            .position(|set| template::same(&set["spec"]["template"], wanted));
        let new = new.map(|at| sets.remove(at));
        (new, sets)
    }

    fn count(&self, set: &Value, now: i64) -> Set {
        let least = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        let mut count = Set {
            wanted: set["spec"]["replicas"].as_i64().unwrap_or(0),
            ..Set::default()
        };
        for pod in self.pods_of(set) {
            let ended = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed");
            count.lingering += i64::from(!ended);
            if active(&pod) {
                count.existing += 1;
                count.ready += i64::from(is_ready(&pod));
                count.available += i64::from(pods::available(&pod, least, now).is_ok());
            }
        }
        count
    }

    async fn add_set(&mut self, deployment: &Value, revision: u64) -> Result<Arc<Value>, Error> {
        let spec = &deployment["spec"];
        let collisions = deployment["status"]["collisionCount"].as_i64().unwrap_or(0);
        let hash = template::hash(&spec["template"], collisions);
        let mut pod_template = spec["template"].clone();
        pod_template["metadata"]["labels"][template::HASH] = json!(hash);
        let mut selector = spec["selector"].clone();
        selector["matchLabels"][template::HASH] = json!(hash);
        let mut annotations = copied(deployment);
        annotations.insert(REVISION.to_owned(), json!(revision.to_string()));
        let wanted = spec["replicas"].as_i64().unwrap_or(1);
        annotations.insert(DESIRED.to_owned(), json!(wanted.to_string()));
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", name(deployment)),
                "namespace": deployment["metadata"]["namespace"],
                "labels": pod_template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [owner(deployment, Kind::Deployment)],
            },
            "spec": {"replicas": 0, "selector": selector, "template": pod_template,
                     "minReadySeconds": spec["minReadySeconds"].as_i64().unwrap_or(0)},
        });
        let made = self.create(Kind::ReplicaSet, set.clone()).await;
        if matches!(&made, Err(error) if error.is_taken()) {
            let live = self.live(Kind::ReplicaSet, &set).await?;
            if is_own(&live, deployment) {
                // Made before; only the cache did not know. One on its way out must be gone first.
                return if deleting(&live) { made } else { Ok(live) }.map(Arc::new);
            }
            // Another template has the name: the next try adds the count to what is hashed.
            let mut status = deployment["status"].clone();
            status["collisionCount"] = json!(collisions + 1);
            self.status(Kind::Deployment, deployment, status).await?;
        }
        made.map(Arc::new)
    }

    /// Brings annotations and `minReadySeconds` of the present set up to date.
    async fn annotate(
        &mut self,
        deployment: &Value,
        set: &Arc<Value>,
        revision: u64,
    ) -> Result<Arc<Value>, Error> {
        let mut annotations = copied(deployment);
        annotations.insert(REVISION.to_owned(), json!(revision.to_string()));
        let present = &set["metadata"]["annotations"];
        annotations.retain(|key, value| present.get(key.as_str()) != Some(value));
        let least = deployment["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        let same = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0) == least;
        if annotations.is_empty() && same {
            return Ok(Arc::clone(set));
        }
        let patch =
            json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": least}});
        let made = self.patch(Kind::ReplicaSet, set, patch).await?;
        Ok(Arc::new(made))
    }

    async fn scale(
        &mut self,
        deployment: &Value,
        set: &Value,
        to: i64,
        (desired, most): (i64, i64),
    ) -> Result<(), Error> {
        let from = set["spec"]["replicas"].as_i64().unwrap_or(0);
        let shown = |key: &str| {
            set["metadata"]["annotations"][key]
                .as_str()
                .unwrap_or_default()
        };
        let (desired, most) = (desired.to_string(), most.to_string());
        if from == to && shown(DESIRED) == desired && shown(MAXIMUM) == most {
            return Ok(());
        }
        let patch = json!({"metadata": {"annotations": {DESIRED: desired, MAXIMUM: most}},
                           "spec": {"replicas": to}});
        self.patch(Kind::ReplicaSet, set, patch).await?;
        if from != to {
            let direction = if to > from { "up" } else { "down" };
            let message = format!(
                "Scaled {direction} replica set {} from {from} to {to}",
                name(set)
            );
            self.tell(
                deployment,
                Kind::Deployment,
                ("Normal", "ScalingReplicaSet"),
                &message,
            )
            .await;
        }
        Ok(())
    }

    /// Removes sets beyond the history limit once they have no pods.
    async fn forget_history(
        &mut self,
        spec: &Value,
        old: &[Arc<Value>],
        counts: &[Set],
    ) -> Result<(), Error> {
        let keep =
            usize::try_from(spec["revisionHistoryLimit"].as_i64().unwrap_or(10)).unwrap_or(10);
        let mut idle: Vec<&Arc<Value>> = old
            .iter()
            .zip(counts)
            .filter(|(set, count)| {
                let reported = set["status"]["replicas"].as_i64().unwrap_or(0);
                count.wanted == 0 && count.lingering == 0 && reported == 0
            })
            .map(|(set, _)| set)
            .collect();
        idle.sort_by_key(|set| Reverse(revision(set)));
        for set in idle.iter().skip(keep) {
            self.delete(Kind::ReplicaSet, set).await?;
        }
        Ok(())
    }
}

/// Whether a set is that of the Deployment's present template.
fn is_own(set: &Value, deployment: &Value) -> bool {
    let template = |object: &Value| object["spec"]["template"].clone();
    controlled_by(set, uid(deployment)) && template::same(&template(set), &template(deployment))
}

fn copied(deployment: &Value) -> Map<String, Value> {
    let all = deployment.pointer("/metadata/annotations");
    all.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether `spec.replicas` of the Deployment has changed since a set with pods was last scaled.
fn is_resized(set: &Value, wanted: i64) -> bool {
    let scaled = text(
        set,
        "/metadata/annotations/deployment.kubernetes.io~1desired-replicas",
    );
    set["spec"]["replicas"].as_i64().unwrap_or(0) > 0
        && scaled.parse::<i64>().is_ok_and(|scaled| scaled != wanted)
}

/// Gives each set its part of a changed size, without moving pods from one set to another.
fn resize(wanted: i64, strategy: Strategy, new: Option<Set>, old: &[Set]) -> (i64, Vec<i64>) {
    let mut now: Vec<i64> = new.iter().chain(old).map(|set| set.wanted).collect();
    let with_pods = now.iter().filter(|count| **count > 0).count();
    if with_pods <= 1 {
        // The only one with pods follows; without any it is the new one, else the latest.
        let only = now.iter().position(|count| *count > 0);
        let latest = if new.is_some() {
            0
        } else {
            now.len().saturating_sub(1)
        };
        if let Some(count) = now.get_mut(only.unwrap_or(latest)) {
            *count = wanted;
        }
    } else {
        let most = if wanted > 0 {
            wanted + strategy.surge()
        } else {
            0
        };
        now = rollout::spread(most, &now);
    }
    match new {
        Some(_) => (now.remove(0), now),
        None => (0, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(wanted: i64) -> Set {
        Set {
            wanted,
            ..Set::default()
        }
    }

    #[test]
    fn a_name_is_taken_by_another_owner_or_template_only() {
        let template = |image: &str| json!({"spec": {"containers": [{"image": image}]}});
        let deployment = json!({"metadata": {"uid": "u"}, "spec": {"template": template("a")}});
        let set = |owner: &str, image: &str| {
            let owners = json!([{"uid": owner, "controller": true}]);
            let mut template = template(image);
            template["metadata"] = json!({"labels": {"pod-template-hash": "x"}});
            json!({"metadata": {"ownerReferences": owners}, "spec": {"template": template}})
        };
        for (owner, image, wanted) in [("u", "a", true), ("u", "b", false), ("v", "a", false)] {
            assert_eq!(
                is_own(&set(owner, image), &deployment),
                wanted,
                "{owner} {image}"
            );
        }
    }

    #[test]
    fn sizes_follow_without_a_roll_out() {
        let rolling = Strategy::Rolling {
            surge: 1,
            unavailable: 0,
        };
        let rows = [
            ("only the new", 5, Some(set(2)), vec![set(0)], (5, vec![0])),
            ("only an old", 5, Some(set(0)), vec![set(2)], (0, vec![5])),
            ("paused before the first set", 3, None, vec![], (0, vec![])),
            ("none has pods", 3, Some(set(0)), vec![set(0)], (3, vec![0])),
            ("both", 5, Some(set(1)), vec![set(2)], (2, vec![4])),
            ("to nothing", 0, Some(set(1)), vec![set(2)], (0, vec![0])),
        ];
        for (row, wanted, new, old, next) in rows {
            assert_eq!(resize(wanted, rolling, new, &old), next, "{row}");
        }
    }
}
