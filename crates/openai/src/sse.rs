//! Server-sent events as OpenAI streams use them: `data: <JSON>`, an empty line, at the end `data: [DONE]`.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// The frame that ends a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Media type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// Largest frame that [`Splitter`] keeps.
pub const MAX_FRAME: usize = 16 << 20;

/// A frame of `value`.
///
/// # Errors
/// When `value` cannot be written as JSON.
pub fn frame(value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut out = BytesMut::with_capacity(256).writer();
    out.get_mut().put_slice(b"data: ");
    serde_json::to_writer(&mut out, value)?;
    let mut out = out.into_inner();
    out.put_slice(b"\n\n");
    Ok(out.freeze())
}

/// A frame was larger than [`MAX_FRAME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {MAX_FRAME} bytes")]
pub struct TooLarge;

/// Splits a byte stream into events, whatever the chunks are.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
    /// How much of the buffer holds no end of an event.
    searched: usize,
}

impl Splitter {
    /// Takes a chunk.
    ///
    /// # Errors
    /// When the event that it belongs to is too large.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), TooLarge> {
        if self.buffer.len().saturating_add(chunk.len()) > MAX_FRAME {
            return Err(TooLarge);
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole event, with the empty line that ends it.
    pub fn next_event(&mut self) -> Option<Bytes> {
        let mut at = self.searched;
        while let Some(offset) = self.buffer[at..].iter().position(|byte| *byte == b'\n') {
            let line_end = at + offset + 1;
            let rest = &self.buffer[line_end..];
            let blank = match rest {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                [] | [b'\r'] => {
                    self.searched = at + offset;
                    return None;
                }
                _ => 0,
            };
            if blank > 0 {
                self.searched = 0;
                return Some(self.buffer.split_to(line_end + blank).freeze());
            }
            at = line_end;
        }
        self.searched = at;
        None
    }

    /// What is left when the stream has ended.
    pub fn rest(&mut self) -> Bytes {
        self.searched = 0;
        self.buffer.split().freeze()
    }
}

/// The data of an event of one data line; `None` when it has none.
#[must_use]
pub fn data(event: &[u8]) -> Option<&[u8]> {
    event.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let rest = line.strip_prefix(b"data:")?;
        Some(rest.strip_prefix(b" ").unwrap_or(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_split_at_every_chunk_border() {
        let stream = b"data: {\"a\":1}\n\n: note\r\n\r\nevent: x\ndata: 2\n\ndata: [DONE]\n\n";
        for size in 1..=stream.len() {
            let mut splitter = Splitter::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(size) {
                splitter.push(chunk).unwrap();
                while let Some(event) = splitter.next_event() {
                    seen.push(data(&event).map(<[u8]>::to_vec));
                }
            }
            let expected = [Some(&b"{\"a\":1}"[..]), None, Some(b"2"), Some(b"[DONE]")];
            assert_eq!(
                seen,
                expected.map(|one| one.map(<[u8]>::to_vec)),
                "chunks of {size}"
            );
            assert!(splitter.rest().is_empty());
        }
    }

    #[test]
    fn a_frame_is_one_line_of_json() {
        let frame = frame(&serde_json::json!({"t": "a\nb"})).unwrap();
        assert_eq!(&frame[..], b"data: {\"t\":\"a\\nb\"}\n\n");
    }
}
