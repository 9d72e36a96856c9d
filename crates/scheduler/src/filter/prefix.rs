//! Filters by what is cached and by predicted latency.

use crate::config::settings::PrefixAffinity;
use crate::context::Context;
use crate::filter::load::float;
use crate::random::Random;

/// `prefix-cache-affinity-filter`.
#[derive(Debug)]
pub(crate) struct Affinity {
    pub(crate) settings: PrefixAffinity,
    /// Which producer of matches.
    pub(crate) prefix: usize,
    /// Which producer of loads.
    pub(crate) load: usize,
}

impl Affinity {
    pub(super) fn apply(
        &self,
        context: &Context<'_>,
        candidates: &mut Vec<u32>,
        sticky: &mut Vec<u32>,
        random: &mut Random,
    ) {
        let settings = &self.settings;
        if candidates.len() <= 1 || settings.threshold <= 0.0 {
            return;
        }
        let matches = &context.matches[self.prefix];
        let is_sticky = |at: &u32| {
            let found = matches.at(*at);
            found.total > 0 && found.ratio() >= settings.threshold
        };
        sticky.clear();
        sticky.extend(candidates.iter().copied().filter(is_sticky));
        if sticky.is_empty() {
            return;
        }
        if settings.exploration > 0.0 && random.unit() < settings.exploration {
            return;
        }
        if settings.max_penalty_ms > 0.0 && sticky.len() < candidates.len() {
            let best = |among: &mut dyn Iterator<Item = u32>| {
                among.fold(f64::INFINITY, |best, at| best.min(self.ttft(context, at)))
            };
            let held = best(&mut sticky.iter().copied());
            let free = best(&mut candidates.iter().copied().filter(|at| !is_sticky(at)));
            // Without a prediction both are infinite, and their difference is no number: the sticky ones stay.
            if held - free > settings.max_penalty_ms {
                return;
            }
        }
        std::mem::swap(candidates, sticky);
    }

    fn ttft(&self, context: &Context<'_>, at: u32) -> f64 {
        if self.settings.predicted {
            return context
                .prediction(at)
                .map_or(f64::INFINITY, |prediction| prediction.ttft_ms);
        }
        let tokens = context.endpoint(at).live.tokens_in_flight(self.load);
        float(tokens) / self.settings.throughput * 1000.0
    }
}

/// `slo-headroom-tier-filter`: those expected to be in time; sometimes the others.
pub(super) fn slo_headroom(
    context: &Context<'_>,
    epsilon: f64,
    candidates: &mut Vec<u32>,
    positive: &mut Vec<u32>,
    random: &mut Random,
) {
    if candidates.len() <= 1
        || !candidates
            .iter()
            .any(|at| context.prediction(*at).is_some())
    {
        return;
    }
    let in_time = |at: &u32| {
        context.prediction(*at).is_some_and(|prediction| {
            prediction.ttft_headroom_ms >= 0.0 && prediction.tpot_headroom_ms >= 0.0
        })
    };
    positive.clear();
    positive.extend(candidates.iter().copied().filter(in_time));
    if positive.is_empty() || positive.len() == candidates.len() {
        return;
    }
    if random.unit() < epsilon {
        candidates.retain(|at| !in_time(at));
    } else {
        std::mem::swap(candidates, positive);
    }
}
