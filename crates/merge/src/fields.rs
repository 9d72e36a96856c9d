//! Sets of fields in the `FieldsV1` form: `{"f:spec": {"f:replicas": {}}}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of paths. Steps are kept in their text form: `f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// The path to here is in the set.
    pub(crate) own: bool,
    pub(crate) children: BTreeMap<String, Self>,
}

/// Deeper sets are cut: no schema nests that far.
const MAX_DEPTH: usize = 128;

impl FieldSet {
    /// Reads the JSON form. Anything that is not such a set is skipped.
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        let mut set = Self::read(value, 0);
        set.own = false;
        set
    }

    fn read(value: &Value, depth: usize) -> Self {
        let mut set = Self::default();
        let Some(fields) = value.as_object() else {
            return set;
        };
        set.own = fields.is_empty();
        if depth > MAX_DEPTH {
            return set;
        }
        for (key, value) in fields {
            if key == "." {
                set.own = true;
            } else if let Some(step) = canonical(key) {
                set.children.insert(step, Self::read(value, depth + 1));
            }
        }
        set
    }

    /// Returns the JSON form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        if self.own && !self.children.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, child) in &self.children {
            fields.insert(step.clone(), child.to_json());
        }
        Value::Object(fields)
    }

    /// Tells whether no path is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.own && self.children.values().all(Self::is_empty)
    }

    pub(crate) fn child(&mut self, step: String) -> &mut Self {
        self.children.entry(step).or_default()
    }

    /// Drops branches without a path in them, which the JSON form cannot tell from paths.
    pub(crate) fn tidy(&mut self) {
        self.children.retain(|_, child| {
            child.tidy();
            child.own || !child.children.is_empty()
        });
    }

    fn drop_empty(&mut self) {
        self.children
            .retain(|_, child| child.own || !child.children.is_empty());
    }

    /// Adds every path of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.own |= other.own;
        for (step, child) in &other.children {
            self.child(step.clone()).add(child);
        }
    }

    /// Removes every path of `other`.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.own &= !other.own;
        for (step, child) in &other.children {
            if let Some(mine) = self.children.get_mut(step) {
                mine.subtract(child);
            }
        }
        self.drop_empty();
    }

    /// Removes every path of `other`, and all paths below one.
    pub(crate) fn subtract_trees(&mut self, other: &Self) {
        if other.own {
            *self = Self::default();
            return;
        }
        for (step, child) in &other.children {
            if let Some(mine) = self.children.get_mut(step) {
                mine.subtract_trees(child);
            }
        }
        self.drop_empty();
    }

    /// Returns the paths that are in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self {
            own: self.own && other.own,
            children: BTreeMap::new(),
        };
        for (step, child) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                both.children
                    .insert(step.clone(), child.intersection(theirs));
            }
        }
        both.drop_empty();
        both
    }

    /// Returns every path in the form of messages: `.spec.containers[name="x"].image`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(&mut String::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut String, found: &mut Vec<String>) {
        if self.own {
            found.push(path.clone());
        }
        for (step, child) in &self.children {
            let length = path.len();
            path.push_str(&shown(step));
            child.collect(path, found);
            path.truncate(length);
        }
    }
}

fn shown(step: &str) -> String {
    match step.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<_> = keys
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, index)) => format!("[{index}]"),
        None => format!(".{step}"),
    }
}

fn canonical(step: &str) -> Option<String> {
    let (kind, rest) = step.split_once(':')?;
    match kind {
        "f" | "i" => Some(step.to_owned()),
        "k" => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
            Some(key_step(&keys))
        }
        "v" => Some(value_step(&serde_json::from_str(rest).ok()?)),
        _ => None,
    }
}

/// The step to the field `name`.
pub(crate) fn field_step(name: &str) -> String {
    format!("f:{name}")
}

/// The step to the item that has these keys.
pub(crate) fn key_step(keys: &BTreeMap<String, Value>) -> String {
    let keys: Map<String, Value> = keys
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    format!("k:{}", Value::Object(keys))
}

/// The step to an item of a set.
pub(crate) fn value_step(value: &Value) -> String {
    format!("v:{value}")
}
