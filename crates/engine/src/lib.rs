//! A simulated vLLM server: the OpenAI endpoints, health and metrics, with a simple latency.
//!
//! [`main`] takes the words after `vllm`. Answers carry `x-weir-engine: simulated`.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_runtime::http::{Body, full};

/// Largest request body that is read, in bytes.
pub const MAX_BODY: usize = 32 * 1024 * 1024;
/// Most tokens of an answer when the request sets no limit.
pub const DEFAULT_MAX_TOKENS: u64 = 16;
const FIRST_TOKEN: Duration = Duration::from_millis(20);
const NEXT_TOKEN: Duration = Duration::from_millis(5);

struct Engine {
    models: Vec<String>,
    root: String,
    running: AtomicU64,
    succeeded: AtomicU64,
    prompt_tokens: AtomicU64,
    generation_tokens: AtomicU64,
    started: u64,
}

struct Settings {
    models: Vec<String>,
    root: String,
    address: SocketAddr,
}

/// Runs `serve MODEL [flags]` until SIGTERM; status 2 for a command line that cannot be used.
pub fn main(arguments: &[OsString]) -> ExitCode {
    weir_runtime::install_crypto();
    weir_runtime::logs::init("info", weir_runtime::logs::Format::Text);
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let settings = match settings(&words) {
        Ok(settings) => settings,
        Err(message) => {
            tracing::error!(%message, "Command line not usable");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "No runtime");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(settings))
}

fn settings(words: &[String]) -> Result<Settings, String> {
    let mut root = None;
    let mut names = Vec::new();
    let mut host = None;
    let mut port = 8000;
    let mut words = words.iter().skip_while(|word| *word == "serve").peekable();
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) if word.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let mut value = |inline: Option<String>| {
            inline
                .or_else(|| words.next().cloned())
                .ok_or_else(|| format!("argument {flag}: expected one argument"))
        };
        match flag {
            "--port" => {
                let text = value(inline)?;
                port = text
                    .parse()
                    .map_err(|_| format!("argument --port: invalid int value: '{text}'"))?;
            }
            "--host" => host = Some(value(inline)?),
            "--model" => root = Some(value(inline)?),
            "--served-model-name" => {
                names.extend(inline);
                while let Some(name) = words.next_if(|word| !word.starts_with("--")) {
                    names.push(name.clone());
                }
            }
            flag if flag.starts_with("--") => {
                let values: Vec<_> =
                    std::iter::from_fn(|| words.next_if(|word| !word.starts_with("--"))).collect();
                tracing::info!(
                    flag,
                    ?values,
                    "Flag noted, without effect in the simulated engine"
                );
            }
            _ if root.is_none() => root = Some(word.clone()),
            other => return Err(format!("unrecognized arguments: {other}")),
        }
    }
    let root = root.ok_or("the following arguments are required: model_tag")?;
    let ip = match host.as_deref() {
        None | Some("" | "0.0.0.0" | "::") => std::env::var(weir_runtime::listen::POD_IP)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(text) => text
            .parse()
            .map_err(|_| format!("argument --host: {text} is no address"))?,
    };
    if names.is_empty() {
        names.push(root.clone());
    }
    Ok(Settings {
        models: names,
        root,
        address: SocketAddr::new(ip, port),
    })
}

async fn serve(settings: Settings) -> ExitCode {
    let listener = match weir_runtime::listen::bind(settings.address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = %error, cause = %error.source, "Cannot listen");
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(model = ?settings.models, address = %settings.address, "Simulated engine serves");
    let engine = Arc::new(Engine {
        models: settings.models,
        root: settings.root,
        running: AtomicU64::new(0),
        succeeded: AtomicU64::new(0),
        prompt_tokens: AtomicU64::new(0),
        generation_tokens: AtomicU64::new(0),
        started: unix_now(),
    });
    let stop = CancellationToken::new();
    let server = weir_runtime::http::serve(
        listener,
        None,
        move |request| answer(Arc::clone(&engine), request),
        stop.clone(),
    );
    let second = CancellationToken::new();
    tokio::select! {
        () = server => {}
        result = weir_runtime::signals::watch(stop, second) => {
            if let Err(error) = result {
                tracing::error!(%error, "No signal handler");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

async fn answer(engine: Arc<Engine>, request: Request<Incoming>) -> Response<Body> {
    let mut response = match (request.method(), request.uri().path()) {
        (&Method::GET, "/health" | "/ping") => Response::new(full("")),
        (&Method::GET, "/version") => json_response(StatusCode::OK, &json!({"version": "0.32.0"})),
        (&Method::GET, "/v1/models") => json_response(StatusCode::OK, &engine.model_list()),
        (&Method::GET, "/metrics") => weir_runtime::http::text(StatusCode::OK, engine.metrics()),
        (&Method::POST, "/v1/chat/completions") => complete(engine, request, true).await,
        (&Method::POST, "/v1/completions") => complete(engine, request, false).await,
        _ => json_response(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"})),
    };
    response
        .headers_mut()
        .insert("x-weir-engine", http::HeaderValue::from_static("simulated"));
    response
}

/// Counts one request as running until dropped, however its body ends.
struct Running(Arc<Engine>);

impl Running {
    fn new(engine: &Arc<Engine>) -> Self {
        engine.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(engine))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Completion {
    id: String,
    model: String,
    words: Vec<String>,
    prompt_tokens: u64,
    chat: bool,
    usage: bool,
    created: u64,
}

async fn complete(engine: Arc<Engine>, request: Request<Incoming>, chat: bool) -> Response<Body> {
    let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
    };
    let asked: Value = match serde_json::from_slice(&body) {
        Ok(value) => value,
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("JSON decode error: {error}"),
            );
        }
    };
    let model = asked["model"]
        .as_str()
        .unwrap_or(&engine.models[0])
        .to_owned();
    if !engine.models.contains(&model) {
        let message = format!("The model `{model}` does not exist.");
        return refuse(StatusCode::NOT_FOUND, &message);
    }
    let prompt = if chat {
        &asked["messages"]
    } else {
        &asked["prompt"]
    };
    if prompt.is_null() {
        let field = if chat { "messages" } else { "prompt" };
        return refuse(StatusCode::BAD_REQUEST, &format!("{field}: Field required"));
    }
    let limit = asked["max_completion_tokens"]
        .as_u64()
        .or_else(|| asked["max_tokens"].as_u64());
    let count = usize::try_from(limit.unwrap_or(DEFAULT_MAX_TOKENS).clamp(1, 4096)).unwrap_or(16);
    let prompt_text = prompt.to_string();
    let completion = Completion {
        id: format!(
            "{}-{}",
            if chat { "chatcmpl" } else { "cmpl" },
            uuid::Uuid::new_v4().simple()
        ),
        model,
        words: sentence(count),
        prompt_tokens: (prompt_text.split_whitespace().count() as u64).max(1),
        chat,
        usage: asked
            .pointer("/stream_options/include_usage")
            .and_then(Value::as_bool)
            == Some(true),
        created: unix_now(),
    };
    let running = Running::new(&engine);
    engine
        .prompt_tokens
        .fetch_add(completion.prompt_tokens, Ordering::Relaxed);
    if asked["stream"].as_bool() == Some(true) {
        return stream(engine, completion, running);
    }
    tokio::time::sleep(FIRST_TOKEN + NEXT_TOKEN * u32::try_from(count - 1).unwrap_or(0)).await;
    engine
        .generation_tokens
        .fetch_add(count as u64, Ordering::Relaxed);
    engine.succeeded.fetch_add(1, Ordering::Relaxed);
    drop(running);
    json_response(StatusCode::OK, &completion.whole())
}

fn stream(engine: Arc<Engine>, completion: Completion, running: Running) -> Response<Body> {
    let steps = completion.words.len() + 2;
    let body = futures::stream::unfold(
        (0, completion, running),
        move |(step, completion, running)| {
            let engine = Arc::clone(&engine);
            async move {
                if step >= steps {
                    return None;
                }
                let text = if step < completion.words.len() {
                    tokio::time::sleep(if step == 0 { FIRST_TOKEN } else { NEXT_TOKEN }).await;
                    engine.generation_tokens.fetch_add(1, Ordering::Relaxed);
                    format!("data: {}\n\n", completion.chunk(step))
                } else if step == completion.words.len() {
                    if completion.usage {
                        format!("data: {}\n\n", completion.usage_chunk())
                    } else {
                        String::new()
                    }
                } else {
                    engine.succeeded.fetch_add(1, Ordering::Relaxed);
                    "data: [DONE]\n\n".to_owned()
                };
                let frame = Ok::<_, weir_runtime::http::BoxError>(Frame::data(Bytes::from(text)));
                Some((frame, (step + 1, completion, running)))
            }
        },
    );
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    response
}

impl Completion {
    fn usage(&self) -> Value {
        let completion = self.words.len() as u64;
        json!({"prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
               "total_tokens": self.prompt_tokens + completion})
    }

    fn envelope(&self, object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model})
    }

    fn whole(&self) -> Value {
        let text = self.words.concat();
        let mut answer = self.envelope(if self.chat {
            "chat.completion"
        } else {
            "text_completion"
        });
        answer["choices"] = if self.chat {
            json!([{"index": 0, "message": {"role": "assistant", "content": text},
                    "logprobs": null, "finish_reason": "length"}])
        } else {
            json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": "length"}])
        };
        answer["usage"] = self.usage();
        answer
    }

    fn chunk(&self, step: usize) -> Value {
        let last = step + 1 == self.words.len();
        let finish = if last {
            Value::from("length")
        } else {
            Value::Null
        };
        let word = &self.words[step];
        let mut chunk = self.envelope(if self.chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        });
        chunk["choices"] = if self.chat {
            let delta = if step == 0 {
                json!({"role": "assistant", "content": word})
            } else {
                json!({"content": word})
            };
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}])
        } else {
            json!([{"index": 0, "text": word, "logprobs": null, "finish_reason": finish}])
        };
        chunk
    }

    fn usage_chunk(&self) -> Value {
        let mut chunk = self.envelope(if self.chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        });
        chunk["choices"] = json!([]);
        chunk["usage"] = self.usage();
        chunk
    }
}

impl Engine {
    fn model_list(&self) -> Value {
        let models: Vec<_> = self
            .models
            .iter()
            .map(|model| {
                json!({"id": model, "object": "model", "created": self.started, "owned_by": "vllm",
                       "root": self.root, "parent": null})
            })
            .collect();
        json!({"object": "list", "data": models})
    }

    fn metrics(&self) -> String {
        let model = self.models[0].replace('\\', "\\\\").replace('"', "\\\"");
        let rows = [
            ("vllm:num_requests_running", "gauge", &self.running),
            ("vllm:prompt_tokens_total", "counter", &self.prompt_tokens),
            (
                "vllm:generation_tokens_total",
                "counter",
                &self.generation_tokens,
            ),
            ("vllm:request_success_total", "counter", &self.succeeded),
        ];
        rows.iter()
            .map(|(name, kind, value)| {
                format!(
                    "# HELP {name} As in vLLM.\n# TYPE {name} {kind}\n{name}{{model_name=\"{model}\"}} {}\n",
                    value.load(Ordering::Relaxed)
                )
            })
            .collect()
    }
}

/// Returns `count` tokens of a fixed text, so that an answer depends on the request alone.
fn sentence(count: usize) -> Vec<String> {
    const WORDS: [&str; 12] = [
        "This",
        " answer",
        " comes",
        " from",
        " a",
        " simulated",
        " engine",
        ",",
        " not",
        " a",
        " model",
        ".",
    ];
    (0..count)
        .map(|n| WORDS[n % WORDS.len()].to_owned())
        .collect()
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let kind = if status == StatusCode::NOT_FOUND {
        "NotFoundError"
    } else {
        "BadRequestError"
    };
    let error = json!({"error": {"message": message, "type": kind, "param": null,
                                 "code": status.as_u16()}});
    json_response(status, &error)
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
