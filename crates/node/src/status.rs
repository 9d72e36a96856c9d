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
    /// Whether it is an init container that runs beside the others.
    pub sidecar: bool,
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

    /// Whether it must have ended before the others start.
    pub(crate) fn runs_once(&self) -> bool {
        self.init && !self.sidecar
    }

    /// Whether it has run, now or before.
    fn ran(&self) -> bool {
        let before = self.last.as_object().is_some_and(|last| !last.is_empty());
        self.is("running") || self.is("terminated") || before
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

/// Init containers for which the others wait. A sidecar that is started anew beside them is none.
fn holding_up(containers: &[ContainerState]) -> Vec<&ContainerState> {
    let begun = containers.iter().any(|c| !c.init && c.ran());
    let holds_up = |c: &&ContainerState| {
        if c.sidecar {
            !c.started && !begun
        } else {
            c.init && c.exit_code() != Some(0)
        }
    };
    containers.iter().filter(holds_up).collect()
}

/// Phase of the pod.
pub fn phase(containers: &[ContainerState], restart_policy: &str) -> &'static str {
    let failed_init = containers
        .iter()
        .any(|c| c.runs_once() && c.exit_code().is_some_and(|code| code != 0));
    if failed_init && restart_policy == "Never" {
        return "Failed";
    }
    let mains: Vec<&ContainerState> = containers.iter().filter(|c| !c.init).collect();
    if !holding_up(containers).is_empty() {
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
    if mains.iter().any(|c| c.ran()) {
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
    let inits = holding_up(containers);
    let unready: Vec<_> = containers
        .iter()
        .filter(|c| !c.runs_once() && !c.ready)
        .collect();
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

/// What is said of a pod that ran for longer than it may.
pub(crate) const EXCEEDED: &str = "Pod was active on the node longer than the specified deadline";

/// Makes a status that of a pod that ran for longer than `activeDeadlineSeconds`.
pub(crate) fn exceeded(status: &mut Value) {
    status["phase"] = json!("Failed");
    status["reason"] = json!("DeadlineExceeded");
    status["message"] = json!(EXCEEDED);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(init: bool, state: Value, last: Value) -> ContainerState {
        ContainerState {
            name: "c".into(),
            image: String::new(),
            init,
            sidecar: false,
            state,
            last,
            restarts: 0,
            ready: false,
            started: false,
            id: String::new(),
        }
    }

    fn sidecar(state: Value, last: Value, started: bool) -> ContainerState {
        ContainerState {
            sidecar: true,
            started,
            ..container(true, state, last)
        }
    }

    #[test]
    fn a_pod_is_ready_with_its_sidecars() {
        let run = || json!({"running": {}});
        for (ready, wanted) in [(false, "False"), (true, "True")] {
            let mut main = container(false, run(), json!({}));
            main.ready = true;
            let mut beside = sidecar(run(), json!({}), true);
            beside.ready = ready;
            let status = pod(&[beside, main], &json!({}), "", "", &json!({}));
            let conditions = status["conditions"].as_array().unwrap();
            let find = |kind: &str| conditions.iter().find(|c| c["type"] == kind).unwrap();
            assert_eq!(find("Ready")["status"], wanted);
            assert_eq!(find("Initialized")["status"], "True");
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
            (
                "sidecar starts",
                vec![
                    sidecar(run(), none(), false),
                    container(false, wait(), none()),
                ],
                "Always",
                "Pending",
            ),
            (
                "sidecar runs",
                vec![
                    sidecar(run(), none(), true),
                    container(false, run(), none()),
                ],
                "Always",
                "Running",
            ),
            (
                "sidecar is started anew",
                vec![
                    sidecar(wait(), end(1), false),
                    container(false, run(), none()),
                ],
                "Always",
                "Running",
            ),
            (
                "done beside a sidecar",
                vec![
                    sidecar(run(), none(), true),
                    container(false, end(0), none()),
                ],
                "Never",
                "Succeeded",
            ),
            (
                "a sidecar that was killed has not failed",
                vec![
                    sidecar(end(137), none(), false),
                    container(false, end(0), none()),
                ],
                "Never",
                "Succeeded",
            ),
        ];
        for (row, containers, policy, wanted) in rows {
            assert_eq!(phase(&containers, policy), wanted, "{row}");
        }
    }
}
