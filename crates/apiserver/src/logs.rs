//! `pods/log`: files that the node writes, whole, from the end, from a time on, or followed.
//!
//! They lie in `<logs>/<namespace>_<pod>_<uid>`; names and lines are those of
//! [`container_log`].

mod files;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use weir_runtime::container_log::{self, Run};
use weir_runtime::http::{Body, BoxError};

use crate::app::App;
use crate::meta;
use crate::request::Req;
use crate::status::{ApiError, ApiResult};
use crate::store::Key;
use files::{Files, Reader};

const POLL: Duration = Duration::from_millis(100);

/// Answers a request for a container's log.
pub(crate) async fn serve(app: Arc<App>, req: &Req) -> ApiResult<Response<Body>> {
    let object = app
        .fetch(&req.resource, req.namespace(), req.name())
        .await?;
    let pod = &object.value;
    let container = container(req, pod)?;
    let previous = req.query.flag("previous");
    let dir = format!("{}_{}_{}", req.namespace(), req.name(), meta::uid(pod));
    let files = Files {
        directory: app.logs.join(dir),
        container: container.clone(),
        run: if previous {
            Run::Previous
        } else {
            Run::Present
        },
    };
    let follow = req.query.flag("follow") && !previous;
    if !follow && !files.exist() {
        let name = req.name();
        let refused = if previous {
            let of = format!("container {container:?} in pod {name:?}");
            Some(format!("previous terminated {of} not found"))
        } else {
            // One that needed not run has ended and said nothing.
            waiting(pod, &container).map(|why| {
                format!("container {container:?} in pod {name:?} is waiting to start: {why}")
            })
        };
        if let Some(message) = refused {
            return Err(ApiError::bad_request(message));
        }
    }
    let tail = number(req, "tailLines", 0)?;
    let tail = tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let limit = number(req, "limitBytes", 1)?;
    let lines = Lines {
        since: since(req)?.map(container_log::time),
        times: req.query.flag("timestamps"),
        rest: Vec::new(),
        inside: false,
    };
    let key = App::key(&req.resource, req.namespace(), req.name());
    let state = Tail {
        app,
        key,
        uid: meta::uid(pod).to_owned(),
        container,
        reader: Reader::new(files, tail).await,
        lines,
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
    Ok(response)
}

/// Returns a number of the query, `least` or more; none where it is not given.
fn number(req: &Req, field: &str, least: u64) -> ApiResult<Option<u64>> {
    let text = req.query.get(field);
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(ApiError::bad_request(format!(
            "{field}: Invalid value: {text:?}: must be a number, {least} or more"
        ))),
    }
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

/// Why a container has not started; nothing of one that has.
fn waiting<'a>(pod: &'a Value, container: &str) -> Option<&'a str> {
    let status = status_of(pod, container);
    let state = |state: &str| status.is_some_and(|status| status["state"][state].is_object());
    if state("running") || state("terminated") {
        return None;
    }
    let reason = status.map_or("", |s| meta::text(s, "/state/waiting/reason"));
    Some(match reason {
        "" => "ContainerCreating",
        reason => reason,
    })
}

/// Turns lines of files into what the container wrote.
struct Lines {
    /// Lines before this time are left out.
    since: Option<String>,
    /// Whether each line begins with its time.
    times: bool,
    /// A line that has not ended yet.
    rest: Vec<u8>,
    /// Whether the last text did not end a line of the container.
    inside: bool,
}

impl Lines {
    /// Returns what `bytes` add.
    fn add(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                self.line(line.strip_suffix(b"\n").unwrap_or(&line), &mut out);
            }
        }
        out
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        // What is in no known form is shown as it is.
        let Some(line) = container_log::parse(line) else {
            out.extend_from_slice(line);
            out.push(b'\n');
            return;
        };
        if self.since.as_deref().is_some_and(|since| line.time < since) {
            return;
        }
        if self.times && !self.inside {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.whole {
            out.push(b'\n');
        }
        self.inside = !line.whole;
    }
}

struct Tail {
    app: Arc<App>,
    key: Key,
    uid: String,
    container: String,
    reader: Reader,
    lines: Lines,
    follow: bool,
    left: Option<u64>,
    last: bool,
}

impl Tail {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.left == Some(0) {
                return None;
            }
            let bytes = self.reader.next().await;
            if !bytes.is_empty() {
                let mut bytes = self.lines.add(&bytes);
                if let Some(left) = &mut self.left {
                    bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= bytes.len() as u64;
                }
                if bytes.is_empty() {
                    continue;
                }
                return Some(Bytes::from(bytes));
            }
            let over = self.last || self.reader.is_over();
            if !self.follow || over || self.app.shutdown.is_cancelled() {
                return None;
            }
            // One more look at the files after the container ended.
            self.last = self.ended();
            tokio::time::sleep(POLL).await;
        }
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
