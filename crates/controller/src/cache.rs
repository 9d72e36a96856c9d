//! What is known of the cluster: one watched copy of every kind that passes read.
//!
//! What we write ourselves is put into the copy at once, and an event that is older than what is known is
//! dropped: a pass never sees the time before its predecessor's writes, so it neither undoes nor repeats them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use weir_api::names::{GLOBAL_CONFIG_MAP, Kind, kind, label, value};
use weir_plan::CA_BUNDLE_KEY;

use crate::apply::to_value;
use crate::{Error, api_code};

/// The kinds that passes read.
pub(crate) const KINDS: [Kind; 25] = [
    kind::DEPLOYMENT,
    kind::LEADER_WORKER_SET,
    kind::ROLE,
    kind::ROLE_BINDING,
    kind::CORE_SERVICE,
    kind::SECRET,
    kind::HTTP_ROUTE,
    kind::POD,
    kind::CONFIG,
    kind::GATEWAY,
    kind::GATEWAY_CLASS,
    kind::SERVICE_ACCOUNT,
    kind::CONFIG_MAP,
    kind::RESOURCE_CLAIM_TEMPLATE,
    kind::CLUSTER_ROLE_BINDING,
    kind::INFERENCE_POOL,
    kind::INFERENCE_POOL_ALPHA,
    kind::INFERENCE_MODEL,
    kind::INFERENCE_OBJECTIVE,
    kind::LLM_D_INFERENCE_OBJECTIVE,
    kind::HORIZONTAL_POD_AUTOSCALER,
    kind::SCALED_OBJECT,
    kind::LOCAL_MODEL_CACHE,
    kind::LOCAL_MODEL_NAMESPACE_CACHE,
    // Members of traffic groups only.
    kind::SERVICE,
];
/// Identities of vanished objects that are remembered for each kind.
const REMEMBERED: usize = 1024;

/// Namespace and name; the namespace is empty where there is none.
type Key = (String, String);

/// How far the copy of a kind may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Knowledge {
    /// Not listed yet.
    Pending,
    /// Listed, and followed since.
    Whole,
    /// The server does not serve the kind.
    NotServed,
    /// It could never be listed, and why.
    Failed(String),
}

/// One kind.
struct Objects {
    knowledge: Knowledge,
    objects: BTreeMap<Key, Arc<Value>>,
    /// A list under way, which replaces `objects` when it is complete.
    listing: Option<BTreeMap<Key, Arc<Value>>>,
    vanished: Vanished,
}

/// The last identities that went, each with the version up to which it is to stay away.
#[derive(Default)]
struct Vanished {
    order: VecDeque<String>,
    until: HashMap<String, u64>,
}

impl Vanished {
    fn add(&mut self, uid: &str, version: u64) {
        if let Some(known) = self.until.get_mut(uid) {
            *known = version.max(*known);
            return;
        }
        self.until.insert(uid.to_owned(), version);
        self.order.push_back(uid.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.until.remove(&oldest);
        }
    }
}

/// The copies of all kinds.
pub(crate) struct Cache {
    copies: [(Kind, Mutex<Objects>); KINDS.len()],
    changed: Notify,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let copy = || Objects {
            knowledge: Knowledge::Pending,
            objects: BTreeMap::new(),
            listing: None,
            vanished: Vanished::default(),
        };
        Self {
            copies: KINDS.map(|kind| (kind, Mutex::new(copy()))),
            changed: Notify::new(),
        }
    }

    fn copy(&self, kind: Kind) -> Option<&Mutex<Objects>> {
        let found = self.copies.iter().find(|(known, _)| *known == kind);
        found.map(|(_, copy)| copy)
    }

    /// Waits until every kind was listed or is known not to be.
    pub(crate) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            let pending =
                |(_, copy): &(Kind, Mutex<Objects>)| copy.lock().knowledge == Knowledge::Pending;
            if !self.copies.iter().any(pending) {
                return;
            }
            changed.await;
        }
    }

    /// Whether the server has the kind.
    pub(crate) fn served(&self, kind: Kind) -> bool {
        self.copy(kind)
            .is_some_and(|copy| copy.lock().knowledge != Knowledge::NotServed)
    }

    fn read<T>(&self, kind: Kind, read: impl FnOnce(&Objects) -> T) -> Result<T, Error> {
        let unknown = |cause: &str| Error::Unknown {
            kind: kind.plural,
            cause: cause.to_owned(),
        };
        let Some(copy) = self.copy(kind) else {
            return Err(unknown("it is not watched"));
        };
        let copy = copy.lock();
        match &copy.knowledge {
            Knowledge::Failed(cause) => Err(unknown(cause)),
            _ => Ok(read(&copy)),
        }
    }

    /// One object, if it exists.
    pub(crate) fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Error> {
        let key = (namespace.to_owned(), name.to_owned());
        self.read(kind, |copy| copy.objects.get(&key).cloned())
    }

    /// The objects of a namespace that are `wanted`, by name.
    pub(crate) fn list(
        &self,
        kind: Kind,
        namespace: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Arc<Value>>, Error> {
        self.read(kind, |copy| {
            copy.objects
                .range((namespace.to_owned(), String::new())..)
                .take_while(|((of, _), _)| of == namespace)
                .map(|(_, object)| object)
                .filter(|object| wanted(object))
                .cloned()
                .collect()
        })
    }

    /// What the server answered to a write of ours.
    pub(crate) fn wrote(&self, kind: Kind, object: &Arc<Value>) {
        if let Some(copy) = self.copy(kind) {
            copy.lock().put(object);
        }
    }

    /// We deleted the object.
    pub(crate) fn deleted(&self, kind: Kind, object: &Value) {
        if let Some(copy) = self.copy(kind) {
            copy.lock().remove(object, u64::MAX);
        }
    }

    /// Takes in what the watch of a kind saw. Answers whether the kind has just come to be served.
    pub(crate) fn saw(&self, kind: Kind, event: &Event<DynamicObject>) -> bool {
        let Some(copy) = self.copy(kind) else {
            return false;
        };
        let mut copy = copy.lock();
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                copy.put(&Arc::new(kept(object, kind)))
            }
            Event::Delete(object) => {
                let object = to_value(object);
                copy.remove(&object, version(&object));
            }
            Event::Init => copy.listing = Some(BTreeMap::new()),
            Event::InitDone => {
                if let Some(listed) = copy.listing.take() {
                    copy.objects = listed;
                }
                let before = std::mem::replace(&mut copy.knowledge, Knowledge::Whole);
                self.changed.notify_waiters();
                return matches!(before, Knowledge::NotServed | Knowledge::Failed(_));
            }
        }
        false
    }

    /// The watch of a kind failed. It is tried again; what was known stays, unless the kind is gone.
    /// Answers whether the kind is gone only now.
    pub(crate) fn failed(&self, kind: Kind, error: &watcher::Error) -> bool {
        let Some(copy) = self.copy(kind) else {
            return false;
        };
        let mut copy = copy.lock();
        let not_served = match error {
            watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause) => {
                api_code(cause) == Some(404)
            }
            _ => false,
        };
        if not_served {
            copy.objects.clear();
            copy.listing = None;
            let before = std::mem::replace(&mut copy.knowledge, Knowledge::NotServed);
            self.changed.notify_waiters();
            return before == Knowledge::Whole;
        }
        if copy.knowledge != Knowledge::Whole {
            copy.knowledge = Knowledge::Failed(error.to_string());
            self.changed.notify_waiters();
        }
        false
    }
}

impl Objects {
    /// Takes the object in unless something newer is known.
    fn put(&mut self, object: &Arc<Value>) {
        let terminating = object.pointer("/metadata/deletionTimestamp").is_some();
        let until = self.vanished.until.get(uid(object));
        if !terminating && until.is_some_and(|until| version(object) <= *until) {
            return;
        }
        let key = key(object);
        for objects in [Some(&mut self.objects), self.listing.as_mut()]
            .into_iter()
            .flatten()
        {
            let newer = |known: &Arc<Value>| version(known) > version(object);
            if !objects.get(&key).is_some_and(newer) {
                objects.insert(key.clone(), object.clone());
            }
        }
    }

    /// Forgets the object, but not another one that has taken its name.
    ///
    /// A watch by label also says "deleted" of an object that only lost the label and may come back.
    fn remove(&mut self, object: &Value, until: u64) {
        self.vanished.add(uid(object), until);
        let key = key(object);
        for objects in [Some(&mut self.objects), self.listing.as_mut()]
            .into_iter()
            .flatten()
        {
            if objects.get(&key).is_some_and(|o| uid(o) == uid(object)) {
                objects.remove(&key);
            }
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

fn key(object: &Value) -> Key {
    let part = |pointer| text(object, pointer).to_owned();
    (part("/metadata/namespace"), part("/metadata/name"))
}

/// How new the object is: versions of one kind grow. One that is not a number counts as the oldest, so that
/// whatever comes next replaces it.
pub(crate) fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion")
        .parse()
        .unwrap_or(0)
}

/// Whether passes read the content of a ConfigMap of the system namespace.
pub(crate) fn is_read(map: &DynamicObject) -> bool {
    let data = map.data.get("data");
    map.metadata.name.as_deref() == Some(GLOBAL_CONFIG_MAP)
        || data.is_some_and(|data| data.get(CA_BUNDLE_KEY).is_some())
}

/// What a message about a pod may need of one of its containers.
fn kept_container(container: &Value) -> Value {
    let mut kept = Map::new();
    for key in ["name", "startupProbe", "readinessProbe"] {
        if let Some(value) = container.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(kept)
}

/// A pod without what no message is made of: there are many, and most of each is its spec.
fn kept_pod(pod: &mut Value) {
    let Some(fields) = pod.as_object_mut() else {
        return;
    };
    let mut spec = Map::new();
    for key in ["initContainers", "containers"] {
        let list = fields.get("spec").and_then(|spec| spec.get(key));
        if let Some(list) = list.and_then(Value::as_array) {
            spec.insert(key.to_owned(), list.iter().map(kept_container).collect());
        }
    }
    fields.insert("spec".to_owned(), Value::Object(spec));
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| {
            let known = [
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "labels",
                "deletionTimestamp",
            ];
            known.contains(&key.as_str())
        });
    }
}

/// The object with its type, which lists leave out, and without what passes do not read: content of foreign
/// ConfigMaps, most of a pod, and the bookkeeping of owners where nothing of ours can be in it.
fn kept(object: &DynamicObject, kind: Kind) -> Value {
    let read = kind != kind::CONFIG_MAP || is_read(object);
    let mut object = to_value(object);
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    if !read && let Some(fields) = object.as_object_mut() {
        fields.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
    }
    if kind == kind::POD {
        kept_pod(&mut object);
    }
    let labels = object.pointer("/metadata/labels");
    if labels.and_then(|labels| labels.get(label::PART_OF)) != Some(&value::PART_OF.into())
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(uid: &str, version: u64) -> Value {
        json!({"metadata": {"namespace": "d", "name": "n", "uid": uid, "resourceVersion": version.to_string()}})
    }

    fn seen(uid: &str, version: u64) -> DynamicObject {
        serde_json::from_value(object(uid, version)).unwrap_or_else(|e| panic!("{e}"))
    }

    fn held(cache: &Cache) -> Option<u64> {
        let found = cache.get(kind::SECRET, "d", "n");
        found.ok().flatten().map(|object| version(&object))
    }

    #[test]
    fn an_event_from_before_our_write_changes_nothing() {
        let cache = Cache::new();
        cache.wrote(kind::SECRET, &Arc::new(object("a", 12)));
        cache.saw(kind::SECRET, &Event::Apply(seen("a", 11)));
        assert_eq!(held(&cache), Some(12));
        cache.saw(kind::SECRET, &Event::Apply(seen("a", 13)));
        assert_eq!(held(&cache), Some(13));
    }

    #[test]
    fn what_we_deleted_stays_away_and_its_successor_does_not() {
        let cache = Cache::new();
        cache.saw(kind::SECRET, &Event::Apply(seen("a", 1)));
        cache.deleted(kind::SECRET, &object("a", 1));
        cache.saw(kind::SECRET, &Event::Apply(seen("a", 2)));
        assert_eq!(held(&cache), None);
        cache.wrote(kind::SECRET, &Arc::new(object("b", 4)));
        cache.saw(kind::SECRET, &Event::Delete(seen("a", 3)));
        assert_eq!(held(&cache), Some(4));
    }

    #[test]
    fn of_pods_and_foreign_config_maps_little_is_kept() {
        let pod = json!({
            "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"c": "d"}, "managedFields": []},
            "spec": {"nodeName": "n", "containers": [
                {"name": "main", "image": "i", "readinessProbe": {"httpGet": {"port": 8000}}},
            ]},
            "status": {"phase": "Running"},
        });
        let pod: DynamicObject = serde_json::from_value(pod).unwrap_or_else(|e| panic!("{e}"));
        let kept_pod = kept(&pod, kind::POD);
        assert_eq!(
            kept_pod["metadata"],
            json!({"name": "p", "labels": {"a": "b"}})
        );
        let probe = json!({"httpGet": {"port": 8000}});
        assert_eq!(
            kept_pod["spec"],
            json!({"containers": [{"name": "main", "readinessProbe": probe}]})
        );
        assert_eq!(kept_pod["status"]["phase"], "Running");

        let map = |name: &str, key: &str| {
            let map = json!({"metadata": {"name": name}, "data": {key: "x"}});
            let map: DynamicObject = serde_json::from_value(map).unwrap_or_else(|e| panic!("{e}"));
            kept(&map, kind::CONFIG_MAP).get("data").is_some()
        };
        assert!(map(GLOBAL_CONFIG_MAP, "ingress") && map("bundle", CA_BUNDLE_KEY));
        assert!(!map("lock", "ingress"));
    }

    #[test]
    fn a_list_drops_what_is_gone_and_keeps_what_we_wrote_meanwhile() {
        let cache = Cache::new();
        cache.saw(kind::SECRET, &Event::Apply(seen("a", 1)));
        cache.saw(kind::SECRET, &Event::Init);
        assert_eq!(held(&cache), Some(1));
        cache.saw(kind::SECRET, &Event::InitDone);
        assert_eq!(held(&cache), None);
        cache.saw(kind::SECRET, &Event::Init);
        cache.wrote(kind::SECRET, &Arc::new(object("a", 5)));
        cache.saw(kind::SECRET, &Event::InitApply(seen("a", 4)));
        cache.saw(kind::SECRET, &Event::InitDone);
        assert_eq!(held(&cache), Some(5));
    }
}
