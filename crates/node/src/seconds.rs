//! Times and counts of a manifest, as numbers that can be added without overflow.
//!
//! The API takes any whole number. A time of a thousand years is not an error there, and must not be
//! one here; it is as good as the longest time that this module gives.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Longest time that a manifest can ask for: a year.
const LONGEST: u64 = 365 * 24 * 3600;
const DEFAULT_GRACE: u64 = 30;

/// A whole number of at least `least`, at most a year in seconds; `default` where there is none.
pub(crate) fn number(value: &Value, default: u64, least: u64) -> u64 {
    let number = match (value.as_u64(), value.as_i64()) {
        (Some(number), _) => number,
        // Below zero: the API server of Kubernetes refuses it, or takes it for the least.
        (None, Some(_)) => least,
        (None, None) => default,
    };
    number.clamp(least, LONGEST)
}

/// A time that a manifest gives in seconds.
pub(crate) fn duration(value: &Value, default: u64, least: u64) -> Duration {
    Duration::from_secs(number(value, default, least))
}

/// How long a pod may take to end by its own description. Kubernetes takes a negative one for 1 s.
pub(crate) fn grace(pod: &Value) -> Duration {
    graceful(&pod["spec"]["terminationGracePeriodSeconds"])
}

/// How long a pod that is being deleted may still take.
pub(crate) fn deletion_grace(pod: &Value) -> Duration {
    graceful(&pod["metadata"]["deletionGracePeriodSeconds"])
}

/// When a pod that began at `start` has run for as long as its own description lets it.
pub(crate) fn active_deadline(pod: &Value, start: &str) -> Option<Instant> {
    let most = &pod["spec"]["activeDeadlineSeconds"];
    if most.is_null() {
        return None;
    }
    let ran = start
        .parse::<jiff::Timestamp>()
        .ok()
        .and_then(|start| jiff::Timestamp::now().duration_since(start).try_into().ok())
        .unwrap_or(Duration::ZERO);
    Some(Instant::now() + duration(most, 0, 0).saturating_sub(ran))
}

fn graceful(value: &Value) -> Duration {
    let negative = value.as_i64().is_some_and(|number| number < 0);
    duration(value, DEFAULT_GRACE, u64::from(negative))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_number_of_a_manifest_becomes_a_time_that_can_be_added() {
        for (value, wanted) in [
            (json!(null), 30),
            (json!("x"), 30),
            (json!(0), 0),
            (json!(-1), 1),
            (json!(i64::MIN), 1),
            (json!(5), 5),
            (json!(i64::MAX), LONGEST),
            (json!(u64::MAX), LONGEST),
            (json!(1e300), 30),
        ] {
            let pod = json!({"spec": {"terminationGracePeriodSeconds": value}});
            let found = grace(&pod);
            assert_eq!(found, Duration::from_secs(wanted), "{value}");
            // Must not panic.
            let _ = Instant::now() + found;
        }
    }

    #[test]
    fn a_deletion_by_force_leaves_no_grace() {
        let pod = |grace: i64| json!({"metadata": {"deletionGracePeriodSeconds": grace}});
        assert_eq!(deletion_grace(&pod(0)), Duration::ZERO);
        assert_eq!(deletion_grace(&pod(7)), Duration::from_secs(7));
    }
}
