//! What two servers cannot agree on is replaced: versions, times, identities, generated names.

use serde_json::{Value, json};

/// Replaces what differs from run to run.
pub(super) fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("columnDefinitions") {
                for column in map["columnDefinitions"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                {
                    column.as_object_mut().unwrap().remove("description");
                }
            }
            let generated = map
                .get("generateName")
                .and_then(Value::as_str)
                .map(str::to_owned);
            for (key, value) in map.iter_mut() {
                match (key.as_str(), &value) {
                    ("resourceVersion", Value::String(text)) if !text.is_empty() => {
                        *value = json!("VERSION");
                    }
                    ("uid", Value::String(_)) => *value = json!("UID"),
                    ("continue", Value::String(text)) if !text.is_empty() => {
                        *value = json!("CONTINUE");
                    }
                    ("clusterIP", Value::String(text)) if text != "None" => {
                        *value = json!("ADDRESS");
                    }
                    ("clusterIPs", Value::Array(_)) => *value = json!(["ADDRESS"]),
                    ("name", Value::String(name)) if generated.is_some() => {
                        let base = generated.as_deref().unwrap_or_default();
                        let suffix = name.strip_prefix(base).map_or(0, str::len);
                        *value = json!(format!("{base}<{suffix} characters>"));
                    }
                    (key, Value::Null) if key.starts_with("f:") => {}
                    _ => normalise(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(normalise),
        Value::String(text) => *text = plain(text),
        _ => {}
    }
}

/// Replaces times, UUIDs and long numbers in a text.
fn plain(text: &str) -> String {
    if text.len() == 20 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok() {
        return "TIME".to_owned();
    }
    // Ages in tables.
    if text.len() <= 4 && text.ends_with('s') && text[..text.len() - 1].parse::<u32>().is_ok() {
        return "AGE".to_owned();
    }
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || c == '-' {
            word.push(c);
            continue;
        }
        let identity = word.len() == 36 && uuid::Uuid::parse_str(&word).is_ok();
        let version = out.ends_with("record (") && word.parse::<u64>().is_ok();
        out.push_str(match (identity, version) {
            (true, _) => "UID",
            (_, true) => "VERSION",
            _ => &word,
        });
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}
