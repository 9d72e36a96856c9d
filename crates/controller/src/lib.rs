//! Watches LLMInferenceServices, applies what they need, reports what is.
//!
//! One pass reads everything first, computes once (`weir_compose`, `weir_plan`), writes last. Children are
//! written by server-side apply; a child that is as it should be is not sent.

mod apply;
mod cache;
mod certificate;
mod combine;
mod configs;
mod events;
mod local_models;
mod lookups;
mod pickers;
mod reconcile;
mod router;
mod scaling;
mod snapshot;
mod uses;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio_util::sync::CancellationToken;
use weir_api::names::{self, kind};

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the global configuration and of shared configs.
    pub system_namespace: String,
    /// Prefix of preset names.
    pub config_prefix: String,
    /// Whether preset names are pinned in each service's status.
    pub pin_presets: bool,
    /// Domain of Services.
    pub cluster_domain: String,
    /// The only namespace whose services are looked at; all when `None`.
    pub namespace: Option<String>,
    /// How many services are looked at at once.
    pub concurrency: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            system_namespace: names::SYSTEM_NAMESPACE.to_owned(),
            config_prefix: names::PRESET_PREFIX.to_owned(),
            pin_presets: true,
            cluster_domain: "cluster.local".to_owned(),
            namespace: None,
            concurrency: 4,
        }
    }
}

/// Why a pass ended early; it is tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("cannot {action} {object}: {}", said(source))]
    Api {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// What the cluster has of a kind is not known.
    #[error("cannot watch {kind}: {cause}")]
    Unknown {
        /// Plural of the kind.
        kind: &'static str,
        /// The cause.
        cause: String,
    },
    /// The global configuration cannot be read.
    #[error(transparent)]
    Globals(#[from] weir_plan::SettingsError),
    /// A wanted name is taken by something else.
    #[error(
        "{kind} {name} exists and is not controlled by this service: rename the service or delete the object"
    )]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// `namespace/name`.
        name: String,
    },
    /// The authorities that downloads shall trust are not there.
    #[error(
        "ConfigMap {name}, which storageInitializer.caBundleConfigMapName names, has no key cabundle.crt: create it"
    )]
    Authorities {
        /// `namespace/name`.
        name: String,
    },
    /// A secret that pods need is not there yet.
    #[error(transparent)]
    Credentials(weir_plan::Error),
    /// A serving certificate could not be made.
    #[error("cannot make a serving certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

impl Error {
    fn api(action: &'static str, object: impl Into<String>, source: kube::Error) -> Self {
        Self::Api {
            action,
            object: object.into(),
            source: Box::new(source),
        }
    }

    /// Whether somebody else wrote in between, which the next pass repairs.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if api_code(source) == Some(409))
    }
}

/// What the API server said, without the rest of its answer.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// The HTTP code of an answer of the API server.
fn api_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What every pass shares.
struct Context {
    client: Client,
    options: Options,
    cache: Arc<cache::Cache>,
    services: snapshot::Services,
    applied: apply::Memory,
    certificates: certificate::Memory,
    pickers: pickers::Memory,
    warned: events::Told,
    store: Store<DynamicObject>,
    server: lookups::Server,
    failures: Mutex<HashMap<String, u32>>,
}

/// Runs the controller until `shutdown`.
///
/// The kinds it watches may be installed later: a watch of a kind that is not served is tried again, at most
/// 30 s later.
///
/// # Errors
/// None today: failures of single passes are reported on the services and tried again.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let services = watch::api(&client, kind::SERVICE, options.namespace.as_deref());
    let controller = Controller::new_with(
        services,
        watcher::Config::default(),
        kind::SERVICE.api_resource(),
    );
    let store = controller.store();
    let config = Config::default().concurrency(options.concurrency);
    let context = Arc::new(Context {
        client: client.clone(),
        options: options.clone(),
        cache: Arc::new(cache::Cache::new()),
        services: snapshot::Services::default(),
        applied: apply::Memory::default(),
        certificates: certificate::Memory::default(),
        pickers: pickers::Memory::default(),
        warned: events::Told::default(),
        store: store.clone(),
        server: lookups::Server::default(),
        failures: Mutex::default(),
    });
    let stop = shutdown.clone();
    let passes = watch::add(controller, &context, &store)
        .with_config(config)
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(reconcile_one, on_error, context.clone());
    let work = passes.for_each(|result| async move {
        match result {
            Ok((service, _)) => tracing::debug!(service = %service, "reconciled"),
            Err(error) => tracing::debug!(error = %error, "pass or watch ended early"),
        }
    });
    let configs = configs::run(client, options, shutdown.clone());
    tokio::select! {
        _ = futures::future::join(work, configs) => {}
        () = async { shutdown.cancelled().await; tokio::time::sleep(Duration::from_secs(5)).await } => {}
    }
    Ok(())
}

async fn reconcile_one(
    service: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let action = Box::pin(reconcile::pass(&service, &context)).await?;
    context.failures.lock().remove(&watch::id(&service));
    Ok(action)
}

/// Waits twice as long after each failure of a service in a row, at most 30 s.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature is the controller runtime's"
)]
fn on_error(service: Arc<DynamicObject>, error: &Error, context: Arc<Context>) -> Action {
    const FIRST_MS: u64 = 100;
    const LONGEST: Duration = Duration::from_secs(30);
    let id = watch::id(&service);
    let tries = {
        let mut failures = context.failures.lock();
        let tries = failures.entry(id.clone()).or_default();
        *tries = tries.saturating_add(1);
        *tries
    };
    if !error.is_conflict() {
        tracing::warn!(service = id, error = %error, tries, "reconcile failed");
    }
    let wait = Duration::from_millis(FIRST_MS.saturating_mul(1 << tries.min(10)));
    Action::requeue(wait.min(LONGEST))
}
