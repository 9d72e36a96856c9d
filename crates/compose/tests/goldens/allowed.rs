//! Lists of what may differ between ours and what was recorded.
//!
//! A list is tab-separated. Every line has the case (`*` stands for any text), what differs, in as many columns as
//! the comparison has, and what allows it. A difference that no line allows fails, and so does a line that allows
//! nothing any more.

use std::collections::{BTreeMap, BTreeSet};

/// A difference that was found in a case.
pub(crate) struct Difference {
    /// What differs, in the columns of the list.
    pub(crate) at: Vec<String>,
    /// How it is told when no line allows it.
    pub(crate) shown: String,
}

impl Difference {
    /// One that is told by its columns.
    pub(crate) fn at<const N: usize>(at: [String; N]) -> Self {
        Self {
            shown: at.join("\t"),
            at: at.into(),
        }
    }
}

/// A list, and what was compared with it so far.
pub(crate) struct Allowed {
    /// The columns of each line but the reason.
    lines: Vec<Vec<&'static str>>,
    used: BTreeSet<usize>,
    /// The cases of each difference that no line allows.
    failing: BTreeMap<String, Vec<String>>,
    agreeing: usize,
    listed: usize,
    failed: usize,
}

impl Allowed {
    /// Reads a list with so many columns between the case and the reason.
    pub(crate) fn read(text: &'static str, columns: usize) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines = lines.map(|line| {
            let all: Vec<&str> = line.split('\t').collect();
            assert_eq!(all.len(), columns + 2, "the columns of {line:?}");
            let (reason, key) = all.split_last().expect("there are two at least");
            assert!(!reason.is_empty(), "no reason in {line:?}");
            key.to_vec()
        });
        Self {
            lines: lines.collect(),
            used: BTreeSet::new(),
            failing: BTreeMap::new(),
            agreeing: 0,
            listed: 0,
            failed: 0,
        }
    }

    /// Counts a case with what was found in it.
    pub(crate) fn judge(&mut self, case: &str, found: &[Difference]) {
        let mut fine = true;
        for difference in found {
            let texts = || std::iter::once(case).chain(difference.at.iter().map(String::as_str));
            let line = self.lines.iter().position(|line| {
                assert_eq!(line.len(), texts().count(), "the columns of a difference");
                line.iter()
                    .zip(texts())
                    .all(|(pattern, text)| fits(pattern, text))
            });
            match line {
                Some(line) => drop(self.used.insert(line)),
                None => {
                    fine = false;
                    let cases = self.failing.entry(difference.shown.clone()).or_default();
                    cases.push(case.to_owned());
                }
            }
        }
        match (fine, found.is_empty()) {
            (true, true) => self.agreeing += 1,
            (true, false) => self.listed += 1,
            (false, _) => self.failed += 1,
        }
    }

    /// Says what was found, and fails where the list and the findings are not the same.
    pub(crate) fn finish(self, compared: &str) {
        eprintln!(
            "{compared}: {} agree, {} differ as allowed, {} fail",
            self.agreeing, self.listed, self.failed
        );
        for (what, cases) in &self.failing {
            eprintln!("{what}\t{}\t{}", cases.len(), cases.join(" "));
        }
        let lines = self.lines.iter().enumerate();
        let stale: Vec<_> = lines
            .filter(|(at, _)| !self.used.contains(at))
            .map(|(_, line)| line.join("\t"))
            .collect();
        assert!(
            self.failing.is_empty(),
            "differences that are not in the list"
        );
        assert!(stale.is_empty(), "lines that allow nothing: {stale:#?}");
    }
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
