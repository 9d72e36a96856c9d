//! A real engine behind the whole of the rest: `--engine vllm` with a small model from a claim.
//!
//! It needs vLLM in `vllm/` and a model in `models/SmolLM2-135M-Instruct/` of one directory (`WEIR_REAL_VLLM`, by
//! default `~/.cache/real-vllm`) and about a minute, so it runs with `WEIR_SLOW=1` only.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::instance::{Instance, has_kubectl, post, processes_of, program, shared};

/// Loading and compiling take most of it.
const START: Duration = Duration::from_secs(180);

const MANIFEST: &str = r#"
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata:
  name: small
spec:
  model:
    uri: pvc://models/SmolLM2-135M-Instruct
    name: smollm2
  template:
    containers:
      - name: main
        args:
          - --served-model-name=smollm2
          - --enforce-eager
          - --max-model-len=512
          - --max-num-seqs=4
          - --block-size=32
        env:
          - {name: VLLM_CPU_KVCACHE_SPACE, value: "1"}
          - {name: VLLM_NO_USAGE_STATS, value: "1"}
          - {name: HF_HUB_OFFLINE, value: "1"}
  router:
    gateway: {}
    route: {}
"#;

/// Services whose pods the presets make, one document each.
const GENERATED: &str = r#"
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: plain}
spec:
  model: {uri: "hf://org/m", name: a-name}
  router: {gateway: {}, route: {}}
---
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: tensor}
spec:
  replicas: 2
  parallelism: {tensor: 2}
  model: {uri: "pvc://claim/path"}
  router: {gateway: {}, route: {}}
"#;

/// Where a real vLLM is, or `None` after a loud word.
fn real_vllm() -> Option<PathBuf> {
    if std::env::var("WEIR_SLOW").as_deref() != Ok("1") {
        eprintln!("SKIPPED: a real vLLM takes a minute to start (set WEIR_SLOW=1)");
        return None;
    }
    let root = std::env::var_os("WEIR_REAL_VLLM").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/real-vllm"),
        PathBuf::from,
    );
    let parts = [
        "vllm/bin/vllm",
        "models/SmolLM2-135M-Instruct/model.safetensors",
    ];
    if let Some(missing) = parts.iter().find(|part| !root.join(part).exists()) {
        eprintln!("SKIPPED: {missing} of a real vLLM is not there (set WEIR_REAL_VLLM)");
        return None;
    }
    Some(root)
}

#[test]
fn slow_a_real_engine_answers() {
    let Some(real) = real_vllm() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("small.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let data = dir.path().join("d");
    let claims = data.join("pvc/default");
    std::fs::create_dir_all(&claims).unwrap();
    std::os::unix::fs::symlink(real.join("models"), claims.join("models")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", real.join("vllm/bin").display());
    let mut command = Command::new(program());
    command
        .arg("up")
        .arg(&manifest)
        .args(["--engine", "vllm"])
        .env("PATH", path);
    let mut instance = Instance::launch(&data, &mut command);
    let ready = instance.await_line_within("ready    small", START);
    let url = ready.split_whitespace().last().unwrap().to_owned();

    let chat = |stream: bool| {
        let body = format!(
            r#"{{"model":"smollm2","max_tokens":6,"temperature":0,"stream":{stream},"messages":[{{"role":"user","content":"Name one river."}}]}}"#
        );
        post(&format!("{url}/v1/chat/completions"), &body)
    };
    let (status, answer) = chat(false);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(r#""object":"chat.completion""#), "{answer}");
    assert!(answer.contains(r#""completion_tokens":6"#), "{answer}");
    assert!(!answer.contains("x-weir-engine"), "{answer}");
    let (status, answer) = chat(true);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("data: [DONE]"), "{answer}");
    let body = r#"{"model":"other","prompt":"a"}"#;
    let (status, answer) = post(&format!("{url}/v1/completions"), body);
    assert_eq!(status, 404, "{answer}");

    let status = instance.end(Signal::SIGINT);
    assert_eq!(status.code(), Some(0), "{}", instance.output());
    assert_eq!(processes_of(&data), Vec::<String>::new());
}

#[test]
fn slow_generated_command_lines_pass_the_engine_s_parser() {
    let (Some(real), true) = (real_vllm(), has_kubectl()) else {
        return;
    };
    let Some(judge) = shared("real-vllm/check-argv.py") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("generated.yaml");
    std::fs::write(&manifest, GENERATED).unwrap();
    let mut instance = Instance::start(&dir.path().join("d"), &[&manifest], &[]);
    instance.await_line("ready    plain");
    instance.await_line("ready    tensor");
    let path = r#"{range .items[*]}{.spec.template.spec.containers[?(@.name=="main")].command}{"\t"}{.spec.template.spec.containers[?(@.name=="main")].args}{"\n"}{end}"#;
    let found = instance.kubectl_ok(&["get", "deployments", "-o", &format!("jsonpath={path}")]);
    // Two lists become one: `["a"]<tab>["b"]`.
    let lines: String = found
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{}\n", line.replace("]\t[", ",").trim()))
        .collect();
    assert_eq!(lines.lines().count(), 2, "{found}");
    assert!(lines.contains("--tensor-parallel-size"), "{lines}");
    let input = dir.path().join("lines");
    std::fs::write(&input, &lines).unwrap();
    let output = Command::new("python3")
        .arg(judge)
        .env("ROOT", real)
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap();
    let verdict = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{lines}{verdict}");
    assert_eq!(verdict.lines().count(), 2, "{verdict}");
}
