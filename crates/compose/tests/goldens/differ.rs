//! Where two pods differ.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Lists whose items have names, and the field that names them.
const KEYS: [(&str, &str); 6] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
];

/// Values that an API server fills in, by the name of the field.
fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "dnsPolicy" => value == "ClusterFirst",
        "schedulerName" => value == "default-scheduler",
        "restartPolicy" | "imagePullPolicy" => true,
        "serviceAccount" => true,
        "terminationMessagePath" => value == "/dev/termination-log",
        "terminationMessagePolicy" => value == "File",
        "successThreshold" | "timeoutSeconds" => *value == json!(1),
        "terminationGracePeriodSeconds" => *value == json!(30),
        "defaultMode" => *value == json!(420),
        "apiVersion" => value == "v1",
        "protocol" => value == "TCP",
        "scheme" => value == "HTTP",
        "initialDelaySeconds" => *value == json!(0),
        "failureThreshold" => *value == json!(3),
        "periodSeconds" => *value == json!(10),
        _ => match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => {
                map.is_empty() && (key == "resources" || key == "securityContext")
            }
            _ => false,
        },
    }
}

/// The value without what an API server fills in, and with quantities and numbers alike.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| !is_default(key, value))
            .map(|(key, value)| match (key.as_str(), value) {
                ("limits" | "requests", Value::Object(named)) => {
                    let named = named.iter().map(|(name, q)| (name.clone(), canonical(q)));
                    (key.clone(), named.collect())
                }
                _ => (key.clone(), plain(value)),
            })
            .collect(),
        Value::Array(list) => list.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// `2000m` is `2`.
fn canonical(quantity: &Value) -> Value {
    let text = quantity
        .as_str()
        .map_or_else(|| quantity.to_string(), str::to_owned);
    Value::from(
        text.strip_suffix("000m")
            .map_or_else(|| text.clone(), str::to_owned),
    )
}

/// Notes the paths at which the pods differ.
pub(crate) fn pods(ours: &Value, theirs: &Value, pod: &str, found: &mut BTreeSet<String>) {
    let (mut ours, mut theirs) = (plain(ours), plain(theirs));
    for list in ["containers", "initContainers"] {
        let containers = ours.get_mut(list).and_then(Value::as_array_mut);
        for one in containers.into_iter().flatten() {
            let name = one["name"].clone();
            let others = theirs.get_mut(list).and_then(Value::as_array_mut);
            if let Some(other) = others.into_iter().flatten().find(|o| o["name"] == name) {
                without_old_flags(one, other);
                commands(one, other, pod, found);
            }
        }
    }
    values(&ours, &theirs, "", "", found);
}

/// Flags that newer pickers do not have are taken out after composition (routing 4.6).
fn without_old_flags(ours: &mut Value, theirs: &Value) {
    let old = "--model-server-metrics-scheme=https";
    let command = |of: &Value| of["command"].as_array().cloned().unwrap_or_default();
    if !command(theirs).iter().any(|word| word == old)
        && let Some(words) = ours.get_mut("command").and_then(Value::as_array_mut)
    {
        words.retain(|word| word != old);
    }
}

/// A recorded script is compared by the words that it comes to.
fn commands(ours: &mut Value, theirs: &mut Value, pod: &str, found: &mut BTreeSet<String>) {
    let script = theirs.pointer("/command/2").and_then(Value::as_str);
    let Some(script) = script.filter(|script| script.contains("exec vllm ")) else {
        return;
    };
    let wanted = script_words(script, ours, pod);
    let command = ours["command"].as_array().cloned().unwrap_or_default();
    let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
    // The launcher stands before `--`.
    let start = words.iter().position(|word| *word == "vllm").unwrap_or(0);
    let mut words = words.get(start..).unwrap_or_default().to_vec();
    let container = ours["name"].as_str().unwrap_or_default();
    let transfer = words
        .windows(2)
        .position(|pair| pair == ["--kv-transfer-config", TRANSFER]);
    if let Some(at) = transfer {
        words.drain(at..at + 2);
        found.insert(format!("/containers[{container}]/command#transfer"));
    }
    let generated = words.get(..wanted.len()).unwrap_or_default();
    if generated != wanted {
        let at = format!("/containers[{container}]/command#words");
        eprintln!("{at}: {}\n    was {}", words.join(" "), wanted.join(" "));
        found.insert(at);
    }
    for side in [ours, theirs] {
        side["command"] = Value::from("compared");
    }
}

/// Engines whose flags are known by the image: from 0.16, 0.18 and 0.22 on.
const ENGINES: [(&str, [bool; 3]); 4] = [
    ("llm-d-rocm:v0.9.0", [true; 3]),
    ("vllm-openai-cpu:v0.23.0", [true; 3]),
    ("llm-d-cuda:v0.9.0", [true; 3]),
    ("vllm-openai-cpu:v0.19.0", [true, true, false]),
];

/// How the generated configuration for offloading begins.
const OFFLOADING: &str = "{\"kv_connector\":\"OffloadingConnector\"";

/// The configuration of transfer over NIXL that our presets of both sides have.
const TRANSFER: &str = r#"{"kv_connector":"NixlConnector","kv_role":"kv_both"}"#;

/// The words that a preset's script gives to the engine, but for the user's.
fn script_words(script: &str, ours: &Value, pod: &str) -> Vec<String> {
    let image = ours["image"].as_str().unwrap_or_default();
    let known = ENGINES.iter().find(|(name, _)| image.contains(name));
    let [access, shutdown, offload] = known.map_or([false; 3], |(_, known)| *known);
    let command = ours["command"].as_array().cloned().unwrap_or_default();
    let after = |flag: &str| {
        let at = command.iter().position(|word| word == flag)?;
        command.get(at + 1)?.as_str().map(str::to_owned)
    };
    let start = script.find("exec ").map_or(0, |at| at + "exec ".len());
    let text = script.get(start..).unwrap_or_default();
    let text = text.replace(['"', '\\', '\n'], " ");
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "${VLLM_ADDITIONAL_ARGS}" => break,
            "${ACCESS_LOG_ARGS}" if access => words.extend([
                "--disable-access-log-for-endpoints".to_owned(),
                "/health,/metrics,/ping".to_owned(),
            ]),
            "${ACCESS_LOG_ARGS}" => words.push("--disable-uvicorn-access-log".to_owned()),
            // Their values are those of worked examples, see `argv.rs`.
            "${SHUTDOWN_TIMEOUT_ARGS}" if shutdown => {
                words.push("--shutdown-timeout".to_owned());
                words.extend(after("--shutdown-timeout"));
            }
            "${KV_TRANSFER_ARGS}" if offload => {
                if let Some(config) =
                    after("--kv-transfer-config").filter(|c| c.starts_with(OFFLOADING))
                {
                    words.extend(["--kv-transfer-config".to_owned(), config]);
                }
            }
            "${SHUTDOWN_TIMEOUT_ARGS}" | "${KV_TRANSFER_ARGS}" => {}
            "${DP_ADDRESS}" => words.push("$(LWS_LEADER_ADDRESS)".to_owned()),
            "$START_RANK" if pod.ends_with("worker") => {
                words.extend(after("--data-parallel-start-rank"))
            }
            "$START_RANK" => words.push("0".to_owned()),
            word => match word.split_once(":-") {
                Some((name, default)) => {
                    let environment = ours["env"].as_array().into_iter().flatten();
                    let set = environment
                        .into_iter()
                        .find(|one| name.ends_with(one["name"].as_str().unwrap_or(" ")));
                    let set = set.and_then(|one| one["value"].as_str());
                    words.push(
                        set.unwrap_or_else(|| default.trim_end_matches('}'))
                            .to_owned(),
                    );
                }
                None => words.push(word.to_owned()),
            },
        }
    }
    words
}

fn values(ours: &Value, theirs: &Value, list: &str, path: &str, found: &mut BTreeSet<String>) {
    let key = KEYS
        .iter()
        .find(|(name, _)| *name == list)
        .map(|(_, key)| *key);
    match (ours, theirs, key) {
        (Value::Object(a), Value::Object(b), _) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key), b.get(key));
                let at = format!("{path}/{key}");
                let is_list = |v: Option<&Value>| v.is_none_or(Value::is_array);
                let named = KEYS.iter().any(|(name, _)| *name == key.as_str());
                let empty = Value::Array(Vec::new());
                let absent = if named && is_list(a) && is_list(b) {
                    &empty
                } else {
                    &Value::Null
                };
                values(a.unwrap_or(absent), b.unwrap_or(absent), key, &at, found);
            }
        }
        (Value::Array(a), Value::Array(b), Some(key)) => {
            let name = |item: &Value| {
                item[key]
                    .as_str()
                    .map_or_else(|| item[key].to_string(), str::to_owned)
            };
            let names = |list: &[Value]| list.iter().map(name).collect::<Vec<_>>();
            let (first, second) = (names(a), names(b));
            let common = |of: &[String], other: &[String]| -> Vec<String> {
                of.iter()
                    .filter(|name| other.contains(name))
                    .cloned()
                    .collect()
            };
            if common(&first, &second) != common(&second, &first) {
                found.insert(format!("{path}#order"));
            }
            let all: BTreeSet<_> = first.iter().chain(&second).cloned().collect();
            for item in all {
                let at = format!("{path}[{item}]");
                let of = |list: &[Value]| list.iter().find(|v| name(v) == item).cloned();
                match (of(a), of(b)) {
                    (Some(a), Some(b)) => values(&a, &b, "", &at, found),
                    (Some(_), None) => drop(found.insert(format!("{at}#added"))),
                    (None, _) => drop(found.insert(format!("{at}#lacking"))),
                }
            }
        }
        _ if ours == theirs => {}
        _ => drop(found.insert(path.to_owned())),
    }
}
