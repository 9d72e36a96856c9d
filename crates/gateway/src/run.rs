//! The running gateway: watches feed the world, the world programs the server and the status.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use weir_discovery::{Change, EndpointSets, follow};

use crate::attach::{Key, Model, World, attach};
use crate::objects::{GROUP, Object, POOL_GROUPS};
use crate::serve::Server;
use crate::status::{Kind, Write, writes};

/// How the gateway presents itself.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Address that clients are told; the loopback address when unspecified.
    pub published: SocketAddr,
}

impl Options {
    /// Returns options for a gateway that clients reach at `published`.
    #[must_use]
    pub fn new(published: SocketAddr) -> Self {
        Self { published }
    }
}

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listener has no address.
    #[error("the gateway's listener is not usable")]
    Listener(#[from] std::io::Error),
    /// The API refused.
    #[error("the API server refused a request of the gateway")]
    Api(#[from] kube::Error),
}

/// Most changes taken in before the table is built again.
const BATCH: usize = 512;
/// Least time between two equal writes to one object: whoever undoes them is not fought at full speed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Wait before statuses that could not be written are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Serves HTTP routes on `listener` and writes status until `shutdown`.
///
/// # Errors
/// When `listener` has no address. Everything else is tried again for ever.
pub async fn run(
    client: Client,
    listener: TcpListener,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let listen = listener.local_addr()?;
    let (endpoints, filling) = EndpointSets::watch(client.clone(), shutdown.clone());
    let server = Arc::new(Server::new(
        endpoints.clone(),
        weir_proxy::Client::default(),
        listen,
    ));
    let (pending_in, pending) = watch::channel(Vec::new());
    let again = Arc::new(Notify::new());
    let programming = Programmer {
        world: World::default(),
        listed: BTreeMap::new(),
        synced: HashSet::new(),
        model: Model::default(),
        server: Arc::clone(&server),
        endpoints,
        pending: pending_in,
        published: options.published,
    };
    let handler = move |request| {
        let server = Arc::clone(&server);
        async move { server.handle(request).await }
    };
    tracing::info!(address = %listen, published = %options.published, "Gateway serves");
    tokio::join!(
        weir_runtime::http::serve(listener, None, handler, shutdown.clone()),
        filling,
        Box::pin(programming.run(client.clone(), Arc::clone(&again), shutdown.clone())),
        Box::pin(write(client, pending, again, shutdown)),
    );
    Ok(())
}

/// Returns the description of a kind for dynamic access.
pub(crate) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Watched {
    Class,
    Gateway,
    Route,
    Pool,
    Namespace,
}

struct Programmer {
    world: World,
    listed: BTreeMap<Watched, HashSet<Key>>,
    synced: HashSet<Watched>,
    model: Model,
    server: Arc<Server>,
    endpoints: EndpointSets,
    pending: watch::Sender<Vec<Write>>,
    published: SocketAddr,
}

impl Programmer {
    async fn run(mut self, client: Client, again: Arc<Notify>, shutdown: CancellationToken) {
        let mut changes = std::pin::pin!(changes(&client).ready_chunks(BATCH));
        let mut services = self.endpoints.subscribe();
        let mut shape = None;
        loop {
            let mut stale = false;
            tokio::select! {
                () = shutdown.cancelled() => return,
                batch = changes.next() => match batch {
                    Some(batch) => {
                        for (kind, change) in batch {
                            stale |= self.take(kind, change);
                        }
                    }
                    None => return,
                },
                changed = services.changed() => if changed.is_err() {
                    return;
                },
                () = again.notified() => {}
            }
            let snapshot = services.borrow_and_update().clone();
            if shape != Some(snapshot.shape()) {
                shape = Some(snapshot.shape());
                stale = true;
            }
            if stale {
                self.model = attach(&self.world, &*snapshot);
                self.server.program(Arc::clone(&self.model.routing));
                tracing::debug!(
                    entries = self.model.routing.table.len(),
                    "Routing table programmed"
                );
            }
            // Before the lists are complete a status would say that things are missing.
            let complete = snapshot.synced()
                && [Watched::Gateway, Watched::Route]
                    .iter()
                    .all(|kind| self.synced.contains(kind));
            if complete {
                let now = jiff::Timestamp::now()
                    .strftime("%Y-%m-%dT%H:%M:%SZ")
                    .to_string();
                let wanted = writes(&self.world, &self.model, self.published, &now);
                self.pending.send_replace(wanted);
            }
        }
    }

    /// Takes in a change; says whether routing may be different now.
    fn take(&mut self, kind: Watched, change: Change<DynamicObject>) -> bool {
        let world = &mut self.world;
        match change {
            Change::Listing => {
                self.listed.insert(kind, HashSet::new());
                false
            }
            Change::Synced => {
                let listed = self.listed.remove(&kind).unwrap_or_default();
                self.synced.insert(kind);
                match kind {
                    Watched::Class => world.classes.retain(|key, _| listed.contains(key)),
                    Watched::Gateway => world.gateways.retain(|key, _| listed.contains(key)),
                    Watched::Route => world.routes.retain(|key, _| listed.contains(key)),
                    Watched::Pool => world.pools.retain(|key, _| listed.contains(key)),
                    Watched::Namespace => world.namespaces.retain(|key, _| listed.contains(key)),
                }
                true
            }
            Change::Listed(object) => {
                if let Some(listed) = self.listed.get_mut(&kind) {
                    listed.insert(key(&object));
                }
                put(world, kind, &object)
            }
            Change::Applied(object) => put(world, kind, &object),
            Change::Deleted(object) => {
                let key = key(&object);
                match kind {
                    Watched::Class => world.classes.remove(&key).is_some(),
                    Watched::Gateway => world.gateways.remove(&key).is_some(),
                    Watched::Route => world.routes.remove(&key).is_some(),
                    Watched::Pool => world.pools.remove(&key).is_some(),
                    Watched::Namespace => world.namespaces.remove(&key).is_some(),
                }
            }
        }
    }
}

fn changes(client: &Client) -> impl Stream<Item = (Watched, Change<DynamicObject>)> + Send {
    let kinds = [
        (
            Watched::Class,
            resource(GROUP, "v1", "GatewayClass", "gatewayclasses"),
        ),
        (
            Watched::Gateway,
            resource(GROUP, "v1", "Gateway", "gateways"),
        ),
        (
            Watched::Route,
            resource(GROUP, "v1", "HTTPRoute", "httproutes"),
        ),
        (
            Watched::Pool,
            resource(POOL_GROUPS[0], "v1", "InferencePool", "inferencepools"),
        ),
        (Watched::Namespace, ApiResource::erase::<Namespace>(&())),
    ];
    let streams = kinds.map(|(watched, kind)| -> BoxStream<'static, _> {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        follow(api).map(move |change| (watched, change)).boxed()
    });
    futures::stream::select_all(streams)
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Puts an object into the world; says whether more than its status is different.
fn put(world: &mut World, kind: Watched, object: &DynamicObject) -> bool {
    let key = key(object);
    match kind {
        Watched::Class => put_in(&mut world.classes, key, object),
        Watched::Gateway => put_in(&mut world.gateways, key, object),
        Watched::Route => put_in(&mut world.routes, key, object),
        Watched::Pool => put_in(&mut world.pools, key, object),
        Watched::Namespace => {
            let labels = object.labels().clone();
            world.namespaces.insert(key, labels.clone()).as_ref() != Some(&labels)
        }
    }
}

fn put_in<S>(objects: &mut BTreeMap<Key, Object<S>>, key: Key, object: &DynamicObject) -> bool
where
    S: PartialEq + Default + for<'de> Deserialize<'de>,
{
    match serde_json::to_value(object).and_then(serde_json::from_value::<Object<S>>) {
        Ok(object) => {
            let same = objects.get(&key).is_some_and(|old| {
                old.spec == object.spec
                    && old.metadata.creation_timestamp == object.metadata.creation_timestamp
            });
            objects.insert(key, object);
            !same
        }
        Err(error) => {
            tracing::warn!(namespace = %key.0, name = %key.1, %error, "Object ignored: not as its kind says");
            objects.remove(&key).is_some()
        }
    }
}

/// Writes the statuses that are pending, the newest set only.
async fn write(
    client: Client,
    mut pending: watch::Receiver<Vec<Write>>,
    again: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut written: HashMap<(Kind, Key), (Value, Instant)> = HashMap::new();
    let mut retry = None;
    loop {
        let later = async {
            match retry {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = pending.changed() => if changed.is_err() {
                return;
            },
            () = later => {
                // What is wanted is computed anew from what is there by now.
                retry = None;
                again.notify_one();
                continue;
            }
        }
        written.retain(|_, (_, at)| at.elapsed() < PATIENCE);
        let wanted = pending.borrow_and_update().clone();
        let mut failed = false;
        for write in wanted {
            let object = (write.kind, write.key.clone());
            let timeless = timeless(&write.status);
            if written
                .get(&object)
                .is_some_and(|(status, _)| *status == timeless)
            {
                // Mostly the watch has not brought the write back yet.
                failed = true;
                continue;
            }
            let done = tokio::select! {
                () = shutdown.cancelled() => return,
                done = write_one(&client, &write) => done,
            };
            match done {
                Ok(()) => {
                    written.insert(object, (timeless, Instant::now()));
                }
                // A newer version, or none at all, is on its way through the watch.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                    tracing::debug!(kind = ?write.kind, name = %write.key.1, code = status.code, "Status out of date");
                }
                Err(error) => {
                    failed = true;
                    tracing::warn!(
                        kind = ?write.kind, namespace = %write.key.0, name = %write.key.1,
                        error = &error as &dyn std::error::Error,
                        "Status not written, trying again"
                    );
                }
            }
        }
        retry = failed.then(|| tokio::time::Instant::now() + RETRY);
    }
}

/// Returns `status` without the times in it.
fn timeless(status: &Value) -> Value {
    match status {
        Value::Object(fields) => fields
            .iter()
            .filter(|(field, _)| *field != "lastTransitionTime")
            .map(|(field, value)| (field.clone(), timeless(value)))
            .collect(),
        Value::Array(items) => items.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

async fn write_one(client: &Client, write: &Write) -> Result<(), kube::Error> {
    let (group, kind, plural) = match write.kind {
        Kind::Class => (GROUP, "GatewayClass", "gatewayclasses"),
        Kind::Gateway => (GROUP, "Gateway", "gateways"),
        Kind::Route => (GROUP, "HTTPRoute", "httproutes"),
        Kind::Pool => (POOL_GROUPS[0], "InferencePool", "inferencepools"),
    };
    let kind = resource(group, "v1", kind, plural);
    let api: Api<DynamicObject> = if write.key.0.is_empty() {
        Api::all_with(client.clone(), &kind)
    } else {
        Api::namespaced_with(client.clone(), &write.key.0, &kind)
    };
    let patch = json!({
        "metadata": {"resourceVersion": write.resource_version},
        "status": write.status,
    });
    let parameters = PatchParams {
        field_manager: Some("weir-gateway".into()),
        ..PatchParams::default()
    };
    api.patch_status(&write.key.1, &parameters, &Patch::Merge(&patch))
        .await?;
    Ok(())
}
