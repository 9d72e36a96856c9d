//! The data layer: what scraped pages say about endpoints, and what the pool looks like on average.
//!
//! - [`engine`]: which metrics say what, by engine.
//! - [`Extractor`]: from a page to an endpoint's load. Only lines of wanted series are read, in place.
//! - [`averages`]: the pool's gauges.
//! - [`models`]: the list of models that an engine serves.

pub mod engine;

use std::time::Duration;

use serde_json::Value;
use weir_promtext::Sample;

use crate::config::Config;
use crate::config::settings::{CoreMetrics, Settings};
use crate::endpoint::{Adapters, Endpoint, Labels, Live, Snapshot};

pub use engine::{CacheInfo, Engine, MetricSpec};

/// Turns pages into load.
#[derive(Clone, Debug)]
pub struct Extractor {
    settings: CoreMetrics,
}

/// What became of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Values that were set.
    pub set: usize,
    /// What should be there and is not, or is no number.
    pub errors: Vec<&'static str>,
}

/// Mean and spread of a number over the pool, rounded to two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Average {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; 0 for one endpoint.
    pub deviation: f64,
}

/// The pool's gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Averages {
    /// Endpoints with fresh metrics; only these are in the averages.
    pub ready: usize,
    /// Share of the KV cache in use.
    pub kv_usage: Average,
    /// Waiting requests.
    pub waiting: Average,
    /// Running requests.
    pub running: Average,
}

/// Label of older generations that names the engine of a pod.
const OLD_ENGINE_LABEL: &str = "inference.networking.k8s.io/engine-type";
/// Label that tells the ranks of a data-parallel engine apart.
const RANK_LABEL: &str = "engine";

/// How several series become one number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Combine {
    Sum,
    Most,
    First,
}

/// A number that is looked for.
struct Gauge<'s> {
    spec: &'s MetricSpec,
    combine: Combine,
    found: Option<(f64, Option<i64>)>,
}

impl Extractor {
    /// The extractor of a configuration; `None` when it binds none.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        config
            .sources
            .iter()
            .flat_map(|source| &source.extractors)
            .find_map(|index| match &config.plugins[*index].settings {
                Settings::CoreMetrics(settings) => Some(Self {
                    settings: settings.clone(),
                }),
                _ => None,
            })
    }

    /// The engine of a pod, by its labels; a name that is not known is the default engine.
    #[must_use]
    pub fn engine(&self, labels: &Labels) -> Option<&Engine> {
        let find = |name: &str| self.settings.engines.iter().find(|e| e.name == name);
        labels
            .get(&self.settings.engine_label)
            .or_else(|| labels.get(OLD_ENGINE_LABEL))
            .and_then(find)
            .or_else(|| find(&self.settings.default_engine))
    }

    /// Reads a page of an endpoint. What is not on it keeps its last value.
    pub fn extract(&self, page: &str, endpoint: &Endpoint, now: Duration) -> Extracted {
        match self.engine(&endpoint.labels) {
            Some(engine) => engine.extract(page, &endpoint.live, now),
            None => Extracted::default(),
        }
    }
}

impl Engine {
    /// Reads a page into `live`.
    pub fn extract(&self, page: &str, live: &Live, now: Duration) -> Extracted {
        let mut wanted = Wanted::new(self);
        for line in page.lines() {
            wanted.line(line);
        }
        wanted.apply(live, now)
    }
}

/// What is looked for on a page, and what was found.
struct Wanted<'s, 'p> {
    engine: &'s Engine,
    waiting: Option<Gauge<'s>>,
    running: Option<Gauge<'s>>,
    kv_usage: Vec<Gauge<'s>>,
    block_size: Option<Gauge<'s>>,
    blocks: Option<Gauge<'s>>,
    /// The series with the largest value, which is the time at which it was written.
    lora: Option<Sample<'p>>,
    cache: Option<Sample<'p>>,
}

impl<'s, 'p> Wanted<'s, 'p> {
    fn new(engine: &'s Engine) -> Self {
        let gauge = |spec: &'s Option<MetricSpec>, combine| {
            spec.as_ref().map(|spec| Gauge::new(spec, combine))
        };
        Self {
            engine,
            waiting: gauge(&engine.waiting, Combine::Sum),
            running: gauge(&engine.running, Combine::Sum),
            kv_usage: engine
                .kv_usage
                .iter()
                .map(|spec| Gauge::new(spec, Combine::Most))
                .collect(),
            block_size: gauge(&engine.block_size, Combine::First),
            blocks: gauge(&engine.blocks, Combine::First),
            lora: None,
            cache: None,
        }
    }

    fn line(&mut self, line: &'p str) {
        // Most of a page is comments and histograms: they are told by their first bytes.
        if line.starts_with('#') {
            return;
        }
        let gauges = self
            .waiting
            .iter_mut()
            .chain(&mut self.running)
            .chain(&mut self.kv_usage)
            .chain(&mut self.block_size)
            .chain(&mut self.blocks);
        for gauge in gauges {
            if names(line, &gauge.spec.name)
                && let Some(sample) = weir_promtext::samples(line).next()
                && gauge.spec.matches(&sample)
            {
                gauge.take(&sample);
            }
        }
        if let Some(spec) = &self.engine.lora
            && let Some(sample) = read(line, spec)
            && self.lora.is_none_or(|held| sample.value > held.value)
        {
            self.lora = Some(sample);
        }
        if let Some(info) = &self.engine.cache_info
            && self.cache.is_none()
        {
            self.cache = read(line, &info.spec);
        }
    }

    fn apply(self, live: &Live, now: Duration) -> Extracted {
        let mut load = live.load();
        let mut out = Extracted::default();
        let mut set = |gauge: Option<Gauge<'_>>, what: &'static str| {
            let found = gauge?.found.map(|(value, _)| value);
            let value = found.filter(|value| value.is_finite());
            if value.is_some() {
                out.set += 1;
            } else {
                out.errors.push(what);
            }
            value
        };
        if let Some(value) = set(self.waiting, "waiting requests") {
            load.waiting = count(value);
        }
        if let Some(value) = set(self.running, "running requests") {
            load.running = count(value);
        }
        // Under the first name that is found.
        let mut usage = self.kv_usage.into_iter();
        let first = usage.next();
        let usage = match first {
            Some(first) if first.found.is_none() => {
                usage.find(|gauge| gauge.found.is_some()).or(Some(first))
            }
            first => first,
        };
        if let Some(value) = set(usage, "KV cache usage") {
            load.kv_usage = value.clamp(0.0, 1.0);
        }
        if let Some(value) = set(self.block_size, "block size") {
            load.block_size = count(value);
        }
        if let Some(value) = set(self.blocks, "number of blocks") {
            load.blocks = count(value);
        }
        if let Some(info) = &self.engine.cache_info {
            match self.cache {
                None => out.errors.push("cache configuration"),
                Some(sample) => {
                    let number = |label| sample.label(label).and_then(|text| text.parse().ok());
                    match (number(&info.block_size), number(&info.blocks)) {
                        (Some(size), Some(blocks)) => {
                            (load.block_size, load.blocks) = (size, blocks);
                            out.set += 1;
                        }
                        _ => {
                            load.block_size = 0;
                            out.errors.push("cache configuration");
                        }
                    }
                }
            }
        }
        if let Some(sample) = self.lora {
            let list = |label| {
                let names = sample.label(label).unwrap_or("").split(',').map(str::trim);
                names
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect()
            };
            live.store_adapters(Adapters {
                running: list("running_lora_adapters"),
                waiting: list("waiting_lora_adapters"),
                max: sample
                    .label("max_lora")
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(0),
            });
            out.set += 1;
        }
        if out.set > 0 {
            load.updated = Some(now);
        }
        live.store(&load);
        out
    }
}

impl<'s> Gauge<'s> {
    fn new(spec: &'s MetricSpec, combine: Combine) -> Self {
        // Whoever names a rank wants that one.
        let one = spec.labels.iter().any(|(label, _)| label == RANK_LABEL);
        Self {
            spec,
            combine: if one { Combine::First } else { combine },
            found: None,
        }
    }

    fn take(&mut self, sample: &Sample<'_>) {
        let (value, time) = (sample.value, sample.timestamp);
        self.found = Some(match self.found {
            None => (value, time),
            // With times the newest counts alone.
            Some((_, held)) if time > held => (value, time),
            Some((before, held)) if held.is_some() => (before, held),
            Some((before, held)) => match self.combine {
                Combine::Sum => (before + value, held),
                Combine::Most => (before.max(value), held),
                Combine::First => (before, held),
            },
        });
    }
}

/// Whether a line is a sample of a series with this name.
fn names(line: &str, name: &str) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with(['{', ' ', '\t']))
}

fn read<'p>(line: &'p str, spec: &MetricSpec) -> Option<Sample<'p>> {
    if !names(line, &spec.name) {
        return None;
    }
    weir_promtext::samples(line)
        .next()
        .filter(|sample| spec.matches(sample))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float turned into an integer saturates"
)]
fn count(value: f64) -> u32 {
    value as u32
}

/// The gauges of a pool, over the endpoints that were scraped within `staleness`.
#[must_use]
pub fn averages(snapshot: &Snapshot, now: Duration, staleness: Duration) -> Averages {
    let loads: Vec<_> = snapshot
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.live.load())
        .filter(|load| {
            load.updated
                .is_some_and(|updated| now.saturating_sub(updated) <= staleness)
        })
        .collect();
    let over = |value: &dyn Fn(usize) -> f64| average(loads.len(), value);
    Averages {
        ready: loads.len(),
        kv_usage: over(&|at| loads[at].kv_usage),
        waiting: over(&|at| f64::from(loads[at].waiting)),
        running: over(&|at| f64::from(loads[at].running)),
    }
}

fn average(count: usize, value: &dyn Fn(usize) -> f64) -> Average {
    if count == 0 {
        return Average::default();
    }
    #[expect(clippy::cast_precision_loss, reason = "pools are small")]
    let n = count as f64;
    let mean = (0..count).map(value).sum::<f64>() / n;
    let squares: f64 = (0..count).map(|at| (value(at) - mean).powi(2)).sum();
    let deviation = if count > 1 {
        (squares / (n - 1.0)).sqrt()
    } else {
        0.0
    };
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    Average {
        mean: rounded(mean),
        deviation: rounded(deviation),
    }
}

/// The ids in an answer to `/v1/models`; `None` when it is no such answer.
#[must_use]
pub fn models(answer: &[u8]) -> Option<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let list = answer.get("data")?.as_array()?;
    let ids = list.iter().filter_map(|model| model.get("id")?.as_str());
    Some(ids.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
