//! `weir render` and `weir explain`: what the controller would do, told without one.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::instance::{Instance, has_kubectl, program, root};

const CONFIG: &str = "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceServiceConfig\nmetadata:\n  name: tuned\nspec:\n  replicas: 3\n  template:\n    containers:\n    - name: main\n      env:\n      - name: VLLM_LOGGING_LEVEL\n        value: DEBUG\n      - name: OWNER\n        value: 'models of {{ .ObjectMeta.Namespace }}'\n";
const SERVICE: &str = "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata:\n  name: m\nspec:\n  model:\n    uri: hf://a/b\n  replicas: 2\n  baseRefs:\n  - name: tuned\n  router:\n    route: {}\n    gateway: {}\n";

/// Runs the program in a directory with `m.yaml` and returns status and both outputs.
fn weir(words: &[&str]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.yaml"), format!("{SERVICE}---\n{CONFIG}")).unwrap();
    let output = Command::new(program())
        .args(words)
        .current_dir(dir.path())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// The same, which must succeed.
fn told(words: &[&str]) -> String {
    let (status, out, errors) = weir(words);
    assert_eq!(status, Some(0), "{errors}");
    out
}

#[test]
fn objects_are_printed_in_apply_order_and_inputs_are_not() {
    let text = told(&["render", "m.yaml", "--namespace", "team"]);
    let kinds: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("kind: "))
        .collect();
    assert_eq!(kinds, ["Deployment", "Service", "HTTPRoute"]);
    assert!(text.contains("\n  namespace: team\n") && !text.contains("namespace: default"));
    let list: Value = serde_json::from_str(&told(&["render", "m.yaml", "-o", "json"])).unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_a_cluster_would_know_can_be_said() {
    let route = told(&["render", "m.yaml", "--gateway", "infra/edge"]);
    assert!(
        route.contains("name: edge\n    namespace: infra"),
        "{route}"
    );
    let served = told(&["render", "m.yaml", "--tls"]);
    assert!(served.contains("--ssl-certfile"), "{served}");
    let (status, out, errors) = weir(&["render", "m.yaml", "--api-versions", "a.example/v1"]);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    insta::assert_snapshot!(errors);
}

#[test]
fn origins_stand_behind_the_lines() {
    let text = told(&["render", "m.yaml", "--origins"]);
    let line = |start: &str| {
        let found = text
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        found
            .unwrap_or_else(|| panic!("no {start} in {text}"))
            .trim()
    };
    assert_eq!(line("replicas:"), "replicas: 2  # service m.yaml:8:3");
    assert_eq!(
        line("value: DEBUG"),
        "value: DEBUG  # baseRef tuned m.yaml:26:9"
    );
    assert_eq!(
        line("value: models of default"),
        "value: models of default  # baseRef tuned m.yaml:28:9 (template)"
    );
    assert!(
        line("value: /home")
            .contains("# preset kserve-config-llm-template presets/config-llm-template.yaml:")
    );
    assert_eq!(line("kind: Deployment"), "kind: Deployment  # rule");
}

#[test]
fn a_value_is_explained() {
    let explain = |path| told(&["explain", "m.yaml", path]);
    insta::assert_snapshot!(
        [
            explain("spec.replicas"),
            explain("spec.template.containers[main].env[OWNER].value"),
            explain("spec.model.name"),
            explain("spec.model"),
        ]
        .concat()
    );
    let (status, _, errors) = weir(&["explain", "m.yaml", "spec.template.container"]);
    assert_eq!(status, Some(1));
    insta::assert_snapshot!("explain_a_path_that_is_not_there", errors);
}

/// Whether every leaf of `wanted` is in `live`.
fn holds(wanted: &Value, live: &Value, path: &str) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(_)) => {
            for (key, value) in wanted {
                holds(value, &live[key], &format!("{path}.{key}"));
            }
        }
        (Value::Array(wanted), Value::Array(list)) => {
            assert_eq!(wanted.len(), list.len(), "{path}");
            for (index, value) in wanted.iter().enumerate() {
                holds(value, &live[index], &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(wanted, live, "{path}"),
    }
}

#[test]
fn the_controller_makes_what_is_rendered() {
    if !has_kubectl() {
        return;
    }
    let example = root().join("examples/basic.yaml");
    let output = Command::new(program())
        .args(["render", "-o", "json"])
        .arg(&example)
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut instance = Instance::start(dir.path(), &[Path::new(&example)], &[]);
    instance.await_line("export KUBECONFIG");
    for object in list["items"].as_array().unwrap() {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let words = ["get", kind.as_str().unwrap(), name.as_str().unwrap()];
        let live = instance.kubectl_ok(&[&words[..], &["-o", "json"]].concat());
        holds(object, &serde_json::from_str(&live).unwrap(), words[1]);
    }
}
