//! Our verdicts against those of the system we replace, where the recordings are there.

#![allow(clippy::print_stderr, reason = "a test that skips must say so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use weir_review::{Options, review};

/// Services that are refused here, or for more, on purpose: case (or how it begins), what, why.
const STRICTER: &[(&str, &str, &str)] = &[
    (
        "long-name-64",
        "metadata.name",
        "fails later in the original, for ever",
    ),
    (
        "sample-",
        "must be a string, not the boolean",
        "kubectl refuses an unquoted n or y too",
    ),
    (
        "sample-",
        "must be of type string: \"boolean\"",
        "the same, in an effective spec",
    ),
    (
        "long-name-64",
        "matchLabels.app.kubernetes.io/name: Too long",
        "recorded as InvalidRenderedConfig",
    ),
    (
        "sample-kv-cache-offloading",
        "spec.workload",
        "kubectl's own field validation, which the recording left out",
    ),
    (
        "refused-workload",
        "resources.limits[nvidia.com/gpu]",
        "accelerators must match parallelism",
    ),
];

/// Services that the original refuses and that are accepted here on purpose: case, name, why.
const MORE_LENIENT: &[(&str, &str, &str)] = &[(
    "refused-workload",
    "keda-behaviour-only",
    "a rule of the original stumbles over a missing name",
)];

fn is_stricter(case: &str, finding: &str) -> bool {
    STRICTER
        .iter()
        .any(|(begins, what, _)| case.starts_with(begins) && finding.contains(what))
}

fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let directory = shared.join("goldens/controller");
    if !directory.is_dir() {
        eprintln!("SKIPPED: {} is not there", directory.display());
        return None;
    }
    Some(directory)
}

/// What a refusal says of each object: name to the fields of its causes; none when it has no causes.
fn refusals(text: &str) -> BTreeMap<String, String> {
    let named = |line: &str| {
        let (_, rest) = line.split_once(".serving.kserve.io \"")?;
        let (name, causes) = rest.split_once('"')?;
        Some((name.to_owned(), causes.to_owned()))
    };
    text.lines().filter_map(named).collect()
}

#[test]
fn verdicts_are_those_of_the_original() {
    let Some(directory) = recordings() else {
        return;
    };
    let mut problems = Vec::new();
    let mut looked_at = 0;
    let mut cases: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(text) = std::fs::read_to_string(case.join("input.yaml")) else {
            continue;
        };
        let refused_text = std::fs::read_to_string(case.join("refused.txt")).unwrap_or_default();
        let refused = refusals(&refused_text);
        let documents = match weir_manifest::parse(&text, &name) {
            Ok(documents) => documents,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        for document in &documents {
            looked_at += 1;
            let object = document.value["metadata"]["name"]
                .as_str()
                .unwrap_or_default();
            let findings = review([document], &Options::default());
            let theirs = refused.get(object);
            let lenient = MORE_LENIENT
                .iter()
                .any(|row| (row.0, row.1) == (name.as_str(), object));
            let unexpected =
                |finding: &&weir_review::Finding| !is_stricter(&name, &finding.to_string());
            let first = if theirs.is_some() {
                findings.first()
            } else {
                findings.iter().find(unexpected)
            };
            match (theirs, first) {
                (Some(causes), None) if !lenient => {
                    problems.push(format!("{name}/{object}: accepted; theirs{causes}"))
                }
                // Some refusals do not name their object; then only what was created is known.
                (None, Some(finding)) if refused_text.is_empty() => {
                    problems.push(format!("{name}/{object}: refused: {finding}"));
                }
                (Some(causes), Some(_)) if !causes.contains("\"object\"") => {
                    let ours: BTreeSet<&str> = findings
                        .iter()
                        .map(|finding| finding.path.as_str())
                        .collect();
                    for path in ours {
                        if !causes.contains(&format!("{path}: ")) && !is_stricter(&name, path) {
                            problems
                                .push(format!("{name}/{object}: {path}: not in theirs{causes}"));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    assert!(looked_at > 200, "only {looked_at} objects");
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn what_was_combined_there_is_accepted_here() {
    use weir_review::offline::{Given, Offline};
    let Some(directory) = recordings() else {
        return;
    };
    let mut problems = Vec::new();
    let mut looked_at = 0;
    for case in std::fs::read_dir(&directory).unwrap() {
        let case = case.unwrap().path();
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let (Ok(text), false) = (
            std::fs::read_to_string(case.join("input.yaml")),
            case.join("refused.txt").is_file(),
        ) else {
            continue;
        };
        let Ok(documents) = weir_manifest::parse(&text, &name) else {
            continue;
        };
        let Ok(world) = Offline::read(&documents, Given::default()) else {
            continue;
        };
        for service in world.services() {
            let Ok(combined) = world.combine(service) else {
                continue;
            };
            looked_at += 1;
            let verdict = weir_review::review_effective(&service.value, &combined.effective.spec);
            for error in verdict.errors {
                if !is_stricter(&name, &error.to_string()) {
                    problems.push(format!("{name}: {error}"));
                }
            }
        }
    }
    assert!(looked_at > 100, "only {looked_at} services");
    assert!(
        problems.is_empty(),
        "{}:\n{}",
        problems.len(),
        problems.join("\n")
    );
}
