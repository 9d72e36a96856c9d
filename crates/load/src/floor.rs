//! The floor: what the protocol costs when nothing is decided.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use clap::Args;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::ext_proc::v3 as pb;
use pb::external_processor_server::{ExternalProcessor, ExternalProcessorServer};
use pb::processing_request::Request;
use pb::processing_response::Response;
use tokio_stream::Stream;
use tonic::Status;

/// A picker that does nothing but round robin.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:9102")]
    listen: SocketAddr,
    /// Endpoints it goes round
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
}

struct Floor {
    turn: Arc<AtomicUsize>,
    endpoints: usize,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), String> {
    let floor = Floor {
        turn: Arc::default(),
        endpoints: arguments.endpoints.max(1),
    };
    tonic::transport::Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(1 << 16)
        .add_service(ExternalProcessorServer::new(floor))
        .serve(arguments.listen)
        .await
        .map_err(|error| format!("cannot serve: {error}"))
}

type Replies = Pin<Box<dyn Stream<Item = Result<pb::ProcessingResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalProcessor for Floor {
    type ProcessStream = Replies;

    async fn process(
        &self,
        request: tonic::Request<tonic::Streaming<pb::ProcessingRequest>>,
    ) -> Result<tonic::Response<Replies>, Status> {
        let messages = request.into_inner();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.endpoints;
        Ok(tonic::Response::new(Box::pin(Exchange {
            messages,
            turn,
            body: Vec::new(),
            out: VecDeque::new(),
        })))
    }
}

struct Exchange {
    messages: tonic::Streaming<pb::ProcessingRequest>,
    turn: usize,
    body: Vec<u8>,
    out: VecDeque<pb::ProcessingResponse>,
}

impl Stream for Exchange {
    type Item = Result<pb::ProcessingResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(reply) = this.out.pop_front() {
                return Poll::Ready(Some(Ok(reply)));
            }
            match ready!(Pin::new(&mut this.messages).poll_next(context)) {
                Some(Ok(message)) => this.take(message),
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}

impl Exchange {
    fn take(&mut self, message: pb::ProcessingRequest) {
        match message.request {
            Some(Request::RequestBody(chunk)) => {
                self.body.extend_from_slice(&chunk.body);
                if chunk.end_of_stream {
                    let address = format!("127.0.0.{}:8000", 11 + self.turn);
                    self.out
                        .push_back(headers(Response::RequestHeaders, &address));
                    let body = std::mem::take(&mut self.body);
                    let mut pieces = body.chunks(62_000).peekable();
                    while let Some(piece) = pieces.next() {
                        let end = pieces.peek().is_none();
                        let piece = piece.to_vec();
                        self.out
                            .push_back(chunk_reply(Response::RequestBody, piece, end));
                    }
                }
            }
            Some(Request::ResponseHeaders(_)) => {
                self.out.push_back(headers(Response::ResponseHeaders, ""));
            }
            Some(Request::ResponseBody(chunk)) => self.out.push_back(chunk_reply(
                Response::ResponseBody,
                chunk.body,
                chunk.end_of_stream,
            )),
            _ => {}
        }
    }
}

fn headers(kind: fn(pb::HeadersResponse) -> Response, destination: &str) -> pb::ProcessingResponse {
    let set = HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-gateway-destination-endpoint".to_owned(),
            raw_value: destination.as_bytes().to_vec(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    let common = pb::CommonResponse {
        header_mutation: Some(pb::HeaderMutation {
            set_headers: vec![set],
            remove_headers: Vec::new(),
        }),
        clear_route_cache: true,
        ..pb::CommonResponse::default()
    };
    pb::ProcessingResponse {
        response: Some(kind(pb::HeadersResponse {
            response: Some(common),
        })),
        ..pb::ProcessingResponse::default()
    }
}

fn chunk_reply(
    kind: fn(pb::BodyResponse) -> Response,
    body: Vec<u8>,
    end_of_stream: bool,
) -> pb::ProcessingResponse {
    let piece = pb::StreamedBodyResponse {
        body,
        end_of_stream,
        ..pb::StreamedBodyResponse::default()
    };
    let common = pb::CommonResponse {
        body_mutation: Some(pb::BodyMutation {
            mutation: Some(pb::body_mutation::Mutation::StreamedResponse(piece)),
        }),
        ..pb::CommonResponse::default()
    };
    pb::ProcessingResponse {
        response: Some(kind(pb::BodyResponse {
            response: Some(common),
        })),
        ..pb::ProcessingResponse::default()
    }
}
