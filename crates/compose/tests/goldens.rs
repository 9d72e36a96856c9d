//! Composed pods beside those that were recorded of the system that is replaced.
//!
//! Every difference is a line of `goldens/allowed.tsv`: the case (`*` for any), the pod, the path, and the row of
//! `product.md` section 2, the [FIX] or the section of a control-plane text that settles it. A line that
//! allows nothing any more must go.

#![expect(clippy::print_stderr, reason = "skipped tests and counts are said")]

#[path = "goldens/differ.rs"]
mod differ;
#[path = "goldens/recorded.rs"]
mod recorded;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_compose::{Globals, Naming, combine};

/// Pods of an effective spec, by the name that the list gives them.
const PODS: [(&str, &str); 6] = [
    ("main", "/template"),
    ("worker", "/worker"),
    ("prefill", "/prefill/template"),
    ("prefill-worker", "/prefill/worker"),
    ("picker", "/router/scheduler/template"),
    ("tokenizer", "/router/scheduler/tokenizer/template"),
];

/// One line of the list.
struct Allowed {
    case: String,
    pod: String,
    path: String,
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len()
                && text.starts_with(before)
                && text.ends_with(after)
        }
    }
}

fn allowed() -> Vec<Allowed> {
    let lines = include_str!("goldens/allowed.tsv").lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [case, pod, path, reason] = columns.as_slice() else {
                panic!("four columns: {line}");
            };
            assert!(!reason.is_empty(), "{line}");
            Allowed {
                case: (*case).to_owned(),
                pod: (*pod).to_owned(),
                path: (*path).to_owned(),
            }
        })
        .collect()
}

fn composed(case: &recorded::Case) -> Result<Value, String> {
    let globals = Globals {
        tls: case.tls,
        ..Globals::default()
    };
    let combined = combine(&case.service, &globals, &Naming::default(), case);
    combined
        .map(|combined| combined.effective.spec)
        .map_err(|error| error.to_string())
}

#[test]
fn composed_pods_are_the_recorded_ones_but_for_the_list() {
    let Some(cases) = recorded::cases() else {
        return;
    };
    let allowed = allowed();
    let mut used = BTreeSet::new();
    let mut failing = BTreeMap::<String, Vec<String>>::new();
    let (mut agreeing, mut listed, mut pods) = (0, 0, 0);
    for case in &cases {
        let mut found = Vec::new();
        match composed(case) {
            Ok(spec) => {
                for (pod, pointer) in PODS {
                    let ours = spec.pointer(pointer).filter(|pod| !pod.is_null());
                    let theirs = case.pods.get(pod);
                    let mut of_pod = BTreeSet::new();
                    match (ours, theirs) {
                        (Some(ours), Some(theirs)) => {
                            pods += 1;
                            differ::pods(ours, theirs, pod, &mut of_pod);
                        }
                        (None, Some(_)) => drop(of_pod.insert("missing".to_owned())),
                        // Whether a pod is created at all is not composition.
                        (_, None) => {}
                    }
                    found.extend(of_pod.into_iter().map(|path| (pod, path)));
                }
            }
            Err(error) => found.push(("error", error)),
        }
        let mut fine = true;
        for (pod, path) in &found {
            let line = allowed.iter().position(|line| {
                fits(&line.case, &case.name) && fits(&line.pod, pod) && fits(&line.path, path)
            });
            match line {
                Some(line) => drop(used.insert(line)),
                None => {
                    fine = false;
                    let key = format!("{pod}\t{path}");
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
        "{} cases, {pods} pods: {agreeing} agree, {listed} differ as allowed, {failed} fail",
        cases.len()
    );
    for (what, cases) in &failing {
        eprintln!("{what}\t{}\t{}", cases.len(), cases.join(" "));
    }
    let stale: Vec<_> = (0..allowed.len())
        .filter(|line| !used.contains(line))
        .filter_map(|line| allowed.get(line))
        .map(|line| format!("{}\t{}\t{}", line.case, line.pod, line.path))
        .collect();
    assert!(failing.is_empty(), "differences that are not in the list");
    assert!(stale.is_empty(), "lines that allow nothing: {stale:#?}");
}
