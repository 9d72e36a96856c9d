//! Every configuration that manifests in the field carry loads: inline in services, as text in the picker's arguments.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use weir_scheduler::config::Options;
use weir_scheduler::{Config, Scheduler};

const KIND: &str = "EndpointPickerConfig";

/// The configurations in a value, as text, with the file they were seen in first.
fn collect(value: &Value, file: &str, found: &mut BTreeMap<String, String>) {
    match value {
        Value::String(text) if text.contains(KIND) && text.contains("plugins") => {
            // An argument list may hold the flag and the document in one.
            let start = text
                .find("apiVersion")
                .or_else(|| text.find('{'))
                .unwrap_or(0);
            found
                .entry(text[start..].to_owned())
                .or_insert_with(|| file.to_owned());
        }
        Value::Object(map) => {
            if map.get("kind").is_some_and(|kind| kind == KIND) {
                let text = value.to_string();
                found.entry(text).or_insert_with(|| file.to_owned());
            }
            map.values().for_each(|value| collect(value, file, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, file, found)),
        _ => {}
    }
}

fn walk(folder: &Path, found: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if !text.contains(KIND) {
                continue;
            }
            let name = path.display().to_string();
            for document in weir_manifest::parse(&text, &name).unwrap_or_default() {
                collect(&document.value, &name, found);
            }
        }
    }
}

#[test]
fn configurations_in_manifests_load() {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let mut found = BTreeMap::new();
    for folder in [
        "upstream-samples",
        "upstream-presets",
        "guide",
        "goldens/controller",
    ] {
        walk(&Path::new(&shared).join(folder), &mut found);
    }
    if found.is_empty() {
        eprintln!("SKIPPED: there are no manifests in {shared}");
        return;
    }
    let options = Options {
        experimental: true,
        ..Options::default()
    };
    // A made-up parameter, which the controller passes on and a picker refuses.
    found.retain(|text, _| !text.contains("a: 1") && !text.contains("\"a\":1"));
    let mut problems = Vec::new();
    for (text, file) in &found {
        match Config::parse(text, "c", &options) {
            Ok(config) => drop(Scheduler::new(config.into())),
            Err(errors) => problems.push(format!("{file}: {errors}\n{text}")),
        }
    }
    assert!(found.len() > 10, "{} configurations", found.len());
    assert!(
        problems.is_empty(),
        "{} of {}:\n{}",
        problems.len(),
        found.len(),
        problems.join("\n\n")
    );
}
