//! GPU requests that follow from parallelism when the user gave none.

use serde_json::{Value, json};
use weir_api::names::{FIELD_MANAGER, annotation, container};

use crate::{ServiceIdentity, items, present};

/// The resource that is requested when no container names an accelerator.
const DEFAULT: &str = "nvidia.com/gpu";

/// Sets the GPU request of `main` from `parallelism`, if the spec asks for tensor parallelism, no container
/// names an accelerator, nothing claims devices, and the workload is new or already ours.
pub(crate) fn fill(service: &ServiceIdentity, spec: &Value, pod: &mut Value, live: Option<&Value>) {
    let factor = |name: &str| {
        spec.pointer(&format!("/parallelism/{name}"))
            .and_then(Value::as_u64)
    };
    let Some(tensor) = factor("tensor") else {
        return;
    };
    let claimed = present(pod, "/resourceClaims")
        || service
            .annotations
            .keys()
            .any(|key| key.starts_with(annotation::DRA_PREFIX));
    if claimed || names_accelerator(pod) || live.is_some_and(|live| !written_by_us(live)) {
        return;
    }
    let count = tensor
        .saturating_mul(factor("dataLocal").unwrap_or(1))
        .saturating_mul(factor("pipeline").unwrap_or(1));
    let containers = pod
        .get_mut("containers")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for main in containers.filter(|c| c["name"] == container::MAIN) {
        for kind in ["limits", "requests"] {
            main["resources"][kind][DEFAULT] = json!(count.to_string());
        }
    }
}

/// Whether a container of the pod asks for an accelerator of any vendor.
fn names_accelerator(pod: &Value) -> bool {
    ["/containers", "/initContainers"]
        .iter()
        .flat_map(|list| items(pod, list))
        .any(|container| {
            ["/resources/limits", "/resources/requests"]
                .iter()
                .filter_map(|path| container.pointer(path)?.as_object())
                .flat_map(|resources| resources.keys())
                .any(|name| is_accelerator(name))
        })
}

fn is_accelerator(name: &str) -> bool {
    name.ends_with("/gpu")
        || name == "habana.ai/gaudi"
        || name == "google.com/tpu"
        || name.starts_with("aws.amazon.com/neuron")
        || name.starts_with("nvidia.com/mig-")
        || name.starts_with("gpu.intel.com/")
}

/// Whether the live object was applied by this controller.
fn written_by_us(live: &Value) -> bool {
    items(live, "/metadata/managedFields")
        .iter()
        .any(|entry| entry["manager"] == FIELD_MANAGER)
}
