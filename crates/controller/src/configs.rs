//! Looks after configs: says which services use each, and keeps those in use from going away.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Resource;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_of};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_api::names::{CONFIG_FINALIZER, kind, reason};
use weir_compose::WELL_KNOWN;
use weir_plan::ServiceIdentity;

use crate::apply::to_value;
use crate::events::{self, Severity};
use crate::uses::{self, Key, Known, Uses};
use crate::{Error, Options, api_code, watch};

type Ref = ObjectRef<DynamicObject>;

/// How long changes are collected before a config is looked at: services come in numbers.
const COLLECT: Duration = Duration::from_millis(100);
/// How long after a failure a config is looked at again.
const RETRY: Duration = Duration::from_secs(3);
/// How many configs are looked at at once.
const CONCURRENCY: u16 = 2;

struct Context {
    client: kube::Client,
    options: Options,
    known: Arc<Mutex<Known>>,
}

/// Looks after configs until `shutdown`.
pub(crate) async fn run(client: kube::Client, options: Options, shutdown: CancellationToken) {
    let configs = watch::api(&client, kind::CONFIG, options.namespace.as_deref());
    let controller = Controller::new_with(
        configs,
        watcher::Config::default(),
        kind::CONFIG.api_resource(),
    );
    let context = Arc::new(Context {
        client,
        options,
        known: Arc::default(),
    });
    let users = follow_services(&context, controller.store());
    let config = Config::default().concurrency(CONCURRENCY).debounce(COLLECT);
    controller
        .reconcile_on(users)
        .with_config(config)
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(pass, on_error, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, "pass over a config or watch ended early");
            }
        })
        .await;
}

/// The configs that a change of a service concerns.
fn follow_services(context: &Context, configs: Store<DynamicObject>) -> BoxStream<'static, Ref> {
    let services = watch::api(
        &context.client,
        kind::SERVICE,
        context.options.namespace.as_deref(),
    );
    let (known, system) = (
        context.known.clone(),
        context.options.system_namespace.clone(),
    );
    let prefix = context.options.config_prefix.clone();
    watch_of(services, watcher::Config::default())
        .default_backoff()
        .flat_map(move |event| {
            let mut known = known.lock();
            let key = |object: &DynamicObject| -> Key {
                let meta = object.meta();
                (
                    meta.namespace.clone().unwrap_or_default(),
                    meta.name.clone().unwrap_or_default(),
                )
            };
            let touched = match event {
                Ok(Event::Apply(service)) => {
                    let uses = Uses::of(&to_value(&service));
                    known.put(key(&service), Some(uses), &system)
                }
                Ok(Event::Delete(service)) => known.put(key(&service), None, &system),
                Ok(Event::Init) => {
                    known.begin();
                    return stream::iter(Vec::new());
                }
                Ok(Event::InitApply(service)) => {
                    known.list(key(&service), Uses::of(&to_value(&service)));
                    return stream::iter(Vec::new());
                }
                Ok(Event::InitDone) => {
                    known.complete(&system);
                    return stream::iter(all(&configs, |_| true));
                }
                Err(error) => {
                    tracing::debug!(%error, "watch of services for their configs failed");
                    return stream::iter(Vec::new());
                }
            };
            // Presets are used by services that do not name them, too.
            let is_touched = |config: &Key| {
                touched.contains(config) || (!touched.is_empty() && is_preset(&config.1, &prefix))
            };
            stream::iter(all(&configs, is_touched))
        })
        .boxed()
}

/// The configs there are, as far as they are `wanted`.
fn all(configs: &Store<DynamicObject>, wanted: impl Fn(&Key) -> bool) -> Vec<Ref> {
    let mut found = Vec::new();
    for config in configs.state() {
        let reference = ObjectRef::from_obj_with(config.as_ref(), kind::CONFIG.api_resource());
        let namespace = reference.namespace.clone().unwrap_or_default();
        if wanted(&(namespace, reference.name.clone())) {
            found.push(reference);
        }
    }
    found
}

fn is_preset(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|suffix| WELL_KNOWN.contains(&suffix))
}

/// Brings finalizer and status of one config up to date.
async fn pass(config: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    let live = to_value(&config);
    let identity = ServiceIdentity::of(&live);
    let terminating = config.metadata.deletion_timestamp.is_some();
    let finalizers = config.metadata.finalizers.as_deref().unwrap_or_default();
    let held = finalizers.iter().any(|name| name == CONFIG_FINALIZER);
    if !context.known.lock().is_whole() || (terminating && !held) {
        return Ok(Action::await_change());
    }
    if !terminating && !held {
        let wanted: Vec<&str> = finalizers
            .iter()
            .map(String::as_str)
            .chain([CONFIG_FINALIZER])
            .collect();
        set_finalizers(&context, &live, &wanted).await?;
        return Ok(Action::await_change());
    }
    let system = &context.options.system_namespace;
    let key = (identity.namespace.clone(), identity.name.clone());
    // In the system's namespace a preset serves everybody; elsewhere, one that goes is missed by those alone
    // that have it.
    let counts_for_all = is_preset(&identity.name, &context.options.config_prefix)
        && (!terminating || key.0 == *system);
    let now = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let (count, status) = {
        let known = context.known.lock();
        let users = known.users(&key, counts_for_all, system);
        (users.len(), uses::status(&live, &users, &now))
    };
    if terminating && count == 0 {
        let others: Vec<&str> = finalizers
            .iter()
            .map(String::as_str)
            .filter(|name| *name != CONFIG_FINALIZER)
            .collect();
        set_finalizers(&context, &live, &others).await?;
        return Ok(Action::await_change());
    }
    if live.get("status") != Some(&status) {
        let was_blocked = blocked(live.get("status").unwrap_or(&Value::Null));
        let patch = Patch::Merge(json!({"status": status}));
        let answer = api(&context, &identity.namespace)
            .patch_status(&identity.name, &PatchParams::default(), &patch)
            .await;
        gone_is_fine(answer, "write the status of", &identity)?;
        if blocked(&status) && !was_blocked {
            let message = format!(
                "Cannot delete LLMInferenceServiceConfig {}/{}: {}",
                identity.namespace,
                identity.name,
                uses::referenced_by(count)
            );
            let about = (kind::CONFIG, &identity);
            let why = reason::DELETION_BLOCKED;
            events::report_on(&context.client, about, Severity::Warning, why, &message).await;
        }
    }
    Ok(Action::await_change())
}

fn blocked(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["reason"] == reason::DELETION_BLOCKED)
}

fn api(context: &Context, namespace: &str) -> Api<DynamicObject> {
    watch::api(&context.client, kind::CONFIG, Some(namespace))
}

/// Sets the finalizers if nobody has written in between.
async fn set_finalizers(context: &Context, live: &Value, wanted: &[&str]) -> Result<(), Error> {
    let identity = ServiceIdentity::of(live);
    let patch = Patch::Merge(json!({"metadata": {
        "finalizers": wanted,
        "resourceVersion": live["metadata"]["resourceVersion"],
    }}));
    let answer = api(context, &identity.namespace)
        .patch(&identity.name, &PatchParams::default(), &patch)
        .await;
    gone_is_fine(answer, "patch the finalizers of", &identity)
}

fn gone_is_fine(
    answer: Result<DynamicObject, kube::Error>,
    action: &'static str,
    identity: &ServiceIdentity,
) -> Result<(), Error> {
    match answer {
        Err(error) if api_code(&error) != Some(404) => {
            let config = format!("config {}/{}", identity.namespace, identity.name);
            Err(Error::api(action, config, error))
        }
        _ => Ok(()),
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature is the controller runtime's"
)]
fn on_error(config: Arc<DynamicObject>, error: &Error, _: Arc<Context>) -> Action {
    if error.is_conflict() {
        // The write that came in between is on its way here.
        return Action::requeue(COLLECT);
    }
    tracing::warn!(config = watch::id(&config), %error, "cannot look after a config");
    Action::requeue(RETRY)
}
