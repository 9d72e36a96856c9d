//! gRPC messages in the data of a stream: a flag, a length, the message.
//!
//! [`Frames`] takes the data as it comes. A message that lies within one piece is a slice of it; one that spans
//! pieces is put together once. What it holds is bounded by the largest message and one piece more.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Length of the flag and the length.
pub const HEADER: usize = 5;

/// Largest message that is taken when nothing else is configured; the default of gRPC libraries.
pub const DEFAULT_LIMIT: usize = 4 << 20;

/// Why the data is no sequence of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message is too large. The words are those of gRPC's Go library.
    #[error("grpc: received message larger than max ({size} vs. {limit})")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// A flag other than 0 and 1.
    #[error("grpc: received unexpected payload format {0}")]
    Flag(u8),
    /// The data ends within a message.
    #[error("unexpected EOF")]
    Truncated,
}

/// A message as it stood in the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The message is compressed by the encoding of the stream.
    pub compressed: bool,
    /// Its bytes.
    pub message: Bytes,
}

/// Data on its way to become messages.
#[derive(Debug)]
pub struct Frames {
    pieces: VecDeque<Bytes>,
    length: usize,
    limit: usize,
}

impl Frames {
    /// Takes messages of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            length: 0,
            limit,
        }
    }

    /// Takes data.
    pub fn push(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.length += data.len();
            self.pieces.push_back(data);
        }
    }

    /// The next whole message.
    ///
    /// # Errors
    /// When it is too large or has an unknown flag.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        if self.length < HEADER {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        for (slot, byte) in header
            .iter_mut()
            .zip(self.pieces.iter().flat_map(|piece| piece.iter()))
        {
            *slot = *byte;
        }
        let [flag, size @ ..] = header;
        if flag > 1 {
            return Err(Error::Flag(flag));
        }
        let size = u32::from_be_bytes(size) as usize;
        if size > self.limit {
            return Err(Error::TooLarge {
                size,
                limit: self.limit,
            });
        }
        if self.length < HEADER + size {
            return Ok(None);
        }
        self.take(HEADER);
        Ok(Some(Frame {
            compressed: flag == 1,
            message: self.take(size),
        }))
    }

    /// Says whether nothing is left.
    ///
    /// # Errors
    /// When part of a message is.
    pub fn end(&self) -> Result<(), Error> {
        if self.length == 0 {
            Ok(())
        } else {
            Err(Error::Truncated)
        }
    }

    /// Takes `size` bytes, which are there.
    fn take(&mut self, size: usize) -> Bytes {
        self.length -= size;
        if let Some(front) = self.pieces.front_mut() {
            if front.len() > size {
                return front.split_to(size);
            }
            if front.len() == size {
                return self.pieces.pop_front().unwrap_or_default();
            }
        }
        let mut whole = BytesMut::with_capacity(size);
        while whole.len() < size {
            let Some(front) = self.pieces.front_mut() else {
                break;
            };
            let part = front.len().min(size - whole.len());
            whole.put_slice(&front[..part]);
            front.advance(part);
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
        whole.freeze()
    }
}

/// Puts the header of a message of `size` bytes.
///
/// Messages of more than 4 GiB cannot be; none here comes near.
pub fn put_header(out: &mut BytesMut, size: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for message in messages {
            put_header(&mut out, message.len());
            out.put_slice(message);
        }
        out.to_vec()
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let mut frames = Frames::new(10);
        frames.push(Bytes::from_static(&[0, 0, 0, 0, 11]));
        let error = frames.next_frame().unwrap_err();
        assert_eq!(
            error.to_string(),
            "grpc: received message larger than max (11 vs. 10)"
        );
        let mut frames = Frames::new(10);
        frames.push(Bytes::from_static(&[2, 0, 0, 0, 0]));
        assert_eq!(frames.next_frame(), Err(Error::Flag(2)));
        let mut frames = Frames::new(10);
        frames.push(Bytes::from_static(&[0, 0, 0, 0, 1]));
        assert_eq!(frames.next_frame(), Ok(None));
        assert_eq!(frames.end(), Err(Error::Truncated));
    }

    #[test]
    fn a_message_within_one_piece_is_a_slice_of_it() {
        let data = Bytes::from(framed(&[b"abc".to_vec()]));
        let mut frames = Frames::new(10);
        frames.push(data.clone());
        let frame = frames.next_frame().unwrap().unwrap();
        assert_eq!(frame.message.as_ptr(), data[HEADER..].as_ptr());
    }

    proptest! {
        #[test]
        fn messages_come_back_however_the_data_is_cut(
            messages: Vec<Vec<u8>>,
            cut in 1_usize..9,
        ) {
            let mut frames = Frames::new(DEFAULT_LIMIT);
            let mut seen = Vec::new();
            for piece in framed(&messages).chunks(cut) {
                frames.push(Bytes::copy_from_slice(piece));
                while let Some(frame) = frames.next_frame().unwrap() {
                    seen.push(frame.message.to_vec());
                }
            }
            prop_assert_eq!(frames.end(), Ok(()));
            prop_assert_eq!(seen, messages);
        }
    }
}
