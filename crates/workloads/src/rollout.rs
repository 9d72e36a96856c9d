//! How a Deployment moves its pods from old ReplicaSets to the new one, as plain numbers.

use serde_json::Value;

/// One ReplicaSet of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// `spec.replicas`.
    pub wanted: i64,
    /// Pods that exist and are to stay.
    pub existing: i64,
    /// Pods that have not ended, those on their way out included.
    pub lingering: i64,
    /// Pods that are ready.
    pub ready: i64,
    /// Pods that have been ready for `minReadySeconds`.
    pub available: i64,
}

/// Strategy of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All old pods go first.
    Recreate,
    /// At most `surge` pods too many and `unavailable` too few at any time.
    Rolling {
        /// Pods above the wanted number.
        surge: i64,
        /// Pods below the wanted number.
        unavailable: i64,
    },
}

impl Strategy {
    /// Reads `spec.strategy` of a Deployment that wants `replicas` pods; 25 % each by default.
    pub fn of(spec: &Value, replicas: i64) -> Self {
        if spec.pointer("/strategy/type").and_then(Value::as_str) == Some("Recreate") {
            return Self::Recreate;
        }
        let part = |name: &str, up: bool| {
            let value = spec.pointer(&format!("/strategy/rollingUpdate/{name}"));
            match value {
                Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
                Some(Value::String(text)) => share(text, replicas, up),
                _ => share("25%", replicas, up),
            }
        };
        let (surge, unavailable) = (part("maxSurge", true), part("maxUnavailable", false));
        // Both zero would never move; Kubernetes then lets one pod be missing.
        Self::Rolling {
            surge,
            unavailable: if surge == 0 {
                unavailable.max(1)
            } else {
                unavailable
            }
            .min(replicas),
        }
    }

    /// Pods that may be above the wanted number.
    pub fn surge(self) -> i64 {
        match self {
            Self::Recreate => 0,
            Self::Rolling { surge, .. } => surge,
        }
    }

    /// Pods that may be missing.
    pub fn unavailable(self) -> i64 {
        match self {
            Self::Recreate => 0,
            Self::Rolling { unavailable, .. } => unavailable,
        }
    }
}

pub(crate) fn share(text: &str, of: i64, up: bool) -> i64 {
    match text
        .strip_suffix('%')
        .map(|percent| percent.parse::<i64>().unwrap_or(0))
    {
        Some(percent) if up => (of * percent + 99) / 100,
        Some(percent) => of * percent / 100,
        None => text.parse().unwrap_or(0),
    }
}

/// Returns how many pods the new set and each old set, oldest first, should want next.
pub fn step(wanted: i64, strategy: Strategy, new: Set, old: &[Set]) -> (i64, Vec<i64>) {
    let old_wanted: i64 = old.iter().map(|set| set.wanted).sum();
    let keep = || old.iter().map(|set| set.wanted).collect();
    let Strategy::Rolling { surge, unavailable } = strategy else {
        let gone = old_wanted == 0 && old.iter().all(|set| set.lingering == 0);
        let next = if gone { wanted } else { new.wanted.min(wanted) };
        return (next, vec![0; old.len()]);
    };
    let total = new.wanted + old_wanted;
    if new.wanted > wanted {
        return (wanted, keep());
    }
    // A set that is to shrink counts with the pods it still has, so that the surge is never exceeded.
    let held: i64 = old.iter().map(|set| set.wanted.max(set.existing)).sum();
    let room = wanted + surge - (new.wanted.max(new.existing) + held);
    let grown = (new.wanted + room.max(0)).min(wanted);
    if grown != new.wanted {
        return (grown, keep());
    }
    // Pods of the new set that do not serve yet must not be counted on.
    let least = wanted - unavailable;
    let mut may_go = (total - least - (new.wanted - new.available).max(0)).max(0);
    let mut next: Vec<i64> = keep();
    for (next, set) in next.iter_mut().zip(old) {
        let broken = (set.wanted - set.available).clamp(0, may_go);
        *next -= broken;
        may_go -= broken;
    }
    // What a set still has but is to give up is on its way out already.
    let serving = |set: &Set| set.available.min(set.wanted);
    let available = serving(&new) + old.iter().map(serving).sum::<i64>();
    let mut to_spare = (available - least).max(0);
    for next in &mut next {
        let spared = to_spare.min(*next);
        *next -= spared;
        to_spare -= spared;
    }
    (new.wanted, next)
}

/// Spreads `allowed` pods over sets that want `now`, in proportion; the rest goes to the largest.
/// This is what a change of `spec.replicas` does in the middle of a roll out, or while it is paused.
pub fn spread(allowed: i64, now: &[i64]) -> Vec<i64> {
    let total: i64 = now.iter().sum();
    if total == 0 {
        return now.to_vec();
    }
    let mut rest = allowed - total;
    let mut next: Vec<i64> = Vec::with_capacity(now.len());
    for count in now {
        let share = (2 * count * allowed + total) / (2 * total) - count;
        let share = if rest >= 0 {
            share.clamp(0, rest)
        } else {
            share.clamp(rest, 0)
        };
        rest -= share;
        next.push(count + share);
    }
    let mut largest = 0;
    for (index, count) in now.iter().enumerate() {
        if *count > now.get(largest).copied().unwrap_or(0) {
            largest = index;
        }
    }
    if let Some(count) = next.get_mut(largest) {
        *count = (*count + rest).max(0);
    }
    next
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(wanted: i64, available: i64) -> Set {
        Set {
            wanted,
            existing: wanted,
            lingering: wanted,
            ready: available,
            available,
        }
    }

    #[test]
    fn steps() {
        let one_more = Strategy::Rolling {
            surge: 1,
            unavailable: 0,
        };
        let one_less = Strategy::Rolling {
            surge: 0,
            unavailable: 1,
        };
        let leaving = Set {
            lingering: 1,
            ..Set::default()
        };
        let recreate = Strategy::Recreate;
        let leaves_one = Set {
            wanted: 2,
            ..set(3, 3)
        };
        let shrinking = Set {
            wanted: 2,
            ..set(3, 2)
        };
        let rows = [
            ("fresh", 2, one_more, set(0, 0), vec![], (2, vec![])),
            ("scale down", 1, one_more, set(3, 3), vec![], (1, vec![])),
            (
                "more first",
                2,
                one_more,
                set(0, 0),
                vec![set(2, 2)],
                (1, vec![2]),
            ),
            (
                "then less",
                2,
                one_more,
                set(1, 1),
                vec![set(2, 2)],
                (1, vec![1]),
            ),
            (
                "new not ready",
                2,
                one_more,
                set(1, 0),
                vec![set(2, 2)],
                (1, vec![2]),
            ),
            (
                "broken old go",
                2,
                one_more,
                set(1, 1),
                vec![set(2, 1)],
                (1, vec![1]),
            ),
            (
                "none to spare",
                2,
                one_more,
                set(1, 0),
                vec![set(2, 1)],
                (1, vec![2]),
            ),
            (
                "less first",
                3,
                one_less,
                set(0, 0),
                vec![set(3, 3)],
                (0, vec![2]),
            ),
            (
                "then more",
                3,
                one_less,
                set(0, 0),
                vec![set(2, 2)],
                (1, vec![2]),
            ),
            (
                "the shrunk set still holds",
                3,
                one_less,
                set(0, 0),
                vec![shrinking],
                (0, vec![2]),
            ),
            (
                "no second one meanwhile",
                3,
                one_more,
                set(1, 1),
                vec![leaves_one],
                (1, vec![2]),
            ),
            (
                "oldest first",
                3,
                one_less,
                set(1, 1),
                vec![set(1, 1), set(1, 1)],
                (1, vec![0, 1]),
            ),
            (
                "recreate stops",
                2,
                recreate,
                set(0, 0),
                vec![set(2, 2)],
                (0, vec![0]),
            ),
            (
                "recreate waits",
                2,
                recreate,
                set(0, 0),
                vec![leaving],
                (0, vec![0]),
            ),
            (
                "recreate goes on",
                2,
                recreate,
                set(0, 0),
                vec![set(0, 0)],
                (2, vec![0]),
            ),
        ];
        for (row, wanted, strategy, new, old, next) in rows {
            assert_eq!(step(wanted, strategy, new, &old), next, "{row}");
        }
    }

    #[test]
    fn a_quarter_is_rounded_up_for_surge_and_down_for_missing() {
        let rows = [
            (json!({}), 2, (1, 0)),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
                4,
                (0, 1),
            ),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 9}}}),
                3,
                (2, 3),
            ),
        ];
        for (spec, replicas, (surge, unavailable)) in rows {
            let wanted = Strategy::Rolling { surge, unavailable };
            assert_eq!(Strategy::of(&spec, replicas), wanted, "{spec}");
        }
    }

    #[test]
    fn a_change_of_size_is_spread_in_proportion() {
        for (allowed, now, wanted) in [
            (10, vec![5], vec![10]),
            (12, vec![4, 2], vec![8, 4]),
            (3, vec![4, 2], vec![2, 1]),
            (5, vec![2, 1], vec![3, 2]),
            (0, vec![2, 1], vec![0, 0]),
            (4, vec![0, 0], vec![0, 0]),
        ] {
            assert_eq!(spread(allowed, &now), wanted, "{allowed} {now:?}");
        }
    }
}
