//! Get, list and watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use weir_runtime::http::{Body, BoxError};

use crate::app::App;
use crate::registry::{Resource, Snapshot};
use crate::request::{Reply, Req};
use crate::selector::Selector;
use crate::status::{ApiError, ApiResult};
use crate::store::Event;
use crate::{options, page, table};

const BOOKMARK_EVERY: Duration = Duration::from_secs(30);
const INITIAL_EVENTS: &str = "k8s.io/initial-events-end";

/// Answers a get.
pub(crate) async fn get(app: &App, req: &Req) -> ApiResult<Reply> {
    let object = app
        .fetch(&req.resource, req.namespace(), req.name())
        .await?;
    let value = app.serve_to(req, &object.value)?;
    Ok(Reply::ok(shape(req, value)))
}

/// Turns an object into the shape that the caller asked for.
pub(crate) fn shape(req: &Req, value: Value) -> Value {
    if req.table() {
        return table::of(&req.resource, &[value], "", &req.query);
    }
    if req.partial() {
        return partial(value);
    }
    value
}

fn partial(mut value: Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": value["metadata"].take()})
}

/// Answers a list.
pub(crate) async fn list(app: &App, req: &Req) -> ApiResult<Reply> {
    let resource = &req.resource;
    options::list(req)?;
    let selector = selector(req)?;
    let asked = version_of(req).map_err(|mut error| {
        error.message.insert_str(0, "invalid resource version: ");
        error
    })?;
    check_version(asked, app.store.version())?;
    let picture = page::picture(app, req, asked)?;
    let version = picture.version;
    app.durable(version).await?;
    let page = page::page(req, picture, |value| selector.matches(value))?;
    let mut items = Vec::with_capacity(page.objects.len());
    for object in page.objects {
        items.push(app.serve_to(req, &object.value)?);
    }
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if !page.next.is_empty() {
        metadata["continue"] = json!(page.next);
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(page.remaining);
        }
    } else if resource.custom.is_some() && !req.table() && !req.partial() {
        metadata["continue"] = json!("");
    }
    if req.table() {
        let mut table = table::of(resource, &items, "", &req.query);
        table["metadata"] = metadata;
        return Ok(Reply::ok(table));
    }
    let (api_version, kind) = if req.partial() {
        items = items.into_iter().map(partial).collect();
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList")
    } else {
        (resource.api_version(), resource.list_kind.as_str())
    };
    Ok(Reply::ok(json!({"apiVersion": api_version, "kind": kind,
        "metadata": metadata, "items": items})))
}

fn check_version(asked: u64, current: u64) -> ApiResult<()> {
    if asked > current {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut error = ApiError::new(504, "Timeout", message);
        error.details = json!({"causes": [{"reason": "ResourceVersionTooLarge",
            "message": "Too large resource version"}], "retryAfterSeconds": 1});
        return Err(error);
    }
    Ok(())
}

fn version_of(req: &Req) -> ApiResult<u64> {
    match req.query.get("resourceVersion") {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: \
                 invalid syntax"
            ))
        }),
    }
}

/// Parses the selectors of a request.
pub(crate) fn selector(req: &Req) -> ApiResult<Selector> {
    let mut fields = req.query.get("fieldSelector").to_owned();
    if let Some(name) = &req.target.name {
        // A watch of one object by its own path.
        fields = format!("metadata.name={name}");
    }
    let selector =
        Selector::parse(req.query.get("labelSelector"), &fields).map_err(ApiError::bad_request)?;
    let unsupported = selector
        .field_paths()
        .find_map(|path| crate::selector::unsupported_field(&req.resource, path));
    match unsupported {
        Some(text) => Err(ApiError::bad_request(text)),
        None => Ok(selector),
    }
}

struct Watch {
    app: Arc<App>,
    req: Req,
    resource: Arc<Resource>,
    selector: Selector,
    since: u64,
    ready: VecDeque<Bytes>,
    /// Objects whose initial state comes first.
    bookmarks: bool,
    commits: tokio::sync::watch::Receiver<u64>,
    /// The served kinds: a watch ends with its kind, so that its client learns of it.
    kinds: tokio::sync::watch::Receiver<Arc<Snapshot>>,
    deadline: tokio::time::Instant,
    next_bookmark: tokio::time::Instant,
    ended: bool,
    columns_sent: bool,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Answers a watch.
pub(crate) async fn watch(app: Arc<App>, req: Req) -> ApiResult<Response<Body>> {
    options::list(&req)?;
    let permit = Arc::clone(&app.watches)
        .try_acquire_owned()
        .map_err(|_| ApiError::too_many("too many watches are open"))?;
    let selector = selector(&req)?;
    let mut since = version_of(&req).map_err(|error| ApiError::new(500, "", error.message))?;
    let initial = req.query.flag("sendInitialEvents");
    let bookmarks = req.query.flag("allowWatchBookmarks");
    let (objects, version) = app
        .store
        .list(&req.resource.storage, req.target.namespace.as_deref());
    check_version(since, version)?;
    app.durable(version).await?;
    let now = tokio::time::Instant::now();
    let timeout = req.query.get("timeoutSeconds").parse().unwrap_or(0);
    let timeout = if timeout == 0 {
        3_600
    } else {
        timeout.min(86_400)
    };
    let resource = Arc::clone(&req.resource);
    let commits = app.store.commits();
    let mut watch = Watch {
        app: Arc::clone(&app),
        resource,
        selector,
        since,
        ready: VecDeque::new(),
        bookmarks,
        commits,
        kinds: app.registry.changes(),
        deadline: now + Duration::from_secs(timeout),
        next_bookmark: now + BOOKMARK_EVERY,
        ended: false,
        columns_sent: false,
        _permit: permit,
        req,
    };
    if initial || since == 0 {
        for object in objects {
            if watch.selector.matches(&object.value) {
                watch.push("ADDED", &object.value);
            }
        }
        since = version;
        watch.since = since;
        if initial && bookmarks {
            watch.bookmark(true);
        }
    } else if since < app.store.floor() {
        return Err(ApiError::expired(since, app.store.floor()));
    }
    let shutdown = app.shutdown.clone();
    let stream = futures::stream::unfold(watch, move |mut watch| {
        let shutdown = shutdown.clone();
        async move {
            let bytes = watch.next(&shutdown).await?;
            Some((Ok::<_, BoxError>(Frame::data(bytes)), watch))
        }
    });
    let mut response = Response::new(StreamBody::new(stream.boxed()).boxed_unsync());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

impl Watch {
    async fn next(&mut self, shutdown: &tokio_util::sync::CancellationToken) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                let mut out = Vec::new();
                for line in self.ready.drain(..) {
                    out.extend_from_slice(&line);
                }
                return Some(Bytes::from(out));
            }
            if self.ended {
                return None;
            }
            self.commits.borrow_and_update();
            match self.app.store.events(&self.resource.storage, self.since) {
                Ok((events, until)) => {
                    self.since = until;
                    for event in events {
                        self.event(&event);
                    }
                }
                Err(floor) => {
                    let status = ApiError::expired(self.since, floor).to_value();
                    self.line("ERROR", &status);
                    self.ended = true;
                }
            }
            if !self.ready.is_empty() {
                continue;
            }
            let of = &*self.resource;
            let custom = of.custom.is_some();
            let kinds = Arc::clone(&self.kinds.borrow_and_update());
            if custom && kinds.find(&of.group, &of.version, &of.plural).is_none() {
                self.ended = true;
                continue;
            }
            let bookmark = self.next_bookmark;
            tokio::select! {
                () = shutdown.cancelled() => self.ended = true,
                () = tokio::time::sleep_until(self.deadline) => {
                    if self.bookmarks {
                        self.bookmark(false);
                    }
                    self.ended = true;
                }
                () = tokio::time::sleep_until(bookmark), if self.bookmarks => {
                    self.bookmark(false);
                    self.next_bookmark = tokio::time::Instant::now() + BOOKMARK_EVERY;
                }
                // The registry lives as long as the server.
                _ = self.kinds.changed(), if custom => {}
                changed = self.commits.changed() => {
                    if changed.is_err() {
                        self.ended = true;
                    }
                }
            }
        }
    }

    fn event(&mut self, event: &Event) {
        if self
            .req
            .target
            .namespace
            .as_ref()
            .is_some_and(|ns| *ns != event.key.namespace)
        {
            return;
        }
        let was = event
            .before
            .as_ref()
            .is_some_and(|b| self.selector.matches(&b.value));
        let is = !event.removed && self.selector.matches(&event.object.value);
        match (was, is) {
            (false, true) => self.push("ADDED", &event.object.value),
            (true, true) => self.push("MODIFIED", &event.object.value),
            // What no longer matches goes as it was when it did.
            (true, false) => match &event.before {
                Some(before) if !event.removed => {
                    let mut value = before.value.clone();
                    let version = Some(json!(event.version.to_string()));
                    crate::meta::set(&mut value, "resourceVersion", version);
                    self.push("DELETED", &value);
                }
                _ => self.push("DELETED", &event.object.value),
            },
            (false, false) => {}
        }
    }

    fn push(&mut self, kind: &str, object: &Value) {
        match self.app.serve(&self.resource, object) {
            Ok(value) if self.req.table() => {
                let table = table::row(&self.resource, &value, &self.req.query, !self.columns_sent);
                self.columns_sent = true;
                self.line(kind, &table);
            }
            Ok(value) if self.req.partial() => self.line(kind, &partial(value)),
            Ok(value) => self.line(kind, &value),
            Err(error) => {
                self.line("ERROR", &error.to_value());
                self.ended = true;
            }
        }
    }

    fn bookmark(&mut self, initial: bool) {
        let mut metadata = json!({"resourceVersion": self.since.to_string()});
        if initial {
            metadata["annotations"] = json!({INITIAL_EVENTS: "true"});
        }
        let (api_version, kind) = if self.req.partial() {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata")
        } else {
            (self.resource.api_version(), self.resource.kind.as_str())
        };
        let value = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        let value = if self.req.table() {
            table::row(&self.resource, &value, &self.req.query, false)
        } else {
            value
        };
        self.line("BOOKMARK", &value);
    }

    fn line(&mut self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.ready.push_back(Bytes::from(line));
    }
}
