//! Create and update: the way of an object into the store.

mod carry;

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::app::App;
use crate::crd;
use crate::decode;
use crate::defaults;
use crate::delete;
use crate::hooks::{AdmissionRequest, Operation};
use crate::meta;
use crate::registry::Resource;
use crate::request::{Reply, Req};
use crate::rules;
use crate::schema;
use crate::status::{ApiError, ApiResult};
use crate::store::Race;

use carry::{carry_metadata, keep_address, same_but_times, select_part, spec_changed};

/// Answers a create.
pub(crate) async fn create(
    app: &App,
    req: &Req,
    mut object: Value,
    owned: bool,
) -> ApiResult<Reply> {
    let resource = &req.resource;
    let mut warnings = Vec::new();
    kind_of_path(resource, &mut object);
    same_kind(resource, &object)?;
    if resource.namespaced {
        same_namespace(req, &mut object)?;
        namespace_is_open(app, resource, req.namespace(), meta::name(&object))?;
    } else {
        meta::set(&mut object, "namespace", None);
    }
    let generate = meta::name(&object).is_empty();
    if generate && meta::text(&object, "/metadata/generateName").is_empty() {
        return Err(ApiError::invalid(
            resource,
            "",
            &[(
                "FieldValueRequired".to_owned(),
                "Required value: name or generateName is required".to_owned(),
                "metadata.name".to_owned(),
            )],
        ));
    }
    schema::check_fields(
        resource,
        &mut object,
        req.query.get("fieldValidation"),
        &mut warnings,
    )?;
    for key in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
    ] {
        meta::set(&mut object, key, None);
    }
    let strip_status =
        resource.status && !matches!(&*resource.storage, "core/nodes" | "core/namespaces");
    if strip_status && let Value::Object(map) = &mut object {
        map.remove("status");
    }
    meta::set(
        &mut object,
        "uid",
        Some(json!(uuid::Uuid::new_v4().to_string())),
    );
    meta::set(&mut object, "creationTimestamp", Some(json!(meta::now())));
    meta::set(&mut object, "resourceVersion", None);
    if resource.generation {
        meta::set(&mut object, "generation", Some(json!(1)));
    }
    if generate {
        name_it(&mut object);
    }
    schema::default(resource, &mut object);
    defaults::apply(resource, &mut object);
    if &*resource.storage == crd::STORAGE {
        crd::accept(app, &mut object);
    }
    admit(
        app,
        req,
        Operation::Create,
        &mut object,
        None,
        &mut warnings,
    )?;
    if resource.kind.ends_with("WebhookConfiguration") {
        warnings.push("webhook configurations are stored here and never called".to_owned());
    }
    validate(app, resource, &object, None)?;
    if !owned {
        schema::record(
            resource,
            None,
            &mut object,
            &req.manager(),
            &req.target.subresource,
        )?;
    }
    if strip_status {
        defaults::status(resource, &mut object);
    }
    let dry = req.dry_run();
    let mut stored = app.storage(resource, object)?;
    let is_service = &*resource.storage == "core/services";
    if is_service {
        app.addresses
            .assign(&mut stored)
            .map_err(|cause| ApiError::invalid(resource, meta::name(&stored), &[cause]))?;
    }
    let give_back = |object: &Value| {
        if is_service {
            app.addresses.release(object);
        }
    };
    for attempt in 0.. {
        // Definitions may be large: a copy is made only where it is needed again.
        let mut value = if generate || is_service {
            stored.clone()
        } else {
            stored.take()
        };
        if attempt > 0 {
            name_it(&mut value);
        }
        let key = App::key(resource, req.namespace(), meta::name(&value));
        if dry || app.store.peek(&key).is_some() {
            let taken = app.store.peek(&key);
            if taken.is_some() && generate && attempt < 8 {
                continue;
            }
            give_back(&value);
            if let Some(taken) = taken {
                let mut error = ApiError::already_exists(resource, meta::name(&value));
                if meta::deleting(&taken.value) {
                    error.message.insert_str(0, "object is being deleted: ");
                }
                return Err(error);
            }
            return Ok(Reply {
                code: 201,
                value: app.serve(resource, &value)?,
                warnings,
            });
        }
        match app.store.write(&key, None, Some(value)) {
            Ok(written) => {
                stored_hook(app, resource, &written.value);
                app.durable(written.version).await?;
                if !meta::owners(&written.value).is_empty() {
                    app.collect.notify_one();
                }
                return Ok(Reply {
                    code: 201,
                    value: app.serve_to(req, &written.value)?,
                    warnings,
                });
            }
            Err(Race) if generate => {}
            Err(Race) => {
                give_back(&stored);
                return Err(ApiError::already_exists(resource, &key.name));
            }
        }
    }
    Err(ApiError::internal("no free name"))
}

fn name_it(object: &mut Value) {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    let base = meta::text(object, "/metadata/generateName");
    let base: String = base.chars().take(58).collect();
    let suffix: String = (0..5)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect();
    meta::set(object, "name", Some(json!(format!("{base}{suffix}"))));
}

/// A body of a built-in kind may leave its kind to the path.
fn kind_of_path(resource: &Resource, object: &mut Value) {
    if resource.custom.is_none()
        && meta::text(object, "/kind").is_empty()
        && meta::text(object, "/apiVersion").is_empty()
        && let Value::Object(map) = object
    {
        map.insert("apiVersion".to_owned(), json!(resource.api_version()));
        map.insert("kind".to_owned(), json!(resource.kind));
    }
}

/// Refuses a body of another kind than the path's.
pub(crate) fn same_kind(resource: &Resource, object: &Value) -> ApiResult<()> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body is not an object"));
    }
    let (version, kind) = (
        meta::text(object, "/apiVersion"),
        meta::text(object, "/kind"),
    );
    if kind.is_empty() {
        return Err(ApiError::bad_request(format!(
            "Object 'Kind' is missing in '{}'",
            object.to_string().chars().take(200).collect::<String>()
        )));
    }
    let expected = resource.api_version();
    if version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version \
             ({expected})"
        )));
    }
    if kind != resource.kind {
        return Err(ApiError::bad_request(format!(
            "the kind in the data ({kind}) does not match the expected kind ({})",
            resource.kind
        )));
    }
    Ok(())
}

fn same_namespace(req: &Req, object: &mut Value) -> ApiResult<()> {
    let inside = meta::namespace(object);
    if !inside.is_empty() && inside != req.namespace() {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if req.namespace().is_empty() {
        return Err(ApiError::bad_request(
            "an empty namespace may not be set during creation",
        ));
    }
    let namespace = req.namespace().to_owned();
    meta::set(object, "namespace", Some(json!(namespace)));
    Ok(())
}

fn namespace_is_open(app: &App, resource: &Resource, namespace: &str, name: &str) -> ApiResult<()> {
    let snapshot = app.registry.snapshot();
    let Some(namespaces) = snapshot.find("", "v1", "namespaces") else {
        return Ok(());
    };
    let found = app.store.peek(&App::key(&namespaces, "", namespace));
    let Some(found) = found else {
        return Err(ApiError::not_found(&namespaces, namespace));
    };
    if meta::deleting(&found.value) {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut error = ApiError::forbidden(resource, name, &why);
        error.details["causes"] = json!([{"reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace"}]);
        return Err(error);
    }
    Ok(())
}

fn admit(
    app: &App,
    req: &Req,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    warnings: &mut Vec<String>,
) -> ApiResult<()> {
    let resource = &req.resource;
    let mut request = AdmissionRequest {
        operation,
        group: &resource.group,
        version: &resource.version,
        kind: &resource.kind,
        subresource: &req.target.subresource,
        object,
        old,
    };
    match app.hooks.admit(&mut request) {
        Ok(more) => {
            warnings.extend(more);
            Ok(())
        }
        Err(refusal) => Err(refused(resource, meta::name(object), &refusal)),
    }
}

/// Turns a hook's refusal into an error of the API.
pub(crate) fn refused(
    resource: &Resource,
    name: &str,
    refusal: &crate::hooks::Refusal,
) -> ApiError {
    let reason = match refusal.reason.as_str() {
        "Invalid" => "Invalid",
        "Forbidden" => "Forbidden",
        "BadRequest" => "BadRequest",
        "Conflict" => "Conflict",
        _ => "",
    };
    let mut error = ApiError::invalid(resource, name, &refusal.causes);
    error.code = refusal.code;
    error.reason = reason;
    error.message.clone_from(&refusal.message);
    error
}

/// Checks names and the schema.
pub(crate) fn validate(
    app: &App,
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
) -> ApiResult<()> {
    let name = meta::name(object);
    let mut causes = Vec::new();
    if old.is_none() {
        let rbac = resource.group == "rbac.authorization.k8s.io";
        let fault = if rbac {
            None
        } else {
            rules::name_fault(resource, name)
        };
        if let Some(text) = fault {
            causes.push((
                "FieldValueInvalid".to_owned(),
                format!("Invalid value: \"{name}\": {text}"),
                "metadata.name".to_owned(),
            ));
        }
    }
    let found = schema::validate(resource, object, old);
    if resource.custom.is_none()
        && let Some(cause) = found
            .iter()
            .find(|(reason, ..)| reason == "FieldValueTypeInvalid")
        && let Some(text) = decode::fault(resource, cause)
    {
        return Err(ApiError::bad_request(text));
    }
    causes.extend(
        found
            .into_iter()
            .filter(|cause| !rules::says(resource, cause)),
    );
    causes.extend(rules::check(resource, object, old));
    let mut seen = std::collections::HashSet::new();
    causes.retain(|cause| seen.insert(cause.clone()));
    if &*resource.storage == crd::STORAGE {
        causes.extend(crd::validate(app, object));
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(resource, name, &causes))
    }
}

/// What a change does to an object.
pub(crate) struct Change {
    /// The new object in the version of the request.
    pub(crate) object: Value,
    /// True when field ownership is already recorded in it.
    pub(crate) owned: bool,
}

/// Answers an update: `change` computes the new object from the stored one.
pub(crate) async fn update(
    app: &App,
    req: &Req,
    change: impl Fn(&Value) -> ApiResult<Change>,
) -> ApiResult<Reply> {
    let resource = &req.resource;
    let key = App::key(resource, req.namespace(), req.name());
    loop {
        let base = app
            .store
            .peek(&key)
            .ok_or_else(|| ApiError::not_found(resource, req.name()))?;
        let current = app.serve(resource, &base.value)?;
        let Change { mut object, owned } = change(&current)?;
        let mut warnings = Vec::new();
        carry_metadata(req, &current, &mut object)?;
        schema::check_fields(
            resource,
            &mut object,
            req.query.get("fieldValidation"),
            &mut warnings,
        )?;
        select_part(resource, &req.target.subresource, &current, &mut object);
        schema::default(resource, &mut object);
        defaults::apply(resource, &mut object);
        if &*resource.storage == crd::STORAGE {
            crd::accept(app, &mut object);
        }
        if &*resource.storage == "core/services" {
            keep_address(app, resource, &current, &mut object)?;
        }
        if resource.generation && spec_changed(&current, &object) {
            let generation = current
                .pointer("/metadata/generation")
                .and_then(Value::as_i64);
            meta::set(
                &mut object,
                "generation",
                Some(json!(generation.unwrap_or(0) + 1)),
            );
        }
        admit(
            app,
            req,
            Operation::Update,
            &mut object,
            Some(&current),
            &mut warnings,
        )?;
        validate(app, resource, &object, Some(&current))?;
        if !owned {
            let sub = &req.target.subresource;
            schema::record(resource, Some(&current), &mut object, &req.manager(), sub)?;
        }
        if same_but_times(&current, &object) {
            app.durable(base.version).await?;
            return Ok(Reply {
                code: 200,
                value: current,
                warnings,
            });
        }
        if req.dry_run() {
            return Ok(Reply {
                code: 200,
                value: object,
                warnings,
            });
        }
        let stored = app.storage(resource, object)?;
        let finished = meta::deleting(&stored)
            && meta::finalizers(&stored).is_empty()
            && !delete::waits_for_node(resource, &stored)
            && &*resource.storage != "core/namespaces";
        if finished {
            // The last state is written first, so that watchers see it in the removal.
            let Ok(last) = app.store.write(&key, Some(&base), Some(stored)) else {
                continue;
            };
            if let Ok(gone) = app.store.write(&key, Some(&last), None) {
                delete::removed_hook(app, resource, &gone.value);
                app.durable(gone.version).await?;
                return Ok(Reply {
                    code: 200,
                    value: app.serve(resource, &gone.value)?,
                    warnings,
                });
            }
            continue;
        }
        match app.store.write(&key, Some(&base), Some(stored)) {
            Ok(written) => {
                stored_hook(app, resource, &written.value);
                app.durable(written.version).await?;
                if meta::deleting(&written.value)
                    || meta::owners(&base.value) != meta::owners(&written.value)
                {
                    app.collect.notify_one();
                }
                return Ok(Reply {
                    code: 200,
                    value: app.serve_to(req, &written.value)?,
                    warnings,
                });
            }
            Err(Race) => continue,
        }
    }
}

/// What the store itself does after a write.
pub(crate) fn stored_hook(app: &App, resource: &Resource, stored: &Value) {
    match &*resource.storage {
        crd::STORAGE => crd::register(app, stored),
        "core/services" => app.addresses.adopt(stored),
        _ => {}
    }
}
