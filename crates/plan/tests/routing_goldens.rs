//! Routes, pools, pickers, tokenizers and autoscalers of every recorded case, composed with our own presets and
//! planned, beside what was recorded of the system that is replaced.
//!
//! Every difference is a line of `routing/allowed.tsv`: the case (`*` for any), the object, the path, and the row of
//! `product.md` section 2, the [FIX] or the section of a control-plane text that settles it. A line that allows
//! nothing any more must go.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "skipped tests and counts are said")]

#[allow(dead_code, reason = "workloads are compared elsewhere")]
#[path = "recordings/cases.rs"]
mod cases;
#[path = "../../compose/tests/goldens/differ.rs"]
mod differ;
#[allow(dead_code, reason = "statuses are compared elsewhere")]
#[path = "routing/objects.rs"]
mod objects;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_compose::{Globals, Naming, combine};
use weir_plan::ServiceIdentity;

use objects::{Case, Named};

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
    let lines = include_str!("routing/allowed.tsv").lines();
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
fn differences(case: &Case) -> Vec<(String, String)> {
    let ours = match planned(case) {
        Ok(ours) => ours,
        // Where nothing was recorded either, the reference refused it too.
        Err(_) if case.objects.iter().all(|object| object.is_side_effect()) => return Vec::new(),
        Err(error) => return vec![("error".to_owned(), error)],
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
    let allowed = allowed();
    let mut used = BTreeSet::new();
    let mut failing = BTreeMap::<String, Vec<String>>::new();
    let (mut agreeing, mut listed, mut compared) = (0, 0, 0);
    for case in &cases {
        compared += case.objects.len();
        let name = &case.inner.name;
        let found = differences(case);
        let mut fine = true;
        for (object, path) in &found {
            let line = allowed.iter().position(|line| {
                fits(&line.case, name) && fits(&line.object, object) && fits(&line.path, path)
            });
            match line {
                Some(line) => drop(used.insert(line)),
                None => {
                    fine = false;
                    let key = format!("{object}\t{path}");
                    failing.entry(key).or_default().push(name.clone());
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
        "{} cases, {compared} objects: {agreeing} agree, {listed} differ as allowed, {failed} fail",
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
