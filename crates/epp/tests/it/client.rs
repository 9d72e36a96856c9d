//! A gateway's side of one stream, over tonic and generated messages.

use std::time::Duration;

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use envoy_types::pb::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

/// A stream.
pub(crate) struct Stream {
    send: Option<mpsc::UnboundedSender<ProcessingRequest>>,
    receive: Option<Streaming<ProcessingResponse>>,
}

/// What came.
pub(crate) enum Came {
    Message(Box<ProcessingResponse>),
    End(Status),
    Nothing,
}

/// A connection to the picker at a port.
pub(crate) async fn connect(port: u16) -> ExternalProcessorClient<tonic::transport::Channel> {
    ExternalProcessorClient::connect(format!("http://127.0.0.1:{port}"))
        .await
        .unwrap()
        .max_decoding_message_size(64 << 20)
}

impl Stream {
    pub(crate) async fn open(
        client: &mut ExternalProcessorClient<tonic::transport::Channel>,
    ) -> Self {
        let (send, receiver) = mpsc::unbounded_channel();
        let response = client
            .process(UnboundedReceiverStream::new(receiver))
            .await
            .unwrap();
        Self {
            send: Some(send),
            receive: Some(response.into_inner()),
        }
    }

    pub(crate) fn send(&self, message: ProcessingRequest) {
        if let Some(send) = &self.send {
            let _ = send.send(message);
        }
    }

    pub(crate) fn half_close(&mut self) {
        self.send = None;
    }

    /// The client library resets a stream only when both halves are dropped.
    pub(crate) fn cancel(&mut self) {
        self.receive = None;
        self.send = None;
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.receive.is_none()
    }

    /// The next message, or nothing within `limit`.
    pub(crate) async fn next(&mut self, limit: Duration) -> Came {
        let Some(receive) = &mut self.receive else {
            return Came::Nothing;
        };
        match tokio::time::timeout(limit, receive.message()).await {
            Err(_) => Came::Nothing,
            Ok(Ok(Some(message))) => Came::Message(Box::new(message)),
            Ok(Ok(None)) => Came::End(Status::ok("")),
            Ok(Err(status)) => Came::End(status),
        }
    }
}
