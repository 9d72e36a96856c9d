//! The picker's side of one stream, which is one HTTP exchange: messages in, messages out.
//!
//! ```text
//! headers ─▶ body… ─▶ end ─▶ Step::Decide ─▶ route() or refuse() ─▶ response headers ─▶ body… ─▶ end
//!    └ no body ─▶ Step::Any ─▶ any() or refuse()
//! ```
//!
//! The caller decides, between [`Step::Decide`] and [`Exchange::route`]; everything else happens here, without a
//! clock or a socket. A response chunk that nobody has to look into leaves as the bytes that came.

mod response;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use weir_openai::peek::Format;

use crate::headers::Headers;
use crate::names;
use crate::pb::{
    CommonResponse, HeaderMutation, HeaderValueOption, HttpStatus, ImmediateResponse, Metadata,
    PhaseResponse, ProcessingRequest, ProcessingResponse, Request, Response, TrailersResponse,
};
use crate::usage::Usage;
use crate::wire::{self, Direction, Inbound, Outbound};

/// Largest piece of a body in one reply.
pub const PIECE: usize = 62_000;

/// Largest request body that is kept until it is whole.
pub const MAX_BODY: usize = 256 << 20;

/// What an exchange may be told to do otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The hop in front may steer prefill and decode: nothing is taken out of what it sends.
    pub trust_client: bool,
    /// Where a response needs no look, the stream is closed after the request. Not every gateway bears that.
    pub skip_closes_stream: bool,
    /// Responses say which endpoint answered, for conformance tests.
    pub tell_served: bool,
    /// Largest request body, and most of a response that is kept until it is whole.
    pub max_body: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            trust_client: false,
            skip_closes_stream: false,
            tell_served: false,
            max_body: MAX_BODY,
        }
    }
}

/// What the caller has to do after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send what is in `out`, if anything.
    Go,
    /// The request is whole: call [`Exchange::route`] or [`Exchange::refuse`].
    Decide,
    /// It has no body: call [`Exchange::any`] or [`Exchange::refuse`].
    Any,
    /// Send what is in `out` and end the stream with OK.
    Close,
}

/// A request that is whole.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// Headers, names in lower case; the request id is there.
    pub headers: Headers,
    /// Body.
    pub body: Bytes,
    /// Metadata of the message that ended the request.
    pub metadata: Option<Metadata>,
    /// When it began.
    pub received: Duration,
}

/// A decision.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Addresses, the first choice first, joined by commas.
    pub destination: String,
    /// Headers to set beside.
    pub headers: Vec<(String, String)>,
    /// Headers to set on the response.
    pub response_headers: Vec<(String, String)>,
    /// Total scores by address, to be shown to the gateway.
    pub scores: Vec<(String, f64)>,
    /// The body that goes out, when it is not the one that came.
    pub body: Option<Bytes>,
    /// The API; `None` for what was not looked at.
    pub format: Option<Format>,
    /// The client asked for a stream.
    pub stream: bool,
    /// The model that the client named.
    pub incoming: String,
    /// The model that the engine is asked for.
    pub target: String,
}

/// What is worth knowing of an exchange, at any moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When its first message came.
    pub received: Duration,
    /// When the request was whole.
    pub whole: Option<Duration>,
    /// Bytes of the body that went out.
    pub request_bytes: u64,
    /// When response headers came.
    pub response_began: Option<Duration>,
    /// When the first byte of the response's body came.
    pub first_chunk: Option<Duration>,
    /// Time since the chunk before, for the chunk that just passed.
    pub gap: Option<Duration>,
    /// When the response was complete.
    pub completed: Option<Duration>,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Chunks are forwarded one by one.
    pub streaming: bool,
    /// The server answered with something other than 200.
    pub server_error: bool,
    /// Token counts.
    pub usage: Option<Usage>,
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange {
    rules: Rules,
    phase: Phase,
    arrived: Arrived,
    chunks: Vec<Bytes>,
    kept: usize,
    by_trailers: bool,
    generated_id: bool,
    fresh: u128,
    shielded: Vec<String>,
    response: response::Response,
    record: Record,
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Request headers or body may come.
    Request,
    /// The caller decides.
    Deciding,
    /// The response may come.
    Response,
    /// Nothing is answered any more.
    Over,
}

impl Exchange {
    /// An exchange at its start; `fresh` becomes the request id when the client brings none.
    #[must_use]
    pub fn new(rules: Rules, fresh: u128) -> Self {
        Self {
            rules,
            phase: Phase::Request,
            arrived: Arrived::default(),
            chunks: Vec::new(),
            kept: 0,
            by_trailers: false,
            generated_id: false,
            fresh,
            shielded: Vec::new(),
            response: response::Response::default(),
            record: Record::default(),
            begun: false,
        }
    }

    /// The request, once [`Step::Decide`] or [`Step::Any`] was returned.
    #[must_use]
    pub fn arrived(&self) -> &Arrived {
        &self.arrived
    }

    /// What happened so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The endpoint that the gateway says it served from.
    #[must_use]
    pub fn served(&self) -> Option<&str> {
        self.response.served.as_deref()
    }

    /// Headers that go with the response headers, for plugins that look at the answer.
    pub fn add_response_header(&mut self, name: String, value: String) {
        self.response.add.push((name, value));
    }

    /// Takes a message; replies are appended to `out`.
    ///
    /// # Errors
    /// When metadata that a chunk carried cannot be read.
    pub fn on(
        &mut self,
        message: Inbound,
        now: Duration,
        out: &mut Vec<Outbound>,
    ) -> Result<Step, prost::DecodeError> {
        if !self.begun {
            self.begun = true;
            self.record.received = now;
            self.arrived.received = now;
        }
        self.record.gap = None;
        let step = match message {
            Inbound::Body {
                direction: Direction::Response,
                body,
                end,
                ..
            } => {
                self.response_chunk(body, end, now, out);
                Step::Go
            }
            Inbound::Body {
                body,
                end,
                metadata,
                ..
            } => {
                if self.phase != Phase::Request {
                    return Ok(Step::Go);
                }
                // Only what the last message carries counts.
                let metadata = if end {
                    wire::read_metadata(&metadata)?
                } else {
                    None
                };
                self.request_chunk(body, end, metadata, now, out)
            }
            Inbound::Message(message) => self.message(*message, now, out),
        };
        Ok(step)
    }

    fn request_chunk(
        &mut self,
        body: Bytes,
        end: bool,
        metadata: Option<Metadata>,
        now: Duration,
        out: &mut Vec<Outbound>,
    ) -> Step {
        let limit = self.rules.max_body;
        self.kept = self.kept.saturating_add(body.len());
        if self.kept > limit {
            let text =
                format!("inference error: BadRequest - request body is larger than {limit} bytes");
            return self.refuse(413, text, None, out);
        }
        if !body.is_empty() {
            self.chunks.push(body);
        }
        if !end {
            return Step::Go;
        }
        self.arrived.metadata = metadata;
        self.whole(now)
    }

    fn message(
        &mut self,
        message: ProcessingRequest,
        now: Duration,
        out: &mut Vec<Outbound>,
    ) -> Step {
        let metadata = message.metadata_context;
        match message.request {
            Some(Request::RequestHeaders(headers)) if self.phase == Phase::Request => {
                self.arrived.headers = Headers::lowered(headers.headers);
                self.ensure_id();
                if headers.end_of_stream {
                    self.arrived.metadata = metadata;
                    self.record.whole = Some(now);
                    self.phase = Phase::Deciding;
                    return Step::Any;
                }
            }
            Some(Request::RequestTrailers(_)) if self.phase == Phase::Request => {
                self.by_trailers = true;
                self.arrived.metadata = metadata;
                return self.whole(now);
            }
            Some(Request::ResponseHeaders(headers)) if self.phase != Phase::Over => {
                self.response_headers(headers, metadata.as_ref(), now, out);
            }
            Some(Request::ResponseTrailers(_)) if self.phase != Phase::Over => {
                self.response_trailers(now, out);
            }
            // Bodies that the fast reader left to the slow one.
            Some(Request::RequestBody(chunk)) if self.phase == Phase::Request => {
                return self.request_chunk(chunk.body, chunk.end_of_stream, metadata, now, out);
            }
            Some(Request::ResponseBody(chunk)) => {
                self.response_chunk(chunk.body, chunk.end_of_stream, now, out);
            }
            _ => {}
        }
        Step::Go
    }

    fn ensure_id(&mut self) {
        let has = |id: &Bytes| !id.is_empty();
        if !self
            .arrived
            .headers
            .bytes(names::REQUEST_ID)
            .is_some_and(has)
        {
            self.generated_id = true;
            let headers = &mut self.arrived.headers.0;
            headers.retain(|header| header.key != names::REQUEST_ID);
            headers.extend(HeaderValueOption::raw(names::REQUEST_ID, uuid(self.fresh)).header);
        }
    }

    fn whole(&mut self, now: Duration) -> Step {
        self.phase = Phase::Deciding;
        self.record.whole = Some(now);
        self.arrived.body = joined(&mut self.chunks);
        Step::Decide
    }

    /// Sends the request, which has no body, to `address`.
    pub fn any(&mut self, address: &str, out: &mut Vec<Outbound>) {
        self.phase = Phase::Response;
        let mut mutation = HeaderMutation {
            set_headers: vec![HeaderValueOption::raw(
                names::DESTINATION,
                address.to_owned(),
            )],
            remove_headers: self.taken_out(),
        };
        if self.generated_id {
            let id = self.arrived.headers.bytes(names::REQUEST_ID).cloned();
            mutation.set_headers.push(HeaderValueOption::raw(
                names::REQUEST_ID,
                id.unwrap_or_default(),
            ));
        }
        out.push(headers_reply(mutation, destination_metadata(address, &[])));
    }

    /// Sends the request as decided.
    pub fn route(&mut self, route: Route, out: &mut Vec<Outbound>) -> Step {
        self.phase = Phase::Response;
        let body = route.body.unwrap_or_else(|| self.arrived.body.clone());
        self.record.request_bytes = body.len() as u64;
        let remove_headers = self.taken_out();
        let headers = std::mem::take(&mut self.arrived.headers);
        let mut set = Vec::with_capacity(headers.0.len() + route.headers.len() + 2);
        set.push(HeaderValueOption::raw(
            names::DESTINATION,
            route.destination.clone(),
        ));
        if !body.is_empty() {
            set.push(HeaderValueOption::raw(
                "Content-Length",
                body.len().to_string(),
            ));
        }
        headers.take_single(|header| {
            let replaced = |(name, _): &(String, String)| *name == header.key;
            if !names::owned(&header.key)
                && (self.rules.trust_client || !names::shielded(&header.key))
                && !route.headers.iter().any(replaced)
            {
                set.push(mirrored(header));
            }
        });
        for (name, value) in route.headers {
            set.push(HeaderValueOption::raw(name, value));
        }
        let metadata = destination_metadata(&route.destination, &route.scores);
        let mutation = HeaderMutation {
            set_headers: set,
            remove_headers,
        };
        out.push(headers_reply(mutation, metadata));
        pieces(Direction::Request, &body, !self.by_trailers, out);
        if self.by_trailers {
            out.push(trailers_reply(Direction::Request, None));
        }
        self.arrived.body = Bytes::new();
        let skip = route.format.is_some_and(Format::skips_response);
        self.response.prepare(
            route.format.is_some() && !skip,
            route.stream,
            &route.incoming,
            &route.target,
        );
        self.response.add.extend(route.response_headers);
        if skip && self.rules.skip_closes_stream {
            self.phase = Phase::Over;
            return Step::Close;
        }
        Step::Go
    }

    /// Answers the client with `status` and `body`; the stream ends.
    pub fn refuse(
        &mut self,
        status: u16,
        body: String,
        dropped: Option<&str>,
        out: &mut Vec<Outbound>,
    ) -> Step {
        self.phase = Phase::Over;
        self.chunks.clear();
        self.arrived.body = Bytes::new();
        let headers = dropped.map(|reason| HeaderMutation {
            set_headers: vec![HeaderValueOption::raw(names::DROPPED, reason.to_owned())],
            remove_headers: Vec::new(),
        });
        out.push(Outbound::Message(Box::new(ProcessingResponse {
            response: Some(Response::Immediate(ImmediateResponse {
                status: Some(HttpStatus {
                    code: i32::from(status),
                }),
                headers,
                body: body.into(),
            })),
            dynamic_metadata: None,
        })));
        Step::Close
    }

    /// Names of the headers that are taken out of the request, remembered for counting.
    fn taken_out(&mut self) -> Vec<String> {
        if self.rules.trust_client {
            return Vec::new();
        }
        for header in &self.arrived.headers.0 {
            if names::shielded(&header.key) && !self.shielded.contains(&header.key) {
                self.shielded.push(header.key.clone());
            }
        }
        self.shielded.clone()
    }

    /// Names of the headers that were taken out of the request.
    #[must_use]
    pub fn shielded(&self) -> &[String] {
        &self.shielded
    }
}

fn joined(chunks: &mut Vec<Bytes>) -> Bytes {
    let whole = match chunks.as_mut_slice() {
        [] => Bytes::new(),
        [one] => std::mem::take(one),
        many => {
            let mut whole = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            for chunk in many {
                whole.extend_from_slice(chunk);
            }
            whole.freeze()
        }
    };
    *chunks = Vec::new();
    whole
}

/// A header of the client as one to set.
fn mirrored(mut header: crate::pb::HeaderValue) -> HeaderValueOption {
    if header.raw_value.is_empty() {
        header.raw_value = std::mem::take(&mut header.value);
    } else {
        header.value = Bytes::new();
    }
    HeaderValueOption {
        header: Some(header),
    }
}

fn headers_reply(mutation: HeaderMutation, metadata: Struct) -> Outbound {
    Outbound::Message(Box::new(ProcessingResponse {
        response: Some(Response::RequestHeaders(PhaseResponse {
            response: Some(CommonResponse {
                header_mutation: Some(mutation),
                clear_route_cache: true,
                ..CommonResponse::default()
            }),
        })),
        dynamic_metadata: Some(metadata),
    }))
}

fn trailers_reply(direction: Direction, metadata: Option<Struct>) -> Outbound {
    let reply = TrailersResponse::default();
    Outbound::Message(Box::new(ProcessingResponse {
        response: Some(match direction {
            Direction::Request => Response::RequestTrailers(reply),
            Direction::Response => Response::ResponseTrailers(reply),
        }),
        dynamic_metadata: metadata,
    }))
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

fn structure(fields: Struct) -> Value {
    Value {
        kind: Some(Kind::StructValue(fields)),
    }
}

fn destination_metadata(destination: &str, scores: &[(String, f64)]) -> Struct {
    let mut inner = Struct::default();
    inner
        .fields
        .insert(names::DESTINATION.to_owned(), text(destination));
    if !scores.is_empty() {
        let mut totals = Struct::default();
        for (address, score) in scores {
            let kind = Some(Kind::NumberValue(*score));
            totals.fields.insert(address.clone(), Value { kind });
        }
        inner
            .fields
            .insert(names::SCORES.to_owned(), structure(totals));
    }
    let mut outer = Struct::default();
    outer
        .fields
        .insert(names::METADATA.to_owned(), structure(inner));
    outer
}

/// Appends `body` in pieces; an empty one is one empty piece.
fn pieces(direction: Direction, body: &Bytes, end: bool, out: &mut Vec<Outbound>) {
    let mut rest = body.clone();
    loop {
        let piece = rest.split_to(rest.len().min(PIECE));
        let last = rest.is_empty();
        out.push(Outbound::Body {
            direction,
            body: piece,
            end: end && last,
        });
        if last {
            return;
        }
    }
}

/// A random UUID of these bits.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) | (4 << 76);
    let bits = bits & !(0x3 << 62) | (2 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests;
