//! The messages of `envoy.service.ext_proc.v3`, as far as pickers and gateways use them.
//!
//! Written by hand on prost: bodies are [`Bytes`], so that a decoded message shares the memory of what was received.
//! Unknown fields are passed over. `tests/messages.rs` holds them to generated ones.

use std::collections::HashMap;

use bytes::Bytes;
use prost_types::Struct;

/// From gateway to picker.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessingRequest {
    /// What happened in the exchange.
    #[prost(oneof = "Request", tags = "2, 3, 4, 5, 6, 7")]
    pub request: Option<Request>,
    /// Metadata of the exchange that the gateway lets the picker see.
    #[prost(message, optional, tag = "8")]
    pub metadata_context: Option<Metadata>,
}

/// A step of an exchange.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Request {
    /// Headers of the request.
    #[prost(message, tag = "2")]
    RequestHeaders(HttpHeaders),
    /// Headers of the response.
    #[prost(message, tag = "3")]
    ResponseHeaders(HttpHeaders),
    /// A chunk of the request's body.
    #[prost(message, tag = "4")]
    RequestBody(HttpBody),
    /// A chunk of the response's body.
    #[prost(message, tag = "5")]
    ResponseBody(HttpBody),
    /// Trailers of the request.
    #[prost(message, tag = "6")]
    RequestTrailers(HttpTrailers),
    /// Trailers of the response.
    #[prost(message, tag = "7")]
    ResponseTrailers(HttpTrailers),
}

/// Headers of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpHeaders {
    /// The headers.
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    /// No body follows.
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

/// A chunk of a body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpBody {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// It is the last one.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// Trailers of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpTrailers {
    /// The trailers.
    #[prost(message, optional, tag = "1")]
    pub trailers: Option<HeaderMap>,
}

/// Headers in their order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderMap {
    /// The headers.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// One header.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value of those who use this field.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// Value of those who use this one.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// Metadata by namespace.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    /// The namespaces.
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, Struct>,
}

/// From picker to gateway.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessingResponse {
    /// What to do.
    #[prost(oneof = "Response", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub response: Option<Response>,
    /// Metadata to add to the exchange.
    #[prost(message, optional, tag = "8")]
    pub dynamic_metadata: Option<Struct>,
}

/// What to do at a step.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Response {
    /// With the headers of the request.
    #[prost(message, tag = "1")]
    RequestHeaders(PhaseResponse),
    /// With the headers of the response.
    #[prost(message, tag = "2")]
    ResponseHeaders(PhaseResponse),
    /// With the body of the request.
    #[prost(message, tag = "3")]
    RequestBody(PhaseResponse),
    /// With the body of the response.
    #[prost(message, tag = "4")]
    ResponseBody(PhaseResponse),
    /// With the trailers of the request.
    #[prost(message, tag = "5")]
    RequestTrailers(TrailersResponse),
    /// With the trailers of the response.
    #[prost(message, tag = "6")]
    ResponseTrailers(TrailersResponse),
    /// Answer the client at once.
    #[prost(message, tag = "7")]
    Immediate(ImmediateResponse),
}

/// `HeadersResponse` and `BodyResponse`, which look the same.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PhaseResponse {
    /// The change.
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// Change of trailers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrailersResponse {
    /// The change.
    #[prost(message, optional, tag = "1")]
    pub header_mutation: Option<HeaderMutation>,
}

/// A change of headers or body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommonResponse {
    /// 0 to go on, 1 to go on with the body replaced.
    #[prost(int32, tag = "1")]
    pub status: i32,
    /// Change of headers.
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    /// Change of the body.
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
    /// The gateway has to choose the route again.
    #[prost(bool, tag = "5")]
    pub clear_route_cache: bool,
}

/// A change of headers: removals first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderMutation {
    /// To set.
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
    /// To remove.
    #[prost(string, repeated, tag = "2")]
    pub remove_headers: Vec<String>,
}

/// A header to set. The unset options mean: overwrite.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
}

/// A change of a body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BodyMutation {
    /// The change.
    #[prost(oneof = "Mutation", tags = "1, 2, 3")]
    pub mutation: Option<Mutation>,
}

/// Ways to change a body.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Mutation {
    /// Replaced whole.
    #[prost(bytes = "bytes", tag = "1")]
    Body(Bytes),
    /// Removed.
    #[prost(bool, tag = "2")]
    ClearBody(bool),
    /// A piece of what takes its place.
    #[prost(message, tag = "3")]
    Streamed(StreamedBodyResponse),
}

/// A piece of a body in full-duplex mode.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamedBodyResponse {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// It is the last one.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// An answer to the client in place of the server's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImmediateResponse {
    /// Status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Headers.
    #[prost(message, optional, tag = "2")]
    pub headers: Option<HeaderMutation>,
    /// Body: valid UTF-8, since older messages have a string here.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
}

/// Status of an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpStatus {
    /// The code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

impl HeaderValue {
    /// The value, whichever field it is in.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        if self.raw_value.is_empty() {
            &self.value
        } else {
            &self.raw_value
        }
    }
}

impl HeaderValueOption {
    /// A header to set, its value in `raw_value`.
    #[must_use]
    pub fn raw(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            header: Some(HeaderValue {
                key: key.into(),
                value: Bytes::new(),
                raw_value: value.into(),
            }),
        }
    }
}
