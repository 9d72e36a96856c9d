//! What of a command line or an environment a manifest that is not trusted may give to a real engine: nothing
//! that loads code, reads files outside the pod's volumes or listens wider than the pod's address.

use serde_json::Value;

use crate::argv::{ServeArgs, Setting};
use crate::flags::{self, Safety};

/// Something a manifest may not give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not taken from a manifest: {why}")]
pub struct Refused {
    /// The flag, with the JSON key where it is one, or the variable.
    pub what: String,
    /// The reason.
    pub why: &'static str,
}

const CODE: &str = "it can load code, read files outside the pod's volumes or listen wider";
const FILE: &str = "it names a file outside the pod's volumes";
const WIDE: &str = "it listens on every address";
const MODULE: &str = "it names code to load";

/// Environment variables of an engine that a manifest may set.
pub const SAFE_ENV: [&str; 48] = [
    "CUDA_VISIBLE_DEVICES",
    "DO_NOT_TRACK",
    "DP_ADDRESS_RESOLVE_ATTEMPTS",
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_OFFLINE",
    "KSERVE_INFER_IB_GID_INDEX_GREP",
    "KSERVE_INFER_ROCE",
    "LWS_GROUP_SIZE",
    "LWS_LEADER_ADDRESS",
    "LWS_WORKER_INDEX",
    "MODEL_NAME",
    "NAMESPACE",
    "NCCL_DEBUG",
    "NCCL_IB_DISABLE",
    "NCCL_IB_GID_INDEX",
    "NCCL_IB_HCA",
    "NCCL_P2P_DISABLE",
    "NIXL_BACKEND",
    "NIXL_ENABLE_KV_TRANSFER",
    "NODE_NAME",
    "NVIDIA_VISIBLE_DEVICES",
    "NVSHMEM_HCA_LIST",
    "NVSHMEM_IB_GID_INDEX",
    "OMP_NUM_THREADS",
    "POD_IP",
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_UID",
    "TOKENIZERS_PARALLELISM",
    "TRANSFORMERS_OFFLINE",
    "TZ",
    "UCX_IB_GID_INDEX",
    "UCX_TLS",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN",
    "VLLM_ATTENTION_BACKEND",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_ENABLE_V1_MULTIPROCESSING",
    "VLLM_ENGINE_READY_TIMEOUT_S",
    "VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES",
    "VLLM_LOGGING_LEVEL",
    "VLLM_NIXL_SIDE_CHANNEL_HOST",
    "VLLM_NIXL_SIDE_CHANNEL_PORT",
    "VLLM_NO_USAGE_STATS",
    "VLLM_RANDOMIZE_DP_DUMMY_INPUTS",
    "VLLM_RPC_TIMEOUT",
    "VLLM_USE_V1",
    "VLLM_WORKER_MULTIPROC_METHOD",
];

/// Whether a manifest may set the variable `name`. `PYTHONHASHSEED` is the only one of Python's own.
#[must_use]
pub fn env_is_safe(name: &str) -> bool {
    name == "PYTHONHASHSEED" || SAFE_ENV.contains(&name)
}

/// What of `args` a manifest may not give; `inside` says whether a path lies in a volume of the pod.
pub fn refused(args: &ServeArgs, inside: &dyn Fn(&str) -> bool) -> Vec<Refused> {
    let mut refused = Vec::new();
    let mut refuse = |what: String, why| refused.push(Refused { what, why });
    if let Some(model) = &args.model
        && outside(model, inside)
    {
        refuse("the model".to_owned(), FILE);
    }
    for (name, setting) in &args.settings {
        let safety = flags::find(name).map_or(Safety::Unsafe, |flag| flag.safety);
        let flag = format!("--{name}");
        match (safety, setting) {
            // Unsetting a danger is none.
            (_, Setting::Bool(false)) => {}
            (Safety::Unsafe, _) => refuse(flag, CODE),
            (_, Setting::Json(value)) => json(&flag, value, inside, &mut refuse),
            (Safety::Path | Safety::Json, Setting::Words(words)) => {
                for word in words {
                    // Lists such as the adapters' are `name=path` or JSON.
                    match serde_json::from_str::<Value>(word) {
                        Ok(value @ (Value::Object(_) | Value::Array(_))) => {
                            json(&flag, &value, inside, &mut refuse);
                        }
                        _ if outside(word.rsplit('=').next().unwrap_or(word), inside) => {
                            refuse(flag.clone(), FILE);
                        }
                        _ => {}
                    }
                }
            }
            (Safety::Safe, Setting::Words(words)) => {
                if words.iter().any(|word| word == "custom_class") {
                    refuse(flag, MODULE);
                }
            }
            (_, Setting::Bool(_)) => {}
        }
    }
    refused
}

fn json(
    place: &str,
    value: &Value,
    inside: &dyn Fn(&str) -> bool,
    refuse: &mut impl FnMut(String, &'static str),
) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let place = format!("{place}.{key}");
                if names_code(key) && !value.is_null() {
                    refuse(place, MODULE);
                } else {
                    json(&place, value, inside, refuse);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                json(place, item, inside, refuse);
            }
        }
        Value::String(text) => {
            if ["://*", "://0.0.0.0", "://[::]", "://::"]
                .iter()
                .any(|wide| text.contains(wide))
            {
                refuse(place.to_owned(), WIDE);
            } else if outside(text, inside) {
                refuse(place.to_owned(), FILE);
            } else if text == "custom_class" {
                refuse(place.to_owned(), MODULE);
            }
        }
        _ => {}
    }
}

fn names_code(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "module",
        "plugin",
        "_cls",
        "hook",
        "trust_remote_code",
        "inductor_passes",
        "auto_map",
        "factory",
        "processors",
    ]
    .iter()
    .any(|part| key.contains(part))
        || matches!(
            key.as_str(),
            "backend" | "custom_ops" | "code_revision" | "pass_config"
        )
}

fn outside(text: &str, inside: &dyn Fn(&str) -> bool) -> bool {
    let path = ["file://", "ipc://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    let looks = path.starts_with(['/', '~', '.']) || path.split('/').any(|part| part == "..");
    looks && !(path.starts_with('/') && !path.split('/').any(|part| part == "..") && inside(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::argv::parse_argv;

    fn check(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let args = parse_argv(&words).unwrap();
        refused(&args, &|path| path.starts_with("/vol/"))
            .into_iter()
            .map(|one| one.what)
            .collect()
    }

    #[test]
    fn what_loads_code_or_reads_elsewhere_is_refused() {
        let rows: [(&[&str], &[&str]); 16] = [
            (
                &[
                    "m",
                    "--port",
                    "1",
                    "--enforce-eager",
                    "--served-model-name",
                    "a",
                ],
                &[],
            ),
            (&["m", "--trust-remote-code"], &["--trust-remote-code"]),
            (&["m", "--no-trust-remote-code"], &[]),
            (&["m", "--middleware", "os.system"], &["--middleware"]),
            (&["/vol/m"], &[]),
            (&["/etc"], &["the model"]),
            (&["/vol/../etc"], &["the model"]),
            (&["m", "--chat-template", "/vol/t.jinja"], &[]),
            (
                &["m", "--chat-template", "/etc/passwd"],
                &["--chat-template"],
            ),
            (
                &["m", "--lora-modules", "a=/vol/a", "b=/b"],
                &["--lora-modules"],
            ),
            (
                &["m", "--kv-transfer-config.kv_connector", "NixlConnector"],
                &[],
            ),
            (
                &[
                    "m",
                    "--kv-transfer-config",
                    r#"{"kv_connector_module_path":"evil"}"#,
                ],
                &["--kv-transfer-config.kv_connector_module_path"],
            ),
            (
                &["m", "--kv-events-config", r#"{"endpoint":"tcp://*:5557"}"#],
                &["--kv-events-config.endpoint"],
            ),
            (
                &["m", "--kv-events-config", r#"{"endpoint":"ipc:///home/x"}"#],
                &["--kv-events-config.endpoint"],
            ),
            (
                &["m", "--kv-events-config", r#"{"endpoint":"ipc:///vol/x"}"#],
                &[],
            ),
            (
                &["m", "-cc.backend=os.system"],
                &["--compilation-config.backend"],
            ),
        ];
        for (words, expected) in rows {
            assert_eq!(check(words), expected, "{words:?}");
        }
    }

    #[test]
    fn variables_that_load_code_are_not_safe() {
        for name in [
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "LD_PRELOAD",
            "VLLM_PLUGINS",
            "VLLM_SERVER_DEV_MODE",
            "PATH",
        ] {
            assert!(!env_is_safe(name), "{name}");
        }
        for name in ["VLLM_LOGGING_LEVEL", "PYTHONHASHSEED", "LWS_WORKER_INDEX"] {
            assert!(env_is_safe(name), "{name}");
        }
    }
}
