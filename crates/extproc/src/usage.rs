//! Token counts in responses, read where a response says `usage` and nowhere else.

use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest start of a line that is kept until the rest comes.
const MAX_TAIL: usize = 64 << 10;

/// Token counts; 0 when not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub prompt: u64,
    /// Of the answer.
    pub completion: u64,
    /// Of both.
    pub total: u64,
    /// Of the prompt, those that were in the cache; `None` when not said.
    pub cached: Option<u64>,
}

/// Usage of a response, gathered as it passes.
#[derive(Debug, Default)]
pub struct Gathered {
    usage: Option<Usage>,
    /// Start of a line whose end has not come.
    tail: Vec<u8>,
    /// The line is longer than what is kept.
    too_long: bool,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    /// Of the responses API: the last event holds the whole response.
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    /// Of Anthropic's: the first event holds the message.
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
}

impl Gathered {
    /// What was gathered.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Takes in a whole JSON document; anything else is passed over.
    pub fn document(&mut self, text: &[u8]) {
        if memmem::find(text, b"\"usage\"").is_some() {
            self.merge(read(text));
        }
    }

    /// Takes in a chunk of an event stream. Lines may be cut anywhere.
    pub fn chunk(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        if !self.tail.is_empty() || self.too_long {
            let end = memchr::memchr(b'\n', chunk);
            let first = &chunk[..end.unwrap_or(chunk.len())];
            self.keep(first);
            let Some(end) = end else {
                return;
            };
            let line = std::mem::take(&mut self.tail);
            if !std::mem::take(&mut self.too_long) {
                self.line(&line);
            }
            rest = &chunk[end + 1..];
        }
        let whole = memchr::memrchr(b'\n', rest).map_or(0, |end| end + 1);
        let (lines, tail) = rest.split_at(whole);
        let mut from = 0;
        while let Some(found) = memmem::find(&lines[from..], b"usage") {
            let at = from + found;
            let start = memchr::memrchr(b'\n', &lines[..at]).map_or(0, |end| end + 1);
            let end = memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |end| at + end);
            self.line(&lines[start..end]);
            from = end;
        }
        self.keep(tail);
    }

    /// Takes in what came without a line's end when the stream has ended.
    pub fn end(&mut self) {
        let line = std::mem::take(&mut self.tail);
        self.line(&line);
    }

    fn keep(&mut self, part: &[u8]) {
        if self.tail.len() + part.len() > MAX_TAIL {
            self.too_long = true;
            self.tail.clear();
        } else if !self.too_long {
            self.tail.extend_from_slice(part);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data: ") else {
            return;
        };
        if memmem::find(data, b"usage").is_some() {
            self.merge(read(data));
        }
    }

    fn merge(&mut self, found: Option<Usage>) {
        let Some(new) = found else {
            return;
        };
        let usage = self.usage.get_or_insert_default();
        let later = |old: u64, new: u64| if new == 0 { old } else { new };
        usage.prompt = later(usage.prompt, new.prompt);
        usage.completion = later(usage.completion, new.completion);
        usage.cached = match (usage.cached, new.cached) {
            (Some(old), Some(new)) => Some(later(old, new)),
            (old, new) => old.or(new),
        };
        usage.total = if new.prompt > 0 && new.completion > 0 && new.total > 0 {
            new.total
        } else {
            usage.prompt.saturating_add(usage.completion)
        };
    }
}

fn read(text: &[u8]) -> Option<Usage> {
    let document: Document<'_> = serde_json::from_slice(text).ok()?;
    if let Some(usage) = document.usage.and_then(counts) {
        return Some(usage);
    }
    let nested = |raw: Option<&RawValue>| {
        let inner: Document<'_> = serde_json::from_str(raw?.get()).ok()?;
        counts(inner.usage?)
    };
    match document.kind.map(RawValue::get) {
        Some("\"message_start\"") => nested(document.message),
        Some("\"response.completed\"") => nested(document.response),
        _ => None,
    }
}

fn counts(raw: &RawValue) -> Option<Usage> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    value.as_object()?;
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| value.get(name))
            .and_then(number)
    };
    let prompt = first(&["prompt_tokens", "input_tokens"]).unwrap_or(0);
    let completion = first(&["completion_tokens", "output_tokens"]).unwrap_or(0);
    let cached = ["prompt_tokens_details", "input_tokens_details"]
        .iter()
        .find_map(|name| value.get(name)?.get("cached_tokens"))
        .or_else(|| value.get("cache_read_input_tokens"))
        .and_then(number);
    Some(Usage {
        prompt,
        completion,
        total: first(&["total_tokens"]).unwrap_or_else(|| prompt.saturating_add(completion)),
        cached,
    })
}

/// A count that was written as a floating point number.
fn whole(number: f64) -> Option<u64> {
    (0.0..1e15).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: u64, completion: u64, total: u64, cached: Option<u64>) -> Option<Usage> {
        Some(Usage {
            prompt,
            completion,
            total,
            cached,
        })
    }

    #[test]
    fn documents_of_every_api_are_read() {
        let rows = [
            (
                r#"{"usage":{"prompt_tokens":7,"completion_tokens":"3","total_tokens":10,"prompt_tokens_details":{"cached_tokens":4}}}"#,
                usage(7, 3, 10, Some(4)),
            ),
            (
                r#"{"usage":{"input_tokens":5.0,"output_tokens":2,"input_tokens_details":{"cached_tokens":0}}}"#,
                usage(5, 2, 7, Some(0)),
            ),
            (
                r#"{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}"#,
                usage(1, 2, 3, None),
            ),
            (r#"{"usage":null}"#, None),
            (r#"{"usage":"#, None),
            (r#"{"a":{"usage":{"prompt_tokens":7}}}"#, None),
        ];
        for (text, expected) in rows {
            let mut gathered = Gathered::default();
            gathered.document(text.as_bytes());
            assert_eq!(gathered.usage(), expected, "{text}");
        }
    }

    #[test]
    fn streams_are_read_however_they_are_cut() {
        let stream = concat!(
            "event: message_start\n",
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1,\"cache_read_input_tokens\":2}}}\n\n",
            "data: {\"choices\":[{\"text\":\"usage\"}],\"usage\":null}\n\n",
            "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":6}}\n\ndata: [DONE]\n\n"
        );
        for size in 1..=stream.len() {
            let mut gathered = Gathered::default();
            for chunk in stream.as_bytes().chunks(size) {
                gathered.chunk(chunk);
            }
            gathered.end();
            assert_eq!(
                gathered.usage(),
                usage(9, 6, 15, Some(2)),
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut gathered = Gathered::default();
        for _ in 0..100 {
            gathered.chunk(&[b'x'; 4096]);
        }
        assert!(gathered.tail.capacity() <= 2 * MAX_TAIL);
        gathered.chunk(b"\ndata: {\"usage\":{\"prompt_tokens\":1}}\n");
        assert_eq!(gathered.usage(), usage(1, 0, 1, None));
    }
}
