//! Names of objects that need work, each at most once, each at its time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Name;
use crate::kinds::Kind;

/// An object that needs work.
pub(crate) type Key = (Kind, Name);

/// Events that come in one burst are answered by one piece of work.
const SETTLE: Duration = Duration::from_millis(5);
const CONFLICT: Duration = Duration::from_millis(50);
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Work by time. It is bounded by the number of objects that exist.
#[derive(Default)]
pub(crate) struct Queue {
    times: HashMap<Key, Instant>,
    order: BTreeSet<(Instant, Key)>,
    failures: HashMap<Key, u32>,
}

impl Queue {
    /// Asks for work soon.
    pub(crate) fn soon(&mut self, key: Key, now: Instant) {
        self.at(key, now + SETTLE);
    }

    /// Asks for work at `at`, or earlier where that was asked before.
    pub(crate) fn at(&mut self, key: Key, at: Instant) {
        if let Some(known) = self.times.get(&key) {
            if *known <= at {
                return;
            }
            self.order.remove(&(*known, key.clone()));
        }
        self.times.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// When the first work is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first work that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Key> {
        if self.due()? > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.times.remove(&key);
        Some(key)
    }

    /// Forgets the failures of `key`.
    pub(crate) fn succeeded(&mut self, key: &Key) {
        self.failures.remove(key);
    }

    /// Asks for another try; a conflict with another writer is tried again at once.
    pub(crate) fn failed(&mut self, key: Key, conflict: bool, now: Instant) {
        if conflict {
            self.at(key, now + CONFLICT);
            return;
        }
        let count = self.failures.entry(key.clone()).or_default();
        let wait = FIRST_RETRY * 2u32.saturating_pow((*count).min(10));
        *count += 1;
        self.at(key, now + wait.min(LONGEST_RETRY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (Kind::Pod, ("n".to_owned(), name.to_owned()))
    }

    #[test]
    fn a_name_waits_once_and_the_earlier_time_counts() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.at(key("a"), now + Duration::from_secs(9));
        queue.soon(key("a"), now);
        queue.soon(key("a"), now);
        queue.at(key("b"), now + Duration::from_secs(1));
        assert!(queue.pop(now).is_none());
        let later = now + Duration::from_secs(2);
        assert_eq!(queue.pop(later), Some(key("a")));
        assert_eq!(queue.pop(later), Some(key("b")));
        assert!(queue.due().is_none());
    }

    #[test]
    fn retries_come_later_and_later_up_to_a_limit() {
        let mut queue = Queue::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..9 {
            queue.failed(key("a"), false, now);
            let due = queue.due().unwrap();
            waits.push((due - now).as_millis());
            now = due;
            queue.pop(now);
        }
        assert_eq!(
            waits,
            [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
        );
        queue.succeeded(&key("a"));
        queue.failed(key("a"), false, now);
        assert_eq!(queue.due().unwrap() - now, FIRST_RETRY);
    }
}
