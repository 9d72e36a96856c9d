//! Flow control: requests wait in front of a full pool, by priority and fairly, and not for ever.
//!
//! A pure state machine: whoever drives it owns the time. It is driven by arrivals ([`Controller::enqueue`]), a short
//! tick ([`Controller::dispatch`], one request a call), a slow one ([`Controller::sweep`]), and news of the pool
//! ([`Controller::pool_is`]).
//!
//! ```text
//! request -> capacity check -> band (priority) -> flow (fairness id) -> order -> dispatched
//!                 \-> refused                          \-> expired, cancelled
//! ```
//! Bands are served from the highest priority down. While the pool is as full as the ceiling allows, nothing is served:
//! lower bands never overtake. A request of a priority for which there is no band waits in band 0.

mod band;
mod end;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::config::{Band as Limits, FlowControl, OrderingPolicy};

use band::{Band, Entry, Key};

pub use end::{Ended, Outcome};

/// The queues of one pool.
#[derive(Debug)]
pub struct Controller {
    settings: FlowControl,
    bands: BTreeMap<Reverse<i32>, Band>,
    /// Where each waiting request is.
    places: HashMap<Ticket, (i32, Key)>,
    next: u64,
    requests: u64,
    bytes: u64,
    /// The pool has no endpoint, and since when it is as it is.
    empty: bool,
    flipped: Duration,
}

/// Names a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A request that asks to be let through.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// From the request's objective.
    pub priority: i32,
    /// The flow it belongs to.
    pub fairness_id: String,
    /// Bytes of its body.
    pub bytes: u64,
    /// When it came, which is before it is enqueued.
    pub received: Duration,
    /// Its goal for the first token, in milliseconds.
    pub ttft_goal_ms: Option<f64>,
}

/// How full a band is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandFill {
    /// Its priority.
    pub priority: i32,
    /// Waiting requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// What may wait.
    pub limits: Limits,
}

/// How full everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Waiting requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Most requests, if there is a limit.
    pub max_requests: Option<u64>,
    /// Most bytes, if there is a limit.
    pub max_bytes: Option<u64>,
}

/// A band that no configuration asks for goes when it was unused for this time.
const BAND_IDLE: Duration = Duration::from_secs(600);
/// How much longer than the larger budget a request may wait in all.
const GRACE: Duration = Duration::from_secs(2);
/// How often [`Controller::sweep`] should be called.
pub const SWEEP: Duration = Duration::from_secs(1);
/// How often [`Controller::dispatch`] should be called while something waits.
pub const TICK: Duration = Duration::from_millis(1);
/// The band of requests that have none.
const DEFAULT_BAND: i32 = 0;

impl Controller {
    /// Empty queues in front of a pool without endpoints.
    #[must_use]
    pub fn new(settings: FlowControl, now: Duration) -> Self {
        let bands = settings
            .bands
            .iter()
            .map(|(priority, limits)| (Reverse(*priority), Band::new(*limits, true, now)))
            .collect();
        Self {
            bands,
            places: HashMap::new(),
            next: 0,
            requests: 0,
            bytes: 0,
            empty: true,
            flipped: now,
            settings,
        }
    }

    /// Tells whether the pool has endpoints. Budgets start anew when that changes.
    pub fn pool_is(&mut self, empty: bool, now: Duration) {
        if empty != self.empty {
            (self.empty, self.flipped) = (empty, now);
        }
    }

    /// Makes bands for the priorities that objectives name; those that are named no more go when they are idle.
    pub fn provision(&mut self, priorities: impl IntoIterator<Item = i32>, now: Duration) {
        let listed = |priority: i32| {
            self.settings
                .bands
                .iter()
                .any(|(known, _)| *known == priority)
        };
        for (Reverse(priority), band) in &mut self.bands {
            band.wanted = listed(*priority);
        }
        for priority in priorities {
            let limits = self.settings.template(priority);
            let band = self.bands.entry(Reverse(priority));
            band.or_insert_with(|| Band::new(limits, true, now)).wanted = true;
        }
    }

    /// Lets a request wait.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn enqueue(&mut self, item: Item, now: Duration) -> Result<Ticket, Ended> {
        let refused = |outcome| Ended::new(None, item.clone(), outcome, Duration::ZERO);
        let place = if self.bands.contains_key(&Reverse(item.priority)) {
            item.priority
        } else {
            DEFAULT_BAND
        };
        let Some(band) = self.bands.get_mut(&Reverse(place)) else {
            return Err(refused(Outcome::RejectedOther));
        };
        let over = |used: u64, own: u64, limit: Option<u64>| {
            limit.is_some_and(|limit| used.saturating_add(own) > limit)
        };
        let limits = band.limits;
        if over(self.bytes, item.bytes, self.settings.max_bytes)
            || over(self.requests, 1, self.settings.max_requests)
            || over(band.bytes, item.bytes, Some(limits.max_bytes))
            || over(band.requests(), 1, Some(limits.max_requests))
        {
            return Err(refused(if self.empty {
                Outcome::RejectedNoEndpoints
            } else {
                Outcome::RejectedCapacity
            }));
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        let key = key(&limits, &item, self.settings.ttl, now, ticket);
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(item.bytes);
        self.places.insert(ticket, (place, key));
        band.push(
            key,
            Entry {
                ticket,
                enqueued: now,
                item,
            },
            now,
        );
        Ok(ticket)
    }

    /// Lets at most one request through, given how full the pool is now.
    pub fn dispatch(&mut self, saturation: f64, now: Duration) -> Option<Ended> {
        let mut found = None;
        for (Reverse(priority), band) in &mut self.bands {
            // Empty bands stop the lower ones, too.
            if saturation >= self.settings.ceiling {
                return None;
            }
            if let Some(entry) = band.pop(now) {
                found = Some((*priority, entry));
                break;
            }
        }
        let (_, entry) = found?;
        Some(self.leave(entry, Outcome::Dispatched, now))
    }

    /// Takes out a request whose client went away.
    pub fn cancel(&mut self, ticket: Ticket, now: Duration) -> Option<Ended> {
        let (priority, key) = self.places.get(&ticket).copied()?;
        let band = self.bands.get_mut(&Reverse(priority))?;
        let entry = band.remove(&key, now)?;
        Some(self.leave(entry, Outcome::EvictedContextCancelled, now))
    }

    /// Takes out what waited too long, and bands that nobody needs any more.
    pub fn sweep(&mut self, now: Duration) -> Vec<Ended> {
        let expired: Vec<Ticket> = self
            .bands
            .values()
            .flat_map(Band::entries)
            .filter(|entry| self.is_expired(entry, now))
            .map(|entry| entry.ticket)
            .collect();
        let outcome = if self.empty {
            Outcome::EvictedNoEndpoints
        } else {
            Outcome::EvictedTtl
        };
        let ended = self.take_out(expired, outcome, now);
        self.bands.retain(|_, band| {
            band.wanted || band.requests() > 0 || now.saturating_sub(band.used) < BAND_IDLE
        });
        ended
    }

    /// Takes out everything: the picker stops.
    pub fn shut_down(&mut self, now: Duration) -> Vec<Ended> {
        let all: Vec<Ticket> = self.places.keys().copied().collect();
        self.take_out(all, Outcome::EvictedOther, now)
    }

    fn take_out(
        &mut self,
        mut tickets: Vec<Ticket>,
        outcome: Outcome,
        now: Duration,
    ) -> Vec<Ended> {
        tickets.sort_unstable();
        let mut ended = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let Some((priority, key)) = self.places.get(&ticket).copied() else {
                continue;
            };
            let band = self.bands.get_mut(&Reverse(priority));
            if let Some(entry) = band.and_then(|band| band.remove(&key, now)) {
                ended.push(self.leave(entry, outcome, now));
            }
        }
        ended
    }

    fn leave(&mut self, entry: Entry, outcome: Outcome, now: Duration) -> Ended {
        self.places.remove(&entry.ticket);
        self.requests -= 1;
        self.bytes = self.bytes.saturating_sub(entry.item.bytes);
        let waited = now.saturating_sub(entry.enqueued);
        Ended::new(Some(entry.ticket), entry.item, outcome, waited)
    }

    fn is_expired(&self, entry: &Entry, now: Duration) -> bool {
        let FlowControl { ttl, empty_ttl, .. } = self.settings;
        let budget = if self.empty { empty_ttl } else { ttl };
        let charged = entry.enqueued.max(self.flipped);
        if budget.is_some_and(|budget| now.saturating_sub(charged) >= budget) {
            return true;
        }
        // Flips cannot keep a request for ever.
        ttl.zip(empty_ttl).is_some_and(|(a, b)| {
            now.saturating_sub(entry.enqueued) >= a.max(b).saturating_add(GRACE)
        })
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// How full everything is.
    #[must_use]
    pub fn fill(&self) -> Fill {
        Fill {
            requests: self.requests,
            bytes: self.bytes,
            max_requests: self.settings.max_requests,
            max_bytes: self.settings.max_bytes,
        }
    }

    /// How full each band is, highest priority first.
    pub fn bands(&self) -> impl Iterator<Item = BandFill> {
        self.bands.iter().map(|(Reverse(priority), band)| BandFill {
            priority: *priority,
            requests: band.requests(),
            bytes: band.bytes,
            limits: band.limits,
        })
    }
}

/// Where a request stands among those of its flow.
fn key(limits: &Limits, item: &Item, ttl: Option<Duration>, now: Duration, ticket: Ticket) -> Key {
    const LAST: Duration = Duration::MAX;
    let (deadline, tie) = match limits.ordering {
        OrderingPolicy::Fcfs => (Duration::ZERO, Duration::ZERO),
        OrderingPolicy::EarliestDeadline => (ttl.map_or(LAST, |ttl| now.saturating_add(ttl)), now),
        OrderingPolicy::SloDeadline => {
            let goal = item.ttft_goal_ms.filter(|goal| *goal >= 0.0);
            let goal = goal.and_then(|goal| Duration::try_from_secs_f64(goal / 1000.0).ok());
            let deadline = goal.map_or(LAST, |goal| item.received.saturating_add(goal));
            (deadline, item.received)
        }
    };
    (deadline, tie, ticket)
}

#[cfg(test)]
mod tests;
