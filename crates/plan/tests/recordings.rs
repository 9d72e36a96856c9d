//! Every recorded case, composed with our own presets and planned, beside the objects that were recorded of the
//! system that is replaced.
//!
//! Every difference is a line of `recordings/allowed.tsv`: the case (`*` for any), the object, the path, and the row
//! of `product.md` section 2, the [FIX], the section of a control-plane text or the line of the recordings' own
//! README that settles it. A line that allows nothing any more must go. Objects of the picker, routes, pools and
//! scaling are not compared here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "skipped tests and counts are said")]

#[path = "recordings/cases.rs"]
mod cases;
#[path = "../../compose/tests/goldens/differ.rs"]
mod differ;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_compose::{Globals, Naming, combine};
use weir_plan::ServiceIdentity;

use cases::{Case, Object};

/// One line of the list.
struct Allowed {
    case: String,
    object: String,
    path: String,
}

/// Whether a pattern, in which `*` stands for any text, is that of `text`.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter_map(|at| rest.get(at..))
                .any(|rest| fits(after, rest))
        }),
    }
}

fn allowed() -> Vec<Allowed> {
    let lines = include_str!("recordings/allowed.tsv").lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [case, object, path, reason] = columns.as_slice() else {
                panic!("four columns: {line}");
            };
            assert!(!reason.is_empty(), "{line}");
            Allowed {
                case: (*case).to_owned(),
                object: (*object).to_owned(),
                path: (*path).to_owned(),
            }
        })
        .collect()
}

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
fn differences(case: &Case) -> Vec<(String, String)> {
    let ours = match planned(case) {
        Ok(ours) => ours,
        // Where nothing was recorded either, the reference refused it too.
        Err(_) if case.objects.iter().all(|object| object.kind == "Secret") => return Vec::new(),
        Err(error) => return vec![("error".to_owned(), error)],
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
                found.extend(paths.into_iter().map(|path| (name.clone(), path)));
            }
            (Some(_), None) => found.push((name, "#added".to_owned())),
            (None, _) => found.push((name, "#lacking".to_owned())),
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
    let allowed = allowed();
    let mut used = BTreeSet::new();
    let mut failing = BTreeMap::<String, Vec<String>>::new();
    let (mut agreeing, mut listed) = (0, 0);
    for case in &cases {
        let found = differences(case);
        let mut fine = true;
        for (object, path) in &found {
            let line = allowed.iter().position(|line| {
                fits(&line.case, &case.name) && fits(&line.object, object) && fits(&line.path, path)
            });
            match line {
                Some(line) => drop(used.insert(line)),
                None => {
                    fine = false;
                    let key = format!("{object}\t{path}");
                    failing.entry(key).or_default().push(case.name.clone());
                }
            }
        }
        match (fine, found.is_empty()) {
            (true, true) => agreeing += 1,
            (true, false) => listed += 1,
            (false, _) => {}
        }
    }
    let failed = cases.len() - agreeing - listed;
    eprintln!(
        "{} cases: {agreeing} agree, {listed} differ as allowed, {failed} fail",
        cases.len()
    );
    for (what, cases) in &failing {
        eprintln!("{what}\t{}\t{}", cases.len(), cases.join(" "));
    }
    let stale: Vec<_> = (0..allowed.len())
        .filter(|line| !used.contains(line))
        .filter_map(|line| allowed.get(line))
        .map(|line| format!("{}\t{}\t{}", line.case, line.object, line.path))
        .collect();
    assert!(failing.is_empty(), "differences that are not in the list");
    assert!(stale.is_empty(), "lines that allow nothing: {stale:#?}");
}
