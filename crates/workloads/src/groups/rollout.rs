//! How the groups of a LeaderWorkerSet move from one template to the next, as plain numbers.
//!
//! Groups are brought up to date from the highest index down. Beyond the wanted number there may be
//! `surge` more while fewer than wanted would serve; they have the highest indices, so that they come
//! first and are given up last.

use serde_json::Value;

use crate::rollout::share;

/// What a set asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `spec.replicas`.
    pub groups: i64,
    /// Groups that may exist beyond them during a roll out.
    pub surge: i64,
    /// Groups that may be missing during a roll out.
    pub unavailable: i64,
    /// Groups below this index stay as they are.
    pub partition: i64,
}

/// What is known of the group of one index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Whether its leader is there and stays.
    pub exists: bool,
    /// Whether it was made from the present templates.
    pub updated: bool,
    /// Whether all of its pods are there and ready.
    pub ready: bool,
}

impl Group {
    fn done(self) -> bool {
        self.updated && self.ready
    }
}

/// What should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Groups 0 to `total` - 1 exist.
    pub total: i64,
    /// Those from here on are of the present templates.
    pub partition: i64,
}

impl Wanted {
    /// Reads the spec of a set, with upstream's defaults: one group may be missing, none is too many.
    pub fn of(spec: &Value) -> Self {
        let groups = spec["replicas"].as_i64().unwrap_or(1).max(0);
        let roll = &spec["rolloutStrategy"]["rollingUpdateConfiguration"];
        let part = |name: &str, up: bool, default: i64| match &roll[name] {
            Value::Number(number) => number.as_i64().unwrap_or(default),
            Value::String(text) => share(text, groups, up),
            _ => default,
        };
        let surge = part("maxSurge", true, 0).clamp(0, groups);
        let unavailable = part("maxUnavailable", false, 1).clamp(0, groups.max(1));
        Self {
            groups,
            surge,
            // Both zero would never move.
            unavailable: if surge == 0 {
                unavailable.max(1)
            } else {
                unavailable
            },
            partition: part("partition", false, 0).clamp(0, groups),
        }
    }
}

/// What should be next, from the groups that are there by index.
pub fn step(wanted: Wanted, groups: &[Group]) -> Step {
    let at = |index: i64| {
        usize::try_from(index)
            .ok()
            .and_then(|index| groups.get(index).copied())
            .unwrap_or_default()
    };
    let to_update: Vec<Group> = (wanted.partition..wanted.groups).map(at).collect();
    let stale = |group: &Group| group.exists && !group.updated;
    let rolls = to_update.iter().any(stale);
    let missing = count(to_update.iter().filter(|group| !group.done()));
    let beyond = wanted.groups..i64::try_from(groups.len()).unwrap_or(i64::MAX);
    let surging = beyond.clone().filter(|index| at(*index).updated).count();
    // Once begun, the surge stays until what is missing may be missing.
    let surge = if rolls || surging > 0 {
        wanted.surge.min((missing - wanted.unavailable).max(0))
    } else {
        0
    };
    let total = wanted.groups + surge;
    let done_from_the_end = (0..total)
        .rev()
        .take_while(|index| at(*index).done())
        .count();
    let done = i64::try_from(done_from_the_end).unwrap_or(total);
    let next = total - done - (wanted.unavailable + surge);
    // What is new already stays so.
    let lowest = (wanted.partition..total).find(|index| at(*index).updated);
    let partition = next
        .min(lowest.unwrap_or(total))
        .max(wanted.partition)
        .min(wanted.groups);
    Step {
        total,
        // Without anything old, everything made is new.
        partition: if rolls { partition } else { wanted.partition },
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn groups(letters: &str) -> Vec<Group> {
        letters
            .chars()
            .map(|letter| Group {
                exists: letter != '-',
                updated: matches!(letter, 'N' | 'n'),
                ready: matches!(letter, 'N' | 'O'),
            })
            .collect()
    }

    /// `O` old and ready, `o` old, `N` new and ready, `n` new, `-` missing.
    #[test]
    fn steps() {
        let rows = [
            // The walk through a roll out in upstream's documentation.
            ("starts", (4, 2, 2, 0), "OOOO", (6, 2)),
            ("surges", (4, 2, 2, 0), "OOnnnn", (6, 2)),
            ("waits for the last", (4, 2, 2, 0), "OOnnNn", (6, 2)),
            ("goes on", (4, 2, 2, 0), "OOnnNN", (6, 0)),
            ("the last ones", (4, 2, 2, 0), "nnnnNN", (6, 0)),
            ("gives the surge up", (4, 2, 2, 0), "nnNNNN", (4, 0)),
            ("is done", (4, 2, 2, 0), "NNNN", (4, 0)),
            // One at a time.
            ("first", (3, 0, 1, 0), "OOO", (3, 2)),
            ("being replaced", (3, 0, 1, 0), "OO-", (3, 2)),
            ("not ready", (3, 0, 1, 0), "OOn", (3, 2)),
            ("second", (3, 0, 1, 0), "OON", (3, 1)),
            ("fresh", (2, 1, 1, 0), "", (2, 0)),
            ("fresh and not ready", (2, 1, 1, 0), "nn", (2, 0)),
            ("partition", (4, 0, 1, 2), "OOOO", (4, 3)),
            ("partition reached", (4, 0, 1, 2), "OONN", (4, 2)),
            ("a broken new one stays new", (3, 0, 1, 0), "Onn", (3, 1)),
            ("scale down", (1, 0, 1, 0), "NNN", (1, 0)),
            ("none", (0, 0, 1, 0), "OO", (0, 0)),
        ];
        for (row, (groups_wanted, surge, unavailable, partition), now, (total, next)) in rows {
            let wanted = Wanted {
                groups: groups_wanted,
                surge,
                unavailable,
                partition,
            };
            let found = step(wanted, &groups(now));
            assert_eq!(
                found,
                Step {
                    total,
                    partition: next
                },
                "{row}"
            );
        }
    }

    /// Whatever order groups become ready in, a roll out ends, with never too few that serve.
    #[test]
    fn every_roll_out_ends() {
        for size in 1..6 {
            for surge in 0..=size {
                for unavailable in 0..=size {
                    let roll = json!({"maxSurge": surge, "maxUnavailable": unavailable});
                    let spec = json!({"replicas": size,
                                      "rolloutStrategy": {"rollingUpdateConfiguration": roll}});
                    let wanted = Wanted::of(&spec);
                    let mut now = groups(&"O".repeat(usize::try_from(size).unwrap()));
                    for turn in 0..100 {
                        let next = step(wanted, &now);
                        now.resize(usize::try_from(next.total).unwrap(), Group::default());
                        for (index, group) in now.iter_mut().enumerate() {
                            let new = i64::try_from(index).unwrap() >= next.partition;
                            if new && !group.updated {
                                *group = groups("n")[0];
                            }
                        }
                        let serving = count(now.iter().filter(|group| group.ready));
                        let least = size - wanted.unavailable;
                        assert!(serving >= least, "{wanted:?} {now:?}");
                        let waits: Vec<usize> = (0..now.len()).filter(|i| !now[*i].ready).collect();
                        if let Some(first) = waits.get(turn % waits.len().max(1)) {
                            now[*first].ready = true;
                        }
                    }
                    assert!(now.iter().all(|group| group.done()), "{wanted:?} {now:?}");
                    assert_eq!(count(now.iter()), size, "{wanted:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_and_shares() {
        let rows = [
            (json!({}), (1, 0, 1, 0)),
            (
                json!({"replicas": 4, "rolloutStrategy": {"rollingUpdateConfiguration":
                    {"maxSurge": "30%", "maxUnavailable": "30%", "partition": 9}}}),
                (4, 2, 1, 4),
            ),
            (
                json!({"replicas": 2, "rolloutStrategy": {"rollingUpdateConfiguration":
                    {"maxSurge": 0, "maxUnavailable": 0}}}),
                (2, 0, 1, 0),
            ),
        ];
        for (spec, (groups, surge, unavailable, partition)) in rows {
            let wanted = Wanted {
                groups,
                surge,
                unavailable,
                partition,
            };
            assert_eq!(Wanted::of(&spec), wanted, "{spec}");
        }
    }
}
