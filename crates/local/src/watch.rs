//! Files that are watched: what changed in them since they were applied.
//!
//! [`Watch::poll`] looks at times and lengths, and reads only when they changed and then stayed for one more look:
//! an editor is not done in one write. A document that vanishes from its file is to be deleted; while something
//! is wrong with any of the files nothing changes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::files::{self, Source};

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

/// What is to be done after a change.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// Documents that are new or different, in the order of application, each with its file.
    pub apply: Vec<(String, Value)>,
    /// Documents that vanished, the last applied first.
    pub delete: Vec<Value>,
    /// What is wrong with the files; then there is nothing to do.
    pub problems: Vec<String>,
}

/// Files and what was applied of them.
#[derive(Debug)]
pub struct Watch {
    paths: Vec<PathBuf>,
    /// State that was acted upon.
    known: BTreeMap<PathBuf, Stamp>,
    /// State at the last look.
    looked: BTreeMap<PathBuf, Stamp>,
    /// Documents of the last good state, in the order of application.
    documents: Vec<Value>,
}

impl Watch {
    /// Watches `paths`, of which `sources` were read. Pipes and devices cannot be read twice and are left out;
    /// their documents stay.
    #[must_use]
    pub fn new(paths: &[PathBuf], sources: &[Source]) -> Self {
        let watched = |path: &&PathBuf| fs::metadata(path).is_ok_and(|m| m.is_file() || m.is_dir());
        let paths: Vec<PathBuf> = paths.iter().filter(watched).cloned().collect();
        let known = stamps(&paths);
        let ours = |source: &&Source| known.contains_key(Path::new(&source.path));
        let documents = sources.iter().filter(ours);
        Self {
            documents: documents.map(|s| s.document.value.clone()).collect(),
            looked: known.clone(),
            known,
            paths,
        }
    }

    /// Whether there is anything to watch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Looks once; says what to do when something changed since the last time.
    pub fn poll(&mut self) -> Option<Change> {
        let now = stamps(&self.paths);
        let settled = now == self.looked;
        self.looked = now;
        if !settled || self.looked == self.known {
            return None;
        }
        self.known.clone_from(&self.looked);
        let (sources, errors) = files::read_each(&self.paths);
        let mut problems: Vec<String> = errors
            .iter()
            .map(|error| crate::report::chain(error))
            .collect();
        problems.extend(crate::hooks::review(&sources));
        if !problems.is_empty() {
            return Some(Change {
                problems,
                ..Change::default()
            });
        }
        Some(self.change(&sources))
    }

    fn change(&mut self, sources: &[Source]) -> Change {
        let before: HashMap<String, &Value> =
            self.documents.iter().map(|d| (identity(d), d)).collect();
        let after: HashMap<String, &Value> = sources
            .iter()
            .map(|s| (identity(&s.document.value), &s.document.value))
            .collect();
        let differs = |value: &Value| before.get(&identity(value)) != Some(&value);
        let apply = sources
            .iter()
            .filter(|source| differs(&source.document.value))
            .map(|source| (source.path.clone(), source.document.value.clone()));
        let vanished = |value: &&Value| !after.contains_key(&identity(value));
        let change = Change {
            apply: apply.collect(),
            delete: self
                .documents
                .iter()
                .rev()
                .filter(vanished)
                .cloned()
                .collect(),
            problems: Vec::new(),
        };
        self.documents = sources.iter().map(|s| s.document.value.clone()).collect();
        change
    }
}

/// Stamps of files, and of the manifests in directories.
fn stamps(paths: &[PathBuf]) -> BTreeMap<PathBuf, Stamp> {
    let mut found = BTreeMap::new();
    // What is not there has no stamp; reading it says so.
    for file in paths
        .iter()
        .filter_map(|path| files::expand(path).ok())
        .flatten()
    {
        if let Ok(metadata) = fs::metadata(&file) {
            let stamp = Stamp {
                modified: metadata.modified().ok(),
                length: metadata.len(),
            };
            found.insert(file, stamp);
        }
    }
    found
}

/// Group, kind, namespace and name: what one object is known by.
fn identity(value: &Value) -> String {
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let metadata = &value["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let name = metadata["name"].as_str().unwrap_or_default();
    let kind = value["kind"].as_str().unwrap_or_default();
    format!("{group}/{kind}/{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &str, value: &str) -> String {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  k: {value}\n---\n"
        )
    }

    fn names(documents: &[Value]) -> Vec<&str> {
        documents
            .iter()
            .filter_map(|document| document["metadata"]["name"].as_str())
            .collect()
    }

    /// Polls until a change was seen and had time to settle.
    fn next(watch: &mut Watch) -> Option<Change> {
        (0..3).find_map(|_| watch.poll())
    }

    #[test]
    fn changes_of_files_are_told_once_they_settled() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, map("one", "x") + &map("two", "x")).unwrap();
        let paths = [dir.path().to_owned()];
        let sources = files::read(&paths).unwrap_or_default();
        let mut watch = Watch::new(&paths, &sources);
        assert_eq!(next(&mut watch), None);

        fs::write(&file, map("two", "changed") + &map("three", "x")).unwrap();
        let change = next(&mut watch).unwrap();
        let applied: Vec<Value> = change
            .apply
            .iter()
            .map(|(_, value)| value.clone())
            .collect();
        assert_eq!(names(&applied), ["two", "three"]);
        assert_eq!(names(&change.delete), ["one"]);

        fs::write(&file, "kind: [").unwrap();
        let change = next(&mut watch).unwrap();
        assert!(change.apply.is_empty() && change.delete.is_empty());
        assert!(change.problems[0].contains("a.yaml:1:7: "), "{change:?}");
        assert_eq!(next(&mut watch), None);

        fs::write(&file, map("two", "changed")).unwrap();
        let change = next(&mut watch).unwrap();
        assert_eq!(names(&change.delete), ["three"]);
        assert!(change.apply.is_empty());

        fs::write(dir.path().join("b.yaml"), map("four", "x")).unwrap();
        assert_eq!(next(&mut watch).unwrap().apply.len(), 1);
        fs::remove_file(dir.path().join("b.yaml")).unwrap();
        assert_eq!(names(&next(&mut watch).unwrap().delete), ["four"]);
    }

    #[test]
    fn a_named_file_that_vanishes_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a.yaml")];
        fs::write(&paths[0], map("one", "x")).unwrap();
        let sources = files::read(&paths).unwrap_or_default();
        let mut watch = Watch::new(&paths, &sources);
        fs::remove_file(&paths[0]).unwrap();
        let change = next(&mut watch).unwrap();
        assert!(change.delete.is_empty());
        assert!(change.problems[0].starts_with("cannot read "), "{change:?}");
    }
}
