//! Our CRDs against their own promises and, where the data is there, against the original ones.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{foreign, kinds, own, schema};

fn version<'a>(crd: &'a Value, name: &str) -> &'a Value {
    let versions = crd["spec"]["versions"].as_array().unwrap();
    &versions.iter().find(|v| v["name"] == name).unwrap()["schema"]["openAPIV3Schema"]
}

#[test]
fn one_schema_is_what_its_definition_says() {
    let mut known = kinds();
    for crd in own().iter().chain(&foreign()) {
        let spec = &crd["spec"];
        let group = spec["group"].as_str().unwrap();
        let kind = spec["names"]["kind"].as_str().unwrap();
        for published in spec["versions"].as_array().unwrap() {
            let name = published["name"].as_str().unwrap();
            let single = schema(group, name, kind).unwrap();
            assert!(
                single == *version(crd, name),
                "{kind} {name}: schemas differ"
            );
            known.retain(|(g, v, k)| (g.as_str(), v.as_str(), k.as_str()) != (group, name, kind));
        }
    }
    assert!(known.is_empty(), "{known:?}");
    assert!(schema("example.com", "v1", "Thing").is_none());
}

#[test]
fn own_crds_are_complete_and_small() {
    for crd in own() {
        let text = crd.to_string();
        assert!(text.len() < 1_000_000, "{} bytes", text.len());
        assert!(!text.contains("\"$ref\""));
        assert!(!text.contains("x-kubernetes-patch-"));
        assert!(!text.contains(":null"));
        for name in ["v1alpha1", "v1alpha2"] {
            let spec = &version(&crd, name)["properties"]["spec"]["properties"];
            assert_eq!(
                spec["template"]["properties"]["containers"]["x-kubernetes-list-map-keys"],
                json!(["name"])
            );
            assert!(spec["template"]["required"].is_null());
            assert_eq!(spec["prefill"]["properties"]["replicas"]["type"], "integer");
            assert_eq!(spec["replicas"]["minimum"], 0);
            assert!(spec["router"]["description"].is_string());
            weir_schema::Node::parse(version(&crd, name)).unwrap();
        }
    }
}

#[test]
fn configs_are_combined_by_the_keys_of_a_pod() {
    let schema = super::merge_schema();
    let containers =
        "/properties/spec/properties/prefill/properties/template/properties/containers";
    assert_eq!(
        schema.pointer(containers).unwrap()["x-kubernetes-patch-merge-key"],
        "name"
    );
}

#[test]
fn foreign_crds_are_whole() {
    let crds = foreign();
    let names: Vec<_> = crds
        .iter()
        .map(|crd| crd["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "gatewayclasses.gateway.networking.k8s.io",
            "gateways.gateway.networking.k8s.io",
            "httproutes.gateway.networking.k8s.io",
            "inferencepools.inference.networking.k8s.io",
            "inferenceobjectives.inference.networking.x-k8s.io",
            "leaderworkersets.leaderworkerset.x-k8s.io",
        ]
    );
    for crd in &crds {
        assert!(!crd.to_string().contains("\"$ref\""));
        assert!(!crd.to_string().contains(":null"));
        let versions = crd["spec"]["versions"].as_array().unwrap();
        assert_eq!(versions.len(), 1);
        weir_schema::Node::parse(&versions[0]["schema"]["openAPIV3Schema"]).unwrap();
    }
}

#[test]
fn configs_may_hold_template_expressions() {
    let crds = own();
    let service = version(&crds[0], "v1alpha2");
    let config = version(&crds[1], "v1alpha2");
    let at = "/properties/spec/properties/router/properties/route/properties/http/properties/spec";
    assert!(
        service
            .pointer(at)
            .unwrap()
            .to_string()
            .contains("\"pattern\"")
    );
    assert!(
        !config
            .pointer(at)
            .unwrap()
            .to_string()
            .contains("\"pattern\"")
    );
}

/// Every path of the original exists here with a type that accepts the same, and nothing more is required.
#[test]
fn what_the_original_crds_accept_is_accepted() {
    let root = std::env::var_os("WEIR_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let mut problems = Vec::new();
    for crd in own() {
        let name = crd["spec"]["names"]["plural"].as_str().unwrap();
        let path = root.join(format!("crds/kserve/serving.kserve.io_{name}.yaml"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("SKIPPED: {} is not there", path.display());
            return;
        };
        let mut options = serde_saphyr::Options::default();
        options.budget = None;
        let original: Value = serde_saphyr::from_str_with_options(&text, options).unwrap();
        assert_eq!(original["spec"]["names"], crd["spec"]["names"]);
        for (theirs, ours) in original["spec"]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .zip(crd["spec"]["versions"].as_array().unwrap())
        {
            for key in [
                "name",
                "served",
                "storage",
                "subresources",
                "additionalPrinterColumns",
            ] {
                assert_eq!(theirs[key], ours[key]);
            }
            compare(
                &theirs["schema"]["openAPIV3Schema"],
                &ours["schema"]["openAPIV3Schema"],
                &format!("{name} {}", theirs["name"]),
                &mut problems,
            );
        }
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

fn compare(theirs: &Value, ours: &Value, path: &str, problems: &mut Vec<String>) {
    let kept = ours["x-kubernetes-preserve-unknown-fields"] == true;
    if ours.is_null() {
        problems.push(format!("{path}: missing"));
        return;
    }
    if ours["type"] != theirs["type"] && !ours["type"].is_null() {
        problems.push(format!(
            "{path}: type {} instead of {}",
            ours["type"], theirs["type"]
        ));
    }
    if ours["type"].is_null()
        && !kept
        && ours["x-kubernetes-int-or-string"] != theirs["x-kubernetes-int-or-string"]
    {
        problems.push(format!("{path}: accepts no type"));
    }
    for key in [
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
    ] {
        let (mine, other) = (&ours[key], &theirs[key]);
        // The generator of the original marks every inlined reference atomic; built-in schemas do not.
        let inlined =
            key == "x-kubernetes-map-type" && theirs["properties"]["optional"].is_object();
        if mine != other && !(other.is_null() && (mine == "atomic")) && !inlined {
            problems.push(format!("{path}: {key} {mine} instead of {other}"));
        }
    }
    for required in ours["required"].as_array().into_iter().flatten() {
        if !theirs["required"]
            .as_array()
            .is_some_and(|all| all.contains(required))
        {
            problems.push(format!("{path}: requires {required}"));
        }
    }
    for (field, theirs) in theirs["properties"].as_object().into_iter().flatten() {
        if !kept {
            compare(
                theirs,
                &ours["properties"][field],
                &format!("{path}.{field}"),
                problems,
            );
        }
    }
    for key in ["items", "additionalProperties"] {
        if theirs[key].is_object() && !kept {
            compare(
                &theirs[key],
                &ours[key],
                &format!("{path}[{key}]"),
                problems,
            );
        }
    }
}
