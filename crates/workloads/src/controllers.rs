//! The loop: watches fill the cache and name what needs work; one piece of work at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_api::names::{label, lws};

use crate::cache::{Cache, Name, key};
use crate::endpoints::selects;
use crate::kinds::{Kind, controller, name, namespace};
use crate::queue::{Key, Queue};
use crate::{Error, groups};

type Told = (Kind, Result<Event<DynamicObject>, watcher::Error>);

const WATCHED: [Kind; 7] = [
    Kind::Deployment,
    Kind::ReplicaSet,
    Kind::Pod,
    Kind::Service,
    Kind::Slice,
    Kind::Revision,
    Kind::Job,
];
/// Its definition may not be installed; nothing else waits for it.
const OPTIONAL: Kind = Kind::GroupSet;
const NAMESPACES: [Kind; 2] = [Kind::Namespace, Kind::Account];

pub(crate) struct Controllers {
    pub(crate) client: Client,
    pub(crate) cache: Cache,
    pub(crate) queue: Queue,
    pub(crate) memories: HashMap<Name, groups::Memory>,
}

/// Runs the controllers in one namespace, or in all, until `shutdown`.
pub(crate) async fn run(client: Client, only: Option<&str>, shutdown: &CancellationToken) {
    // The accounts of all namespaces are nobody's business who looks at one.
    let kinds: Vec<Kind> = match only {
        Some(_) => WATCHED.to_vec(),
        None => WATCHED.into_iter().chain(NAMESPACES).collect(),
    };
    let mut events: SelectAll<BoxStream<'static, Told>> = SelectAll::new();
    for kind in kinds.iter().copied().chain([OPTIONAL]) {
        let resource = kind.resource();
        let api: Api<DynamicObject> = match only {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let watch = watcher(api, watcher::Config::default()).default_backoff();
        events.push(watch.map(move |event| (kind, event)).boxed());
    }
    let mut controllers = Controllers {
        client,
        cache: Cache::default(),
        queue: Queue::default(),
        memories: HashMap::new(),
    };
    loop {
        let due = if controllers.cache.synced(&kinds) {
            controllers.queue.due()
        } else {
            None
        };
        let work = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some((kind, event)) = events.next() => controllers.event(kind, event),
            () = work => {
                if let Some(key) = controllers.queue.pop(Instant::now()) {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = controllers.work(key) => {}
                    }
                }
            }
        }
    }
}

impl Controllers {
    fn event(&mut self, kind: Kind, event: Result<Event<DynamicObject>, watcher::Error>) {
        match event {
            Err(error) => tracing::debug!(kind = kind.name(), %error, "Watch interrupted"),
            Ok(Event::Init) => self.cache.begin(kind),
            Ok(Event::InitDone) => {
                for lost in self.cache.end(kind) {
                    self.wake(kind, &lost);
                }
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let object = Arc::new(serde_json::to_value(object).unwrap_or_default());
                if let Some(before) = self.cache.told(kind, Arc::clone(&object)) {
                    self.changed(kind, before.as_deref(), &object);
                }
            }
            Ok(Event::Delete(object)) => {
                let object = serde_json::to_value(object).unwrap_or_default();
                self.cache.removed(kind, &object);
                self.wake(kind, &object);
            }
        }
    }

    /// Wakes what depends on the state before and on the one after.
    pub(crate) fn changed(&mut self, kind: Kind, before: Option<&Value>, after: &Value) {
        if let Some(before) = before {
            self.wake(kind, before);
        }
        self.wake(kind, after);
    }

    /// Wakes what depends on a state of an object.
    pub(crate) fn wake(&mut self, kind: Kind, object: &Value) {
        for key in self.affected(kind, object) {
            self.queue.soon(key, Instant::now());
        }
    }

    fn affected(&self, kind: Kind, object: &Value) -> Vec<Key> {
        let at = namespace(object);
        let named = |kind: Kind, name: &str| (kind, (at.to_owned(), name.to_owned()));
        let owner_of = |object: &Value, kind: Kind| {
            let reference = controller(object).filter(|owner| owner["kind"] == kind.name())?;
            Some(named(kind, reference["name"].as_str()?))
        };
        // One that nobody controls may be adopted.
        let adopters = |kind: Kind| -> Vec<Key> {
            if controller(object).is_some() {
                return Vec::new();
            }
            let labels = object.pointer("/metadata/labels");
            self.cache
                .within(kind, at)
                .filter(|set| selects(set.pointer("/spec/selector/matchLabels"), labels))
                .map(|set| named(kind, name(set)))
                .collect()
        };
        let own = (kind, key(object));
        match kind {
            Kind::Deployment | Kind::Service | Kind::Namespace | Kind::GroupSet | Kind::Job => {
                vec![own]
            }
            Kind::Revision => owner_of(object, Kind::GroupSet).into_iter().collect(),
            Kind::ReplicaSet => {
                let mut keys = adopters(Kind::Deployment);
                keys.extend(owner_of(object, Kind::Deployment));
                keys.push(own);
                keys
            }
            Kind::Pod => {
                let mut keys = adopters(Kind::ReplicaSet);
                if let Some(set) = owner_of(object, Kind::ReplicaSet) {
                    let found = self.cache.get(Kind::ReplicaSet, &set.1);
                    keys.extend(found.and_then(|found| owner_of(&found, Kind::Deployment)));
                    keys.push(set);
                }
                keys.extend(owner_of(object, Kind::Job));
                let labels = object.pointer("/metadata/labels");
                let groups = labels.and_then(|labels| labels[lws::NAME].as_str());
                keys.extend(groups.map(|set| named(Kind::GroupSet, set)));
                keys.extend(
                    self.cache
                        .within(Kind::Service, at)
                        .filter(|service| selects(service.pointer("/spec/selector"), labels))
                        .map(|service| named(Kind::Service, name(service))),
                );
                keys
            }
            Kind::Slice => {
                let service = object["metadata"]["labels"][label::SERVICE_NAME].as_str();
                let keys = service.map(|service| named(Kind::Service, service));
                keys.into_iter().collect()
            }
            Kind::Account => vec![(Kind::Namespace, (String::new(), at.to_owned()))],
            Kind::Event => Vec::new(),
        }
    }

    async fn work(&mut self, key: Key) {
        let Some(object) = self.cache.get(key.0, &key.1) else {
            self.queue.succeeded(&key);
            if key.0 == Kind::GroupSet {
                self.memories.remove(&key.1);
                if let Err(error) = self.end_groups_of_none(&key.1).await {
                    tracing::debug!(name = key.1.1, %error, "Workers go after their leader");
                }
            }
            return;
        };
        let result = match key.0 {
            Kind::Deployment => Box::pin(self.deployment(&object)).await,
            Kind::ReplicaSet => Box::pin(self.replica_set(&object)).await,
            Kind::Job => Box::pin(self.job(&object)).await,
            Kind::GroupSet => Box::pin(self.group_set(&object)).await,
            Kind::Service => self.service(&object).await,
            Kind::Namespace => self.namespace(&object).await,
            _ => Ok(None),
        };
        match result {
            Ok(again) => {
                self.queue.succeeded(&key);
                if let Some(seconds) = again {
                    self.queue
                        .at(key, Instant::now() + Duration::from_secs(seconds));
                }
            }
            Err(error) => {
                let conflict = error.is_conflict();
                let (kind, name) = (key.0.name(), &key.1.1);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                if conflict {
                    tracing::debug!(kind, name, %error, cause, "Another writer was first");
                } else {
                    tracing::warn!(kind, name, %error, cause, "Object not brought further, tried again");
                }
                self.queue.failed(key, conflict, Instant::now());
            }
        }
    }

    /// Makes sure that a namespace has its `default` account.
    async fn namespace(&mut self, object: &Value) -> Result<Option<u64>, Error> {
        let at = name(object).to_owned();
        let account = (at.clone(), "default".to_owned());
        if crate::kinds::deleting(object) || self.cache.get(Kind::Account, &account).is_some() {
            return Ok(None);
        }
        let account = serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount",
                                         "metadata": {"name": "default", "namespace": at}});
        self.create(Kind::Account, account).await?;
        Ok(None)
    }

    /// Brings the slice of a service up to date.
    async fn service(&mut self, service: &Value) -> Result<Option<u64>, Error> {
        if crate::kinds::deleting(service) {
            return Ok(None);
        }
        let wanted = {
            let pods = self.cache.within(Kind::Pod, namespace(service));
            crate::endpoints::slice(service, pods.map(AsRef::as_ref))
        };
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let live = self.cache.get(Kind::Slice, &key(&wanted));
        let same = |part: &str| live.as_ref().is_some_and(|live| live[part] == wanted[part]);
        if !(same("endpoints") && same("ports")) {
            self.apply(Kind::Slice, &wanted).await?;
        }
        Ok(None)
    }
}
