//! The status of a pod, from the states of its containers.

use serde_json::{Value, json};

use crate::objects::now;

/// What is known of one container.
#[derive(Clone, Debug)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// Its image as written.
    pub image: String,
    /// Whether it is an init container.
    pub init: bool,
    /// `waiting`, `running` or `terminated`, as in the API.
    pub state: Value,
    /// The end of the run before.
    pub last: Value,
    /// How often it was started again.
    pub restarts: u64,
    /// Whether its readiness probe succeeds.
    pub ready: bool,
    /// Whether its startup probe succeeded.
    pub started: bool,
    /// Identifies the run.
    pub id: String,
}

impl ContainerState {
    fn is(&self, state: &str) -> bool {
        self.state.get(state).is_some()
    }

    fn exit_code(&self) -> Option<i64> {
        self.state.pointer("/terminated/exitCode")?.as_i64()
    }

    fn value(&self) -> Value {
        let mut value = json!({
            "name": self.name, "image": self.image, "imageID": "", "restartCount": self.restarts,
            "ready": self.ready, "started": self.started, "state": self.state, "lastState": self.last,
        });
        if !self.id.is_empty() {
            value["containerID"] = json!(self.id);
        }
        value
    }
}

/// A container that waits for `reason`.
pub fn waiting(reason: &str, message: &str) -> Value {
    let mut waiting = json!({"reason": reason});
    if !message.is_empty() {
        waiting["message"] = json!(message);
    }
    json!({"waiting": waiting})
}

/// Phase of the pod.
pub fn phase(containers: &[ContainerState], restart_policy: &str) -> &'static str {
    let failed_init = containers
        .iter()
        .any(|c| c.init && c.exit_code().is_some_and(|code| code != 0));
    if failed_init && restart_policy == "Never" {
        return "Failed";
    }
    let inits_done = containers
        .iter()
        .filter(|c| c.init)
        .all(|c| c.exit_code() == Some(0));
    let mains: Vec<&ContainerState> = containers.iter().filter(|c| !c.init).collect();
    if !inits_done {
        return "Pending";
    }
    let ended = mains.iter().all(|c| c.is("terminated"));
    if ended && !mains.is_empty() {
        let clean = mains.iter().all(|c| c.exit_code() == Some(0));
        return match (clean, restart_policy) {
            (true, "Never" | "OnFailure") => "Succeeded",
            (false, "Never") => "Failed",
            _ => "Running",
        };
    }
    let ran = |c: &&ContainerState| {
        c.is("running")
            || c.is("terminated")
            || !c.last.as_object().is_none_or(serde_json::Map::is_empty)
    };
    if mains.iter().any(ran) {
        "Running"
    } else {
        "Pending"
    }
}

/// The whole status; conditions keep the times of `old` where nothing changed.
pub fn pod(
    containers: &[ContainerState],
    pod: &Value,
    ip: &str,
    start: &str,
    old: &Value,
) -> Value {
    let policy = pod["spec"]["restartPolicy"].as_str().unwrap_or("Always");
    let phase = phase(containers, policy);
    let names = |list: Vec<&ContainerState>| {
        list.iter()
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let inits: Vec<_> = containers
        .iter()
        .filter(|c| c.init && c.exit_code() != Some(0))
        .collect();
    let unready: Vec<_> = containers.iter().filter(|c| !c.init && !c.ready).collect();
    let ended = phase == "Succeeded";
    let initialized = inits.is_empty();
    let ready = initialized && unready.is_empty() && phase == "Running";
    let not_ready = (
        if ended {
            "PodCompleted"
        } else {
            "ContainersNotReady"
        },
        if ended {
            String::new()
        } else {
            format!("containers with unready status: [{}]", names(unready))
        },
    );
    let rows = [
        ("PodScheduled", true, ("", String::new())),
        (
            "Initialized",
            initialized,
            (
                "ContainersNotInitialized",
                format!("containers with incomplete status: [{}]", names(inits)),
            ),
        ),
        ("ContainersReady", ready, not_ready.clone()),
        ("Ready", ready, not_ready),
    ];
    let conditions: Vec<Value> = rows
        .into_iter()
        .map(|(kind, holds, (reason, message))| {
            let status = if holds { "True" } else { "False" };
            let before = old["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind);
            let since = before
                .filter(|c| c["status"] == status)
                .map_or_else(|| json!(now()), |c| c["lastTransitionTime"].clone());
            let mut condition = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since});
            if !holds {
                condition["reason"] = json!(reason);
                if !message.is_empty() {
                    condition["message"] = json!(message);
                }
            }
            condition
        })
        .collect();
    let list = |init: bool| -> Vec<Value> {
        containers
            .iter()
            .filter(|c| c.init == init)
            .map(ContainerState::value)
            .collect()
    };
    let mut status = json!({
        "phase": phase, "conditions": conditions, "hostIP": "127.0.0.1", "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": ip, "podIPs": [{"ip": ip}], "startTime": start, "qosClass": "BestEffort",
        "containerStatuses": list(false),
    });
    if containers.iter().any(|c| c.init) {
        status["initContainerStatuses"] = json!(list(true));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(init: bool, state: Value, last: Value) -> ContainerState {
        ContainerState {
            name: "c".into(),
            image: String::new(),
            init,
            state,
            last,
            restarts: 0,
            ready: false,
            started: false,
            id: String::new(),
        }
    }

    #[test]
    fn phases() {
        let wait = || waiting("x", "");
        let run = || json!({"running": {}});
        let end = |code: i64| json!({"terminated": {"exitCode": code}});
        let none = || json!({});
        let rows = [
            (
                "init waits",
                vec![
                    container(true, wait(), none()),
                    container(false, wait(), none()),
                ],
                "Always",
                "Pending",
            ),
            (
                "init failed",
                vec![container(true, end(1), none())],
                "Never",
                "Failed",
            ),
            (
                "starts",
                vec![
                    container(true, end(0), none()),
                    container(false, wait(), none()),
                ],
                "Always",
                "Pending",
            ),
            (
                "runs",
                vec![container(false, run(), none())],
                "Always",
                "Running",
            ),
            (
                "backs off",
                vec![container(false, wait(), end(1))],
                "Always",
                "Running",
            ),
            (
                "done",
                vec![container(false, end(0), none())],
                "OnFailure",
                "Succeeded",
            ),
            (
                "failed",
                vec![container(false, end(2), none())],
                "Never",
                "Failed",
            ),
        ];
        for (row, containers, policy, wanted) in rows {
            assert_eq!(phase(&containers, policy), wanted, "{row}");
        }
    }
}
