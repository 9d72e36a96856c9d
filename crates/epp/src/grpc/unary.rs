//! Calls of one message and one answer, as the health service has them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use prost::Message;
use weir_extproc::frame::{self, Frames};

use super::{Code, Status};

/// Largest question.
const LIMIT: usize = 64 << 10;

/// Reads one message, answers with what `respond` makes of it.
#[derive(Debug)]
pub struct Unary<F> {
    incoming: Incoming,
    frames: Frames,
    respond: Option<F>,
    end: Option<Status>,
    stays: bool,
}

/// What a call is answered with.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The message, encoded; `None` when there is only a status.
    pub message: Option<Vec<u8>>,
    /// How it ends.
    pub status: Status,
    /// It never ends.
    pub stays: bool,
}

impl Reply {
    /// A message.
    #[must_use]
    pub fn message(message: &impl Message) -> Self {
        Self {
            message: Some(message.encode_to_vec()),
            status: Status::ok(),
            stays: false,
        }
    }

    /// A refusal.
    #[must_use]
    pub fn status(status: Status) -> Self {
        Self {
            message: None,
            status,
            stays: false,
        }
    }
}

impl<F: FnOnce(Bytes) -> Reply + Unpin> Unary<F> {
    /// A call that `respond` answers.
    pub fn new(incoming: Incoming, respond: F) -> Self {
        Self {
            incoming,
            frames: Frames::new(LIMIT),
            respond: Some(respond),
            end: None,
            stays: false,
        }
    }

    fn reply(&mut self, question: Bytes) -> Option<Bytes> {
        let reply = self.respond.take()?(question);
        self.end = Some(reply.status);
        self.stays = reply.stays;
        let message = reply.message?;
        let mut out = BytesMut::with_capacity(message.len() + frame::HEADER);
        frame::put_header(&mut out, message.len());
        out.extend_from_slice(&message);
        Some(out.freeze())
    }
}

impl<F: FnOnce(Bytes) -> Reply + Unpin> Body for Unary<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if this.respond.is_none() && !this.stays {
                let status = this.end.take();
                let trailers = status.map(|status| Ok(Frame::trailers(status.trailers())));
                return Poll::Ready(trailers);
            }
            if this.respond.is_some() {
                match this.frames.next_frame() {
                    Ok(Some(question)) => {
                        if let Some(data) = this.reply(question.message) {
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        this.respond = None;
                        this.end = Some(Status::new(Code::ResourceExhausted, error.to_string()));
                        continue;
                    }
                }
            }
            match ready!(Pin::new(&mut this.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let (Ok(data), true) = (frame.into_data(), this.respond.is_some()) {
                        this.frames.push(data);
                    }
                }
                Some(Err(_)) => return Poll::Ready(None),
                // A watch stays until the client goes, which resets the stream.
                None if this.stays => return Poll::Pending,
                None => {
                    this.respond = None;
                    this.end = Some(Status::new(Code::Internal, "no message came"));
                }
            }
        }
    }
}
