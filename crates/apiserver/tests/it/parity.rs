//! Our answers against those of a real Kubernetes API server, step by step.
//!
//! The steps are in `testdata/parity/AREA.yaml`, the real server's answers next to them in `AREA.json`; the
//! README there says how they are recorded. Where `WEIR_TEST_KUBECONFIG` names a real server, the steps run
//! against it too, so that a recording that is no longer true is found.

mod normal;
mod run;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::kit::Store;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/parity")
}

async fn check(area: &str) {
    let steps = run::load(&directory().join(format!("{area}.yaml")));
    let file = directory().join(format!("{area}.json"));
    if let Some(real) = std::env::var_os("WEIR_TEST_KUBECONFIG") {
        let client = weir_runtime::client::from_kubeconfig(Path::new(&real))
            .await
            .unwrap();
        let answers = run::run(&client, area, &steps).await;
        if std::env::var_os("WEIR_RECORD_PARITY").is_some() {
            let text = serde_json::to_string_pretty(&answers).unwrap();
            std::fs::write(&file, text + "\n").unwrap();
        } else {
            let recorded = read(&file);
            let mut differences = run::differences(&steps, &recorded, &answers);
            // The original itself is not always of one mind there.
            let known = Known::read(area);
            differences.retain(|(place, _)| !known.covers(place));
            assert!(
                differences.is_empty(),
                "{area}: the recording differs from the real server\n{differences:#?}"
            );
        }
    }
    let store = Store::start().await;
    let answers = run::run(&store.client().await, area, &steps).await;
    let differences = run::differences(&steps, &read(&file), &answers);
    let known = Known::read(area);
    if std::env::var_os("WEIR_ACCEPT_PARITY").is_some() {
        let fresh = differences.iter().filter(|(place, _)| !known.covers(place));
        let places: std::collections::BTreeSet<&str> = fresh
            .map(|(place, _)| {
                place
                    .split_inclusive("/managedFields")
                    .next()
                    .unwrap_or(place)
            })
            .collect();
        let lines: String = places
            .iter()
            .map(|place| format!("{area} | {place} | open\n"))
            .collect();
        std::fs::write(
            std::env::temp_dir().join(format!("parity-{area}.txt")),
            lines,
        )
        .unwrap();
        return;
    }
    let fresh: Vec<String> = differences
        .iter()
        .filter(|(place, _)| !known.covers(place))
        .map(|(place, line)| format!("{place}\n  {line}"))
        .collect();
    assert!(
        fresh.is_empty(),
        "{area}: {} differences (- real, + ours)\n{}",
        fresh.len(),
        fresh.join("\n")
    );
    for entry in &known.0 {
        assert!(
            differences.iter().any(|(place, _)| begins(place, entry)),
            "{area}: this is no difference any more, take it out of known.txt: {entry}"
        );
    }
}

/// Differences that are there: on purpose, or not yet mended. Each line of `known.txt` says which.
struct Known(Vec<String>);

impl Known {
    fn read(area: &str) -> Self {
        let text = std::fs::read_to_string(directory().join("known.txt")).unwrap();
        let mut entries = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (place, reason) = line.rsplit_once(" | ").unwrap();
            assert!(!reason.is_empty(), "no reason: {line}");
            let (of, place) = place.split_once(" | ").unwrap();
            if of == area {
                entries.push(place.to_owned());
            }
        }
        Self(entries)
    }

    fn covers(&self, place: &str) -> bool {
        self.0.iter().any(|entry| begins(place, entry))
    }
}

/// True when `place` begins as `entry` says, in which `*` stands for any text.
fn begins(place: &str, entry: &str) -> bool {
    let (first, rest) = entry
        .split_once('*')
        .map_or((entry, None), |(a, b)| (a, Some(b)));
    let Some(left) = place.strip_prefix(first) else {
        return false;
    };
    rest.is_none_or(|rest| {
        (0..=left.len()).any(|at| left.is_char_boundary(at) && begins(&left[at..], rest))
    })
}

fn read(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

macro_rules! areas {
    ($($area:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $area() {
                check(stringify!($area)).await;
            }
        )*
    };
}

areas!(create change apply remove list table custom);
