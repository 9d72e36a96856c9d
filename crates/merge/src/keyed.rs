//! The order of a merged list: a merge of two runs.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

use crate::Error;

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

/// Which items of two keyed lists are the same. Items are told by their places, so that no key is written out.
pub(crate) struct Places {
    /// For each item of the base the first one with its key; none for one without a key.
    first: Vec<Option<usize>>,
    /// For each item of the layer where it goes: a place of the base, or behind it.
    pub(crate) named: Vec<usize>,
}

/// A key, compared without copies in the usual case.
#[derive(PartialEq, Eq, Hash)]
enum Key<'v> {
    Text(&'v str),
    Other(String),
}

impl<'v> Key<'v> {
    fn of(item: &'v Value, key: &str) -> Option<Self> {
        match item.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(Self::Text(text)),
            other => Some(Self::Other(other.to_string())),
        }
    }
}

impl Places {
    /// # Errors
    /// When an item of `over` is no object or has no key.
    pub(crate) fn of(base: &[Value], over: &[Value], key: &str) -> Result<Self, Error> {
        let mut known = HashMap::with_capacity(base.len() + over.len());
        let first = base.iter().enumerate().map(|(place, item)| {
            let first = *known.entry(Key::of(item, key)?).or_insert(place);
            Some(first)
        });
        let first = first.collect();
        let mut named = Vec::with_capacity(over.len());
        let mut new = base.len();
        for (index, item) in over.iter().enumerate() {
            let path = String::new();
            if !item.is_object() {
                return Err(Error::NotAnObject { path, index });
            }
            let id = Key::of(item, key).ok_or_else(|| Error::MissingKey {
                path,
                index,
                key: key.to_owned(),
            })?;
            let place = *known.entry(id).or_insert(new);
            new += usize::from(place == new);
            named.push(place);
        }
        Ok(Self { first, named })
    }

    /// Orders the merged list by the rule of [`order`].
    pub(crate) fn order(&self, merged: Vec<Value>) -> Vec<Value> {
        let base = self.first.len();
        // By place of a key's first item: the first item of the layer that names it.
        let mut wanted = vec![None; merged.len()];
        for (index, place) in self.named.iter().enumerate().rev() {
            if let Some(wanted) = wanted.get_mut(*place) {
                *wanted = Some(index);
            }
        }
        let mut named = Vec::with_capacity(self.named.len());
        let mut others = Vec::with_capacity(merged.len());
        for (place, item) in merged.into_iter().enumerate() {
            let first = match self.first.get(place) {
                Some(first) => *first,
                None => Some(place),
            };
            let before = first.filter(|first| *first < base);
            match first.and_then(|first| wanted.get(first).copied().flatten()) {
                Some(wanted) => named.push((wanted, before, item)),
                None => others.push((before, item)),
            }
        }
        named.sort_by_key(|(wanted, ..)| *wanted);
        others.sort_by_key(|(before, _)| before.unwrap_or(usize::MAX));
        let mut result = Vec::with_capacity(named.len() + others.len());
        let mut others = others.into_iter().peekable();
        for (_, name, item) in named {
            let goes_first = |(other, _): &(Option<usize>, Value)| matches!((other, name), (Some(other), Some(name)) if *other < name);
            while let Some((_, other)) = others.next_if(goes_first) {
                result.push(other);
            }
            result.push(item);
        }
        result.extend(others.map(|(_, item)| item));
        result
    }
}

/// Drops all but the first of equal scalars.
pub(crate) fn dedup(list: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    list.into_iter()
        .filter(|item| seen.insert(item.to_string()))
        .collect()
}
