//! Whether an observed child is ready, and if not why.

use serde_json::Value;
use weir_api::names::{kind, reason};

use super::{ObservedGateway, pods};
use crate::routing::same_parent;
use crate::{items, text};

/// Whether something is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Observed to be ready.
    Ready,
    /// Not observed to be ready.
    NotReady {
        /// One word.
        reason: String,
        /// The cause.
        message: String,
    },
}

impl Health {
    fn not_ready(reason: &str, message: impl Into<String>) -> Self {
        Self::NotReady {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// A workload is ready when its object says so; the message names what its pods wait for.
pub(super) fn workload(live: Option<&Value>, grouped: bool, pods: &[&Value]) -> Health {
    let kind = if grouped {
        kind::LEADER_WORKER_SET
    } else {
        kind::DEPLOYMENT
    };
    let Some(live) = live else {
        let message = format!("the {} does not exist yet", kind.kind);
        return Health::not_ready(reason::PROGRESSING, message);
    };
    let awaited = if grouped { "LWS is progressing" } else { "" };
    let mut found = (reason::PROGRESSING.to_owned(), awaited.to_owned());
    for one in items(live, "/status/conditions") {
        let (status, why) = (
            text(one, "/status"),
            (
                text(one, "/reason").to_owned(),
                text(one, "/message").to_owned(),
            ),
        );
        match text(one, "/type") {
            // A set says by this one that it is at work, and why; that is no failure.
            "Progressing" if status == "False" && !grouped => found = why,
            "Available" if status == "True" && serves(live, grouped) => return Health::Ready,
            "Available" if status == "True" => {
                let what = if grouped { "group" } else { "pod" };
                let message = format!("no {what} is available.");
                found = (reason::PROGRESSING.to_owned(), message);
            }
            "Available" => {
                found = why;
                break;
            }
            _ => {}
        }
    }
    let causes = pods::causes(pods);
    let (reason, message) = found;
    let message = match (message.is_empty(), causes.is_empty()) {
        (_, true) => message,
        (true, false) => causes,
        (false, false) if message.ends_with('.') => format!("{message} {causes}"),
        (false, false) => format!("{message}: {causes}"),
    };
    Health::NotReady { reason, message }
}

/// A Deployment beside the model is ready as soon as one of its pods is available: of several pickers only one is
/// meant to be. The message names what its pods wait for.
pub(super) fn helper_deployment(live: Option<&Value>, pods: &[&Value]) -> Health {
    let not_yet = || {
        let mut message = "Deployment rollout in progress".to_owned();
        let causes = pods::causes(pods);
        if !causes.is_empty() {
            message.push_str(": ");
            message.push_str(&causes);
        }
        Health::not_ready(reason::PROGRESSING, message)
    };
    let Some(live) = live else { return not_yet() };
    let available = live
        .pointer("/status/availableReplicas")
        .and_then(Value::as_i64);
    if available.unwrap_or(0) > 0 {
        return Health::Ready;
    }
    let failed =
        |one: &&Value| one["status"] == "False" && one["reason"] == "ProgressDeadlineExceeded";
    let progressing = condition(live, "Progressing").filter(failed);
    let Some(one) = progressing.or_else(|| condition(live, "Available")) else {
        return not_yet();
    };
    if one["type"] == "Available" && one["status"] == "True" {
        return Health::Ready;
    }
    let causes = pods::causes(pods);
    let message = [text(one, "/message"), causes.as_str()];
    let message: Vec<&str> = message
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    Health::not_ready(text(one, "/reason"), message.join(" "))
}

/// Whether a pod is there to answer, where there is to be one: a strategy that lets every pod go at once calls
/// a Deployment available without any.
fn serves(workload: &Value, grouped: bool) -> bool {
    let count = |pointer| workload.pointer(pointer).and_then(Value::as_i64);
    let ready = if grouped {
        "/status/readyReplicas"
    } else {
        "/status/availableReplicas"
    };
    count("/spec/replicas") == Some(0) || count(ready).unwrap_or(0) > 0
}

/// Gateways are ready when every one is programmed.
pub(super) fn gateways(gateways: &[ObservedGateway]) -> Health {
    let programmed = |gateway: &&ObservedGateway| {
        let conditions = gateway
            .object
            .as_ref()
            .map_or(&[][..], |object| items(object, "/status/conditions"));
        conditions
            .iter()
            .any(|c| c["type"] == "Programmed" && c["status"] == "True")
    };
    let missing: Vec<String> = gateways
        .iter()
        .filter(|g| !programmed(g))
        .map(|g| format!("{}/{}", g.namespace, g.name))
        .collect();
    if missing.is_empty() {
        return Health::Ready;
    }
    let message = format!(
        "The following Gateways are not ready: [{}]",
        missing.join(" ")
    );
    Health::not_ready(reason::GATEWAYS_NOT_READY, message)
}

/// Routes are ready when each is accepted, with its backends resolved, by every parent.
pub(super) fn routes(routes: &[Value]) -> Health {
    let causes: Vec<String> = routes.iter().filter_map(route_cause).collect();
    if causes.is_empty() {
        return Health::Ready;
    }
    let message = format!(
        "The following HTTPRoutes are not ready: [{}]",
        causes.join(" ")
    );
    Health::not_ready(reason::HTTP_ROUTES_NOT_READY, message)
}

fn route_cause(route: &Value) -> Option<String> {
    let id = format!(
        "{}/{}",
        text(route, "/metadata/namespace"),
        text(route, "/metadata/name")
    );
    let parents = items(route, "/spec/parentRefs");
    if parents.is_empty() {
        return Some(format!("{id}: no parentRefs"));
    }
    let entries: Vec<&Value> = items(route, "/status/parents")
        .iter()
        .filter(|entry| condition(entry, "Accepted").is_some())
        .collect();
    for parent in parents {
        if !entries
            .iter()
            .any(|entry| same_parent(route, parent, &entry["parentRef"]))
        {
            let namespace = or(
                text(parent, "/namespace"),
                text(route, "/metadata/namespace"),
            );
            let section = text(parent, "/sectionName");
            let section = if section.is_empty() {
                String::new()
            } else {
                format!(" section {section}")
            };
            let name = text(parent, "/name");
            return Some(format!(
                "{id}: no status from a gateway for parent {namespace}/{name}{section}"
            ));
        }
    }
    let generation = route
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    for entry in entries {
        for kind in ["Accepted", "ResolvedRefs"] {
            let Some(one) = condition(entry, kind) else {
                return Some(format!(
                    "{id}: \"Unknown\" (reason \"ConditionMissing\", message \"{kind} is missing\")"
                ));
            };
            let seen = one
                .get("observedGeneration")
                .and_then(Value::as_i64)
                .unwrap_or(0);
            if seen > 0 && seen < generation {
                return Some(format!(
                    "{id}: \"Unknown\" (reason \"Stale\", message \"{kind} is of generation {seen}, the route of {generation}\")"
                ));
            }
            if one["status"] != "True" {
                return Some(format!(
                    "{id}: \"{}\" (reason \"{}\", message \"{}\")",
                    text(one, "/status"),
                    text(one, "/reason"),
                    text(one, "/message")
                ));
            }
        }
    }
    None
}

fn condition<'a>(of: &'a Value, kind: &str) -> Option<&'a Value> {
    let list = if of.get("status").is_some_and(Value::is_object) {
        "/status/conditions"
    } else {
        "/conditions"
    };
    items(of, list).iter().find(|c| c["type"] == kind)
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}
