//! What a group is from its pods: whether it serves, whether something in it broke, and when a broken
//! one is made anew.

use serde_json::Value;
use weir_api::names::{NODE_STOPPED, lws};

use crate::endpoints::is_ready;
use crate::kinds::{deleting, name, text};

/// What the death of a pod or container does to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// The whole group is made anew.
    Recreate,
    /// The whole group is made anew once all of its pods have started.
    RecreateAfterStart,
    /// Only the pod is.
    None,
}

impl RestartPolicy {
    /// Reads the policy of a set; `after_start` is its annotation of the same meaning.
    pub fn of(set: &Value, after_start: bool) -> Self {
        match text(set, "/spec/leaderWorkerTemplate/restartPolicy") {
            "None" | "Default" => Self::None,
            "RecreateGroupAfterStart" => Self::RecreateAfterStart,
            _ if after_start => Self::RecreateAfterStart,
            _ => Self::Recreate,
        }
    }
}

/// Returns what broke in a group that is to be made anew, or nothing. `lost` is a worker that was
/// there once and is not any more.
pub fn broken(policy: RestartPolicy, members: &[&Value], lost: Option<String>) -> Option<String> {
    if policy == RestartPolicy::None {
        return None;
    }
    let starts = |pod: &&Value| !deleting(pod) && text(pod, "/status/phase") == "Pending";
    if policy == RestartPolicy::RecreateAfterStart && members.iter().any(starts) {
        return None;
    }
    let found = members.iter().find_map(|pod| {
        let name = name(pod);
        if deleting(pod) {
            return Some(format!("pod {name} is deleted"));
        }
        if has_ended(pod) {
            return Some(format!("pod {name} has ended"));
        }
        let container = restarted(pod)?;
        Some(format!("container {container} of pod {name} restarted"))
    });
    found.or_else(|| lost.map(|name| format!("pod {name} is gone")))
}

/// Whether a pod will not run any more.
pub fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// A container of the pod that was started again. When the node itself was, all pods of the group
/// began anew together, which is all that making it anew is for.
fn restarted(pod: &Value) -> Option<&str> {
    ["initContainerStatuses", "containerStatuses"]
        .iter()
        .flat_map(|list| pod["status"][*list].as_array().into_iter().flatten())
        .filter(|status| status["restartCount"].as_i64().unwrap_or(0) > 0)
        .find(|status| text(status, "/lastState/terminated/reason") != NODE_STOPPED)
        .and_then(|status| status["name"].as_str())
}

/// Whether a worker was told another address of its leader than the present one.
pub fn misled(worker: &Value, leader: &Value) -> bool {
    let told = worker["metadata"]["annotations"][lws::LEADER_ADDRESS].as_str();
    let present = text(leader, "/status/podIP");
    told.is_some_and(|told| !present.is_empty() && told != present)
}

/// Whether a group of `size` serves: leader and workers are there, ready and to stay.
pub fn serves<'a>(members: impl Iterator<Item = &'a Value>, size: i64) -> bool {
    let ready = members
        .filter(|pod| is_ready(pod) && !deleting(pod))
        .count();
    i64::try_from(ready).is_ok_and(|ready| ready >= size)
}

/// When a group that breaks again and again is made anew: at first at once, then after 10 s, doubling
/// to 5 min; forgotten after 10 min without harm. These are the waits between a container's restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    next: i64,
    /// The group that broke last, and when it is its turn.
    due: Option<(String, i64)>,
}

const FIRST: i64 = 10;
const LONGEST: i64 = 300;
const FORGET: i64 = 600;

impl BackOff {
    /// Seconds to wait until the group of the leader `uid`, which began at `began`, is made anew.
    pub fn left(&mut self, uid: &str, began: i64, now: i64) -> i64 {
        if let Some((known, due)) = &self.due
            && known == uid
        {
            return (due - now).max(0);
        }
        if now - began >= FORGET {
            self.next = 0;
        }
        let wait = self.next;
        self.due = Some((uid.to_owned(), now + wait));
        self.next = if wait == 0 {
            FIRST
        } else {
            (wait * 2).min(LONGEST)
        };
        wait
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, restarts: i64, deleting: bool) -> Value {
        let mut pod = json!({"metadata": {"name": name}, "status": {"phase": phase,
            "containerStatuses": [{"name": "c", "restartCount": restarts}]}});
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        pod
    }

    #[test]
    fn what_breaks_a_group() {
        use RestartPolicy::{None as Nothing, Recreate, RecreateAfterStart};
        let well = || pod("l", "Running", 0, false);
        let rows = [
            ("well", Recreate, vec![well()], None, None),
            (
                "restarted",
                Recreate,
                vec![well(), pod("w", "Running", 1, false)],
                None,
                Some("container c of pod w restarted"),
            ),
            (
                "restarted, and nobody cares",
                Nothing,
                vec![pod("w", "Running", 1, false)],
                None,
                None,
            ),
            (
                "deleted",
                Recreate,
                vec![well(), pod("w", "Running", 0, true)],
                None,
                Some("pod w is deleted"),
            ),
            (
                "ended",
                Recreate,
                vec![pod("w", "Failed", 0, false)],
                None,
                Some("pod w has ended"),
            ),
            (
                "lost",
                Recreate,
                vec![well()],
                Some("w".to_owned()),
                Some("pod w is gone"),
            ),
            (
                "another still starts",
                RecreateAfterStart,
                vec![pod("l", "Pending", 0, false), pod("w", "Running", 1, false)],
                None,
                None,
            ),
            (
                "all have started",
                RecreateAfterStart,
                vec![well(), pod("w", "Running", 1, false)],
                None,
                Some("container c of pod w restarted"),
            ),
        ];
        for (row, policy, members, lost, wanted) in rows {
            let members: Vec<&Value> = members.iter().collect();
            let found = broken(policy, &members, lost);
            assert_eq!(found.as_deref(), wanted, "{row}");
        }
    }

    #[test]
    fn a_node_that_was_stopped_breaks_nothing_unless_addresses_change() {
        let mut pod = pod("l", "Running", 1, false);
        let status = &mut pod["status"]["containerStatuses"][0];
        status["lastState"] = json!({"terminated": {"reason": NODE_STOPPED}});
        assert_eq!(broken(RestartPolicy::Recreate, &[&pod], None), None);
        let leader = |ip: &str| json!({"status": {"podIP": ip}});
        let worker = json!({"metadata": {"annotations": {lws::LEADER_ADDRESS: "127.70.1.1"}}});
        for (ip, wanted) in [("127.70.1.1", false), ("127.71.1.1", true), ("", false)] {
            assert_eq!(misled(&worker, &leader(ip)), wanted, "{ip}");
        }
    }

    #[test]
    fn the_waits_double() {
        let mut back_off = BackOff::default();
        let waits: Vec<i64> = (0..8)
            .map(|turn| back_off.left(&turn.to_string(), 0, 1))
            .collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        // The same group keeps its time.
        assert_eq!(back_off.left("7", 0, 101), 200);
        assert_eq!(back_off.left("7", 0, 999), 0);
        // One that ran for long is forgiven.
        assert_eq!(back_off.left("8", 1000, 1600), 0);
    }
}
