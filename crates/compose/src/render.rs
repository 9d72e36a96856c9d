//! Templates in the strings of a merged spec: paths such as `{{ .Spec.Model.Name }}` and
//! `{{ ChildName .ObjectMeta.Name `-suffix` }}`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Error;

/// Evaluates every string below `value`, whose JSON pointer is `path`.
pub(crate) fn leaves(
    value: &mut Value,
    path: &str,
    root: &Value,
    origins: &BTreeMap<String, String>,
) -> Result<(), Error> {
    match value {
        Value::String(text) if text.contains("{{") => {
            let rendered = render(text, root).map_err(|problem| Error::Template {
                config: origins
                    .get(path)
                    .cloned()
                    .unwrap_or_else(|| "service".to_owned()),
                field: field(path),
                text: text.clone(),
                problem,
            })?;
            *text = rendered;
            Ok(())
        }
        Value::Array(list) => list
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, item)| leaves(item, &format!("{path}/{index}"), root, origins)),
        Value::Object(map) => map.iter_mut().try_for_each(|(key, item)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            leaves(item, &format!("{path}/{key}"), root, origins)
        }),
        _ => Ok(()),
    }
}

/// Turns a JSON pointer into a field path.
fn field(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .fold("spec".to_owned(), |path, part| {
            if part.parse::<usize>().is_ok() {
                format!("{path}[{part}]")
            } else {
                format!("{path}.{}", part.replace("~1", "/").replace("~0", "~"))
            }
        })
}

fn render(text: &str, root: &Value) -> Result<String, String> {
    let mut rendered = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        rendered.push_str(&rest[..start]);
        let column = text.len() - rest.len() + start + 1;
        let after = &rest[start + 2..];
        let end = after
            .find("}}")
            .ok_or_else(|| format!("column {column}: action is not closed"))?;
        let mut action = &after[..end];
        if let Some(trimmed) = action.strip_prefix("- ") {
            rendered.truncate(rendered.trim_end().len());
            action = trimmed;
        }
        rest = &after[end + 2..];
        if let Some(trimmed) = action.strip_suffix(" -") {
            action = trimmed;
            rest = rest.trim_start();
        }
        rendered
            .push_str(&evaluate(action.trim(), root).map_err(|e| format!("column {column}: {e}"))?);
    }
    rendered.push_str(rest);
    Ok(rendered)
}

fn evaluate(action: &str, root: &Value) -> Result<String, String> {
    let words: Vec<&str> = action.split_whitespace().collect();
    match words.as_slice() {
        [path] if path.starts_with('.') => lookup(path, root),
        ["ChildName", path, suffix] => {
            let suffix = suffix.trim_matches(['`', '"']);
            Ok(weir_api::names::child(&lookup(path, root)?, suffix))
        }
        _ => Err(format!("{action:?} is not understood")),
    }
}

/// Follows a path; Go field names match JSON names without regard to case.
fn lookup(path: &str, root: &Value) -> Result<String, String> {
    let mut value = root;
    for name in path.split('.').skip(1) {
        let map = value.as_object();
        value = map
            .and_then(|map| {
                map.iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value)
            })
            .filter(|value| !value.is_null())
            .ok_or_else(|| {
                let known: Vec<&str> = map
                    .into_iter()
                    .flatten()
                    .map(|(key, _)| key.as_str())
                    .collect();
                format!("{path} has no {name}; there are {}", known.join(", "))
            })?;
    }
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Object(_) | Value::Array(_) => Err(format!("{path} is not a single value")),
        other => Ok(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_and_child_names() {
        let root = json!({"Spec": {"model": {"name": "m"}}, "ObjectMeta": {"name": "n"}});
        let rows = [
            ("a {{ .Spec.Model.Name }} b", Ok("a m b".to_owned())),
            (
                "{{ ChildName .ObjectMeta.Name `-kserve` }}",
                Ok("n-kserve".to_owned()),
            ),
            ("plain", Ok("plain".to_owned())),
            (
                "x{{.Spec.Modle}}",
                Err("column 2: .Spec.Modle has no Modle; there are model".to_owned()),
            ),
            ("{{ .Spec", Err("column 1: action is not closed".to_owned())),
        ];
        for (text, wanted) in rows {
            assert_eq!(render(text, &root), wanted, "{text}");
        }
    }
}
