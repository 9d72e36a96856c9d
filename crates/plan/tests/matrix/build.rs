//! Services of every shape, source and set of features.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};
use weir_plan::{Certificate, Facts, Secret, ServiceIdentity, desired};

/// Shapes.
pub(crate) const SHAPES: [&str; 4] = ["single", "pd", "groups", "pd-groups"];
/// Locations of models.
pub(crate) const SOURCES: [&str; 6] = [
    "hf://org/model",
    "s3://bucket/model",
    "pvc://claim/model",
    "oci://registry.example.com/model:1",
    "oci+native://registry.example.com/model:1",
    "oci+fetch://registry.example.com/model:1",
];
/// Features that a service has or has not.
pub(crate) const FEATURES: [&str; 5] = ["adapters", "offloading", "tracing", "tls", "devices"];

/// A service of a shape, with a model from somewhere and some features.
pub(crate) fn service(
    namespace: &str,
    shape: &str,
    uri: &str,
    with: impl Fn(&str) -> bool,
) -> Value {
    let parallelism = json!({"data": 4, "dataLocal": 2, "tensor": 1});
    let offloading = json!({
        "cpu": "10Gi",
        "secondary": [
            {"fileSystem": {"emptyDir": {"size": "5Gi"}}},
            {"fileSystem": {"pvc": {"ref": {"name": "kv", "path": "a"}}}},
            {"fileSystem": {"pvc": {"spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            }}}},
        ],
    });
    let mut workload = json!({"replicas": 2});
    if with("offloading") {
        workload["kvCacheOffloading"] = offloading;
    }
    if shape.ends_with("groups") {
        workload["parallelism"] = parallelism;
        workload["worker"] = json!({});
    }
    let mut spec = workload.clone();
    if shape.starts_with("pd") {
        spec["prefill"] = workload;
    }
    spec["model"] = json!({"uri": uri, "name": "org/model"});
    if with("adapters") {
        spec["model"]["lora"] = json!({
            "maxRank": 16,
            "adapters": [
                {"name": "a/b", "uri": "hf://org/a"},
                {"name": "a-b", "uri": "s3://bucket/a"},
                {"name": "Claim_1", "uri": "pvc://adapters/c"},
                {"name": "claim-1", "uri": "pvc://adapters/d"},
            ],
        });
    }
    if with("tracing") {
        spec["tracing"] = json!({});
    }
    spec["router"] = json!({"route": {}, "gateway": {}});
    let mut metadata = json!({"name": "llama", "namespace": namespace, "uid": "u"});
    if with("devices") {
        metadata["annotations"] =
            json!({"serving.kserve.io/exp-dra-device-class": "gpu.example.com"});
    }
    json!({
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": metadata,
        "spec": spec,
    })
}

/// What there is in its cluster.
fn facts(tls: bool) -> Facts {
    let part = || "eA==".to_owned();
    let account = json!({
        "metadata": {"name": "default", "annotations": {"eks.amazonaws.com/role-arn": "r"}},
        "secrets": [{"name": "s3"}, {"name": "gcs"}, {"name": "hub"}],
    });
    let secret = |keys: &[&str]| Secret {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Secret::default()
    };
    let mut facts = Facts {
        tls,
        accounts: Some(BTreeMap::from([("default".to_owned(), Arc::new(account))])),
        secrets: Some(BTreeMap::from([
            ("s3".to_owned(), secret(&["AWS_SECRET_ACCESS_KEY"])),
            (
                "gcs".to_owned(),
                secret(&["gcloud-application-credentials.json"]),
            ),
            ("hub".to_owned(), secret(&["HF_TOKEN"])),
        ])),
        ca_bundle: Some("CERT".to_owned()),
        certificate: Some(Certificate {
            ca: Some(part()),
            certificate: part(),
            key: part(),
            expiration: None,
        }),
        ..Facts::default()
    };
    facts.storage.ca_config_map = Some("corp-ca".to_owned());
    facts
}

/// Everything that is planned for it.
pub(crate) fn planned(service: &Value, tls: bool) -> Result<Vec<Value>, String> {
    let globals = Globals {
        tls,
        ..Globals::default()
    };
    let combined = combine(service, &globals, &Naming::default(), |_: &str, _: &str| {
        Ok::<_, String>(None)
    });
    let spec = combined.map_err(|error| error.to_string())?.effective.spec;
    let identity = ServiceIdentity::of(service);
    desired(&identity, &spec, &facts(tls)).map_err(|error| error.to_string())
}
