//! Kinds that are read or written without a type of their own.

use kube_core::discovery::ApiResource;
use kube_core::gvk::GroupVersionKind;

/// A kind by its constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for the core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural, as in paths.
    pub plural: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
}

impl Kind {
    const fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            namespaced: true,
        }
    }

    const fn cluster(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            namespaced: false,
        }
    }

    /// `apiVersion` as objects carry it.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// What a client needs for a `DynamicObject`.
    #[must_use]
    pub fn api_resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(self.group, self.version, self.kind),
            self.plural,
        )
    }
}

/// The kinds.
pub mod kind {
    use super::Kind;

    const SERVING: &str = super::super::GROUP;
    const GATEWAY_API: &str = "gateway.networking.k8s.io";

    /// Our service.
    pub const SERVICE: Kind = Kind::new(
        SERVING,
        "v1alpha2",
        "LLMInferenceService",
        "llminferenceservices",
    );
    /// Our config.
    pub const CONFIG: Kind = Kind::new(
        SERVING,
        "v1alpha2",
        "LLMInferenceServiceConfig",
        "llminferenceserviceconfigs",
    );
    /// Gateway API.
    pub const GATEWAY_CLASS: Kind =
        Kind::cluster(GATEWAY_API, "v1", "GatewayClass", "gatewayclasses");
    /// Gateway API.
    pub const GATEWAY: Kind = Kind::new(GATEWAY_API, "v1", "Gateway", "gateways");
    /// Gateway API.
    pub const HTTP_ROUTE: Kind = Kind::new(GATEWAY_API, "v1", "HTTPRoute", "httproutes");
    /// Gateway API inference extension.
    pub const INFERENCE_POOL: Kind = Kind::new(
        "inference.networking.k8s.io",
        "v1",
        "InferencePool",
        "inferencepools",
    );
    /// Gateway API inference extension, before v1.
    pub const INFERENCE_POOL_ALPHA: Kind = Kind::new(
        "inference.networking.x-k8s.io",
        "v1alpha2",
        "InferencePool",
        "inferencepools",
    );
    /// Gateway API inference extension.
    pub const INFERENCE_OBJECTIVE: Kind = Kind::new(
        "inference.networking.x-k8s.io",
        "v1alpha2",
        "InferenceObjective",
        "inferenceobjectives",
    );
    /// Objectives of llm-d.
    pub const LLM_D_INFERENCE_OBJECTIVE: Kind = Kind::new(
        "llm-d.ai",
        "v1alpha2",
        "InferenceObjective",
        "inferenceobjectives",
    );
    /// Gateway API inference extension, before objectives.
    pub const INFERENCE_MODEL: Kind = Kind::new(
        "inference.networking.x-k8s.io",
        "v1alpha2",
        "InferenceModel",
        "inferencemodels",
    );
    /// Groups of pods.
    pub const LEADER_WORKER_SET: Kind = Kind::new(
        "leaderworkerset.x-k8s.io",
        "v1",
        "LeaderWorkerSet",
        "leaderworkersets",
    );
    /// KEDA.
    pub const SCALED_OBJECT: Kind =
        Kind::new("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects");
    /// apps.
    pub const DEPLOYMENT: Kind = Kind::new("apps", "v1", "Deployment", "deployments");
    /// apps.
    pub const REPLICA_SET: Kind = Kind::new("apps", "v1", "ReplicaSet", "replicasets");
    /// core.
    pub const POD: Kind = Kind::new("", "v1", "Pod", "pods");
    /// core.
    pub const CORE_SERVICE: Kind = Kind::new("", "v1", "Service", "services");
    /// core.
    pub const SECRET: Kind = Kind::new("", "v1", "Secret", "secrets");
    /// core.
    pub const CONFIG_MAP: Kind = Kind::new("", "v1", "ConfigMap", "configmaps");
    /// Device claims, made for each pod.
    pub const RESOURCE_CLAIM_TEMPLATE: Kind = Kind::new(
        "resource.k8s.io",
        "v1",
        "ResourceClaimTemplate",
        "resourceclaimtemplates",
    );
    /// Models that every node of a group holds.
    pub const LOCAL_MODEL_CACHE: Kind =
        Kind::cluster(SERVING, "v1alpha1", "LocalModelCache", "localmodelcaches");
    /// Models that every node of a group holds for one namespace.
    pub const LOCAL_MODEL_NAMESPACE_CACHE: Kind = Kind::new(
        SERVING,
        "v1alpha1",
        "LocalModelNamespaceCache",
        "localmodelnamespacecaches",
    );
    /// core.
    pub const SERVICE_ACCOUNT: Kind = Kind::new("", "v1", "ServiceAccount", "serviceaccounts");
    /// rbac.
    pub const ROLE: Kind = Kind::new("rbac.authorization.k8s.io", "v1", "Role", "roles");
    /// rbac.
    pub const ROLE_BINDING: Kind = Kind::new(
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "rolebindings",
    );
    /// rbac.
    pub const CLUSTER_ROLE_BINDING: Kind = Kind::cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
    );
    /// discovery.
    pub const ENDPOINT_SLICE: Kind =
        Kind::new("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
    /// autoscaling.
    pub const HORIZONTAL_POD_AUTOSCALER: Kind = Kind::new(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    );
}
