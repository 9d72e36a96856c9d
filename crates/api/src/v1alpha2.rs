//! The stored version. A wire field is one field here; embedded objects of other APIs stay raw.

mod status;

pub use status::{
    Address, AppliedConfig, Condition, GatewayStatus, GroupMember, GroupStatus,
    LLMInferenceServiceConfigStatus, LLMInferenceServiceStatus, ObjectReference, RouterStatus,
    SchedulerStatus, WorkloadStatus, WorkloadsStatus,
};

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use crate::RawObject;
use crate::kind::resource;

resource! {
    /// A language model served under one name.
    LLMInferenceService, "v1alpha2", "llminferenceservices", LLMInferenceServiceSpec, LLMInferenceServiceStatus
}

resource! {
    /// A part of a service's spec that services inherit by `baseRefs` or as a preset.
    LLMInferenceServiceConfig, "v1alpha2", "llminferenceserviceconfigs", LLMInferenceServiceSpec, LLMInferenceServiceConfigStatus
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
    /// Offloading of KV cache blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_offloading: Option<KvCacheOffloadingSpec>,
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
    /// LoRA adapters and their limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSpec>,
    /// Encrypted model artefacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidential: Option<ConfidentialSpec>,
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

/// Decryption of model artefacts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfidentialSpec {
    /// The switch.
    pub enabled: bool,
    /// Key id, `kbs:///<repository>/<type>/<tag>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
}

/// Offloading of KV cache blocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KvCacheOffloadingSpec {
    /// Host memory, a quantity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<RawObject>,
    /// `lru` or `arc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_policy: Option<String>,
    /// Further tiers: file systems on emptyDir or PVC.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secondary: Vec<RawObject>,
}

/// Model attachment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageInitializerSpec {
    /// `false` switches all model attachment off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Parallelism of one workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParallelismSpec {
    /// `--tensor-parallel-size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<i32>,
    /// `--pipeline-parallel-size`; the group size when not data parallel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<i32>,
    /// `--data-parallel-size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<i32>,
    /// `--data-parallel-size-local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_local: Option<i32>,
    /// `--data-parallel-rpc-port`.
    #[serde(rename = "dataRPCPort", skip_serializing_if = "Option::is_none")]
    pub data_rpc_port: Option<i32>,
    /// `--enable-expert-parallel`. Reads a boolean or an integer (above 1 means true); written only when true.
    #[serde(
        deserialize_with = "bool_or_integer",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub expert: bool,
}

impl ParallelismSpec {
    /// Whether layers are spread over pods.
    #[must_use]
    pub fn is_pipeline_parallel(&self) -> bool {
        self.pipeline.is_some_and(|n| n > 0)
    }

    /// Whether the model is replicated inside one group.
    #[must_use]
    pub fn is_data_parallel(&self) -> bool {
        self.data.is_some_and(|n| n > 0) || self.data_local.is_some_and(|n| n > 0)
    }

    /// Whether layers are split over accelerators.
    #[must_use]
    pub fn is_tensor_parallel(&self) -> bool {
        self.tensor.is_some_and(|n| n > 0)
    }

    /// Pods in a group of a multi-node workload, `None` when nothing decides it.
    #[must_use]
    pub fn group_size(&self) -> Option<i32> {
        if self.is_data_parallel() {
            let (data, local) = (
                self.data.unwrap_or(1).max(1),
                self.data_local.unwrap_or(1).max(1),
            );
            Some((data / local).max(1))
        } else {
            self.pipeline.filter(|n| *n > 0)
        }
    }
}

fn bool_or_integer<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Expert {
        Switch(bool),
        Size(i64),
    }
    Ok(match Option::<Expert>::deserialize(deserializer)? {
        Some(Expert::Switch(on)) => on,
        Some(Expert::Size(size)) => size > 1,
        None => false,
    })
}

/// Rolling update limits of a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStrategy {
    /// Pods (groups) that may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Pods (groups) that may be extra.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
}

/// Autoscaling of one workload: exactly one of `wva` and `keda`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingSpec {
    /// Lower bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// Upper bound.
    pub max_replicas: i32,
    /// Workload variant autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wva: Option<WvaSpec>,
    /// KEDA triggers of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keda: Option<KedaSpec>,
}

/// Workload variant autoscaler: exactly one of `hpa` and `keda` acts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WvaSpec {
    /// Cost of one replica, a decimal number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant_cost: Option<String>,
    /// Acts through a HorizontalPodAutoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa: Option<HpaSpec>,
    /// Acts through a ScaledObject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keda: Option<KedaSpec>,
}

/// HorizontalPodAutoscaler settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaSpec {
    /// autoscaling/v2 behavior.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<RawObject>,
}

/// ScaledObject settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KedaSpec {
    /// KEDA triggers; only for direct KEDA.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<RawObject>,
    /// Seconds between two looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Seconds before scaling to the idle count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// Seconds before the first cool-down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i32>,
    /// Replicas while idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_replica_count: Option<i32>,
    /// What to do when a trigger fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<RawObject>,
    /// KEDA advanced configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advanced: Option<RawObject>,
}

/// How requests reach the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterSpec {
    /// HTTP routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteSpec>,
    /// Gateways; `{}` is the managed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewaySpec>,
    /// Ingresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
    /// The endpoint picker and its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerSpec>,
}

/// HTTP routes and traffic groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSpec {
    /// Existing routes or the spec of the managed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRouteChoice>,
    /// Traffic group that this service joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Share of the group's traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}

/// Existing routes or the spec of the managed one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteChoice {
    /// HTTPRoutes of the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<LocalObjectReference>,
    /// HTTPRouteSpec of the managed route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<RawObject>,
}

/// Gateways to attach to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// The gateways; empty means the managed one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<GatewayReference>,
}

/// A gateway, or one listener of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayReference {
    /// Name of the Gateway.
    pub name: String,
    /// Its namespace; the service's own when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// One listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Ingresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// Ingresses of the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<NamespacedReference>,
}

/// Name and namespace of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedReference {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// An object of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    /// Its name.
    pub name: String,
}

/// The endpoint picker and its pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulerSpec {
    /// An existing pool or the spec of the managed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolChoice>,
    /// Labels for the picker's pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the picker's pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// PodSpec of the picker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<RawObject>,
    /// Pickers to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The picker's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<SchedulerConfig>,
    /// Stand-alone tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerSpec>,
}

/// An existing pool or the spec of the managed one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolChoice {
    /// InferencePool of the user.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<LocalObjectReference>,
    /// InferencePoolSpec of the managed pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<RawObject>,
}

/// The picker's configuration: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchedulerConfig {
    /// The configuration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<RawObject>,
    /// Key of a ConfigMap.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<ConfigMapKeyReference>,
}

/// One key of a ConfigMap of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapKeyReference {
    /// Name of the ConfigMap.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// Stand-alone tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenizerSpec {
    /// PodSpec of the tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<RawObject>,
}

/// OpenTelemetry settings; unset ones come from the preset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TracingSpec {
    /// OTLP endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter_endpoint: Option<String>,
    /// Sampler name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<String>,
    /// Argument of the sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler_arg: Option<String>,
    /// Exporter name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter: Option<String>,
}
