//! Scorers: how good each candidate is, from 0 to 1.

mod latency;
mod no_hit;

use crate::config::settings::{ActiveRequest, PrefixScorer};
use crate::context::Context;
use crate::filter::{ContextRange, Ranges};
use crate::inflight::LoadProducer;
use crate::session;

pub(crate) use latency::Latency;
pub(crate) use no_hit::NoHit;

/// A scorer of a profile.
#[derive(Debug)]
pub(crate) enum Scorer {
    Queue,
    KvUsage,
    RunningRequests,
    LoadAware {
        threshold: f64,
    },
    Prefix {
        settings: PrefixScorer,
        prefix: usize,
    },
    Lora,
    ActiveRequest(ActiveRequest),
    NoHit(NoHit),
    TokenLoad {
        threshold: f64,
        load: LoadProducer,
    },
    ContextLength(Ranges),
    Media {
        producer: usize,
    },
    Session(session::Affinity),
    Latency(Latency),
}

impl Scorer {
    /// Writes the score of each candidate to the same place in `scores`.
    pub(crate) fn score(&self, context: &Context<'_>, candidates: &[u32], scores: &mut [f64]) {
        let each = |scores: &mut [f64], score: &dyn Fn(u32) -> f64| {
            for (score_at, at) in scores.iter_mut().zip(candidates) {
                *score_at = score(*at);
            }
        };
        match self {
            Self::Queue => spread(context, candidates, &context.columns.waiting, scores),
            Self::RunningRequests => spread(context, candidates, &context.columns.running, scores),
            Self::KvUsage => each(scores, &|at| {
                known(context, at, 1.0 - context.columns.kv_usage[at as usize])
            }),
            Self::LoadAware { threshold } => each(scores, &|at| {
                let waiting = context.columns.waiting[at as usize].min(*threshold);
                known(context, at, 0.5 * (1.0 - waiting / threshold))
            }),
            Self::Prefix { settings, prefix } => {
                let matches = &context.matches[*prefix];
                if matches.blocks.is_empty() {
                    scores.fill(0.0);
                    return;
                }
                each(scores, &|at| prefix_score(settings, matches.at(at)));
            }
            Self::Lora => each(scores, &|at| known(context, at, lora(context, at))),
            Self::ActiveRequest(settings) => active_request(context, settings, candidates, scores),
            Self::NoHit(no_hit) => no_hit.score(context, candidates, scores),
            Self::TokenLoad { threshold, load } => each(scores, &|at| {
                #[expect(clippy::cast_precision_loss, reason = "token counts are small")]
                let own = load.tokens(context, at) as f64;
                let there =
                    crate::filter::float(context.endpoint(at).live.tokens_in_flight(load.index));
                1.0 - (there + own).min(*threshold) / threshold
            }),
            Self::ContextLength(ranges) => ranges.with(context.snapshot, |ranges| {
                each(scores, &|at| {
                    context_length(ranges[at as usize], context.prompt_tokens)
                });
            }),
            Self::Media { producer } => {
                let media = &context.media[*producer];
                each(scores, &|at| media.at(at).ratio());
            }
            Self::Session(session) => {
                let bound = session.endpoint(context);
                each(scores, &|at| if Some(at) == bound { 1.0 } else { 0.0 });
            }
            Self::Latency(latency) => latency.score(context, candidates, scores),
        }
    }
}

/// What is not known scores 0, as long as something is known of others.
fn known(context: &Context<'_>, at: u32, score: f64) -> f64 {
    if context.unknown(at) { 0.0 } else { score }
}

/// (max - x) / (max - min); all equal is 1.
fn spread(context: &Context<'_>, candidates: &[u32], column: &[f64], scores: &mut [f64]) {
    let mut least = f64::INFINITY;
    let mut most = f64::NEG_INFINITY;
    for at in candidates {
        if !context.unknown(*at) {
            let value = column[*at as usize];
            least = least.min(value);
            most = most.max(value);
        }
    }
    for (score, at) in scores.iter_mut().zip(candidates) {
        let value = if most > least {
            (most - column[*at as usize]) / (most - least)
        } else {
            1.0
        };
        *score = known(context, *at, value);
    }
}

fn prefix_score(settings: &PrefixScorer, found: crate::context::PrefixMatch) -> f64 {
    let weight = settings.length_weight;
    if weight <= 0.0 {
        return found.ratio();
    }
    #[expect(clippy::cast_precision_loss, reason = "token counts are small")]
    let length = (found.cached_tokens() as f64 / settings.length_scale).min(1.0);
    weight * length * length + (1.0 - weight) * found.ratio()
}

fn lora(context: &Context<'_>, at: u32) -> f64 {
    let model = context.request.target_model;
    context.endpoint(at).live.with_adapters(|adapters| {
        let lists = |list: &[String]| list.iter().any(|adapter| adapter == model);
        if lists(&adapters.running) {
            1.0
        } else if adapters.running.len() + adapters.waiting.len() < adapters.max as usize {
            0.8
        } else if lists(&adapters.waiting) {
            0.6
        } else {
            0.0
        }
    })
}

fn active_request(
    context: &Context<'_>,
    settings: &ActiveRequest,
    candidates: &[u32],
    scores: &mut [f64],
) {
    let mut most = 0;
    for (score, at) in scores.iter_mut().zip(candidates) {
        let count = context.endpoint(*at).live.requests_in_flight();
        most = most.max(count);
        *score = crate::filter::float(count);
    }
    let most = crate::filter::float(most);
    let idle = crate::filter::float(settings.idle);
    for score in scores {
        *score = if *score <= idle {
            1.0
        } else {
            (most - *score) / most * settings.max_busy
        };
    }
}

fn context_length(range: ContextRange, length: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "token counts are small")]
    let float = |count: u64| count as f64;
    match range {
        ContextRange::Missing => 0.5,
        ContextRange::Malformed => 0.0,
        ContextRange::Between(least, most) if (least..=most).contains(&length) => {
            let width = float(most - least);
            if width == 0.0 {
                return 1.0;
            }
            let narrow = 1.0 / (1.0 + width / 10_000.0);
            let room = float(most - length) / width;
            0.3 + 0.7 * (0.7 * narrow + 0.3 * room)
        }
        ContextRange::Between(least, most) => {
            let distance = if length < least {
                least - length
            } else {
                length - most
            };
            0.3 / (1.0 + float(distance) / 1000.0)
        }
    }
}
