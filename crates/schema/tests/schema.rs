//! Pruning, defaulting, validating and the places of a schema.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tables of cases"
)]

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use rstest::rstest;
use serde_json::{Value, json};
use weir_schema::{Additional, Kind, ListType, Node};

fn schema() -> Node {
    Node::parse(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                    "replicas": {"type": "integer", "format": "int32", "minimum": 0, "default": 1},
                    "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
                    "when": {"type": "string", "format": "date-time"},
                    "port": {"x-kubernetes-int-or-string": true},
                    "maybe": {"type": "string", "nullable": true, "default": "x"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "pod": {"type": "object", "x-kubernetes-embedded-resource": true,
                        "x-kubernetes-preserve-unknown-fields": true},
                    "items": {
                        "type": "array", "minItems": 1, "maxItems": 3,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                        "items": {"type": "object", "required": ["port"], "properties": {
                            "port": {"type": "integer"},
                            "protocol": {"type": "string", "default": "TCP"},
                        }},
                    },
                    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "one": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                        "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
                },
            },
        },
    }))
    .unwrap()
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let mut value = json!({
        "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x", "foo": 1, "labels": {"a": "b"}}, "extra": 1,
        "spec": {
            "foo": 1, "labels": {"any": "x"}, "free": {"x": 1, "known": {"a": "", "b": ""}},
            "items": [{"port": 1}, {"port": 2, "bar": 1}],
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"foo": 1}, "spec": {}},
        },
    });
    let messages = schema().unknown_fields(&value);
    assert!(
        messages.contains(&"unknown field \"spec.items[1].bar\"".to_owned()),
        "{messages:?}"
    );
    let mut dropped = schema().prune(&mut value);
    dropped.sort();
    assert_eq!(
        dropped,
        [
            "extra",
            "metadata.foo",
            "spec.foo",
            "spec.free.known.b",
            "spec.items[1].bar",
            "spec.pod.metadata.foo"
        ]
    );
    assert_eq!(value["spec"]["items"], json!([{"port": 1}, {"port": 2}]));
    assert_eq!(value["spec"]["free"]["x"], json!(1));
    assert!(schema().prune(&mut value).is_empty());
}

#[test]
fn defaults_fill_what_is_missing() {
    let mut value = json!({"spec": {"maybe": null, "mode": null, "when": null, "labels": {"a": null}, "items": [{"port": 1}]}});
    schema().default(&mut value);
    let want = json!({"spec": {
        "maybe": null, "mode": "A", "labels": {}, "items": [{"port": 1, "protocol": "TCP"}], "replicas": 1,
    }});
    assert_eq!(value, want);
    let mut value = json!({});
    schema().default(&mut value);
    assert_eq!(value, json!({}));
}

#[rstest]
#[case(json!({"name": "a", "replicas": "3"}),
    "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"")]
#[case(json!({"name": "a", "replicas": null}),
    "spec.replicas: Invalid value: \"null\": spec.replicas in body must be of type integer: \"null\"")]
#[case(json!({}), "spec.name: Required value")]
#[case(json!({"name": "a", "mode": "C"}), "spec.mode: Unsupported value: \"C\": supported values: \"A\", \"B\"")]
#[case(json!({"name": "A"}), "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'")]
#[case(json!({"name": "abcdef"}), "spec.name: Too long: may not be more than 5 bytes")]
#[case(json!({"name": "a", "replicas": -1}),
    "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0")]
#[case(json!({"name": "a", "replicas": 3_000_000_000_u64}),
    "spec.replicas: Invalid value: 3000000000: spec.replicas in body must be of type int32: \"integer\"")]
#[case(json!({"name": "a", "when": "today"}),
    "spec.when: Invalid value: \"today\": spec.when in body must be of type date-time: \"today\"")]
#[case(json!({"name": "a", "port": true}),
    "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"")]
#[case(json!({"name": "a", "items": []}), "spec.items: Invalid value: []: spec.items in body should have at least 1 items")]
#[case(json!({"name": "a", "items": [{"port": 1}, {"port": 2}, {"port": 3}, {"port": 4}]}),
    "spec.items: Too many: 4: must have at most 3 items")]
#[case(json!({"name": "a", "items": [{"protocol": "UDP"}]}), "spec.items[0].port: Required value")]
#[case(json!({"name": "a", "items": [{"port": 1}, {"port": 1, "protocol": "TCP"}]}),
    "spec.items[1]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\"}")]
#[case(json!({"name": "a", "tags": ["x", "x"]}), "spec.tags[1]: Duplicate value: \"x\"")]
#[case(json!({"name": "a", "labels": {"x": 1}}),
    "spec.labels.x: Invalid value: \"integer\": spec.labels.x in body must be of type string: \"integer\"")]
#[case(json!({"name": "a", "pod": {"kind": "Pod"}}), "spec.pod.apiVersion: Required value")]
#[case(json!({"name": "a", "one": {"a": "", "b": ""}}),
    "spec.one: Invalid value: {\"a\":\"\",\"b\":\"\"}: spec.one in body must validate one and only one schema (oneOf). \
     Found 2 valid alternatives")]
fn violations_are_worded_as_by_an_api_server(#[case] spec: Value, #[case] want: &str) {
    let found: Vec<_> = schema()
        .validate(&json!({"spec": spec}))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found, [want]);
}

#[rstest]
#[case(json!({"name": "a", "replicas": 3.0, "port": "http", "when": "2024-02-29T01:02:03.5Z"}))]
#[case(json!({"name": "a", "port": 80, "when": "2024-01-01T00:00:00+02:00", "maybe": null}))]
#[case(json!({"name": "a", "items": [{"port": 1}, {"port": 1, "protocol": "UDP"}], "one": {"a": ""}}))]
fn what_is_valid_is_left_alone(#[case] spec: Value) {
    assert_eq!(schema().validate(&json!({"spec": spec})), []);
}

#[test]
fn references_may_be_recursive() {
    let definitions = json!({
        "Props": {"type": "object", "properties": {
            "type": {"type": "string"},
            "not": {"$ref": "#/components/schemas/Props"},
            "properties": {"type": "object", "additionalProperties": {
                "allOf": [{"$ref": "#/components/schemas/Props"}], "default": {}}},
        }},
        "Raw": {"type": "object"},
        "Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        "Port": {"type": "string", "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    });
    let root = json!({"type": "object", "properties": {
        "props": {"$ref": "#/components/schemas/Props", "x-kubernetes-map-type": "atomic"},
        "raw": {"$ref": "#/definitions/Raw"},
        "quantity": {"$ref": "#/components/schemas/Quantity"},
        "port": {"allOf": [{"$ref": "#/components/schemas/Port"}], "default": ""},
    }});
    let node = Node::parse_with_definitions(&root, &definitions).unwrap();
    let mut value = json!({
        "props": {"not": {"not": {"type": "x", "foo": 1}}, "properties": {"a": {"bar": 1}}},
        "raw": {"x": 1}, "quantity": "10Gi", "port": 80,
    });
    assert_eq!(node.validate(&value), []);
    assert_eq!(
        node.prune(&mut value),
        ["props.not.not.foo", "props.properties.a.bar"]
    );
    let props = node.property("props").unwrap();
    assert!(props.atomic_map());
    assert!(!props.property("not").unwrap().atomic_map());
    assert_eq!(props.kind(), Some(Kind::Object));
    assert!(matches!(
        props.property("properties").unwrap().additional(),
        Additional::Schema(_)
    ));
    assert_eq!(node.property("port").unwrap().default_value(), None);
    assert_eq!(node.validate(&json!({"port": null, "quantity": 1})), []);
    assert_eq!(node.validate(&json!({"port": []})).len(), 1);
}

#[rstest]
#[case("byte", "aGk=", true)]
#[case("byte", "aGk=\n", true)]
#[case("byte", "a*==", false)]
#[case("date", "2023-02-29", false)]
#[case("date", "2024-02-29", true)]
#[case("duration", "1h2m3.5s", true)]
#[case("duration", "5", false)]
#[case("ipv4", "127.0.0.1", true)]
#[case("cidr", "10.0.0.0/33", false)]
#[case("uuid", "123e4567-e89b-12d3-a456-426614174000", true)]
#[case("email", "anything", true)]
fn formats(#[case] format: &str, #[case] text: &str, #[case] valid: bool) {
    let node = Node::parse(&json!({"type": "string", "format": format})).unwrap();
    assert_eq!(node.validate(&json!(text)).is_empty(), valid);
}

#[test]
fn merge_hints_are_exposed() {
    let node = Node::object_meta();
    let owners = node.property("ownerReferences").unwrap();
    assert_eq!(owners.list_type(), Some(ListType::Map));
    assert_eq!(owners.list_map_keys(), ["uid"]);
    assert_eq!(owners.patch_merge_key(), Some("uid"));
    assert_eq!(owners.patch_strategy(), Some("merge"));
    assert_eq!(owners.items().unwrap().map_type(), Some("atomic"));
    assert_eq!(
        node.property("finalizers").unwrap().list_type(),
        Some(ListType::Set)
    );
    assert!(Node::any().field("x").is_some());
}

#[rstest]
#[case(json!([]), "schema at /: must be an object")]
#[case(json!({"properties": {"a": {"type": "text"}}}), "schema at /a: type \"text\" is unknown")]
#[case(json!({"properties": {"a": {"minLength": -1}}}), "schema at /a: minLength must be a count")]
#[case(json!({"$ref": "#/components/schemas/X"}), "schema at /: #/components/schemas/X is not among the definitions")]
fn malformed_schemas_are_refused(#[case] schema: Value, #[case] want: &str) {
    assert_eq!(Node::parse(&schema).unwrap_err().to_string(), want);
}

#[test]
fn endless_schemas_are_refused_or_harmless() {
    let definitions =
        json!({"A": {"$ref": "#/definitions/B"}, "B": {"allOf": [{"$ref": "#/definitions/A"}]}});
    let node =
        Node::parse_with_definitions(&json!({"$ref": "#/definitions/A"}), &definitions).unwrap();
    assert_eq!(node.validate(&json!({"a": 1})), []);
    let mut deep = json!({});
    for _ in 0..400 {
        deep = json!({"items": deep});
    }
    assert!(Node::parse(&deep).is_err());
}

#[test]
fn schemas_of_published_definitions_are_read() {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let folder = std::path::Path::new(&shared).join("crds");
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for document in weir_manifest::parse(&text, &entry.path().display().to_string())
            .into_iter()
            .flatten()
        {
            for version in document
                .value
                .pointer("/spec/versions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let schema = &version["schema"]["openAPIV3Schema"];
                let node = Node::parse(schema)
                    .unwrap_or_else(|error| panic!("{:?}: {error}", entry.path()));
                assert_eq!(node.kind(), Some(Kind::Object));
                read += 1;
            }
        }
    }
    if read == 0 {
        eprintln!("SKIPPED: no definitions in {}", folder.display());
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("spec"),
        Just("items"),
        Just("name"),
        Just("port"),
        Just("type"),
        Just("properties"),
        Just("free"),
        Just("metadata"),
        Just("tags"),
        Just("labels"),
        Just("x"),
        Just("allOf"),
        Just("default"),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_panics(mut value in values()) {
        let node = schema();
        let _ = node.validate(&value);
        node.default(&mut value);
        let unknown = node.unknown_fields(&value);
        proptest::prop_assert_eq!(node.prune(&mut value).len(), unknown.len());
        proptest::prop_assert!(node.unknown_fields(&value).is_empty());
    }

    #[test]
    fn no_schema_panics(schema in values(), mut value in values()) {
        if let Ok(node) = Node::parse_with_definitions(&schema, &schema) {
            let _ = node.validate(&value);
            node.default(&mut value);
            node.prune(&mut value);
        }
    }
}
