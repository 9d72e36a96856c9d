//! The messages, as a user sees them.

use serde_json::json;

use crate::{Options, Severity, admit, admit_deletion, review_text};

/// The findings of a text, one a line.
fn messages(text: &str) -> String {
    let findings = review_text(
        text,
        "model.yaml",
        &Options {
            warnings: true,
            ..Options::default()
        },
    );
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

const HEAD: &str =
    "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata:\n  name: llama\n";

#[test]
fn a_good_service_has_no_findings() {
    let text = format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n  replicas: 2\n  router: {{gateway: {{}}, route: {{}}}}\n  template:\n    \
         containers:\n    - name: main\n      resources: {{limits: {{cpu: 2, memory: 1Gi}}}}\n      env:\n      - {{name: A, value: \"n\"}}\n"
    );
    assert_eq!(messages(&text), "");
}

#[test]
fn kinds_of_every_origin_are_known() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\napiVersion: \
                gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  gatewayClassName: weir\n  \
                listeners: [{name: http, port: 80, protocol: HTTP}]\n---\napiVersion: \
                apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.x.io}\nspec:\n  group: \
                x.io\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions:\n  - {name: v1, served: true, \
                storage: true, schema: {openAPIV3Schema: {type: object}}}\n---\napiVersion: x.io/v1\nkind: Foo\nmetadata: {name: f}\n";
    assert_eq!(messages(text), "");
}

#[test]
fn not_yaml() {
    insta::assert_snapshot!(messages("a: [1, 2\nb: }\n"));
}

#[test]
fn not_an_object() {
    insta::assert_snapshot!(messages("just text\n"));
}

#[test]
fn unknown_kind() {
    let wrong_version = HEAD.replace("v1alpha2", "v1");
    let wrong_kind = HEAD.replace("LLMInferenceService", "LLMInferenceServce");
    let foreign = "apiVersion: acme.io/v1\nkind: Rocket\nmetadata: {name: r}\n";
    insta::assert_snapshot!(messages(&format!(
        "{wrong_version}---\n{wrong_kind}---\n{foreign}---\nkind: Pod\n"
    )));
}

#[test]
fn a_part_of_a_kind_is_enough_for_a_suggestion() {
    let text = HEAD.replace("LLMInferenceService", "LLMService");
    assert_eq!(
        messages(&text),
        "model.yaml:2:1: kind: unknown kind \"LLMService\" in apiVersion \"serving.kserve.io/v1alpha2\"; did you mean kind \
         LLMInferenceService of apiVersion serving.kserve.io/v1alpha2?"
    );
}

#[test]
fn names_are_looked_at_before_anything_is_created() {
    let map = |rest: &str| messages(&format!("apiVersion: v1\nkind: ConfigMap\n{rest}"));
    assert_eq!(map("metadata: {name: a.b-1}\n"), "");
    insta::assert_snapshot!(
        [
            map(""),
            map("metadata: {}\n"),
            map("metadata:\n  name: Bad_Name\n"),
            map(&format!("metadata:\n  name: {}\n", "a".repeat(254))),
            map("metadata:\n  name: a\n  namespace: b.c\n"),
            messages("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a.b\n"),
        ]
        .join("\n")
    );
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: \"system:A\"}\nrules: []\n";
    assert_eq!(messages(role), "");
}

#[test]
fn names_of_containers_and_volumes_are_labels() {
    let pod = "containers:\n    - {name: /tmp/x}\n    - {name: a-1}\n    initContainers: [{name: ../../y, image: i}]\n    \
               volumes: [{name: A, emptyDir: {}}]\n";
    let service = format!("{HEAD}spec:\n  model:\n    uri: hf://a/b\n  template:\n    {pod}");
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n  selector: {{}}\n  template:\n   spec:\n    {pod}"
    );
    insta::assert_snapshot!(messages(&format!("{service}---\n{deployment}")));
    let mut object = json!({"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
        "metadata": {"name": "a"}, "spec": {"model": {"uri": "hf://a/b"}, "template": {"containers": [{"name": "/tmp/x"}]}}});
    assert!(admit(&mut object, None).is_err());
}

#[test]
fn one_object_stands_in_one_document() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let elsewhere = map.replace("{name: a}", "{name: a, namespace: b}");
    assert_eq!(messages(&format!("{map}---\n{elsewhere}")), "");
    let spec = "spec:\n  model:\n    uri: hf://a/b\n";
    let old = HEAD.replace("v1alpha2", "v1alpha1");
    assert_eq!(
        messages(&format!(
            "{HEAD}{spec}---\n{old}  namespace: default\n{spec}"
        )),
        "model.yaml:12:3: metadata.name: LLMInferenceService \"llama\" of namespace default stands at model.yaml:4 already; \
         keep one of the two documents"
    );
}

#[test]
fn unknown_field() {
    insta::assert_snapshot!(messages(&format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n  replica: 2\n  workload:\n    replicas: 2\n  template:\n    containers:\n    \
         - name: main\n      imagePullPolice: Always\n"
    )));
}

#[test]
fn wrong_type() {
    insta::assert_snapshot!(messages(&format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n    name: 8\n  replicas: \"2\"\n  template:\n    containers:\n      name: \
         main\n  parallelism:\n    tensor: 0\n    expert: many\n"
    )));
}

#[test]
fn unquoted_n() {
    insta::assert_snapshot!(messages(&format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n  template:\n    containers:\n    - name: main\n      env:\n      - name: \
         ANSWER\n        value: n\n      - name: PORT\n        value: 8000\n"
    )));
}

#[test]
fn name_too_long() {
    insta::assert_snapshot!(messages(&HEAD.replace("llama", &"a".repeat(64))));
}

#[test]
fn broken_rules() {
    insta::assert_snapshot!(messages(&format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n  parallelism:\n    data: 4\n    pipeline: 2\n  prefill:\n    replicas: 1\n"
    )));
}

#[test]
fn warnings_come_only_when_wanted() {
    let text = format!("{HEAD}spec:\n  model:\n    uri: hf://a/b\n  prefill: {{}}\n");
    assert!(review_text(&text, "m", &Options::default()).is_empty());
    let all = review_text(
        &text,
        "m",
        &Options {
            warnings: true,
            ..Options::default()
        },
    );
    assert_eq!(all[0].severity, Severity::Warning);
}

#[test]
fn admission_fills_in_and_refuses() {
    let mut object = json!({
        "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
        "metadata": {"name": "llama"}, "spec": {"parallelism": {"tensor": 8, "expert": 8}},
    });
    assert_eq!(admit(&mut object, None), Ok(vec![]));
    assert_eq!(object["spec"]["model"]["name"], "llama");
    assert_eq!(object["spec"]["parallelism"]["expert"], true);

    let mut object = json!({
        "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
        "metadata": {"name": "llama"}, "spec": {"worker": {}, "parallelism": {"data": 8}},
    });
    let refusal = admit(&mut object, None).unwrap_err();
    assert_eq!(refusal.causes.len(), 1);
    insta::assert_snapshot!(refusal);
}

#[test]
fn a_config_is_rendered_before_it_is_admitted() {
    let config = |name: &str, argument: &str| {
        json!({"apiVersion": "serving.kserve.io/v1alpha1", "kind": "LLMInferenceServiceConfig",
            "metadata": {"name": name, "namespace": "kserve"},
            "spec": {"template": {"containers": [{"name": "main", "args": [argument]}]}}})
    };
    let refusal = admit(&mut config("c", "{{ .Spec.Modell.Name }}"), None).unwrap_err();
    assert_eq!(
        refusal.causes[0].field,
        "spec.template.containers[0].args[0]"
    );
    assert!(
        refusal.to_string().contains("can't evaluate field Modell"),
        "{refusal}"
    );
    let warnings = admit(&mut config("c", "{{ .Spec.Parallelism.Tensor }}"), None).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        admit(&mut config("c", "{{ .Spec.Model.Name }}"), None),
        Ok(vec![])
    );

    let preset = "kserve-config-llm-template";
    let changed = |name: &str| {
        admit(&mut config(name, "b"), Some(&config(name, "a")))
            .unwrap()
            .len()
    };
    assert_eq!((changed(preset), changed("mine")), (1, 0));
    assert!(admit_deletion(&config(preset, "a"), "kserve").is_err());
    assert!(admit_deletion(&config(preset, "a"), "other").is_ok());
    assert!(admit_deletion(&config("mine", "a"), "kserve").is_ok());
}
