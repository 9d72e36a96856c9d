//! GPU requests that follow from parallelism when the user gave none.

use serde_json::{Value, json};
use weir_api::names::{FIELD_MANAGER, annotation};

use super::{Context, edit};
use crate::{Error, items, present};

/// The resource that is requested when no container names an accelerator.
const DEFAULT: &str = "nvidia.com/gpu";

/// Sets the GPU request of `main` from `parallelism`, if the spec asks for tensor parallelism, no container
/// names an accelerator, nothing claims devices, and the workload is new or already ours.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let factor = |name: &str| {
        context
            .workload
            .pointer(&format!("/parallelism/{name}"))
            .and_then(Value::as_u64)
    };
    let Some(tensor) = factor("tensor") else {
        return Ok(());
    };
    let claimed = present(pod, "/resourceClaims")
        || context
            .service
            .annotations
            .keys()
            .any(|key| key.starts_with(annotation::DRA_PREFIX));
    if claimed || names_accelerator(pod) || context.live.is_some_and(|live| !written_by_us(live)) {
        return Ok(());
    }
    let mut count = tensor.saturating_mul(factor("dataLocal").unwrap_or(1));
    // The stages of a group are on its other pods.
    if !context.role.is_grouped() {
        count = count.saturating_mul(factor("pipeline").unwrap_or(1));
    }
    if let Some(main) = edit::main(pod) {
        for kind in ["limits", "requests"] {
            main["resources"][kind][DEFAULT] = json!(count.to_string());
        }
    }
    Ok(())
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
