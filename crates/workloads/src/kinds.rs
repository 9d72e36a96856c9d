//! The kinds that the controllers read or write, and small readings of any object.

use kube::core::ApiResource;
use serde_json::{Value, json};

/// A kind that the controllers read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Deployment,
    ReplicaSet,
    GroupSet,
    Revision,
    Job,
    Pod,
    Service,
    Slice,
    Namespace,
    Account,
    Event,
}

impl Kind {
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Deployment => ("apps", "Deployment", "deployments"),
            Self::ReplicaSet => ("apps", "ReplicaSet", "replicasets"),
            Self::GroupSet => (
                "leaderworkerset.x-k8s.io",
                "LeaderWorkerSet",
                "leaderworkersets",
            ),
            Self::Job => ("batch", "Job", "jobs"),
            Self::Revision => ("apps", "ControllerRevision", "controllerrevisions"),
            Self::Pod => ("", "Pod", "pods"),
            Self::Service => ("", "Service", "services"),
            Self::Slice => ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
            Self::Namespace => ("", "Namespace", "namespaces"),
            Self::Account => ("", "ServiceAccount", "serviceaccounts"),
            Self::Event => ("", "Event", "events"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.names().1
    }

    pub(crate) fn api_version(self) -> String {
        match self.names().0 {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        }
    }

    pub(crate) fn resource(self) -> ApiResource {
        let (group, kind, plural) = self.names();
        ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: self.api_version(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// The text at `pointer`, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// The reference to the owner that controls `object`.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)
}

/// Whether `object` is controlled by the object of this uid.
pub(crate) fn controlled_by(object: &Value, owner: &str) -> bool {
    controller(object).is_some_and(|reference| reference["uid"] == owner)
}

/// A controlling reference to `object`.
pub(crate) fn owner(object: &Value, kind: Kind) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.name(), "name": object["metadata"]["name"],
           "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}

pub(crate) fn deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether a pod counts: neither on its way out nor ended.
pub(crate) fn active(pod: &Value) -> bool {
    !deleting(pod)
        && !matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        )
}

pub(crate) fn revision(object: &Value) -> u64 {
    let pointer = "/metadata/annotations/deployment.kubernetes.io~1revision";
    text(object, pointer).parse().unwrap_or(0)
}

/// Seconds since the epoch of a time as Kubernetes writes it.
pub(crate) fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_second)
}

/// The time `seconds` after the epoch as Kubernetes writes it.
pub(crate) fn written(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
