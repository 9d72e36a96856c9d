//! The presets that this program carries, under their well-known names.

use std::sync::LazyLock;

use serde_json::Value;

use crate::Config;

const TEXTS: [&str; 2] = [
    include_str!("../../../presets/config-llm-template.yaml"),
    include_str!("../../../presets/config-llm-router-route.yaml"),
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
            spec: document.value.get("spec").cloned().unwrap_or(Value::Null),
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

#[cfg(test)]
mod tests {
    #[test]
    fn every_preset_file_parses() {
        assert_eq!(super::all().len(), super::TEXTS.len());
    }
}
