//! Whether the accelerators that a pod asks for are those its parallelism needs.

use serde_json::Value;

use super::Verdict;

/// An error where the mismatch is certain, a warning where the engine's own arguments may explain it.
pub(super) fn check(workload: &Value, path: &str, verdict: &mut Verdict) {
    let number = |field: &str| workload["parallelism"][field].as_i64().filter(|n| *n > 0);
    let Some(tensor) = number("tensor") else {
        return;
    };
    let pipeline = if workload["worker"].is_object() {
        1
    } else {
        number("pipeline").unwrap_or(1)
    };
    let needed = tensor
        .saturating_mul(number("dataLocal").unwrap_or(1))
        .saturating_mul(pipeline);
    for pod in ["template", "worker"] {
        let containers = workload[pod]["containers"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let Some(index) = containers
            .iter()
            .position(|c| c["name"] == crate::names::container::MAIN)
        else {
            continue;
        };
        let main = &containers[index];
        let Some((resource, count)) = accelerator(main) else {
            continue;
        };
        if count == needed {
            continue;
        }
        let at = format!("{path}.{pod}.containers[{index}].resources.limits[{resource}]");
        let message = format!(
            "{count} do not match parallelism, which needs {needed} in each pod; make them equal"
        );
        if is_certain(main) {
            verdict.invalid(at, message)
        } else {
            verdict.warn(at, message)
        }
    }
}

/// The only accelerator resource of a container and its count.
fn accelerator(container: &Value) -> Option<(&str, i64)> {
    let resources = &container["resources"];
    let mut found: Option<(&str, i64)> = None;
    for list in [&resources["limits"], &resources["requests"]] {
        for (name, quantity) in list.as_object().into_iter().flatten() {
            let is_accelerator = name.ends_with("/gpu")
                || name.starts_with("aws.amazon.com/neuron")
                || ["habana.ai/gaudi", "google.com/tpu"].contains(&name.as_str());
            if !is_accelerator {
                continue;
            }
            let count = quantity
                .as_i64()
                .or_else(|| quantity.as_str()?.parse().ok())?;
            match found {
                Some((other, _)) if other != name => return None,
                _ => found = Some((name, count)),
            }
        }
    }
    found
}

fn is_certain(main: &Value) -> bool {
    let has_command = main["command"]
        .as_array()
        .is_some_and(|command| !command.is_empty());
    let says = |text: &Value| {
        text.as_str()
            .is_some_and(|text| text.contains("tensor-parallel"))
    };
    let in_arguments = main["args"].as_array().into_iter().flatten().any(says);
    let mut environment = main["env"].as_array().into_iter().flatten();
    let in_environment = environment.any(|e| {
        e["name"] == "VLLM_ADDITIONAL_ARGS" && (says(&e["value"]) || !e["valueFrom"].is_null())
    });
    !has_command && !in_arguments && !in_environment
}
