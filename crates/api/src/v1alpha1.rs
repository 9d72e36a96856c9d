//! The older version: the stored one with another pool and model. Types that do not differ are those of
//! [`crate::v1alpha2`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::v1alpha2::{Condition, GatewayStatus, ObjectReference, SchedulerStatus};

use crate::RawObject;
use crate::kind::resource;
use crate::v1alpha2::{
    LocalObjectReference, ParallelismSpec, RolloutStrategy, RouterSpec, ScalingSpec,
};
use crate::v1alpha2::{StorageInitializerSpec, TracingSpec};

resource! {
    /// A language model served under one name.
    LLMInferenceService, "v1alpha1", "llminferenceservices", LLMInferenceServiceSpec, LLMInferenceServiceStatus
}

resource! {
    /// A part of a service's spec that services inherit by `baseRefs` or as a preset.
    LLMInferenceServiceConfig, "v1alpha1", "llminferenceserviceconfigs", LLMInferenceServiceSpec, LLMInferenceServiceConfigStatus
}

/// What is wanted. The workload fields at this level describe the primary (decode) workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LLMInferenceServiceSpec {
    /// The base model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<LLMModelSpec>,
    /// Whether the model is attached to the pods at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_initializer: Option<StorageInitializerSpec>,
    /// The primary workload, inlined.
    #[serde(flatten)]
    pub workload: WorkloadSpec,
    /// The prefill workload; its presence disaggregates prefill from decode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<WorkloadSpec>,
    /// How requests reach the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterSpec>,
    /// OpenTelemetry; presence enables it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingSpec>,
    /// Configs to inherit from, lowest precedence first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub base_refs: Vec<LocalObjectReference>,
}

/// One workload, primary (decode) or prefill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    /// Static replica count; excludes `scaling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Autoscaling; excludes `replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingSpec>,
    /// How the model is spread over accelerators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<ParallelismSpec>,
    /// Labels for the pods of this workload.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the pods of this workload.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// PodSpec of the single pod, or of the leader of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<RawObject>,
    /// PodSpec of the workers; its presence makes the workload multi-node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<RawObject>,
    /// Rolling update limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_strategy: Option<RolloutStrategy>,
}

/// A model: source and public name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LLMModelSpec {
    /// Where the model comes from: `hf://`, `s3://`, `gs://`, `oci://`, `pvc://`, `https://` or `file://`. Empty means unset.
    pub uri: String,
    /// Public model id, the `model` of requests; the service name when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Critical`, `Standard` or `Sheddable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criticality: Option<String>,
    /// LoRA adapters and their limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSpec>,
}

/// LoRA adapters of a base model and the engine's limits for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoraSpec {
    /// The adapters, each with a name and a source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<LLMModelSpec>,
    /// `--max-lora-rank`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rank: Option<i32>,
    /// `--max-loras`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_adapters: Option<i32>,
    /// `--max-cpu-loras`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu_adapters: Option<i32>,
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
}
