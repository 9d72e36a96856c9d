//! Completions over HTTP, streamed, through a gateway or straight to an engine.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::pace::{Measured, Pace, Shape};

/// Requests to a gateway or an engine.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where to, such as http://127.0.0.1:8080/default/m/v1/completions
    #[arg(long)]
    url: Uri,
    /// The model
    #[arg(long)]
    model: String,
    /// Bytes of the prompt
    #[arg(long, default_value_t = 400)]
    prompt: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 16)]
    tokens: usize,
    #[command(flatten)]
    pace: Pace,
}

/// What requests are made from.
struct Target {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
    model: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), String> {
    let target = Arc::new(Target {
        client: Client::builder(TokioExecutor::new()).build_http(),
        url: arguments.url,
        model: arguments.model,
    });
    let usual = Shape {
        prompt: arguments.prompt,
        chunks: arguments.tokens,
    };
    let one = move |shape: Shape, due: Instant, measured: Arc<Measured>| {
        let target = Arc::clone(&target);
        async move {
            if target.request(shape, due, &measured).await.is_none() {
                measured.failed();
            }
        }
    };
    arguments.pace.run(usual, one).await
}

impl Target {
    /// One request, to the end of its answer; the head of the answer is what is measured.
    async fn request(&self, shape: Shape, due: Instant, measured: &Measured) -> Option<()> {
        let body = format!(
            "{{\"model\":\"{}\",\"stream\":true,\"max_tokens\":{},\"prompt\":\"{}\"}}",
            self.model,
            shape.chunks,
            "x".repeat(shape.prompt)
        );
        let request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .ok()?;
        let response = self.client.request(request).await.ok()?;
        if response.status() != 200 {
            return None;
        }
        measured.answered(due);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.ok()?;
        }
        Some(())
    }
}
