//! The services that are measured.

use std::path::{Path, PathBuf};

use serde_json::Value;

const SMALL: &str = include_str!("../../testdata/bench/small.yaml");
const EVERYTHING: &str = include_str!("../../testdata/bench/everything.yaml");
/// By size of the manifest; below the shared data.
const LARGEST_SAMPLE: &str =
    "upstream-samples/llmisvc/agentic-tool-calling/nemotron-3-ultra-pd.yaml";

/// The service of this name; none when it is in shared data that is absent.
#[expect(clippy::print_stderr, reason = "what is left out is said")]
pub(crate) fn named(name: &str) -> Option<Value> {
    let text = match name {
        "small" => SMALL.to_owned(),
        "everything" => EVERYTHING.to_owned(),
        _ => {
            let shared = std::env::var_os("WEIR_SHARED").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
                PathBuf::from,
            );
            let Ok(text) = std::fs::read_to_string(shared.join(LARGEST_SAMPLE)) else {
                eprintln!("SKIPPED: {LARGEST_SAMPLE} is absent");
                return None;
            };
            text
        }
    };
    let mut documents = weir_manifest::parse(&text, name).expect("parses");
    Some(documents.remove(0).value)
}
