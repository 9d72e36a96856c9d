//! What a decision knows: the request, the candidates' load in columns, and which prefix is cached where.
//!
//! Everything that grows with the pool lives in a [`Scratch`] that is used again for the next request, so that a
//! decision allocates nothing per candidate. Columns are indexed by an endpoint's position in the snapshot; filters
//! and scorers work on lists of such positions.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weir_kv::{BlockHash, Hits};

use crate::endpoint::{Endpoint, Snapshot};
use crate::request::LlmRequest;

/// What a filter or scorer sees.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) request: &'a LlmRequest<'a>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) columns: &'a Columns,
    pub(crate) matches: &'a [Matches],
    pub(crate) media: &'a [Matches],
    pub(crate) predictions: &'a [Option<Prediction>],
    pub(crate) prompt_tokens: u64,
    pub(crate) now: Duration,
}

/// Latencies expected of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Time to first token, in milliseconds.
    pub ttft_ms: f64,
    /// How much less than the goal for the first token, in milliseconds; negative is late.
    pub ttft_headroom_ms: f64,
    /// The same for each further token.
    pub tpot_headroom_ms: f64,
    /// Requests sent there that have not ended.
    pub dispatched: u64,
}

/// Load of the endpoints at the time of the decision.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) waiting: Vec<f64>,
    pub(crate) running: Vec<f64>,
    pub(crate) kv_usage: Vec<f64>,
    pub(crate) updated: Vec<Option<Duration>>,
    /// Some candidates were scraped and some were not: these know nothing, and rank last.
    pub(crate) mixed: bool,
    /// The smallest block size that a candidate reports.
    pub(crate) block_size: Option<u32>,
}

/// How much of the request each endpoint has cached, by one producer.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    /// Blocks by position; empty when nothing is known.
    pub(crate) blocks: Vec<u32>,
    /// Blocks of the request; 0 when nothing is known.
    pub(crate) total: u32,
    /// Tokens of a block.
    pub(crate) block_size: u32,
}

/// What one endpoint has cached of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixMatch {
    /// Blocks found.
    pub blocks: u32,
    /// Blocks of the request.
    pub total: u32,
    /// Tokens of a block.
    pub block_size: u32,
}

/// Buffers of a decision.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) columns: Columns,
    pub(crate) matches: Vec<Matches>,
    pub(crate) media: Vec<Matches>,
    /// Block hashes by approximate producer, one list a prompt, each after the other.
    pub(crate) hashes: Vec<Vec<BlockHash>>,
    /// Where each prompt's hashes end.
    pub(crate) ends: Vec<usize>,
    pub(crate) hits: Hits,
    pub(crate) candidates: Vec<u32>,
    pub(crate) survivors: Vec<u32>,
    pub(crate) scores: Vec<f64>,
    pub(crate) totals: Vec<f64>,
    pub(crate) order: Vec<u32>,
    pub(crate) keys: Vec<f64>,
}

/// Buffers that wait for the next decision.
#[derive(Debug, Default)]
pub(crate) struct ScratchPool(Mutex<Vec<Scratch>>);

/// Most buffers kept: more decisions than this at once make new ones.
const KEPT: usize = 64;

/// Buffers on loan; they go back when this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    scratch: Option<Scratch>,
    pool: Arc<ScratchPool>,
}

impl<'a> Context<'a> {
    pub(crate) fn endpoint(&self, position: u32) -> &'a Arc<Endpoint> {
        &self.snapshot.endpoints()[position as usize]
    }

    pub(crate) fn scraped(&self, position: u32) -> bool {
        self.columns.updated[position as usize].is_some()
    }

    /// Whether an endpoint knows nothing about itself while others do.
    pub(crate) fn unknown(&self, position: u32) -> bool {
        self.columns.mixed && !self.scraped(position)
    }

    pub(crate) fn prediction(&self, position: u32) -> Option<Prediction> {
        self.predictions.get(position as usize).copied().flatten()
    }
}

impl Columns {
    /// Reads the load of the candidates.
    pub(crate) fn read(&mut self, snapshot: &Snapshot, candidates: &[u32]) {
        let count = snapshot.len();
        for column in [&mut self.waiting, &mut self.running, &mut self.kv_usage] {
            column.resize(count, 0.0);
        }
        self.updated.resize(count, None);
        self.block_size = None;
        let mut scraped = 0;
        for position in candidates {
            let at = *position as usize;
            let load = snapshot.endpoints()[at].live.load();
            self.waiting[at] = f64::from(load.waiting);
            self.running[at] = f64::from(load.running);
            self.kv_usage[at] = load.kv_usage;
            self.updated[at] = load.updated;
            scraped += usize::from(load.updated.is_some());
            if load.block_size > 0 {
                let smallest = self.block_size.unwrap_or(u32::MAX);
                self.block_size = Some(smallest.min(load.block_size));
            }
        }
        self.mixed = scraped > 0 && scraped < candidates.len();
    }
}

impl Matches {
    /// Forgets the last request; `count` endpoints may follow.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        (self.total, self.block_size) = (0, 0);
    }

    /// What is known of an endpoint.
    pub(crate) fn at(&self, position: u32) -> PrefixMatch {
        PrefixMatch {
            blocks: self.blocks.get(position as usize).copied().unwrap_or(0),
            total: self.total,
            block_size: self.block_size,
        }
    }

    /// Whether any candidate has a block.
    pub(crate) fn any(&self, candidates: &[u32]) -> bool {
        candidates
            .iter()
            .any(|position| self.at(*position).blocks > 0)
    }
}

impl PrefixMatch {
    /// Share of the request that is cached; 0 when nothing is known.
    #[must_use]
    pub fn ratio(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            f64::from(self.blocks) / f64::from(self.total)
        }
    }

    /// Cached tokens.
    #[must_use]
    pub fn cached_tokens(self) -> u64 {
        u64::from(self.blocks) * u64::from(self.block_size)
    }

    /// Tokens of a prompt that are not cached; a block that is not full counts in full.
    #[must_use]
    pub fn uncached_tokens(self, prompt: u64) -> u64 {
        if self.total == 0 {
            return prompt;
        }
        let size = u64::from(self.block_size);
        let missing = u64::from(self.total.saturating_sub(self.blocks)) * size;
        missing + prompt.saturating_sub(u64::from(self.total) * size)
    }
}

impl ScratchPool {
    pub(crate) fn lend(self: &Arc<Self>) -> Loan {
        let scratch = self.0.lock().pop().unwrap_or_default();
        Loan {
            scratch: Some(scratch),
            pool: Arc::clone(self),
        }
    }
}

impl Loan {
    pub(crate) fn get(&mut self) -> &mut Scratch {
        self.scratch.get_or_insert_default()
    }

    pub(crate) fn peek(&self) -> Option<&Scratch> {
        self.scratch.as_ref()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            let mut kept = self.pool.0.lock();
            if kept.len() < KEPT {
                kept.push(scratch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_cached_counts_in_blocks() {
        // blocks, total, prompt tokens, uncached
        for (blocks, total, prompt, uncached) in [
            (1, 3, 150, 128),
            (8, 15, 1000, 488),
            (15, 15, 1000, 40),
            (3, 3, 150, 0),
            (0, 0, 150, 150),
        ] {
            let found = PrefixMatch {
                blocks,
                total,
                block_size: 64,
            };
            assert_eq!(
                found.uncached_tokens(prompt),
                uncached,
                "{blocks} of {total}"
            );
        }
    }
}
