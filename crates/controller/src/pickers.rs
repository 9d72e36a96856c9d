//! ConfigMaps of services' namespaces that hold a picker's configuration.
//!
//! Only those are read that a spec names, and each is kept until something is heard of it. What is watched is
//! only the metadata of all others: a cluster has many ConfigMaps, and large ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ResourceExt};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;
use serde_json::Value;
use weir_api::names::kind;

use crate::apply::to_value;
use crate::watch::{Ref, service_ref};
use crate::{Context, Error, watch};

/// Namespace and name.
type Key = (String, String);
/// A ConfigMap, or that there is none.
type Found = Option<Arc<Value>>;

/// What was read, and for whom.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Grows with whatever is heard: what was asked for before may be old.
    heard: u64,
    read: HashMap<Key, Found>,
    /// By service.
    wanted: HashMap<Key, BTreeSet<Key>>,
}

impl Memory {
    /// Reads a ConfigMap, from the server unless it is known.
    pub(crate) async fn read(&self, context: &Context, key: &Key) -> Result<Found, Error> {
        let heard = {
            let known = self.0.lock();
            if let Some(found) = known.read.get(key) {
                return Ok(found.clone());
            }
            known.heard
        };
        let (namespace, name) = key;
        let api = watch::api(&context.client, kind::CONFIG_MAP, Some(namespace));
        let found = api.get_opt(name).await;
        let found =
            found.map_err(|e| Error::api("read", format!("ConfigMap {namespace}/{name}"), e))?;
        let found = found.map(|map| Arc::new(to_value(&map)));
        let mut known = self.0.lock();
        if known.heard == heard && known.wanted.values().any(|keys| keys.contains(key)) {
            known.read.insert(key.clone(), found.clone());
        }
        Ok(found)
    }

    /// What is known of the ConfigMaps that a service looks for.
    pub(crate) fn known(&self, service: &Key) -> Read {
        let known = self.0.lock();
        let wanted = known.wanted.get(service).into_iter().flatten();
        wanted
            .filter_map(|key| Some((key.clone(), known.read.get(key)?.clone())))
            .collect()
    }

    /// A service looks for these, and for no others any more.
    pub(crate) fn want(&self, service: Key, keys: BTreeSet<Key>) {
        let mut known = self.0.lock();
        let Known { read, wanted, .. } = &mut *known;
        let before = wanted.remove(&service).unwrap_or_default();
        let left: Vec<Key> = before.difference(&keys).cloned().collect();
        if !keys.is_empty() {
            wanted.insert(service, keys);
        }
        for key in left {
            if !wanted.values().any(|keys| keys.contains(&key)) {
                read.remove(&key);
            }
        }
    }

    /// Something was heard of a ConfigMap, or of any. Answers the services that look for it.
    fn heard(&self, key: Option<&Key>) -> Vec<Ref> {
        let mut known = self.0.lock();
        known.heard = known.heard.wrapping_add(1);
        known
            .read
            .retain(|read, _| key.is_some_and(|key| key != read));
        let looks = |keys: &BTreeSet<Key>| key.is_none_or(|key| keys.contains(key));
        let services = known.wanted.iter().filter(|(_, keys)| looks(keys));
        services
            .map(|((namespace, name), _)| service_ref(name, namespace))
            .collect()
    }
}

/// The services that changes of ConfigMaps wake up.
pub(crate) fn follow(context: &Arc<Context>) -> BoxStream<'static, Ref> {
    let options = &context.options;
    let namespaces = match &options.namespace {
        None => BTreeSet::from([None]),
        Some(own) => BTreeSet::from([Some(own.clone()), Some(options.system_namespace.clone())]),
    };
    let each = namespaces.into_iter().map(|namespace| {
        let context = Arc::clone(context);
        let api: Api<PartialObjectMeta<ConfigMap>> = match namespace {
            Some(namespace) => Api::namespaced(context.client.clone(), &namespace),
            None => Api::all(context.client.clone()),
        };
        watcher::watcher(api, watcher::Config::default())
            .default_backoff()
            .flat_map(move |event| {
                let memory = &context.pickers;
                stream::iter(match event {
                    Ok(Event::Apply(map) | Event::InitApply(map) | Event::Delete(map)) => {
                        memory.heard(Some(&(map.namespace().unwrap_or_default(), map.name_any())))
                    }
                    Ok(Event::Init) => Vec::new(),
                    // What went while nobody watched is not among what was listed.
                    Ok(Event::InitDone) => memory.heard(None),
                    Err(error) => {
                        tracing::debug!(kind = "ConfigMap", %error, "watch failed");
                        Vec::new()
                    }
                })
            })
            .boxed()
    });
    stream::select_all(each).boxed()
}

/// ConfigMaps that a composition has asked for, by namespace and name.
pub(crate) type Read = BTreeMap<Key, Found>;
