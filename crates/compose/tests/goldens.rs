//! Composed pods beside those that were recorded of the system that is replaced.
//!
//! Every difference is a line of `goldens/allowed.tsv`: the case, the pod, the path, and the row of `product.md`
//! section 2, the [FIX] or the section of a control-plane text that settles it.

#![expect(clippy::print_stderr, reason = "skipped tests and counts are said")]

#[path = "goldens/allowed.rs"]
mod allowed;
#[path = "goldens/differ.rs"]
mod differ;
#[path = "goldens/recorded.rs"]
mod recorded;

use std::collections::BTreeSet;

use serde_json::Value;
use weir_compose::{Globals, Naming, combine};

use allowed::{Allowed, Difference};

/// Pods of an effective spec, by the name that the list gives them.
const PODS: [(&str, &str); 6] = [
    ("main", "/template"),
    ("worker", "/worker"),
    ("prefill", "/prefill/template"),
    ("prefill-worker", "/prefill/worker"),
    ("picker", "/router/scheduler/template"),
    ("tokenizer", "/router/scheduler/tokenizer/template"),
];

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
    let mut allowed = Allowed::read(include_str!("goldens/allowed.tsv"), 2);
    let mut pods = 0;
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
                    found.extend(
                        of_pod
                            .into_iter()
                            .map(|path| Difference::at([pod.to_owned(), path])),
                    );
                }
            }
            Err(error) => found.push(Difference::at(["error".to_owned(), error])),
        }
        allowed.judge(&case.name, &found);
    }
    allowed.finish(&format!("{} cases, {pods} pods", cases.len()));
}
