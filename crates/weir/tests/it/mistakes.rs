//! Typical mistakes: `weir validate` says where, what was found, what is allowed and how to mend it.

use std::process::{Command, Stdio};

use crate::instance::program;

/// The beginning of a service; its spec goes on.
const HEAD: &str = "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata:\n  name: m\nspec:\n  model:\n    uri: hf://a/b\n";

/// Runs `weir validate` on one file, which must fail, and returns what it printed.
fn mistakes(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model.yaml"), text).unwrap();
    let output = Command::new(program())
        .args(["validate", "model.yaml"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    String::from_utf8(output.stdout).unwrap() + &errors
}

fn in_spec(rest: &str) -> String {
    mistakes(&format!("{HEAD}{rest}"))
}

#[test]
fn typo_in_a_field() {
    insta::assert_snapshot!(in_spec("  replica: 2\n"));
}

#[test]
fn missing_base_ref() {
    let config = "---\napiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceServiceConfig\nmetadata:\n  name: tuned\nspec:\n  replicas: 2\n";
    insta::assert_snapshot!(in_spec(&format!(
        "  baseRefs:\n  - name: tunde\n  - name: missing\n{config}"
    )));
}

#[test]
fn template_typo() {
    let config = "---\napiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceServiceConfig\nmetadata:\n  name: tuned\nspec:\n  template:\n    containers:\n    - name: main\n      env:\n      - name: MODEL\n        value: '{{ .Spec.Model.Nmae }}'\n";
    insta::assert_snapshot!(in_spec(&format!("  baseRefs:\n  - name: tuned\n{config}")));
}

#[test]
fn wrong_list_key() {
    insta::assert_snapshot!(in_spec(
        "  template:\n    containers:\n    - nmae: main\n      image: vllm\n"
    ));
}

#[test]
fn tensor_parallelism_that_is_not_the_number_of_gpus() {
    insta::assert_snapshot!(in_spec(
        "  parallelism:\n    tensor: 4\n  template:\n    containers:\n    - name: main\n      resources:\n        limits:\n          nvidia.com/gpu: \"2\"\n"
    ));
}

#[test]
fn tensor_parallelism_of_a_config_against_the_gpus_of_the_service() {
    let config = "---\napiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceServiceConfig\nmetadata:\n  name: tuned\nspec:\n  parallelism:\n    tensor: 4\n";
    insta::assert_snapshot!(in_spec(&format!(
        "  baseRefs:\n  - name: tuned\n  template:\n    containers:\n    - name: main\n      resources:\n        limits:\n          nvidia.com/gpu: \"2\"\n{config}"
    )));
}

#[test]
fn replicas_in_quotes() {
    insta::assert_snapshot!(in_spec("  replicas: \"2\"\n"));
}

#[test]
fn tabs() {
    insta::assert_snapshot!(in_spec("  template:\n\tcontainers: []\n"));
}

#[test]
fn two_documents_with_one_name() {
    insta::assert_snapshot!(in_spec(&format!("---\n{HEAD}")));
}

#[test]
fn unknown_engine_flag() {
    insta::assert_snapshot!(in_spec(
        "  template:\n    containers:\n    - name: main\n      args:\n      - --max-model-length\n      - \"4096\"\n"
    ));
}

#[test]
fn field_of_v1alpha1_in_v1alpha2() {
    insta::assert_snapshot!(in_spec("    criticality: Critical\n"));
}

#[test]
fn adapters_and_tiers_that_cannot_be_attached() {
    let all = [
        "    lora:\n      adapters:\n      - name: a\n        uri: hf://o/a\n      - name: x\n        uri: oci://r/x\n",
        "  kvCacheOffloading:\n    cpu: 1Gi\n    secondary:\n    - fileSystem:\n        emptyDir:\n          size: 1Gi\n  template:\n    containers:\n    - name: main\n      volumeMounts:\n      - name: home\n        mountPath: /mnt/kv-cache-0\n",
    ];
    insta::assert_snapshot!(all.map(in_spec).join("\n"));
}

#[test]
fn everything_is_said_at_once_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    file(
        "a.yaml",
        &format!("{HEAD}  replica: 2\n---\n{HEAD}  baseRefs: [{{name: x}}]\n"),
    );
    file("b.yaml", "kind: [\n");
    file("c.yaml", "kind: Pot\napiVersion: v1\nmetadata: {name: p}\n");
    let output = Command::new(program())
        .args(["validate", "-o", "json", ".", "absent.yaml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}

#[test]
fn nothing_is_said_of_what_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.yaml");
    std::fs::write(&file, HEAD).unwrap();
    let output = Command::new(program()).arg("validate").arg(&file).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
}

#[test]
fn a_warning_refuses_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{HEAD}  template:\n    containers:\n    - name: main\n      args: [\"'--max-model-len=4096'\"]\n"
    );
    std::fs::write(dir.path().join("m.yaml"), text).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(program());
        let command = command.args(["validate", "m.yaml"]).args(words);
        command.current_dir(dir.path()).output().unwrap()
    };
    let (lenient, strict) = (run(&[]), run(&["--strict"]));
    assert_eq!(lenient.status.code(), Some(0));
    assert_eq!(strict.status.code(), Some(1));
    assert_eq!(lenient.stdout, strict.stdout);
    insta::assert_snapshot!(String::from_utf8(strict.stdout).unwrap());
}
