//! Pickers: which of the scored candidates are taken.

use crate::config::settings::Pick;
use crate::context::Context;
use crate::random::Random;

/// A picker of a profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picker {
    pub(crate) way: Way,
    pub(crate) pick: Pick,
}

/// How a picker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The best.
    MaxScore,
    /// Any.
    Random,
    /// Any, better ones more often.
    Weighted,
}

impl Picker {
    /// Fills `order` with indices of `candidates`, the chosen ones in order. `totals` stand beside the candidates;
    /// `keys` is a buffer. Endpoints of which nothing is known come last, as long as something is known of others.
    pub(crate) fn pick(
        &self,
        context: &Context<'_>,
        candidates: &[u32],
        totals: &[f64],
        order: &mut Vec<u32>,
        keys: &mut Vec<f64>,
        random: &mut Random,
    ) {
        order.clear();
        order.extend((0..).take(candidates.len()));
        let way = match self.way {
            Way::Weighted if totals.iter().all(|total| *total <= 0.0) => Way::Random,
            way => way,
        };
        keys.clear();
        match way {
            Way::MaxScore => keys.extend_from_slice(totals),
            Way::Random => keys.resize(totals.len(), 0.0),
            // The largest of u^(1/w) is drawn with a probability in proportion to w.
            Way::Weighted => keys.extend(totals.iter().map(|total| {
                if *total > 0.0 {
                    random.unit().powf(1.0 / total)
                } else {
                    0.0
                }
            })),
        }
        let before = |a: u32, b: u32| {
            let unknown = |index: u32| context.unknown(candidates[index as usize]);
            let by_key = keys[b as usize].total_cmp(&keys[a as usize]);
            unknown(a).cmp(&unknown(b)).then(by_key)
        };
        if self.pick.count == 1 {
            let chosen = one(order, before, random);
            order.clear();
            order.extend(chosen);
        } else {
            // Shuffling first and sorting stably afterwards draws among equals without favour.
            random.shuffle(order);
            order.sort_by(|a, b| before(*a, *b));
            order.truncate(self.pick.count);
        }
    }
}

/// The first in order, drawn among equals, in one pass.
fn one(
    order: &[u32],
    before: impl Fn(u32, u32) -> std::cmp::Ordering,
    random: &mut Random,
) -> Option<u32> {
    let mut best: Option<u32> = None;
    let mut equals = 0;
    for candidate in order {
        let Some(held) = best else {
            (best, equals) = (Some(*candidate), 1);
            continue;
        };
        match before(*candidate, held) {
            std::cmp::Ordering::Less => (best, equals) = (Some(*candidate), 1),
            std::cmp::Ordering::Equal => {
                equals += 1;
                if random.below(equals) == 0 {
                    best = Some(*candidate);
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }
    best
}
