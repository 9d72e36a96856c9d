//! The objects: an index in memory, a bounded history for watches, and a file on disk.
//!
//! A write changes the index under a lock, goes to the writer thread, and is acknowledged after the
//! commit that holds it. Readers and watchers see a version only once it is committed.

mod disk;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::watch;

use crate::meta;

pub use disk::Error;

/// Most events that the history keeps.
pub const HISTORY_EVENTS: usize = 16_384;
/// Most bytes of objects that the history keeps.
pub const HISTORY_BYTES: usize = 24 << 20;

/// Name of an object: storage, namespace (empty for none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Storage of the kind.
    pub storage: Arc<str>,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A stored object in its storage version.
#[derive(Debug)]
pub struct Object {
    /// The whole object, `metadata.resourceVersion` included.
    pub value: Value,
    /// Version of the last write.
    pub version: u64,
    /// Bytes of JSON.
    pub size: usize,
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// Version of the write.
    pub version: u64,
    /// The object's name.
    pub key: Key,
    /// The object before, none when it was created.
    pub before: Option<Arc<Object>>,
    /// The object after; for a removal the last state with the removal's version.
    pub object: Arc<Object>,
    /// True for a removal.
    pub removed: bool,
}

/// The object is not the one that the change was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Race;

/// Objects of one storage by namespace and name.
type Shelf = BTreeMap<(String, String), Arc<Object>>;

struct State {
    version: u64,
    objects: BTreeMap<Arc<str>, Shelf>,
    history: VecDeque<Event>,
    history_bytes: usize,
    /// Watches may start at this version or later.
    floor: u64,
    limits: (usize, usize),
}

/// The store.
pub struct Store {
    state: RwLock<State>,
    disk: disk::Writer,
    committed: watch::Receiver<u64>,
}

impl Store {
    /// Opens or creates the file `path`.
    ///
    /// # Errors
    /// When the file cannot be opened or is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, HISTORY_EVENTS, HISTORY_BYTES)
    }

    /// Opens the file with other bounds of the history.
    ///
    /// # Errors
    /// When the file cannot be opened or is damaged.
    pub fn open_with(path: &Path, events: usize, bytes: usize) -> Result<Self, Error> {
        let (sender, committed) = watch::channel(0);
        let (disk, loaded) = disk::Writer::open(path, sender)?;
        let mut objects: BTreeMap<Arc<str>, Shelf> = BTreeMap::new();
        for (key, object) in loaded.objects {
            let kind = objects.entry(key.storage).or_default();
            kind.insert((key.namespace, key.name), Arc::new(object));
        }
        let state = State {
            version: loaded.version,
            objects,
            history: VecDeque::new(),
            history_bytes: 0,
            floor: loaded.version,
            limits: (events, bytes),
        };
        Ok(Self {
            state: RwLock::new(state),
            disk,
            committed,
        })
    }

    /// Returns the version of the last write, committed or not.
    pub fn version(&self) -> u64 {
        self.state.read().version
    }

    /// Returns an object, committed or not: the base of a change.
    pub fn peek(&self, key: &Key) -> Option<Arc<Object>> {
        let state = self.state.read();
        state
            .objects
            .get(&key.storage)?
            .get(&(key.namespace.clone(), key.name.clone()))
            .cloned()
    }

    /// Returns all objects of a storage, of one namespace where given, and the version of the picture.
    pub fn list(&self, storage: &str, namespace: Option<&str>) -> (Vec<Arc<Object>>, u64) {
        let state = self.state.read();
        let Some(kind) = state.objects.get(storage) else {
            return (Vec::new(), state.version);
        };
        let list = match namespace {
            None => kind.values().cloned().collect(),
            Some(namespace) => kind
                .range((namespace.to_owned(), String::new())..)
                .take_while(|((ns, _), _)| ns == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect(),
        };
        (list, state.version)
    }

    /// Returns the objects as they were at `version`, by undoing the history since.
    ///
    /// # Errors
    /// The oldest version that can be rebuilt, when `version` is older.
    pub fn list_at(
        &self,
        storage: &str,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, u64> {
        let state = self.state.read();
        if version < state.floor {
            return Err(state.floor);
        }
        let mut shelf = state.objects.get(storage).cloned().unwrap_or_default();
        let later = state.history.iter().rev();
        for event in later.take_while(|event| event.version > version) {
            if *event.key.storage != *storage {
                continue;
            }
            let place = (event.key.namespace.clone(), event.key.name.clone());
            match &event.before {
                Some(before) => shelf.insert(place, Arc::clone(before)),
                None => shelf.remove(&place),
            };
        }
        let wanted = |place: &(String, String)| namespace.is_none_or(|ns| *ns == place.0);
        Ok(shelf
            .into_iter()
            .filter(|(place, _)| wanted(place))
            .map(|(_, object)| object)
            .collect())
    }

    /// Returns every object with its name for which `wanted` says so.
    pub fn scan(&self, wanted: impl Fn(&Key, &Value) -> bool) -> Vec<(Key, Arc<Object>)> {
        let state = self.state.read();
        let mut found = Vec::new();
        for (storage, kind) in &state.objects {
            for ((namespace, name), object) in kind {
                let key = Key {
                    storage: Arc::clone(storage),
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                if wanted(&key, &object.value) {
                    found.push((key, Arc::clone(object)));
                }
            }
        }
        found
    }

    /// Writes `new` (or removes the object when none) if the stored one is still `base`.
    /// The caller then waits with [`Store::durable`].
    ///
    /// # Errors
    /// [`Race`] when another write came between.
    pub fn write(
        &self,
        key: &Key,
        base: Option<&Arc<Object>>,
        new: Option<Value>,
    ) -> Result<Arc<Object>, Race> {
        let mut state = self.state.write();
        let place = (key.namespace.clone(), key.name.clone());
        let before = state
            .objects
            .get(&key.storage)
            .and_then(|kind| kind.get(&place))
            .cloned();
        let same = match (&before, base) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        if !same || (before.is_none() && new.is_none()) {
            return Err(Race);
        }
        state.version += 1;
        let version = state.version;
        let removed = new.is_none();
        let mut value = match (new, &before) {
            (Some(value), _) => value,
            (None, Some(before)) => before.value.clone(),
            (None, None) => return Err(Race),
        };
        meta::set(
            &mut value,
            "resourceVersion",
            Some(Value::from(version.to_string())),
        );
        let json = if removed {
            Vec::new()
        } else {
            value.to_string().into_bytes()
        };
        let size = if removed {
            before.as_ref().map_or(0, |b| b.size)
        } else {
            json.len()
        };
        let object = Arc::new(Object {
            value,
            version,
            size,
        });
        if removed {
            if let Some(kind) = state.objects.get_mut(&key.storage) {
                kind.remove(&place);
            }
        } else {
            let kind = state.objects.entry(Arc::clone(&key.storage)).or_default();
            kind.insert(place, Arc::clone(&object));
        }
        state.remember(Event {
            version,
            key: key.clone(),
            before,
            object: Arc::clone(&object),
            removed,
        });
        self.disk.enqueue(disk::Write {
            version,
            key: key.clone(),
            json: (!removed).then_some(json),
        });
        Ok(object)
    }

    /// Waits until `version` is on disk.
    ///
    /// # Errors
    /// When the disk refused a write.
    pub async fn durable(&self, version: u64) -> Result<(), Error> {
        let mut committed = self.committed.clone();
        match committed.wait_for(|done| *done >= version).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Closed),
        }
    }

    /// Returns a receiver of the last committed version.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Returns the committed events of a storage after `since`, and the version up to which they are
    /// complete.
    ///
    /// # Errors
    /// The oldest version that a watch may start from, when `since` is older.
    pub fn events(&self, storage: &str, since: u64) -> Result<(Vec<Event>, u64), u64> {
        let committed = *self.committed.borrow();
        let state = self.state.read();
        if since < state.floor {
            return Err(state.floor);
        }
        let start = state
            .history
            .partition_point(|event| event.version <= since);
        let events = state
            .history
            .range(start..)
            .take_while(|event| event.version <= committed)
            .filter(|event| *event.key.storage == *storage)
            .cloned()
            .collect();
        Ok((events, committed.max(since)))
    }

    /// Returns the oldest version that a watch may start from.
    pub fn floor(&self) -> u64 {
        self.state.read().floor
    }
}

impl State {
    fn remember(&mut self, event: Event) {
        self.history_bytes += event.object.size;
        self.history.push_back(event);
        while self.history.len() > self.limits.0 || self.history_bytes > self.limits.1 {
            let Some(old) = self.history.pop_front() else {
                break;
            };
            self.history_bytes -= old.object.size;
            self.floor = old.version;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key {
            storage: Arc::from("core/things"),
            namespace: "n".to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn acknowledged_writes_survive_a_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        {
            let store = Store::open(&path).unwrap();
            let a = store.write(&key("a"), None, Some(json!({"x": 1}))).unwrap();
            let b = store.write(&key("b"), None, Some(json!({"x": 2}))).unwrap();
            let gone = store.write(&key("a"), Some(&a), None).unwrap();
            assert_eq!(store.write(&key("b"), Some(&a), None).unwrap_err(), Race);
            store.durable(gone.version).await.unwrap();
            assert!(b.version < gone.version);
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.version(), 3);
        assert!(store.peek(&key("a")).is_none());
        assert_eq!(store.peek(&key("b")).unwrap().value["x"], 2);
        assert_eq!(store.events("core/things", 2).unwrap_err(), 3);
    }

    #[tokio::test]
    async fn a_file_torn_away_from_its_writer_holds_what_was_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Store::open(&path).unwrap();
        let mut last = 0;
        for x in 0..50 {
            last = store
                .write(&key(&x.to_string()), None, Some(json!({"x": x})))
                .unwrap()
                .version;
        }
        store.durable(last).await.unwrap();
        // A copy of the open file is what a killed process leaves behind.
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        let after = Store::open(&copy).unwrap();
        assert_eq!(after.list("core/things", None).0.len(), 50);
        assert_eq!(after.version(), last);
    }

    #[tokio::test]
    async fn an_earlier_list_is_rebuilt() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let a = store.write(&key("a"), None, Some(json!({"x": 1}))).unwrap();
        let b = store.write(&key("b"), None, Some(json!({"x": 2}))).unwrap();
        store
            .write(&key("a"), Some(&a), Some(json!({"x": 3})))
            .unwrap();
        store.write(&key("b"), Some(&b), None).unwrap();
        let at = |version| -> Vec<u64> {
            let list = store.list_at("core/things", Some("n"), version).unwrap();
            list.iter()
                .map(|o| o.value["x"].as_u64().unwrap())
                .collect()
        };
        assert_eq!(at(1), [1]);
        assert_eq!(at(2), [1, 2]);
        assert_eq!(at(3), [3, 2]);
        assert_eq!(at(4), [3]);
    }

    #[tokio::test]
    async fn history_is_bounded_and_says_where_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_with(&dir.path().join("store"), 3, 1 << 20).unwrap();
        let mut last = None;
        for x in 0..5 {
            last = Some(
                store
                    .write(&key("a"), last.as_ref(), Some(json!({"x": x})))
                    .unwrap(),
            );
        }
        store.durable(5).await.unwrap();
        assert_eq!(store.events("core/things", 1).unwrap_err(), 2);
        let (events, until) = store.events("core/things", 2).unwrap();
        assert_eq!((events.len(), until), (3, 5));
    }
}
