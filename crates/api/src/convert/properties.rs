//! Conversion over generated objects: what goes to the other version and back is what it was.

use proptest::option::of as some;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Map, Value, json};

use super::convert;
use crate::names::annotation;

/// An object of the fields that are set.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let set = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    set.collect::<Map<_, _>>().into()
}

fn service(version: &str, annotations: &Map<String, Value>, spec: &Value) -> Value {
    let mut object = json!({"apiVersion": format!("serving.kserve.io/{version}"),
        "kind": "LLMInferenceService", "metadata": {"name": "m"}, "spec": spec});
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = Value::Object(annotations.clone());
    }
    object
}

fn word() -> impl Strategy<Value = Value> + Clone {
    "[a-z]{1,4}".prop_map(Value::from)
}

fn adapters(
    field: &'static str,
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    let adapter = (word(), some(value))
        .prop_map(move |(name, value)| object([("name", Some(name)), (field, value)]));
    prop::collection::vec(adapter, 0..4).prop_map(|adapters| json!({"adapters": adapters}))
}

/// The spec around a model and a pool.
fn spec(
    model: impl Strategy<Value = Value>,
    workload: impl Strategy<Value = Value> + Clone,
    pool: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    (some(model), workload.clone(), some(workload), some(pool)).prop_map(
        |(model, mut spec, prefill, pool)| {
            for (name, value) in [("model", model), ("prefill", prefill)] {
                if let Some(value) = value {
                    spec[name] = value;
                }
            }
            if let Some(pool) = pool {
                spec["router"] = json!({"scheduler": {"pool": {"spec": pool}}});
            }
            spec
        },
    )
}

fn criticality() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        Just(json!("Critical")),
        Just(json!("Standard")),
        Just(json!("Sheddable"))
    ]
}

fn hub() -> impl Strategy<Value = Value> {
    let confidential = any::<bool>().prop_map(|enabled| json!({"enabled": enabled}));
    let model = (
        word(),
        some(confidential.clone()),
        some(adapters("confidential", confidential)),
    )
        .prop_map(|(uri, confidential, lora)| {
            object([
                ("uri", Some(uri)),
                ("confidential", confidential),
                ("lora", lora),
            ])
        });
    let workload = (some(0..3_i32), some(word())).prop_map(|(replicas, cpu)| {
        object([
            ("replicas", replicas.map(Value::from)),
            ("kvCacheOffloading", cpu.map(|cpu| json!({"cpu": cpu}))),
        ])
    });
    let ports = prop::collection::vec(1..9000_u16, 1..4);
    let pool =
        (ports, some(word()), word(), any::<bool>()).prop_map(|(ports, protocol, name, opens)| {
            let ports: Vec<_> = ports
                .into_iter()
                .map(|port| json!({"number": port}))
                .collect();
            object([
                ("targetPorts", Some(json!(ports))),
                ("appProtocol", protocol),
                ("selector", Some(json!({"matchLabels": {"app": name}}))),
                (
                    "endpointPickerRef",
                    Some(
                        json!({"kind": "Service", "name": name, "port": {"number": 1},
                "failureMode": if opens { "FailOpen" } else { "FailClose" }}),
                    ),
                ),
            ])
        });
    (spec(model, workload, pool), some(criticality())).prop_map(|(spec, criticality)| {
        let mut annotations = Map::new();
        // Without a model the annotation has nothing to become.
        if let Some(criticality) = criticality {
            annotations.insert(annotation::MODEL_CRITICALITY.to_owned(), criticality);
        }
        service("v1alpha2", &annotations, &spec)
    })
}

fn old() -> impl Strategy<Value = Value> {
    let model = (
        word(),
        some(criticality()),
        some(adapters("criticality", criticality())),
    )
        .prop_map(|(uri, criticality, lora)| {
            object([
                ("uri", Some(uri)),
                ("criticality", criticality),
                ("lora", lora),
            ])
        });
    let workload =
        some(0..3_i32).prop_map(|replicas| object([("replicas", replicas.map(Value::from))]));
    let pool = (some(1..9000_u16), word(), some(word()), some(1..9000_u16)).prop_map(
        |(port, name, kind, picker)| {
            object([
                ("targetPortNumber", port.map(Value::from)),
                ("selector", Some(json!({"app": name}))),
                (
                    "extensionRef",
                    Some(object([
                        ("name", Some(name)),
                        ("kind", kind),
                        ("portNumber", picker.map(Value::from)),
                    ])),
                ),
            ])
        },
    );
    spec(model, workload, pool).prop_map(|spec| service("v1alpha1", &Map::new(), &spec))
}

/// Any JSON, with the names that conversion knows among its fields.
fn anything() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "spec",
        "model",
        "lora",
        "adapters",
        "criticality",
        "confidential",
        "router",
        "scheduler",
        "pool",
        "targetPorts",
        "targetPortNumber",
        "selector",
        "matchLabels",
        "extensionRef",
        "endpointPickerRef",
        "port",
        "prefill",
        "kvCacheOffloading",
        "metadata",
        "annotations",
        annotation::HUB_ONLY_FIELDS,
        annotation::LORA_CRITICALITIES,
        "status",
        "addresses",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        Just(json!(
            "{\"0\":1,\"/spec/model/confidential\":2,\"/spec/a/targetPorts/0\":3}"
        )),
        Just(json!("x")),
    ];
    leaf.prop_recursive(7, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..6).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn a_new_object_is_the_same_after_an_old_client(hub in hub()) {
        let old = convert(hub.clone(), "v1alpha1").unwrap();
        proptest::prop_assert_eq!(convert(old, "v1alpha2").unwrap(), hub);
    }

    #[test]
    fn an_old_object_loses_nothing_and_settles(old in old()) {
        let back = |old: Value| convert(convert(old, "v1alpha2").unwrap(), "v1alpha1").unwrap();
        let once = back(old.clone());
        for pointer in ["/metadata", "/spec/model", "/spec/replicas", "/spec/prefill"] {
            proptest::prop_assert_eq!(once.pointer(pointer), old.pointer(pointer), "{}", pointer);
        }
        proptest::prop_assert_eq!(back(once.clone()), once, "what is filled in stays as it is");
    }

    #[test]
    fn no_object_is_too_broken_to_convert(mut object in anything(), to_hub in any::<bool>()) {
        let (from, to) = if to_hub { ("v1alpha1", "v1alpha2") } else { ("v1alpha2", "v1alpha1") };
        if !object.is_object() {
            object = json!({"spec": object});
        }
        object["apiVersion"] = json!(format!("serving.kserve.io/{from}"));
        object["kind"] = json!("LLMInferenceService");
        let there = convert(object, to).unwrap();
        convert(there, from).unwrap();
    }
}
