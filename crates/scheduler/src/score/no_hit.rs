//! `no-hit-lru-scorer`: requests that hit no cache go where the last such request is longest ago.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_kv::ServerKey;

use crate::context::Context;

/// The scorer; the order is shared with the hook that notes where cold requests went.
#[derive(Clone, Debug)]
pub(crate) struct NoHit {
    /// Which producer of matches.
    pub(crate) prefix: usize,
    order: Arc<Mutex<Order>>,
}

#[derive(Debug)]
struct Order {
    size: usize,
    /// Least recently used first.
    used: Vec<ServerKey>,
    /// By position; reused.
    rank: Vec<Option<usize>>,
}

impl NoHit {
    pub(crate) fn new(size: usize, prefix: usize) -> Self {
        Self {
            prefix,
            order: Arc::new(Mutex::new(Order {
                size,
                used: Vec::new(),
                rank: Vec::new(),
            })),
        }
    }

    /// Whether no candidate has anything of the request.
    pub(crate) fn cold(&self, context: &Context<'_>, candidates: &[u32]) -> bool {
        !context.matches[self.prefix].any(candidates)
    }

    pub(super) fn score(&self, context: &Context<'_>, candidates: &[u32], scores: &mut [f64]) {
        if !self.cold(context, candidates) {
            scores.fill(0.5);
            return;
        }
        if candidates.len() <= 1 {
            scores.fill(1.0);
            return;
        }
        let mut order = self.order.lock();
        let Order { used, rank, .. } = &mut *order;
        rank.clear();
        rank.resize(context.snapshot.len(), None);
        for (place, key) in used.iter().enumerate() {
            if let Some(at) = context.snapshot.position(*key) {
                rank[at] = Some(place);
            }
        }
        let never = candidates
            .iter()
            .filter(|at| rank[**at as usize].is_none())
            .count();
        let mut next = 0;
        for (score, at) in scores.iter_mut().zip(candidates) {
            let place = rank[*at as usize].map_or_else(
                || {
                    next += 1;
                    next - 1
                },
                |place| never + place,
            );
            #[expect(clippy::cast_precision_loss, reason = "pools are small")]
            let share = place as f64 / (candidates.len() - 1) as f64;
            *score = (1.0 - share).max(0.0);
        }
    }

    /// Notes that a cold request goes to an endpoint.
    pub(crate) fn used(&self, key: ServerKey) {
        let mut order = self.order.lock();
        order.used.retain(|known| *known != key);
        order.used.push(key);
        if order.used.len() > order.size {
            order.used.remove(0);
        }
    }

    /// Forgets endpoints that are gone.
    pub(crate) fn retain(&self, keep: impl Fn(ServerKey) -> bool) {
        self.order.lock().used.retain(|key| keep(*key));
    }
}
