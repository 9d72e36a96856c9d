//! What holds for any spec.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};
use weir_compose::{Config, Globals, compose, compose_with_origins, presets};

/// Any value without an action and without what a layer cannot say (nulls). Names of fields are partly those of
/// a spec, so that lists with keys and unions come up.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z}{ \n$`'\"]{0,12}".prop_map(|text| Value::from(text.replace("{{", "{ {"))),
        Just(json!({})),
        Just(json!([])),
    ];
    let name = prop_oneof![
        Just("template".to_owned()),
        Just("containers".to_owned()),
        Just("command".to_owned()),
        Just("env".to_owned()),
        Just("name".to_owned()),
        Just("worker".to_owned()),
        "[a-z/~]{1,6}",
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A service with these fields and a model.
fn service(fields: &Value) -> Value {
    let mut spec = json!({"model": {"uri": "hf://a/b", "name": "svc"}});
    for (key, value) in fields.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "svc", "namespace": "ns"}, "spec": spec})
}

/// The pointers of all leaves.
fn leaves(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{at}/{key}"), all);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                leaves(value, &format!("{at}/{index}"), all);
            }
        }
        _ => all.push(at.to_owned()),
    }
}

proptest! {
    #[test]
    fn a_spec_without_actions_stays_as_it_is(fields in value()) {
        let service = service(&fields);
        let effective = compose(&service, &[], &Globals::default()).unwrap();
        prop_assert_eq!(&effective.spec, &service["spec"]);
        prop_assert!(effective.notes.is_empty());
    }

    /// Whoever asks for origins gets the same spec, and one origin for every leaf.
    #[test]
    fn origins_change_nothing_and_are_complete(fields in value(), base in value()) {
        let service = service(&fields);
        let base = if base.is_object() { base } else { json!({}) };
        let base = Config { name: "base".to_owned(), namespace: "ns".to_owned(), spec: base.into() };
        let mut configs = vec![presets::find("config-llm-template").unwrap().clone()];
        configs.push(base);
        let plain = compose(&service, &configs, &Globals::default());
        let traced = compose_with_origins(&service, &configs, &Globals::default());
        match (plain, traced) {
            (Ok(plain), Ok((traced, origins))) => {
                prop_assert_eq!(&plain, &traced);
                let mut all = Vec::new();
                leaves(&plain.spec, "", &mut all);
                all.sort();
                let told: Vec<&String> = origins.keys().collect();
                prop_assert_eq!(told, all.iter().collect::<Vec<_>>());
            }
            (Err(plain), Err(traced)) => prop_assert_eq!(plain, traced),
            (plain, traced) => prop_assert!(false, "{:?} and {:?}", plain.is_ok(), traced.is_ok()),
        }
    }
}
