//! How a Deployment moves its pods from old ReplicaSets to the new one, as plain numbers.

use serde_json::Value;

/// One ReplicaSet of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// `spec.replicas`.
    pub wanted: i64,
    /// Pods that exist.
    pub existing: i64,
    /// Pods that are ready.
    pub ready: i64,
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
            },
        }
    }
}

fn share(text: &str, of: i64, up: bool) -> i64 {
    match text
        .strip_suffix('%')
        .map(|percent| percent.parse::<i64>().unwrap_or(0))
    {
        Some(percent) if up => (of * percent + 99) / 100,
        Some(percent) => of * percent / 100,
        None => text.parse().unwrap_or(0),
    }
}

/// Returns how many pods the new set and each old set should want next.
pub fn step(wanted: i64, strategy: Strategy, new: Set, old: &[Set]) -> (i64, Vec<i64>) {
    let old_existing: i64 = old.iter().map(|set| set.existing).sum();
    let old_wanted: i64 = old.iter().map(|set| set.wanted).sum();
    let (surge, unavailable) = match strategy {
        Strategy::Recreate => {
            let next = if old_existing == 0 && old_wanted == 0 {
                wanted
            } else {
                new.wanted.min(wanted)
            };
            return (next, vec![0; old.len()]);
        }
        Strategy::Rolling { surge, unavailable } => (surge, unavailable),
    };
    let room = wanted + surge - (new.wanted + old_wanted);
    let new_next = if new.wanted > wanted {
        wanted
    } else {
        (new.wanted + room.max(0)).min(wanted)
    };
    // Old pods may go as far as enough pods stay ready; pods that are not ready go first.
    let ready: i64 = new.ready + old.iter().map(|set| set.ready).sum::<i64>();
    let mut ready_to_spare = (ready - (wanted - unavailable)).max(0);
    let old_next = old
        .iter()
        .map(|set| {
            let unready = (set.wanted - set.ready).max(0);
            let spared = ready_to_spare.min(set.ready.min(set.wanted));
            ready_to_spare -= spared;
            (set.wanted - unready - spared).max(0)
        })
        .collect();
    (new_next, old_next)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(wanted: i64, ready: i64) -> Set {
        Set {
            wanted,
            existing: wanted,
            ready,
        }
    }

    #[test]
    fn steps() {
        let rolling = Strategy::Rolling {
            surge: 1,
            unavailable: 0,
        };
        let rows = [
            ("fresh", 2, rolling, set(0, 0), vec![], (2, vec![])),
            ("scale down", 1, rolling, set(3, 3), vec![], (1, vec![])),
            (
                "one more first",
                2,
                rolling,
                set(0, 0),
                vec![set(2, 2)],
                (1, vec![2]),
            ),
            (
                "then one less",
                2,
                rolling,
                set(1, 1),
                vec![set(2, 2)],
                (1, vec![1]),
            ),
            (
                "new not ready",
                2,
                rolling,
                set(1, 0),
                vec![set(2, 2)],
                (1, vec![2]),
            ),
            (
                "unready old go",
                2,
                rolling,
                set(1, 0),
                vec![set(2, 1)],
                (1, vec![1]),
            ),
            (
                "recreate waits",
                2,
                Strategy::Recreate,
                set(0, 0),
                vec![set(2, 2)],
                (0, vec![0]),
            ),
            (
                "recreate goes on",
                2,
                Strategy::Recreate,
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
        assert_eq!(
            Strategy::of(&json!({}), 2),
            Strategy::Rolling {
                surge: 1,
                unavailable: 0
            }
        );
        let both = json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}});
        assert_eq!(
            Strategy::of(&both, 4),
            Strategy::Rolling {
                surge: 0,
                unavailable: 1
            }
        );
    }
}
