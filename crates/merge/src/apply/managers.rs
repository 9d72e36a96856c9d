//! The entries of `metadata.managedFields`.

use serde_json::{Map, Value, json};

use super::Conflict;
use crate::fields::FieldSet;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    manager: String,
    operation: Operation,
    version: String,
    subresource: String,
    time: String,
    set: FieldSet,
}

impl Entry {
    fn is(&self, manager: &str, operation: Operation, version: &str, subresource: &str) -> bool {
        self.manager == manager
            && self.operation == operation
            && self.subresource == subresource
            && (operation == Operation::Apply || self.version == version)
    }

    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.version));
        }
        text
    }
}

/// More updaters than this are booked together as `ancient-changes`, the oldest first.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// All managers of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managers {
    entries: Vec<Entry>,
}

impl Managers {
    pub(super) fn read(list: Option<&Value>) -> Self {
        let entries = list
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let text = |key: &str| {
                    entry
                        .get(key)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                let operation = match entry.get("operation").and_then(Value::as_str)? {
                    "Apply" => Operation::Apply,
                    "Update" => Operation::Update,
                    _ => return None,
                };
                Some(Entry {
                    manager: text("manager"),
                    operation,
                    version: text("apiVersion"),
                    subresource: text("subresource"),
                    time: text("time"),
                    set: FieldSet::from_json(entry.get("fieldsV1")?),
                })
            });
        Self {
            entries: entries.collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn to_json(&self) -> Vec<Value> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| !entry.set.is_empty())
            .collect();
        entries.sort_by(|a, b| {
            (a.operation, &a.time, &a.manager, &a.version, &a.subresource).cmp(&(
                b.operation,
                &b.time,
                &b.manager,
                &b.version,
                &b.subresource,
            ))
        });
        entries
            .into_iter()
            .map(|entry| {
                let mut fields = Map::new();
                fields.insert("manager".to_owned(), json!(entry.manager));
                fields.insert("operation".to_owned(), json!(entry.operation.as_str()));
                fields.insert("apiVersion".to_owned(), json!(entry.version));
                if !entry.time.is_empty() {
                    fields.insert("time".to_owned(), json!(entry.time));
                }
                fields.insert("fieldsType".to_owned(), json!("FieldsV1"));
                fields.insert("fieldsV1".to_owned(), entry.set.to_json());
                if !entry.subresource.is_empty() {
                    fields.insert("subresource".to_owned(), json!(entry.subresource));
                }
                Value::Object(fields)
            })
            .collect()
    }

    /// Sets what a manager owns. The time moves only when that changes.
    pub(super) fn put(
        &mut self,
        manager: &str,
        operation: Operation,
        version: &str,
        subresource: &str,
        set: FieldSet,
        now: &str,
    ) {
        match self
            .entries
            .iter_mut()
            .find(|entry| entry.is(manager, operation, version, subresource))
        {
            Some(entry) if entry.set == set && entry.version == version => {}
            Some(entry) => {
                entry.set = set;
                version.clone_into(&mut entry.version);
                now.clone_into(&mut entry.time);
            }
            None => self.entries.push(Entry {
                manager: manager.to_owned(),
                operation,
                version: version.to_owned(),
                subresource: subresource.to_owned(),
                time: now.to_owned(),
                set,
            }),
        }
        self.entries.retain(|entry| !entry.set.is_empty());
        self.bound();
    }

    fn bound(&mut self) {
        let updaters = self
            .entries
            .iter()
            .filter(|entry| entry.operation == Operation::Update)
            .count();
        if updaters <= MAX_UPDATERS {
            return;
        }
        self.entries
            .sort_by(|a, b| (a.operation, &a.time).cmp(&(b.operation, &b.time)));
        let mut surplus = updaters - MAX_UPDATERS;
        let mut kept: Vec<Entry> = Vec::with_capacity(self.entries.len());
        let mut ancient: Option<Entry> = None;
        for entry in self.entries.drain(..) {
            let known = ancient
                .as_ref()
                .is_none_or(|ancient| ancient.version == entry.version);
            let old = entry.manager == ANCIENT || surplus > 0;
            if entry.operation == Operation::Update && old && known {
                match &mut ancient {
                    Some(ancient) => {
                        ancient.set.add(&entry.set);
                        ancient.time = entry.time;
                        surplus = surplus.saturating_sub(1);
                    }
                    None => {
                        ancient = Some(Entry {
                            manager: ANCIENT.to_owned(),
                            subresource: String::new(),
                            ..entry
                        });
                    }
                }
            } else {
                kept.push(entry);
            }
        }
        kept.extend(ancient);
        self.entries = kept;
    }

    pub(super) fn applied(&self, manager: &str, subresource: &str) -> Option<FieldSet> {
        self.entries
            .iter()
            .find(|entry| entry.is(manager, Operation::Apply, "", subresource))
            .map(|entry| entry.set.clone())
    }

    pub(super) fn updated(
        &self,
        manager: &str,
        version: &str,
        subresource: &str,
    ) -> Option<FieldSet> {
        self.entries
            .iter()
            .find(|entry| entry.is(manager, Operation::Update, version, subresource))
            .map(|entry| entry.set.clone())
    }

    /// Everything that anybody owns.
    pub(super) fn union(&self) -> FieldSet {
        let mut all = FieldSet::default();
        for entry in &self.entries {
            all.add(&entry.set);
        }
        all
    }

    /// Lists the changed fields that others than the applier own, by manager.
    pub(super) fn conflicts(
        &self,
        manager: &str,
        subresource: &str,
        changed: &FieldSet,
    ) -> Vec<Conflict> {
        let mut found = Vec::new();
        for entry in &self.entries {
            if entry.is(manager, Operation::Apply, "", subresource) {
                continue;
            }
            let shown = entry.shown();
            for field in entry.set.intersection(changed).paths() {
                found.push(Conflict {
                    manager: shown.clone(),
                    field,
                });
            }
        }
        found.sort_by(|a, b| (&a.manager, &a.field).cmp(&(&b.manager, &b.field)));
        found
    }

    /// Takes the changed fields from everybody but this manager.
    pub(super) fn take_over(
        &mut self,
        manager: &str,
        operation: Operation,
        version: &str,
        subresource: &str,
        changed: &FieldSet,
    ) {
        for entry in &mut self.entries {
            if !entry.is(manager, operation, version, subresource) {
                entry.set.subtract(changed);
            }
        }
    }

    /// Takes fields that are gone from everybody.
    pub(super) fn forget(&mut self, removed: &FieldSet) {
        for entry in &mut self.entries {
            entry.set.subtract_trees(removed);
        }
    }
}
