//! Filters by load; two of them are the saturation detectors.

use std::time::Duration;

use crate::config::settings::{
    ConcurrencyDetector, ConcurrencyMode, LoadMetric, UtilizationDetector,
};
use crate::context::Context;
use crate::endpoint::Endpoint;

/// `utilization-filter`.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) conditions: Vec<(LoadMetric, f64)>,
    pub(crate) fallback: bool,
}

/// `utilization-detector`: saturation from what is scraped.
#[derive(Clone, Debug)]
pub(crate) struct Utilization(pub(crate) UtilizationDetector);

/// `concurrency-detector`: saturation from what we sent.
#[derive(Clone, Debug)]
pub(crate) struct Concurrency {
    pub(crate) settings: ConcurrencyDetector,
    /// Which load producer counts the tokens.
    pub(crate) producer: usize,
}

/// Saturation of a list of endpoints; 1 is full, above is more than full. No endpoints are full.
pub(crate) trait Saturation {
    fn of(&self, endpoint: &Endpoint, now: Duration) -> f64;
}

impl Conditions {
    pub(super) fn apply(
        &self,
        context: &Context<'_>,
        candidates: &mut Vec<u32>,
        spare: &mut Vec<u32>,
    ) {
        spare.clone_from(candidates);
        candidates.retain(|at| {
            self.conditions.iter().all(|(metric, most)| {
                let value = match metric {
                    LoadMetric::Active => float(context.endpoint(*at).live.requests_in_flight()),
                    LoadMetric::Running => context.columns.running[*at as usize],
                    LoadMetric::Waiting => context.columns.waiting[*at as usize],
                    LoadMetric::KvUsage => context.columns.kv_usage[*at as usize],
                };
                value <= *most
            })
        });
        if candidates.is_empty() && self.fallback {
            std::mem::swap(candidates, spare);
        }
    }
}

impl Utilization {
    /// Keeps what is fresh and not full; everything when that is nothing.
    pub(super) fn filter(
        &self,
        context: &Context<'_>,
        candidates: &mut Vec<u32>,
        spare: &mut Vec<u32>,
    ) {
        let Self(settings) = self;
        spare.clone_from(candidates);
        let most = 1.0 + settings.headroom;
        candidates.retain(|at| {
            let at = *at as usize;
            fresh(context.columns.updated[at], context.now, settings.staleness)
                && context.columns.waiting[at] < settings.queue * most
                && context.columns.kv_usage[at] < settings.kv * most
        });
        if candidates.is_empty() {
            std::mem::swap(candidates, spare);
        }
    }
}

impl Utilization {
    pub(crate) fn is_fresh(&self, endpoint: &Endpoint, now: Duration) -> bool {
        fresh(endpoint.live.load().updated, now, self.0.staleness)
    }
}

impl Saturation for Utilization {
    fn of(&self, endpoint: &Endpoint, now: Duration) -> f64 {
        let Self(settings) = self;
        let load = endpoint.live.load();
        if !fresh(load.updated, now, settings.staleness) {
            return 1.0;
        }
        let queue = f64::from(load.waiting) / settings.queue;
        queue.max(load.kv_usage / settings.kv)
    }
}

impl Concurrency {
    fn shares(&self, endpoint: &Endpoint) -> (f64, f64) {
        let requests = float(endpoint.live.requests_in_flight());
        let tokens = float(endpoint.live.tokens_in_flight(self.producer));
        (
            requests / self.settings.requests,
            tokens / self.settings.tokens,
        )
    }

    /// Keeps what is not full; possibly nothing.
    pub(super) fn filter(&self, context: &Context<'_>, candidates: &mut Vec<u32>) {
        let most = 1.0 + self.settings.headroom;
        let requests = (self.settings.requests * most).trunc();
        let tokens = (self.settings.tokens * most).trunc();
        candidates.retain(|at| {
            let live = &context.endpoint(*at).live;
            let by_requests = float(live.requests_in_flight()) < requests;
            let by_tokens = float(live.tokens_in_flight(self.producer)) < tokens;
            match self.settings.mode {
                ConcurrencyMode::Requests => by_requests,
                ConcurrencyMode::Tokens => by_tokens,
                ConcurrencyMode::Hybrid => by_requests && by_tokens,
            }
        });
    }
}

impl Saturation for Concurrency {
    fn of(&self, endpoint: &Endpoint, _: Duration) -> f64 {
        let (requests, tokens) = self.shares(endpoint);
        // The mean of shares is the share of the sums, since the limit is the same for each.
        match self.settings.mode {
            ConcurrencyMode::Requests => requests,
            ConcurrencyMode::Tokens => tokens,
            ConcurrencyMode::Hybrid => requests.max(tokens),
        }
    }
}

fn fresh(updated: Option<Duration>, now: Duration, staleness: Duration) -> bool {
    updated.is_some_and(|updated| now.saturating_sub(updated) <= staleness)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn float(count: i64) -> f64 {
    count as f64
}
