//! The endpoints to pick from, as one immutable list that is replaced as a whole.
//!
//! Discovery says what there is ([`Described`]); what stays keeps its load, its running requests and what is known of
//! its cache. Whoever needs to follow (scrapers, the scheduler) gets every new list.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use weir_scheduler::{Endpoint, Labels, Snapshot};

/// An endpoint as discovery sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Namespace.
    pub namespace: String,
    /// Name of the pod, or of the entry.
    pub name: String,
    /// Index of the port among the pool's target ports; `None` for entries of files.
    pub rank: Option<u32>,
    /// Where requests go.
    pub address: SocketAddr,
    /// Address of the node.
    pub node: Option<IpAddr>,
    /// Labels.
    pub labels: Labels,
}

/// The endpoints.
#[derive(Debug)]
pub struct Endpoints {
    current: ArcSwap<Snapshot>,
    changes: watch::Sender<Snapshot>,
    writing: Mutex<()>,
}

impl Default for Endpoints {
    fn default() -> Self {
        let empty = Snapshot::default();
        Self {
            current: ArcSwap::from_pointee(empty.clone()),
            changes: watch::Sender::new(empty),
            writing: Mutex::new(()),
        }
    }
}

impl Endpoints {
    /// The current list.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.current.load())
    }

    /// Every new list.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.changes.subscribe()
    }

    /// Makes these the endpoints.
    pub fn replace(&self, described: Vec<Described>) {
        let _one_at_a_time = self.writing.lock();
        let before = self.snapshot();
        let known: HashMap<(&str, &str, SocketAddr), &Arc<Endpoint>> = before
            .endpoints()
            .iter()
            .map(|one| ((&*one.namespace, &*one.name, one.address), one))
            .collect();
        let mut changed = described.len() != before.len();
        let list = described
            .into_iter()
            .enumerate()
            .map(|(place, new)| {
                let key = (new.namespace.as_str(), new.name.as_str(), new.address);
                let same = |old: &Endpoint| old.rank == new.rank.unwrap_or(0);
                let endpoint = match known.get(&key).copied().filter(|old| same(old)) {
                    Some(old) if old.labels == new.labels => Arc::clone(old),
                    Some(old) => Arc::new(old.relabelled(new.labels)),
                    None => {
                        let mut endpoint = Endpoint::new(
                            &new.namespace,
                            &new.name,
                            new.rank,
                            new.address,
                            new.labels,
                        );
                        endpoint.node = new.node;
                        Arc::new(endpoint)
                    }
                };
                changed |= before
                    .endpoints()
                    .get(place)
                    .is_none_or(|old| !Arc::ptr_eq(old, &endpoint));
                endpoint
            })
            .collect();
        if changed {
            let snapshot = Snapshot::new(list);
            self.current.store(Arc::new(snapshot.clone()));
            self.changes.send_replace(snapshot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(name: &str, port: u16, label: &str) -> Described {
        Described {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            rank: None,
            address: SocketAddr::from(([192, 0, 2, 1], port)),
            node: None,
            labels: Labels::from_iter([("l", label)]),
        }
    }

    #[test]
    fn what_stays_keeps_its_load() {
        let endpoints = Endpoints::default();
        let changes = endpoints.subscribe();
        endpoints.replace(vec![described("a", 1, "x"), described("b", 2, "x")]);
        let first = endpoints.snapshot();
        endpoints.replace(vec![described("a", 1, "x"), described("b", 2, "x")]);
        assert_eq!(endpoints.snapshot().version(), first.version());
        endpoints.replace(vec![described("b", 2, "y"), described("a", 9, "x")]);
        let second = endpoints.snapshot();
        assert_eq!(changes.borrow().version(), second.version());
        let [relabelled, moved] = second.endpoints() else {
            panic!("two endpoints expected");
        };
        assert_eq!(relabelled.key(), first.endpoints()[1].key());
        assert_eq!(relabelled.labels.get("l"), Some("y"));
        assert_ne!(
            moved.key(),
            first.endpoints()[0].key(),
            "another address is another life"
        );
    }
}
