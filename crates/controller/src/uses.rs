//! Which services use which configs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_api::names::{condition, reason};

/// Namespace and name.
pub(crate) type Key = (String, String);

/// Services that the status of one config names at most: an object has a size limit.
const LISTED: usize = 2000;

/// The configs that one service names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// Namespace and name of those that were merged last.
    applied: BTreeSet<Key>,
    /// Names of base references and of presets that it is pinned to.
    named: BTreeSet<String>,
}

impl Uses {
    /// Reads them off a service.
    pub(crate) fn of(service: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |pointer: &str| {
            let list = service.pointer(pointer).and_then(Value::as_array);
            list.into_iter().flatten()
        };
        let pinned = service.pointer("/status/annotations");
        let pinned = pinned.and_then(Value::as_object).into_iter().flatten();
        let pinned = pinned.map(|(_, name)| text(name));
        Self {
            applied: list("/status/appliedConfigs")
                .map(|one| (text(&one["namespace"]), text(&one["name"])))
                .collect(),
            named: list("/spec/baseRefs")
                .map(|one| text(&one["name"]))
                .chain(pinned)
                .collect(),
        }
    }

    /// Whether a service of `namespace` with these uses a config. What was merged last decides alone where it
    /// is known.
    fn has(&self, namespace: &str, config: &Key, system: &str) -> bool {
        let in_reach = config.0 == namespace || config.0 == system;
        let mut applied = self.applied.iter();
        in_reach
            && if self.applied.is_empty() {
                self.named.contains(&config.1)
            } else {
                applied.any(|(of, name)| *name == config.1 && (of.is_empty() || *of == config.0))
            }
    }

    /// The configs whose use may change when a service of `namespace` comes to name these.
    fn touched(&self, namespace: &str, system: &str) -> BTreeSet<Key> {
        let both = |name: &String| [namespace, system].map(|of| (of.to_owned(), name.clone()));
        let mut touched: BTreeSet<Key> = self.named.iter().flat_map(both).collect();
        touched.extend(self.applied.iter().cloned());
        touched
    }
}

/// What all services use.
#[derive(Debug, Default)]
pub(crate) struct Known {
    services: BTreeMap<Key, Uses>,
    /// A list under way, which replaces `services` when it is complete.
    listing: Option<BTreeMap<Key, Uses>>,
    /// Whether the services were listed once: before that nothing is known to be unused.
    listed: bool,
}

impl Known {
    /// Whether all services are known.
    pub(crate) fn is_whole(&self) -> bool {
        self.listed
    }

    /// A list begins.
    pub(crate) fn begin(&mut self) {
        self.listing = Some(BTreeMap::new());
    }

    /// A list is complete. Answers the configs whose use may have changed.
    pub(crate) fn complete(&mut self, system: &str) -> BTreeSet<Key> {
        self.listed = true;
        let now = self.listing.take().unwrap_or_default();
        let before = std::mem::replace(&mut self.services, now);
        let all = before.iter().chain(&self.services);
        all.flat_map(|(service, uses)| uses.touched(&service.0, system))
            .collect()
    }

    /// A service of a list.
    pub(crate) fn list(&mut self, service: Key, uses: Uses) {
        self.listing
            .get_or_insert_with(BTreeMap::new)
            .insert(service, uses);
    }

    /// A service is as it is now, or gone. Answers the configs whose use may have changed.
    pub(crate) fn put(&mut self, service: Key, uses: Option<Uses>, system: &str) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        let before = self.services.get(&service);
        if before == uses.as_ref() {
            return touched;
        }
        for uses in before.into_iter().chain(&uses) {
            touched.extend(uses.touched(&service.0, system));
        }
        match uses {
            Some(uses) => self.services.insert(service, uses),
            None => self.services.remove(&service),
        };
        touched
    }

    /// The services that use a config, sorted. A preset counts as used by every service in its reach, unless
    /// it is on its way out: then those keep it that really have it.
    pub(crate) fn users(&self, config: &Key, is_preset: bool, system: &str) -> Vec<&Key> {
        let in_reach = |service: &&Key| config.0 == system || config.0 == service.0;
        let services = self.services.iter();
        services
            .filter(|(service, uses)| is_preset || uses.has(&service.0, config, system))
            .map(|(service, _)| service)
            .filter(in_reach)
            .collect()
    }
}

/// The status of a config that `users` use.
pub(crate) fn status(config: &Value, users: &[&Key], now: &str) -> Value {
    let terminating = config.pointer("/metadata/deletionTimestamp").is_some();
    let mut in_use = json!({"type": condition::CONFIG_IN_USE, "severity": "Info"});
    if users.is_empty() {
        in_use["status"] = json!("False");
        in_use["reason"] = json!(reason::NOT_IN_USE);
    } else {
        in_use["status"] = json!("True");
        in_use["reason"] = json!(if terminating {
            reason::DELETION_BLOCKED
        } else {
            reason::IN_USE
        });
        in_use["message"] = json!(referenced_by(users.len()));
    }
    let ready = json!({"type": condition::READY, "status": "True"});
    let since = |mut one: Value| {
        let before = config
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let before = before
            .into_iter()
            .flatten()
            .find(|b| b["type"] == one["type"]);
        let mut then = before.cloned().unwrap_or_default();
        let time = then["lastTransitionTime"].take();
        if let Some(fields) = then.as_object_mut() {
            fields.remove("lastTransitionTime");
        }
        one["lastTransitionTime"] = if then == one && time.is_string() {
            time
        } else {
            json!(now)
        };
        one
    };
    let mut status = json!({"conditions": [since(in_use), since(ready)]});
    if let Some(generation) = config.pointer("/metadata/generation") {
        status["observedGeneration"] = generation.clone();
    }
    let listed = users.iter().take(LISTED);
    status["referencedBy"] = listed
        .map(|(namespace, name)| json!({"name": name, "namespace": namespace}))
        .collect();
    status
}

/// How many services hold a config.
pub(crate) fn referenced_by(count: usize) -> String {
    format!("referenced by {count} LLMInferenceService(s)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        (namespace.to_owned(), name.to_owned())
    }

    fn service(bases: &[&str], applied: &[(&str, &str)]) -> Uses {
        let bases: Vec<_> = bases.iter().map(|name| json!({"name": name})).collect();
        let applied: Vec<_> = applied
            .iter()
            .map(|(namespace, name)| json!({"namespace": namespace, "name": name}))
            .collect();
        Uses::of(&json!({"spec": {"baseRefs": bases},
            "status": {"appliedConfigs": applied, "annotations": {"serving.kserve.io/a": "p-a"}}}))
    }

    fn known(services: &[(Key, Uses)]) -> Known {
        let mut known = Known::default();
        known.begin();
        for (service, uses) in services {
            known.list(service.clone(), uses.clone());
        }
        known.complete("sys");
        known
    }

    #[test]
    fn what_was_merged_last_decides_alone_where_it_is_known() {
        let known = known(&[
            (key("a", "new"), service(&["c"], &[])),
            (key("a", "moved"), service(&["d"], &[("a", "c")])),
            (key("b", "shared"), service(&["c"], &[("sys", "c")])),
        ]);
        let users = |config: &Key, preset| -> Vec<String> {
            let users = known.users(config, preset, "sys");
            users.iter().map(|(_, name)| name.clone()).collect()
        };
        assert_eq!(users(&key("a", "c"), false), ["moved", "new"]);
        assert_eq!(users(&key("sys", "c"), false), ["new", "shared"]);
        assert_eq!(users(&key("a", "d"), false), [""; 0]);
        assert_eq!(users(&key("a", "p-a"), false), ["new"]);
        assert_eq!(users(&key("b", "p-b"), true), ["shared"]);
        assert_eq!(users(&key("sys", "p-b"), true), ["moved", "new", "shared"]);
    }

    #[test]
    fn a_change_touches_what_was_and_what_is_named() {
        let mut known = known(&[(key("a", "s"), service(&["c"], &[("sys", "c")]))]);
        let same = known.put(key("a", "s"), Some(service(&["c"], &[("sys", "c")])), "sys");
        assert!(same.is_empty());
        let touched = known.put(key("a", "s"), Some(service(&["d"], &[])), "sys");
        let expected = ["c", "d", "p-a"].map(|name| [key("a", name), key("sys", name)]);
        assert_eq!(touched, expected.into_iter().flatten().collect());
        assert!(
            known
                .put(key("a", "s"), None, "sys")
                .contains(&key("a", "d"))
        );
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let user = key("a", "s");
        let mut config = json!({"metadata": {"generation": 3}});
        config["status"] = status(&config, &[&user], "1");
        assert_eq!(status(&config, &[&user], "2"), config["status"]);
        let free = status(&config, &[], "2");
        assert_eq!(free["conditions"][0]["lastTransitionTime"], "2");
        assert_eq!(free["conditions"][1]["lastTransitionTime"], "1");
        assert_eq!(free["referencedBy"], json!([]));
    }
}
