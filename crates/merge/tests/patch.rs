//! Patches and layers: what comes out, and in which order.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tables of cases"
)]

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use rstest::rstest;
use serde_json::{Value, json};
use weir_merge::{
    Error, compose_merge, json_merge_patch, strategic_merge_patch, try_compose_merge,
};
use weir_schema::Node;

fn pod() -> Node {
    let keyed = |key: &str, strategy: &str, items: Value| {
        json!({"type": "array", "items": items, "x-kubernetes-patch-merge-key": key,
            "x-kubernetes-patch-strategy": strategy})
    };
    let named = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    Node::parse(&json!({"type": "object", "properties": {
        "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": {
            "containers": keyed("name", "merge", json!({"type": "object", "properties": {
                "env": keyed("name", "merge", named.clone()),
                "ports": keyed("containerPort", "merge", json!({"type": "object"})),
                "args": {"type": "array", "items": {"type": "string"}},
            }})),
            "volumes": keyed("name", "merge,retainKeys", named.clone()),
            "strategy": {"type": "object", "x-kubernetes-patch-strategy": "retainKeys"},
            "whole": {"type": "object", "x-kubernetes-patch-strategy": "replace"},
            "tolerations": {"type": "array", "items": {"type": "object"}},
        }},
    }}))
    .unwrap()
}

fn patched(base: Value, patch: Value) -> Value {
    let mut target = json!({"spec": base});
    strategic_merge_patch(&mut target, &json!({"spec": patch}), &pod())
        .unwrap_or_else(|error| panic!("{error}"));
    target["spec"].take()
}

fn named(names: &str) -> Value {
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| json!({"name": name}))
        .collect()
}

fn names(list: &Value) -> String {
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    names.join(",")
}

#[rstest]
#[case("a", "b", "b,a")]
#[case("HOME,LOG,HF", "X,HOME", "X,HOME,LOG,HF")]
#[case("a,b,c", "c", "a,b,c")]
#[case("a,b,c", "c,a", "b,c,a")]
#[case("a,b", "x,b", "x,a,b")]
#[case("a,b", "b,x", "a,b,x")]
#[case("main", "sidecar,main", "sidecar,main")]
#[case("a", "c", "c,a")]
#[case("a,b", "b,c", "a,b,c")]
#[case("a,b", "c,b", "c,a,b")]
#[case("", "b,a", "b,a")]
fn lists_are_a_merge_of_two_runs(#[case] base: &str, #[case] patch: &str, #[case] want: &str) {
    let (base, patch) = (
        json!({"containers": named(base)}),
        json!({"containers": named(patch)}),
    );
    assert_eq!(
        names(&patched(base.clone(), patch.clone())["containers"]),
        want
    );
    assert_eq!(
        names(&compose_merge(&base, &patch, &Node::any())["containers"]),
        want
    );
}

#[rstest]
#[case("$patch delete", json!({"containers": [{"name": "a"}, {"name": "b"}]}),
    json!({"containers": [{"name": "a", "$patch": "delete"}]}), json!({"containers": [{"name": "b"}]}))]
#[case("$patch replace of a list", json!({"containers": [{"name": "a"}, {"name": "b"}]}),
    json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}), json!({"containers": [{"name": "c"}]}))]
#[case("$patch replace of a map", json!({"strategy": {"a": 1, "b": 2}}),
    json!({"strategy": {"$patch": "replace", "c": 3}}), json!({"strategy": {"c": 3}}))]
#[case("$patch delete of a map", json!({"strategy": {"a": 1}}),
    json!({"strategy": {"$patch": "delete"}}), json!({"strategy": {}}))]
#[case("$patch merge", json!({"strategy": {"a": 1}}),
    json!({"strategy": {"$patch": "merge", "b": 1}}), json!({"strategy": {"a": 1, "b": 1}}))]
#[case("$retainKeys", json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"x": 1}}}),
    json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}), json!({"strategy": {"type": "Recreate"}}))]
#[case("$setElementOrder", json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
    json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "a", "x": 1}]}),
    json!({"containers": [{"name": "b"}, {"name": "c"}, {"name": "a", "x": 1}]}))]
#[case("$setElementOrder alone", json!({"containers": [{"name": "a"}, {"name": "b"}]}),
    json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
    json!({"containers": [{"name": "b"}, {"name": "a"}]}))]
#[case("null", json!({"a": 1, "b": {"c": 1, "d": 1}}), json!({"a": null, "b": {"c": null}, "n": {"x": null}}),
    json!({"b": {"d": 1}, "n": {}}))]
#[case("replace strategy", json!({"whole": {"a": 1}}), json!({"whole": {"b": 1}}), json!({"whole": {"b": 1}}))]
#[case("atomic list", json!({"tolerations": [{"a": 1}]}), json!({"tolerations": [{"b": 1}]}),
    json!({"tolerations": [{"b": 1}]}))]
#[case("types differ", json!({"a": {"b": 1}, "c": [1]}), json!({"a": [1], "c": "x"}), json!({"a": [1], "c": "x"}))]
#[case("env inside of a container", json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}]}),
    json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]}]}),
    json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]}]}))]
#[case("ports by number alone", json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}),
    json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]}),
    json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]}))]
fn directives(#[case] what: &str, #[case] base: Value, #[case] patch: Value, #[case] want: Value) {
    assert_eq!(patched(base, patch), want, "{what}");
}

#[test]
fn metadata_has_its_own_schema() {
    let mut target = json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1"}}});
    let patch = json!({"metadata": {
        "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c", "b"], "labels": {"y": "2"},
    }});
    strategic_merge_patch(&mut target, &patch, &pod()).unwrap();
    assert_eq!(
        target,
        json!({"metadata": {"finalizers": ["c", "b"], "labels": {"x": "1", "y": "2"}}})
    );
}

#[rstest]
#[case(json!({"containers": [{"image": "x"}]}),
    "spec.containers: item 0 has no \"name\", by which items of this list are merged")]
#[case(json!({"containers": ["x"]}), "spec.containers: item 0 must be an object")]
#[case(json!({"strategy": {"$patch": "join"}}), "spec.strategy: $patch \"join\" must be merge, replace or delete")]
#[case(json!({"strategy": {"$retainKeys": ["a"], "b": 1}}), "spec.strategy: \"b\" is patched but not in $retainKeys")]
#[case(json!({"$setElementOrder/containers": 1}), "spec: $setElementOrder/containers must be a list")]
fn malformed_patches_are_refused(#[case] patch: Value, #[case] want: &str) {
    let mut target = json!({"spec": {"containers": [{"name": "a"}], "strategy": {"a": 1}}});
    let error = strategic_merge_patch(&mut target, &json!({"spec": patch}), &pod()).unwrap_err();
    assert_eq!(error.to_string(), want);
}

#[test]
fn json_merge_patch_follows_rfc_7396() {
    let mut target = json!({"a": "b", "c": {"d": "e", "f": "g"}, "l": [1]});
    json_merge_patch(&mut target, &json!({"a": "z", "c": {"f": null}, "l": [2]}));
    assert_eq!(target, json!({"a": "z", "c": {"d": "e"}, "l": [2]}));
}

#[rstest]
#[case("scalars replace, zero counts", json!({"replicas": 3, "on": true}), json!({"replicas": 0, "on": false}),
    json!({"replicas": 0, "on": false}))]
#[case("empty text and lists override nothing", json!({"a": "x", "containers": [{"name": "m"}], "l": [1], "o": {"a": 1}}),
    json!({"a": "", "containers": [], "l": [], "o": {}}),
    json!({"a": "x", "containers": [{"name": "m"}], "l": [1], "o": {"a": 1}}))]
#[case("null containers keep those of the base", json!({"containers": [{"name": "m"}], "x": 1}),
    json!({"containers": null, "x": null}), json!({"containers": [{"name": "m"}]}))]
#[case("empty objects can switch on", json!({}), json!({"scheduler": {}, "args": []}), json!({"scheduler": {}, "args": []}))]
#[case("maps are united", json!({"nodeSelector": {"a": "1", "b": "1"}}), json!({"nodeSelector": {"b": "2", "c": "3"}}),
    json!({"nodeSelector": {"a": "1", "b": "2", "c": "3"}}))]
#[case("other lists are replaced", json!({"args": ["a"], "tolerations": [{"key": "a"}]}),
    json!({"args": ["b"], "tolerations": [{"key": "b"}]}), json!({"args": ["b"], "tolerations": [{"key": "b"}]}))]
#[case("a list without a base is taken as it is", json!({}),
    json!({"env": [{"name": "b"}, {"name": "a"}, {"name": "b"}]}),
    json!({"env": [{"name": "b"}, {"name": "a"}, {"name": "b"}]}))]
#[case("duplicates in a layer collapse", json!({"env": [{"name": "c"}]}),
    json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
    json!({"env": [{"name": "A", "value": "2"}, {"name": "c"}]}))]
#[case("ports by number", json!({"ports": [{"containerPort": 80, "protocol": "TCP"}]}),
    json!({"ports": [{"containerPort": 80, "protocol": "UDP"}]}), json!({"ports": [{"containerPort": 80, "protocol": "UDP"}]}))]
#[case("a volume has one source", json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
    json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}), json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}))]
#[case("a volume that is only named keeps its source", json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
    json!({"volumes": [{"name": "v"}]}), json!({"volumes": [{"name": "v", "emptyDir": {}}]}))]
#[case("a volume keeps the details of its source", json!({"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]}),
    json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]}),
    json!({"volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]}))]
#[case("value or valueFrom", json!({"env": [{"name": "A", "value": "1"}]}),
    json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}), json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}))]
#[case("one probe handler", json!({"readinessProbe": {"httpGet": {"path": "/"}, "periodSeconds": 3}}),
    json!({"readinessProbe": {"exec": {"command": ["x"]}}}),
    json!({"readinessProbe": {"periodSeconds": 3, "exec": {"command": ["x"]}}}))]
#[case("inline drops ref", json!({"config": {"ref": {"name": "x"}}}), json!({"config": {"inline": {"plugins": []}}}),
    json!({"config": {"inline": {"plugins": []}}}))]
#[case("inline is one value", json!({"config": {"inline": {"a": 1, "plugins": [1]}}}), json!({"config": {"inline": {"plugins": [2]}}}),
    json!({"config": {"inline": {"plugins": [2]}}}))]
#[case("scaling drops replicas", json!({"replicas": 3}), json!({"scaling": {"max": 2}}), json!({"scaling": {"max": 2}}))]
#[case("refs drop spec", json!({"http": {"spec": {"rules": [1]}}}), json!({"http": {"refs": [{"name": "r"}]}}),
    json!({"http": {"refs": [{"name": "r"}]}}))]
#[case("a defaulted rule is no rule", json!({"rules": [{"backendRefs": [1]}]}),
    json!({"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]}), json!({"rules": [{"backendRefs": [1]}]}))]
#[case("own rules replace", json!({"rules": [{"backendRefs": [1]}]}), json!({"rules": [{"backendRefs": [2]}]}),
    json!({"rules": [{"backendRefs": [2]}]}))]
#[case("types differ", json!({"a": {"b": 1}}), json!({"a": 1}), json!({"a": 1}))]
fn layers(#[case] what: &str, #[case] base: Value, #[case] over: Value, #[case] want: Value) {
    assert_eq!(compose_merge(&base, &over, &Node::any()), want, "{what}");
    assert_eq!(
        compose_merge(&base, &json!({}), &Node::any()),
        base,
        "{what}"
    );
    assert_eq!(
        compose_merge(&json!({}), &want, &Node::any()),
        want,
        "{what}"
    );
}

#[test]
fn items_without_their_key_are_an_error() {
    let (base, over) = (
        json!({"containers": [{"name": "a"}]}),
        json!({"containers": [{"image": "x"}]}),
    );
    let error = try_compose_merge(&base, &over, &Node::any()).unwrap_err();
    assert_eq!(
        error,
        Error::MissingKey {
            path: "containers".to_owned(),
            index: 0,
            key: "name".to_owned()
        }
    );
    assert_eq!(compose_merge(&base, &over, &Node::any()), over);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<u8>().prop_map(Value::from),
        prop_oneof![Just("delete"), Just("replace"), Just("a"), Just("")].prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("spec"),
        Just("containers"),
        Just("name"),
        Just("env"),
        Just("ports"),
        Just("containerPort"),
        Just("$patch"),
        Just("$retainKeys"),
        Just("$setElementOrder/containers"),
        Just("volumes"),
        Just("$deleteFromPrimitiveList/finalizers"),
        Just("metadata"),
        Just("finalizers"),
        Just("value"),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics(base in values(), patch in values()) {
        let node = pod();
        let mut target = base.clone();
        let _ = strategic_merge_patch(&mut target, &patch, &node);
        let _ = try_compose_merge(&base, &patch, &node);
        let once = compose_merge(&base, &patch, &Node::any());
        let _ = compose_merge(&once, &patch, &Node::any());
    }

    #[test]
    fn the_order_is_that_of_both_runs(base in prop::collection::btree_set(0..20_u8, 0..8), patch in prop::collection::vec(0..20_u8, 0..8)) {
        let mut seen = std::collections::HashSet::new();
        let patch: Vec<u8> = patch.into_iter().filter(|n| seen.insert(*n)).collect();
        let list = |ns: Vec<u8>| json!({"env": ns.iter().map(|n| json!({"name": n.to_string()})).collect::<Vec<_>>()});
        let base: Vec<u8> = base.into_iter().collect();
        let merged = compose_merge(&list(base.clone()), &list(patch.clone()), &Node::any());
        let merged: Vec<u8> = merged["env"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().parse().unwrap()).collect();
        let kept = |want: &dyn Fn(&u8) -> bool| merged.iter().copied().filter(|n| want(n)).collect::<Vec<_>>();
        proptest::prop_assert_eq!(kept(&|n| patch.contains(n)), patch.clone());
        let others: Vec<u8> = base.iter().copied().filter(|n| !patch.contains(n)).collect();
        proptest::prop_assert_eq!(kept(&|n| !patch.contains(n)), others);
    }

    /// Where kinds of values agree and nothing is deleted, it does not matter which two layers are combined
    /// first; only the order of list items may differ.
    #[test]
    fn layers_may_be_combined_in_any_grouping(a in layer(), b in layer(), c in layer()) {
        let on = |base: &Value, over: &Value| try_compose_merge(base, over, &Node::any()).unwrap();
        let left = by_name(on(&on(&a, &b), &c));
        let right = by_name(on(&a, &on(&b, &c)));
        proptest::prop_assert_eq!(left, right);
    }

    #[test]
    fn a_layer_on_itself_changes_nothing(a in layer()) {
        let once = try_compose_merge(&json!({}), &a, &Node::any()).unwrap();
        proptest::prop_assert_eq!(&once, &a);
        proptest::prop_assert_eq!(try_compose_merge(&a, &a, &Node::any()).unwrap(), a);
    }
}

/// A layer of a service: maps, lists with a key in each other, lists without one, and a union.
fn layer() -> impl Strategy<Value = Value> {
    use prop::option::of as some;
    let word = || prop::sample::select(vec!["x", "y", "z"]);
    let variable = (word(), any::<bool>()).prop_map(|(text, from)| {
        let field = if from { "valueFrom" } else { "value" };
        json!({field: text})
    });
    let container = (
        some(word()),
        some(prop::collection::vec(word(), 1..3)),
        some(keyed(variable)),
    )
        .prop_map(|(image, args, env)| {
            object([
                ("image", json!(image)),
                ("args", json!(args)),
                ("env", json!(env)),
            ])
        });
    let labels = prop::collection::btree_map("[ab]", word(), 0..3);
    (some(0..3_i32), labels, some(keyed(container))).prop_map(|(replicas, labels, containers)| {
        object([
            ("replicas", json!(replicas)),
            ("labels", json!(labels)),
            ("template", object([("containers", json!(containers))])),
        ])
    })
}

/// An object of the fields that are set.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let set = fields.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name.to_owned(), value))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A list whose items have distinct names.
fn keyed(item: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Value>> {
    prop::collection::btree_map("[abc]", item, 1..4).prop_map(|items| {
        let named = |(name, mut item): (String, Value)| {
            item["name"] = json!(name);
            item
        };
        items.into_iter().map(named).collect()
    })
}

/// The value with the items of its keyed lists sorted.
fn by_name(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => {
            for item in items.iter_mut() {
                *item = by_name(item.take());
            }
            if items.iter().all(Value::is_object) {
                items.sort_by_key(|item| item["name"].to_string());
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                *field = by_name(field.take());
            }
        }
        _ => {}
    }
    value
}
