//! The part of a live object that a field manager owns, and whether it is what is wanted.

use serde_json::{Map, Value};

/// What `manager` applied and still owns, cut out of the live object along its `managedFields` entry.
pub(crate) fn owned(live: &Value, manager: &str) -> Value {
    let entries = live
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let entry = entries.into_iter().flatten().find(|entry| {
        entry["manager"] == manager
            && entry["operation"] == "Apply"
            && entry.get("subresource").is_none_or(|s| s == "")
    });
    entry
        .and_then(|entry| entry.get("fieldsV1"))
        .map_or(Value::Null, |set| cut(live, set))
}

/// `managedFields` with what `other` wrote by updates turned into what `manager` applied, if `manager` has
/// applied nothing yet: from then on what is no longer wanted goes.
pub(crate) fn taken_over(live: &Value, other: &str, manager: &str) -> Option<Value> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let whole = |entry: &&Value| entry.get("subresource").is_none_or(|s| s == "");
    if entries
        .iter()
        .any(|entry| entry["manager"] == manager && entry["operation"] == "Apply")
    {
        return None;
    }
    let theirs = |entry: &Value| {
        entry["manager"] == other && entry["operation"] == "Update" && whole(&entry)
    };
    let mut taken = entries.clone();
    let entry = taken.iter_mut().find(|entry| theirs(entry))?;
    entry["manager"] = manager.into();
    entry["operation"] = "Apply".into();
    Some(Value::Array(taken))
}

/// `wanted` without what is never in `managedFields`.
pub(crate) fn comparable(wanted: &Value) -> Value {
    let mut wanted = wanted.clone();
    if let Some(object) = wanted.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("name");
            metadata.remove("namespace");
        }
    }
    wanted
}

/// Whether the owned part equals the wanted object; an empty map or list wanted is satisfied by presence.
pub(crate) fn same(wanted: &Value, owned: &Value) -> bool {
    match (wanted, owned) {
        (Value::Object(wanted), Value::Object(owned)) => {
            wanted.is_empty()
                || (wanted.len() == owned.len()
                    && wanted
                        .iter()
                        .all(|(key, value)| owned.get(key).is_some_and(|other| same(value, other))))
        }
        (Value::Array(wanted), Value::Array(owned)) => {
            wanted.len() == owned.len() && wanted.iter().zip(owned).all(|(a, b)| same(a, b))
        }
        _ => wanted == owned,
    }
}

/// Follows a `fieldsV1` set through a value; where the set has no children the whole value is owned.
fn cut(value: &Value, set: &Value) -> Value {
    let Some(set) = set
        .as_object()
        .filter(|set| set.keys().any(|key| key != "."))
    else {
        return value.clone();
    };
    match value {
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (key, inner) in set {
                if let Some(name) = key.strip_prefix("f:")
                    && let Some(value) = fields.get(name)
                {
                    kept.insert(name.to_owned(), cut(value, inner));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .filter_map(|(at, item)| cut_item(at, item, set))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// The owned part of a list's item, if the set names the item by its keys, its value or its place.
fn cut_item(at: usize, item: &Value, set: &Map<String, Value>) -> Option<Value> {
    set.iter().find_map(|(key, inner)| {
        let named = match key.split_at_checked(2)? {
            ("k:", keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
                keys.iter()
                    .all(|(name, value)| item.get(name) == Some(value))
            }
            ("v:", value) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
            ("i:", place) => place.parse() == Ok(at),
            _ => false,
        };
        named.then(|| cut(item, inner))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live() -> Value {
        json!({
            "metadata": {
                "name": "a",
                "labels": {"ours": "1", "theirs": "2"},
                "managedFields": [
                    {"manager": "other", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                    {"manager": "weir", "operation": "Apply", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:ours": {}}, "f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}},
                        "f:spec": {"f:template": {"f:containers": {
                            "k:{\"name\":\"main\"}": {".": {}, "f:name": {}, "f:args": {}, "f:resources": {}},
                        }}},
                    }},
                ],
                "ownerReferences": [{"uid": "u", "name": "s"}, {"uid": "x", "name": "y"}],
            },
            "spec": {"replicas": 3, "template": {"containers": [
                {"name": "main", "args": ["a"], "resources": {"limits": {"cpu": "1"}}, "imagePullPolicy": "Always"},
                {"name": "injected"},
            ]}},
        })
    }

    fn wanted() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "X",
            "metadata": {"name": "a", "labels": {"ours": "1"}, "ownerReferences": [{"uid": "u", "name": "s"}]},
            "spec": {"template": {"containers": [{"name": "main", "args": ["a"], "resources": {}}]}},
        })
    }

    #[test]
    fn what_others_own_does_not_count() {
        assert!(same(&comparable(&wanted()), &owned(&live(), "weir")));
    }

    #[test]
    fn what_another_controller_wrote_is_taken_over_once() {
        let taken = taken_over(&live(), "other", "new").unwrap();
        assert_eq!(
            (&taken[0]["manager"], &taken[0]["operation"]),
            (&json!("new"), &json!("Apply"))
        );
        assert_eq!(taken[1]["manager"], "weir");
        assert_eq!(taken_over(&live(), "other", "weir"), None);
        assert_eq!(taken_over(&live(), "nobody", "new"), None);
    }

    #[test]
    fn a_changed_value_and_a_dropped_field_both_show() {
        let mut drifted = live();
        drifted["spec"]["template"]["containers"][0]["args"] = json!(["b"]);
        assert!(!same(&comparable(&wanted()), &owned(&drifted, "weir")));
        let mut less = wanted();
        less["metadata"]["labels"] = json!({"other": "1"});
        assert!(!same(&comparable(&less), &owned(&live(), "weir")));
        assert!(!same(&comparable(&wanted()), &owned(&live(), "nobody")));
    }
}
