//! What a change of a service touches: the objects that change with it are those that were recorded to change with
//! the same change in the system that is replaced.
//!
//! Only steps in which nothing but services and configs is patched are played; each difference is in [`ALLOWED`]
//! with the row that allows it, and one that is gone must go from there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "skipped tests and counts are said")]

#[path = "recordings/cases.rs"]
#[allow(dead_code, reason = "other users of the file compare pods too")]
mod cases;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};
use weir_plan::ServiceIdentity;

use cases::Case;

/// Case, beginning of the step, object or `*`, and the row that allows the difference.
const ALLOWED: [(&str, &str, &str, &str); 12] = [
    (
        "steps-dra",
        "count",
        "ResourceClaimTemplate-managed-dra",
        "workloads 4.12 [FIX]: a claim template is made anew",
    ),
    (
        "steps-image-env-args",
        "pod annotation removed",
        "*",
        "workloads 4.12 [FIX]: removals reach the cluster",
    ),
    (
        "steps-image-env-args",
        "pod label",
        "*",
        "workloads 4.3 [FIX]: a label of pods may change, the selector does not have it",
    ),
    (
        "steps-pod-metadata",
        "annotation removed",
        "*",
        "workloads 4.12 [FIX]: removals reach the cluster",
    ),
    (
        "steps-pod-metadata",
        "label removed",
        "*",
        "workloads 4.12 [FIX]: removals reach the cluster",
    ),
    (
        "steps-pod-metadata",
        "spec labels removed",
        "Service-kserve-workload-svc",
        "workloads 4.12 [FIX]: removals reach the cluster",
    ),
    (
        "steps-prefill",
        "",
        "*",
        "workloads 4.3 [FIX]: prefill comes and goes; its rights go with it (4.9 [FIX])",
    ),
    (
        "steps-replicas",
        "replicas removed",
        "Deployment-kserve",
        "workloads 4.5: the field is left out, and the live count is kept when it is written",
    ),
    (
        "steps-scaling",
        "replicas replaced",
        "Deployment-kserve",
        "workloads 4.5: the field is left out, and the live count is kept when it is written",
    ),
    (
        "steps-stop",
        "",
        "Role-kserve-role",
        "workloads 4.9 [FIX]: accounts and rights go with their feature",
    ),
    (
        "steps-stop",
        "",
        "RoleBinding-kserve-rb",
        "workloads 4.9 [FIX]: accounts and rights go with their feature",
    ),
    (
        "steps-stop",
        "",
        "Service-kserve-prefill-svc",
        "product 2, Services: a Service over prefill pods",
    ),
];

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
    let Some(all) = cases::cases() else { return };
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        std::path::PathBuf::from,
    );
    let (mut played, mut used, mut failing) = (0, BTreeSet::new(), Vec::new());
    for mut case in all {
        let file = shared
            .join("goldens/controller")
            .join(&case.name)
            .join("steps.yaml");
        let Ok(text) = std::fs::read_to_string(file) else {
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
            for object in ours.symmetric_difference(&theirs) {
                let allowed = ALLOWED.iter().position(|(of, step, what, _)| {
                    *of == case.name && name.starts_with(step) && ["*", object].contains(what)
                });
                match allowed {
                    Some(allowed) => drop(used.insert(allowed)),
                    None => failing.push(format!(
                        "{}\t{name}\t{object}\t{}",
                        case.name,
                        if ours.contains(object) {
                            "changes"
                        } else {
                            "stays"
                        }
                    )),
                }
            }
        }
    }
    eprintln!("{played} steps, {} differences allowed", used.len());
    assert!(failing.is_empty(), "{}", failing.join("\n"));
    let stale: Vec<_> = (0..ALLOWED.len()).filter(|at| !used.contains(at)).collect();
    assert!(stale.is_empty(), "rows that allow nothing: {stale:?}");
}
