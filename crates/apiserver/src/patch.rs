//! PATCH: JSON patch, merge patch, strategic merge patch, server-side apply.

use serde_json::{Value, json};

use crate::app::App;
use crate::registry::Resource;
use crate::request::{Reply, Req, parse_body};
use crate::schema;
use crate::status::{ApiError, ApiResult};
use crate::write::{self, Change};
use crate::{crd, meta};

/// Answers a patch.
pub(crate) async fn patch(app: &App, req: &Req, body: &[u8]) -> ApiResult<Reply> {
    let kind = req
        .content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_owned();
    let resource = &req.resource;
    match kind.as_str() {
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_slice(body)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
            write::update(app, req, |current| {
                let mut object = current.clone();
                json_patch::patch(&mut object, &patch).map_err(|error| {
                    tracing::debug!(%error, "JSON patch does not apply");
                    let message = "the server rejected our request due to an error in our request";
                    let mut error = ApiError::new(422, "Invalid", message);
                    error.details = json!({});
                    error
                })?;
                Ok(Change {
                    object,
                    owned: false,
                })
            })
            .await
        }
        "application/merge-patch+json" => {
            let patch = parse_body(body, "application/json")?;
            write::update(app, req, |current| {
                let mut object = current.clone();
                weir_merge::json_merge_patch(&mut object, &patch);
                Ok(Change {
                    object,
                    owned: false,
                })
            })
            .await
        }
        "application/strategic-merge-patch+json" => {
            if resource.custom.is_some() {
                return Err(unsupported(
                    "the body of the request was in an unknown format - \
                    accepted media types include: application/json-patch+json, \
                    application/merge-patch+json, application/apply-patch+yaml",
                ));
            }
            let patch = parse_body(body, "application/json")?;
            write::update(app, req, |current| {
                let mut object = current.clone();
                schema::strategic(resource, &mut object, &patch)?;
                Ok(Change {
                    object,
                    owned: false,
                })
            })
            .await
        }
        "application/apply-patch+yaml" | "application/apply-patch+json" => {
            let applied = parse_body(body, "application/yaml")?;
            apply(app, req, applied).await
        }
        _ => {
            let mut error = unsupported("415: Unsupported Media Type");
            error.details = json!({});
            Err(error)
        }
    }
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(415, "UnsupportedMediaType", message)
}

/// The refusal of an applied configuration with fields that its schema does not have.
fn untyped(resource: &Resource, applied: &Value, unknown: &[String]) -> ApiError {
    let version = match resource.group.as_str() {
        "" => format!("/{}", resource.version),
        _ => resource.api_version(),
    };
    let fields: Vec<String> = unknown
        .iter()
        .filter_map(|text| text.split('"').nth(1))
        .map(|path| format!(".{path}: field not declared in schema"))
        .collect();
    let fields = match fields.as_slice() {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let message = format!(
        "failed to create typed patch object ({}/{}; {version}, Kind={}): {fields}",
        meta::namespace(applied),
        meta::name(applied),
        resource.kind
    );
    ApiError::new(500, "", message)
}

async fn apply(app: &App, req: &Req, mut applied: Value) -> ApiResult<Reply> {
    let resource = &req.resource;
    let manager = req.query.get("fieldManager");
    write::same_kind(resource, &applied)?;
    if meta::name(&applied).is_empty() {
        meta::set(&mut applied, "name", Some(json!(req.name())));
    }
    if applied["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    // The configuration itself is checked, so that an unknown field is named as the caller wrote it.
    let mut unknown = Vec::new();
    schema::check_fields(resource, &mut applied, "Warn", &mut unknown)?;
    if !unknown.is_empty() {
        return Err(untyped(resource, &applied, &unknown));
    }
    // A schema of a definition is one value to the merge: its text does as well, and copies are small.
    let definition = &*resource.storage == crd::STORAGE;
    if definition {
        crd::fold(&mut applied);
    }
    let merged = |current: Option<&Value>, force, subresource| {
        let folded = current.filter(|_| definition).map(|current| {
            let mut current = current.clone();
            crd::fold(&mut current);
            current
        });
        let (live, applied) = (folded.as_ref().or(current), applied.clone());
        let mut object = schema::apply(resource, live, applied, manager, force, subresource)?;
        if definition {
            crd::unfold(&mut object);
        }
        Ok::<_, ApiError>(object)
    };
    let uid = meta::uid(&applied).to_owned();
    let force = req.query.flag("force");
    let subresource = req.target.subresource.as_str();
    loop {
        let key = App::key(resource, req.namespace(), req.name());
        if app.store.peek(&key).is_some() {
            return write::update(app, req, |current| {
                let mut object = merged(Some(current), force, subresource)?;
                let asked = applied["metadata"].get("resourceVersion").cloned();
                meta::set(&mut object, "resourceVersion", asked);
                Ok(Change {
                    object,
                    owned: true,
                })
            })
            .await;
        }
        if !subresource.is_empty() {
            return Err(ApiError::not_found(resource, req.name()));
        }
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(ApiError::conflict(resource, req.name(), &why));
        }
        let object = merged(None, force, "")?;
        match write::create(app, req, object, true).await {
            Err(error) if error.reason == "AlreadyExists" => continue,
            other => return other,
        }
    }
}
