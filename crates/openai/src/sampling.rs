//! Bounds of the fields that say how tokens are chosen, in the words of the engine.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::request::{boolean, integer, number};

/// Most log probabilities of one token that the engine gives by default.
const MAX_LOGPROBS: i64 = 20;

/// Checks the fields of a request's body that the answer here does not depend on.
///
/// # Errors
/// With what the engine would answer.
pub(crate) fn check(body: &Map<String, Value>) -> Result<(), ApiError> {
    if boolean(body, "continue_final_message")? && boolean(body, "add_generation_prompt")? {
        return Err(ApiError::bad_request(
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
            None,
        ));
    }
    for field in ["presence_penalty", "frequency_penalty"] {
        if let Some(value) = number(body, field)?.filter(|value| !(-2.0..=2.0).contains(value)) {
            let message = format!("{field} must be in [-2, 2], got {value:?}.");
            return Err(ApiError::bad_request(message, None));
        }
    }
    if let Some(value) = number(body, "temperature")?.filter(|value| *value < 0.0) {
        return Err(ApiError::bad_request(
            format!(
                "temperature must be non-negative, got {value:?}. (parameter=temperature, value={value:?})"
            ),
            Some("temperature"),
        ));
    }
    if let Some(value) = number(body, "top_p")?.filter(|value| !(*value > 0.0 && *value <= 1.0)) {
        return Err(ApiError::bad_request(
            format!("top_p must be in (0, 1], got {value:?}. (parameter=top_p, value={value:?})"),
            Some("top_p"),
        ));
    }
    logprobs(body)?;
    named_tool(body)
}

fn logprobs(body: &Map<String, Value>) -> Result<(), ApiError> {
    // A chat request says by a boolean whether it wants any, a text request by their number.
    let top = integer(body, "top_logprobs")?;
    let wanted = match body.get("logprobs") {
        Some(Value::Number(count)) => count.as_i64(),
        Some(Value::Bool(true)) => top,
        _ if top.is_some_and(|top| top > 0) => {
            return Err(ApiError::bad_request(
                "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)",
                Some("top_logprobs"),
            ));
        }
        _ => None,
    };
    if let Some(count) = wanted.filter(|count| *count > MAX_LOGPROBS) {
        return Err(ApiError::bad_request(
            format!(
                "Requested sample logprobs of {count}, which is greater than max allowed: {MAX_LOGPROBS} (parameter=logprobs, value={count})"
            ),
            Some("logprobs"),
        ));
    }
    Ok(())
}

fn named_tool(body: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(wanted) = body
        .get("tool_choice")
        .and_then(|choice| choice.pointer("/function/name"))
    else {
        return Ok(());
    };
    let tools = body.get("tools").and_then(Value::as_array);
    let known = tools
        .into_iter()
        .flatten()
        .any(|tool| tool.pointer("/function/name") == Some(wanted));
    if known {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "The tool specified in `tool_choice` does not match any of the specified `tools` (parameter=tool_choice)",
        Some("tool_choice"),
    ))
}

/// Whether the engine would have to find tool calls in the answer: `auto`, also by default when there are tools.
pub(crate) fn chooses_tools(body: &Map<String, Value>) -> bool {
    let tools = body.get("tools").and_then(Value::as_array);
    match body.get("tool_choice") {
        None | Some(Value::Null) => tools.is_some_and(|tools| !tools.is_empty()),
        Some(choice) => choice == "auto" && tools.is_some(),
    }
}
