//! The part of JSONPath that printer columns use: fields, indices, wildcards, equality filters.

use serde_json::Value;

/// Returns what `path` selects.
pub(crate) fn find<'a>(root: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut nodes = vec![root];
    let mut rest = path
        .trim()
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let Some(end) = closing(tail) else {
                return Vec::new();
            };
            nodes = bracket(&nodes, &tail[..end]);
            rest = &tail[end + 1..];
        } else {
            let tail = rest.strip_prefix('.').unwrap_or(rest);
            let (key, after) = field(tail);
            if !key.is_empty() {
                nodes = step(&nodes, &key);
            }
            rest = after;
        }
    }
    nodes.retain(|node| !node.is_null());
    nodes
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(index),
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

/// Reads a field name, in which `\.` is a dot.
fn field(text: &str) -> (String, &str) {
    let mut key = String::new();
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' | '[' if !escaped => return (key, &text[index..]),
            c => {
                key.push(c);
                escaped = false;
            }
        }
    }
    (key, "")
}

fn step<'a>(nodes: &[&'a Value], key: &str) -> Vec<&'a Value> {
    if key == "*" {
        return children(nodes);
    }
    nodes.iter().filter_map(|node| node.get(key)).collect()
}

fn children<'a>(nodes: &[&'a Value]) -> Vec<&'a Value> {
    let mut all = Vec::new();
    for node in nodes {
        match node {
            Value::Array(list) => all.extend(list.iter()),
            Value::Object(map) => all.extend(map.values()),
            _ => {}
        }
    }
    all
}

fn bracket<'a>(nodes: &[&'a Value], inner: &str) -> Vec<&'a Value> {
    let inner = inner.trim();
    if inner == "*" {
        return children(nodes);
    }
    if let Ok(index) = inner.parse::<i64>() {
        return nodes
            .iter()
            .filter_map(|node| {
                let list = node.as_array()?;
                let length = i64::try_from(list.len()).ok()?;
                let index = if index < 0 { length + index } else { index };
                list.get(usize::try_from(index).ok()?)
            })
            .collect();
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let Some((left, right)) = filter.split_once("==") else {
            return Vec::new();
        };
        let path = left.trim().trim_start_matches('@');
        let wanted = right.trim().trim_matches(|c| c == '"' || c == '\'');
        return children(nodes)
            .into_iter()
            .filter(|node| {
                find(node, path).first().is_some_and(|value| {
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                        == wanted
                })
            })
            .collect();
    }
    step(nodes, inner.trim_matches(|c| c == '"' || c == '\''))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_printer_columns_are_followed() {
        let object = json!({"status": {"conditions": [
            {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
            "metadata": {"labels": {"a.b/c": "x"}}, "spec": {"list": [{"n": 1}, {"n": 2}]}});
        let rows = [
            (
                ".status.conditions[?(@.type=='Ready')].status",
                json!(["True"]),
            ),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                json!(["True"]),
            ),
            (".metadata.labels['a.b/c']", json!(["x"])),
            (".metadata.labels.a\\.b/c", json!(["x"])),
            (".spec.list[*].n", json!([1, 2])),
            (".spec.list[-1].n", json!([2])),
            (".spec.nothing.here", json!([])),
        ];
        for (path, expected) in rows {
            assert_eq!(json!(find(&object, path)), expected, "{path}");
        }
    }
}
