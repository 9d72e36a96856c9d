//! One ext_proc stream: bytes to messages, messages to the exchange, replies to bytes.
//!
//! The conversation is the body of its own response. Whatever ends it (the end of the exchange, an error, the client
//! going away) drops it, and dropping it gives back what it holds and counts what is to be counted, once.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use weir_extproc::exchange::{Exchange, Step};
use weir_extproc::frame::Frames;
use weir_extproc::wire::{self, Outbound};
use weir_scheduler::Rejection;

use crate::account::Held;
use crate::grpc::{Code, Status};
use crate::picker::Picker;
use crate::queue::Waiting;

/// A stream.
pub(crate) struct Conversation {
    picker: Arc<Picker>,
    incoming: Incoming,
    frames: Frames,
    exchange: Exchange,
    held: Held,
    /// Replies of the message at hand.
    replies: Vec<Outbound>,
    /// Data on its way out.
    outbox: VecDeque<Bytes>,
    /// The request waits for its turn.
    waiting: Option<Waiting>,
    end: Option<Status>,
    over: bool,
}

impl Conversation {
    pub(crate) fn new(picker: Arc<Picker>, incoming: Incoming) -> Self {
        picker.metrics.streams.fetch_add(1, Ordering::Relaxed);
        let exchange = Exchange::new(picker.rules, rand::random());
        Self {
            frames: Frames::new(picker.message_limit),
            held: Held::new(picker.now()),
            picker,
            incoming,
            exchange,
            replies: Vec::new(),
            outbox: VecDeque::new(),
            waiting: None,
            end: None,
            over: false,
        }
    }

    /// Works on what has come; false when more has to come first.
    fn advance(&mut self) -> bool {
        let frame = match self.frames.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return false,
            Err(error) => {
                self.fail(Code::ResourceExhausted, error.to_string());
                return true;
            }
        };
        if frame.compressed {
            let text = "grpc: Decompressor is not installed for grpc-encoding \"\"";
            self.fail(Code::Internal, text.to_owned());
            return true;
        }
        let now = self.picker.now();
        let inbound = match wire::read(frame.message) {
            Ok(inbound) => inbound,
            Err(error) => {
                self.fail(
                    Code::Unknown,
                    format!("cannot receive stream request: {error}"),
                );
                return true;
            }
        };
        let step = match self.exchange.on(inbound, now, &mut self.replies) {
            Ok(step) => step,
            Err(error) => {
                self.fail(
                    Code::Unknown,
                    format!("cannot receive stream request: {error}"),
                );
                return true;
            }
        };
        let step = match step {
            Step::Any => self
                .picker
                .any(&mut self.exchange, &mut self.held, &mut self.replies),
            Step::Decide => match self.picker.line_up(self.exchange.arrived()) {
                None => self
                    .picker
                    .decide(&mut self.exchange, &mut self.held, &mut self.replies),
                Some(Ok(waiting)) => {
                    self.waiting = Some(waiting);
                    return true;
                }
                Some(Err(rejection)) => {
                    self.ended_waiting(Err(rejection));
                    return true;
                }
            },
            other => other,
        };
        self.sent(step);
        true
    }

    /// The request's turn came, or will not come.
    fn ended_waiting(&mut self, end: Result<(), Rejection>) {
        let step = match end {
            Ok(()) => self
                .picker
                .decide(&mut self.exchange, &mut self.held, &mut self.replies),
            Err(rejection) => self.picker.reject(
                &mut self.exchange,
                &mut self.held,
                &rejection,
                &mut self.replies,
            ),
        };
        self.sent(step);
    }

    /// Puts the replies on their way.
    fn sent(&mut self, step: Step) {
        self.held.after(self.exchange.record());
        for reply in self.replies.drain(..) {
            wire::write(&reply, |data| self.outbox.push_back(data));
        }
        if step == Step::Close {
            self.end = Some(Status::ok());
        }
    }

    fn fail(&mut self, code: Code, message: String) {
        self.end = Some(Status::new(code, message));
    }
}

impl Body for Conversation {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Some(data) = this.outbox.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if let Some(status) = this.end.take() {
                this.over = true;
                this.held.ended_with(status.code);
                return Poll::Ready(Some(Ok(Frame::trailers(status.trailers()))));
            }
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(waiting) = &mut this.waiting {
                // Nothing is read meanwhile; a client that resets the stream drops all of this.
                let end = ready!(waiting.poll(context));
                this.waiting = None;
                this.ended_waiting(end);
                continue;
            }
            if this.advance() {
                continue;
            }
            match ready!(Pin::new(&mut this.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.frames.push(data);
                    }
                }
                Some(Err(_)) => {
                    // The client is gone: nobody reads an end.
                    this.over = true;
                    this.held.cancelled();
                    return Poll::Ready(None);
                }
                None => {
                    this.end = Some(match this.frames.end() {
                        Ok(()) => Status::ok(),
                        Err(error) => Status::new(
                            Code::Unknown,
                            format!("cannot receive stream request: {error}"),
                        ),
                    });
                }
            }
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let metrics = &self.picker.metrics;
        metrics.streams.fetch_sub(1, Ordering::Relaxed);
        self.held
            .settle(self.exchange.record(), metrics, self.picker.now());
    }
}
