//! What pods wait for, in words: an image, a crash, a node, a probe.
//!
//! Only what a pod itself says is used: its conditions, the states of its containers, and the probes of its spec.

use serde_json::Value;

use crate::{items, text};

/// Pods that are named; further ones are counted.
const SHOWN: usize = 3;
/// Most characters of what a container runtime or a program said.
const LONGEST: usize = 300;
/// Reasons of waiting that pass by themselves.
const ORDINARY: [&str; 2] = ["PodInitializing", "ContainerCreating"];
/// The reason of a program that ended well.
const COMPLETED: &str = "Completed";

/// The first thing that each of a few pods waits for; empty when there is nothing to say.
pub(super) fn causes(pods: &[&Value]) -> String {
    let all: Vec<String> = pods.iter().filter_map(|pod| cause(pod)).collect();
    let mut causes = all
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if all.len() > SHOWN {
        causes.push_str(&format!("; and {} more pods", all.len() - SHOWN));
    }
    causes
}

fn cause(pod: &Value) -> Option<String> {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return None;
    }
    let name = text(pod, "/metadata/name");
    let troubled = first(pod)
        .iter()
        .chain(main(pod))
        .find_map(|container| Some((text(container, "/name"), trouble(container)?)));
    if let Some((container, trouble)) = troubled {
        return Some(format!("pod {name}, container {container}: {trouble}"));
    }
    let scheduled = items(pod, "/status/conditions")
        .iter()
        .find(|c| c["type"] == "PodScheduled");
    if let Some(scheduled) = scheduled.filter(|c| c["status"] == "False") {
        return Some(format!(
            "pod {name}: {}: {}",
            text(scheduled, "/reason"),
            text(scheduled, "/message")
        ));
    }
    awaited(pod).map(|cause| format!("pod {name}, {cause}"))
}

/// States of the containers that run before the others, sidecars among them.
fn first(pod: &Value) -> &[Value] {
    items(pod, "/status/initContainerStatuses")
}

/// States of the containers.
fn main(pod: &Value) -> &[Value] {
    items(pod, "/status/containerStatuses")
}

/// What does not pass by itself.
fn trouble(container: &Value) -> Option<String> {
    let ended = |pointer: &str| {
        let end = container.pointer(pointer)?;
        let why = text(end, "/reason");
        let failed = !why.is_empty() && why != COMPLETED;
        failed.then(|| ending(end, why))
    };
    let waiting = text(container, "/state/waiting/reason");
    if !waiting.is_empty() && !ORDINARY.contains(&waiting) {
        let said = one_line(text(container, "/state/waiting/message"));
        let before = ended("/lastState/terminated").map(|end| format!("it ended with {end}"));
        let details = [Some(said).filter(|said| !said.is_empty()), before];
        let details: Vec<String> = details.into_iter().flatten().collect();
        return Some(if details.is_empty() {
            waiting.to_owned()
        } else {
            format!("{waiting}: {}", details.join("; "))
        });
    }
    if let Some(end) = ended("/state/terminated") {
        return Some(end);
    }
    // One that is ready again has got over it.
    let before = ended("/lastState/terminated").filter(|_| container["ready"] != true)?;
    let times = container["restartCount"].as_i64().unwrap_or(0);
    Some(match times {
        ..=1 => format!("{before}; it was started again"),
        times => format!("{before}; it was started again {times} times"),
    })
}

/// How a program ended: reason, exit code, and the last thing that it said.
fn ending(end: &Value, why: &str) -> String {
    let code = end.get("exitCode").and_then(Value::as_i64);
    let code = code
        .map(|code| format!(", exit code {code}"))
        .unwrap_or_default();
    let said = one_line(text(end, "/message"));
    let separator = if said.is_empty() { "" } else { ": " };
    format!("{why}{code}{separator}{said}")
}

/// The last line with something in it, cut to a length: what a program said last is why it ended.
fn one_line(text: &str) -> String {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    let last = last.unwrap_or_default();
    match last.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &last[..end]),
        None => last.to_owned(),
    }
}

/// What a pod without trouble is at: its first container that has not come far enough.
fn awaited(pod: &Value) -> Option<String> {
    let present = |container: &Value, pointer| container.pointer(pointer).is_some();
    for container in first(pod) {
        let name = text(container, "/name");
        if present(container, "/state/running") && container["started"] != true {
            let awaited = probe(pod, "/spec/initContainers", container);
            let awaited = awaited.unwrap_or_else(|| "not done yet".to_owned());
            return Some(format!("init container {name}: {awaited}"));
        }
    }
    for container in main(pod) {
        let name = text(container, "/name");
        if present(container, "/state/waiting") {
            return Some(format!("container {name}: not started yet"));
        }
        if container["ready"] != true {
            let awaited = probe(pod, "/spec/containers", container);
            let awaited = awaited.unwrap_or_else(|| "not ready yet".to_owned());
            return Some(format!("container {name}: runs, {awaited}"));
        }
    }
    // Only a sidecar runs that long.
    let mut sidecars = first(pod).iter();
    let sidecar = sidecars
        .find(|container| present(container, "/state/running") && container["ready"] != true)?;
    let awaited = probe(pod, "/spec/initContainers", sidecar);
    let awaited = awaited.unwrap_or_else(|| "not ready yet".to_owned());
    Some(format!(
        "sidecar {}: runs, {awaited}",
        text(sidecar, "/name")
    ))
}

/// The probe that a running container has not passed.
fn probe(pod: &Value, list: &str, state: &Value) -> Option<String> {
    let container = items(pod, list)
        .iter()
        .find(|container| container["name"] == state["name"])?;
    let starting = state["started"] != true;
    let (which, probe) = match container.get("startupProbe").filter(|_| starting) {
        Some(probe) => ("startup", probe),
        None => ("readiness", container.get("readinessProbe")?),
    };
    Some(format!(
        "its {which} probe ({}) has not succeeded",
        asked(probe)
    ))
}

/// What a probe asks, in short.
fn asked(probe: &Value) -> String {
    let port = |of: &Value| match of.get("port") {
        Some(Value::String(name)) => name.clone(),
        Some(port) => port.to_string(),
        None => String::new(),
    };
    if let Some(http) = probe.get("httpGet") {
        return format!("GET :{}{}", port(http), text(http, "/path"));
    }
    if let Some(tcp) = probe.get("tcpSocket") {
        return format!("TCP :{}", port(tcp));
    }
    if let Some(grpc) = probe.get("grpc") {
        return format!("gRPC :{}", port(grpc));
    }
    "a command".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "rows are written in place")]
    fn pod(states: Value, spec: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": spec, "status": states})
    }

    #[expect(clippy::needless_pass_by_value, reason = "rows are written in place")]
    fn of_main(state: Value) -> Value {
        let mut container = json!({"name": "main"});
        for (key, value) in state.as_object().into_iter().flatten() {
            container[key] = value.clone();
        }
        json!({"containerStatuses": [container]})
    }

    fn with_probes() -> Value {
        json!({"containers": [{
            "name": "main",
            "startupProbe": {"httpGet": {"port": 8000, "path": "/health"}},
            "readinessProbe": {"grpc": {"port": 9003}},
        }]})
    }

    #[test]
    fn each_cause_is_said_in_one_line() {
        let none = || json!({});
        let long = "x".repeat(LONGEST + 5);
        let rows = [
            (
                of_main(
                    json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"a\""}}}),
                ),
                none(),
                "pod p, container main: ImagePullBackOff: Back-off pulling image \"a\"",
            ),
            (
                of_main(json!({
                    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
                    "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "message": "Traceback\n  x\nValueError: no model\n"}},
                })),
                none(),
                "pod p, container main: CrashLoopBackOff: back-off 10s restarting failed container; it ended with Error, exit code 1: ValueError: no model",
            ),
            (
                of_main(json!({
                    "state": {"running": {}}, "ready": false, "restartCount": 3,
                    "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                })),
                none(),
                "pod p, container main: OOMKilled, exit code 137; it was started again 3 times",
            ),
            (
                of_main(
                    json!({"state": {"terminated": {"reason": "Error", "exitCode": 2, "message": long}}}),
                ),
                none(),
                &format!(
                    "pod p, container main: Error, exit code 2: {}…",
                    "x".repeat(LONGEST)
                ),
            ),
            (
                json!({"conditions": [{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                }]}),
                none(),
                "pod p: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            ),
            (
                of_main(json!({"state": {"running": {}}, "started": false, "ready": false})),
                with_probes(),
                "pod p, container main: runs, its startup probe (GET :8000/health) has not succeeded",
            ),
            (
                of_main(json!({"state": {"running": {}}, "started": true, "ready": false})),
                with_probes(),
                "pod p, container main: runs, its readiness probe (gRPC :9003) has not succeeded",
            ),
            (
                of_main(json!({"state": {"running": {}}, "started": true, "ready": false})),
                none(),
                "pod p, container main: runs, not ready yet",
            ),
            (
                of_main(json!({
                    "state": {"running": {}}, "started": true, "ready": true,
                    "lastState": {"terminated": {"reason": "Error", "exitCode": 1}},
                })),
                none(),
                "",
            ),
        ];
        for (states, spec, wanted) in rows {
            let pod = pod(states, spec);
            assert_eq!(causes(&[&pod]), wanted, "{pod}");
        }
    }

    #[test]
    fn many_pods_are_counted() {
        let waiting = of_main(json!({"state": {"waiting": {"reason": "ErrImagePull"}}}));
        let pod = pod(waiting, json!({}));
        let said = causes(&[&pod; 5]);
        assert_eq!(said.matches("ErrImagePull").count(), SHOWN);
        assert!(said.ends_with("; and 2 more pods"), "{said}");
    }
}
