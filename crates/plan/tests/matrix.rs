//! Every shape with every source of the model and every set of features: it is planned, the objects fit their
//! schemas, and nothing in a pod has one name, path or port twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_schema::Node;

#[path = "matrix/build.rs"]
mod build;

use build::{FEATURES, SHAPES, SOURCES};

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
                let service = build::service("demo", shape, uri, with);
                let objects =
                    build::planned(&service, with("tls")).unwrap_or_else(|e| panic!("{case}: {e}"));
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
                let again = build::planned(&service, with("tls")).unwrap();
                assert_eq!(objects, again, "{case}");
            }
        }
    }
}
