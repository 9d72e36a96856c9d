//! The physics of an engine: batching, KV cache and latency in virtual time.
//!
//! [`Model`] holds no clock: the caller says what time it is, so that a server drives it by the wall clock and a
//! simulation by its own. What it does depends on nothing but the calls.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// How an engine behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Most requests that run at a time.
    pub max_running: usize,
    /// Most requests that wait.
    pub max_waiting: usize,
    /// Blocks of the KV cache.
    pub blocks: u64,
    /// Tokens of a block.
    pub block_size: u64,
    /// Time to the first token, when not zero; else it is computed from the two below.
    pub first_token: Duration,
    /// Fixed part of the time to the first token.
    pub prefill_overhead: Duration,
    /// Part of the time to the first token for each token of the prompt.
    pub prefill_per_token: Duration,
    /// Time between two tokens.
    pub between_tokens: Duration,
    /// Factor on all times when `max_running` requests run; 1 when one does, linear between.
    pub load_factor: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_running: 5,
            max_waiting: 1000,
            blocks: 1024,
            block_size: 16,
            first_token: Duration::ZERO,
            prefill_overhead: Duration::ZERO,
            prefill_per_token: Duration::ZERO,
            between_tokens: Duration::ZERO,
            load_factor: 1.0,
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue is full.
    #[error("the waiting queue is full")]
    QueueFull,
    /// It could never run.
    #[error("the request needs {needed} blocks of the key-value cache, which has {blocks}")]
    TooLarge {
        /// Blocks it needs.
        needed: u64,
        /// Blocks there are.
        blocks: u64,
    },
}

/// A token came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The request.
    pub id: u64,
    /// When.
    pub at: Duration,
    /// How many tokens it has now, from 1.
    pub count: u64,
    /// Whether it was the last, with which the request left the engine.
    pub last: bool,
    /// When the request arrived.
    pub arrived: Duration,
    /// When it began to run.
    pub started: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    arrived: Duration,
    prompt: u64,
    output: u64,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    request: Request,
    started: Duration,
    next: Duration,
    count: u64,
}

/// An engine's queue, batch and cache.
#[derive(Clone, Debug)]
pub struct Model {
    config: Config,
    running: HashMap<u64, Running>,
    order: BTreeSet<(Duration, u64)>,
    waiting: VecDeque<(u64, Request)>,
    reserved: u64,
}

impl Model {
    /// An idle engine.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            running: HashMap::new(),
            order: BTreeSet::new(),
            waiting: VecDeque::new(),
            reserved: 0,
        }
    }

    /// Takes request `id` of `prompt` tokens that will generate `output` tokens (at least one).
    ///
    /// # Errors
    /// When it cannot be queued.
    pub fn submit(
        &mut self,
        now: Duration,
        id: u64,
        prompt: u64,
        output: u64,
    ) -> Result<(), Refusal> {
        let request = Request {
            arrived: now,
            prompt,
            output: output.max(1),
        };
        let needed = self.blocks_of(request);
        if needed > self.config.blocks {
            return Err(Refusal::TooLarge {
                needed,
                blocks: self.config.blocks,
            });
        }
        if self.waiting.is_empty() && self.fits(request) {
            self.start(now, id, request);
        } else if self.waiting.len() < self.config.max_waiting {
            self.waiting.push_back((id, request));
        } else {
            return Err(Refusal::QueueFull);
        }
        Ok(())
    }

    /// Takes `id` out, waiting or running. Says whether it was there.
    pub fn abort(&mut self, now: Duration, id: u64) -> bool {
        if let Some(running) = self.running.remove(&id) {
            self.order.remove(&(running.next, id));
            self.reserved = self
                .reserved
                .saturating_sub(self.blocks_of(running.request));
            self.admit(now);
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|(waiting, _)| *waiting != id);
        let was_there = self.waiting.len() < before;
        if was_there {
            // It may have been the one that did not fit.
            self.admit(now);
        }
        was_there
    }

    /// When the next token comes out, if any request runs.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The next token that has come out by `now`. Call it until there is none.
    pub fn advance(&mut self, now: Duration) -> Option<Token> {
        let (at, id) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.remove(&(at, id));
        let gap = self.scaled(self.config.between_tokens);
        let running = self.running.get_mut(&id)?;
        running.count += 1;
        let token = Token {
            id,
            at,
            count: running.count,
            last: running.count >= running.request.output,
            arrived: running.request.arrived,
            started: running.started,
        };
        if token.last {
            let request = running.request;
            self.running.remove(&id);
            self.reserved = self.reserved.saturating_sub(self.blocks_of(request));
            self.admit(at);
        } else {
            running.next = at.saturating_add(gap);
            self.order.insert((running.next, id));
        }
        Some(token)
    }

    /// How many requests run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Share of the KV cache in use, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn usage(&self) -> f64 {
        let used: u64 = self
            .running
            .values()
            .map(|one| (one.request.prompt + one.count).div_ceil(self.config.block_size.max(1)))
            .sum();
        if self.config.blocks == 0 {
            0.0
        } else {
            used as f64 / self.config.blocks as f64
        }
    }

    fn blocks_of(&self, request: Request) -> u64 {
        request
            .prompt
            .saturating_add(request.output)
            .div_ceil(self.config.block_size.max(1))
    }

    fn fits(&self, request: Request) -> bool {
        self.running.len() < self.config.max_running.max(1)
            && self.reserved.saturating_add(self.blocks_of(request)) <= self.config.blocks
    }

    fn admit(&mut self, now: Duration) {
        while let Some((id, request)) = self.waiting.front().copied() {
            if !self.fits(request) {
                return;
            }
            self.waiting.pop_front();
            self.start(now, id, request);
        }
    }

    fn start(&mut self, now: Duration, id: u64, request: Request) {
        self.reserved = self.reserved.saturating_add(self.blocks_of(request));
        self.running.insert(
            id,
            Running {
                request,
                started: now,
                next: now,
                count: 0,
            },
        );
        let first = if self.config.first_token.is_zero() {
            let tokens = u32::try_from(request.prompt).unwrap_or(u32::MAX);
            self.config
                .prefill_overhead
                .saturating_add(self.config.prefill_per_token.saturating_mul(tokens))
        } else {
            self.config.first_token
        };
        let next = now.saturating_add(self.scaled(first));
        if let Some(running) = self.running.get_mut(&id) {
            running.next = next;
        }
        self.order.insert((next, id));
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of requests are small")]
    fn scaled(&self, time: Duration) -> Duration {
        let most = self.config.max_running;
        if most <= 1 || self.config.load_factor <= 1.0 {
            return time;
        }
        let others = self.running.len().saturating_sub(1) as f64;
        time.mul_f64(1.0 + (self.config.load_factor.min(1e6) - 1.0) * others / (most - 1) as f64)
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn drain(model: &mut Model, until: Duration) -> Vec<(u64, u64, u128)> {
        let mut out = Vec::new();
        while let Some(token) = model.advance(until) {
            out.push((token.id, token.count, token.at.as_millis()));
        }
        out
    }

    #[test]
    fn times_are_exact_in_virtual_time() {
        let mut model = Model::new(Config {
            prefill_overhead: ms(5),
            prefill_per_token: ms(2),
            between_tokens: ms(10),
            ..Config::default()
        });
        model.submit(ms(100), 1, 10, 3).unwrap();
        assert_eq!(model.next(), Some(ms(125)));
        assert_eq!(drain(&mut model, ms(134)), [(1, 1, 125)]);
        assert_eq!(drain(&mut model, ms(500)), [(1, 2, 135), (1, 3, 145)]);
        assert_eq!(
            (model.running(), model.usage(), model.next()),
            (0, 0.0, None)
        );
    }

    #[test]
    fn a_waiting_request_begins_when_another_ends() {
        let mut model = Model::new(Config {
            max_running: 1,
            max_waiting: 1,
            first_token: ms(10),
            ..Config::default()
        });
        model.submit(ms(0), 1, 1, 1).unwrap();
        model.submit(ms(0), 2, 1, 1).unwrap();
        assert_eq!(model.submit(ms(0), 3, 1, 1), Err(Refusal::QueueFull));
        assert_eq!((model.running(), model.waiting()), (1, 1));
        assert_eq!(drain(&mut model, ms(100)), [(1, 1, 10), (2, 1, 20)]);
    }

    #[test]
    fn an_abort_frees_everything_once() {
        let mut model = Model::new(Config {
            blocks: 4,
            block_size: 16,
            first_token: ms(10),
            ..Config::default()
        });
        model.submit(ms(0), 1, 48, 16).unwrap();
        model.submit(ms(0), 2, 16, 16).unwrap();
        assert_eq!(
            (model.running(), model.waiting(), model.usage()),
            (1, 1, 0.75)
        );
        assert!(model.abort(ms(1), 1));
        assert!(!model.abort(ms(1), 1));
        assert_eq!((model.running(), model.waiting()), (1, 0));
        assert!(model.abort(ms(1), 2));
        assert_eq!(
            (model.running(), model.usage(), model.next()),
            (0, 0.0, None)
        );
        assert!(matches!(
            model.submit(ms(1), 3, 100, 1),
            Err(Refusal::TooLarge { .. })
        ));
    }

    #[test]
    fn load_slows_down() {
        let mut model = Model::new(Config {
            max_running: 3,
            first_token: ms(10),
            load_factor: 3.0,
            ..Config::default()
        });
        for id in 0..3 {
            model.submit(ms(0), id, 1, 1).unwrap();
        }
        assert_eq!(
            drain(&mut model, ms(100)),
            [(0, 1, 10), (1, 1, 20), (2, 1, 30)]
        );
    }
}
