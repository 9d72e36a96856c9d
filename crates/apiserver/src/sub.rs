//! Subresources other than `status`: scale, binding, eviction, finalize, token; and reviews.

use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{self, Caller};
use crate::delete;
use crate::meta;
use crate::registry::Resource;
use crate::request::{Reply, Req};
use crate::selector::selector_text;
use crate::status::{ApiError, ApiResult};
use crate::write::{self, Change};

/// Returns the scale of an object.
pub(crate) fn scale_of(resource: &Resource, object: &Value) -> ApiResult<Value> {
    let paths = resource.scale.as_ref().ok_or_else(ApiError::no_path)?;
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
            "resourceVersion": object["metadata"]["resourceVersion"],
            "creationTimestamp": object["metadata"]["creationTimestamp"]},
        "spec": {"replicas": number(&paths.spec)}, "status": {"replicas": number(&paths.status)}});
    if let Some(namespace) = object["metadata"].get("namespace") {
        scale["metadata"]["namespace"] = namespace.clone();
    }
    let selector = object
        .pointer(&paths.selector)
        .map(selector_text)
        .unwrap_or_default();
    if !paths.selector.is_empty() && !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    Ok(scale)
}

/// Answers a get of the scale.
pub(crate) async fn get_scale(app: &App, req: &Req) -> ApiResult<Reply> {
    let object = app
        .fetch(&req.resource, req.namespace(), req.name())
        .await?;
    let object = app.serve(&req.resource, &object.value)?;
    Ok(Reply::ok(scale_of(&req.resource, &object)?))
}

/// Answers a change of the scale, computed by `change` from the present one.
pub(crate) async fn put_scale(
    app: &App,
    req: &Req,
    change: impl Fn(&Value) -> ApiResult<Value>,
) -> ApiResult<Reply> {
    let resource = &req.resource;
    let paths = resource.scale.as_ref().ok_or_else(ApiError::no_path)?;
    let reply = write::update(app, req, |current| {
        let scale = change(&scale_of(resource, current)?)?;
        let replicas = scale
            .pointer("/spec/replicas")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if replicas < 0 {
            let of_scale = Resource {
                group: "autoscaling".to_owned(),
                kind: "Scale".to_owned(),
                ..Resource::clone(resource)
            };
            return Err(ApiError::invalid(
                &of_scale,
                meta::name(current),
                &[(
                    "FieldValueInvalid".to_owned(),
                    format!("Invalid value: {replicas}: must be greater than or equal to 0"),
                    "spec.replicas".to_owned(),
                )],
            ));
        }
        let mut object = current.clone();
        let version = scale["metadata"].get("resourceVersion").cloned();
        meta::set(&mut object, "resourceVersion", version);
        let key = paths.spec.rsplit('/').next().unwrap_or("replicas");
        let parent = paths.spec.rsplit_once('/').map_or("", |(parent, _)| parent);
        match object.pointer_mut(parent) {
            Some(Value::Object(map)) => {
                map.insert(key.to_owned(), json!(replicas));
            }
            _ => return Err(ApiError::internal("the object has no place for its scale")),
        }
        Ok(Change {
            object,
            owned: false,
        })
    })
    .await?;
    Ok(Reply {
        value: scale_of(resource, &reply.value)?,
        ..reply
    })
}

/// Answers the binding of a pod to a node.
pub(crate) async fn bind(app: &App, req: &Req, body: &Value) -> ApiResult<Reply> {
    let node = meta::text(body, "/target/name").to_owned();
    let resource = &req.resource;
    write::update(app, req, |current| {
        let bound = meta::text(current, "/spec/nodeName");
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node {bound:?}", req.name());
            return Err(ApiError::conflict(resource, req.name(), &why));
        }
        if node.is_empty() {
            return Err(ApiError::bad_request("target.name: Required value"));
        }
        let mut object = current.clone();
        meta::child(&mut object, "spec").insert("nodeName".to_owned(), json!(node));
        Ok(Change {
            object,
            owned: false,
        })
    })
    .await?;
    Ok(Reply {
        code: 201,
        value: success(201),
        warnings: Vec::new(),
    })
}

fn success(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
}

/// Answers an eviction: a removal with the given options.
pub(crate) async fn evict(app: &App, req: &Req, body: &Value) -> ApiResult<Reply> {
    delete::delete(app, req, &body["deleteOptions"]).await?;
    Ok(Reply {
        code: 201,
        value: success(201),
        warnings: Vec::new(),
    })
}

/// Answers a request for a service account's token.
pub(crate) fn token(app: &App, req: &Req, mut body: Value) -> Reply {
    let token = auth::account_token(&app.token, req.namespace(), req.name());
    body["status"] = json!({"token": token, "expirationTimestamp": meta::after(3_600)});
    Reply {
        code: 201,
        value: body,
        warnings: Vec::new(),
    }
}

/// Answers a review: everyone who got past authentication may do everything.
pub(crate) fn review(app: &App, req: &Req, caller: &Caller, mut body: Value) -> ApiResult<Reply> {
    let user = user_info(caller);
    body["status"] = match req.resource.kind.as_str() {
        "TokenReview" => match Caller::of_token(meta::text(&body, "/spec/token"), &app.token) {
            Some(caller) => json!({"authenticated": true, "user": user_info(&caller)}),
            None => json!({"authenticated": false, "error": "unknown token"}),
        },
        "SelfSubjectReview" => json!({"userInfo": user}),
        "SelfSubjectRulesReview" => json!({"incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
        "Binding" => return Err(ApiError::method_not_allowed()),
        _ => json!({"allowed": true, "reason": "there are no roles on one machine"}),
    };
    Ok(Reply {
        code: 201,
        value: body,
        warnings: Vec::new(),
    })
}

fn user_info(caller: &Caller) -> Value {
    let group = match caller {
        Caller::Admin => "system:masters",
        Caller::Account { .. } => "system:serviceaccounts",
    };
    json!({"username": caller.user(), "groups": [group, "system:authenticated"]})
}
