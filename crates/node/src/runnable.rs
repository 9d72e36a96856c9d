//! What a container may run on this machine: an engine, a part of Weir, or nothing.
//!
//! The first word only selects the job; the program is this binary or the `vllm` chosen at start, never
//! a path from the manifest.

use serde_json::Value;

/// The job of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// The engine, with the words after `vllm`.
    Engine(Vec<String>),
    /// The model download.
    StorageInitializer,
    /// Any other program, with all its words.
    Command(Vec<String>),
    /// Nothing that this machine can tell.
    Unknown,
}

/// Returns the job of a container, by the base name of its first word, then by its image.
pub fn job(container: &Value) -> Job {
    let words = |key: &str| -> Vec<String> {
        let list = container.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|word| Some(word.as_str()?.to_owned()))
            .collect()
    };
    let (command, arguments) = (words("command"), words("args"));
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let repository = image.split(['@']).next().unwrap_or_default();
    let last = repository.rsplit('/').next().unwrap_or_default();
    let base = last.split(':').next().unwrap_or_default();
    if command.is_empty() {
        return match base {
            "storage-initializer" => Job::StorageInitializer,
            "vllm-openai"
            | "vllm-openai-cpu"
            | "llm-d-cuda"
            | "llm-d-cpu"
            | "llm-d"
            | "llm-d-inference-sim" => Job::Engine([vec!["serve".to_owned()], arguments].concat()),
            _ if arguments.is_empty() => Job::Unknown,
            _ => Job::Unknown,
        };
    }
    let all = [command, arguments].concat();
    let first = all[0].rsplit('/').next().unwrap_or_default();
    match first {
        "vllm" => Job::Engine(all[1..].to_vec()),
        "storage-initializer" => Job::StorageInitializer,
        "python" | "python3"
            if all.get(1).is_some_and(|w| w == "-m")
                && all
                    .get(2)
                    .is_some_and(|w| w.starts_with("vllm.entrypoints.")) =>
        {
            Job::Engine([vec!["serve".to_owned()], all[3..].to_vec()].concat())
        }
        _ => Job::Command(all),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_word_selects_the_job_then_the_image() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rows = [
            (
                json!({"command": ["vllm", "serve", "/m"], "args": ["--port", "1"]}),
                Job::Engine(words(&["serve", "/m", "--port", "1"])),
            ),
            (
                json!({"image": "kserve/storage-initializer:v1", "args": ["hf://a/b", "/mnt/models"]}),
                Job::StorageInitializer,
            ),
            (
                json!({"image": "docker.io/vllm/vllm-openai:v1", "args": ["--model", "m"]}),
                Job::Engine(words(&["serve", "--model", "m"])),
            ),
            (
                json!({"command": ["/bin/sh", "-c", "x"]}),
                Job::Command(words(&["/bin/sh", "-c", "x"])),
            ),
            (json!({"image": "nginx"}), Job::Unknown),
        ];
        for (container, wanted) in rows {
            assert_eq!(job(&container), wanted, "{container}");
        }
    }
}
