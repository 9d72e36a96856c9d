//! The status of a Deployment from the numbers of its sets, as `kubectl rollout status` reads it.

use serde_json::{Value, json};

use crate::kinds::{seconds, written};
use crate::rollout::{Set, Strategy};

/// What the status depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `metadata.generation`.
    pub generation: &'a Value,
    /// `spec.replicas`.
    pub wanted: i64,
    /// `spec.strategy`.
    pub strategy: Strategy,
    /// Whether the roll out is paused.
    pub paused: bool,
    /// `spec.progressDeadlineSeconds`.
    pub deadline: i64,
    /// The set of the present template.
    pub new: Set,
    /// Its name.
    pub new_name: &'a str,
    /// Whether it was made just now.
    pub created: bool,
    /// All other sets.
    pub old: &'a [Set],
    /// Why a pod could not be made.
    pub failure: Option<&'a Value>,
    /// Seconds since the epoch.
    pub now: i64,
}

/// Returns the status that follows `before`, and after how many seconds it has to be looked at again
/// because the progress deadline runs.
pub fn status(facts: &Facts<'_>, before: &Value) -> (Value, Option<u64>) {
    let sum = |part: fn(&Set) -> i64| part(&facts.new) + facts.old.iter().map(part).sum::<i64>();
    let (existing, ready, available) = (
        sum(|set| set.existing),
        sum(|set| set.ready),
        sum(|set| set.available),
    );
    let updated = facts.new.existing;
    let mut status = json!({ "observedGeneration": facts.generation });
    for (key, value) in [
        ("replicas", existing),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", (facts.wanted - available).max(0)),
    ] {
        if value > 0 {
            status[key] = json!(value);
        }
    }
    if let Some(count) = before.get("collisionCount") {
        status["collisionCount"] = count.clone();
    }
    let enough = available >= facts.wanted - facts.strategy.unavailable();
    let available_condition = if enough {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    let mut conditions = vec![condition(
        facts,
        before,
        "Available",
        available_condition,
        false,
    )];
    let was = |key: &str| before[key].as_i64().unwrap_or(0);
    let moved = updated > was("updatedReplicas")
        || existing - updated < was("replicas") - was("updatedReplicas")
        || ready > was("readyReplicas")
        || available > was("availableReplicas");
    let complete = updated == facts.wanted && existing == facts.wanted && available == facts.wanted;
    let last = find(before, "Progressing");
    let reason = last.map_or("", |last| last["reason"].as_str().unwrap_or_default());
    let since = last.and_then(|last| seconds(last["lastUpdateTime"].as_str()?));
    let left = since.map(|since| since + facts.deadline - facts.now);
    let name = facts.new_name;
    let (progressing, touched) = if facts.paused && reason != "ProgressDeadlineExceeded" {
        (
            (
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused".to_owned(),
            ),
            false,
        )
    } else if facts.created {
        (
            (
                "True",
                "NewReplicaSetCreated",
                format!("Created new replica set \"{name}\""),
            ),
            true,
        )
    } else if complete {
        let text = format!("ReplicaSet \"{name}\" has successfully progressed.");
        (("True", "NewReplicaSetAvailable", text), false)
    } else if reason == "NewReplicaSetAvailable" && existing == updated {
        // A roll out that ended stays ended, even when a pod of it fails later.
        let text = last.map_or("", |last| last["message"].as_str().unwrap_or_default());
        (("True", "NewReplicaSetAvailable", text.to_owned()), false)
    } else if reason == "DeploymentPaused" {
        (
            (
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".to_owned(),
            ),
            true,
        )
    } else if !moved && (reason == "ProgressDeadlineExceeded" || left.is_some_and(|left| left < 0))
    {
        let text = format!("ReplicaSet \"{name}\" has timed out progressing.");
        (("False", "ProgressDeadlineExceeded", text), false)
    } else if moved || last.is_none() || reason == "NewReplicaSetAvailable" {
        (
            (
                "True",
                "ReplicaSetUpdated",
                format!("ReplicaSet \"{name}\" is progressing."),
            ),
            true,
        )
    } else {
        let text = last.map_or("", |last| last["message"].as_str().unwrap_or_default());
        let state = last.map_or("True", |last| last["status"].as_str().unwrap_or("True"));
        ((state, reason, text.to_owned()), false)
    };
    let (state, reason, text) = progressing;
    let running = matches!(
        reason,
        "NewReplicaSetCreated" | "ReplicaSetUpdated" | "DeploymentResumed"
    );
    conditions.push(condition(
        facts,
        before,
        "Progressing",
        (state, reason, &text),
        touched,
    ));
    if let Some(failure) = facts.failure {
        conditions.push(failure.clone());
    }
    let again = running.then(|| {
        let left = if touched {
            facts.deadline
        } else {
            left.unwrap_or(facts.deadline)
        };
        u64::try_from(left + 1).unwrap_or(1).max(1)
    });
    status["conditions"] = Value::Array(conditions);
    (status, again)
}

fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let list = status["conditions"].as_array()?;
    list.iter().find(|condition| condition["type"] == kind)
}

/// A condition that keeps its times where nothing changed; `touched` renews the time of its update.
fn condition(
    facts: &Facts<'_>,
    before: &Value,
    kind: &str,
    (status, reason, message): (&str, &str, &str),
    touched: bool,
) -> Value {
    let now = written(facts.now);
    let last = find(before, kind);
    let same = last.filter(|last| last["status"] == status);
    let equal = same.filter(|last| last["reason"] == reason && last["message"] == message);
    let kept = |of: Option<&Value>, key: &str| of.map_or_else(|| json!(now), |of| of[key].clone());
    let updated = if touched { None } else { equal };
    json!({"type": kind, "status": status, "reason": reason, "message": message,
           "lastUpdateTime": kept(updated, "lastUpdateTime"),
           "lastTransitionTime": kept(same, "lastTransitionTime")})
}

#[cfg(test)]
mod tests;
