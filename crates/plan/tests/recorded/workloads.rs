//! Every recorded case, composed with our own presets and planned, beside the objects that were recorded of the
//! system that is replaced.
//!
//! Every difference is a line of `workloads.tsv`: case, object, path, reason. Objects of the picker, routes, pools
//! and scaling are in [`crate::router`].

use std::collections::BTreeSet;

use serde_json::Value;
use weir_compose::{Globals, Naming, combine};
use weir_plan::ServiceIdentity;

use crate::allowed::{Allowed, Difference};
use crate::cases::{self, Case, Object};
use crate::differ;

fn planned(case: &Case) -> Result<Vec<Object>, String> {
    let globals = Globals {
        tls: case.facts.tls,
        ..Globals::default()
    };
    let combined = combine(&case.service, &globals, &Naming::default(), case)
        .map_err(|error| error.to_string())?;
    let service = ServiceIdentity::of(&case.service);
    let objects = weir_plan::workloads(&service, &combined.effective.spec, &case.facts)
        .map_err(|error| error.to_string())?;
    Ok(cases::named(&service.name, objects))
}

/// What differs in a case: object and path.
fn differences(case: &Case) -> Vec<Difference> {
    let ours = match planned(case) {
        Ok(ours) => ours,
        // Where nothing was recorded either, the reference refused it too.
        Err(_) if case.objects.iter().all(|object| object.kind == "Secret") => return Vec::new(),
        Err(error) => return vec![Difference::at(["error".to_owned(), error])],
    };
    let mut found = Vec::new();
    let key = |object: &Object| object.name.clone();
    let names: BTreeSet<_> = ours.iter().chain(&case.objects).map(key).collect();
    for name in names {
        let of = |list: &[Object]| list.iter().find(|o| o.name == name).cloned();
        match (of(&ours), of(&case.objects)) {
            (Some(ours), Some(theirs)) => {
                let mut paths = BTreeSet::new();
                for (pod, ours, theirs) in cases::pods(&ours, &theirs) {
                    let mut of_pod = BTreeSet::new();
                    match (ours, theirs) {
                        (Some(ours), Some(theirs)) => differ::pods(ours, theirs, pod, &mut of_pod),
                        (None, None) => {}
                        _ => drop(of_pod.insert("#presence".to_owned())),
                    }
                    paths.extend(of_pod.into_iter().map(|path| format!("{pod}:{path}")));
                }
                let (ours, theirs) = (cases::shell(&ours), cases::shell(&theirs));
                shells(&ours, &theirs, "", &mut paths);
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
        _ if ours == theirs => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn planned_objects_are_the_recorded_ones_but_for_the_list() {
    let Some(cases) = cases::cases() else { return };
    let mut allowed = Allowed::read(include_str!("workloads.tsv"), 2);
    for case in &cases {
        allowed.judge(&case.name, &differences(case));
    }
    allowed.finish(&format!("{} cases", cases.len()));
}
