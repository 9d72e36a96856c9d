//! Following one kind: a stream of changes that never ends and hides every error but in the log.

use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// What happened to objects of a kind.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// The object is new or different.
    Applied(K),
    /// The object is gone.
    Deleted(K),
    /// A full list begins: what it does not name before [`Change::Synced`] is gone.
    Listing,
    /// An object of the list.
    Listed(K),
    /// The list is complete.
    Synced,
}

/// First wait after an error.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait after an error. Kinds may come late, and a user waits for them.
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double from 100 ms to 5 s.
#[derive(Debug)]
struct Doubling(Duration);

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST);
        Some(wait)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.0 = FIRST;
    }
}

/// Follows the objects of `api`.
pub fn follow<K>(api: Api<K>) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let url = api.resource_url().to_owned();
    watcher::watcher(api, watcher::Config::default())
        .backoff(Doubling(FIRST))
        .filter_map(move |event| {
            let change = match event {
                Ok(Event::Apply(object)) => Some(Change::Applied(object)),
                Ok(Event::Delete(object)) => Some(Change::Deleted(object)),
                Ok(Event::Init) => Some(Change::Listing),
                Ok(Event::InitApply(object)) => Some(Change::Listed(object)),
                Ok(Event::InitDone) => Some(Change::Synced),
                Err(error) => {
                    tracing::debug!(
                        kind = %url,
                        error = &error as &dyn std::error::Error,
                        "Watch failed, trying again"
                    );
                    None
                }
            };
            std::future::ready(change)
        })
}
