//! Condition types and reasons.

/// Condition types of a service and a config.
pub mod condition {
    /// All of the next three.
    pub const READY: &str = "Ready";
    /// Configs found, merged and rendered.
    pub const PRESETS_COMBINED: &str = "PresetsCombined";
    /// Every workload is ready.
    pub const WORKLOADS_READY: &str = "WorkloadsReady";
    /// Gateways, routes, pool and picker are ready.
    pub const ROUTER_READY: &str = "RouterReady";
    /// Primary Deployment.
    pub const MAIN_WORKLOAD_READY: &str = "MainWorkloadReady";
    /// Primary LeaderWorkerSet.
    pub const WORKER_WORKLOAD_READY: &str = "WorkerWorkloadReady";
    /// Prefill Deployment.
    pub const PREFILL_WORKLOAD_READY: &str = "PrefillWorkloadReady";
    /// Prefill LeaderWorkerSet.
    pub const PREFILL_WORKER_WORKLOAD_READY: &str = "PrefillWorkerWorkloadReady";
    /// Autoscaler of the primary workload.
    pub const SCALING_READY: &str = "ScalingReady";
    /// Autoscaler of the prefill workload.
    pub const PREFILL_SCALING_READY: &str = "PrefillScalingReady";
    /// Gateways in use.
    pub const GATEWAYS_READY: &str = "GatewaysReady";
    /// Routes in use.
    pub const HTTP_ROUTES_READY: &str = "HTTPRoutesReady";
    /// Pool in use.
    pub const INFERENCE_POOL_READY: &str = "InferencePoolReady";
    /// Endpoint picker.
    pub const SCHEDULER_WORKLOAD_READY: &str = "SchedulerWorkloadReady";
    /// Stand-alone tokenizer.
    pub const TOKENIZER_READY: &str = "TokenizerReady";
    /// Traffic group, informational.
    pub const GROUP_READY: &str = "GroupReady";
    /// Members of a traffic group differ, informational.
    pub const GROUP_DEGRADED: &str = "GroupDegraded";
    /// Image volumes work on this cluster, informational.
    pub const OCI_IMAGE_VOLUME_COMPATIBLE: &str = "OciImageVolumeCompatible";
    /// The model metadata object exists, informational.
    pub const MODEL_METADATA_PUBLISHED: &str = "ModelMetadataPublished";
    /// A config is in use.
    pub const CONFIG_IN_USE: &str = "ConfigInUse";

    /// What [`READY`] depends on, in the order of evaluation.
    pub const READY_DEPENDENTS: [&str; 3] = [PRESETS_COMBINED, WORKLOADS_READY, ROUTER_READY];
    /// What [`WORKLOADS_READY`] depends on, first one first.
    pub const WORKLOADS_DEPENDENTS: [&str; 6] = [
        MAIN_WORKLOAD_READY,
        WORKER_WORKLOAD_READY,
        PREFILL_WORKLOAD_READY,
        PREFILL_WORKER_WORKLOAD_READY,
        SCALING_READY,
        PREFILL_SCALING_READY,
    ];
    /// What [`ROUTER_READY`] depends on, first one first.
    pub const ROUTER_DEPENDENTS: [&str; 5] = [
        GATEWAYS_READY,
        HTTP_ROUTES_READY,
        INFERENCE_POOL_READY,
        SCHEDULER_WORKLOAD_READY,
        TOKENIZER_READY,
    ];
}

/// Reasons of conditions and events.
pub mod reason {
    /// A config that is referenced does not exist.
    pub const CONFIG_NOT_FOUND: &str = "ConfigNotFound";
    /// Configs could not be combined.
    pub const COMBINE_BASE_ERROR: &str = "CombineBaseError";
    /// The rendered spec is refused.
    pub const INVALID_RENDERED_CONFIG: &str = "InvalidRenderedConfig";
    /// The rendered spec could not be checked.
    pub const VALIDATION_UNAVAILABLE: &str = "ValidationUnavailable";
    /// The service is stopped.
    pub const STOPPED: &str = "Stopped";
    /// Not there yet.
    pub const PROGRESSING: &str = "Progressing";
    /// A newer generation was not looked at yet.
    pub const NEW_OBSERVED_GENERATION: &str = "NewObservedGenFailure";
    /// Certificates failed.
    pub const RECONCILE_CERTS_ERROR: &str = "ReconcileCertsError";
    /// Accounts and roles failed.
    pub const RECONCILE_PERMISSIONS_ERROR: &str = "ReconcileWorkloadPermissionsError";
    /// A single-node workload failed.
    pub const RECONCILE_SINGLE_NODE_ERROR: &str = "ReconcileSingleNodeWorkloadError";
    /// A multi-node workload failed.
    pub const RECONCILE_MULTI_NODE_ERROR: &str = "ReconcileMultiNodeWorkloadError";
    /// The workload Service failed.
    pub const RECONCILE_SERVICE_ERROR: &str = "ReconcileWorkloadServiceError";
    /// The autoscaler failed.
    pub const RECONCILE_SCALING_ERROR: &str = "ReconcileScalingError";
    /// The autoscaler's CRD is not installed.
    pub const SCALING_CRD_NOT_FOUND: &str = "ScalingCRDNotFound";
    /// A HorizontalPodAutoscaler does not say yet that it works.
    pub const HPA_PROGRESSING: &str = "HPAProgressing";
    /// A ScaledObject does not say yet that it works.
    pub const SCALED_OBJECT_PROGRESSING: &str = "ScaledObjectProgressing";
    /// A reference of the router does not hold.
    pub const REFS_INVALID: &str = "RefsInvalid";
    /// A gateway is not programmed.
    pub const GATEWAYS_NOT_READY: &str = "GatewaysNotReady";
    /// A route could not be written.
    pub const HTTP_ROUTE_RECONCILE_ERROR: &str = "HTTPRouteReconcileError";
    /// A route could not be read.
    pub const HTTP_ROUTE_FETCH_ERROR: &str = "HTTPRouteFetchError";
    /// A route is not accepted.
    pub const HTTP_ROUTES_NOT_READY: &str = "HTTPRoutesNotReady";
    /// The pool waits for a gateway.
    pub const WAITING_FOR_GATEWAY: &str = "WaitingForGateway";
    /// The pool is not accepted.
    pub const INFERENCE_POOL_NOT_READY: &str = "InferencePoolNotReady";
    /// The pool could not be read.
    pub const INFERENCE_POOL_FETCH_ERROR: &str = "InferencePoolFetchError";
    /// The picker could not be written.
    pub const SCHEDULER_RECONCILE_ERROR: &str = "SchedulerReconcileError";
    /// Members of a group have other models.
    pub const MEMBER_DIVERGENCE: &str = "MemberDivergence";
    /// Another member's route leads to a service that is to go.
    pub const FINALIZATION_PENDING: &str = "FinalizationPending";
    /// Event: another service of the namespace has the same model.
    pub const MODEL_NAME_COLLISION: &str = "ModelNameCollision";
    /// The API server knows no image volumes, or drops them.
    pub const IMAGE_VOLUME_UNSUPPORTED: &str = "ImageVolumeUnsupported";
    /// The API server knows no directories in image volumes.
    pub const IMAGE_VOLUME_SUB_PATH_UNSUPPORTED: &str = "ImageVolumeSubPathUnsupported";
    /// Image volumes are behind a gate.
    pub const IMAGE_VOLUME_ALPHA: &str = "ImageVolumeAlpha";
    /// No kind for model metadata is served.
    pub const NO_SERVED_KIND: &str = "NoServedKind";
    /// Model metadata could not be written.
    pub const PUBLISH_FAILED: &str = "PublishFailed";
    /// A config is in use.
    pub const IN_USE: &str = "InUse";
    /// A config is not in use.
    pub const NOT_IN_USE: &str = "NotInUse";
    /// A config is in use and cannot go.
    pub const DELETION_BLOCKED: &str = "DeletionBlocked";
    /// Event: an object was created.
    pub const CREATED: &str = "Created";
    /// Event: an object was updated.
    pub const UPDATED: &str = "Updated";
    /// Event: an object was deleted.
    pub const DELETED: &str = "Deleted";
    /// Event: the service became ready.
    pub const SERVICE_READY: &str = "LLMInferenceServiceReady";
    /// Event: the service stopped being ready.
    pub const SERVICE_NOT_READY: &str = "LLMInferenceServiceNotReady";
}
