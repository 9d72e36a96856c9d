//! Rolling update limits: whether they are numbers or percentages, and leave a way forward.

use serde_json::Value;

use super::Verdict;

pub(super) fn check(workload: &Value, path: &str, verdict: &mut Verdict) {
    let strategy = &workload["rolloutStrategy"];
    let before = verdict.errors.len();
    let unavailable = limit(strategy, "maxUnavailable", path, false, verdict);
    let surge = limit(strategy, "maxSurge", path, true, verdict);
    if verdict.errors.len() > before {
        return;
    }
    if unavailable == Some(0) && surge == Some(0) {
        verdict.invalid(
            format!("{path}.rolloutStrategy"),
            "maxUnavailable and maxSurge cannot both be zero: no pod could ever be replaced",
        );
    }
    if workload["worker"].is_object() && unavailable == Some(0) && surge.is_none() {
        verdict.required(
            format!("{path}.rolloutStrategy.maxSurge"),
            "must be set when maxUnavailable is zero in a multi-node workload",
        );
    }
}

/// The limit scaled against one replica, as upstream decides whether it is zero.
fn limit(
    strategy: &Value,
    field: &str,
    path: &str,
    round_up: bool,
    verdict: &mut Verdict,
) -> Option<i64> {
    let at = || format!("{path}.rolloutStrategy.{field}");
    match &strategy[field] {
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or(-1);
            if number < 0 {
                verdict.invalid(at(), "must be zero or more");
            }
            Some(number)
        }
        Value::String(text) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse::<u32>().ok());
            match percent {
                Some(percent @ 0..=100) => Some(i64::from(if round_up {
                    percent.div_ceil(100)
                } else {
                    percent / 100
                })),
                Some(_) => {
                    verdict.invalid(at(), format!("{text} is above 100%"));
                    None
                }
                None => {
                    verdict.invalid(
                        at(),
                        format!("{text:?} is no percentage; write a number or for example 25%"),
                    );
                    None
                }
            }
        }
        _ => None,
    }
}
