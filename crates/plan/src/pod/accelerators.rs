//! GPU requests that follow from parallelism when the user gave none.

use serde_json::{Value, json};
use weir_api::names::{annotation, label};

use super::{Context, edit, labels};
use crate::workload::group;
use crate::{Error, Note, items, present, strings};

/// The resource that is requested when no container names an accelerator.
const DEFAULT: &str = "nvidia.com/gpu";

/// Sets the GPU request of `main` from `parallelism`, if the spec asks for tensor parallelism, no container
/// names an accelerator, nothing claims devices, and the workload is new or already ours.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let count = wanted(pod, context);
    let Some(count) = count.filter(|_| !is_adopted(context)) else {
        return Ok(());
    };
    if let Some(main) = edit::main(pod) {
        for kind in ["limits", "requests"] {
            main["resources"][kind][DEFAULT] = json!(count.to_string());
        }
    }
    Ok(())
}

/// How many the engine needs, where nothing else says.
fn wanted(pod: &Value, context: &Context<'_>) -> Option<u64> {
    let factor = |name: &str| {
        context
            .workload
            .pointer(&format!("/parallelism/{name}"))
            .and_then(Value::as_u64)
    };
    let tensor = factor("tensor")?;
    let claimed = present(pod, "/resourceClaims")
        || context
            .service
            .annotations
            .keys()
            .any(|key| key.starts_with(annotation::DRA_PREFIX));
    if claimed || names_accelerator(pod) {
        return None;
    }
    let mut count = tensor.saturating_mul(factor("dataLocal").unwrap_or(1));
    // The stages of a group are on its other pods.
    if !context.role.is_grouped() {
        count = count.saturating_mul(factor("pipeline").unwrap_or(1));
    }
    Some(count)
}

/// That a workload of an existing installation goes without: a request would roll it out.
pub(crate) fn note(context: &Context<'_>) -> Option<Note> {
    let pod = context.role.template(context.spec)?;
    let count = wanted(pod, context).filter(|_| is_adopted(context))?;
    Some(Note {
        reason: "AcceleratorsNotRequested",
        message: format!(
            "{}: parallelism needs {count} accelerators in each pod and no container asks for any; the running \
             workload is left as it is, ask for {DEFAULT} or another resource yourself",
            context.role.field()
        ),
    })
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

/// Whether the live object is one of an existing installation. Ours have other names, or selectors without the role,
/// for as long as they live; who wrote to an object last says nothing, for we write to adopted ones too.
fn is_adopted(context: &Context<'_>) -> bool {
    let Some(live) = context.live else {
        return false;
    };
    if context.role.is_grouped() {
        return live["metadata"]["name"]
            != group::own_name(context.service, context.role.is_prefill());
    }
    // One whose role changes is made anew, and is ours then.
    let selector = strings(live.pointer("/spec/selector/matchLabels"));
    let role = selector.get(label::ROLE);
    role.is_some() && role == labels(context).get(label::ROLE)
}
