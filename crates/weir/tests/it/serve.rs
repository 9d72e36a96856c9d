//! A manifest is served: the README's first command and the sample without a scheduler.

use std::path::Path;

use crate::instance::{Instance, post, root, shared};

fn chat(url: &str, model: &str, stream: bool) -> (u16, String) {
    let body = format!(
        r#"{{"model":"{model}","max_tokens":5,"stream":{stream},"messages":[{{"role":"user","content":"Hello"}}]}}"#
    );
    post(&format!("{url}/v1/chat/completions"), &body)
}

fn serves(manifest: &Path, name: &str, model: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut instance = Instance::start(&dir.path().join("d"), &[manifest], &[]);
    let ready = instance.await_line(&format!("ready    {name}"));
    let url = ready.split_whitespace().last().unwrap().to_owned();
    assert_eq!(url, format!("{}/default/{name}", instance.gateway));
    let (status, answer) = chat(&url, model, false);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("x-weir-engine: simulated"), "{answer}");
    assert!(answer.contains("chat.completion"), "{answer}");
    let (status, answer) = chat(&url, model, true);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("text/event-stream"), "{answer}");
    assert!(answer.contains("data: [DONE]"), "{answer}");
    let status = instance.end(nix::sys::signal::Signal::SIGINT);
    assert_eq!(status.code(), Some(0), "{}", instance.output());
}

#[test]
fn the_basic_example_answers() {
    serves(
        &root().join("examples/basic.yaml"),
        "basic-llm",
        "basic-llm",
    );
}

#[test]
fn the_guide_s_basic_example_answers() {
    if let Some(manifest) = shared("guide/1-basic.yaml") {
        serves(&manifest, "basic-llm", "basic-llm");
    }
}

#[test]
fn the_sample_without_a_scheduler_answers() {
    let Some(folder) = shared("upstream-samples/llmisvc/opt-125m-cpu") else {
        return;
    };
    let manifest = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("no-scheduler"))
        .unwrap();
    serves(&manifest, "facebook-opt-125m-single", "facebook/opt-125m");
}

/// On a cluster somebody has to create them; here nothing depends on what they may do. One is named by the
/// service, the other by a config that it uses, and it has no router, so that its Service is what answers.
#[test]
fn accounts_that_pod_templates_name_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("service.yaml");
    let text = r#"
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceServiceConfig
metadata: {name: prefilled, namespace: default}
spec:
  prefill:
    template:
      serviceAccountName: of-config
      containers: [{name: main, image: "vllm/vllm-openai:latest"}]
---
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: with-account, namespace: default}
spec:
  model: {uri: "hf://example/model"}
  baseRefs: [{name: prefilled}]
  template:
    serviceAccountName: of-service
    containers: [{name: main, image: "vllm/vllm-openai:latest"}]
"#;
    std::fs::write(&manifest, text).unwrap();
    let mut instance = Instance::start(&dir.path().join("d"), &[&manifest], &[]);
    let ready = instance.await_line("ready    with-account");
    let url = ready.split_whitespace().last().unwrap();
    let (status, answer) = chat(url, "with-account", false);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn two_instances_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = root().join("examples/basic.yaml");
    let mut first = Instance::start(&dir.path().join("a"), &[&manifest], &[]);
    let mut second = Instance::start(&dir.path().join("b"), &[&manifest], &[]);
    for instance in [&mut first, &mut second] {
        let ready = instance.await_line("ready    basic-llm");
        let url = ready.split_whitespace().last().unwrap();
        assert!(url.starts_with(&instance.gateway), "{url}");
        assert_eq!(chat(url, "basic-llm", false).0, 200);
    }
    let environment = std::fs::read(format!("/proc/{}/environ", first.pid())).unwrap();
    assert!(
        String::from_utf8_lossy(&environment).contains("MALLOC_ARENA_MAX=2\0"),
        "the process holds more memory back than it needs"
    );
    drop(first);
    let url = format!("{}/default/basic-llm", second.gateway);
    assert_eq!(chat(&url, "basic-llm", false).0, 200);
}
