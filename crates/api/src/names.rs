//! Every name that Weir shares with a cluster, once: labels, annotations, conditions, ports, child names.

mod child;
mod conditions;
mod kinds;
pub mod lws;

pub use child::{ChildNames, child};
pub use conditions::{condition, reason};
pub use kinds::{Kind, kind};

/// API group of our kinds.
pub const GROUP: &str = "serving.kserve.io";
/// The stored version of our kinds.
pub const VERSION: &str = "v1alpha2";
/// The older served version of our kinds.
pub const OLD_VERSION: &str = "v1alpha1";
/// `apiVersion` of our kinds, as owner references carry it.
pub const API_VERSION: &str = "serving.kserve.io/v1alpha2";
/// Kind of the service.
pub const SERVICE_KIND: &str = "LLMInferenceService";
/// Kind of the config.
pub const CONFIG_KIND: &str = "LLMInferenceServiceConfig";
/// Plural of the service.
pub const SERVICE_PLURAL: &str = "llminferenceservices";
/// Plural of the config.
pub const CONFIG_PLURAL: &str = "llminferenceserviceconfigs";

/// Field manager of everything Weir writes by server-side apply.
pub const FIELD_MANAGER: &str = "weir";
/// Finalizer on a service.
pub const SERVICE_FINALIZER: &str = "serving.kserve.io/llmisvc-finalizer";
/// Finalizer on a config.
pub const CONFIG_FINALIZER: &str = "serving.kserve.io/llmisvcconfig-finalizer";
/// Namespace of the presets and of the global configuration, unless `POD_NAMESPACE` says otherwise.
pub const SYSTEM_NAMESPACE: &str = "kserve";
/// Prefix of preset names, unless `LLM_INFERENCE_SERVICE_CONFIG_PREFIX` says otherwise.
pub const PRESET_PREFIX: &str = "kserve-";
/// ConfigMap with the global configuration, in the system namespace.
pub const GLOBAL_CONFIG_MAP: &str = "inferenceservice-config";
/// Gateway that a service without `gateway.refs` attaches to, in the system namespace.
pub const DEFAULT_GATEWAY: &str = "kserve-ingress-gateway";
/// GatewayClass of Weir's own gateway.
pub const GATEWAY_CLASS: &str = "weir";
/// Controller name in the status that Weir's own gateway writes.
pub const GATEWAY_CONTROLLER: &str = "weir.dev/gateway";
/// Why a container of one machine ended together with its node, `reason` in its last state.
pub const NODE_STOPPED: &str = "NodeStopped";
/// Longest name of a service: it is a label value.
pub const MAX_SERVICE_NAME: usize = 63;

/// Label keys.
pub mod label {
    /// The service's name.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// Always [`super::value::PART_OF`].
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
    /// Which part of the service.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// Name of the Service that an EndpointSlice belongs to.
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    /// `workload` on pods that serve requests.
    pub const KSERVE_COMPONENT: &str = "kserve.io/component";
    /// `prefill`, `decode` or `both`.
    pub const ROLE: &str = "llm-d.ai/role";
    /// Traffic group.
    pub const ROUTING_GROUP: &str = "serving.kserve.io/routing-group";
    /// Cached model in use.
    pub const LOCAL_MODEL: &str = "internal.serving.kserve.io/localmodel";
    /// Namespace of the cached model in use.
    pub const LOCAL_MODEL_NAMESPACE: &str = "internal.serving.kserve.io/localmodel-namespace";
}

/// Label values.
pub mod value {
    /// Value of `app.kubernetes.io/part-of`.
    pub const PART_OF: &str = "llminferenceservice";
    /// Value of `kserve.io/component`.
    pub const WORKLOAD: &str = "workload";
    /// Component of the primary Deployment, the workload Service and the TLS Secret.
    pub const COMPONENT_WORKLOAD: &str = "llminferenceservice-workload";
    /// Component of the prefill Deployment.
    pub const COMPONENT_PREFILL: &str = "llminferenceservice-workload-prefill";
    /// Component of workers of a group.
    pub const COMPONENT_WORKER: &str = "llminferenceservice-workload-worker";
    /// Component of the leader of a group.
    pub const COMPONENT_LEADER: &str = "llminferenceservice-workload-leader";
    /// Component of workers of a prefill group.
    pub const COMPONENT_WORKER_PREFILL: &str = "llminferenceservice-workload-worker-prefill";
    /// Component of the leader of a prefill group.
    pub const COMPONENT_LEADER_PREFILL: &str = "llminferenceservice-workload-leader-prefill";
    /// Component of routes.
    pub const COMPONENT_ROUTER: &str = "llminferenceservice-router";
    /// Component of the picker's objects and the pool.
    pub const COMPONENT_SCHEDULER: &str = "llminferenceservice-router-scheduler";
    /// Component of the stand-alone tokenizer.
    pub const COMPONENT_TOKENIZER: &str = "tokenizer";
    /// Role of pods that only prefill.
    pub const ROLE_PREFILL: &str = "prefill";
    /// Role of pods that only decode.
    pub const ROLE_DECODE: &str = "decode";
    /// Role of pods that do both.
    pub const ROLE_BOTH: &str = "both";
}

/// Annotation keys.
pub mod annotation {
    /// `true` (any case) stops the service.
    pub const STOP: &str = "serving.kserve.io/stop";
    /// Engine version where the image does not tell.
    pub const ENGINE_VERSION: &str = "serving.kserve.io/engine-version";
    /// Pods serve the `publishers/<namespace>/models/<name>` alias; never reaches pods.
    pub const MODEL_BASED_ROUTING: &str = "serving.kserve.io/model-based-routing-enabled";
    /// On a route: it has moved to the v1 pool.
    pub const POOL_MIGRATED: &str = "serving.kserve.io/inference-pool-migrated";
    /// Where the picker's configuration came from.
    pub const EPP_CONFIG_SOURCE: &str = "serving.kserve.io/epp-config-source";
    /// Prefix of the managed DRA annotations.
    pub const DRA_PREFIX: &str = "serving.kserve.io/exp-dra-";
    /// Secret with storage credentials.
    pub const STORAGE_SECRET: &str = "serving.kserve.io/storageSecretName";
    /// Switches the local model cache off.
    pub const DISABLE_LOCAL_MODEL: &str = "serving.kserve.io/disable-localmodel";
    /// Node group of the local model cache.
    pub const NODE_GROUP: &str = "serving.kserve.io/nodegroup";
    /// Source of the cached model.
    pub const LOCAL_MODEL_SOURCE: &str = "internal.serving.kserve.io/localmodel-sourceuri";
    /// PVC of the cached model.
    pub const LOCAL_MODEL_PVC: &str = "internal.serving.kserve.io/localmodel-pvc-name";
    /// `model.criticality` of v1alpha1 in a stored object.
    pub const MODEL_CRITICALITY: &str = "internal.serving.kserve.io/model-criticality";
    /// `criticality` of the adapters of v1alpha1 in a stored object.
    pub const LORA_CRITICALITIES: &str = "internal.serving.kserve.io/lora-criticalities";
    /// Fields that only v1alpha2 has, in an object read as v1alpha1.
    pub const HUB_ONLY_FIELDS: &str = "internal.serving.kserve.io/weir-v1alpha2-fields";
    /// Directory that takes the place of a PVC on one machine.
    pub const LOCAL_PATH: &str = "weir.dev/local-path";
    /// On a workload: the image of its download container is the user's.
    pub const OWN_INITIALIZER: &str = "weir.dev/own-storage-initializer";
}

/// Prefixes of service annotations that reach workloads and their pods.
pub const PROPAGATED_ANNOTATIONS: &[&str] = &[
    "k8s.v1.cni.cncf.io",
    "kueue.x-k8s.io",
    "prometheus.io",
    "internal.serving.kserve.io/localmodel",
];
/// Prefix of service annotations that reach LeaderWorkerSets too.
pub const PROPAGATED_LWS_ANNOTATION: &str = "leaderworkerset.sigs.k8s.io";
/// Prefixes of service labels that reach workloads and their pods.
pub const PROPAGATED_LABELS: &[&str] = &["kueue.x-k8s.io", "internal.serving.kserve.io/localmodel"];

/// Ports.
pub mod port {
    /// Where requests arrive: the engine, or the sidecar in front of it.
    pub const SERVE: u16 = 8000;
    /// The engine behind a sidecar.
    pub const DECODE_ENGINE: u16 = 8001;
    /// ext_proc of the endpoint picker.
    pub const PICKER_GRPC: u16 = 9002;
    /// gRPC health of the endpoint picker.
    pub const PICKER_HEALTH: u16 = 9003;
    /// Metrics of the endpoint picker.
    pub const PICKER_METRICS: u16 = 9090;
    /// KV events of the engine.
    pub const KV_EVENTS: u16 = 5557;
    /// Data parallel RPC of the engine.
    pub const DATA_PARALLEL_RPC: u16 = 5555;
}

/// Container names.
pub mod container {
    /// The engine.
    pub const MAIN: &str = "main";
    /// The prefill/decode sidecar.
    pub const SIDECAR: &str = "llm-d-routing-sidecar";
    /// The model download.
    pub const STORAGE_INITIALIZER: &str = "storage-initializer";
    /// The stand-alone tokenizer.
    pub const TOKENIZER: &str = "tokenizer";
}

/// Paths inside containers.
pub mod path {
    /// Where the model is.
    pub const MODELS: &str = "/mnt/models";
    /// Where the serving certificate is.
    pub const TLS: &str = "/var/run/kserve/tls";
}

/// Default images.
pub mod image {
    /// The engine.
    pub const ENGINE: &str = "ghcr.io/llm-d/llm-d-cuda:v0.9.0";
    /// Upstream's prefill/decode sidecar.
    pub const LLM_D_SIDECAR: &str = "ghcr.io/llm-d/llm-d-router-disagg-sidecar:v0.10.0";
    /// Upstream's endpoint picker.
    pub const LLM_D_PICKER: &str = "ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0";
    /// Upstream's model download.
    pub const STORAGE_INITIALIZER: &str = "kserve/storage-initializer:latest";
    /// Weir itself: picker, sidecar, model download.
    pub const WEIR: &str = "ghcr.io/weir-dev/weir:v0.1.0";
}
