//! Every shape with every source of the model and every set of features: it is planned, the objects fit their
//! schemas, and nothing in a pod has one name, path or port twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};
use weir_plan::{Certificate, Facts, Secret, ServiceIdentity, desired};
use weir_schema::Node;

const SHAPES: [&str; 4] = ["single", "pd", "groups", "pd-groups"];
const SOURCES: [&str; 6] = [
    "hf://org/model",
    "s3://bucket/model",
    "pvc://claim/model",
    "oci://registry.example.com/model:1",
    "oci+native://registry.example.com/model:1",
    "oci+fetch://registry.example.com/model:1",
];
const FEATURES: [&str; 5] = ["adapters", "offloading", "tracing", "tls", "devices"];

fn service(shape: &str, uri: &str, with: impl Fn(&str) -> bool) -> Value {
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
    let mut metadata = json!({"name": "llama", "namespace": "demo", "uid": "u"});
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

/// Lists in which a key must be unique.
const UNIQUE: [(&str, &str); 8] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("env", "name"),
    ("ports", "containerPort"),
    ("resourceClaims", "name"),
    ("claims", "name"),
];

fn check_unique(value: &Value, case: &str) {
    match value {
        Value::Object(map) => {
            for (field, value) in map {
                let key = UNIQUE.iter().find(|(list, _)| list == field);
                if let (Some((_, key)), Some(list)) = (key, value.as_array()) {
                    let keys: Vec<String> = list.iter().map(|i| i[*key].to_string()).collect();
                    let unique: BTreeSet<_> = keys.iter().collect();
                    assert_eq!(unique.len(), keys.len(), "{case}: {field} {keys:?}");
                }
                check_unique(value, case);
            }
        }
        Value::Array(list) => list.iter().for_each(|item| check_unique(item, case)),
        _ => {}
    }
}

/// Every volume that a container mounts is there, and every volume is mounted.
fn check_volumes(pod: &Value, case: &str) {
    let names = |list: &Value| -> BTreeSet<String> {
        let items = list.as_array().into_iter().flatten();
        items
            .filter_map(|item| Some(item["name"].as_str()?.to_owned()))
            .collect()
    };
    let mut mounted = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        let containers = pod[list].as_array().into_iter().flatten();
        mounted.extend(containers.flat_map(|c| names(&c["volumeMounts"])));
    }
    assert_eq!(names(&pod["volumes"]), mounted, "{case}");
}

fn schema_of(object: &Value) -> Option<Node> {
    let version = object["apiVersion"].as_str()?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let schema = weir_api::builtin::schema(group, version, object["kind"].as_str()?)?;
    Some(Node::parse(&schema).unwrap())
}

#[test]
fn every_shape_takes_every_source_with_every_set_of_features() {
    let mut schemas: BTreeMap<String, Option<Node>> = BTreeMap::new();
    for shape in SHAPES {
        for uri in SOURCES {
            for set in 0..1_u32 << FEATURES.len() {
                let with = |feature: &str| {
                    let at = FEATURES.iter().position(|known| *known == feature).unwrap();
                    set & (1 << at) != 0
                };
                let names: Vec<_> = FEATURES.into_iter().filter(|name| with(name)).collect();
                let case = format!("{shape} {uri} {names:?}");
                let service = service(shape, uri, with);
                let globals = Globals {
                    tls: with("tls"),
                    ..Globals::default()
                };
                let combined = combine(
                    &service,
                    &globals,
                    &Naming::default(),
                    |_: &str, _: &str| Ok::<_, String>(None),
                );
                let spec = combined
                    .unwrap_or_else(|e| panic!("{case}: {e}"))
                    .effective
                    .spec;
                let identity = ServiceIdentity::of(&service);
                let objects = desired(&identity, &spec, &facts(with("tls")))
                    .unwrap_or_else(|e| panic!("{case}: {e}"));
                for object in &objects {
                    let kind = object["kind"].as_str().unwrap();
                    let case = format!("{case}: {kind}");
                    check_unique(object, &case);
                    for at in [
                        "/spec/template/spec",
                        "/spec/leaderWorkerTemplate/leaderTemplate/spec",
                        "/spec/leaderWorkerTemplate/workerTemplate/spec",
                    ] {
                        if let Some(pod) = object.pointer(at) {
                            check_volumes(pod, &case);
                        }
                    }
                    let key = format!("{}/{kind}", object["apiVersion"]);
                    let schema = schemas.entry(key).or_insert_with(|| schema_of(object));
                    if let Some(schema) = schema {
                        assert_eq!(
                            schema.unknown_fields(object),
                            Vec::<String>::new(),
                            "{case}"
                        );
                        let violations = schema.validate(object);
                        assert!(violations.is_empty(), "{case}: {violations:?}");
                    }
                }
                let kinds: Vec<_> = objects
                    .iter()
                    .map(|o| o["kind"].as_str().unwrap())
                    .collect();
                let claims = kinds
                    .iter()
                    .filter(|kind| **kind == "ResourceClaimTemplate")
                    .count();
                assert_eq!(claims == 1, with("devices"), "{case}");
                let again = desired(&identity, &spec, &facts(with("tls"))).unwrap();
                assert_eq!(objects, again, "{case}");
            }
        }
    }
}
