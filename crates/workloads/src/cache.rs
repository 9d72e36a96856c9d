//! What the watches have told, together with the answers to the controllers' own writes.
//!
//! A write's answer enters at once, so that a controller never decides on a state older than its own
//! last write; this is what keeps it from making a pod twice. Of two states of one object the one
//! with the higher resource version stays, whichever way it came.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::kinds::{Kind, name, namespace, text, uid};

/// Namespace and name.
pub(crate) type Name = (String, String);

#[derive(Default)]
struct Store {
    objects: BTreeMap<Name, Arc<Value>>,
    /// Names told by the list that is under way.
    listed: Option<HashSet<Name>>,
    /// Names written since that list began; the list may not know them yet.
    written: HashSet<Name>,
    /// Uids that a delete removed, until the watch says so too.
    gone: HashSet<String>,
    synced: bool,
}

/// Objects of all watched kinds.
#[derive(Default)]
pub(crate) struct Cache {
    stores: HashMap<Kind, Store>,
}

pub(crate) fn key(object: &Value) -> Name {
    (namespace(object).to_owned(), name(object).to_owned())
}

fn version(object: &Value) -> Option<u64> {
    text(object, "/metadata/resourceVersion").parse().ok()
}

impl Cache {
    /// Begins a new list of `kind`.
    pub(crate) fn begin(&mut self, kind: Kind) {
        let store = self.stores.entry(kind).or_default();
        store.listed = Some(HashSet::new());
        store.written.clear();
        store.gone.clear();
    }

    /// Ends a list; returns the objects that it no longer named.
    pub(crate) fn end(&mut self, kind: Kind) -> Vec<Arc<Value>> {
        let store = self.stores.entry(kind).or_default();
        store.synced = true;
        let listed = store.listed.take().unwrap_or_default();
        let lost: Vec<Name> = store
            .objects
            .keys()
            .filter(|key| !listed.contains(*key) && !store.written.contains(*key))
            .cloned()
            .collect();
        lost.iter()
            .filter_map(|key| store.objects.remove(key))
            .collect()
    }

    /// Takes a state that the watch told; returns the one before when this is news.
    pub(crate) fn told(&mut self, kind: Kind, object: Arc<Value>) -> Option<Option<Arc<Value>>> {
        let store = self.stores.entry(kind).or_default();
        let key = key(&object);
        if let Some(listed) = &mut store.listed {
            listed.insert(key.clone());
        }
        if store.gone.contains(uid(&object)) {
            return None;
        }
        put(store, key, object)
    }

    /// Takes the end of an object; returns its last state.
    pub(crate) fn removed(&mut self, kind: Kind, object: &Value) -> Option<Arc<Value>> {
        let store = self.stores.entry(kind).or_default();
        store.gone.remove(uid(object));
        let key = key(object);
        // A successor of the same name may have been written already.
        if store
            .objects
            .get(&key)
            .is_some_and(|present| uid(present) == uid(object))
        {
            return store.objects.remove(&key);
        }
        None
    }

    /// Takes the answer to a write of our own; returns the state before when it is news.
    pub(crate) fn wrote(&mut self, kind: Kind, object: Value) -> Option<Option<Arc<Value>>> {
        let store = self.stores.entry(kind).or_default();
        let key = key(&object);
        if store.listed.is_some() {
            store.written.insert(key.clone());
        }
        put(store, key, Arc::new(object))
    }

    /// Takes note that a delete of our own removed an object.
    pub(crate) fn deleted(&mut self, kind: Kind, object: &Value) {
        if self.removed(kind, object).is_some()
            && let Some(store) = self.stores.get_mut(&kind)
        {
            store.gone.insert(uid(object).to_owned());
        }
    }

    /// Whether every one of `kinds` has been listed.
    pub(crate) fn synced(&self, kinds: &[Kind]) -> bool {
        kinds
            .iter()
            .all(|kind| self.stores.get(kind).is_some_and(|store| store.synced))
    }

    pub(crate) fn get(&self, kind: Kind, key: &Name) -> Option<Arc<Value>> {
        self.stores.get(&kind)?.objects.get(key).cloned()
    }

    /// All objects of a kind in one namespace.
    pub(crate) fn within(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = &Arc<Value>> {
        let from = (namespace.to_owned(), String::new());
        let namespace = namespace.to_owned();
        self.stores
            .get(&kind)
            .into_iter()
            .flat_map(move |store| store.objects.range(from.clone()..))
            .take_while(move |((at, _), _)| *at == namespace)
            .map(|(_, object)| object)
    }
}

fn put(store: &mut Store, key: Name, object: Arc<Value>) -> Option<Option<Arc<Value>>> {
    let present = store.objects.get(&key).and_then(|present| version(present));
    if let (Some(present), Some(news)) = (present, version(&object))
        && present >= news
    {
        return None;
    }
    Some(store.objects.insert(key, object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str, version: u64) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": uid,
                            "resourceVersion": version.to_string()}})
    }

    fn names(cache: &Cache) -> Vec<&str> {
        cache.within(Kind::Pod, "n").map(|pod| name(pod)).collect()
    }

    #[test]
    fn an_older_state_changes_nothing() {
        let mut cache = Cache::default();
        cache.wrote(Kind::Pod, pod("a", "1", 7));
        assert!(cache.told(Kind::Pod, Arc::new(pod("a", "1", 5))).is_none());
        assert!(cache.told(Kind::Pod, Arc::new(pod("a", "1", 9))).is_some());
    }

    #[test]
    fn a_late_word_of_a_deleted_object_is_not_heard() {
        let mut cache = Cache::default();
        cache.wrote(Kind::Pod, pod("a", "1", 7));
        cache.deleted(Kind::Pod, &pod("a", "1", 7));
        cache.told(Kind::Pod, Arc::new(pod("a", "1", 7)));
        assert!(names(&cache).is_empty());
        // A new object of the name counts, and the end of the old one does not take it away.
        cache.told(Kind::Pod, Arc::new(pod("a", "2", 9)));
        cache.removed(Kind::Pod, &pod("a", "1", 8));
        assert_eq!(names(&cache), ["a"]);
    }

    #[test]
    fn a_new_list_drops_what_it_does_not_name_but_not_what_was_just_written() {
        let mut cache = Cache::default();
        for name in ["a", "b"] {
            cache.told(Kind::Pod, Arc::new(pod(name, name, 1)));
        }
        cache.begin(Kind::Pod);
        cache.told(Kind::Pod, Arc::new(pod("a", "a", 1)));
        cache.wrote(Kind::Pod, pod("c", "c", 4));
        assert_eq!(cache.end(Kind::Pod).len(), 1);
        assert_eq!(names(&cache), ["a", "c"]);
        assert!(cache.synced(&[Kind::Pod]));
    }
}
