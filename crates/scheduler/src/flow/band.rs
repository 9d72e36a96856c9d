//! The requests of one priority.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::{Item, Ticket};
use crate::config::{Band as Limits, FairnessPolicy};

/// Order of requests: deadline, then a tie-break, then arrival.
pub(super) type Key = (Duration, Duration, Ticket);

/// A waiting request.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) ticket: Ticket,
    pub(super) enqueued: Duration,
    pub(super) item: Item,
}

/// The requests of one priority, in order of the band's policy. The best of all flows is then simply the first; for
/// turns each flow also knows its own.
#[derive(Debug)]
pub(super) struct Band {
    pub(super) limits: Limits,
    pub(super) bytes: u64,
    /// Configured, or named by an objective.
    pub(super) wanted: bool,
    pub(super) used: Duration,
    queue: BTreeMap<Key, Entry>,
    flows: HashMap<String, BTreeSet<Key>>,
    /// Flows that have something, the next one first.
    turns: VecDeque<String>,
}

impl Band {
    pub(super) fn new(limits: Limits, wanted: bool, now: Duration) -> Self {
        Self {
            limits,
            bytes: 0,
            wanted,
            used: now,
            queue: BTreeMap::new(),
            flows: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.queue.len() as u64
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.queue.values()
    }

    pub(super) fn push(&mut self, key: Key, entry: Entry, now: Duration) {
        self.used = now;
        self.bytes = self.bytes.saturating_add(entry.item.bytes);
        if self.takes_turns() {
            let flow = &entry.item.fairness_id;
            if let Some(own) = self.flows.get_mut(flow) {
                own.insert(key);
            } else {
                self.flows.insert(flow.clone(), BTreeSet::from([key]));
                self.turns.push_back(flow.clone());
            }
        }
        self.queue.insert(key, entry);
    }

    /// Takes out the request whose turn it is.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Entry> {
        if !self.takes_turns() {
            let key = *self.queue.first_key_value()?.0;
            return self.remove(&key, now);
        }
        let flow = self.turns.pop_front()?;
        let key = *self.flows.get(&flow)?.first()?;
        self.turns.push_back(flow);
        self.remove(&key, now)
    }

    /// Takes out a request.
    pub(super) fn remove(&mut self, key: &Key, now: Duration) -> Option<Entry> {
        let entry = self.queue.remove(key)?;
        self.used = now;
        self.bytes = self.bytes.saturating_sub(entry.item.bytes);
        let flow = &entry.item.fairness_id;
        if let Some(own) = self.flows.get_mut(flow) {
            own.remove(key);
            // A flow without requests leaves nothing behind.
            if own.is_empty() {
                self.flows.remove(flow);
                self.turns.retain(|turn| turn != flow);
            }
        }
        Some(entry)
    }

    fn takes_turns(&self) -> bool {
        self.limits.fairness == FairnessPolicy::RoundRobin
    }
}
