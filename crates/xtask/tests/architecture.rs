//! Holds the workspace to the map in `crates/README.md`: who may use whom, and what must not be linked.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are not tests to clippy"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Rank of every crate, and what it may use inside its rank.
const TABLE: &[(&str, u8, &[&str])] = &[
    ("manifest", 0, &[]),
    ("api", 0, &["schema", "merge"]),
    ("schema", 0, &[]),
    ("merge", 0, &["schema"]),
    ("template", 0, &[]),
    ("vllm", 0, &[]),
    ("openai", 0, &[]),
    ("promtext", 0, &[]),
    ("kv", 0, &[]),
    ("compose", 1, &[]),
    ("plan", 1, &["compose"]),
    ("review", 1, &["compose", "plan"]),
    ("engine-model", 1, &[]),
    ("scheduler", 1, &[]),
    ("extproc", 1, &[]),
    ("runtime", 2, &[]),
    ("proxy", 2, &["runtime"]),
    ("discovery", 2, &["runtime"]),
    ("controller", 2, &["runtime"]),
    ("gateway", 2, &["runtime", "proxy", "discovery"]),
    ("sidecar", 2, &["runtime", "proxy", "discovery"]),
    ("engine", 2, &["runtime", "proxy"]),
    ("epp", 2, &["runtime", "discovery"]),
    ("apiserver", 2, &["runtime"]),
    ("workloads", 2, &["runtime"]),
    ("node", 2, &["runtime", "discovery"]),
    ("local", 3, &[]),
    ("weir", 3, &["local"]),
];

/// Only for tests and for generated files: nothing that ships may use them.
const TOOLS: &[&str] = &["testkit", "load", "xtask"];

/// One cryptography provider, no C library of it, no OpenSSL.
const NOT_LINKED: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "openssl",
    "openssl-sys",
    "native-tls",
];

/// A pure crate has no runtime and no socket.
const NOT_IN_PURE_CRATES: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "kube-client",
    "kube-runtime",
    "reqwest",
    "axum",
];

/// Nor does it ask for these in what ships.
const WORLD: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "std::fs",
    "std::env::",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "rand::",
];

fn metadata(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline"])
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The name of a crate as the table has it.
fn short(package: &str) -> &str {
    package.strip_prefix("weir-").unwrap_or(package)
}

fn rank(name: &str) -> Option<u8> {
    TABLE.iter().find(|row| row.0 == name).map(|row| row.1)
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().unwrap();
    let members: BTreeSet<&str> = packages
        .iter()
        .map(|p| short(p["name"].as_str().unwrap()))
        .collect();
    let known: BTreeSet<&str> = TABLE
        .iter()
        .map(|row| row.0)
        .chain(TOOLS.iter().copied())
        .collect();
    assert_eq!(
        members, known,
        "crates of the workspace against the table; change both, and crates/README.md"
    );

    let mut problems = Vec::new();
    for package in packages {
        let name = short(package["name"].as_str().unwrap());
        let Some((_, own, allowed)) = TABLE.iter().find(|row| row.0 == name) else {
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = short(dependency["name"].as_str().unwrap());
            let is_member = dependency["path"].is_string();
            // What only tests use is free; what builds a crate is part of it.
            if !is_member || dependency["kind"] == "dev" {
                continue;
            }
            match rank(used) {
                Some(lower) if lower < *own => {}
                Some(same) if same == *own && allowed.contains(&used) => {}
                _ => problems.push(format!("{name} uses {used}")),
            }
        }
    }
    assert!(
        problems.is_empty(),
        "not in the table: {}",
        problems.join(", ")
    );
}

#[test]
fn the_map_says_the_same() {
    let map =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let rows: BTreeSet<(String, String, String)> = map
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let &[_, rank, name, _, uses, _] = cells.as_slice() else {
                return None;
            };
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            Some((rank.to_owned(), name.to_owned(), uses.to_owned()))
        })
        .collect();
    let tools = TOOLS
        .iter()
        .map(|name| ("tools".to_owned(), (*name).to_owned(), String::new()));
    let table = TABLE
        .iter()
        .map(|(name, rank, uses)| (rank.to_string(), (*name).to_owned(), uses.join(", ")));
    let table: BTreeSet<_> = table.chain(tools).collect();
    assert_eq!(
        rows, table,
        "crates/README.md against the table of this test"
    );
}

/// Rust files below a folder.
fn sources(folder: String) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                folders.push(name);
            } else if name.ends_with(".rs") {
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn pure_crates_ask_the_world_nothing() {
    let mut problems = Vec::new();
    for (name, _, _) in TABLE.iter().filter(|row| row.1 <= 1) {
        for (path, text) in sources(format!("{}/../{name}/src", env!("CARGO_MANIFEST_DIR"))) {
            // Tests stand at the end of a file or in one of their own.
            let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
            if path.ends_with("/tests.rs") {
                continue;
            }
            let used = WORLD.iter().filter(|word| text[..tests].contains(**word));
            problems.extend(used.map(|word| format!("{path}: {word}")));
        }
    }
    assert!(
        problems.is_empty(),
        "time, randomness, files and environment are arguments in ranks 0 and 1: {}",
        problems.join(", ")
    );
}

/// In unit tests of a crate that the kit is built from, the kit's types would be those of another build of it.
#[test]
fn the_kit_is_not_used_by_unit_tests_of_what_it_is_made_of() {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().unwrap();
    let uses: BTreeMap<&str, Vec<&str>> = packages
        .iter()
        .map(|package| {
            let normal = package["dependencies"].as_array().unwrap().iter();
            let members = normal.filter(|d| d["path"].is_string() && d["kind"] != "dev");
            let names = members
                .map(|d| short(d["name"].as_str().unwrap()))
                .collect();
            (short(package["name"].as_str().unwrap()), names)
        })
        .collect();
    let mut parts = BTreeSet::new();
    let mut open = vec!["testkit"];
    while let Some(at) = open.pop() {
        open.extend(uses[at].iter().filter(|next| parts.insert(**next)));
    }
    let mut problems = Vec::new();
    for name in parts {
        let files = sources(format!("{}/../{name}/src", env!("CARGO_MANIFEST_DIR")));
        let users = files
            .into_iter()
            .filter(|file| file.1.contains("weir_testkit"));
        problems.extend(users.map(|file| file.0));
    }
    assert!(
        problems.is_empty(),
        "move to tests/: {}",
        problems.join(", ")
    );
}

#[test]
fn what_must_not_be_linked_is_not() {
    let metadata = metadata(&["--filter-platform=x86_64-unknown-linux-gnu"]);
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                package["id"].as_str().unwrap(),
                package["name"].as_str().unwrap(),
            )
        })
        .collect();
    let mut uses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let normal = node["deps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                kinds.iter().any(|kind| kind["kind"].is_null())
            });
        let ids = normal
            .map(|dependency| dependency["pkg"].as_str().unwrap())
            .collect();
        uses.insert(node["id"].as_str().unwrap(), ids);
    }
    let mut problems = Vec::new();
    for member in metadata["workspace_members"].as_array().unwrap() {
        let id = member.as_str().unwrap();
        let name = short(names[id]);
        let mut reached = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(at) = open.pop() {
            open.extend(uses[at].iter().filter(|next| reached.insert(next)));
        }
        let reached: BTreeSet<&str> = reached.into_iter().map(|id| names[id]).collect();
        problems.extend(
            NOT_LINKED
                .iter()
                .filter(|n| reached.contains(**n))
                .map(|n| format!("{name} links {n}")),
        );
        if rank(name).is_some_and(|rank| rank <= 1) {
            let impure = NOT_IN_PURE_CRATES.iter().filter(|n| reached.contains(**n));
            problems.extend(impure.map(|n| format!("{name} is pure and links {n}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join(", "));
}

#[test]
fn generated_files_are_up_to_date() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["crds", "--check"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
