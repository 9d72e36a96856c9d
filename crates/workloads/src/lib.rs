//! Deployment, ReplicaSet and EndpointSlice controllers, through the API only.
//!
//! Watches of Deployments, ReplicaSets, Pods and Services wake one loop. A pass reads all four kinds,
//! decides with the pure functions of [`rollout`] and [`endpoints`], and writes what differs. Passes
//! never overlap and each reads anew, so no pod is made twice.

mod cluster;
pub mod endpoints;
pub mod rollout;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use cluster::{Cluster, Kind};

/// Why the controllers ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("cannot {action}")]
    Api {
        /// What was tried.
        action: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

const RETRY: Duration = Duration::from_millis(500);
const CONFLICT_RETRY: Duration = Duration::from_millis(50);
/// How often progress deadlines are looked at while one runs.
const DEADLINE_CHECK: Duration = Duration::from_secs(2);
/// Events that come in one burst are answered by one pass.
const SETTLE: Duration = Duration::from_millis(5);

/// Runs the controllers until `shutdown`.
///
/// # Errors
/// None today: a failed pass is logged and tried again.
pub async fn run(client: Client, shutdown: CancellationToken) -> Result<(), Error> {
    let wake = Arc::new(Notify::new());
    let mut watches = tokio::task::JoinSet::new();
    for kind in [
        Kind::DEPLOYMENT,
        Kind::REPLICA_SET,
        Kind::POD,
        Kind::SERVICE,
        Kind::NAMESPACE,
    ] {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        let wake = Arc::clone(&wake);
        watches.spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff();
            futures::pin_mut!(events);
            while let Some(event) = events.next().await {
                if let Err(error) = event {
                    tracing::debug!(kind = kind.kind, %error, "Watch interrupted");
                }
                wake.notify_one();
            }
        });
    }
    let cluster = Cluster::new(client);
    let mut waits = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = wake.notified() => {}
            () = tokio::time::sleep(DEADLINE_CHECK), if waits => {}
        }
        tokio::time::sleep(SETTLE).await;
        match cluster.pass().await {
            Ok(more) => waits = more,
            Err(error) => {
                // A conflict or a vanished object: the next pass sees the present state.
                let passing = matches!(&error, Error::Api { source, .. }
                    if matches!(&**source, kube::Error::Api(status) if matches!(status.code, 404 | 409)));
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                if passing {
                    tracing::debug!(%error, cause, "Pass ended with a conflict");
                } else {
                    tracing::warn!(%error, cause, "Pass not complete, tried again");
                }
                let pause = if passing { CONFLICT_RETRY } else { RETRY };
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                wake.notify_one();
            }
        }
    }
}
