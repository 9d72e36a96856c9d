//! Every recorded exchange of the Go picker, sent again to this one.
//!
//! What may differ stands in `testdata/differences.tsv`: case, exchange (`*` for all of a case), how, and the rule
//! that says so. The list is exact: a difference that is not in it fails, and so does a line `differs` without one.
//! `may` is for chance, `unplayed` for what this build does not have.

pub(crate) mod message;
mod replay;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Differences that are meant.
const DIFFERENCES: &str = include_str!("../../testdata/differences.tsv");

/// The lines: case, exchange, how, rule.
fn listed() -> impl Iterator<Item = [&'static str; 4]> {
    DIFFERENCES
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let mut parts = line.split('\t');
            [(); 4].map(|()| parts.next().unwrap_or(""))
        })
}

fn recorded() -> Option<PathBuf> {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let path = Path::new(&shared).join("goldens/epp");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no recorded exchanges at {}", path.display());
    None
}

fn cases(root: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("transcript.json").is_file())
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn recorded_exchanges_are_answered_alike() {
    let Some(root) = recorded() else {
        return;
    };
    // For work on one case.
    let only = std::env::var("GOLDEN").ok();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for dir in cases(&root) {
        let case = dir.file_name().unwrap().to_string_lossy().into_owned();
        let unplayed = listed().any(|line| line[0] == case && line[2] == "unplayed");
        if unplayed || only.as_ref().is_some_and(|only| *only != case) {
            continue;
        }
        for (exchange, words) in replay::case(&dir).await {
            let line = listed()
                .position(|line| line[0] == case && (line[1] == "*" || line[1] == exchange));
            match line {
                Some(line) => {
                    used.insert(line);
                }
                None => wrong.push(format!("{case} / {exchange}:\n{words}")),
            }
        }
    }
    for (index, line) in listed().enumerate() {
        if only.is_none() && line[2] == "differs" && !used.contains(&index) {
            wrong.push(format!(
                "{} / {}: listed without a difference",
                line[0], line[1]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn an_exchange_of_our_own_is_answered() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/exchanges"));
    for dir in cases(root) {
        assert_eq!(replay::case(&dir).await, [], "{}", dir.display());
    }
}

/// The text of a file with addresses of this process, so that runs side by side do not meet.
fn text(path: &Path) -> String {
    let own = format!("127.99.{}.", std::process::id() % 250 + 1);
    std::fs::read_to_string(path)
        .unwrap()
        .replace("127.0.0.", &own)
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}
