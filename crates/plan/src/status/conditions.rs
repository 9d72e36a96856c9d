//! Condition records and the algebra that makes `Ready` of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::condition;

use super::Health;
use crate::{items, text};

/// Conditions by type.
pub(super) struct Conditions(BTreeMap<String, Record>);

#[derive(Clone, PartialEq, Eq)]
struct Record {
    status: String,
    reason: String,
    message: String,
}

impl Conditions {
    /// The conditions of a status.
    pub(super) fn read(status: &Value) -> Self {
        let record = |one: &Value| Record {
            status: text(one, "/status").to_owned(),
            reason: text(one, "/reason").to_owned(),
            message: text(one, "/message").to_owned(),
        };
        Self(
            items(status, "/conditions")
                .iter()
                .map(|one| (text(one, "/type").to_owned(), record(one)))
                .collect(),
        )
    }

    pub(super) fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let record = Record {
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        self.0.insert(kind.to_owned(), record);
    }

    pub(super) fn set_true(&mut self, kind: &str) {
        self.set(kind, "True", "", "");
    }

    pub(super) fn set_false(&mut self, kind: &str, reason: &str, message: &str) {
        self.set(kind, "False", reason, message);
    }

    pub(super) fn set_health(&mut self, kind: &str, health: &Health) {
        match health {
            Health::Ready => self.set_true(kind),
            Health::NotReady { reason, message } => self.set_false(kind, reason, message),
        }
    }

    pub(super) fn remove(&mut self, kind: &str) {
        self.0.remove(kind);
    }

    /// Sets `kind` from its parts: the first False one, else the first Unknown one, else True.
    pub(super) fn aggregate(&mut self, kind: &str, parts: &[&str]) {
        let with = |status: &str| {
            parts
                .iter()
                .filter_map(|part| self.0.get(*part))
                .find(|record| record.status == status)
                .cloned()
        };
        match with("False").or_else(|| with("Unknown")) {
            Some(record) => {
                self.0.insert(kind.to_owned(), record);
            }
            None => self.set_true(kind),
        }
    }

    /// Sets `Ready` from its dependents; `evaluated` tells which of them this pass looked at.
    pub(super) fn conclude(&mut self, evaluated: [bool; 3]) {
        for dependent in condition::READY_DEPENDENTS {
            if !self.0.contains_key(dependent) {
                self.set(dependent, "Unknown", "", "");
            }
        }
        let last = |status: &str| {
            let of_status =
                |(at, _): &(usize, &str)| self.0[condition::READY_DEPENDENTS[*at]].status == status;
            let all = || {
                condition::READY_DEPENDENTS
                    .into_iter()
                    .enumerate()
                    .rev()
                    .filter(of_status)
            };
            let chosen = all()
                .find(|(at, _)| evaluated[*at])
                .or_else(|| all().next());
            chosen.map(|(_, kind)| self.0[kind].clone())
        };
        match last("False").or_else(|| last("Unknown")) {
            Some(record) => {
                self.0.insert(condition::READY.to_owned(), record);
            }
            None => self.set_true(condition::READY),
        }
    }

    /// The list as it is stored; a condition that did not change keeps its time.
    pub(super) fn write(&self, previous: &Value, now: &str) -> Value {
        let list = self.0.iter().map(|(kind, record)| {
            let mut one = json!({"type": kind, "status": record.status});
            if kind != condition::READY && !condition::READY_DEPENDENTS.contains(&kind.as_str()) {
                one["severity"] = json!("Info");
            }
            for (key, value) in [("reason", &record.reason), ("message", &record.message)] {
                if !value.is_empty() {
                    one[key] = json!(value);
                }
            }
            let old = items(previous, "/conditions")
                .iter()
                .find(|old| old["type"] == one["type"]);
            let same = |old: &&Value| {
                ["status", "severity", "reason", "message"]
                    .iter()
                    .all(|key| text(old, &format!("/{key}")) == text(&one, &format!("/{key}")))
            };
            let time = old
                .filter(same)
                .map(|old| text(old, "/lastTransitionTime"))
                .filter(|time| !time.is_empty());
            one["lastTransitionTime"] = json!(time.unwrap_or(now));
            one
        });
        list.collect()
    }
}
