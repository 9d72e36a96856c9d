//! The configuration as a document that says everything, also what was added.

use serde_json::{Map, Value, json};

use super::{API_VERSION, Config, KIND, resolve};

impl Config {
    /// The effective configuration: every plugin, profile and source, those that were added included.
    #[must_use]
    pub fn effective(&self) -> Value {
        let name = |index: usize| self.plugins[index].name.clone();
        let plugins: Vec<Value> = self
            .plugins
            .iter()
            .map(|plugin| {
                let mut out = Map::new();
                out.insert("type".into(), plugin.kind.clone().into());
                out.insert("name".into(), plugin.name.clone().into());
                if let Some(parameters) = resolve::given(plugin) {
                    out.insert("parameters".into(), parameters.clone());
                }
                Value::Object(out)
            })
            .collect();
        let profiles: Vec<Value> = self
            .profiles
            .iter()
            .map(|profile| {
                // What both filters and scores is one entry of the document.
                let weight = |index: usize| {
                    let scorer = profile.scorers.iter().find(|(scorer, _)| *scorer == index);
                    scorer.map(|(_, weight)| *weight)
                };
                let filters = profile.filters.iter().map(|index| match weight(*index) {
                    Some(weight) => json!({"pluginRef": name(*index), "weight": weight}),
                    None => json!({"pluginRef": name(*index)}),
                });
                let scorers = profile
                    .scorers
                    .iter()
                    .filter(|(index, _)| !profile.filters.contains(index))
                    .map(|(index, weight)| json!({"pluginRef": name(*index), "weight": weight}));
                let picker = std::iter::once(json!({"pluginRef": name(profile.picker)}));
                json!({
                    "name": profile.name,
                    "plugins": filters.chain(scorers).chain(picker).collect::<Vec<_>>(),
                })
            })
            .collect();
        let sources: Vec<Value> = self
            .sources
            .iter()
            .map(|source| {
                let extractors: Vec<Value> = source
                    .extractors
                    .iter()
                    .map(|i| json!({"pluginRef": name(*i)}))
                    .collect();
                json!({"pluginRef": name(source.plugin), "extractors": extractors})
            })
            .collect();
        json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "featureGates": [
                format!("flowControl={}", self.flow.enabled),
                format!("haPopulateNonLeaderDatastore={}", self.warm_followers),
            ],
            "plugins": plugins,
            "schedulingProfiles": profiles,
            "dataLayer": {"sources": sources},
            "flowControl": {
                "saturationDetector": {"pluginRef": name(self.detector)},
            },
        })
    }
}
