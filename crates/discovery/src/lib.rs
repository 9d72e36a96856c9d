//! Watches become endpoint sets for picker, gateway and sidecar.
//!
//! [`EndpointSets::watch`] follows Services, EndpointSlices and Pods of all namespaces and publishes an
//! immutable [`Snapshot`] after every change. Readers load the current one without a lock, or wait for the
//! next by [`EndpointSets::subscribe`].
//!
//! [`follow`] is the watch underneath, usable for any kind: it starts again after every error, also when
//! the kind is not served yet.

pub mod follow;
pub mod snapshot;
mod state;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use follow::{Change, follow};
pub use snapshot::{Missing, PodAddress, ServiceKey, ServicePort, Snapshot};

/// Most changes that are taken in before the result is published.
const BATCH: usize = 512;

/// A handle on the current endpoint sets. Clones share them.
#[derive(Clone, Debug)]
pub struct EndpointSets {
    current: Arc<ArcSwap<Snapshot>>,
    changes: watch::Receiver<Arc<Snapshot>>,
    // Keeps `changes` open for sets that nobody writes.
    sender: Arc<watch::Sender<Arc<Snapshot>>>,
}

impl EndpointSets {
    /// Returns sets that are what `snapshot` says until [`EndpointSets::publish`].
    #[must_use]
    pub fn fixed(snapshot: Snapshot) -> Self {
        let snapshot = Arc::new(snapshot);
        let (sender, changes) = watch::channel(Arc::clone(&snapshot));
        Self {
            current: Arc::new(ArcSwap::new(snapshot)),
            changes,
            sender: Arc::new(sender),
        }
    }

    /// Returns the sets of a cluster, empty at first, and the task that fills them until `shutdown`.
    pub fn watch(
        client: Client,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let sets = Self::fixed(Snapshot::default());
        let task = fill(sets.clone(), client, shutdown);
        (sets, task)
    }

    /// Makes `snapshot` the current one.
    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.current.store(Arc::clone(&snapshot));
        self.sender.send_replace(snapshot);
    }

    /// Returns the current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Returns a receiver that is told of every new snapshot.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.changes.clone()
    }

    /// Returns the ready endpoints behind a port of a Service; none when there is no such port.
    #[must_use]
    pub fn ready(&self, namespace: &str, service: &str, port: u16) -> Arc<[SocketAddr]> {
        self.find(namespace, service, port)
            .unwrap_or_else(|_| Arc::from([]))
    }

    /// Returns the ready endpoints behind a port of a Service, or what is missing.
    ///
    /// # Errors
    /// When there is no such Service, or it has no such port.
    pub fn find(
        &self,
        namespace: &str,
        service: &str,
        port: u16,
    ) -> Result<Arc<[SocketAddr]>, Missing> {
        self.current.load().find(namespace, service, port)
    }
}

enum Seen {
    Service(Box<Change<Service>>),
    Slice(Box<Change<EndpointSlice>>),
    Pod(Box<Change<Pod>>),
}

async fn fill(sets: EndpointSets, client: Client, shutdown: CancellationToken) {
    let services = follow(kube::Api::<Service>::all(client.clone()))
        .map(|change| Seen::Service(Box::new(change)));
    let slices = follow(kube::Api::<EndpointSlice>::all(client.clone()))
        .map(|change| Seen::Slice(Box::new(change)));
    let pods = follow(kube::Api::<Pod>::all(client)).map(|change| Seen::Pod(Box::new(change)));
    let seen = futures::stream::select(futures::stream::select(services, slices), pods);
    let mut batches = std::pin::pin!(seen.ready_chunks(BATCH));
    let mut state = state::State::default();
    loop {
        let batch = tokio::select! {
            () = shutdown.cancelled() => return,
            batch = batches.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
        };
        for seen in batch {
            match seen {
                Seen::Service(change) => state.service(*change),
                Seen::Slice(change) => state.slice(*change),
                Seen::Pod(change) => state.pod(*change),
            }
        }
        if let Some(snapshot) = state.take_snapshot() {
            tracing::debug!(services = snapshot.len(), "Endpoint sets changed");
            sets.publish(snapshot);
        }
    }
}
