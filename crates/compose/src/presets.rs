//! The presets that this program carries, under their well-known names.

use std::sync::{Arc, LazyLock};

use weir_api::names::PRESET_PREFIX;
use weir_manifest::Document;

use crate::{Config, Spec};

const TEXTS: [&str; 14] = [
    include_str!("../../../presets/config-llm-decode-template.yaml"),
    include_str!("../../../presets/config-llm-decode-worker-data-parallel.yaml"),
    include_str!("../../../presets/config-llm-decode-worker-pipeline-parallel.yaml"),
    include_str!("../../../presets/config-llm-prefill-template.yaml"),
    include_str!("../../../presets/config-llm-prefill-worker-data-parallel.yaml"),
    include_str!("../../../presets/config-llm-prefill-worker-pipeline-parallel.yaml"),
    include_str!("../../../presets/config-llm-router-route.yaml"),
    include_str!("../../../presets/config-llm-scheduler-latency-predictor.yaml"),
    include_str!("../../../presets/config-llm-scheduler.yaml"),
    include_str!("../../../presets/config-llm-template.yaml"),
    include_str!("../../../presets/config-llm-tokenizer.yaml"),
    include_str!("../../../presets/config-llm-tracing.yaml"),
    include_str!("../../../presets/config-llm-worker-data-parallel.yaml"),
    include_str!("../../../presets/config-llm-worker-pipeline-parallel.yaml"),
];

static PRESETS: LazyLock<Vec<Config>> = LazyLock::new(|| {
    let documents = TEXTS
        .iter()
        .filter_map(|text| weir_manifest::parse(text, "preset").ok());
    documents
        .flatten()
        .map(|document| Config {
            name: document.value["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            namespace: String::new(),
            spec: Spec::of_object(Arc::new(document.value)),
        })
        .collect()
});

/// Returns all presets.
pub fn all() -> &'static [Config] {
    &PRESETS
}

/// Returns the preset whose name ends in `suffix`, such as `config-llm-template`.
pub fn find(suffix: &str) -> Option<&'static Config> {
    all().iter().find(|preset| preset.name.ends_with(suffix))
}

/// The preset files with positions, for those who ask where something stands. A preset of the name
/// `kserve-NAME` is the file `presets/NAME.yaml`.
static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let each = TEXTS.iter().zip(all()).filter_map(|(text, preset)| {
        let name = preset
            .name
            .strip_prefix(PRESET_PREFIX)
            .unwrap_or(&preset.name);
        weir_manifest::parse(text, &format!("presets/{name}.yaml")).ok()
    });
    each.flatten().collect()
});

/// Returns the file of the preset whose name ends in `suffix`.
pub fn document(suffix: &str) -> Option<&'static Document> {
    let is = |document: &&Document| {
        let name = document.value["metadata"]["name"].as_str();
        name.is_some_and(|name| name.ends_with(suffix))
    };
    DOCUMENTS.iter().find(is)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_preset_file_parses() {
        assert_eq!(super::all().len(), super::TEXTS.len());
    }
}
