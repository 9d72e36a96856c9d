//! `--context`: what files lack comes from a cluster, which is only read.
//!
//! The cluster is the embedded store, or the server that `WEIR_TEST_KUBECONFIG` names.

use std::path::Path;
use std::process::Command;

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};
use weir_api::names::{Kind, kind};

use crate::instance::program;

const SERVICE: &str = "apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata:
  name: m
spec:
  model:
    uri: hf://a/b
  baseRefs:
  - name: tuned
  router:
    route: {}
    scheduler:
      config:
        ref:
          name: picking
          key: epp
";

async fn create(cluster: &weir_testkit::Cluster, kind: Kind, name: &str, mut object: Value) {
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object["metadata"] = json!({"name": name});
    let api: Api<DynamicObject> = Api::namespaced_with(
        cluster.client.clone(),
        &cluster.namespace,
        &kind.api_resource(),
    );
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Runs the program with the cluster's kubeconfig: status and both outputs.
fn weir(kubeconfig: &Path, directory: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program())
        .args(words)
        .current_dir(directory)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_files_lack_comes_from_the_cluster() {
    let cluster = weir_testkit::cluster().await.unwrap();
    cluster.install_definitions().await.unwrap();
    let tuned = json!({"spec": {"replicas": 3, "template": {"containers": [
        {"name": "main", "env": [{"name": "OWNER", "value": "{{ .Namespace }}"}]},
    ]}}});
    create(&cluster, kind::CONFIG, "tuned", tuned).await;
    let epp = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorer\n";
    create(
        &cluster,
        kind::CONFIG_MAP,
        "picking",
        json!({"data": {"epp": epp}}),
    )
    .await;
    let ingress =
        json!({"enableLLMInferenceServiceTLS": true, "kserveIngressGateway": "infra/edge"});
    let quantities =
        json!({"cpuRequest": "1", "cpuLimit": "1", "memoryRequest": "1Gi", "memoryLimit": "1Gi"});
    let global = json!({"data": {
        "ingress": ingress.to_string(), "storageInitializer": quantities.to_string(),
    }});
    create(
        &cluster,
        kind::CONFIG_MAP,
        "inferenceservice-config",
        global,
    )
    .await;

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("m.yaml"), SERVICE).unwrap();
    let kubeconfig = kube::config::Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
    let context = kubeconfig.current_context.unwrap();
    let namespace = cluster.namespace.as_str();
    let run = |words: &[&str]| {
        let given = [
            "--context",
            &context,
            "-n",
            namespace,
            "--system-namespace",
            namespace,
        ];
        weir(
            &cluster.kubeconfig,
            directory.path(),
            &[words, &given].concat(),
        )
    };

    let (status, text, errors) = run(&["render", "m.yaml"]);
    assert_eq!(status, Some(0), "{errors}");
    for part in [
        "replicas: 3",
        &format!("value: {namespace}"),
        "--ssl-certfile",
        "name: edge",
        "queue-scorer",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (status, _, errors) = run(&["validate", "m.yaml"]);
    assert_eq!(status, Some(0), "{errors}");
    let (_, text, errors) = run(&["explain", "m.yaml", "spec.replicas"]);
    let place =
        format!("from baseRef tuned {context} LLMInferenceServiceConfig {namespace}/tuned:");
    assert!(text.contains(&place), "{text}{errors}");

    // A file goes before the cluster.
    let own = "---\napiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceServiceConfig\nmetadata:\n  name: tuned\nspec:\n  replicas: 5\n";
    std::fs::write(directory.path().join("m.yaml"), format!("{SERVICE}{own}")).unwrap();
    let (_, text, errors) = run(&["explain", "m.yaml", "spec.replicas"]);
    assert!(
        text.contains("from baseRef tuned m.yaml:"),
        "{text}{errors}"
    );

    // Without the cluster, none of it is known.
    std::fs::write(directory.path().join("m.yaml"), SERVICE).unwrap();
    let (status, _, errors) = weir(&cluster.kubeconfig, directory.path(), &["render", "m.yaml"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("no LLMInferenceServiceConfig \"tuned\""),
        "{errors}"
    );
    let words = ["render", "m.yaml", "--context", "elsewhere"];
    let (status, _, errors) = weir(&cluster.kubeconfig, directory.path(), &words);
    assert_eq!(status, Some(1));
    let wanted = format!(
        "context elsewhere: no context \"elsewhere\" in the kubeconfig; there are {context}"
    );
    assert!(errors.contains(&wanted), "{errors}");
}
