//! A gateway's side of many exchanges, over a few connections, with as little work of its own as it takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use clap::Args;
use http::{Method, Request as HttpRequest, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use weir_extproc::frame::{self, Frames};
use weir_extproc::pb::{
    HeaderMap, HeaderValue, HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse, Request,
    Response,
};

use crate::pace::{Measured, Pace, Shape};

/// Requests to a picker.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The picker, in clear text
    #[arg(long, default_value = "127.0.0.1:9102")]
    target: SocketAddr,
    /// Connections
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Bytes of the prompt
    #[arg(long, default_value_t = 400)]
    prompt: usize,
    /// Bytes that prompts share at their front
    #[arg(long, default_value_t = 200)]
    shared: usize,
    /// Chunks of the response; none for no response
    #[arg(long, default_value_t = 0)]
    chunks: usize,
    /// Milliseconds between chunks
    #[arg(long, default_value_t = 5)]
    chunk_gap: u64,
    #[command(flatten)]
    pace: Pace,
}

type Out = StreamBody<
    tokio_stream::adapters::Map<
        ReceiverStream<Bytes>,
        fn(Bytes) -> Result<Frame<Bytes>, std::convert::Infallible>,
    >,
>;

struct Client {
    senders: Vec<SendRequest<Out>>,
    turn: AtomicUsize,
    shared: usize,
    gap: std::time::Duration,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), String> {
    let mut connections = tokio::task::JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..arguments.connections.max(1) {
        let stream = tokio::net::TcpStream::connect(arguments.target)
            .await
            .map_err(|error| format!("cannot connect to {}: {error}", arguments.target))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .max_concurrent_streams(1 << 16)
            .initial_max_send_streams(1 << 14)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        connections.spawn(async move {
            let _ = connection.await;
        });
        senders.push(sender);
    }
    let client = Arc::new(Client {
        senders,
        turn: AtomicUsize::new(0),
        shared: arguments.shared,
        gap: std::time::Duration::from_millis(arguments.chunk_gap),
    });
    let usual = Shape {
        prompt: arguments.prompt,
        chunks: arguments.chunks,
    };
    let one = move |shape: Shape, due: Instant, measured: Arc<Measured>| {
        let client = Arc::clone(&client);
        async move {
            if client.exchange(shape, due, &measured).await.is_none() {
                measured.failed();
            }
        }
    };
    arguments.pace.run(usual, one).await
}

fn encoded(request: Request) -> Bytes {
    let message = ProcessingRequest {
        request: Some(request),
        metadata_context: None,
    };
    let mut out = BytesMut::with_capacity(message.encoded_len() + frame::HEADER);
    frame::put_header(&mut out, message.encoded_len());
    message.encode_raw(&mut out);
    out.freeze()
}

fn headers(list: &[(&str, &str)]) -> HttpHeaders {
    let header = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        value: Bytes::new(),
        raw_value: Bytes::copy_from_slice(value.as_bytes()),
    };
    HttpHeaders {
        headers: Some(HeaderMap {
            headers: list.iter().map(header).collect(),
        }),
        end_of_stream: false,
    }
}

impl Client {
    /// One exchange; nothing when it failed. The decision is what is measured.
    async fn exchange(&self, shape: Shape, due: Instant, measured: &Measured) -> Option<()> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut sender = self.senders[turn % self.senders.len()].clone();
        let (send, receive) = mpsc::channel(8);
        let data: fn(Bytes) -> Result<Frame<Bytes>, std::convert::Infallible> =
            |bytes| Ok(Frame::data(bytes));
        let mut request = HttpRequest::new(StreamBody::new(ReceiverStream::new(receive).map(data)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = "http://picker/envoy.service.ext_proc.v3.ExternalProcessor/Process"
            .parse()
            .ok()?;
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/grpc"),
        );
        request
            .headers_mut()
            .insert(header::TE, header::HeaderValue::from_static("trailers"));
        let id = format!("load-{turn}");
        let list = [
            (":method", "POST"),
            (":path", "/v1/completions"),
            (":authority", "load.test"),
            (":scheme", "http"),
            ("content-type", "application/json"),
            ("user-agent", "load"),
            ("accept", "*/*"),
            ("x-forwarded-proto", "http"),
            ("x-request-id", &id),
        ];
        send.send(encoded(Request::RequestHeaders(headers(&list))))
            .await
            .ok()?;
        let response = sender.send_request(request).await.ok()?;
        let mut replies = Replies {
            body: response.into_body(),
            frames: Frames::new(64 << 20),
        };
        let mut rest = self.body(shape, turn);
        while !rest.is_empty() {
            let body = rest.split_to(rest.len().min(64 << 10));
            let end_of_stream = rest.is_empty();
            let chunk = HttpBody {
                body,
                end_of_stream,
            };
            send.send(encoded(Request::RequestBody(chunk))).await.ok()?;
        }
        loop {
            match replies.next().await? {
                Response::Immediate(_) => return None,
                Response::RequestBody(phase) if ends(&phase) => break,
                _ => {}
            }
        }
        measured.answered(due);
        if shape.chunks > 0 {
            let list = [(":status", "200"), ("content-type", "text/event-stream")];
            send.send(encoded(Request::ResponseHeaders(headers(&list))))
                .await
                .ok()?;
            replies.next().await?;
            for index in 0..shape.chunks {
                tokio::time::sleep(self.gap).await;
                let end_of_stream = index + 1 == shape.chunks;
                let body = Bytes::from_static(CHUNK);
                let chunk = HttpBody {
                    body,
                    end_of_stream,
                };
                send.send(encoded(Request::ResponseBody(chunk)))
                    .await
                    .ok()?;
                replies.next().await?;
            }
        }
        drop(send);
        while replies.next().await.is_some() {}
        Some(())
    }

    fn body(&self, shape: Shape, turn: usize) -> Bytes {
        let shared = self.shared.min(shape.prompt);
        let mut body = Vec::with_capacity(shape.prompt + 64);
        body.extend_from_slice(b"{\"model\":\"m\",\"stream\":true,\"prompt\":\"");
        body.resize(body.len() + shared, b's');
        let own = format!("{turn:016x}");
        let own = own.bytes().cycle().take(shape.prompt - shared);
        body.extend(own);
        body.extend_from_slice(b"\"}");
        body.into()
    }
}

/// A chunk as engines send it.
const CHUNK: &[u8] = b"data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\" word\",\"logprobs\":null,\"finish_reason\":null}]}\n\n";

fn ends(phase: &weir_extproc::pb::PhaseResponse) -> bool {
    use weir_extproc::pb::Mutation;
    let mutation = phase
        .response
        .as_ref()
        .and_then(|common| common.body_mutation.as_ref())
        .and_then(|body| body.mutation.as_ref());
    matches!(mutation, Some(Mutation::Streamed(piece)) if piece.end_of_stream)
}

struct Replies {
    body: hyper::body::Incoming,
    frames: Frames,
}

impl Replies {
    async fn next(&mut self) -> Option<Response> {
        loop {
            if let Some(frame) = self.frames.next_frame().ok()? {
                return ProcessingResponse::decode(frame.message).ok()?.response;
            }
            match self.body.frame().await?.ok()?.into_data() {
                Ok(data) => self.frames.push(data),
                Err(_) => return None,
            }
        }
    }
}
