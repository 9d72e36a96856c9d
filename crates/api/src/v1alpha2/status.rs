//! Status of both kinds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LocalObjectReference, NamespacedReference};
use crate::RawObject;

/// One observation, in the shape of Knative conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What was observed.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Empty for what decides readiness, else `Info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// When it last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// Why, one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LLMInferenceServiceStatus {
    /// Primary address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Readiness and its parts, sorted by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pinned preset names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Never filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Every address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Gateways, routes and pool in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterStatus>,
    /// Workloads in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadsStatus>,
    /// Configs in merge order, lowest precedence first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub applied_configs: Vec<AppliedConfig>,
}

/// One address of the service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Address {
    /// Kind of address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Certificate authorities in PEM.
    #[serde(rename = "CACerts", skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<String>,
    /// Audience of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Object it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<ObjectReference>,
    /// Model ids served there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<LocalObjectReference>,
}

/// A reference to an object of any kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Observed topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterStatus {
    /// Gateways and their routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewayStatus>,
    /// The pool and picker in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerStatus>,
    /// Traffic group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupStatus>,
}

/// A gateway in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Listeners in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Routes attached to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_routes: Vec<ObjectReference>,
}

/// The pool and picker in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulerStatus {
    /// The pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_pool: Option<ObjectReference>,
    /// The picker's Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ObjectReference>,
}

/// A traffic group as this service sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupStatus {
    /// Name of the group.
    pub name: String,
    /// Its members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<GroupMember>,
}

/// A member of a traffic group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupMember {
    /// Name of the service.
    pub name: String,
    /// Its share.
    pub weight: i32,
    /// Whether it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
    /// Its backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<RawObject>,
}

/// Workloads in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadsStatus {
    /// The primary workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<WorkloadStatus>,
    /// The prefill workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<WorkloadStatus>,
    /// The endpoint picker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<WorkloadStatus>,
    /// The workload Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<WorkloadStatus>,
}

/// A live object and its ready replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// API group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Ready replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
}

/// A config that took part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppliedConfig {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `Preset` or `UserRef`.
    pub source: String,
}

/// What was observed of a config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LLMInferenceServiceConfigStatus {
    /// Readiness.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Services that use it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub referenced_by: Vec<NamespacedReference>,
}
