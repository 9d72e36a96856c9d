//! Deployment, ReplicaSet, LeaderWorkerSet, Job and EndpointSlice controllers, through the API only.
//!
//! ```text
//! watches ──▶ cache ──▶ queue of names ──▶ one piece of work at a time ──▶ writes
//!               ▲                                                            │
//!               └──────────────── the answers to the writes ◀────────────────┘
//! ```
//!
//! An event wakes only the objects that depend on it, so that an idle cluster costs nothing. What is to
//! be done is decided by pure functions: [`rollout`] and [`conditions`] for Deployments, [`pods`] for
//! ReplicaSets, the modules of [`groups`] for LeaderWorkerSets, [`jobs::decide`] for Jobs, [`endpoints`]
//! for Services, [`template`] for what makes two pod templates the same.

mod cache;
pub mod conditions;
mod controllers;
mod deployment;
pub mod endpoints;
pub mod groups;
pub mod jobs;
mod kinds;
pub mod pods;
mod queue;
mod replica_set;
pub mod rollout;
pub mod template;
mod write;

use kube::Client;
use tokio_util::sync::CancellationToken;

/// Why something was not done, or the controllers ended.
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
    /// The API server did not answer in time.
    #[error("cannot {action}: the API server does not answer")]
    Slow {
        /// What was tried.
        action: String,
    },
}

impl Error {
    fn code(&self) -> Option<(u16, &str)> {
        match self {
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) => Some((status.code, &status.reason)),
                _ => None,
            },
            Self::Slow { .. } => None,
        }
    }

    /// Whether another writer was first: the object changed or is gone.
    fn is_conflict(&self) -> bool {
        matches!(self.code(), Some((404 | 409, _)))
    }

    /// Whether an object of the name exists already.
    fn is_taken(&self) -> bool {
        matches!(self.code(), Some((409, "AlreadyExists")))
    }

    /// The error with its cause, as a user reads it.
    fn chain(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// Runs the controllers for all namespaces until `shutdown`.
///
/// # Errors
/// None today: what fails is logged and tried again.
pub async fn run(client: Client, shutdown: CancellationToken) -> Result<(), Error> {
    Box::pin(controllers::run(client, None, &shutdown)).await;
    Ok(())
}

/// Runs the controllers for one namespace until `shutdown`.
///
/// # Errors
/// None today: what fails is logged and tried again.
pub async fn run_in(
    client: Client,
    namespace: &str,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    Box::pin(controllers::run(client, Some(namespace), &shutdown)).await;
    Ok(())
}
