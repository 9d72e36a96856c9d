//! Completions and chat completions, whole and streamed.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use weir_engine_model::Refusal;
use weir_openai::request::{Prompt, no_room};
use weir_openai::{Api, ApiError, Request, Usage, sse};
use weir_runtime::http::{Body, BoxError};
use weir_vllm::transfer;

use crate::core::{Ticket, Work};
use crate::server::{Server, json_response, unix_seconds};
use crate::text::{self, Answer, Ask};

/// Most units (prompts times copies) of one request.
const MAX_UNITS: u64 = 1024;

/// What all parts of one answer share.
struct Head {
    api: Api,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
    continuous: bool,
    details: bool,
    prompt: u64,
    transfer: Value,
}

/// Answers the body of a request for `api`; `id` is the one in its headers.
///
/// # Errors
/// With what the engine would answer.
pub(crate) async fn answer(
    server: &Server,
    api: Api,
    body: &[u8],
    id: Option<&str>,
) -> Result<Response<Body>, ApiError> {
    let request = Request::parse(api, body)?;
    let options = &server.options;
    if request.chooses_tools && !options.tools {
        return Err(ApiError::bad_request(
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
            None,
        ));
    }
    let displayed = options
        .names
        .first()
        .map_or(options.model.as_str(), String::as_str);
    let model = match &request.model {
        None => displayed.to_owned(),
        Some(name) if options.names.contains(name) => displayed.to_owned(),
        Some(name) if options.adapters.iter().any(|(adapter, _)| adapter == name) => name.clone(),
        Some(name) => return Err(ApiError::unknown_model(name, &options.names)),
    };
    let units = (request.prompts.len() as u64).saturating_mul(request.n);
    if units > MAX_UNITS {
        let message = format!("the request asks for {units} choices, more than {MAX_UNITS}");
        return Err(ApiError::bad_request(message, None));
    }
    let mut work = Vec::new();
    let mut answers = Vec::new();
    let mut prompt_tokens = 0;
    for prompt in &request.prompts {
        let tokens = match prompt {
            Prompt::Text(text) => text::tokens(text),
            Prompt::Tokens(ids) => text::id_tokens(ids),
        };
        let count = tokens.len() as u64;
        let echo = if api == Api::Chat {
            text::tokens(&request.last)
        } else {
            tokens
        };
        prompt_tokens += count;
        let limit = limit(server, &request, api, count)?;
        for copy in 0..request.n {
            let mut answer = text::answer(Ask {
                mode: options.mode,
                echo: &echo,
                seed: options.seed.wrapping_add(copy),
                limit,
                room: options.window.saturating_sub(count),
                limited: request.max_tokens.is_some() || api == Api::Text,
                least: request.min_tokens,
                exact: request.ignore_eos,
            });
            answer.stop_at(&request.stop, request.include_stop, request.min_tokens);
            work.push(Work {
                prompt: count,
                output: answer.tokens.len() as u64,
                limit,
                reason: answer.reason,
                copies: (copy == 0).then_some(request.n),
            });
            answers.push(answer);
        }
    }
    let ticket = server
        .core()
        .submit(&work)
        .map_err(|refusal| match refusal {
            Refusal::QueueFull if options.engine_bound => ApiError::busy(),
            Refusal::QueueFull => ApiError::queue_full(),
            Refusal::TooLarge { .. } => ApiError::internal(refusal.to_string()),
        })?;
    let prefix = if api == Api::Chat { "chatcmpl" } else { "cmpl" };
    // The header wins over the body.
    let id = id.map(str::to_owned).or_else(|| request.request_id.clone());
    let id = id.unwrap_or_else(|| {
        let mut made = uuid::Uuid::new_v4().simple().to_string();
        made.truncate(16);
        made
    });
    let head = Head {
        api,
        id: format!("{prefix}-{id}"),
        created: unix_seconds(),
        model,
        fingerprint: server.fingerprint.clone(),
        include_usage: request.include_usage || options.force_usage,
        continuous: request.continuous_usage,
        details: options.token_details,
        prompt: prompt_tokens,
        transfer: transfer_params(server, &request, prompt_tokens),
    };
    if request.stream {
        Ok(streamed(head, answers, ticket))
    } else {
        wait(&answers, &ticket).await;
        Ok(json_response(StatusCode::OK, &head.whole(&answers)))
    }
}

/// Most tokens that may be generated after a prompt of `prompt` tokens.
fn limit(server: &Server, request: &Request, api: Api, prompt: u64) -> Result<u64, ApiError> {
    let window = server.options.window;
    if prompt > window {
        let message = format!(
            "This model's maximum context length is {window} tokens. However, your request has {prompt} input tokens. Please reduce the length of the input messages. (parameter=input_tokens, value={prompt})"
        );
        return Err(ApiError::bad_request(message, Some("input_tokens")));
    }
    let room = window - prompt;
    if room == 0 {
        return Err(no_room(0));
    }
    let asked = match (request.max_tokens, api) {
        (Some(asked), _) if asked > window => {
            let message = format!(
                "max_tokens={asked} cannot be greater than max_model_len={window}. Please request fewer output tokens. (parameter=max_tokens, value={asked})"
            );
            return Err(ApiError::bad_request(message, Some("max_tokens")));
        }
        (Some(asked), _) => asked,
        (None, Api::Text) => 16,
        (None, Api::Chat) => room,
    };
    Ok(asked.min(room))
}

fn transfer_params(server: &Server, request: &Request, prompt: u64) -> Value {
    let asked = request
        .kv_transfer_params
        .as_ref()
        .and_then(|map| map.get(transfer::DO_REMOTE_DECODE));
    if asked != Some(&Value::Bool(true)) {
        return Value::Null;
    }
    let host =
        std::env::var("VLLM_NIXL_SIDE_CHANNEL_HOST").unwrap_or_else(|_| "localhost".to_owned());
    let port = std::env::var("VLLM_NIXL_SIDE_CHANNEL_PORT")
        .ok()
        .and_then(|text| text.parse().ok());
    let blocks: Vec<u64> = (1..=prompt.div_ceil(server.options.engine.block_size)).collect();
    json!({
        transfer::DO_REMOTE_PREFILL: true,
        transfer::DO_REMOTE_DECODE: false,
        transfer::REMOTE_BLOCK_IDS: [blocks],
        transfer::REMOTE_ENGINE_ID: server.engine_id,
        transfer::REMOTE_HOST: host,
        transfer::REMOTE_PORT: port.unwrap_or(5600_u16),
        "tp_size": 1,
    })
}

async fn wait(answers: &[Answer], ticket: &Ticket) {
    loop {
        let counts = ticket.progress().counts();
        if counts
            .iter()
            .zip(answers)
            .all(|(count, answer)| *count >= answer.tokens.len().max(1) as u64)
        {
            return;
        }
        ticket.progress().changed().await;
    }
}

impl Head {
    fn usage(&self, completion: u64) -> Value {
        let usage = Usage::new(self.prompt, completion);
        json!({
            "prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens,
            "completion_tokens": usage.completion_tokens,
        })
    }

    fn whole(&self, answers: &[Answer]) -> Value {
        let choices: Vec<Value> = answers
            .iter()
            .enumerate()
            .map(|(index, answer)| {
                let text = answer.tokens.concat();
                match self.api {
                    Api::Chat => json!({
                        "index": index, "logprobs": null, "finish_reason": answer.reason, "stop_reason": answer.stop,
                        "token_ids": null, "routed_experts": null,
                        "message": {
                            "role": "assistant", "content": text, "refusal": null, "annotations": null,
                            "audio": null, "function_call": null, "reasoning": null,
                        },
                    }),
                    Api::Text => json!({
                        "index": index, "text": text, "logprobs": null, "finish_reason": answer.reason,
                        "stop_reason": answer.stop, "token_ids": null, "prompt_logprobs": null,
                        "prompt_token_ids": null, "routed_experts": null,
                    }),
                }
            })
            .collect();
        let mut usage = self.usage(
            answers
                .iter()
                .map(|answer| answer.tokens.len() as u64)
                .sum(),
        );
        usage["prompt_tokens_details"] = if self.details {
            json!({"cached_tokens": 0, "created_cache_tokens": null, "multimodal_tokens": null})
        } else {
            Value::Null
        };
        usage["completion_tokens_details"] = Value::Null;
        let mut body = json!({
            "id": self.id, "created": self.created, "model": self.model, "choices": choices,
            "service_tier": null, "system_fingerprint": self.fingerprint, "usage": usage,
            "kv_transfer_params": self.transfer, "ec_transfer_params": null, "metrics": null,
        });
        match self.api {
            Api::Chat => {
                body["object"] = json!("chat.completion");
                for key in ["prompt_logprobs", "prompt_token_ids", "prompt_text"] {
                    body[key] = Value::Null;
                }
            }
            Api::Text => body["object"] = json!("text_completion"),
        }
        body
    }

    fn frame(&self, choices: &Value, completion: u64) -> Value {
        let object = if self.api == Api::Chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        };
        let mut frame = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": choices,
        });
        if self.continuous {
            frame["usage"] = self.usage(completion);
            if self.api == Api::Chat && choices != &json!([]) {
                frame["usage"]["completion_tokens_details"] = Value::Null;
            }
        }
        frame
    }

    fn opening(&self, index: usize) -> Value {
        let choice = json!([{
            "index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null,
        }]);
        let mut frame = self.frame(&choice, 0);
        frame["prompt_token_ids"] = Value::Null;
        frame["prompt_text"] = Value::Null;
        frame
    }

    fn token(&self, index: usize, answer: &Answer, token: usize, completion: u64) -> Value {
        let text = answer.tokens.get(token).map_or("", String::as_str);
        let reason = (token + 1 == answer.tokens.len()).then_some(answer.reason);
        let mut choice = match self.api {
            Api::Chat => json!({"index": index, "delta": {"content": text}}),
            Api::Text => {
                json!({"index": index, "text": text, "stop_reason": null, "prompt_token_ids": null})
            }
        };
        choice["logprobs"] = Value::Null;
        choice["finish_reason"] = json!(reason);
        choice["token_ids"] = Value::Null;
        if reason.is_some() {
            choice["stop_reason"] = json!(answer.stop);
        }
        let mut frame = self.frame(&json!([choice]), completion);
        if reason.is_some() && !self.include_usage {
            frame["system_fingerprint"] = json!(self.fingerprint);
        }
        frame
    }

    fn ending(&self, completion: u64) -> Value {
        let mut frame = self.frame(&json!([]), completion);
        frame["usage"] = self.usage(completion);
        if self.details {
            frame["usage"]["prompt_tokens_details"] = json!({"cached_tokens": 0});
        }
        frame["system_fingerprint"] = json!(self.fingerprint);
        frame
    }
}

/// A stream being written. The ticket goes with it: a client that leaves drops both.
struct Writer {
    head: Head,
    answers: Vec<Answer>,
    ticket: Arc<Ticket>,
    sent: Vec<usize>,
    ready: VecDeque<Bytes>,
    /// Choice that is served next, so that choices interleave.
    turn: usize,
    ended: bool,
}

impl Writer {
    fn push(&mut self, frame: &Value) {
        // A tree of JSON values can always be written.
        if let Ok(bytes) = sse::frame(frame) {
            self.ready.push_back(bytes);
        }
    }

    fn completed(&self) -> u64 {
        self.sent.iter().map(|sent| *sent as u64).sum()
    }

    /// Puts at most one token of one choice into `ready`.
    fn step(&mut self) -> bool {
        let counts = self.ticket.progress().counts();
        for offset in 0..self.answers.len() {
            let index = (self.turn + offset) % self.answers.len();
            let (sent, answer) = (self.sent[index], &self.answers[index]);
            if sent as u64 >= counts.get(index).copied().unwrap_or(0) || sent >= answer.tokens.len()
            {
                continue;
            }
            self.sent[index] += 1;
            let frame = self.head.token(index, answer, sent, self.completed());
            self.turn = (index + 1) % self.answers.len();
            self.push(&frame);
            return true;
        }
        false
    }

    fn finish(&mut self) {
        self.ended = true;
        if self.head.include_usage {
            let frame = self.head.ending(self.completed());
            self.push(&frame);
        }
        self.ready.push_back(Bytes::from_static(sse::DONE));
    }

    async fn next(mut self) -> Option<(Result<Frame<Bytes>, BoxError>, Self)> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some((Ok(Frame::data(bytes)), self));
            }
            if self.ended {
                return None;
            }
            if self.step() {
                continue;
            }
            if self
                .sent
                .iter()
                .zip(&self.answers)
                .all(|(sent, answer)| *sent >= answer.tokens.len())
            {
                self.finish();
                continue;
            }
            let ticket = Arc::clone(&self.ticket);
            ticket.progress().changed().await;
        }
    }
}

fn streamed(head: Head, answers: Vec<Answer>, ticket: Ticket) -> Response<Body> {
    let mut writer = Writer {
        sent: vec![0; answers.len()],
        head,
        answers,
        ticket: Arc::new(ticket),
        ready: VecDeque::new(),
        turn: 0,
        ended: false,
    };
    if writer.head.api == Api::Chat {
        for index in 0..writer.answers.len() {
            let frame = writer.head.opening(index);
            writer.push(&frame);
        }
    }
    let body = StreamBody::new(stream::unfold(writer, Writer::next));
    let mut response = Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE));
    response
}
