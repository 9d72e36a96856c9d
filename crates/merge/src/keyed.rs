//! The order of a merged list: a merge of two runs.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

/// Returns what tells an item apart: its merge key as text, or the item itself for lists of scalars.
pub(crate) fn identity(item: &Value, key: Option<&str>) -> Option<String> {
    match key {
        Some(key) => item
            .get(key)
            .filter(|value| !value.is_null())
            .map(Value::to_string),
        None => Some(item.to_string()),
    }
}

/// Orders `merged`: items named by `patch` in its order, the others in the order of `base`. At each step an item
/// that the patch does not name goes first only if both heads occur in `base` and it stands earlier there.
pub(crate) fn order(
    merged: Vec<Value>,
    patch: &[String],
    base: &[String],
    key: Option<&str>,
) -> Vec<Value> {
    let wanted: HashMap<&str, usize> = patch
        .iter()
        .enumerate()
        .rev()
        .map(|(index, id)| (id.as_str(), index))
        .collect();
    let before: HashMap<&str, usize> = base
        .iter()
        .enumerate()
        .rev()
        .map(|(index, id)| (id.as_str(), index))
        .collect();
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        let id = identity(&item, key).unwrap_or_default();
        match wanted.get(id.as_str()) {
            Some(place) => named.push((*place, id, item)),
            None => others.push((
                before.get(id.as_str()).copied().unwrap_or(usize::MAX),
                id,
                item,
            )),
        }
    }
    named.sort_by_key(|(place, ..)| *place);
    others.sort_by_key(|(place, ..)| *place);
    let mut named: VecDeque<_> = named.into();
    let mut others: VecDeque<_> = others.into();
    let mut result = Vec::with_capacity(named.len() + others.len());
    loop {
        let other_first = match (others.front(), named.front()) {
            (None, None) => return result,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, other, _)), Some((_, name, _))) => {
                matches!((before.get(other.as_str()), before.get(name.as_str())), (Some(a), Some(b)) if a < b)
            }
        };
        let from = if other_first { &mut others } else { &mut named };
        result.extend(from.pop_front().map(|(.., item)| item));
    }
}

/// Drops all but the first of equal scalars.
pub(crate) fn dedup(list: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    list.into_iter()
        .filter(|item| seen.insert(item.to_string()))
        .collect()
}
