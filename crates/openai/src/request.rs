//! The fields of completion and chat requests that matter here. Unknown fields are ignored, as the engine does.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::sampling;

/// Most strings that end an answer. The engine has no bound; each of them costs at every token.
const MAX_STOP: usize = 128;

/// Which API a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/v1/completions`
    Text,
    /// `/v1/chat/completions`
    Chat,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// As text.
    Text(String),
    /// As token ids.
    Tokens(Vec<u64>),
}

/// A request, checked as far as this can be done without the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The model; `None` when absent or empty: the served one is meant.
    pub model: Option<String>,
    /// Id that the client gave the request.
    pub request_id: Option<String>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether a stream ends with the token counts.
    pub include_usage: bool,
    /// Whether every frame of a stream carries the token counts.
    pub continuous_usage: bool,
    /// Limit of generated tokens.
    pub max_tokens: Option<u64>,
    /// Least generated tokens.
    pub min_tokens: u64,
    /// Answers to each prompt.
    pub n: u64,
    /// Whether the end token is ignored.
    pub ignore_eos: bool,
    /// Strings that end an answer.
    pub stop: Vec<String>,
    /// Whether such a string stays in the answer.
    pub include_stop: bool,
    /// Prompts of a text request; the conversation of a chat request as one.
    pub prompts: Vec<Prompt>,
    /// Text of the last message of a chat request.
    pub last: String,
    /// Whether the answer may call tools of the client's choice (`auto`), which takes a parser.
    pub chooses_tools: bool,
    /// Transfer parameters of split serving.
    pub kv_transfer_params: Option<Map<String, Value>>,
}

impl Request {
    /// Reads the body of a request for `api`.
    ///
    /// # Errors
    /// With what the engine would answer.
    pub fn parse(api: Api, body: &[u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(ApiError::field("body", "missing", "Field required", "None"));
        }
        let value: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(error) => {
                let offset = if error.is_eof() {
                    body.len()
                } else {
                    offset(body, error.line(), error.column())
                };
                let place = format!("body.{offset}");
                let detail = format!(
                    "{{'type': 'json_invalid', 'loc': '{place}', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {{'error': 'Expecting value'}}}}"
                );
                return Err(ApiError::shape(Some(&place), &detail));
            }
        };
        let Value::Object(body) = value else {
            return Err(ApiError::field(
                "body",
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
                &described(&value),
            ));
        };
        let options = match body.get("stream_options") {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(other) => {
                return Err(wrong(
                    "stream_options",
                    "dict_type",
                    "a valid dictionary",
                    other,
                ));
            }
        };
        let stream = boolean(&body, "stream")?;
        if options.is_some() && !stream {
            return Err(ApiError::bad_request(
                "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
                Some("stream_options"),
            ));
        }
        let max_tokens = match api {
            Api::Chat => match integer(&body, "max_completion_tokens")? {
                Some(limit) => Some(limit),
                None => integer(&body, "max_tokens")?,
            },
            Api::Text => integer(&body, "max_tokens")?,
        };
        let max_tokens = max_tokens.map(at_least_one).transpose()?;
        let n = match integer(&body, "n")? {
            None => 1,
            Some(n) => u64::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| {
                ApiError::bad_request(format!("n must be at least 1, got {n}."), None)
            })?,
        };
        if n > 1 && number(&body, "temperature")? == Some(0.0) {
            let message = format!("n must be 1 when using greedy sampling, got {n}.");
            return Err(ApiError::bad_request(message, None));
        }
        let min_tokens = integer(&body, "min_tokens")?
            .unwrap_or(0)
            .try_into()
            .unwrap_or(0);
        if let Some(limit) = max_tokens.filter(|limit| min_tokens > *limit) {
            return Err(ApiError::bad_request(
                format!(
                    "min_tokens must be less than or equal to max_tokens={limit}, got {min_tokens}."
                ),
                None,
            ));
        }
        let kv_transfer_params = match body.get("kv_transfer_params") {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map.clone()),
            Some(other) => {
                return Err(wrong(
                    "kv_transfer_params",
                    "dict_type",
                    "a valid dictionary",
                    other,
                ));
            }
        };
        sampling::check(&body)?;
        let (prompts, last) = match api {
            Api::Text => (prompts(body.get("prompt"))?, String::new()),
            Api::Chat => messages(body.get("messages"), body.len())?,
        };
        Ok(Self {
            model: text(&body, "model")?.filter(|model| !model.is_empty()),
            request_id: text(&body, "request_id")?.filter(|id| !id.is_empty()),
            stream,
            include_usage: options
                .map(|map| boolean(map, "include_usage"))
                .transpose()?
                == Some(true),
            continuous_usage: options
                .map(|map| boolean(map, "continuous_usage_stats"))
                .transpose()?
                == Some(true),
            max_tokens,
            min_tokens,
            n,
            ignore_eos: boolean(&body, "ignore_eos")?,
            stop: stop(body.get("stop"))?,
            include_stop: boolean(&body, "include_stop_str_in_output")?,
            chooses_tools: api == Api::Chat && sampling::chooses_tools(&body),
            prompts,
            last,
            kv_transfer_params,
        })
    }
}

fn at_least_one(value: i64) -> Result<u64, ApiError> {
    u64::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| no_room(value))
}

/// The refusal of a limit of generated tokens below one, also of a prompt that leaves no room.
#[must_use]
pub fn no_room(value: i64) -> ApiError {
    ApiError::bad_request(
        format!(
            "max_tokens must be at least 1, got {value}. (parameter=max_tokens, value={value})"
        ),
        Some("max_tokens"),
    )
}

fn described(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("<list of {} items>", items.len()),
        Value::Object(map) => format!("<dict of {} items>", map.len()),
        Value::String(text) => text.chars().take(100).collect(),
        other => other.to_string(),
    }
}

fn wrong(field: &str, kind: &str, should: &str, value: &Value) -> ApiError {
    let place = format!("body.{field}");
    ApiError::field(
        &place,
        kind,
        &format!("Input should be {should}"),
        &described(value),
    )
}

pub(crate) fn boolean(map: &Map<String, Value>, field: &str) -> Result<bool, ApiError> {
    match map.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(other) => Err(wrong(field, "bool_parsing", "a valid boolean", other)),
    }
}

pub(crate) fn integer(map: &Map<String, Value>, field: &str) -> Result<Option<i64>, ApiError> {
    match map.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => match value.as_str().map(|text| text.trim().parse()) {
                Some(Ok(number)) => Ok(Some(number)),
                Some(Err(_)) => Err(wrong(
                    field,
                    "int_parsing",
                    "a valid integer, unable to parse string as an integer",
                    value,
                )),
                None => Err(wrong(field, "int_type", "a valid integer", value)),
            },
        },
    }
}

pub(crate) fn number(map: &Map<String, Value>, field: &str) -> Result<Option<f64>, ApiError> {
    match map.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(field, "float_type", "a valid number", value)),
        },
    }
}

fn text(map: &Map<String, Value>, field: &str) -> Result<Option<String>, ApiError> {
    match map.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong(field, "string_type", "a valid string", other)),
    }
}

fn stop(value: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let strings = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let text = item.as_str().map(str::to_owned);
                text.ok_or_else(|| {
                    wrong(
                        &format!("stop.{index}"),
                        "string_type",
                        "a valid string",
                        item,
                    )
                })
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong("stop", "string_type", "a valid string", other)),
    };
    if strings.iter().any(String::is_empty) {
        return Err(ApiError::bad_request(
            "stop cannot contain an empty string.",
            None,
        ));
    }
    if strings.len() > MAX_STOP {
        let message = format!("stop has {} strings, more than {MAX_STOP}", strings.len());
        return Err(ApiError::bad_request(message, Some("stop")));
    }
    Ok(strings)
}

fn no_prompt() -> ApiError {
    ApiError::bad_request(
        "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)",
        Some("prompt"),
    )
}

fn prompts(value: Option<&Value>) -> Result<Vec<Prompt>, ApiError> {
    let items = match value {
        Some(Value::String(text)) if !text.is_empty() => {
            return Ok(vec![Prompt::Text(text.clone())]);
        }
        None | Some(Value::Null | Value::String(_)) => return Err(no_prompt()),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(wrong("prompt", "string_type", "a valid string", other)),
    };
    let none = || ApiError::bad_request("You must pass at least one prompt", None);
    let first = items.first().ok_or_else(none)?;
    if first.is_number() {
        return Ok(vec![tokens(items)?]);
    }
    items
        .iter()
        .map(|item| match (first, item) {
            (Value::String(_), Value::String(text)) if !text.is_empty() => {
                Ok(Prompt::Text(text.clone()))
            }
            (Value::String(_), Value::String(_)) => Err(no_prompt()),
            (Value::Array(_), Value::Array(ids)) if !ids.is_empty() => tokens(ids),
            (Value::Array(_), Value::Array(_)) => Err(none()),
            _ => Err(wrong("prompt.0", "list_type", "a valid list", item)),
        })
        .collect()
}

fn tokens(items: &[Value]) -> Result<Prompt, ApiError> {
    let ids: Option<Vec<u64>> = items.iter().map(Value::as_u64).collect();
    ids.map(Prompt::Tokens).ok_or_else(|| {
        let place = "body.prompt.0";
        ApiError::field(place, "int_parsing", "Input should be a valid integer", "")
    })
}

fn messages(value: Option<&Value>, fields: usize) -> Result<(Vec<Prompt>, String), ApiError> {
    let items = match value {
        None => {
            let input = format!("<dict of {fields} items>");
            return Err(ApiError::field(
                "body.messages",
                "missing",
                "Field required",
                &input,
            ));
        }
        Some(Value::Array(items)) => items,
        Some(other) => return Err(wrong("messages", "list_type", "a valid list", other)),
    };
    if items.is_empty() {
        return Err(ApiError::bad_request(
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
            None,
        ));
    }
    let mut whole = String::new();
    let mut last = String::new();
    for (index, item) in items.iter().enumerate() {
        let Value::Object(message) = item else {
            return Err(wrong(
                &format!("messages.{index}"),
                "dict_type",
                "a valid dictionary",
                item,
            ));
        };
        let Some(role) = message.get("role").and_then(Value::as_str) else {
            let place = format!("body.messages.{index}.role");
            return Err(ApiError::field(
                &place,
                "missing",
                "Field required",
                &described(item),
            ));
        };
        last = content(message.get("content"));
        // As the llm-d simulator flattens a conversation.
        whole.push_str(&format!("### {role}: {last}\n"));
    }
    Ok((vec![Prompt::Text(whole)], last))
}

fn content(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => blocks
            .iter()
            .filter_map(|block| {
                let text = block.get("text").and_then(Value::as_str);
                let image = || {
                    Some(format!(
                        "image: {}",
                        block.pointer("/image_url/url")?.as_str()?
                    ))
                };
                text.map(str::to_owned).or_else(image)
            })
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    }
}

fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let before: usize = body
        .split(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(|line| line.len() + 1)
        .sum();
    (before + column.saturating_sub(1)).min(body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(api: Api, body: &str) -> (String, Option<String>) {
        let error = Request::parse(api, body.as_bytes()).unwrap_err();
        (error.message, error.param)
    }

    #[test]
    fn fields_are_read() {
        let body = r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"hi"}]}],
            "stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"max_completion_tokens":3,"unknown":1}"#;
        let request = Request::parse(Api::Chat, body.as_bytes()).unwrap();
        assert_eq!(request.max_tokens, Some(3));
        assert!(request.stream && request.include_usage);
        assert_eq!(request.last, "hi");
        let text = Request::parse(Api::Text, br#"{"prompt":[[1,2],[3]],"n":2}"#).unwrap();
        assert_eq!(
            text.prompts,
            [Prompt::Tokens(vec![1, 2]), Prompt::Tokens(vec![3])]
        );
        assert_eq!((text.model, text.n), (None, 2));
    }

    #[test]
    fn refusals_are_worded_as_the_engine_s() {
        let rows = [
            (
                Api::Text,
                r#"{"prompt":"a","max_tokens":0}"#,
                "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
                Some("max_tokens"),
            ),
            (
                Api::Text,
                r#"{"prompt":""}"#,
                "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)",
                Some("prompt"),
            ),
            (
                Api::Text,
                r#"{"prompt":[]}"#,
                "You must pass at least one prompt",
                None,
            ),
            (
                Api::Text,
                r#"{"prompt":"a","n":0}"#,
                "n must be at least 1, got 0.",
                None,
            ),
            (
                Api::Text,
                r#"{"prompt":"a","n":2,"temperature":0}"#,
                "n must be 1 when using greedy sampling, got 2.",
                None,
            ),
            (
                Api::Chat,
                r#"{"messages":[]}"#,
                "Cannot apply chat template to an empty conversation. Provide at least one message.",
                None,
            ),
            (
                Api::Chat,
                "[1,2]",
                "1 validation error:\n  {'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a valid dictionary or object to extract fields from', 'input': '<list of 2 items>'}",
                Some("body"),
            ),
            (
                Api::Chat,
                r#"{"model":"m"}"#,
                "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of 1 items>'}",
                Some("body.messages"),
            ),
        ];
        for (api, body, message, param) in rows {
            assert_eq!(
                refusal(api, body),
                (message.to_owned(), param.map(str::to_owned)),
                "{body}"
            );
        }
    }
}
