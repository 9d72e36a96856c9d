//! `latency-scorer`: predicted latency against the request's goals; load and cache where nothing is predicted.

use crate::config::settings;
use crate::context::{Context, Prediction};

/// The scorer.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    pub(crate) settings: settings::Latency,
    /// Which producer of matches.
    pub(crate) prefix: usize,
}

/// Which endpoints of those that miss their goals are preferred, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Violation {
    Idle,
    Tpot,
    Ttft,
    Both,
}

/// Ranges of headroom below this are one value.
const TINY: f64 = 1e-9;

impl Latency {
    pub(super) fn score(&self, context: &Context<'_>, candidates: &[u32], scores: &mut [f64]) {
        if candidates
            .iter()
            .all(|at| context.prediction(*at).is_none())
        {
            self.composite(context, candidates, scores);
            return;
        }
        scores.fill(0.0);
        let prediction = |at: u32| context.prediction(at);
        let in_time = |at: u32| {
            prediction(at).is_none_or(|p| p.ttft_headroom_ms >= 0.0 && p.tpot_headroom_ms >= 0.0)
        };
        if candidates.iter().any(|at| in_time(*at)) {
            self.bucket(context, candidates, &in_time, self.settings.most, scores);
            return;
        }
        let class = |at: u32| prediction(at).map_or(Violation::Idle, violation);
        let best = candidates.iter().map(|at| class(*at)).min();
        let preferred = |at: u32| Some(class(at)) == best;
        self.bucket(context, candidates, &preferred, false, scores);
    }

    /// Scores those for which `inside` holds by how their headrooms compare.
    fn bucket(
        &self,
        context: &Context<'_>,
        candidates: &[u32],
        inside: &dyn Fn(u32) -> bool,
        most: bool,
        scores: &mut [f64],
    ) {
        let headroom = |at: u32| {
            let prediction = context.prediction(at).unwrap_or_default();
            (
                prediction.ttft_headroom_ms.abs(),
                prediction.tpot_headroom_ms.abs(),
            )
        };
        let mut ttft = Range::default();
        let mut tpot = Range::default();
        for at in candidates.iter().filter(|at| inside(**at)) {
            let (first, further) = headroom(*at);
            ttft.widen(first);
            tpot.widen(further);
        }
        let sum = self.settings.ttft + self.settings.tpot;
        let (mut alpha, mut beta) = if sum > 0.0 {
            (self.settings.ttft / sum, self.settings.tpot / sum)
        } else {
            (1.0, 0.0)
        };
        match (ttft.is_point(), tpot.is_point()) {
            (true, false) => (alpha, beta) = (0.0, 1.0),
            (false, true) => (alpha, beta) = (1.0, 0.0),
            _ => {}
        }
        for (score, at) in scores.iter_mut().zip(candidates) {
            if !inside(*at) {
                continue;
            }
            let (first, further) = headroom(*at);
            let combined = alpha * ttft.normal(first) + beta * tpot.normal(further);
            let wanted = if most { combined } else { 1.0 - combined };
            *score = ((wanted * 100.0).trunc() + 1.0) / 100.0;
        }
    }

    fn composite(&self, context: &Context<'_>, candidates: &[u32], scores: &mut [f64]) {
        let settings = &self.settings;
        let sum = settings.kv + settings.queue + settings.prefix;
        let (kv, queue, prefix) = if sum > 0.0 {
            (
                settings.kv / sum,
                settings.queue / sum,
                settings.prefix / sum,
            )
        } else {
            (1.0, 0.0, 0.0)
        };
        let waiting = &context.columns.waiting;
        let most = candidates
            .iter()
            .map(|at| waiting[*at as usize])
            .fold(0.0, f64::max);
        for (score, at) in scores.iter_mut().zip(candidates) {
            let free = 1.0 - context.columns.kv_usage[*at as usize];
            let short = if most > 0.0 {
                (most - waiting[*at as usize]) / most
            } else {
                1.0
            };
            let cached = context.matches[self.prefix].at(*at).ratio();
            let mix = kv * free + queue * short + prefix * cached;
            *score = super::known(context, *at, (mix * 100.0).round() / 100.0);
        }
    }
}

fn violation(prediction: Prediction) -> Violation {
    if prediction.dispatched == 0 {
        return Violation::Idle;
    }
    match (
        prediction.ttft_headroom_ms < 0.0,
        prediction.tpot_headroom_ms < 0.0,
    ) {
        (false, _) => Violation::Tpot,
        (true, false) => Violation::Ttft,
        (true, true) => Violation::Both,
    }
}

#[derive(Clone, Copy)]
struct Range {
    least: f64,
    most: f64,
}

impl Default for Range {
    fn default() -> Self {
        Self {
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
        }
    }
}

impl Range {
    fn widen(&mut self, value: f64) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    fn is_point(self) -> bool {
        self.most - self.least <= TINY
    }

    fn normal(self, value: f64) -> f64 {
        if self.is_point() {
            0.5
        } else {
            (value - self.least) / (self.most - self.least)
        }
    }
}
