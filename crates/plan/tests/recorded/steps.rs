//! What a change of a service touches: the objects that change with it are those that were recorded to change with
//! the same change in the system that is replaced.
//!
//! Only steps in which nothing but services and configs is patched are played. Every difference is a line of
//! `steps.tsv`: case, step, object, reason.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};
use weir_plan::ServiceIdentity;

use crate::allowed::{Allowed, Difference};
use crate::cases::{self, Case};
use crate::files::{self, recordings};

/// The objects of a service that run the model, by name.
fn planned(case: &Case) -> Option<BTreeMap<String, Value>> {
    let globals = Globals {
        tls: case.facts.tls,
        ..Globals::default()
    };
    let combined = combine(&case.service, &globals, &Naming::default(), case).ok()?;
    let service = ServiceIdentity::of(&case.service);
    if weir_plan::check_adapters(&combined.effective.spec).is_err() {
        return None;
    }
    let objects = weir_plan::workloads(&service, &combined.effective.spec, &case.facts).ok()?;
    let named = cases::named(&service.name, objects);
    Some(named.into_iter().map(|o| (o.name, o.value)).collect())
}

/// Applies what a step does, if it is nothing but merge patches of services and configs.
fn play(case: &mut Case, step: &Value) -> Option<()> {
    for action in step["do"].as_array()? {
        if action.get("wait").is_some() {
            continue;
        }
        let (kind, name) = action["patch"].as_str()?.split_once('/')?;
        if action.get("subresource").is_some() || action.get("type").is_some() {
            return None;
        }
        let of_service = kind == "LLMInferenceService" && case.service["metadata"]["name"] == name;
        let object = if of_service {
            &mut case.service
        } else {
            let is =
                |object: &&mut Value| object["kind"] == kind && object["metadata"]["name"] == name;
            let mut configs = case
                .stored
                .iter_mut()
                .filter(|o| o["kind"] == "LLMInferenceServiceConfig");
            configs.find(is)?
        };
        weir_merge::json_merge_patch(object, &action["with"]);
    }
    step.get("refused").is_none().then_some(())
}

/// Objects that came, went or changed by the recording.
fn recorded(service: &str, step: &Value) -> BTreeSet<String> {
    let objects = &step["objects"];
    let list = |key: &str| objects[key].as_array().cloned().unwrap_or_default();
    let changed = list("changed").into_iter().map(|one| one["object"].clone());
    let gone = list("gone");
    let texts = changed.chain(gone).filter_map(|one| {
        let (kind, name) = one.as_str()?.split_once('/')?;
        Some(json!({"kind": kind, "metadata": {"name": name}}))
    });
    let all = texts.chain(list("created")).collect();
    cases::named(service, all)
        .into_iter()
        .map(|o| o.name)
        .collect()
}

#[test]
fn a_change_touches_what_it_was_recorded_to_touch() {
    let (Some(all), Some(recordings)) = (cases::cases(), recordings()) else {
        return;
    };
    let mut allowed = Allowed::read(include_str!("steps.tsv"), 2);
    let mut played = 0;
    for mut case in all {
        let file = recordings.join(&case.name).join("steps.yaml");
        let Some(text) = files::text(&file) else {
            continue;
        };
        let steps: Vec<Value> = serde_saphyr::from_str(&text).unwrap();
        let service = case.service["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        for step in steps {
            let Some(before) = planned(&case) else { break };
            if play(&mut case, &step).is_none() {
                break;
            }
            let name = step["step"].as_str().unwrap();
            let theirs = recorded(&service, &step);
            // What cannot be planned changes nothing.
            let after = planned(&case).unwrap_or_else(|| before.clone());
            let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let changed = names
                .into_iter()
                .filter(|name| before.get(*name) != after.get(*name));
            let ours: BTreeSet<String> = changed.cloned().collect();
            played += 1;
            let found = ours.symmetric_difference(&theirs).map(|object| Difference {
                shown: format!(
                    "{name}\t{object}\t{}",
                    if ours.contains(object) {
                        "changes"
                    } else {
                        "stays"
                    }
                ),
                at: vec![name.to_owned(), object.clone()],
            });
            allowed.judge(&case.name, &found.collect::<Vec<_>>());
        }
    }
    allowed.finish(&format!("{played} steps"));
}
