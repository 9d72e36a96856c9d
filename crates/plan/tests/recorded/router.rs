//! Routes, pools, pickers, tokenizers and autoscalers of every recorded case, composed with our own presets and
//! planned, beside what was recorded of the system that is replaced.
//!
//! Every difference is a line of `router.tsv`: case, object, path, reason.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_compose::{Globals, Naming, combine};
use weir_plan::ServiceIdentity;

use crate::allowed::{Allowed, Difference};
use crate::differ;
use crate::objects::{self, Case, Named};

fn planned(case: &Case) -> Result<Vec<Named>, String> {
    let inner = &case.inner;
    let globals = Globals {
        tls: inner.facts.tls,
        model_header: inner.facts.model_header.clone(),
        ..Globals::default()
    };
    let combined = combine(&inner.service, &globals, &Naming::default(), inner)
        .map_err(|error| error.to_string())?;
    let spec = combined.effective.spec;
    let service = ServiceIdentity::of(&inner.service);
    let facts = case.facts(&spec);
    let mut objects = Vec::new();
    // The model comes first: without it nothing is written for the router.
    let workloads = weir_plan::workloads(&service, &spec, &facts)
        .and_then(|_| weir_plan::scaling(&service, &spec, &facts));
    match workloads {
        Ok(scaling) => objects.extend(scaling),
        Err(_) => return Ok(Vec::new()),
    }
    // What has to be there before anything is written.
    if case.refusal(&service, &spec, &facts).is_some() {
        return Ok(objects::named(&service.name, &service.namespace, objects));
    }
    objects.extend(weir_plan::scheduler(&service, &spec, &facts).map_err(|e| e.to_string())?);
    objects.extend(weir_plan::routes(&service, &spec, &facts).map_err(|e| e.to_string())?);
    Ok(objects::named(&service.name, &service.namespace, objects))
}

/// What differs in a case: object and path.
fn differences(case: &Case) -> Vec<Difference> {
    let ours = match planned(case) {
        Ok(ours) => ours,
        // Where nothing was recorded either, the reference refused it too.
        Err(_) if case.objects.iter().all(|object| object.is_side_effect()) => return Vec::new(),
        Err(error) => return vec![Difference::at(["error".to_owned(), error])],
    };
    let mut found = Vec::new();
    let names: BTreeSet<_> = ours
        .iter()
        .chain(&case.objects)
        .map(|o| o.name.clone())
        .collect();
    for name in names {
        let of = |list: &[Named]| list.iter().find(|o| o.name == name).cloned();
        match (of(&ours), of(&case.objects)) {
            (Some(ours), Some(theirs)) => {
                let mut paths = BTreeSet::new();
                if let (Some(ours), Some(theirs)) = (ours.pod(), theirs.pod()) {
                    let mut of_pod = BTreeSet::new();
                    differ::pods(ours, theirs, "picker", &mut of_pod);
                    paths.extend(of_pod.into_iter().map(|path| format!("pod:{path}")));
                }
                shells(&ours.shell(), &theirs.shell(), "", &mut paths);
                found.extend(
                    paths
                        .into_iter()
                        .map(|path| Difference::at([name.clone(), path])),
                );
            }
            (Some(_), None) => found.push(Difference::at([name, "#added".to_owned()])),
            (None, _) => found.push(Difference::at([name, "#lacking".to_owned()])),
        }
    }
    found
}

/// Notes the paths at which two objects differ, pods left out.
fn shells(ours: &Value, theirs: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                let (a, b) = (of(a).unwrap_or_default(), of(b).unwrap_or_default());
                shells(&a, &b, &format!("{path}/{key}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                shells(a, b, &format!("{path}/{at}"), found);
            }
        }
        _ if ours == theirs => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn planned_objects_are_the_recorded_ones_but_for_the_list() {
    let Some(cases) = objects::cases() else {
        return;
    };
    let mut allowed = Allowed::read(include_str!("router.tsv"), 2);
    for case in &cases {
        allowed.judge(&case.inner.name, &differences(case));
    }
    let compared: usize = cases.iter().map(|case| case.objects.len()).sum();
    allowed.finish(&format!("{} cases, {compared} objects", cases.len()));
}
