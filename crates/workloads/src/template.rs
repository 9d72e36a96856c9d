//! Pod templates: whether two are the same, and the hash that names a ReplicaSet.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The label that tells the pods of one template.
pub const HASH: &str = "pod-template-hash";

/// Whether two templates make the same pods. The hash label and empty fields do not count, so that a
/// roll back finds the set of the revision it goes back to.
pub fn same(one: &Value, other: &Value) -> bool {
    plain(one) == plain(other)
}

/// Ten hexadecimal digits that change with the template and with the count of `collisions`.
pub fn hash(template: &Value, collisions: i64) -> String {
    let mut text = plain(template).to_string();
    if collisions > 0 {
        text.push_str(&collisions.to_string());
    }
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn plain(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(HASH);
    }
    without_empty(template).unwrap_or_default()
}

/// Removes nulls, and maps that hold nothing else only in metadata: an empty map below `spec`, such
/// as an `emptyDir`, has a meaning.
fn without_empty(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter()
                .filter_map(|(key, value)| {
                    let value = without_empty(value)?;
                    let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
                    let meta = matches!(key.as_str(), "metadata" | "labels" | "annotations");
                    (!(empty && meta)).then_some((key, value))
                })
                .collect(),
        )),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates() {
        let base =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}});
        let rows = [
            (
                "the hash label",
                json!({"metadata": {"labels": {"a": "b", HASH: "x"}}, "spec": {"containers": [{"name": "c"}]}}),
                true,
            ),
            (
                "a null",
                json!({"metadata": {"creationTimestamp": null, "annotations": {}, "labels": {"a": "b"}},
                       "spec": {"containers": [{"name": "c"}]}}),
                true,
            ),
            (
                "a label",
                json!({"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c"}]}}),
                false,
            ),
            (
                "an empty volume",
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}], "emptyDir": {}}}),
                false,
            ),
        ];
        for (row, other, wanted) in rows {
            assert_eq!(same(&base, &other), wanted, "{row}");
            assert_eq!(hash(&base, 0) == hash(&other, 0), wanted, "{row}");
        }
        assert_ne!(hash(&base, 0), hash(&base, 1));
    }
}
