//! Removal: grace periods, finalizers, propagation, whole collections.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::App;
use crate::crd;
use crate::hooks::{AdmissionRequest, Operation};
use crate::meta;
use crate::options;
use crate::read;
use crate::registry::Resource;
use crate::request::{Reply, Req};
use crate::status::{ApiError, ApiResult};
use crate::store::{Key, Object, Race};

/// Finalizer that keeps an owner until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer that keeps an owner until its dependents have forgotten it.
pub(crate) const ORPHAN: &str = "orphan";

/// Options of a removal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    grace: Option<i64>,
    policy: String,
    uid: String,
    version: String,
    dry_run: bool,
}

impl Options {
    /// Reads `DeleteOptions` and the query.
    pub(crate) fn parse(req: &Req, body: &Value) -> ApiResult<Self> {
        let query = &req.query;
        let or = |field: &str| {
            let text = query.get(field);
            if text.is_empty() {
                meta::text(body, &format!("/{field}")).to_owned()
            } else {
                text.to_owned()
            }
        };
        let orphan =
            query.get("orphanDependents") == "true" || body["orphanDependents"] == json!(true);
        let dry = req.dry_run()
            || body["dryRun"]
                .as_array()
                .is_some_and(|list| list.contains(&json!("All")));
        options::removal(req, &or("propagationPolicy"), orphan)?;
        Ok(Self {
            grace: query
                .get("gracePeriodSeconds")
                .parse()
                .ok()
                .or_else(|| body["gracePeriodSeconds"].as_i64()),
            policy: if orphan {
                "Orphan".to_owned()
            } else {
                or("propagationPolicy")
            },
            uid: meta::text(body, "/preconditions/uid").to_owned(),
            version: meta::text(body, "/preconditions/resourceVersion").to_owned(),
            dry_run: dry,
        })
    }

    /// Options of the collector's own removals.
    pub(crate) fn collector(policy: &str, uid: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            uid: uid.to_owned(),
            ..Self::default()
        }
    }
}

/// Answers a delete.
pub(crate) async fn delete(app: &App, req: &Req, body: &Value) -> ApiResult<Reply> {
    let options = Options::parse(req, body)?;
    let key = App::key(&req.resource, req.namespace(), req.name());
    let (object, removed) = remove(app, &req.resource, &key, &options)?;
    app.durable(object.version).await?;
    if !removed {
        return Ok(Reply::ok(app.serve(&req.resource, &object.value)?));
    }
    if &*req.resource.storage == "core/pods" {
        let mut value = object.value.clone();
        if !options.dry_run {
            mark(&req.resource, &mut value, 0);
        }
        return Ok(Reply::ok(app.serve(&req.resource, &value)?));
    }
    let mut details = json!({"name": req.name(), "kind": req.resource.plural,
        "uid": meta::uid(&object.value)});
    if !req.resource.group.is_empty() {
        details["group"] = json!(req.resource.group);
    }
    Ok(Reply::ok(
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "details": details}),
    ))
}

/// Answers a deletecollection.
pub(crate) async fn collection(app: &App, req: &Req, body: &Value) -> ApiResult<Reply> {
    let options = Options::parse(req, body)?;
    let selector = read::selector(req)?;
    let (objects, _) = app
        .store
        .list(&req.resource.storage, req.target.namespace.as_deref());
    let mut items = Vec::new();
    let mut last = 0;
    for object in objects
        .into_iter()
        .filter(|object| selector.matches(&object.value))
    {
        let value = &object.value;
        let key = App::key(&req.resource, meta::namespace(value), meta::name(value));
        match remove(app, &req.resource, &key, &options) {
            Ok((object, _)) => {
                last = last.max(object.version);
                items.push(app.serve(&req.resource, &object.value)?);
            }
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    app.durable(last).await?;
    Ok(Reply::ok(
        json!({"apiVersion": req.resource.api_version(), "kind": req.resource.list_kind,
        "metadata": {"resourceVersion": app.store.version().to_string()}, "items": items}),
    ))
}

/// Removes an object, or marks it when something must happen first. Returns its last state and
/// whether it is gone. The caller waits for durability.
pub(crate) fn remove(
    app: &App,
    resource: &Resource,
    key: &Key,
    options: &Options,
) -> ApiResult<(Arc<Object>, bool)> {
    loop {
        let base = app
            .store
            .peek(key)
            .ok_or_else(|| ApiError::not_found(resource, &key.name))?;
        preconditions(resource, &key.name, &base.value, options)?;
        if &*resource.storage == "core/namespaces"
            && matches!(key.name.as_str(), "default" | "kube-system" | "kube-public")
        {
            return Err(ApiError::forbidden(
                resource,
                &key.name,
                "this namespace may not be deleted",
            ));
        }
        admit(app, resource, &base.value)?;
        let mut value = base.value.clone();
        let grace = grace(resource, &value, options);
        finalizers(&mut value, &options.policy);
        let namespace = &*resource.storage == "core/namespaces";
        let waits = grace > 0 || namespace || !meta::finalizers(&value).is_empty();
        if options.dry_run {
            return Ok((base, !waits));
        }
        if !waits {
            match app.store.write(key, Some(&base), None) {
                Ok(gone) => {
                    removed_hook(app, resource, &gone.value);
                    return Ok((gone, true));
                }
                Err(Race) => continue,
            }
        }
        mark(resource, &mut value, grace);
        if value == base.value {
            return Ok((base, false));
        }
        match app.store.write(key, Some(&base), Some(value)) {
            Ok(marked) => {
                app.collect.notify_one();
                if &*resource.storage == crd::STORAGE {
                    crd::register(app, &marked.value);
                }
                return Ok((marked, false));
            }
            Err(Race) => continue,
        }
    }
}

fn preconditions(
    resource: &Resource,
    name: &str,
    value: &Value,
    options: &Options,
) -> ApiResult<()> {
    let rows = [
        (
            "UID",
            &options.uid,
            meta::uid(value),
            "The object might have been deleted and then recreated",
        ),
        (
            "ResourceVersion",
            &options.version,
            meta::text(value, "/metadata/resourceVersion"),
            "The object might have been modified",
        ),
    ];
    for (what, wanted, have, hint) in rows {
        if !wanted.is_empty() && wanted != have {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({have}). {hint}"
            );
            let mut error = ApiError::conflict(resource, name, &why);
            error.message = format!(
                "Operation cannot be fulfilled on {} {name:?}: {why}",
                resource.kind
            );
            error.details["kind"] = json!(resource.kind);
            return Err(error);
        }
    }
    Ok(())
}

fn admit(app: &App, resource: &Resource, stored: &Value) -> ApiResult<()> {
    let mut object = app.serve(resource, stored)?;
    let old = object.clone();
    let mut request = AdmissionRequest {
        operation: Operation::Delete,
        group: &resource.group,
        version: &resource.version,
        kind: &resource.kind,
        subresource: "",
        object: &mut object,
        old: Some(&old),
    };
    let answer = app.hooks.admit(&mut request);
    answer
        .map(drop)
        .map_err(|refusal| crate::write::refused(resource, meta::name(&old), &refusal))
}

/// Only a pod on a node takes time to go: its node removes it with grace 0.
fn grace(resource: &Resource, value: &Value, options: &Options) -> i64 {
    if &*resource.storage != "core/pods" || meta::text(value, "/spec/nodeName").is_empty() {
        return 0;
    }
    if matches!(meta::text(value, "/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    let declared = value
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    let asked = options.grace.or(declared).unwrap_or(30).max(0);
    let running = value
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    match running {
        // A later request can only shorten the period.
        Some(running) if options.grace.is_none() || asked >= running => running,
        _ => asked,
    }
}

/// True for a pod that its node has not yet let go.
pub(crate) fn waits_for_node(resource: &Resource, value: &Value) -> bool {
    &*resource.storage == "core/pods"
        && !meta::text(value, "/spec/nodeName").is_empty()
        && value.pointer("/metadata/deletionGracePeriodSeconds") != Some(&json!(0))
}

fn finalizers(value: &mut Value, policy: &str) {
    let wanted = match policy {
        "Foreground" => FOREGROUND,
        "Orphan" => ORPHAN,
        "Background" => "",
        _ => return,
    };
    let mut list = meta::finalizers(value);
    list.retain(|f| f != FOREGROUND && f != ORPHAN);
    if !wanted.is_empty() {
        list.push(wanted.to_owned());
    }
    let list = (!list.is_empty()).then(|| json!(list));
    meta::set(value, "finalizers", list);
}

fn mark(resource: &Resource, value: &mut Value, grace: i64) {
    let before = value
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    if !meta::deleting(value) || before.is_some_and(|before| grace < before) {
        let definition = &*resource.storage == crd::STORAGE;
        if resource.generation && !definition && !meta::deleting(value) {
            let generation = value
                .pointer("/metadata/generation")
                .and_then(Value::as_i64);
            meta::set(
                value,
                "generation",
                Some(json!(generation.unwrap_or(0) + 1)),
            );
        }
        meta::set(value, "deletionTimestamp", Some(json!(meta::after(grace))));
        meta::set(value, "deletionGracePeriodSeconds", Some(json!(grace)));
    }
    if &*resource.storage == crd::STORAGE {
        crd::terminating(value);
        meta::set(value, "deletionGracePeriodSeconds", None);
    }
    if &*resource.storage == "core/namespaces" {
        meta::child(value, "status").insert("phase".to_owned(), json!("Terminating"));
        // A namespace has no grace period.
        meta::set(value, "deletionGracePeriodSeconds", None);
    }
}

/// What the store itself does after a removal.
pub(crate) fn removed_hook(app: &App, resource: &Resource, gone: &Value) {
    match &*resource.storage {
        crd::STORAGE => {
            app.registry.set_custom(meta::name(gone), Vec::new());
            crd::settle(app);
        }
        "core/services" => app.addresses.release(gone),
        _ => {}
    }
    app.collect.notify_one();
}
