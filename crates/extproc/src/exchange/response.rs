//! The response half of an exchange.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem::{self, Finder};
use prost_types::Struct;
use prost_types::value::Kind;

use super::{Exchange, Phase, joined, pieces, trailers_reply};
use crate::headers::Headers;
use crate::names;
use crate::pb::{
    CommonResponse, HeaderMutation, HeaderValueOption, HttpHeaders, Metadata, PhaseResponse,
    ProcessingResponse, Response as Reply,
};
use crate::usage::Gathered;
use crate::wire::{self, Direction, Outbound};

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// What is known of a response.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// The body may hold token counts.
    looked_at: bool,
    /// The client asked for a stream.
    asked: bool,
    /// It is a stream of events.
    events: bool,
    /// The model's name to put back: what stands there, with and without a blank, and what takes its place.
    back: Option<Back>,
    held: Vec<Bytes>,
    /// Bytes of what is held.
    kept: usize,
    usage: Gathered,
    last_chunk: Option<Duration>,
    pub(super) served: Option<String>,
    /// Headers to set on the response.
    pub(super) add: Vec<(String, String)>,
    /// Metadata for the last message.
    pub(super) metadata: Option<Struct>,
}

/// What is looked for, made once and not for every chunk, and what takes its place.
#[derive(Debug)]
struct Back {
    tight: (Finder<'static>, Vec<u8>),
    spaced: (Finder<'static>, Vec<u8>),
}

impl Response {
    pub(super) fn prepare(&mut self, looked_at: bool, asked: bool, incoming: &str, target: &str) {
        self.looked_at = looked_at;
        self.asked = asked;
        if looked_at && !incoming.is_empty() && !target.is_empty() && incoming != target {
            let member = |blank: &str, name: &str| {
                format!("\"model\":{blank}{}", serde_json::Value::from(name)).into_bytes()
            };
            let swap = |blank| {
                let finder = Finder::new(&member(blank, target)).into_owned();
                (finder, member(blank, incoming))
            };
            self.back = Some(Back {
                tight: swap(""),
                spaced: swap(" "),
            });
        }
    }

    fn renamed(&self, chunk: Bytes) -> Bytes {
        let Some(back) = &self.back else {
            return chunk;
        };
        for (finder, to) in [&back.tight, &back.spaced] {
            let mut found = finder.find_iter(&chunk).peekable();
            if found.peek().is_none() {
                continue;
            }
            let mut out = BytesMut::with_capacity(chunk.len() + 64);
            let mut at = 0;
            for place in found {
                out.extend_from_slice(&chunk[at..place]);
                out.extend_from_slice(to);
                at = place + finder.needle().len();
            }
            out.extend_from_slice(&chunk[at..]);
            return out.freeze();
        }
        chunk
    }
}

impl Exchange {
    pub(super) fn response_headers(
        &mut self,
        message: HttpHeaders,
        metadata: Option<&Metadata>,
        now: Duration,
        out: &mut Vec<Outbound>,
    ) {
        self.phase = Phase::Response;
        self.record.response_began.get_or_insert(now);
        let headers = Headers::as_sent(message.headers);
        // A stream that begins here has no request; its usage is read all the same.
        if self.record.whole.is_none() {
            self.response.looked_at = true;
        }
        self.response.served = metadata.and_then(served);
        let status = headers.bytes(":status").or_else(|| headers.bytes("status"));
        self.record.server_error = status.is_some_and(|status| status != "200");
        self.response.events = headers
            .bytes("content-type")
            .is_some_and(|kind| memmem::find(kind, EVENT_STREAM).is_some());
        self.record.streaming = self.response.events || self.response.asked;
        let mut set = Vec::with_capacity(headers.0.len() + 2);
        set.push(HeaderValueOption::raw(names::MARKER, "true"));
        let add = std::mem::take(&mut self.response.add);
        headers.take_single(|header| {
            let replaced = |(name, _): &(String, String)| name.eq_ignore_ascii_case(&header.key);
            let name = header.key.to_ascii_lowercase();
            if !names::owned(&name) && name != names::MARKER && !add.iter().any(replaced) {
                set.push(super::mirrored(header));
            }
        });
        for (name, value) in add {
            set.push(HeaderValueOption::raw(name, value));
        }
        if self.rules.tell_served {
            let told = tell_served(metadata);
            set.push(HeaderValueOption::raw(names::SERVED_TEST, told));
        }
        out.push(Outbound::Message(Box::new(ProcessingResponse {
            response: Some(Reply::ResponseHeaders(PhaseResponse {
                response: Some(CommonResponse {
                    header_mutation: Some(HeaderMutation {
                        set_headers: set,
                        remove_headers: Vec::new(),
                    }),
                    ..CommonResponse::default()
                }),
            })),
            dynamic_metadata: None,
        })));
        if message.end_of_stream {
            self.complete(now);
        }
    }

    pub(super) fn response_chunk(
        &mut self,
        chunk: Bytes,
        end: bool,
        now: Duration,
        out: &mut Vec<Outbound>,
    ) {
        if self.phase == Phase::Over {
            return;
        }
        if !chunk.is_empty() {
            self.record.first_chunk.get_or_insert(now);
            self.record.response_bytes += chunk.len() as u64;
            if let Some(last) = self.response.last_chunk.replace(now) {
                self.record.gap = Some(now.saturating_sub(last));
            }
        }
        if !self.record.streaming {
            self.response.kept += chunk.len();
            if !chunk.is_empty() {
                self.response.held.push(chunk);
            }
            // What is too long to be kept whole passes in parts; a name or count that is cut by two is not seen.
            if end || self.response.kept > self.rules.max_body {
                self.response.kept = 0;
                let part = self.whole_response();
                if end {
                    self.complete(now);
                }
                self.send(&part, end, out);
            }
            return;
        }
        if self.response.looked_at {
            if self.response.events {
                self.response.usage.chunk(&chunk);
            } else {
                self.response.usage.document(&chunk);
            }
        }
        if end {
            self.complete(now);
        }
        let chunk = self.response.renamed(chunk);
        self.send(&chunk, end, out);
    }

    pub(super) fn response_trailers(&mut self, now: Duration, out: &mut Vec<Outbound>) {
        if self.record.completed.is_none() {
            if !self.record.streaming {
                let whole = self.whole_response();
                pieces(Direction::Response, &whole, false, out);
            }
            self.complete(now);
        }
        out.push(trailers_reply(
            Direction::Response,
            self.response.metadata.take(),
        ));
    }

    /// Sends a chunk. Metadata goes with the last piece.
    fn send(&mut self, chunk: &Bytes, end: bool, out: &mut Vec<Outbound>) {
        pieces(Direction::Response, chunk, end, out);
        if !end {
            return;
        }
        let Some(metadata) = self.response.metadata.take() else {
            return;
        };
        if let Some(Outbound::Body {
            direction,
            body,
            end,
        }) = out.pop()
        {
            let message = wire::body_message(direction, body, end, Some(metadata));
            out.push(Outbound::Message(Box::new(message)));
        }
    }

    /// The response that was held back, with its usage read.
    fn whole_response(&mut self) -> Bytes {
        let whole = joined(&mut self.response.held);
        if self.response.looked_at {
            self.response.usage.document(&whole);
        }
        self.response.renamed(whole)
    }

    fn complete(&mut self, now: Duration) {
        if self.record.completed.is_none() {
            self.record.completed = Some(now);
            self.response.usage.end();
            self.record.usage = self.response.usage.usage();
        }
    }
}

/// What conformance tests want to hear.
fn tell_served(metadata: Option<&Metadata>) -> String {
    match metadata {
        Some(metadata) if metadata.filter_metadata.contains_key(names::METADATA) => {
            served(metadata)
                .unwrap_or_else(|| "fail: missing destination endpoint served metadata".to_owned())
        }
        _ => "fail: missing envoy lb metadata".to_owned(),
    }
}

fn served(metadata: &Metadata) -> Option<String> {
    let fields = metadata.filter_metadata.get(names::METADATA)?;
    match fields.fields.get(names::SERVED)?.kind.as_ref()? {
        Kind::StringValue(address) => Some(address.clone()),
        _ => None,
    }
}
