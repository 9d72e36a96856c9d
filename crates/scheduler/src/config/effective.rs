//! The configuration as a document that says everything, also what was added.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::settings::Settings;
use super::{API_VERSION, Band, Config, FairnessPolicy, KIND, OrderingPolicy};

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
                if let Some(parameters) = &plugin.parameters {
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
            "requestHandler": {"parsers": self.effective_parsers()},
            "dataLayer": self.effective_data(&sources),
            "flowControl": self.effective_flow(),
        })
    }

    fn name_of(&self, found: impl Fn(&Settings) -> bool) -> Option<&str> {
        let plugin = self.plugins.iter().find(|plugin| found(&plugin.settings));
        plugin.map(|plugin| plugin.name.as_str())
    }

    fn effective_parsers(&self) -> Vec<Value> {
        let parsers = self.parsers.iter();
        parsers
            .filter_map(|parser| self.name_of(|s| matches!(s, Settings::Parser(p) if p == parser)))
            .map(|name| json!({"pluginRef": name}))
            .collect()
    }

    fn effective_data(&self, sources: &[Value]) -> Value {
        let mut out = json!({"sources": sources});
        let file = self.discovery.as_ref().and_then(|file| {
            self.name_of(|settings| matches!(settings, Settings::FileDiscovery(f) if f == file))
        });
        if let Some(name) = file {
            out["discovery"] = json!({"pluginRef": name});
        }
        out
    }

    fn effective_flow(&self) -> Value {
        let flow = &self.flow;
        let fairness = |policy: FairnessPolicy| {
            self.name_of(|settings| match policy {
                FairnessPolicy::GlobalStrict => *settings == Settings::GlobalStrictFairness,
                FairnessPolicy::RoundRobin => *settings == Settings::RoundRobinFairness,
            })
        };
        let ordering = |policy: OrderingPolicy| {
            self.name_of(|settings| match policy {
                OrderingPolicy::Fcfs => *settings == Settings::FcfsOrdering,
                OrderingPolicy::EarliestDeadline => *settings == Settings::EdfOrdering,
                OrderingPolicy::SloDeadline => *settings == Settings::SloDeadlineOrdering,
            })
        };
        let band = |band: &Band| {
            json!({
                "maxBytes": band.max_bytes,
                "maxRequests": band.max_requests,
                "fairnessPolicyRef": fairness(band.fairness),
                "orderingPolicyRef": ordering(band.ordering),
            })
        };
        let bands: Vec<Value> = flow
            .bands
            .iter()
            .map(|(priority, limits)| {
                let mut out = band(limits);
                out["priority"] = (*priority).into();
                out
            })
            .collect();
        let seconds = |ttl: Option<Duration>| format!("{}s", ttl.unwrap_or_default().as_secs_f64());
        let mut out = json!({
            "saturationDetector": {"pluginRef": self.plugins[self.detector].name},
            "defaultRequestTTL": seconds(flow.ttl),
            "noEndpointRequestTTL": seconds(flow.empty_ttl),
            "defaultPriorityBand": band(&flow.default_band),
            "defaultNegativePriorityBand": band(&flow.negative_band),
            "priorityBands": bands,
            "enableEviction": flow.eviction,
        });
        for (key, limit) in [
            ("maxBytes", flow.max_bytes),
            ("maxRequests", flow.max_requests),
        ] {
            if let Some(limit) = limit {
                out[key] = limit.into();
            }
        }
        let limit = |settings: &Settings| matches!(settings, Settings::StaticLimit { threshold } if (threshold - flow.ceiling).abs() < f64::EPSILON);
        if let Some(name) = self.name_of(limit) {
            out["usageLimitPolicyPluginRef"] = name.into();
        }
        out
    }
}
