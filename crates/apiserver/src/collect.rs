//! What removals entail: dependents of gone owners, contents of namespaces, objects of definitions.
//!
//! One task does it all from a picture of the whole store, woken by removals; it holds no state that
//! could go stale, and a restart begins with a full round.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::App;
use crate::crd;
use crate::delete::{FOREGROUND, ORPHAN, Options, remove, removed_hook};
use crate::meta;
use crate::store::{Key, Object};

/// How long an Event is kept after its last change, as in Kubernetes.
const EVENT_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Runs until shutdown.
pub(crate) async fn run(app: Arc<App>) {
    loop {
        while round(&app) {}
        expire(&app);
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = app.collect.notified() => {}
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
        }
        // Removals come in bursts; one picture serves them all.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Removes Events that nobody touched for [`EVENT_LIFE`].
fn expire(app: &App) {
    let Ok(oldest) = jiff::Timestamp::now().checked_sub(EVENT_LIFE) else {
        return;
    };
    let old = |event: &Value| {
        [
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/metadata/creationTimestamp",
        ]
        .iter()
        .filter_map(|place| meta::text(event, place).parse::<jiff::Timestamp>().ok())
        .max()
        .is_some_and(|last| last < oldest)
    };
    for (key, object) in app
        .store
        .scan(|key, event| &*key.storage == "core/events" && old(event))
    {
        // A race means that the event was just touched.
        let _ = app.store.write(&key, Some(&object), None);
    }
}

type All = [(Key, Arc<Object>)];

/// One picture, one pass; true when something was changed.
fn round(app: &App) -> bool {
    let all = app.store.scan(|_, _| true);
    let uids: HashMap<&str, &Object> = all
        .iter()
        .map(|(_, object)| (meta::uid(&object.value), &**object))
        .collect();
    let mut changed = false;
    for (key, object) in &all {
        if !meta::owners(&object.value).is_empty() {
            changed |= dependent(app, key, object, &uids);
        }
        if meta::deleting(&object.value) {
            changed |= finalize(app, key, object, &all);
            match &*key.storage {
                "core/namespaces" => changed |= namespace(app, key, object, &all),
                crd::STORAGE => changed |= definition(app, key, object, &all),
                _ => {}
            }
        }
    }
    changed
}

fn dependent(app: &App, key: &Key, object: &Arc<Object>, uids: &HashMap<&str, &Object>) -> bool {
    let owners = meta::owners(&object.value);
    let gone = |uid: &str| !uids.contains_key(uid);
    let going = |uid: &str| {
        uids.get(uid).is_some_and(|owner| {
            meta::deleting(&owner.value)
                && meta::finalizers(&owner.value)
                    .iter()
                    .any(|f| f == FOREGROUND)
        })
    };
    if owners.iter().all(|(uid, _)| gone(uid) || going(uid)) {
        if meta::deleting(&object.value) {
            return false;
        }
        let policy = if owners.iter().any(|(uid, _)| going(uid)) {
            "Foreground"
        } else {
            ""
        };
        return take(app, key, object, policy);
    }
    if owners.iter().any(|(uid, _)| gone(uid)) {
        let absent: HashSet<&str> = owners
            .iter()
            .map(|(uid, _)| uid.as_str())
            .filter(|uid| gone(uid))
            .collect();
        return forget(app, key, object, &absent);
    }
    false
}

fn take(app: &App, key: &Key, object: &Arc<Object>, policy: &str) -> bool {
    let Some(resource) = app.registry.snapshot().by_storage(&key.storage) else {
        return false;
    };
    let options = Options::collector(policy, meta::uid(&object.value));
    match remove(app, &resource, key, &options) {
        Ok((after, _)) => !Arc::ptr_eq(&after, object),
        Err(error) => {
            if error.code != 404 {
                tracing::warn!(storage = %key.storage, name = key.name, %error, "Dependent not removed");
            }
            false
        }
    }
}

fn forget(app: &App, key: &Key, object: &Arc<Object>, absent: &HashSet<&str>) -> bool {
    let mut value = object.value.clone();
    let list = value
        .pointer_mut("/metadata/ownerReferences")
        .and_then(Value::as_array_mut);
    if let Some(list) = list {
        list.retain(|owner| !absent.contains(owner["uid"].as_str().unwrap_or("")));
    }
    app.store.write(key, Some(object), Some(value)).is_ok()
}

fn finalize(app: &App, key: &Key, object: &Arc<Object>, all: &All) -> bool {
    let uid = meta::uid(&object.value);
    let finalizers = meta::finalizers(&object.value);
    if finalizers.iter().any(|f| f == ORPHAN) {
        let absent = HashSet::from([uid]);
        for (child, dependent) in all {
            if meta::owners(&dependent.value)
                .iter()
                .any(|(owner, _)| owner == uid)
            {
                forget(app, child, dependent, &absent);
            }
        }
        return drop_finalizer(app, key, object, ORPHAN);
    }
    if finalizers.iter().any(|f| f == FOREGROUND) {
        let blocked = all.iter().any(|(_, dependent)| {
            meta::owners(&dependent.value)
                .iter()
                .any(|(owner, blocks)| owner == uid && *blocks)
        });
        return !blocked && drop_finalizer(app, key, object, FOREGROUND);
    }
    false
}

/// Removes a finalizer, and with the last one the object.
fn drop_finalizer(app: &App, key: &Key, object: &Arc<Object>, finalizer: &str) -> bool {
    let mut value = object.value.clone();
    let mut list = meta::finalizers(&value);
    list.retain(|f| f != finalizer);
    let last = list.is_empty();
    meta::set(&mut value, "finalizers", (!last).then(|| json!(list)));
    let Ok(written) = app.store.write(key, Some(object), Some(value)) else {
        return true;
    };
    let waits = !meta::text(&written.value, "/spec/nodeName").is_empty()
        && &*key.storage == "core/pods"
        && written.value["metadata"]["deletionGracePeriodSeconds"] != json!(0);
    if last && !waits && &*key.storage != "core/namespaces" {
        gone(app, key, &written);
    }
    true
}

fn gone(app: &App, key: &Key, object: &Arc<Object>) -> bool {
    let Ok(gone) = app.store.write(key, Some(object), None) else {
        return true;
    };
    if let Some(resource) = app.registry.snapshot().by_storage(&key.storage) {
        removed_hook(app, &resource, &gone.value);
    }
    true
}

/// Empties a namespace, then removes it.
fn namespace(app: &App, key: &Key, object: &Arc<Object>, all: &All) -> bool {
    let mut left = false;
    let mut changed = false;
    for (inner, content) in all.iter().filter(|(inner, _)| inner.namespace == key.name) {
        left = true;
        if !meta::deleting(&content.value) {
            changed |= take(app, inner, content, "");
        }
    }
    if !left && meta::finalizers(&object.value).is_empty() {
        // Something may have come in since the picture.
        let late = app.store.scan(|inner, _| inner.namespace == key.name);
        return late.is_empty() && gone(app, key, object);
    }
    changed
}

/// Removes the objects of a definition, then the definition.
fn definition(app: &App, key: &Key, object: &Arc<Object>, all: &All) -> bool {
    let storage = crd::storage_of(&object.value);
    let mut left = false;
    let mut changed = false;
    for (inner, content) in all.iter().filter(|(inner, _)| *inner.storage == *storage) {
        left = true;
        if !meta::deleting(&content.value) {
            changed |= take(app, inner, content, "");
        }
    }
    if !left
        && meta::finalizers(&object.value)
            .iter()
            .any(|f| f == crd::CLEANUP)
    {
        return drop_finalizer(app, key, object, crd::CLEANUP);
    }
    changed
}
