//! The gateway's side of external processing: an endpoint picker is asked for every request to an InferencePool.
//!
//! ```text
//! request headers, body ─▶ picker ─▶ destination, headers, body ─▶ engine
//! response headers, chunks ─▶ picker ─▶ headers, chunks ─▶ client
//! ```
//! Bodies are full-duplex: what the picker sends back is what goes on. TLS is tried first, since pickers sign their
//! own certificates; one that speaks clear text is remembered until a connection to it fails.

mod connection;
mod relay;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use weir_extproc::names;
use weir_extproc::pb::{
    self, HeaderMutation, HttpBody, HttpHeaders, ImmediateResponse, Mutation, Request,
};
use weir_proxy::{Body, full};

use connection::{Call, Slot};

pub(crate) use relay::respond;

/// Largest piece of a body in one message.
const PIECE: usize = 64 << 10;
/// Longest that a decision may take; a picker may queue a request while the pool is full.
const DECISION: Duration = Duration::from_secs(300);

/// Why a picker gave no decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection came about.
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] weir_proxy::BoxError),
    /// The stream broke, or ended too early.
    #[error("{0} broke off")]
    Broken(SocketAddr, #[source] weir_proxy::BoxError),
    /// It said something that makes no sense at this point.
    #[error("{0} answered out of turn")]
    Turn(SocketAddr),
    /// It said nothing.
    #[error("{0} gave no answer in time")]
    Silent(SocketAddr),
}

/// Connections to pickers.
pub(crate) struct Pickers {
    tls: Arc<rustls::ClientConfig>,
    known: Mutex<HashMap<SocketAddr, Arc<tokio::sync::Mutex<Slot>>>>,
    tasks: tokio_util::task::TaskTracker,
}

/// What a picker decided.
pub(crate) enum Decision {
    /// Send it there.
    Go(Box<Go>),
    /// Answer the client so.
    Answer(Box<Response<Body>>),
}

/// Where a request goes, and how it looks there.
pub(crate) struct Go {
    /// Addresses, the first choice first.
    pub(crate) destinations: Vec<SocketAddr>,
    /// The change of its headers.
    changes: HeaderMutation,
    /// Its body.
    pub(crate) body: Bytes,
    /// The stream, for the response.
    pub(crate) call: Call,
}

impl std::fmt::Debug for Pickers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pickers").finish_non_exhaustive()
    }
}

impl Default for Pickers {
    fn default() -> Self {
        Self {
            tls: connection::unverified(),
            known: Mutex::default(),
            tasks: tokio_util::task::TaskTracker::new(),
        }
    }
}

impl Pickers {
    /// Asks the picker at `address` where a request goes.
    pub(crate) async fn decide(
        &self,
        address: SocketAddr,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Decision, Failure> {
        let mut call = self.call(address).await?;
        let asked = tokio::time::timeout(DECISION, ask(&mut call, parts, &body)).await;
        match asked {
            Ok(Ok(Asked::Go(changes, body))) => {
                let destinations = destinations(&changes).ok_or(Failure::Turn(address))?;
                Ok(Decision::Go(Box::new(Go {
                    destinations,
                    changes,
                    body,
                    call,
                })))
            }
            Ok(Ok(Asked::Answer(answer))) => Ok(Decision::Answer(Box::new(immediate(&answer)))),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::Silent(address)),
        }
    }
}

enum Asked {
    Go(HeaderMutation, Bytes),
    Answer(ImmediateResponse),
}

async fn ask(call: &mut Call, parts: &Parts, body: &Bytes) -> Result<Asked, Failure> {
    call.tell(Request::RequestHeaders(HttpHeaders {
        headers: Some(request_headers(parts)),
        end_of_stream: body.is_empty(),
    }))
    .await?;
    let mut rest = body.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(PIECE));
        let told = call
            .tell(Request::RequestBody(HttpBody {
                body: piece,
                end_of_stream: rest.is_empty(),
            }))
            .await;
        if told.is_err() {
            // A picker may refuse a request before it has read all of it: what it says counts.
            break;
        }
    }
    let changes = match call.hear().await? {
        pb::Response::RequestHeaders(phase) => phase
            .response
            .and_then(|common| common.header_mutation)
            .unwrap_or_default(),
        pb::Response::Immediate(answer) => return Ok(Asked::Answer(answer)),
        _ => return Err(Failure::Turn(call.address)),
    };
    if body.is_empty() {
        return Ok(Asked::Go(changes, Bytes::new()));
    }
    let mut out = Vec::new();
    loop {
        match call.hear().await? {
            pb::Response::RequestBody(phase) => {
                let (piece, end) = streamed(phase).ok_or(Failure::Turn(call.address))?;
                out.push(piece);
                if end {
                    break;
                }
            }
            pb::Response::Immediate(answer) => return Ok(Asked::Answer(answer)),
            _ => return Err(Failure::Turn(call.address)),
        }
    }
    let body = match out.as_mut_slice() {
        [one] => std::mem::take(one),
        _ => out.concat().into(),
    };
    Ok(Asked::Go(changes, body))
}

/// The piece of a body reply.
fn streamed(phase: pb::PhaseResponse) -> Option<(Bytes, bool)> {
    match phase.response?.body_mutation?.mutation? {
        Mutation::Streamed(piece) => Some((piece.body, piece.end_of_stream)),
        Mutation::Body(_) | Mutation::ClearBody(_) => None,
    }
}

fn request_headers(parts: &Parts) -> pb::HeaderMap {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = parts
        .headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let mut out = vec![
        raw(":method", parts.method.as_str().as_bytes()),
        raw(":path", path.as_bytes()),
        raw(":authority", authority),
        raw(":scheme", b"http"),
    ];
    out.extend(plain(&parts.headers, &[header::HOST]));
    pb::HeaderMap { headers: out }
}

fn plain<'a>(
    headers: &'a HeaderMap,
    without: &'a [HeaderName],
) -> impl Iterator<Item = pb::HeaderValue> + 'a {
    headers
        .iter()
        .filter(|(name, _)| !without.contains(name))
        .map(|(name, value)| raw(name.as_str(), value.as_bytes()))
}

fn raw(key: &str, value: &[u8]) -> pb::HeaderValue {
    pb::HeaderValue {
        key: key.to_owned(),
        value: Bytes::new(),
        raw_value: Bytes::copy_from_slice(value),
    }
}

fn destinations(changes: &HeaderMutation) -> Option<Vec<SocketAddr>> {
    changes
        .set_headers
        .iter()
        .filter_map(|option| option.header.as_ref())
        .find(|header| header.key.eq_ignore_ascii_case(names::DESTINATION))
        .and_then(|header| std::str::from_utf8(header.bytes()).ok())?
        .split(',')
        .map(|address| address.trim().parse().ok())
        .collect()
}

/// Applies a change, removals first. Pseudo headers and framing stay what they are.
fn change(headers: &mut HeaderMap, changes: &HeaderMutation) {
    for name in &changes.remove_headers {
        headers.remove(name);
    }
    for header in changes
        .set_headers
        .iter()
        .filter_map(|option| option.header.as_ref())
    {
        let name = HeaderName::from_bytes(header.key.as_bytes());
        let value = HeaderValue::from_maybe_shared(header.bytes().clone());
        if let (Ok(name), Ok(value)) = (name, value)
            && name != header::CONTENT_LENGTH
            && name != header::TRANSFER_ENCODING
        {
            headers.insert(name, value);
        }
    }
}

fn immediate(answer: &ImmediateResponse) -> Response<Body> {
    let code = answer.status.as_ref().map_or(0, |status| status.code);
    let mut response = Response::new(full(answer.body.clone()));
    *response.status_mut() = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::OK);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if let Some(changes) = &answer.headers {
        change(response.headers_mut(), changes);
    }
    response
}

impl Go {
    /// The headers as the engine gets them.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        change(headers, &self.changes);
        if self.body.is_empty() {
            return;
        }
        headers.remove(header::TRANSFER_ENCODING);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
    }
}

#[cfg(test)]
mod calls;

#[cfg(test)]
mod tests {
    use super::*;
    use pb::HeaderValueOption;

    #[test]
    fn changes_remove_first_and_leave_framing_alone() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        headers.insert("x-b", HeaderValue::from_static("1"));
        let changes = HeaderMutation {
            set_headers: vec![
                HeaderValueOption::raw("x-a", "2"),
                HeaderValueOption::raw(":path", "/evil"),
                HeaderValueOption::raw("Content-Length", "9"),
                HeaderValueOption::raw("x-c", "3"),
            ],
            remove_headers: vec!["x-a".to_owned(), "x-b".to_owned()],
        };
        change(&mut headers, &changes);
        let mut seen: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        seen.sort();
        assert_eq!(seen, ["x-a=2", "x-c=3"]);
    }

    #[test]
    fn destinations_are_a_list_of_addresses() {
        let of = |value: &str| {
            destinations(&HeaderMutation {
                set_headers: vec![HeaderValueOption::raw(names::DESTINATION, value.to_owned())],
                remove_headers: Vec::new(),
            })
        };
        let two = of("10.0.0.1:80, [::1]:81").unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(of("host:80"), None);
        assert_eq!(destinations(&HeaderMutation::default()), None);
    }
}
