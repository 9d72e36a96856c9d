//! Strategic merge patch, as API servers apply it.

use serde_json::{Map, Value};
use weir_schema::Node;

use crate::keyed::{dedup, identity, order};
use crate::{Error, field, join};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_PRIMITIVE: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch to an object of the schema `node`.
///
/// Directives: `$patch` (`delete`, `replace`, `merge`), `$retainKeys`, `$deleteFromPrimitiveList/…` and
/// `$setElementOrder/…`. Merge keys and strategies come from the schema.
///
/// # Errors
/// When a directive is malformed, or an item of a keyed list lacks its key. The target is then unspecified.
pub fn strategic_merge_patch(target: &mut Value, patch: &Value, node: &Node) -> Result<(), Error> {
    match (&mut *target, patch) {
        (Value::Object(original), Value::Object(patch)) => merge(original, patch, node, "", true),
        _ => {
            *target = strip(patch);
            Ok(())
        }
    }
}

fn directive(path: &str, what: impl Into<String>) -> Error {
    Error::Directive {
        path: path.to_owned(),
        what: what.into(),
    }
}

fn list<'v>(path: &str, key: &str, value: &'v Value) -> Result<&'v Vec<Value>, Error> {
    value
        .as_array()
        .ok_or_else(|| directive(path, format!("{key} must be a list")))
}

fn merge(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    node: &Node,
    path: &str,
    root: bool,
) -> Result<(), Error> {
    match patch
        .get(PATCH)
        .map(|value| value.as_str().unwrap_or_default())
    {
        None | Some("merge") => {}
        Some("replace") => {
            *original = strip_map(patch);
            return Ok(());
        }
        Some("delete") => {
            original.clear();
            return Ok(());
        }
        Some(other) => {
            return Err(directive(
                path,
                format!("$patch {other:?} must be merge, replace or delete"),
            ));
        }
    }
    if let Some(retain) = patch.get(RETAIN) {
        let keep: Vec<_> = list(path, RETAIN, retain)?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if let Some(stray) = patch
            .keys()
            .find(|key| !key.starts_with('$') && !keep.contains(&key.as_str()))
        {
            return Err(directive(
                path,
                format!("{stray:?} is patched but not in $retainKeys"),
            ));
        }
        original.retain(|key, _| keep.contains(&key.as_str()));
    }
    for (key, change) in patch {
        if key == PATCH || key == RETAIN {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_PRIMITIVE) {
            let gone = list(path, key, change)?;
            if let Some(Value::Array(items)) = original.get_mut(name) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if let Some(name) = key.strip_prefix(ORDER) {
            list(path, key, change)?;
            if !patch.contains_key(name)
                && let Some(Value::Array(items)) = original.get_mut(name)
            {
                let child = field(node, name, root);
                let before = std::mem::take(items);
                *items = reorder(before.clone(), &before, change, child.patch_merge_key());
            }
            continue;
        }
        if change.is_null() {
            original.remove(key);
            continue;
        }
        let child = field(node, key, root);
        let strategy = child.patch_strategy().unwrap_or_default();
        let at = join(path, key);
        match (original.get_mut(key), change) {
            (Some(Value::Object(old)), Value::Object(new)) if !has(strategy, "replace") => {
                merge(old, new, &child, &at, false)?;
            }
            (Some(Value::Array(old)), Value::Array(new)) if has(strategy, "merge") => {
                let items = child.items().unwrap_or_else(Node::any);
                let key_name = child.patch_merge_key();
                let before = old.clone();
                merge_list(old, new, &items, key_name, &at)?;
                if let Some(wanted) = patch.get(&format!("{ORDER}{key}")) {
                    let merged = std::mem::take(old);
                    *old = reorder(merged, &before, wanted, key_name);
                }
            }
            _ => {
                original.insert(key.clone(), strip(change));
            }
        }
    }
    Ok(())
}

fn has(strategy: &str, word: &str) -> bool {
    strategy.split(',').any(|part| part == word)
}

fn reorder(items: Vec<Value>, before: &[Value], wanted: &Value, key: Option<&str>) -> Vec<Value> {
    let ids = |list: &[Value]| {
        list.iter()
            .filter_map(|item| identity(item, key))
            .collect::<Vec<_>>()
    };
    let wanted = wanted.as_array().map(|list| ids(list)).unwrap_or_default();
    order(items, &wanted, &ids(before), key)
}

fn merge_list(
    original: &mut Vec<Value>,
    patch: &[Value],
    node: &Node,
    key: Option<&str>,
    path: &str,
) -> Result<(), Error> {
    let base: Vec<_> = original
        .iter()
        .filter_map(|item| identity(item, key))
        .collect();
    let Some(key) = key else {
        let mut merged = std::mem::take(original);
        merged.extend(patch.iter().map(strip));
        let named: Vec<_> = patch.iter().map(Value::to_string).collect();
        *original = order(dedup(merged), &named, &base, None);
        return Ok(());
    };
    let mut changes = Vec::new();
    let mut replaced = false;
    for (index, item) in patch.iter().enumerate() {
        let fields = item.as_object().ok_or_else(|| Error::NotAnObject {
            path: path.to_owned(),
            index,
        })?;
        let missing = || Error::MissingKey {
            path: path.to_owned(),
            index,
            key: key.to_owned(),
        };
        match fields
            .get(PATCH)
            .map(|value| value.as_str().unwrap_or_default())
        {
            Some("replace") => replaced = true,
            Some("delete") => {
                let id = identity(item, Some(key)).ok_or_else(missing)?;
                original.retain(|old| identity(old, Some(key)).as_ref() != Some(&id));
            }
            Some("merge") | None => {
                identity(item, Some(key)).ok_or_else(missing)?;
                changes.push((index, fields));
            }
            Some(other) => {
                return Err(directive(
                    path,
                    format!("$patch {other:?} must be merge, replace or delete"),
                ));
            }
        }
    }
    if replaced {
        *original = changes
            .into_iter()
            .map(|(_, fields)| Value::Object(strip_map(fields)))
            .collect();
        return Ok(());
    }
    let mut named = Vec::new();
    for (_, fields) in changes {
        let id = fields.get(key).map(Value::to_string).unwrap_or_default();
        let found = original
            .iter_mut()
            .find(|old| identity(old, Some(key)).as_ref() == Some(&id));
        match found {
            Some(Value::Object(old)) => merge(old, fields, node, &format!("{path}[{id}]"), false)?,
            _ => original.push(Value::Object(strip_map(fields))),
        }
        named.push(id);
    }
    let merged = std::mem::take(original);
    *original = order(merged, &named, &base, Some(key));
    Ok(())
}

/// Returns the value without directives and without the fields that a `null` would have deleted.
fn strip(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(strip_map(fields)),
        Value::Array(list) => Value::Array(
            list.iter()
                .filter(|item| item.get(PATCH).and_then(Value::as_str) != Some("delete"))
                .filter(|item| !matches!(item, Value::Object(f) if f.len() == 1 && f.contains_key(PATCH)))
                .map(strip)
                .collect(),
        ),
        other => other.clone(),
    }
}

fn strip_map(fields: &Map<String, Value>) -> Map<String, Value> {
    let is_directive = |key: &str| {
        key == PATCH || key == RETAIN || key.starts_with(DELETE_PRIMITIVE) || key.starts_with(ORDER)
    };
    fields
        .iter()
        .filter(|(key, value)| !is_directive(key) && !value.is_null())
        .map(|(key, value)| (key.clone(), strip(value)))
        .collect()
}
