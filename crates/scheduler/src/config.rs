//! `EndpointPickerConfig`: from text to a checked, complete configuration.
//!
//! ```text
//! text -> documents -> plugins (read, types) -> references and defaults (resolve) -> Config
//! ```
//! Reading is strict where a mistake would be silent (unknown fields, duplicate keys, references to nothing) and
//! lenient where presets of older generations need it (old API group, old names, parameters that moved). All problems
//! are reported at once, each with its path and its place in the file.

mod effective;
mod engine_read;
mod fields;
mod flow;
pub mod media;
mod media_read;
mod plugins;
mod precise_read;
mod read;
mod resolve;
pub mod settings;
mod types;
pub mod units;

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use weir_manifest::Document;

use fields::{Fields, Report};
use settings::{FileDiscovery, HttpSource, Parser, Reporter, Settings, UtilizationDetector};

use crate::request::Headers;

pub use fields::Problem;
pub use flow::{Band, FairnessPolicy, FlowControl, OrderingPolicy};

/// A complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Every plugin, declared ones first.
    pub plugins: Vec<Plugin>,
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// The profile handler, an index of `plugins`.
    pub handler: usize,
    /// The saturation detector, an index of `plugins`.
    pub detector: usize,
    /// Flow control; also with the gate off.
    pub flow: FlowControl,
    /// Readers of requests, in order.
    pub parsers: Vec<Parser>,
    /// What is scraped, and by what it is read.
    pub sources: Vec<Source>,
    /// Endpoints come from a file.
    pub discovery: Option<FileDiscovery>,
    /// Followers watch and scrape as the leader does.
    pub warm_followers: bool,
    /// What is accepted but should be changed.
    pub warnings: Vec<Problem>,
    /// What is accepted but has no effect in this build; for status and logs.
    pub notices: Vec<String>,
}

/// A plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its type as written.
    pub kind: String,
    /// What its parameters become.
    pub settings: Settings,
    /// Its parameters as written.
    pub parameters: Option<Value>,
    /// Not in the document.
    pub injected: bool,
}

/// A scheduling profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its filters, in order; indices of the configuration's plugins.
    pub filters: Vec<usize>,
    /// Its scorers and their weights.
    pub scorers: Vec<(usize, f64)>,
    /// Its picker.
    pub picker: usize,
}

/// A source of data about endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The source, an index of the configuration's plugins.
    pub plugin: usize,
    /// What reads it.
    pub extractors: Vec<usize>,
}

/// What is decided outside of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Alpha plugins may be used.
    pub experimental: bool,
    /// Flags of older generations that change the default metrics source.
    pub scrape: Scrape,
}

/// Changes to the default metrics source by flags of older generations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrape {
    /// Over TLS.
    pub https: Option<bool>,
    /// Another path.
    pub path: Option<String>,
    /// Another port.
    pub port: Option<u16>,
    /// Whether certificates go unchecked.
    pub insecure: Option<bool>,
    /// Names of vLLM's metrics: waiting, running, KV usage, adapters, cache.
    pub names: [Option<String>; 5],
}

/// Every problem of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// API versions that are read: the current one, and the one of older generations.
const API_VERSION: &str = "llm-d.ai/v1alpha1";
const OLD_API_VERSION: &str = "inference.networking.x-k8s.io/v1alpha1";
const KIND: &str = "EndpointPickerConfig";

/// Headers in which agents name their session.
const AGENT_HEADERS: [&str; 4] = [
    "x-claude-code-session-id",
    "x-session-affinity",
    "session-id",
    "session_id",
];

/// The configuration without a document.
pub const DEFAULT: &str = "\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: prefix-cache-scorer
    weight: 3
  - pluginRef: max-score-picker
";

impl Plugin {
    /// Its type as the metrics have it.
    #[must_use]
    pub fn metric_type(&self) -> &str {
        match self.kind.as_str() {
            "decode-filter" | "prefill-filter" | "encode-filter" => "by-label",
            "prefill-header-handler" => "disagg-headers-handler",
            kind => kind,
        }
    }
}

impl Config {
    /// Reads a document; an empty text is the default configuration. `source` is the name of the file for messages.
    ///
    /// # Errors
    /// With every problem of the document.
    pub fn parse(text: &str, source: &str, options: &Options) -> Result<Self, ConfigErrors> {
        let documents = weir_manifest::parse(text, source).map_err(|error| {
            ConfigErrors(vec![Problem {
                place: format!(
                    "{}:{}:{}",
                    error.source_name, error.position.line, error.position.column
                ),
                path: String::new(),
                message: error.what,
            }])
        })?;
        match documents.as_slice() {
            [] => Self::parse_default(options),
            [document] => Self::from_value(&document.value, Some(document), options),
            [_, second, ..] => {
                let mut report = Report::new(Some(second));
                report.error("", "there is more than one document; keep one");
                Err(ConfigErrors(report.finish().0))
            }
        }
    }

    /// The configuration without a document.
    ///
    /// # Errors
    /// When the options contradict it.
    pub fn parse_default(options: &Options) -> Result<Self, ConfigErrors> {
        Self::parse(DEFAULT, "the built-in configuration", options)
    }

    /// Reads a value that is part of another document, such as the inline configuration of a service.
    ///
    /// # Errors
    /// With every problem of the value; they have paths but no places.
    pub fn parse_value(value: &Value, options: &Options) -> Result<Self, ConfigErrors> {
        Self::from_value(value, None, options)
    }

    fn from_value(
        value: &Value,
        document: Option<&Document>,
        options: &Options,
    ) -> Result<Self, ConfigErrors> {
        let mut report = Report::new(document);
        let mut fields = Fields::new(Some(value), String::new(), &mut report);
        version(&mut fields, &mut report);
        let config = resolve::resolve(&mut fields, options, &mut report);
        fields.finish(&mut report);
        let (errors, warnings) = report.finish();
        match config {
            Some(config) if errors.is_empty() => Ok(Self { warnings, ..config }),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// Gives thresholds to the default detector, as environment variables of the first generations do. One that the
    /// document declares keeps its own.
    pub fn seed_detector(&mut self, thresholds: UtilizationDetector) {
        let detector = &mut self.plugins[self.detector];
        if detector.injected && detector.kind == resolve::DETECTOR {
            detector.parameters = Some(json!({
                "queueDepthThreshold": thresholds.queue,
                "kvCacheUtilThreshold": thresholds.kv,
                "metricsStalenessThreshold": format!("{}s", thresholds.staleness.as_secs_f64()),
                "headroom": thresholds.headroom,
            }));
            detector.settings = Settings::UtilizationDetector(thresholds);
        }
    }

    /// The plugin with a name.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&Plugin> {
        self.plugins.iter().find(|plugin| plugin.name == name)
    }

    /// The source of metrics, if one is bound.
    #[must_use]
    pub fn metrics_source(&self) -> Option<&HttpSource> {
        self.sources
            .iter()
            .find_map(|source| match &self.plugins[source.plugin].settings {
                Settings::MetricsSource(source) => Some(source),
                _ => None,
            })
    }

    /// The flow that an agent's own session header names, where a plugin looks for it. A fairness header comes first.
    #[must_use]
    pub fn agent_flow<'h>(&self, headers: &'h dyn Headers) -> Option<&'h str> {
        let additional = self
            .plugins
            .iter()
            .find_map(|plugin| match &plugin.settings {
                Settings::AgentIdentity { additional } => Some(additional),
                _ => None,
            })?;
        AGENT_HEADERS
            .iter()
            .copied()
            .chain(additional.iter().map(String::as_str))
            .find_map(|name| headers.header(name).filter(|id| !id.is_empty()))
    }

    /// What is computed of every answer.
    pub fn reporters(&self) -> impl Iterator<Item = &Reporter> {
        self.plugins
            .iter()
            .filter_map(|plugin| match &plugin.settings {
                Settings::Reporter(reporter) => Some(&**reporter),
                _ => None,
            })
    }

    /// The age above which a detector takes metrics for missing.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        match &self.plugins[self.detector].settings {
            Settings::UtilizationDetector(detector) => detector.staleness,
            _ => UtilizationDetector::default().staleness,
        }
    }
}

fn version(fields: &mut Fields<'_>, report: &mut Report<'_>) {
    match fields.string("apiVersion", report) {
        None | Some(API_VERSION) => {}
        Some(OLD_API_VERSION) => report.warn(
            "/apiVersion",
            format!("{OLD_API_VERSION} is deprecated; use {API_VERSION}"),
        ),
        Some(other) => report.error(
            "/apiVersion",
            format!("must be {API_VERSION} (or {OLD_API_VERSION}), got {other:?}"),
        ),
    }
    match fields.string("kind", report) {
        None | Some(KIND) => {}
        Some(other) => report.error("/kind", format!("must be {KIND}, got {other:?}")),
    }
}

#[cfg(test)]
mod tests;
