//! LeaderWorkerSets: groups of pods that live and die together.
//!
//! ```text
//! LeaderWorkerSet N ──▶ leader N-0 ──▶ workers N-0-1, N-0-2 …
//!        │
//!        └──▶ ControllerRevision for each state of the templates that a group is made from
//! ```
//!
//! Arrows are owner references, so that whatever goes takes along what is below it. There are no
//! StatefulSets in between and no names in DNS: workers get the address of their leader. The rules
//! are pure: [`rollout`] for the way between templates, [`health`] for what is made anew, [`member`]
//! for the pods, [`status`] for what is reported.

pub mod health;
pub mod member;
pub mod rollout;
pub mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::lws;

use crate::Error;
use crate::cache::Name;
use crate::controllers::Controllers;
use crate::endpoints::is_ready;
use crate::kinds::{
    Kind, active, controlled_by, deleting, name, namespace, owner, seconds, text, uid,
};
use crate::template;
use health::{BackOff, RestartPolicy};
use rollout::{Step, Wanted};

/// What is remembered of the groups of a set between two pieces of work.
#[derive(Default)]
pub(crate) struct Memory {
    back_offs: HashMap<i64, BackOff>,
    /// Uid of the leader, by group, once all of its workers were made.
    complete: HashMap<i64, String>,
}

/// A group as it is there.
#[derive(Default)]
struct Found {
    leader: Option<Arc<Value>>,
    /// Workers of that leader, by index.
    workers: BTreeMap<i64, Arc<Value>>,
    /// Pods of a leader before, which must go first.
    strays: usize,
}

impl Found {
    fn members(&self) -> impl Iterator<Item = &Value> {
        self.leader
            .iter()
            .chain(self.workers.values())
            .map(AsRef::as_ref)
    }
}

/// The templates of a set, by revision.
struct Records {
    present: String,
    /// Newest first.
    all: Vec<(String, Value)>,
}

impl Records {
    fn get(&self, revision: &str) -> Option<&Value> {
        let mut all = self.all.iter();
        all.find(|(own, _)| own == revision)
            .map(|(_, record)| record)
    }

    /// The revision of which a group is made at an index that is not to be updated yet.
    fn before<'a>(&'a self, groups: &BTreeMap<i64, Found>) -> &'a str {
        let used = |revision: &str| {
            let leaders = groups.values().filter_map(|group| group.leader.as_ref());
            leaders
                .into_iter()
                .any(|leader| revision_of(leader) == revision)
        };
        let mut old = self.all.iter().map(|(revision, _)| revision.as_str());
        old.find(|revision| *revision != self.present && used(revision))
            .unwrap_or(&self.present)
    }
}

fn revision_of(pod: &Value) -> &str {
    pod["metadata"]["labels"][lws::REVISION]
        .as_str()
        .unwrap_or_default()
}

fn index_of(pod: &Value, label: &str) -> Option<i64> {
    pod["metadata"]["labels"][label].as_str()?.parse().ok()
}

impl Controllers {
    /// Brings a LeaderWorkerSet one step further.
    pub(crate) async fn group_set(&mut self, set: &Value) -> Result<Option<u64>, Error> {
        if deleting(set) {
            return Ok(None);
        }
        let records = self.records(set).await?;
        let wanted = Wanted::of(&set["spec"]);
        let groups = self.groups_of(set);
        let step = rollout::step(wanted, &counted(&groups, &records));
        let now = jiff::Timestamp::now().as_second();
        let mut again = None;
        for (index, group) in &groups {
            let Some(leader) = &group.leader else {
                continue;
            };
            let stale = *index >= step.partition && revision_of(leader) != records.present;
            if *index >= step.total || stale || deleting(leader) {
                self.end_group(group).await?;
            } else if let Some(why) = self.broken(set, (*index, group), &records) {
                let memory = self.memory_of(set);
                let back_off = memory.back_offs.entry(*index).or_default();
                let began = seconds(text(leader, "/metadata/creationTimestamp")).unwrap_or(now);
                let left = back_off.left(uid(leader), began, now);
                if left > 0 {
                    again = sooner(again, left);
                    continue;
                }
                self.end_group(group).await?;
                let message = format!("Made group {index} anew: {why}");
                self.tell(set, Kind::GroupSet, ("Normal", "RecreateGroup"), &message)
                    .await;
            } else {
                self.fill_group(set, (*index, group), &records).await?;
            }
        }
        self.add_leaders(set, step, &groups, &records).await?;
        self.forget_records(set, &records).await?;
        let groups = self.groups_of(set);
        let status = status::status(
            &status::Facts {
                set,
                wanted,
                groups: &counted(&groups, &records),
                now,
            },
            &set["status"],
        );
        self.status(Kind::GroupSet, set, status).await?;
        Ok(again)
    }

    fn memory_of(&mut self, set: &Value) -> &mut Memory {
        let key: Name = crate::cache::key(set);
        self.memories.entry(key).or_default()
    }

    /// The groups of a set, by index.
    fn groups_of(&self, set: &Value) -> BTreeMap<i64, Found> {
        let ours = |pod: &&Arc<Value>| pod["metadata"]["labels"][lws::NAME] == name(set);
        let mut groups: BTreeMap<i64, Found> = BTreeMap::new();
        let pods = || self.cache.within(Kind::Pod, namespace(set)).filter(ours);
        for pod in pods().filter(|pod| controlled_by(pod, uid(set))) {
            if let Some(index) = index_of(pod, lws::GROUP_INDEX) {
                groups.entry(index).or_default().leader = Some(Arc::clone(pod));
            }
        }
        for pod in pods().filter(|pod| !controlled_by(pod, uid(set))) {
            let Some(group) = index_of(pod, lws::GROUP_INDEX) else {
                continue;
            };
            let group = groups.entry(group).or_default();
            let leader = group.leader.as_ref();
            match index_of(pod, lws::WORKER_INDEX) {
                Some(index) if leader.is_some_and(|leader| controlled_by(pod, uid(leader))) => {
                    group.workers.insert(index, Arc::clone(pod));
                }
                _ => group.strays += 1,
            }
        }
        groups
    }

    fn broken(
        &mut self,
        set: &Value,
        (index, group): (i64, &Found),
        records: &Records,
    ) -> Option<String> {
        let leader = group.leader.as_ref()?;
        let record = records.get(revision_of(leader))?;
        let after_start = set["metadata"]["annotations"][lws::RECREATE_AFTER_START] == "true";
        // The present policy counts, also for groups that an older template made.
        let policy = RestartPolicy::of(set, after_start);
        let complete = self.memory_of(set).complete.get(&index).map(String::as_str);
        let lost = (complete == Some(uid(leader)))
            .then(|| (1..member::size(record)).find(|index| !group.workers.contains_key(index)))
            .flatten()
            .map(|index| format!("{}-{index}", name(leader)));
        // Whatever the policy is, such a worker will not find the leader.
        let misled = group
            .workers
            .values()
            .find(|worker| health::misled(worker, leader));
        if let Some(worker) = misled {
            return Some(format!("pod {} knows an older address", name(worker)));
        }
        health::broken(policy, &group.members().collect::<Vec<_>>(), lost)
    }

    /// Removes all pods of a group, all at once.
    async fn end_group(&mut self, group: &Found) -> Result<(), Error> {
        for pod in group.leader.iter().chain(group.workers.values()) {
            if !deleting(pod) {
                self.delete(Kind::Pod, pod).await?;
            }
        }
        Ok(())
    }

    /// Ends the workers of a set that is gone together with their leaders. Owner references would end
    /// them too, but only once the leader has used up its grace.
    pub(crate) async fn end_groups_of_none(&mut self, (at, set): &Name) -> Result<(), Error> {
        let pods = || {
            let all = self.cache.within(Kind::Pod, at);
            all.filter(|pod| pod["metadata"]["labels"][lws::NAME] == **set)
        };
        let leaders: BTreeSet<&str> = pods()
            .filter(|pod| deleting(pod))
            .map(|pod| uid(pod))
            .collect();
        let leaves = |pod: &&Arc<Value>| {
            let mut leaders = leaders.iter();
            !deleting(pod) && leaders.any(|leader| controlled_by(pod, leader))
        };
        let workers: Vec<Arc<Value>> = pods().filter(leaves).cloned().collect();
        for worker in workers {
            self.delete(Kind::Pod, &worker).await?;
        }
        Ok(())
    }

    /// Makes the workers of a group that are missing.
    async fn fill_group(
        &mut self,
        set: &Value,
        (index, group): (i64, &Found),
        records: &Records,
    ) -> Result<(), Error> {
        let Some(leader) = &group.leader else {
            return Ok(());
        };
        // Of a policy that keeps the group, only what has ended goes.
        for pod in group.members().filter(|pod| health::has_ended(pod)) {
            if !deleting(pod) {
                self.delete(Kind::Pod, pod).await?;
            }
        }
        let record = records.get(revision_of(leader));
        let ready_first = set["spec"]["startupPolicy"] == "LeaderReady";
        let addressed = !text(leader, "/status/podIP").is_empty();
        let (Some(record), true) = (record, addressed && active(leader)) else {
            return Ok(());
        };
        if group.strays > 0 || (ready_first && !is_ready(leader)) {
            return Ok(());
        }
        let size = member::size(record);
        for worker in 1..size {
            if !group.workers.contains_key(&worker) {
                let pod = member::worker(set, leader, (index, worker), record);
                self.create(Kind::Pod, pod).await?;
            }
        }
        let leader = uid(leader).to_owned();
        self.memory_of(set).complete.insert(index, leader);
        Ok(())
    }

    /// Makes the leaders that are missing, once nothing is left of the group before.
    async fn add_leaders(
        &mut self,
        set: &Value,
        step: Step,
        groups: &BTreeMap<i64, Found>,
        records: &Records,
    ) -> Result<(), Error> {
        for index in 0..step.total {
            let found = groups.get(&index);
            if found.is_some_and(|group| group.leader.is_some() || group.strays > 0) {
                continue;
            }
            let revision = if index >= step.partition {
                &records.present
            } else {
                records.before(groups)
            };
            let Some(record) = records.get(revision) else {
                continue;
            };
            let pod = member::leader(set, index, record, revision);
            self.create(Kind::Pod, pod).await?;
            let message = format!("Created leader pod {}", member::leader_name(set, index));
            self.tell(
                set,
                Kind::GroupSet,
                ("Normal", "GroupsProgressing"),
                &message,
            )
            .await;
        }
        Ok(())
    }

    /// The recorded templates; the present ones are recorded first.
    async fn records(&mut self, set: &Value) -> Result<Records, Error> {
        let record = member::recorded(set);
        let present = template::hash(&record, 0);
        let mut known: Vec<Arc<Value>> = self.revisions_of(set);
        known.sort_by_key(|revision| std::cmp::Reverse(revision["revision"].as_i64()));
        let mut all: Vec<(String, Value)> = known
            .iter()
            .map(|revision| (revision_of(revision).to_owned(), revision["data"].clone()))
            .collect();
        if all.iter().all(|(revision, _)| *revision != present) {
            let newest = known.first().and_then(|newest| newest["revision"].as_i64());
            let revision = json!({
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": format!("{}-{present}", name(set)),
                    "namespace": set["metadata"]["namespace"],
                    "labels": {lws::NAME: name(set), lws::REVISION: present},
                    "ownerReferences": [owner(set, Kind::GroupSet)],
                },
                "revision": newest.unwrap_or(0) + 1,
                "data": record,
            });
            self.create(Kind::Revision, revision).await?;
            all.insert(0, (present.clone(), record));
        }
        Ok(Records { present, all })
    }

    fn revisions_of(&self, set: &Value) -> Vec<Arc<Value>> {
        let all = self.cache.within(Kind::Revision, namespace(set));
        all.filter(|revision| controlled_by(revision, uid(set)) && !deleting(revision))
            .cloned()
            .collect()
    }

    /// Removes records from which no group is made any more.
    async fn forget_records(&mut self, set: &Value, records: &Records) -> Result<(), Error> {
        let groups = self.groups_of(set);
        let leaders = groups.values().filter_map(|group| group.leader.as_ref());
        let used: BTreeSet<&str> = leaders.map(|leader| revision_of(leader)).collect();
        for record in self.revisions_of(set) {
            let revision = revision_of(&record);
            if revision != records.present && !used.contains(revision) {
                self.delete(Kind::Revision, &record).await?;
            }
        }
        Ok(())
    }
}

/// What counts for a roll out, for each index up to the highest that is there.
fn counted(groups: &BTreeMap<i64, Found>, records: &Records) -> Vec<rollout::Group> {
    let highest = groups.keys().next_back().copied().unwrap_or(-1);
    (0..=highest)
        .map(|index| {
            let group = groups.get(&index);
            let Some((group, leader)) =
                group.and_then(|group| Some((group, group.leader.as_ref()?)))
            else {
                return rollout::Group::default();
            };
            let size = records
                .get(revision_of(leader))
                .map_or(i64::MAX, member::size);
            rollout::Group {
                exists: !deleting(leader),
                updated: !deleting(leader) && revision_of(leader) == records.present,
                ready: health::serves(group.members(), size),
            }
        })
        .collect()
}

fn sooner(known: Option<u64>, seconds: i64) -> Option<u64> {
    let seconds = u64::try_from(seconds).unwrap_or(1);
    Some(known.map_or(seconds, |known| known.min(seconds)))
}
