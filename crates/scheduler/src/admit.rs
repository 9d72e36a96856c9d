//! Admitters: sheddable requests that are turned away before they are scheduled.

use crate::config::settings::{ProbabilisticAdmitter, Settings};
use crate::context::Context;
use crate::random::Random;
use crate::reject::Rejection;

/// An admitter.
#[derive(Clone, Debug)]
pub(crate) enum Admitter {
    /// Denies what no endpoint is expected to serve in time.
    LatencySlo,
    /// Denies by chance, the fuller the likelier.
    Probabilistic(ProbabilisticAdmitter),
}

/// Headers with latency goals, the current spelling and the older one.
const GOALS: [[&str; 2]; 2] = [
    ["x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"],
    ["x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"],
];

/// KV usage below which an endpoint is cold.
const COLD: f64 = 0.02;

impl Admitter {
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        match settings {
            Settings::LatencySloAdmitter => Some(Self::LatencySlo),
            Settings::ProbabilisticAdmitter(settings) => {
                Some(Self::Probabilistic(settings.clone()))
            }
            _ => None,
        }
    }

    pub(crate) fn admit(
        &self,
        context: &Context<'_>,
        candidates: &[u32],
        random: &mut Random,
    ) -> Result<(), Rejection> {
        if context.request.priority >= 0 {
            return Ok(());
        }
        match self {
            Self::LatencySlo => latency_slo(context, candidates),
            Self::Probabilistic(settings) => {
                let saturation = saturation(settings, context, candidates);
                if random.unit() < settings.probability(saturation) {
                    return Err(Rejection::not_admitted("the pool is saturated"));
                }
                Ok(())
            }
        }
    }
}

impl ProbabilisticAdmitter {
    /// Probability of denial at a saturation.
    #[must_use]
    pub fn probability(&self, saturation: f64) -> f64 {
        (self.k * saturation.powf(self.power)).min(1.0)
    }
}

fn saturation(settings: &ProbabilisticAdmitter, context: &Context<'_>, candidates: &[u32]) -> f64 {
    let sum: f64 = candidates
        .iter()
        .map(|at| {
            let queue = context.columns.waiting[*at as usize] / settings.queue;
            queue.max(context.columns.kv_usage[*at as usize] / settings.kv)
        })
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "pools are small")]
    let count = candidates.len().max(1) as f64;
    sum / count
}

fn latency_slo(context: &Context<'_>, candidates: &[u32]) -> Result<(), Rejection> {
    let headers = context.request.headers;
    let has_goal = GOALS
        .iter()
        .any(|names| names.iter().any(|name| headers.header(name).is_some()));
    let predicted = candidates
        .iter()
        .any(|at| context.prediction(*at).is_some());
    if !has_goal || !predicted {
        return Ok(());
    }
    let open = |at: &u32| {
        let valid = context
            .prediction(*at)
            .is_none_or(|p| p.ttft_headroom_ms >= 0.0 && p.tpot_headroom_ms >= 0.0);
        valid
            || context.columns.running[*at as usize] <= 0.0
            || context.columns.kv_usage[*at as usize] < COLD
    };
    if candidates.iter().any(open) {
        Ok(())
    } else {
        Err(Rejection::not_admitted(
            "no endpoint is expected to meet the latency goals",
        ))
    }
}
