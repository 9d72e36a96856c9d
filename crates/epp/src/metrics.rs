//! What the picker counts, under the names that dashboards know and under their older twins.
//!
//! A request finds its [`Series`] once; after that every count is an atomic. Distinct model names and fairness ids are
//! bounded: what comes after is counted as `other`.

mod bounds;
mod families;
mod histogram;
mod page;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use histogram::Histogram;
use page::Page;
use weir_scheduler::data::Averages;

pub use page::go_number;

/// Most distinct values of a label that clients choose.
const DISTINCT: usize = 1000;
const OTHER: &str = "other";

/// What requests are counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestLabels {
    /// The model that the client named.
    pub model: String,
    /// The model that the engine is asked for.
    pub target: String,
    /// Whom it was for.
    pub fairness: String,
    /// Its priority.
    pub priority: i32,
}

/// Counts of the requests of one set of labels.
#[derive(Debug)]
pub struct Series {
    labels: RequestLabels,
    total: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    running: AtomicI64,
    running_touched: AtomicBool,
    /// Seconds from the first message to the last of the response.
    pub duration: Histogram,
    /// Bytes of request bodies.
    pub request_bytes: Histogram,
    /// Bytes of response bodies.
    pub response_bytes: Histogram,
    /// Tokens of prompts.
    pub input_tokens: Histogram,
    /// Tokens of answers.
    pub output_tokens: Histogram,
    /// Cached tokens of prompts.
    pub cached_tokens: Histogram,
    /// Seconds per output token, the whole request counted.
    pub ntpot: Histogram,
    /// Seconds to the first chunk: not streamed, streamed.
    pub ttft: [Histogram; 2],
    /// Seconds per output token after the first.
    pub tpot: Histogram,
    /// Seconds between chunks.
    pub gap: Histogram,
}

/// Who a decision went to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Attempt {
    target: String,
    endpoint: String,
    namespace: String,
    port: String,
    success: bool,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    pool: String,
    requests: RwLock<HashMap<RequestLabels, Arc<Series>>>,
    models: Distinct,
    targets: Distinct,
    fairness: Distinct,
    attempts: Mutex<BTreeMap<Attempt, u64>>,
    decisions: Mutex<BTreeMap<(String, String, String, String), u64>>,
    shielded: Mutex<BTreeMap<String, u64>>,
    /// Seconds of a decision.
    pub scheduling: Histogram,
    /// Seconds from a whole request to its reply.
    pub request_processing: Histogram,
    /// Seconds spent with a response.
    pub response_processing: Histogram,
    poll_errors: Mutex<BTreeMap<&'static str, u64>>,
    extract_errors: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    figures: Mutex<Averages>,
    /// Streams that are open; kept whether they are shown or not.
    pub streams: AtomicI64,
    show_streams: AtomicBool,
    /// Seconds that streams were open.
    pub stream_duration: Histogram,
    stream_codes: Mutex<BTreeMap<String, u64>>,
}

/// Values of a label, so many and no more.
#[derive(Debug, Default)]
struct Distinct(RwLock<HashSet<String>>);

impl Distinct {
    fn admit(&self, value: &str) -> bool {
        if value.is_empty() || self.0.read().contains(value) {
            return true;
        }
        let mut known = self.0.write();
        if known.len() >= DISTINCT {
            return false;
        }
        known.insert(value.to_owned());
        true
    }
}

impl Series {
    fn new(labels: RequestLabels) -> Self {
        use bounds::{CACHED, DURATION, GAP, INPUT, NTPOT, OUTPUT, REQUEST, RESPONSE, TPOT, TTFT};
        Self {
            labels,
            total: AtomicU64::new(0),
            errors: Mutex::default(),
            running: AtomicI64::new(0),
            running_touched: AtomicBool::new(false),
            duration: Histogram::new(DURATION),
            request_bytes: Histogram::new(REQUEST),
            response_bytes: Histogram::new(RESPONSE),
            input_tokens: Histogram::new(INPUT),
            output_tokens: Histogram::new(OUTPUT),
            cached_tokens: Histogram::new(CACHED),
            ntpot: Histogram::new(NTPOT),
            ttft: [Histogram::new(TTFT), Histogram::new(TTFT)],
            tpot: Histogram::new(TPOT),
            gap: Histogram::new(GAP),
        }
    }

    /// A request was sent to an endpoint.
    pub fn routed(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// A request ended with an error.
    pub fn error(&self, code: &str) {
        *self.errors.lock().entry(code.to_owned()).or_default() += 1;
    }

    /// A request runs, as long as what is returned lives.
    #[must_use]
    pub fn running(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.running_touched.store(true, Ordering::Relaxed);
        Running(Arc::clone(self))
    }
}

/// A request that runs.
#[derive(Debug)]
pub struct Running(Arc<Series>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Nothing counted yet; `pool` is the pool's name.
    #[must_use]
    pub fn new(pool: &str, show_streams: bool) -> Self {
        Self {
            pool: pool.to_owned(),
            requests: RwLock::default(),
            models: Distinct::default(),
            targets: Distinct::default(),
            fairness: Distinct::default(),
            attempts: Mutex::default(),
            decisions: Mutex::default(),
            shielded: Mutex::default(),
            scheduling: Histogram::new(bounds::DECISION),
            request_processing: Histogram::new(bounds::REQUEST_PROCESSING),
            response_processing: Histogram::new(bounds::RESPONSE_PROCESSING),
            poll_errors: Mutex::default(),
            extract_errors: Mutex::default(),
            figures: Mutex::default(),
            streams: AtomicI64::new(0),
            show_streams: AtomicBool::new(show_streams),
            stream_duration: Histogram::new(bounds::STREAM),
            stream_codes: Mutex::default(),
        }
    }

    /// The series of a request.
    #[must_use]
    pub fn series(&self, labels: RequestLabels) -> Arc<Series> {
        if let Some(series) = self.requests.read().get(&labels) {
            return Arc::clone(series);
        }
        let mut labels = labels;
        for (value, known) in [
            (&mut labels.model, &self.models),
            (&mut labels.target, &self.targets),
            (&mut labels.fairness, &self.fairness),
        ] {
            if !known.admit(value) {
                OTHER.clone_into(value);
            }
        }
        let mut all = self.requests.write();
        let series = all
            .entry(labels.clone())
            .or_insert_with(|| Arc::new(Series::new(labels)));
        Arc::clone(series)
    }

    /// A decision for `target`: where it went, or that it went nowhere.
    pub fn attempt(&self, target: &str, to: Option<&weir_scheduler::Endpoint>) {
        let target = if self.targets.admit(target) {
            target
        } else {
            OTHER
        };
        let attempt = Attempt {
            target: target.to_owned(),
            endpoint: to.map_or_else(String::new, |to| to.name.to_string()),
            namespace: to.map_or_else(String::new, |to| to.namespace.to_string()),
            port: to.map_or_else(String::new, |to| to.address.port().to_string()),
            success: to.is_some(),
        };
        *self.attempts.lock().entry(attempt).or_default() += 1;
    }

    /// What a handler that splits work decided.
    pub fn decided(&self, plugin: &str, kind: &str, model: &str, decision: &str) {
        let model = match model {
            "" => "unknown",
            model if self.models.admit(model) => model,
            _ => OTHER,
        };
        let key = [plugin, kind, model, decision].map(str::to_owned);
        let [plugin, kind, model, decision] = key;
        *self
            .decisions
            .lock()
            .entry((plugin, kind, model, decision))
            .or_default() += 1;
    }

    /// Something was taken out of a request.
    pub fn shielded(&self, name: &str) {
        *self.shielded.lock().entry(name.to_owned()).or_default() += 1;
    }

    /// A source did not answer.
    pub fn poll_error(&self, source: &'static str) {
        *self.poll_errors.lock().entry(source).or_default() += 1;
    }

    /// An answer lacked something.
    pub fn extract_error(&self, source: &'static str, extractor: &'static str) {
        *self
            .extract_errors
            .lock()
            .entry((source, extractor))
            .or_default() += 1;
    }

    /// Averages over the pool, as of now.
    pub fn set_figures(&self, figures: Averages) {
        *self.figures.lock() = figures;
    }

    /// A stream ended.
    pub fn stream_ended(&self, code: &str, seconds: f64) {
        if self.show_streams.load(Ordering::Relaxed) {
            self.stream_duration.observe(seconds);
            *self.stream_codes.lock().entry(code.to_owned()).or_default() += 1;
        }
    }

    /// The page, in the classic text format.
    #[must_use]
    pub fn page(&self, snapshot: &weir_scheduler::Snapshot) -> String {
        let mut page = Page::default();
        families::write(self, snapshot, &mut page);
        page.finish()
    }
}

#[cfg(test)]
mod tests;
