//! Server-side apply, and the bookkeeping of who owns which field.
//!
//! What a manager applies it owns. Applying a field that somebody else owns with another value is a conflict,
//! unless forced. A field that a manager stops applying goes away when nobody else owns it.

mod managers;
mod walk;

use serde_json::{Map, Value};
use thiserror::Error;
use weir_schema::Node;

use crate::fields::FieldSet;
use managers::{Managers, Operation};

/// One field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, as messages show it: `"kubectl" using apps/v1`.
    pub manager: String,
    /// The field: `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    /// Returns the message of a cause: `conflict with "kubectl" using apps/v1`.
    #[must_use]
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

/// Why an apply is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApplyError {
    /// Other managers own fields that would change.
    #[error("{}", summary(.0))]
    Conflicts(Vec<Conflict>),
    /// The applied object cannot be applied.
    #[error("{0}")]
    Invalid(String),
}

fn summary(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: {}: {}",
            only.message(),
            only.field
        );
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            if last.is_some() {
                text.push('\n');
            }
            text.push_str(&format!("conflicts with {}:", conflict.manager));
            last = Some(&conflict.manager);
        }
        text.push_str(&format!("\n- {}", conflict.field));
    }
    text
}

/// Applies `applied` as `manager` and returns the new object with its `managedFields`.
///
/// `live` is absent for a create. Whatever the resource resets (its status, or all but the status for the
/// subresource) must already be taken out of `applied`.
///
/// # Errors
/// [`ApplyError::Conflicts`] without `force`; [`ApplyError::Invalid`] when `applied` has managed fields, no
/// manager, or two items with the same keys.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
    schema: &Node,
    now: &str,
    subresource: &str,
) -> Result<Value, ApplyError> {
    if manager.is_empty() {
        return Err(ApplyError::Invalid(
            "fieldManager is required for apply patch".to_owned(),
        ));
    }
    let set_already = applied
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    if set_already.is_some_and(|list| !list.is_empty()) {
        return Err(ApplyError::Invalid(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    let mut applied = applied.clone();
    take_managed_fields(&mut applied);
    walk::drop_nulls(&mut applied);
    walk::check(&applied, schema)?;
    let version = api_version(&applied);

    let mut base = live.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let mut managers = Managers::read(take_managed_fields(&mut base).as_ref());
    if live.is_some() && managers.is_empty() {
        // Nobody kept books so far: what is there belongs to an owner of its own.
        let set = strip_identity(walk::collect(&base, schema));
        managers.put(
            "before-first-apply",
            Operation::Update,
            &api_version(&base),
            "",
            set,
            now,
        );
    }
    let new_set = strip_identity(walk::collect(&applied, schema));
    let last_set = managers.applied(manager, subresource);

    let mut merged = base.clone();
    walk::merge(&mut merged, &applied, schema, true);
    managers.put(
        manager,
        Operation::Apply,
        &version,
        subresource,
        new_set,
        now,
    );
    if let Some(last) = last_set {
        walk::remove(&mut merged, &last, &managers.union(), schema);
    }
    let difference = walk::compare(&base, &merged, schema);
    let changed = strip_identity(difference.changed);
    let conflicts = managers.conflicts(manager, subresource, &changed);
    if !conflicts.is_empty() && !force {
        return Err(ApplyError::Conflicts(conflicts));
    }
    managers.take_over(manager, Operation::Apply, &version, subresource, &changed);
    managers.forget(&difference.removed);
    set_managed_fields(&mut merged, &managers);
    Ok(merged)
}

/// Books what an update by `manager` changed, in `new.metadata.managedFields`.
///
/// `old` is absent for a create. As in an API server, a request may carry managed fields of its own: they are
/// taken when they can be read, and a single empty entry resets the books.
pub fn record_update(
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    schema: &Node,
    now: &str,
    subresource: &str,
) {
    let mut base = old.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let before = take_managed_fields(&mut base);
    let sent = take_managed_fields(new);
    if sent.as_ref().and_then(Value::as_array).is_some_and(|list| {
        matches!(list.as_slice(), [Value::Object(entry)] if entry.values().all(|value| value.is_null() || value == ""))
    }) {
        return;
    }
    let mut managers = Managers::read(sent.as_ref());
    if managers.is_empty() {
        managers = Managers::read(before.as_ref());
    }
    let version = api_version(new);
    let difference = walk::compare(&base, new, schema);
    let changed = strip_identity(difference.changed);
    managers.take_over(manager, Operation::Update, &version, subresource, &changed);
    managers.forget(&difference.removed);
    let mut set = managers
        .updated(manager, &version, subresource)
        .unwrap_or_default();
    set.add(&changed);
    managers.put(manager, Operation::Update, &version, subresource, set, now);
    set_managed_fields(new, &managers);
}

fn api_version(object: &Value) -> String {
    object
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn take_managed_fields(object: &mut Value) -> Option<Value> {
    object
        .get_mut("metadata")?
        .as_object_mut()?
        .remove("managedFields")
}

fn set_managed_fields(object: &mut Value, managers: &Managers) {
    let list = managers.to_json();
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    let metadata = fields
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if let (Some(metadata), false) = (metadata.as_object_mut(), list.is_empty()) {
        metadata.insert("managedFields".to_owned(), Value::Array(list));
    }
}

/// Takes out what nobody can own: identity and what the server keeps itself.
fn strip_identity(mut set: FieldSet) -> FieldSet {
    for name in ["f:apiVersion", "f:kind"] {
        set.children.remove(name);
    }
    if let Some(metadata) = set.children.get_mut("f:metadata") {
        for name in [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
        ] {
            metadata.children.remove(&format!("f:{name}"));
        }
        metadata.own = false;
        if metadata.is_empty() {
            set.children.remove("f:metadata");
        }
    }
    set
}
