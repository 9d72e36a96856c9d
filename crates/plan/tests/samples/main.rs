//! The objects of every upstream sample: each fits its schema, and what matters of them is kept as reviewed text.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod read;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use read::{planned, samples};
use serde_json::Value;
use weir_schema::Node;

fn schema_of(object: &Value) -> Node {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = object["kind"].as_str().unwrap();
    let schema = weir_api::builtin::schema(group, version, kind)
        .or_else(|| weir_api::crds::schema(group, version, kind));
    Node::parse(&schema.unwrap_or_else(|| panic!("no schema of {kind}"))).unwrap()
}

#[test]
fn the_objects_of_every_sample_fit_their_schemas() {
    for sample in samples() {
        let objects = planned(&sample, "demo");
        let objects = objects.unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
        let names: BTreeSet<String> = objects.iter().map(name).collect();
        assert_eq!(names.len(), objects.len(), "{}: {names:?}", sample.name);
        for object in &objects {
            let schema = schema_of(object);
            let case = format!("{}: {}", sample.name, object["kind"]);
            assert_eq!(
                schema.unknown_fields(object),
                Vec::<String>::new(),
                "{case}"
            );
            let violations = schema.validate(object);
            assert!(violations.is_empty(), "{case}: {violations:?}");
        }
    }
}

#[test]
fn the_objects_of_every_sample_are_as_reviewed() {
    let mut all = String::new();
    for sample in samples() {
        let objects = planned(&sample, "demo").unwrap();
        let _ = writeln!(all, "{}", sample.name);
        for object in &objects {
            digest(object, &mut all);
        }
    }
    if !all.is_empty() {
        insta::assert_snapshot!("objects", all);
    }
}

/// `key=value` of a map, by key.
fn map(value: &Value) -> String {
    let entries = value.as_object().into_iter().flatten();
    let word = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let entry = |(key, value): (&String, &Value)| format!("{key}={}", word(value));
    entries.map(entry).collect::<Vec<_>>().join(" ")
}

fn names(list: &Value) -> String {
    let items = list.as_array().into_iter().flatten();
    let names = items.filter_map(|item| item["name"].as_str());
    names.collect::<Vec<_>>().join(" ")
}

fn digest(object: &Value, into: &mut String) {
    let (kind, spec) = (object["kind"].as_str().unwrap(), &object["spec"]);
    let name = object["metadata"]["name"].as_str().unwrap();
    let mut line = format!("  {kind} {name}");
    for (what, pointer) in [
        ("replicas", "/spec/replicas"),
        ("size", "/spec/leaderWorkerTemplate/size"),
        ("bound to", "/subjects/0/name"),
    ] {
        if let Some(value) = object.pointer(pointer) {
            let _ = write!(line, ", {what} {}", value.to_string().replace('"', ""));
        }
    }
    if kind == "Service" {
        let _ = write!(line, ", selects {}", map(&spec["selector"]));
    }
    let _ = writeln!(into, "{line}");
    for (what, pointer) in [
        ("pod", "/spec/template"),
        ("leader", "/spec/leaderWorkerTemplate/leaderTemplate"),
        ("worker", "/spec/leaderWorkerTemplate/workerTemplate"),
    ] {
        if let Some(pod) = object.pointer(pointer) {
            self::pod(what, pod, into);
        }
    }
}

fn pod(what: &str, pod: &Value, into: &mut String) {
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let _ = writeln!(into, "    {what}: {}", map(&metadata["labels"]));
    if metadata["annotations"].is_object() {
        let _ = writeln!(into, "      annotations: {}", map(&metadata["annotations"]));
    }
    if let Some(account) = spec["serviceAccountName"].as_str() {
        let _ = writeln!(into, "      account: {account}");
    }
    let _ = writeln!(into, "      volumes: {}", names(&spec["volumes"]));
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            let init = if list == "containers" { "" } else { "init " };
            let name = container["name"].as_str().unwrap();
            let ports = container["ports"].as_array().into_iter().flatten();
            let ports: Vec<_> = ports
                .map(|port| port["containerPort"].to_string())
                .collect();
            let _ = writeln!(
                into,
                "      {init}{name}: ports [{}], requests {}, env {}",
                ports.join(" "),
                map(&container["resources"]["requests"]),
                names(&container["env"]),
            );
        }
    }
}
