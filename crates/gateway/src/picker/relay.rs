//! The response half: headers through the picker, then every chunk.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use weir_extproc::pb::{self, HttpBody, HttpHeaders, HttpTrailers, Request};
use weir_proxy::{Body, BoxError, boxed};

use super::connection::{Call, encoded};
use super::{Failure, change, plain, raw, streamed};

/// Longest that a picker may take over the headers of a response.
const HEADERS: Duration = Duration::from_secs(10);

/// Passes the response through the picker. When the picker is gone or silent before it said anything to it, the
/// response passes as it is.
pub(crate) async fn respond(mut call: Call, response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let ended = body.is_end_stream();
    let mut headers = vec![raw(":status", parts.status.as_str().as_bytes())];
    headers.extend(plain(&parts.headers, &[]));
    let told = call
        .tell(Request::ResponseHeaders(HttpHeaders {
            headers: Some(pb::HeaderMap { headers }),
            end_of_stream: ended,
        }))
        .await;
    let reply = match told {
        Ok(()) => tokio::time::timeout(HEADERS, call.hear())
            .await
            .unwrap_or(Err(Failure::Silent(call.address))),
        Err(failure) => Err(failure),
    };
    match reply {
        Ok(pb::Response::ResponseHeaders(phase)) => {
            let changes = phase.response.and_then(|common| common.header_mutation);
            if let Some(changes) = changes {
                change(&mut parts.headers, &changes);
            }
        }
        other => {
            // It has no part in this response: a picker that skips a response closes its stream.
            if let Err(failure @ Failure::Silent(_)) = &other {
                tracing::warn!(error = %failure, "A response passes without its picker");
            }
            return Response::from_parts(parts, body);
        }
    }
    if ended {
        return Response::from_parts(parts, body);
    }
    // The picker may change the length.
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, through(call, body))
}

/// What is under way between engine, picker and client.
struct Relay {
    call: Call,
    body: Body,
    /// Messages for the picker that its queue had no room for.
    waiting: VecDeque<Bytes>,
    /// The engine has ended.
    ended: bool,
    /// The picker has ended.
    done: bool,
    trailers: Option<HeaderMap>,
}

fn through(call: Call, body: Body) -> Body {
    let relay = Relay {
        call,
        body,
        waiting: VecDeque::new(),
        ended: false,
        done: false,
        trailers: None,
    };
    let frames = futures::stream::unfold(relay, |mut relay| async move {
        relay.next().await.map(|frame| (frame, relay))
    });
    boxed(StreamBody::new(frames))
}

impl Relay {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        loop {
            if self.done {
                return self
                    .trailers
                    .take()
                    .map(|trailers| Ok(Frame::trailers(trailers)));
            }
            let send = self.call.send.clone();
            tokio::select! {
                permit = send.reserve(), if !self.waiting.is_empty() => {
                    let Ok(permit) = permit else {
                        return Some(self.fail("the picker's stream is closed".into()));
                    };
                    if let Some(message) = self.waiting.pop_front() {
                        permit.send(message);
                    }
                }
                frame = self.body.frame(), if self.waiting.is_empty() && !self.ended => {
                    if let Err(error) = self.take(frame) {
                        return Some(self.fail(error));
                    }
                }
                reply = self.call.hear() => match self.give(reply) {
                    Ok(None) => {}
                    Ok(Some(data)) => return Some(Ok(Frame::data(data))),
                    Err(error) => return Some(self.fail(error)),
                }
            }
        }
    }

    fn fail(&mut self, error: BoxError) -> Result<Frame<Bytes>, BoxError> {
        self.done = true;
        self.trailers = None;
        Err(error)
    }

    /// Takes a frame of the engine.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BoxError>>) -> Result<(), BoxError> {
        let Some(frame) = frame else {
            self.ended = true;
            self.waiting.push_back(chunk(Bytes::new(), true));
            return Ok(());
        };
        match frame?.into_data() {
            Ok(data) => {
                let end = self.body.is_end_stream();
                self.ended = end;
                self.waiting.push_back(chunk(data, end));
            }
            Err(frame) => {
                self.ended = true;
                let trailers = frame.into_trailers().unwrap_or_default();
                let headers = plain(&trailers, &[]).collect();
                self.waiting
                    .push_back(encoded(Request::ResponseTrailers(HttpTrailers {
                        trailers: Some(pb::HeaderMap { headers }),
                    })));
                self.trailers = Some(trailers);
            }
        }
        Ok(())
    }

    /// Takes a reply of the picker; returns what goes to the client.
    fn give(&mut self, reply: Result<pb::Response, Failure>) -> Result<Option<Bytes>, BoxError> {
        match reply? {
            pb::Response::ResponseBody(phase) => {
                let (piece, end) = streamed(phase).ok_or("the picker sent no piece of a body")?;
                self.done = end;
                Ok((!piece.is_empty()).then_some(piece))
            }
            pb::Response::ResponseTrailers(_) => {
                self.done = true;
                Ok(None)
            }
            _ => Err("the picker ended the response".into()),
        }
    }
}

fn chunk(body: Bytes, end_of_stream: bool) -> Bytes {
    encoded(Request::ResponseBody(HttpBody {
        body,
        end_of_stream,
    }))
}
