//! Lists by pages: `limit`, `continue`, and lists of an earlier version.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::app::App;
use crate::meta;
use crate::request::Req;
use crate::status::{ApiError, ApiResult};
use crate::store::Object;

/// The objects that a list starts from.
pub(crate) struct Picture {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) version: u64,
    /// Objects up to this (namespace, name) were in earlier pages.
    after: Option<(String, String)>,
}

/// One page of a list.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Object>>,
    /// Token of the next page, empty on the last.
    pub(crate) next: String,
    /// How many objects come after this page.
    pub(crate) remaining: usize,
}

fn broken(why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "invalid continue token: continue key is not valid: {why}"
    ))
}

/// Takes the picture that a list request asks for: the present one, or that of an earlier version.
pub(crate) fn picture(app: &App, req: &Req, asked: u64) -> ApiResult<Picture> {
    let (storage, namespace) = (&req.resource.storage, req.target.namespace.as_deref());
    let token = req.query.get("continue");
    let at = |version: u64| {
        let objects = app.store.list_at(storage, namespace, version);
        objects.map_err(|floor| {
            let mut error = ApiError::expired(version, floor);
            if !token.is_empty() {
                "The provided continue parameter is too old to display a consistent list result. \
                 You must start a new list without the continue parameter."
                    .clone_into(&mut error.message);
            }
            error
        })
    };
    if !token.is_empty() {
        if !matches!(req.query.get("resourceVersion"), "" | "0") {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let (version, after) = parse(token)?;
        let objects = at(version)?;
        return Ok(Picture {
            objects,
            version,
            after: Some(after),
        });
    }
    if asked > 0 && req.query.get("resourceVersionMatch") == "Exact" {
        return Ok(Picture {
            objects: at(asked)?,
            version: asked,
            after: None,
        });
    }
    let (objects, version) = app.store.list(storage, namespace);
    Ok(Picture {
        objects,
        version,
        after: None,
    })
}

fn parse(token: &str) -> ApiResult<(u64, (String, String))> {
    let bytes = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|_| broken("it is not base64"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| broken("it is not JSON"))?;
    let start = value["start"].as_str().unwrap_or("");
    let (namespace, name) = start.split_once('/').ok_or_else(|| broken("no start"))?;
    let version = value["rv"].as_u64().ok_or_else(|| broken("no version"))?;
    Ok((version, (namespace.to_owned(), name.to_owned())))
}

/// Returns the page of `picture` that `limit` asks for, of those objects that `wanted` takes.
pub(crate) fn page(
    req: &Req,
    picture: Picture,
    wanted: impl Fn(&Value) -> bool,
) -> ApiResult<Page> {
    let limit = match req.query.get("limit") {
        "" | "0" => usize::MAX,
        text => text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax"
            ))
        })?,
    };
    let Picture {
        objects,
        version,
        after,
    } = picture;
    let mut page = Page::default();
    for object in objects {
        let value = &object.value;
        let early = after.as_ref().is_some_and(|(namespace, name)| {
            (meta::namespace(value), meta::name(value)) <= (namespace.as_str(), name.as_str())
        });
        if early || !wanted(value) {
            continue;
        }
        if page.objects.len() < limit {
            page.objects.push(object);
        } else {
            page.remaining += 1;
        }
    }
    if page.remaining > 0
        && let Some(last) = page.objects.last()
    {
        let start = format!(
            "{}/{}",
            meta::namespace(&last.value),
            meta::name(&last.value)
        );
        let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": start});
        page.next = URL_SAFE_NO_PAD.encode(token.to_string());
    }
    Ok(page)
}
