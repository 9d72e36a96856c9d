//! How full a pool is.

use std::time::Duration;

use crate::endpoint::{Endpoint, Role, Snapshot};
use crate::filter::{Concurrency, Saturation, Utilization};

/// The detector of a configuration.
#[derive(Clone, Debug)]
pub(crate) enum Detector {
    Utilization(Utilization),
    Concurrency(Concurrency),
}

/// Saturation of a pool by the work its endpoints do; 1 is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolSaturation {
    /// Of those that prefill, if there are any.
    pub prefill: Option<f64>,
    /// Of those that decode, if there are any.
    pub decode: Option<f64>,
    /// What decides.
    pub effective: f64,
}

impl Detector {
    /// The mean over `endpoints`; none are full.
    pub(crate) fn of<'e>(
        &self,
        endpoints: impl Iterator<Item = &'e Endpoint>,
        now: Duration,
    ) -> f64 {
        mean(endpoints.map(|endpoint| self.one(endpoint, now))).unwrap_or(1.0)
    }

    fn one(&self, endpoint: &Endpoint, now: Duration) -> f64 {
        match self {
            Self::Utilization(detector) => detector.of(endpoint, now),
            Self::Concurrency(detector) => detector.of(endpoint, now),
        }
    }

    /// Prefill and decode apart, since either alone holds up everything.
    pub(crate) fn pool(&self, snapshot: &Snapshot, now: Duration) -> PoolSaturation {
        let part = |takes: fn(Role) -> bool| {
            let endpoints = snapshot.endpoints().iter();
            mean(
                endpoints
                    .filter(|endpoint| takes(endpoint.role()))
                    .map(|endpoint| self.one(endpoint, now)),
            )
        };
        let prefill = part(Role::prefills);
        let decode = part(Role::decodes);
        let effective = match (prefill, decode) {
            (Some(a), Some(b)) => a.max(b),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => self.of(snapshot.endpoints().iter().map(AsRef::as_ref), now),
        };
        PoolSaturation {
            prefill,
            decode,
            effective,
        }
    }

    /// Endpoints whose metrics count as missing.
    pub(crate) fn stale(&self, snapshot: &Snapshot, now: Duration) -> usize {
        match self {
            Self::Concurrency(_) => 0,
            Self::Utilization(detector) => snapshot
                .endpoints()
                .iter()
                .filter(|endpoint| !detector.is_fresh(endpoint, now))
                .count(),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then_some(sum / count)
}
