//! Whether the cluster can mount container images as volumes: advice, on which nothing depends.

use serde_json::Value;
use weir_api::names::{condition, label, reason, value};

use super::conditions::Conditions;
use super::{Outcome, StatusInput};
use crate::pod::storage;
use crate::{items, text};

/// What is known of image volumes in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageVolumes {
    /// Whether the configuration has images mounted as volumes.
    pub native: bool,
    /// Minor version of the API server.
    pub server_minor: Option<u32>,
}

const PODS: [&str; 3] = [
    "/spec/template/spec",
    "/spec/leaderWorkerTemplate/leaderTemplate/spec",
    "/spec/leaderWorkerTemplate/workerTemplate/spec",
];

/// Sets the advice, or takes it away where there is none to give.
pub(super) fn conditions(input: &StatusInput<'_>, spec: &Value, conditions: &mut Conditions) {
    let kind = condition::OCI_IMAGE_VOLUME_COMPATIBLE;
    match advice(input, spec) {
        Some((reason, message)) => conditions.set_false(kind, reason, &message),
        None => conditions.remove(kind),
    }
}

fn advice(input: &StatusInput<'_>, spec: &Value) -> Option<(&'static str, String)> {
    let wanted = storage::is_image_volume(spec, input.image_volumes.native);
    if wanted && *input.workloads == Outcome::Done && is_dropped(input) {
        let message = "the API server dropped the image volume: pods start without a model. Set \
                       --feature-gates=ImageVolume=true on kube-apiserver and kubelet, or use another ociModelMode";
        return Some((reason::IMAGE_VOLUME_UNSUPPORTED, message.to_owned()));
    }
    let minor = input.image_volumes.server_minor?;
    if !input.image_volumes.native {
        return None;
    }
    match minor {
        ..31 => Some((
            reason::IMAGE_VOLUME_UNSUPPORTED,
            format!(
                "Cluster K8s 1.{minor} has no image volumes (K8s 1.31 and later). Use another ociModelMode."
            ),
        )),
        31..=32 => Some((
            reason::IMAGE_VOLUME_SUB_PATH_UNSUPPORTED,
            format!(
                "Cluster K8s 1.{minor} has image volumes without sub paths (K8s 1.33 and later). Use another ociModelMode."
            ),
        )),
        33..=34 => Some((
            reason::IMAGE_VOLUME_ALPHA,
            format!(
                "Cluster K8s 1.{minor} has ImageVolume feature-gated (K8s 1.33–1.34 beta). Ensure --feature-gates=ImageVolume=true is set on kube-apiserver and kubelet."
            ),
        )),
        _ => None,
    }
}

/// Whether a pod that was written with an image volume is there without one: what a server does where a gate is off.
fn is_dropped(input: &StatusInput<'_>) -> bool {
    let workloads = input.live.iter().filter(|live| {
        text(
            &live["metadata"]["labels"],
            &format!("/{}", label::COMPONENT.replace('/', "~1")),
        )
        .starts_with(value::COMPONENT_WORKLOAD)
    });
    let mut pods = workloads.flat_map(|live| PODS.iter().filter_map(|at| live.pointer(at)));
    pods.any(|pod| {
        !items(pod, "/volumes")
            .iter()
            .any(|volume| volume.get("image").is_some())
    })
}
