//! Server-side apply: who owns what, what goes away, what is a conflict.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tables of cases"
)]

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use rstest::rstest;
use serde_json::{Value, json};
use weir_merge::FieldSet;
use weir_merge::apply::{ApplyError, apply, record_update};
use weir_schema::Node;

const T0: &str = "2024-01-01T00:00:00Z";
const T1: &str = "2024-01-01T00:00:01Z";

fn schema() -> Node {
    Node::parse(&json!({"type": "object", "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"},
            "paused": {"type": "boolean"},
            "selector": {"type": "object", "x-kubernetes-map-type": "atomic"},
            "args": {"type": "array", "items": {"type": "string"}},
            "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "containers": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {
                    "name": {"type": "string"}, "image": {"type": "string"}, "tty": {"type": "boolean"},
                    "ports": {"type": "array", "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                        "items": {"type": "object", "properties": {
                            "containerPort": {"type": "integer"}, "hostPort": {"type": "integer"},
                            "protocol": {"type": "string", "default": "TCP"}}}},
                }}},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    }}))
    .unwrap()
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn applied(live: Option<&Value>, spec: Value, manager: &str) -> Result<Value, ApplyError> {
    apply(live, &object(spec), manager, false, &schema(), T0, "")
}

fn forced(live: &Value, spec: Value, manager: &str) -> Value {
    apply(Some(live), &object(spec), manager, true, &schema(), T1, "").unwrap()
}

fn owned(object: &Value, manager: &str) -> Vec<String> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    entries
        .iter()
        .filter(|entry| entry["manager"] == manager)
        .flat_map(|entry| FieldSet::from_json(&entry["fieldsV1"]).paths())
        .collect()
}

#[test]
fn a_create_books_every_field() {
    let mut applied_object = object(json!({
        "replicas": 1, "selector": {"a": "b"}, "args": ["x"], "tags": ["t"],
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
    }));
    applied_object["metadata"]["labels"] = json!({"app": "x"});
    let live = apply(None, &applied_object, "kubectl", false, &schema(), T0, "").unwrap();
    assert_eq!(
        live["metadata"]["managedFields"],
        json!([{
            "manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": T0, "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {}, "f:selector": {}, "f:args": {}, "f:tags": {"v:\"t\"": {}},
                    "f:containers": {"k:{\"name\":\"c\"}": {
                        ".": {}, "f:name": {}, "f:image": {},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                    }},
                },
            },
        }])
    );
    assert_eq!(live["spec"], applied_object["spec"]);
}

#[test]
fn another_value_of_an_owned_field_is_a_conflict() {
    let live = applied(None, json!({"replicas": 1}), "one").unwrap();
    assert_eq!(
        applied(Some(&live), json!({"replicas": 1}), "two").unwrap()["spec"],
        json!({"replicas": 1})
    );
    let error = applied(Some(&live), json!({"replicas": 2}), "two").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
    );
    let mut updated = live.clone();
    updated["spec"]["replicas"] = json!(3);
    updated["spec"]["paused"] = json!(true);
    record_update(Some(&live), &mut updated, "kubectl", &schema(), T1, "");
    assert_eq!(
        owned(&updated, "kubectl"),
        [".spec.paused", ".spec.replicas"]
    );
    assert!(owned(&updated, "one").is_empty());
    let error = applied(Some(&updated), json!({"replicas": 1}), "one").unwrap_err();
    let ApplyError::Conflicts(conflicts) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        conflicts[0].message(),
        "conflict with \"kubectl\" using apps/v1"
    );
    assert_eq!(conflicts[0].field, ".spec.replicas");
    let error = applied(
        Some(&updated),
        json!({"replicas": 1, "paused": false}),
        "one",
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl\" using apps/v1:\n- .spec.paused\n- .spec.replicas"
    );
}

#[test]
fn force_takes_the_field_over() {
    let live = applied(None, json!({"replicas": 1, "paused": true}), "one").unwrap();
    let live = forced(&live, json!({"replicas": 2}), "two");
    assert_eq!(live["spec"], json!({"replicas": 2, "paused": true}));
    assert_eq!(owned(&live, "one"), [".spec.paused"]);
    assert_eq!(owned(&live, "two"), [".spec.replicas"]);
}

#[test]
fn what_is_applied_no_more_goes_away_unless_owned() {
    let live = applied(
        None,
        json!({"replicas": 1, "paused": true, "tags": ["a", "b"]}),
        "one",
    )
    .unwrap();
    let live = applied(
        Some(&live),
        json!({"replicas": 1, "tags": ["b", "c"]}),
        "two",
    )
    .unwrap();
    assert_eq!(live["spec"]["tags"], json!(["a", "b", "c"]));
    let live = applied(Some(&live), json!({"tags": ["a"]}), "one").unwrap();
    assert_eq!(
        live["spec"],
        json!({"replicas": 1, "tags": ["a", "b", "c"]})
    );
    let live = applied(Some(&live), json!({"replicas": 1}), "two").unwrap();
    assert_eq!(live["spec"], json!({"replicas": 1, "tags": ["a"]}));
    let live = apply(
        Some(&live),
        &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}),
        "two",
        false,
        &schema(),
        T1,
        "",
    )
    .unwrap();
    assert_eq!(live["spec"], json!({"tags": ["a"]}));
    assert!(owned(&live, "two").is_empty());
}

#[test]
fn metadata_stays_when_its_last_label_goes() {
    let mut labelled = object(json!({"replicas": 1}));
    labelled["metadata"]["labels"] = json!({"app": "x"});
    let mut live = apply(None, &labelled, "one", false, &schema(), T0, "").unwrap();
    live["metadata"]["uid"] = json!("u");
    let live = applied(Some(&live), json!({"replicas": 1}), "one").unwrap();
    assert_eq!(live["metadata"]["name"], "d");
    assert_eq!(live["metadata"]["uid"], "u");
    assert!(live["metadata"].get("labels").is_none());
}

#[test]
fn lists_are_merged_by_their_keys() {
    let live = applied(
        None,
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
        "one",
    )
    .unwrap();
    let live = applied(
        Some(&live),
        json!({"containers": [{"name": "b", "tty": true}, {"name": "c"}]}),
        "two",
    )
    .unwrap();
    let want = json!([{"name": "a", "image": "1"}, {"name": "b", "tty": true}, {"name": "c"}]);
    assert_eq!(live["spec"]["containers"], want);
    let live = applied(
        Some(&live),
        json!({"containers": [{"name": "a", "image": "2"}]}),
        "one",
    )
    .unwrap();
    let want = json!([{"name": "a", "image": "2"}, {"name": "b", "tty": true}, {"name": "c"}]);
    assert_eq!(live["spec"]["containers"], want);
    let live = applied(Some(&live), json!({"containers": [{"name": "c"}]}), "two").unwrap();
    assert_eq!(
        live["spec"]["containers"],
        json!([{"name": "a", "image": "2"}, {"name": "c"}])
    );
    let error = applied(
        Some(&live),
        json!({"containers": [{"name": "a", "image": "3"}]}),
        "two",
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("conflict with \"one\": .spec.containers[name=\"a\"].image"),
        "{error}"
    );
}

#[test]
fn atomic_parts_change_as_one() {
    let live = applied(
        None,
        json!({"selector": {"a": "1", "b": "2"}, "args": ["x", "y"]}),
        "one",
    )
    .unwrap();
    let live = applied(
        Some(&live),
        json!({"selector": {"a": "1"}, "args": ["z"]}),
        "one",
    )
    .unwrap();
    assert_eq!(live["spec"], json!({"selector": {"a": "1"}, "args": ["z"]}));
    let error = applied(Some(&live), json!({"args": ["w"]}), "two").unwrap_err();
    assert!(error.to_string().ends_with(": .spec.args"), "{error}");
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let spec = json!({"replicas": 1, "containers": [{"name": "a", "image": "1"}]});
    let live = applied(None, spec.clone(), "one").unwrap();
    let again = apply(Some(&live), &object(spec), "one", false, &schema(), T1, "").unwrap();
    assert_eq!(again, live);
}

#[test]
fn objects_without_books_belong_to_somebody() {
    let live = object(json!({"replicas": 1, "paused": true}));
    let error = applied(Some(&live), json!({"replicas": 2}), "one").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("\"before-first-apply\" using apps/v1: .spec.replicas"),
        "{error}"
    );
    let live = applied(Some(&live), json!({"replicas": 1}), "one").unwrap();
    assert_eq!(
        owned(&live, "before-first-apply"),
        [".spec.paused", ".spec.replicas"]
    );
}

#[test]
fn updates_by_subresource_are_booked_apart() {
    let mut live = object(json!({"replicas": 1}));
    record_update(None, &mut live, "controller", &schema(), T0, "");
    let mut next = live.clone();
    next["status"] = json!({"replicas": 1});
    record_update(
        Some(&live),
        &mut next,
        "controller",
        &schema(),
        T1,
        "status",
    );
    let entries = next["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries[0]["fieldsV1"],
        json!({"f:spec": {"f:replicas": {}}})
    );
    assert_eq!(entries[1]["subresource"], json!("status"));
    assert_eq!(
        entries[1]["fieldsV1"],
        json!({"f:status": {"f:replicas": {}}})
    );
    let mut gone = next.clone();
    gone["spec"] = json!({});
    record_update(Some(&next), &mut gone, "other", &schema(), T1, "");
    assert!(!owned(&gone, "controller").contains(&".spec.replicas".to_owned()));
}

#[test]
fn requests_may_carry_or_reset_the_books() {
    let live = applied(None, json!({"replicas": 1}), "one").unwrap();
    let mut reset = live.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    record_update(Some(&live), &mut reset, "two", &schema(), T1, "");
    assert!(reset["metadata"].get("managedFields").is_none());
    let mut without = live.clone();
    without["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    record_update(Some(&live), &mut without, "two", &schema(), T1, "");
    assert_eq!(
        without["metadata"]["managedFields"],
        live["metadata"]["managedFields"]
    );
}

#[test]
fn the_number_of_updaters_is_bounded() {
    let mut live = object(json!({}));
    record_update(None, &mut live, "m", &schema(), T0, "");
    for number in 0..30 {
        let mut next = live.clone();
        next["metadata"]["labels"][format!("l{number}")] = json!("x");
        record_update(
            Some(&live),
            &mut next,
            &format!("m{number:02}"),
            &schema(),
            T1,
            "",
        );
        live = next;
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert!(entries.len() <= 11, "{}", entries.len());
    assert!(
        entries
            .iter()
            .any(|entry| entry["manager"] == "ancient-changes")
    );
    assert_eq!(
        entries
            .iter()
            .flat_map(|entry| FieldSet::from_json(&entry["fieldsV1"]).paths())
            .filter(|path| path.starts_with(".metadata.labels.l"))
            .count(),
        30
    );
}

#[rstest]
#[case(json!({"containers": [{"name": "a"}, {"name": "a"}]}), ".spec.containers: duplicate entries for key {\"name\":\"a\"}")]
#[case(json!({"containers": [{"image": "a"}]}),
    ".spec.containers: element 0: associative list with keys has an element that omits key field \"name\"")]
fn items_must_be_told_apart(#[case] spec: Value, #[case] want: &str) {
    assert_eq!(applied(None, spec, "one").unwrap_err().to_string(), want);
}

#[test]
fn without_a_schema_maps_are_granular_and_lists_are_not() {
    let run = |live: Option<&Value>, spec: Value, manager: &str| {
        apply(live, &object(spec), manager, false, &Node::any(), T0, "")
    };
    let live = run(None, json!({"a": {"b": 1}, "l": [1, 2]}), "one").unwrap();
    let live = run(Some(&live), json!({"a": {"c": 2}}), "two").unwrap();
    assert_eq!(live["spec"], json!({"a": {"b": 1, "c": 2}, "l": [1, 2]}));
    let live = run(Some(&live), json!({"a": {}}), "one").unwrap();
    assert_eq!(live["spec"], json!({"a": {"c": 2}}));
}

fn specs() -> impl Strategy<Value = Value> {
    let container =
        ("[ab]", prop::option::of("[xy]"), any::<Option<bool>>()).prop_map(|(name, image, tty)| {
            let mut value = json!({"name": name});
            if let Some(image) = image {
                value["image"] = json!(image);
            }
            if let Some(tty) = tty {
                value["tty"] = json!(tty);
            }
            value
        });
    (
        prop::option::of(0..3_u8),
        prop::collection::vec(container, 0..3),
        prop::collection::vec("[abc]", 0..3),
        prop::option::of(prop_oneof![Just(json!({})), Just(json!({"a": 1}))]),
    )
        .prop_map(|(replicas, containers, tags, selector)| {
            let mut spec = json!({"containers": containers, "tags": tags});
            if let Some(replicas) = replicas {
                spec["replicas"] = json!(replicas);
            }
            if let Some(selector) = selector {
                spec["selector"] = selector;
            }
            spec
        })
}

proptest! {
    #[test]
    fn what_is_forced_is_there(steps in prop::collection::vec((0..3_u8, specs()), 1..6)) {
        let mut live: Option<Value> = None;
        for (who, spec) in steps {
            let manager = format!("m{who}");
            let Ok(next) = apply(live.as_ref(), &object(spec.clone()), &manager, true, &schema(), T0, "") else { continue };
            if let Some(replicas) = spec.get("replicas") {
                proptest::prop_assert_eq!(&next["spec"]["replicas"], replicas);
            }
            let again = apply(Some(&next), &object(spec), &manager, false, &schema(), T1, "").unwrap();
            proptest::prop_assert_eq!(&again, &next);
            live = Some(next);
        }
    }

    #[test]
    fn field_sets_survive_their_json(a in specs()) {
        let Ok(live) = applied(None, a, "one") else { return Ok(()) };
        for entry in live["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let set = FieldSet::from_json(&entry["fieldsV1"]);
            proptest::prop_assert_eq!(&set.to_json(), &entry["fieldsV1"]);
        }
    }
}
