//! Objectives and rewrites as tables: pure, fed with changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use weir_discovery::Change;

use crate::objectives::{Rewrites, Target};

/// Which of two groups an object is of; the current one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Generation {
    /// The older group.
    Old,
    /// The current one.
    Current,
}

/// Objects by kind and generation.
#[derive(Debug)]
pub(super) struct Tables {
    pool: String,
    group: String,
    known: BTreeMap<(bool, Generation), BTreeMap<String, DynamicObject>>,
    listed: HashMap<(bool, Generation), HashSet<String>>,
}

impl Tables {
    pub(super) fn new(pool: String, group: String) -> Self {
        Self {
            pool,
            group,
            known: BTreeMap::new(),
            listed: HashMap::new(),
        }
    }

    pub(super) fn take(
        &mut self,
        generation: Generation,
        rewrites: bool,
        change: Change<DynamicObject>,
    ) {
        let key = (rewrites, generation);
        let known = self.known.entry(key).or_default();
        match change {
            Change::Listing => {
                self.listed.insert(key, HashSet::new());
            }
            Change::Synced => {
                if let Some(listed) = self.listed.remove(&key) {
                    known.retain(|name, _| listed.contains(name));
                }
            }
            Change::Deleted(object) => {
                known.remove(&object.name_any());
            }
            Change::Applied(object) | Change::Listed(object) => {
                if let Some(listed) = self.listed.get_mut(&key) {
                    listed.insert(object.name_any());
                }
                known.insert(object.name_any(), object);
            }
        }
    }

    /// The objects of a kind that are for this pool, those of the current group last.
    fn of(&self, rewrites: bool) -> impl Iterator<Item = &DynamicObject> {
        self.known
            .iter()
            .filter(move |((kind, _), _)| *kind == rewrites)
            .flat_map(|(_, objects)| objects.values())
            .filter(|object| self.concerns(object))
    }

    fn concerns(&self, object: &DynamicObject) -> bool {
        let reference = &object.data["spec"]["poolRef"];
        let text = |name: &str| reference[name].as_str().unwrap_or_default();
        let group = match text("group") {
            "" => "inference.networking.k8s.io",
            group => group,
        };
        text("name") == self.pool && group == self.group
    }

    /// Priorities by the objectives' names.
    pub(super) fn priorities(&self) -> HashMap<String, i32> {
        self.of(false)
            .filter_map(|object| {
                let priority = object.data["spec"]["priority"].as_i64().unwrap_or(0);
                Some((object.name_any(), i32::try_from(priority).ok()?))
            })
            .collect()
    }

    /// Rewrites by model; among equals the oldest object counts.
    pub(super) fn rewrites(&self) -> Rewrites {
        let mut objects: Vec<&DynamicObject> = self.of(true).collect();
        objects.sort_by_key(|object| {
            let created = object.metadata.creation_timestamp.as_ref();
            (created.map(|time| time.0), object.name_any())
        });
        let mut out = Rewrites::default();
        for object in objects {
            let rules = object.data["spec"]["rules"].as_array();
            for rule in rules.into_iter().flatten() {
                let targets: Vec<Target> = rule["targets"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(target)
                    .collect();
                if targets.is_empty() {
                    continue;
                }
                let matches = rule["matches"].as_array().filter(|list| !list.is_empty());
                let Some(matches) = matches else {
                    out.any.get_or_insert(targets);
                    continue;
                };
                for one in matches {
                    if let Some(model) = one["model"]["value"].as_str() {
                        out.exact
                            .entry(model.to_owned())
                            .or_insert_with(|| targets.clone());
                    }
                }
            }
        }
        out
    }
}

fn target(value: &Value) -> Option<Target> {
    Some(Target {
        model: value["modelRewrite"].as_str()?.to_owned(),
        weight: value["weight"]
            .as_u64()
            .map(|weight| u32::try_from(weight).unwrap_or(u32::MAX)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn objects_of_this_pool_become_tables() {
        let mut tables = Tables::new("p".to_owned(), "inference.networking.k8s.io".to_owned());
        let objective = |name: &str, pool: &str, priority: i32| {
            object(json!({
                "apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceObjective",
                "metadata": {"name": name},
                "spec": {"priority": priority, "poolRef": {"name": pool}}
            }))
        };
        tables.take(
            Generation::Old,
            false,
            Change::Applied(objective("a", "p", 1)),
        );
        tables.take(
            Generation::Current,
            false,
            Change::Applied(objective("a", "p", -5)),
        );
        tables.take(
            Generation::Current,
            false,
            Change::Applied(objective("b", "q", 9)),
        );
        assert_eq!(tables.priorities(), HashMap::from([("a".to_owned(), -5)]));
        let rewrite = |name: &str, created: &str, target: &str| {
            object(json!({
                "apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceModelRewrite",
                "metadata": {"name": name, "creationTimestamp": created},
                "spec": {"poolRef": {"name": "p"}, "rules": [
                    {"matches": [{"model": {"type": "Exact", "value": "m"}}],
                     "targets": [{"modelRewrite": target, "weight": 3}]},
                    {"targets": [{"modelRewrite": "any"}]}
                ]}
            }))
        };
        for (name, created, target) in [
            ("new", "2026-01-02T00:00:00Z", "late"),
            ("old", "2026-01-01T00:00:00Z", "early"),
        ] {
            let change = Change::Applied(rewrite(name, created, target));
            tables.take(Generation::Current, true, change);
        }
        let rewrites = tables.rewrites();
        assert_eq!(rewrites.exact["m"][0].model, "early");
        assert_eq!(rewrites.any.unwrap()[0].model, "any");
        tables.take(Generation::Current, true, Change::Listing);
        tables.take(Generation::Current, true, Change::Synced);
        assert_eq!(tables.rewrites(), Rewrites::default());
    }
}
