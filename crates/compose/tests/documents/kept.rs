//! Texts that are kept as files, one each, for people to review.
//!
//! `WEIR_BLESS=1 cargo test -p weir-compose --test documents` writes them anew; `git diff` then says what changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Set to write the files instead of comparing them.
const BLESS: &str = "WEIR_BLESS";

/// Compares every text with the file of its name in `directory`, which has no other file.
pub(crate) fn assert_kept(directory: &str, texts: &BTreeMap<String, String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/composed")
        .join(directory);
    if std::env::var_os(BLESS).is_some() {
        write(&root, texts);
    }
    let mut problems = Vec::new();
    for (name, text) in texts {
        let kept = fs::read_to_string(root.join(name)).unwrap_or_default();
        if let Some((number, (was, is))) = first_difference(&kept, text) {
            problems.push(format!("{name}:{number}\n  kept: {was}\n  now:  {is}"));
        }
    }
    for path in files(&root) {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_none_or(|name| !texts.contains_key(name)) {
            problems.push(format!("{}: nothing composes to it", path.display()));
        }
    }
    assert!(
        problems.is_empty(),
        "{}\nIf this is as it should be: {BLESS}=1 cargo test -p weir-compose --test documents",
        problems.join("\n")
    );
}

fn write(root: &Path, texts: &BTreeMap<String, String>) {
    fs::create_dir_all(root).expect("the directory can be made");
    for path in files(root) {
        fs::remove_file(path).expect("an old file can be removed");
    }
    for (name, text) in texts {
        fs::write(root.join(name), text).expect("the file can be written");
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// The number of the first line that is not the same, and both lines.
fn first_difference<'t>(kept: &'t str, now: &'t str) -> Option<(usize, (&'t str, &'t str))> {
    if kept == now {
        return None;
    }
    let ends = std::iter::repeat("(end)");
    let lines = kept
        .lines()
        .chain(ends.clone())
        .zip(now.lines().chain(ends));
    let lines = lines.take(kept.lines().count().max(now.lines().count()) + 1);
    (1..).zip(lines).find(|(_, (was, is))| was != is)
}
