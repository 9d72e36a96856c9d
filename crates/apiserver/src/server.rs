//! From an HTTP request to its handler.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use weir_runtime::http::{Body, full, text};

use crate::app::App;
use crate::auth::Caller;
use crate::request::{
    BODY_LIMIT, Query, Reply, Req, Target, failure, json, parse_body, typed, warn,
};
use crate::status::{ApiError, ApiResult};
use crate::write::Change;
use crate::{delete, discovery, logs, openapi, options, patch, read, schema, sub, write};

/// Answers one request.
pub(crate) async fn handle(app: Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let started = std::time::Instant::now();
    let response = match Box::pin(route(app, request)).await {
        Ok(response) => response,
        Err(error) => failure(&error),
    };
    tracing::debug!(%method, path, status = response.status().as_u16(),
        ms = started.elapsed().as_secs_f64() * 1e3, "API request");
    response
}

async fn route(app: Arc<App>, request: Request<Incoming>) -> ApiResult<Response<Body>> {
    let path = request.uri().path().to_owned();
    match path.trim_end_matches('/') {
        "/healthz" | "/livez" | "/readyz" => return Ok(text(StatusCode::OK, "ok")),
        "/version" => return Ok(json(200, &version())),
        _ => {}
    }
    let caller = caller(&app, request.headers())
        .ok_or_else(|| ApiError::new(401, "Unauthorized", "Unauthorized"))?;
    let accept = header_of(request.headers(), &header::ACCEPT);
    if let Some(answer) = documents(&app, &path, &accept, request.headers()) {
        return answer;
    }
    let target = Target::parse(&path).ok_or_else(ApiError::no_path)?;
    let resource = app
        .registry
        .snapshot()
        .find(&target.group, &target.version, &target.plural)
        .ok_or_else(ApiError::no_path)?;
    if resource.namespaced && target.namespace.is_none() && target.name.is_some() {
        return Err(ApiError::no_path());
    }
    if !resource.namespaced && target.namespace.is_some() {
        return Err(ApiError::no_path());
    }
    let req = Req {
        query: Query::parse(request.uri().query().unwrap_or("")),
        accept,
        content_type: header_of(request.headers(), &header::CONTENT_TYPE),
        agent: header_of(request.headers(), &header::USER_AGENT),
        resource,
        target,
    };
    let method = request.method().clone();
    caller.check(&req, matches!(method, Method::GET | Method::HEAD))?;
    let body = if matches!(method, Method::GET | Method::HEAD) {
        Bytes::new()
    } else {
        body(request.into_body()).await?
    };
    options::media(&req, &method, !body.is_empty())?;
    options::change(&req, &method)?;
    if method == Method::GET {
        if req.query.flag("watch") && req.target.subresource.is_empty() {
            return read::watch(app, req).await;
        }
        if req.target.subresource == "log" {
            return logs::serve(app, &req).await;
        }
    }
    let reply = verb(&app, &req, &caller, &method, &body).await?;
    let mut warnings = reply.warnings;
    if let Some(text) = req
        .resource
        .custom
        .as_ref()
        .and_then(|custom| custom.deprecation.clone())
    {
        warnings.push(text);
    }
    let mut response = json(reply.code, &reply.value);
    warn(response.headers_mut(), &warnings);
    Ok(response)
}

async fn verb(
    app: &App,
    req: &Req,
    caller: &Caller,
    method: &Method,
    bytes: &[u8],
) -> ApiResult<Reply> {
    let parse = || parse_body(bytes, &req.content_type);
    let options = || {
        if bytes.is_empty() {
            Ok(Value::Null)
        } else {
            parse()
        }
    };
    let named = req.target.name.is_some();
    let sub = req.target.subresource.as_str();
    if req.resource.review {
        if *method != Method::POST {
            return Err(ApiError::method_not_allowed());
        }
        return sub::review(app, req, caller, parse()?);
    }
    let written = |reply: Reply| Reply {
        value: read::shape(req, reply.value),
        ..reply
    };
    match (method.as_str(), named, sub) {
        ("GET", false, "") => read::list(app, req).await,
        ("GET", true, "") => read::get(app, req).await,
        ("GET", true, "status") if req.resource.status => read::get(app, req).await,
        ("GET", true, "scale") => sub::get_scale(app, req).await,
        ("POST", false, "") => {
            let twice = duplicates(req, bytes)?;
            let reply = write::create(app, req, parse()?, false).await;
            reply.map(|reply| written(warned(twice, reply)))
        }
        ("POST", true, "binding") => sub::bind(app, req, &parse()?).await,
        ("POST", true, "eviction") => sub::evict(app, req, &parse()?).await,
        ("POST", true, "token") => Ok(sub::token(app, req, parse()?)),
        ("PUT", true, "finalize" | "") => {
            let twice = duplicates(req, bytes)?;
            let reply = put(app, req, parse()?).await;
            reply.map(|reply| written(warned(twice, reply)))
        }
        ("PUT", true, "status") if req.resource.status => put(app, req, parse()?).await,
        ("PUT", true, "scale") => {
            let scale = parse()?;
            sub::put_scale(app, req, |_| Ok(scale.clone())).await
        }
        ("PATCH", true, "scale") => {
            let patch = parse()?;
            sub::put_scale(app, req, |current| {
                let mut scale = current.clone();
                weir_merge::json_merge_patch(&mut scale, &patch);
                Ok(scale)
            })
            .await
        }
        ("PATCH", true, "") => patch::patch(app, req, bytes).await.map(written),
        ("PATCH", true, "status") if req.resource.status => patch::patch(app, req, bytes).await,
        ("DELETE", true, "") => delete::delete(app, req, &options()?).await,
        ("DELETE", false, "") => delete::collection(app, req, &options()?).await,
        (_, true, "status") if !req.resource.status => Err(ApiError::no_path()),
        (_, true, "scale") if req.resource.scale.is_none() => Err(ApiError::no_path()),
        (_, true, "" | "status" | "scale") | (_, false, "") => Err(ApiError::method_not_allowed()),
        _ => Err(ApiError::no_path()),
    }
}

async fn put(app: &App, req: &Req, object: Value) -> ApiResult<Reply> {
    if req.resource.custom.is_some()
        && crate::meta::text(&object, "/metadata/resourceVersion").is_empty()
    {
        // Told of the plural, as the original does.
        let told = crate::registry::Resource {
            kind: req.resource.plural.clone(),
            ..crate::registry::Resource::clone(&req.resource)
        };
        return Err(ApiError::invalid(
            &told,
            req.name(),
            &[(
                "FieldValueInvalid".to_owned(),
                "Invalid value: 0: must be specified for an update".to_owned(),
                "metadata.resourceVersion".to_owned(),
            )],
        ));
    }
    write::update(app, req, |_| {
        Ok(Change {
            object: object.clone(),
            owned: false,
        })
    })
    .await
}

fn warned(warning: Option<String>, mut reply: Reply) -> Reply {
    reply.warnings.splice(0..0, warning);
    reply
}

/// Refuses duplicate keys under strict validation, otherwise returns a warning.
fn duplicates(req: &Req, bytes: &[u8]) -> ApiResult<Option<String>> {
    let validation = req.query.get("fieldValidation");
    if validation == "Ignore" || bytes.first() != Some(&b'{') {
        return Ok(None);
    }
    let Some(path) = schema::duplicate_key(bytes) else {
        return Ok(None);
    };
    if validation == "Strict" {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: duplicate field {path:?}",
            req.resource.kind, req.resource.version, req.resource.kind
        )));
    }
    Ok(Some(format!("duplicate field {path:?}")))
}

async fn body(incoming: Incoming) -> ApiResult<Bytes> {
    let limited = Limited::new(incoming, BODY_LIMIT);
    let collected = limited.collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            let message = format!("Request entity too large: limit is {BODY_LIMIT}");
            ApiError::new(413, "RequestEntityTooLarge", message)
        } else {
            ApiError::bad_request(format!("cannot read the body: {error}"))
        }
    })?;
    Ok(collected.to_bytes())
}

fn header_of(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    values.join(",")
}

fn caller(app: &App, headers: &HeaderMap) -> Option<Caller> {
    let given = header_of(headers, &header::AUTHORIZATION);
    Caller::of_token(given.strip_prefix("Bearer ")?.trim(), &app.token)
}

fn version() -> Value {
    json!({"major": "1", "minor": "35", "gitVersion": "v1.35.0+weir", "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "",
        "compiler": "rustc", "platform": format!("linux/{}", std::env::consts::ARCH)})
}

/// Answers with an OpenAPI document, or with 304 when the caller has it.
fn model(app: &App, group: &str, version: &str, headers: &HeaderMap) -> ApiResult<Response<Body>> {
    let (hash, bytes) = app
        .documents
        .get(&app.registry.snapshot(), group, version)
        .ok_or_else(ApiError::no_path)?;
    let tag = format!("\"{hash}\"");
    let known = header_of(headers, &header::IF_NONE_MATCH) == tag;
    let mut response = Response::new(full(if known { Bytes::new() } else { bytes }));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let map = response.headers_mut();
    map.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        map.insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Discovery and OpenAPI; none when the path is of another kind.
fn documents(
    app: &App,
    path: &str,
    accept: &str,
    headers: &HeaderMap,
) -> Option<ApiResult<Response<Body>>> {
    let snapshot = app.registry.snapshot();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let aggregated = discovery::wants_aggregated(accept);
    let found = |value: Option<Value>| {
        Some(
            value
                .map(|value| json(200, &value))
                .ok_or_else(ApiError::no_path),
        )
    };
    match segments.as_slice() {
        [] => found(Some(
            json!({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3",
            "/readyz", "/version"]}),
        )),
        ["api" | "apis"] if aggregated => {
            let list = discovery::aggregated(&snapshot, segments == ["api"]);
            Some(Ok(typed(200, &list, discovery::AGGREGATED)))
        }
        ["api"] => found(Some(discovery::api())),
        ["apis"] => found(Some(discovery::groups(&snapshot))),
        ["apis", group] => found(discovery::group(&snapshot, group)),
        ["api", version] => found(discovery::resources(&snapshot, "", version)),
        ["apis", group, version] => found(discovery::resources(&snapshot, group, version)),
        ["openapi", "v3"] => found(Some(openapi::index(&snapshot))),
        ["openapi", "v3", "api", version] => Some(model(app, "", version, headers)),
        ["openapi", "v3", "apis", group, version] => Some(model(app, group, version, headers)),
        _ => None,
    }
}
