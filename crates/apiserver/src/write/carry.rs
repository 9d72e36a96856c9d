//! What an update keeps of the stored object, and what counts as a change.

use serde_json::{Value, json};

use super::{same_kind, same_namespace};
use crate::app::App;
use crate::meta;
use crate::registry::Resource;
use crate::request::Req;
use crate::status::{ApiError, ApiResult};

/// Checks identity and version, and puts back what a caller cannot change.
pub(super) fn carry_metadata(req: &Req, current: &Value, object: &mut Value) -> ApiResult<()> {
    let resource = &req.resource;
    same_kind(resource, object)?;
    let name = req.name();
    if meta::name(object) != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            meta::name(object)
        )));
    }
    if resource.namespaced {
        same_namespace(req, object)?;
    }
    let version = meta::text(object, "/metadata/resourceVersion");
    if !version.is_empty() && version.parse::<u64>().is_err() {
        let message = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
        return Err(ApiError::new(500, "", message));
    }
    if !version.is_empty() && version != meta::text(current, "/metadata/resourceVersion") {
        return Err(ApiError::stale(resource, name));
    }
    let uid = meta::uid(object);
    if !uid.is_empty() && uid != meta::uid(current) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(current)
        );
        return Err(ApiError::conflict(resource, name, &why));
    }
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "selfLink",
    ] {
        meta::set(object, key, current["metadata"].get(key).cloned());
    }
    Ok(())
}

/// Keeps of the new object only what the subresource may change.
pub(super) fn select_part(
    resource: &Resource,
    subresource: &str,
    current: &Value,
    object: &mut Value,
) {
    if subresource == "status" {
        let status = object.get("status").cloned();
        let managed = object["metadata"].get("managedFields").cloned();
        *object = current.clone();
        if managed.is_some() {
            meta::set(object, "managedFields", managed);
        }
        put(object, "status", status);
    } else if resource.status {
        put(object, "status", current.get("status").cloned());
    }
}

fn put(object: &mut Value, key: &str, value: Option<Value>) {
    if let Value::Object(map) = object {
        match value {
            Some(value) => {
                map.insert(key.to_owned(), value);
            }
            None => {
                map.remove(key);
            }
        }
    }
}

/// Keeps a service's address, or assigns one.
pub(super) fn keep_address(
    app: &App,
    resource: &Resource,
    current: &Value,
    object: &mut Value,
) -> ApiResult<()> {
    let old = meta::text(current, "/spec/clusterIP").to_owned();
    let new = meta::text(object, "/spec/clusterIP").to_owned();
    let name = meta::name(object).to_owned();
    if old.is_empty() {
        return app
            .addresses
            .assign(object)
            .map_err(|cause| ApiError::invalid(resource, &name, &[cause]));
    }
    if new.is_empty() && meta::text(object, "/spec/type") != "ExternalName" {
        let spec = meta::child(object, "spec");
        spec.insert("clusterIP".to_owned(), json!(old));
        spec.insert("clusterIPs".to_owned(), json!([old]));
    } else if new != old {
        return Err(ApiError::invalid(
            resource,
            &name,
            &[(
                "FieldValueInvalid".to_owned(),
                format!("Invalid value: [\"{new}\"]: may not change once set"),
                "spec.clusterIPs[0]".to_owned(),
            )],
        ));
    }
    Ok(())
}

/// True when something besides metadata and status differs.
pub(super) fn spec_changed(current: &Value, object: &Value) -> bool {
    let (Some(a), Some(b)) = (current.as_object(), object.as_object()) else {
        return true;
    };
    let skip = |key: &str| matches!(key, "metadata" | "status");
    a.iter()
        .any(|(key, value)| !skip(key) && b.get(key) != Some(value))
        || b.keys().any(|key| !skip(key) && !a.contains_key(key))
}

/// True when the objects differ at most in the times of field ownership.
pub(super) fn same_but_times(a: &Value, b: &Value) -> bool {
    let strip = |value: &Value| {
        let mut value = value.clone();
        let entries = value
            .pointer_mut("/metadata/managedFields")
            .and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            if let Value::Object(map) = entry {
                map.remove("time");
            }
        }
        value
    };
    strip(a) == strip(b)
}
