//! Whether the accelerators that a pod asks for are those its parallelism needs.

use serde_json::Value;

use super::Verdict;

/// An error where the mismatch is certain, a warning where the engine's own arguments may explain it. An effective
/// spec has the command line that a preset generates, which explains nothing.
pub(super) fn check(workload: &Value, path: &str, is_effective: bool, verdict: &mut Verdict) {
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
        if is_certain(main) || is_effective && is_generated(main, tensor) {
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

/// Whether the container runs vLLM with no other tensor parallelism than the spec's.
fn is_generated(main: &Value, tensor: i64) -> bool {
    let words = |field: &str| {
        let list = main[field].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(Value::as_str)
    };
    let is_engine = words("command")
        .next()
        .is_some_and(|program| program.rsplit('/').next() == Some("vllm"));
    let argv: Vec<&str> = words("command").chain(words("args")).collect();
    let says = |(index, word): (usize, &&str)| -> Option<i64> {
        if !word.contains("tensor-parallel") {
            return Some(tensor);
        }
        let value = word.split_once('=').map(|(_, value)| value);
        value.or_else(|| argv.get(index + 1).copied())?.parse().ok()
    };
    let mut environment = main["env"].as_array().into_iter().flatten();
    let is_explained = environment.any(|e| e["name"] == "VLLM_ADDITIONAL_ARGS" && explains(e));
    is_engine
        && !is_explained
        && argv
            .iter()
            .enumerate()
            .all(|word| says(word) == Some(tensor))
}

/// Whether an environment variable may hold an argument about tensor parallelism.
fn explains(variable: &Value) -> bool {
    says_tensor(&variable["value"]) || !variable["valueFrom"].is_null()
}

fn says_tensor(text: &Value) -> bool {
    text.as_str()
        .is_some_and(|text| text.contains("tensor-parallel"))
}

fn is_certain(main: &Value) -> bool {
    let has_command = main["command"]
        .as_array()
        .is_some_and(|command| !command.is_empty());
    let in_arguments = main["args"]
        .as_array()
        .into_iter()
        .flatten()
        .any(says_tensor);
    let mut environment = main["env"].as_array().into_iter().flatten();
    let in_environment = environment.any(|e| e["name"] == "VLLM_ADDITIONAL_ARGS" && explains(e));
    !has_command && !in_arguments && !in_environment
}
