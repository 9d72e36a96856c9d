//! The model driven by the clock, and the counts that the metrics page shows.
//!
//! One lock holds both, so that a page never shows a request twice or not at all; no work is done under it that
//! waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_engine_model::{Config, Model, Refusal, Token};
use weir_vllm::metrics;

/// A histogram of one metric.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Upper bounds.
    pub bounds: Vec<f64>,
    /// Counts between them, the last one above all.
    pub counts: Vec<u64>,
    /// Sum of the values.
    pub sum: f64,
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        Self {
            bounds: bounds.to_vec(),
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    fn observe(&mut self, value: f64) {
        let index = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.sum += value;
    }
}

/// Counts since the start.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Requests that ended, in the order of [`metrics::FINISHED`].
    pub finished: [u64; 5],
    /// Requests refused because the queue was full.
    pub rejected: u64,
    /// Histograms by name.
    pub histograms: Vec<(&'static str, Histogram)>,
}

impl Stats {
    fn new(window: u64) -> Self {
        let tokens = metrics::token_buckets(window);
        let histogram = |name, bounds: &[f64]| (name, Histogram::new(bounds));
        Self {
            prompt_tokens: 0,
            generation_tokens: 0,
            finished: [0; 5],
            rejected: 0,
            histograms: vec![
                histogram(metrics::TTFT, &metrics::BUCKETS_TTFT),
                histogram(metrics::ITL, &metrics::BUCKETS_ITL),
                histogram(metrics::E2E, &metrics::BUCKETS_REQUEST),
                histogram(metrics::QUEUE_TIME, &metrics::BUCKETS_REQUEST),
                histogram(metrics::INFERENCE_TIME, &metrics::BUCKETS_REQUEST),
                histogram(metrics::PREFILL_TIME, &metrics::BUCKETS_REQUEST),
                histogram(metrics::DECODE_TIME, &metrics::BUCKETS_REQUEST),
                histogram(metrics::REQUEST_PROMPT, &tokens),
                histogram(metrics::REQUEST_GENERATION, &tokens),
                histogram(metrics::REQUEST_MAX, &tokens),
                histogram(metrics::REQUEST_LONGEST, &tokens),
                histogram(metrics::REQUEST_COMPUTED, &tokens),
                histogram(metrics::REQUEST_PER_TOKEN, &metrics::BUCKETS_ITL),
                histogram(metrics::REQUEST_PREEMPTIONS, &metrics::BUCKETS_PREEMPTIONS),
                histogram(metrics::REQUEST_N, &metrics::BUCKETS_N),
            ],
        }
    }

    fn observe(&mut self, name: &str, value: f64) {
        if let Some((_, histogram)) = self.histograms.iter_mut().find(|(known, _)| *known == name) {
            histogram.observe(value);
        }
    }

    fn finish(&mut self, reason: &str) {
        if let Some(index) = metrics::FINISHED.iter().position(|known| *known == reason) {
            self.finished[index] += 1;
        }
    }
}

/// How far the units of one request are.
#[derive(Debug)]
pub struct Progress {
    counts: Mutex<Vec<u64>>,
    changed: Notify,
}

impl Progress {
    /// Tokens of each unit so far.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        lock(&self.counts).clone()
    }

    /// Waits until a count has changed since the last wait. One task waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

struct Unit {
    progress: Arc<Progress>,
    index: usize,
    prompt: u64,
    limit: u64,
    reason: &'static str,
    copies: Option<u64>,
    first: Duration,
    latest: Duration,
}

struct State {
    model: Model,
    stats: Stats,
    units: HashMap<u64, Unit>,
    last_id: u64,
}

/// One thing to generate: a prompt and one of its copies.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens that will be generated.
    pub output: u64,
    /// Most tokens the client wanted.
    pub limit: u64,
    /// Why the answer ends.
    pub reason: &'static str,
    /// How many answers the prompt gets; on the first of them only, so that a request counts once.
    pub copies: Option<u64>,
}

/// The engine.
pub struct Core {
    state: Mutex<State>,
    wake: Notify,
    began: Instant,
}

/// What the gauges show now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauges {
    /// Requests that run.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Share of the cache in use.
    pub usage: f64,
}

/// The units of one request. Dropping it takes those that have not ended out of the engine.
pub struct Ticket {
    core: Arc<Core>,
    ids: Vec<u64>,
    progress: Arc<Progress>,
}

impl Ticket {
    /// How far the units are.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now = self.core.began.elapsed();
        let mut guard = lock(&self.core.state);
        let state = &mut *guard;
        state.advance(now);
        for id in &self.ids {
            // A unit that ended has left the map already, so each is counted once.
            if state.units.remove(id).is_some() {
                state.model.abort(now, *id);
                state.stats.finish("abort");
            }
        }
        drop(guard);
        self.core.wake.notify_one();
    }
}

impl Core {
    /// An idle engine of `config` with a context window of `window` tokens.
    #[must_use]
    pub fn new(config: Config, window: u64) -> Self {
        Self {
            state: Mutex::new(State {
                model: Model::new(config),
                stats: Stats::new(window),
                units: HashMap::new(),
                last_id: 0,
            }),
            wake: Notify::new(),
            began: Instant::now(),
        }
    }

    /// Queues all of `work` as one request.
    ///
    /// # Errors
    /// When one of them is refused; the others are taken out again.
    pub fn submit(self: &Arc<Self>, work: &[Work]) -> Result<Ticket, Refusal> {
        let progress = Arc::new(Progress {
            counts: Mutex::new(vec![0; work.len()]),
            changed: Notify::new(),
        });
        let mut ticket = Ticket {
            core: Arc::clone(self),
            ids: Vec::with_capacity(work.len()),
            progress,
        };
        let now = self.began.elapsed();
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.advance(now);
        for (index, one) in work.iter().enumerate() {
            state.last_id += 1;
            let id = state.last_id;
            if let Err(refusal) = state.model.submit(now, id, one.prompt, one.output) {
                state.stats.rejected += 1;
                drop(guard);
                return Err(refusal);
            }
            let unit = Unit {
                progress: Arc::clone(&ticket.progress),
                index,
                prompt: one.prompt,
                limit: one.limit,
                reason: one.reason,
                copies: one.copies,
                first: now,
                latest: now,
            };
            state.units.insert(id, unit);
            ticket.ids.push(id);
        }
        state.advance(now);
        drop(guard);
        self.wake.notify_one();
        Ok(ticket)
    }

    /// Lets time pass until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        loop {
            let next = {
                let mut state = lock(&self.state);
                state.advance(self.began.elapsed());
                state.model.next()
            };
            let until = async {
                match next {
                    Some(at) => tokio::time::sleep_until(self.began + at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.notified() => {}
                () = until => {}
            }
        }
    }

    /// What the metrics page shows.
    #[must_use]
    pub fn snapshot(&self) -> (Gauges, Stats) {
        let mut state = lock(&self.state);
        state.advance(self.began.elapsed());
        let gauges = Gauges {
            running: state.model.running(),
            waiting: state.model.waiting(),
            usage: state.model.usage(),
        };
        (gauges, state.stats.clone())
    }

    /// Time since the engine was made.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }
}

impl State {
    fn advance(&mut self, now: Duration) {
        while let Some(token) = self.model.advance(now) {
            self.token(token);
        }
    }

    fn token(&mut self, token: Token) {
        let Some(unit) = self.units.get_mut(&token.id) else {
            return;
        };
        let stats = &mut self.stats;
        let seconds = |from: Duration| token.at.saturating_sub(from).as_secs_f64();
        stats.generation_tokens += 1;
        if token.count == 1 {
            unit.first = token.at;
            stats.prompt_tokens += unit.prompt;
            stats.observe(metrics::TTFT, seconds(token.arrived));
            stats.observe(metrics::PREFILL_TIME, seconds(token.started));
            stats.observe(
                metrics::QUEUE_TIME,
                token.started.saturating_sub(token.arrived).as_secs_f64(),
            );
        } else {
            stats.observe(metrics::ITL, seconds(unit.latest));
        }
        unit.latest = token.at;
        if let Some(count) = lock(&unit.progress.counts).get_mut(unit.index) {
            *count = token.count;
        }
        unit.progress.changed.notify_one();
        if token.last {
            stats.observe(metrics::E2E, seconds(token.arrived));
            stats.observe(metrics::INFERENCE_TIME, seconds(token.started));
            stats.observe(metrics::DECODE_TIME, seconds(unit.first));
            stats.observe(metrics::REQUEST_PROMPT, unit.prompt as f64);
            stats.observe(metrics::REQUEST_GENERATION, token.count as f64);
            stats.observe(metrics::REQUEST_MAX, unit.limit as f64);
            stats.observe(metrics::REQUEST_LONGEST, token.count as f64);
            stats.observe(metrics::REQUEST_COMPUTED, unit.prompt as f64);
            let gaps = (token.count - 1).max(1) as f64;
            stats.observe(metrics::REQUEST_PER_TOKEN, seconds(unit.first) / gaps);
            stats.observe(metrics::REQUEST_PREEMPTIONS, 0.0);
            if let Some(copies) = unit.copies {
                stats.observe(metrics::REQUEST_N, copies as f64);
            }
            stats.finish(unit.reason);
            self.units.remove(&token.id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts stay usable when a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
