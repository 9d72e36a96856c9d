//! Messages to and from bytes. Body chunks, which are most of the traffic, are read and written without a copy and
//! without a look at what stands beside them; everything else goes through [`crate::pb`].

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{decode_key, decode_varint, encode_varint, encoded_len_varint};
use prost_types::Struct;

use crate::frame;
use crate::pb::{
    BodyMutation, CommonResponse, Metadata, Mutation, PhaseResponse, ProcessingRequest,
    ProcessingResponse, Response, StreamedBodyResponse,
};

/// Which way a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Request,
    /// To the client.
    Response,
}

/// A message from the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Inbound {
    /// A chunk of a body.
    Body {
        /// Which way.
        direction: Direction,
        /// The bytes.
        body: Bytes,
        /// It is the last one.
        end: bool,
        /// Metadata, not decoded.
        metadata: Bytes,
    },
    /// Any other.
    Message(Box<ProcessingRequest>),
}

/// A message to the gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Outbound {
    /// A piece of a body.
    Body {
        /// Which way.
        direction: Direction,
        /// The bytes.
        body: Bytes,
        /// It is the last one.
        end: bool,
    },
    /// Any other.
    Message(Box<ProcessingResponse>),
}

/// Bodies up to this size are copied behind their header: one piece of data is cheaper to send than two.
const COPIED: usize = 2048;

const LEN: u64 = 2;

/// Reads a message.
///
/// # Errors
/// When it is none.
pub fn read(message: Bytes) -> Result<Inbound, prost::DecodeError> {
    if let Some(body) = read_body(&message) {
        return Ok(body);
    }
    ProcessingRequest::decode(message).map(|message| Inbound::Message(Box::new(message)))
}

/// Reads metadata that a chunk carried.
///
/// # Errors
/// When it is none.
pub fn read_metadata(metadata: &Bytes) -> Result<Option<Metadata>, prost::DecodeError> {
    if metadata.is_empty() {
        return Ok(None);
    }
    Metadata::decode(metadata.clone()).map(Some)
}

/// Reads a message that is one body chunk; `None` for every other, also for what is malformed.
fn read_body(message: &Bytes) -> Option<Inbound> {
    let mut found = None;
    let mut metadata = Bytes::new();
    let mut fields = Fields(message.clone());
    while let Some((tag, field)) = fields.next_field()? {
        match (tag, field) {
            (4, Field::Bytes(inner)) if found.is_none() => {
                found = Some((Direction::Request, inner));
            }
            (5, Field::Bytes(inner)) if found.is_none() => {
                found = Some((Direction::Response, inner));
            }
            (2..=7, _) => return None,
            // A field in two parts is merged by protobuf's rules, which the slow way knows.
            (8, Field::Bytes(inner)) if metadata.is_empty() => metadata = inner,
            (8, _) => return None,
            _ => {}
        }
    }
    let (direction, inner) = found?;
    let (mut body, mut end) = (Bytes::new(), false);
    let mut fields = Fields(inner);
    while let Some((tag, field)) = fields.next_field()? {
        match (tag, field) {
            (1, Field::Bytes(bytes)) => body = bytes,
            (2, Field::Number(number)) => end = number != 0,
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    Some(Inbound::Body {
        direction,
        body,
        end,
        metadata,
    })
}

enum Field {
    Bytes(Bytes),
    Number(u64),
    Fixed,
}

struct Fields(Bytes);

impl Fields {
    /// The next field; the outer `None` when the text is malformed.
    #[allow(
        clippy::option_option,
        reason = "malformed and ended are told apart by the caller's `?`"
    )]
    fn next_field(&mut self) -> Option<Option<(u32, Field)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let (tag, kind) = decode_key(&mut self.0).ok()?;
        let mut skip = |size: usize| {
            if self.0.len() < size {
                return None;
            }
            Some(self.0.split_to(size))
        };
        let field = match kind as u64 {
            0 => Field::Number(decode_varint(&mut self.0).ok()?),
            1 => {
                skip(8)?;
                Field::Fixed
            }
            LEN => {
                let size = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                if self.0.len() < size {
                    return None;
                }
                Field::Bytes(self.0.split_to(size))
            }
            5 => {
                skip(4)?;
                Field::Fixed
            }
            _ => return None,
        };
        Some(Some((tag, field)))
    }
}

/// Writes a message with its frame's header; `send` gets one or two pieces of data.
pub fn write(message: &Outbound, mut send: impl FnMut(Bytes)) {
    match message {
        Outbound::Message(message) => {
            let size = message.encoded_len();
            let mut out = BytesMut::with_capacity(frame::HEADER + size);
            frame::put_header(&mut out, size);
            message.encode_raw(&mut out);
            send(out.freeze());
        }
        Outbound::Body {
            direction,
            body,
            end,
        } => {
            let copied = body.len() <= COPIED;
            let room = if copied { body.len() } else { 0 };
            let mut out = BytesMut::with_capacity(frame::HEADER + 32 + room);
            put_body_front(&mut out, *direction, body.len(), *end);
            if copied {
                out.put_slice(body);
                send(out.freeze());
            } else {
                send(out.freeze());
                send(body.clone());
            }
        }
    }
}

/// Puts everything of a body piece but its bytes, which go last: `end_of_stream` stands before them.
fn put_body_front(out: &mut BytesMut, direction: Direction, body: usize, end: bool) {
    let nested = |inner: usize| 1 + encoded_len_varint(inner as u64) + inner;
    let bytes = if body == 0 { 0 } else { nested(body) };
    let streamed = bytes + if end { 2 } else { 0 };
    let mutation = nested(streamed);
    let common = nested(mutation);
    let phase = nested(common);
    frame::put_header(out, nested(phase));
    let mut open = |tag: u8, size: usize| {
        out.put_u8(tag << 3 | LEN as u8);
        encode_varint(size as u64, out);
    };
    open(
        match direction {
            Direction::Request => 3,
            Direction::Response => 4,
        },
        phase,
    );
    open(1, common);
    open(3, mutation);
    open(3, streamed);
    if end {
        out.put_slice(&[2 << 3, 1]);
    }
    if body > 0 {
        out.put_u8(1 << 3 | LEN as u8);
        encode_varint(body as u64, out);
    }
}

/// A piece of a body as a message, for one that carries metadata too.
#[must_use]
pub fn body_message(
    direction: Direction,
    body: Bytes,
    end: bool,
    dynamic_metadata: Option<Struct>,
) -> ProcessingResponse {
    let phase = PhaseResponse {
        response: Some(CommonResponse {
            body_mutation: Some(BodyMutation {
                mutation: Some(Mutation::Streamed(StreamedBodyResponse {
                    body,
                    end_of_stream: end,
                })),
            }),
            ..CommonResponse::default()
        }),
    };
    ProcessingResponse {
        response: Some(match direction {
            Direction::Request => Response::RequestBody(phase),
            Direction::Response => Response::ResponseBody(phase),
        }),
        dynamic_metadata,
    }
}
