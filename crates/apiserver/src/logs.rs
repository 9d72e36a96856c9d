//! `pods/log`: files that the node writes, whole, from the end, or followed.
//!
//! A container's log is `<logs>/<namespace>_<pod>_<uid>/<container>.log`, that of its last run
//! `<container>.previous.log`. The files hold what the container wrote, without times.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use weir_runtime::http::{Body, BoxError};

use crate::app::App;
use crate::meta;
use crate::request::{Req, warn};
use crate::status::{ApiError, ApiResult};
use crate::store::Key;

const CHUNK: usize = 64 << 10;
const POLL: Duration = Duration::from_millis(100);

/// Answers a request for a container's log.
pub(crate) async fn serve(app: Arc<App>, req: &Req) -> ApiResult<Response<Body>> {
    let object = app
        .fetch(&req.resource, req.namespace(), req.name())
        .await?;
    let pod = &object.value;
    let container = container(req, pod)?;
    let suffix = if req.query.flag("previous") {
        ".previous.log"
    } else {
        ".log"
    };
    let dir = format!("{}_{}_{}", req.namespace(), req.name(), meta::uid(pod));
    let path = app.logs.join(dir).join(format!("{container}{suffix}"));
    let follow = req.query.flag("follow") && suffix == ".log";
    if !follow && !path.exists() {
        if suffix == ".log" {
            let waiting = waiting(pod, &container);
            let message = format!(
                "container {container:?} in pod {:?} is waiting to start: {waiting}",
                req.name()
            );
            return Err(ApiError::bad_request(message));
        }
        let message = format!(
            "previous terminated container {container:?} in pod {:?} not found",
            req.name()
        );
        return Err(ApiError::bad_request(message));
    }
    let tail = req.query.get("tailLines").parse::<usize>().ok();
    let limit = req.query.get("limitBytes").parse::<u64>().ok();
    let mut start = match tail {
        Some(lines) => offset_of_tail(&path, lines).await.unwrap_or(0),
        None => 0,
    };
    let mut warnings = Vec::new();
    if req.query.flag("timestamps") {
        warnings.push("the log holds no times: its lines are shown without".to_owned());
    }
    if let Some(since) = since(req)? {
        match unchanged(&path, since).await {
            Some(end) => start = end,
            None => warnings.push(
                "the log holds no times: as something was written since, it is shown whole"
                    .to_owned(),
            ),
        }
    }
    let key = App::key(&req.resource, req.namespace(), req.name());
    let state = Tail {
        app,
        key,
        uid: meta::uid(pod).to_owned(),
        container,
        path,
        offset: start,
        follow,
        left: limit,
        last: false,
    };
    let stream = futures::stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), state))
    });
    let mut response = Response::new(StreamBody::new(stream.boxed()).boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    warn(response.headers_mut(), &warnings);
    Ok(response)
}

/// Returns from when on lines are wanted.
fn since(req: &Req) -> ApiResult<Option<jiff::Timestamp>> {
    let (seconds, time) = (req.query.get("sinceSeconds"), req.query.get("sinceTime"));
    if !seconds.is_empty() {
        let span = seconds
            .parse()
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(jiff::SignedDuration::from_secs)
            .ok_or_else(|| {
                ApiError::bad_request(format!(
                    "sinceSeconds: Invalid value: {seconds:?}: must be greater than 0"
                ))
            })?;
        return Ok(jiff::Timestamp::now().checked_sub(span).ok());
    }
    if time.is_empty() {
        return Ok(None);
    }
    let parsed = time.parse().map_err(|_| {
        ApiError::bad_request(format!("sinceTime: Invalid value: {time:?}: not a time"))
    })?;
    Ok(Some(parsed))
}

/// Returns the size of a file that was last written to before `since`.
async fn unchanged(path: &std::path::Path, since: jiff::Timestamp) -> Option<u64> {
    let data = tokio::fs::metadata(path).await.ok()?;
    let modified = jiff::Timestamp::try_from(data.modified().ok()?).ok()?;
    (modified < since).then_some(data.len())
}

fn names(pod: &Value) -> impl Iterator<Item = (&str, bool)> {
    [("/spec/containers", true), ("/spec/initContainers", false)]
        .into_iter()
        .flat_map(move |(list, main)| {
            pod.pointer(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(move |c| (c["name"].as_str().unwrap_or(""), main))
        })
}

fn container(req: &Req, pod: &Value) -> ApiResult<String> {
    let asked = req.query.get("container");
    let mains: Vec<&str> = names(pod)
        .filter(|(_, main)| *main)
        .map(|(name, _)| name)
        .collect();
    if !asked.is_empty() {
        if names(pod).any(|(name, _)| name == asked) {
            return Ok(asked.to_owned());
        }
        return Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {}",
            req.name()
        )));
    }
    match mains.as_slice() {
        [one] => Ok((*one).to_owned()),
        many => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            req.name(),
            many.join(" ")
        ))),
    }
}

fn status_of<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    ["/status/containerStatuses", "/status/initContainerStatuses"]
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array())
        .flatten()
        .find(|status| status["name"] == container)
}

fn waiting(pod: &Value, container: &str) -> String {
    let status = status_of(pod, container);
    let reason = status.map_or("", |s| meta::text(s, "/state/waiting/reason"));
    if reason.is_empty() {
        "ContainerCreating".to_owned()
    } else {
        reason.to_owned()
    }
}

struct Tail {
    app: Arc<App>,
    key: Key,
    uid: String,
    container: String,
    path: PathBuf,
    offset: u64,
    follow: bool,
    left: Option<u64>,
    last: bool,
}

impl Tail {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let bytes = self.read().await;
            if !bytes.is_empty() {
                return Some(bytes);
            }
            if !self.follow || self.last || self.app.shutdown.is_cancelled() {
                return None;
            }
            // One more look at the file after the container ended.
            self.last = self.ended();
            tokio::time::sleep(POLL).await;
        }
    }

    async fn read(&mut self) -> Bytes {
        let mut wanted = CHUNK as u64;
        if let Some(left) = self.left {
            wanted = wanted.min(left);
        }
        let Ok(mut file) = tokio::fs::File::open(&self.path).await else {
            return Bytes::new();
        };
        if let Ok(data) = file.metadata().await
            && data.len() < self.offset
        {
            // A new file after rotation or restart.
            self.offset = 0;
        }
        if file.seek(SeekFrom::Start(self.offset)).await.is_err() {
            return Bytes::new();
        }
        let mut buffer = Vec::new();
        let count = file
            .take(wanted)
            .read_to_end(&mut buffer)
            .await
            .unwrap_or(0) as u64;
        self.offset += count;
        if let Some(left) = &mut self.left {
            *left -= count;
        }
        Bytes::from(buffer)
    }

    fn ended(&self) -> bool {
        let Some(pod) = self.app.store.peek(&self.key) else {
            return true;
        };
        if meta::uid(&pod.value) != self.uid {
            return true;
        }
        status_of(&pod.value, &self.container)
            .is_some_and(|status| status["state"]["terminated"].is_object())
    }
}

/// Returns where the last `lines` lines begin.
async fn offset_of_tail(path: &std::path::Path, lines: usize) -> Option<u64> {
    let mut file = tokio::fs::File::open(path).await.ok()?;
    let end = file.metadata().await.ok()?.len();
    if lines == 0 {
        return Some(end);
    }
    let (mut position, mut found) = (end, 0);
    let mut buffer = vec![0; CHUNK];
    while position > 0 {
        let size = position.min(CHUNK as u64);
        position -= size;
        let part = buffer.get_mut(..usize::try_from(size).ok()?)?;
        file.seek(SeekFrom::Start(position)).await.ok()?;
        file.read_exact(part).await.ok()?;
        for (index, byte) in part.iter().enumerate().rev() {
            let at = position + index as u64;
            if *byte == b'\n' && at + 1 != end {
                found += 1;
                if found == lines {
                    return Some(at + 1);
                }
            }
        }
    }
    Some(0)
}
