//! The status of a LeaderWorkerSet; types, reasons and texts are upstream's.

use serde_json::{Value, json};
use weir_api::names::lws;

use crate::groups::rollout::{Group, Wanted};
use crate::kinds::{name, written};

/// What the status is made of.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The set.
    pub set: &'a Value,
    /// What it asks for.
    pub wanted: Wanted,
    /// Its groups by index.
    pub groups: &'a [Group],
    /// Seconds since the epoch.
    pub now: i64,
}

/// Returns the status; conditions keep the times of `before` where nothing changed.
pub fn status(facts: &Facts<'_>, before: &Value) -> Value {
    let Facts { set, wanted, .. } = facts;
    let count = |is: &dyn Fn(&Group) -> bool| facts.groups.iter().filter(|group| is(group)).count();
    let at = |index: i64| {
        let index = usize::try_from(index).ok();
        index.and_then(|index| facts.groups.get(index).copied())
    };
    let serving = (0..wanted.groups)
        .filter(|index| at(*index).is_some_and(|group| group.ready))
        .count();
    let updating = (wanted.partition..wanted.groups)
        .any(|index| at(index).is_some_and(|group| group.exists && !group.updated));
    let beyond = count(&|group| group.exists) > usize::try_from(wanted.groups).unwrap_or(0);
    let complete = i64::try_from(serving).is_ok_and(|serving| serving == wanted.groups);
    let available = complete && !updating && !beyond;
    let mut conditions = vec![
        if available {
            facts.condition(
                before,
                "Available",
                true,
                "AllGroupsReady",
                "All replicas are ready",
            )
        } else {
            let message = format!("{serving} of {} replicas are ready", wanted.groups);
            facts.condition(before, "Available", false, "GroupsProgressing", &message)
        },
        if available {
            facts.condition(
                before,
                "Progressing",
                false,
                "AllGroupsReady",
                "All replicas are ready",
            )
        } else {
            facts.condition(
                before,
                "Progressing",
                true,
                "GroupsProgressing",
                "Replicas are progressing",
            )
        },
    ];
    let known = find(before, "UpdateInProgress").is_some();
    if updating || (beyond && known && !available) {
        conditions.push(facts.condition(
            before,
            "UpdateInProgress",
            true,
            "GroupsUpdating",
            "Rolling Upgrade is in progress",
        ));
    } else if known {
        conditions.push(facts.condition(
            before,
            "UpdateInProgress",
            false,
            "GroupsUpdated",
            "Rolling Upgrade is done",
        ));
    }
    json!({
        "replicas": count(&|group| group.exists),
        "readyReplicas": count(&|group| group.exists && group.ready),
        "updatedReplicas": count(&|group| group.updated),
        "hpaPodSelector": format!("{}={},{}=0", lws::NAME, name(set), lws::WORKER_INDEX),
        "conditions": conditions,
    })
}

impl Facts<'_> {
    fn condition(
        &self,
        before: &Value,
        kind: &str,
        holds: bool,
        reason: &str,
        message: &str,
    ) -> Value {
        let status = if holds { "True" } else { "False" };
        let since = find(before, kind)
            .filter(|last| last["status"] == status)
            .map_or_else(
                || json!(written(self.now)),
                |last| last["lastTransitionTime"].clone(),
            );
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "lastTransitionTime": since})
    }
}

fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let list = status["conditions"].as_array()?;
    list.iter().find(|condition| condition["type"] == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(letter: char) -> Group {
        Group {
            exists: letter != '-',
            updated: matches!(letter, 'N' | 'n'),
            ready: matches!(letter, 'N' | 'O'),
        }
    }

    /// `O` old and ready, `o` old, `N` new and ready, `n` new, `-` missing.
    #[test]
    fn conditions() {
        let rows = [
            ("starts", 2, "", "False True ?", (0, 0, 0)),
            ("half", 2, "Nn", "False True ?", (2, 1, 2)),
            ("all", 2, "NN", "True False ?", (2, 2, 2)),
            ("rolls", 2, "ON", "False True True", (2, 2, 1)),
            ("none wanted", 0, "", "True False ?", (0, 0, 0)),
            ("too many", 1, "NN", "False True ?", (2, 2, 2)),
        ];
        let set = json!({"metadata": {"name": "s"}});
        for (row, groups, now, wanted, counts) in rows {
            let facts = Facts {
                set: &set,
                wanted: Wanted {
                    groups,
                    surge: 0,
                    unavailable: 1,
                    partition: 0,
                },
                groups: &now.chars().map(group).collect::<Vec<_>>(),
                now: 0,
            };
            let status = status(&facts, &json!({}));
            let state = |kind| find(&status, kind).map_or("?", |c| c["status"].as_str().unwrap());
            let states = ["Available", "Progressing", "UpdateInProgress"].map(state);
            assert_eq!(states.join(" "), wanted, "{row}");
            let number = |key: &str| status[key].as_i64().unwrap();
            let found = (
                number("replicas"),
                number("readyReplicas"),
                number("updatedReplicas"),
            );
            assert_eq!(found, counts, "{row}");
            let selector =
                "leaderworkerset.sigs.k8s.io/name=s,leaderworkerset.sigs.k8s.io/worker-index=0";
            assert_eq!(status["hpaPodSelector"], selector);
        }
    }

    #[test]
    fn a_condition_keeps_its_time_and_an_update_ends() {
        let set = json!({"metadata": {"name": "s"}});
        let wanted = Wanted {
            groups: 1,
            surge: 0,
            unavailable: 1,
            partition: 0,
        };
        let facts = |groups, now| Facts {
            set: &set,
            wanted,
            groups,
            now,
        };
        let (old, new) = ([group('O')], [group('N')]);
        let first = status(&facts(&old, 0), &json!({}));
        let second = status(&facts(&old, 9), &first);
        assert_eq!(first, second);
        let third = status(&facts(&new, 9), &second);
        let update = find(&third, "UpdateInProgress").unwrap();
        assert_eq!(update["status"], "False");
        assert_eq!(update["lastTransitionTime"], "1970-01-01T00:00:09Z");
    }
}
