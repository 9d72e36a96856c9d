//! What clients must not send to engines: headers that choose prefill and decode hosts, body fields that
//! reach the transfer machinery of an engine, and administrative paths. The gateway calls it at the first hop,
//! the sidecar in front of the engine.
//!
//! The body is not parsed into a tree: a scanner finds the members that have to go and cuts them out, so
//! that every other byte stays as the client sent it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;

/// Headers that only the endpoint picker may set.
pub const HEADERS: [&str; 7] = [
    "x-prefiller-host-port",
    "x-prefiller-url",
    "x-encoder-hosts-ports",
    "x-kv-cache-source-host-port",
    "x-data-parallel-host-port",
    "x-data-parallel-rank",
    "x-gateway-destination-endpoint",
];

/// Members removed at the top level, under `vllm_xargs` and under `sampling_params.extra_args`.
const TRANSFER: [&str; 2] = ["kv_transfer_params", "ec_transfer_params"];

/// Members removed at the top level only.
const TOP_LEVEL: [&str; 3] = ["bootstrap_host", "bootstrap_port", "bootstrap_room"];

/// Ends of paths whose bodies are looked at.
const ROUTES: [&str; 6] = [
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/inference/v1/generate",
    "/invocations",
];

/// Ends of further paths whose bodies are looked at.
const BATCH: &str = "/v1/chat/completions/batch";

/// Paths of an engine that are not for the outside.
const CLOSED: [&str; 21] = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/adapters",
    "/scale_elastic_ep",
    "/inference/v1/abort_requests",
    "/abort_requests",
    "/collective_rpc",
    "/sleep",
    "/wake_up",
    "/pause",
    "/resume",
    "/update_weights",
    "/init_weight_transfer_engine",
    "/start_weight_update",
    "/finish_weight_update",
    "/get_world_size",
    "/start_profile",
    "/stop_profile",
    "/is_sleeping",
    "/is_paused",
    "/server_info",
];

/// Removes the headers that clients must not set.
pub fn headers(headers: &mut HeaderMap) {
    for name in HEADERS {
        headers.remove(name);
    }
}

/// Says whether the body of a request for this (rewritten) path has to be looked at. Engines decode
/// percent signs before they choose a route, so this does too.
#[must_use]
pub fn looks_at(path: &str) -> bool {
    let path = decoded(path);
    let path = path.trim_end_matches('/');
    ROUTES.iter().any(|route| path.ends_with(route)) || path.ends_with(BATCH)
}

/// Says whether this (rewritten) path is an engine's administrative one.
#[must_use]
pub fn closed(path: &str) -> bool {
    let path = decoded(path);
    let mut plain = String::with_capacity(path.len());
    // Servers that merge slashes see through doubled ones.
    for part in path.split('/').filter(|part| !part.is_empty()) {
        plain.push('/');
        plain.push_str(part);
    }
    CLOSED.contains(&plain.as_str()) || plain.starts_with("/reset_")
}

/// Says whether `path` has segments that lead elsewhere (`.`, `..`), in clear or encoded: one server
/// resolves them, another does not, so what is matched here might not be what is served there.
#[must_use]
pub fn wanders(path: &str) -> bool {
    decoded(path)
        .split(['/', '\\'])
        .any(|segment| matches!(segment, "." | ".."))
}

fn decoded(path: &str) -> Cow<'_, str> {
    if path.contains('%') {
        percent_encoding::percent_decode_str(path).decode_utf8_lossy()
    } else {
        Cow::Borrowed(path)
    }
}

/// The body is not JSON text as the scanner can follow it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not valid JSON in UTF-8: {what} at byte {at}; send a JSON object")]
pub struct NotJson {
    /// What was found.
    pub what: &'static str,
    /// Where.
    pub at: usize,
    /// Every byte was followed, and more was expected: no reader can make a value of such a text.
    pub cut_short: bool,
}

/// Returns `body` without the members that clients must not send; the same bytes when there is none.
///
/// # Errors
/// When the structure cannot be followed: an engine might read such a text differently.
pub fn body(body: &Bytes) -> Result<Bytes, NotJson> {
    body_without(body, &[])
}

/// As [`body`], with `more` members of the top level removed.
///
/// # Errors
/// When the structure cannot be followed.
pub fn body_without(body: &Bytes, more: &'static [&'static str]) -> Result<Bytes, NotJson> {
    let mut scanner = Scanner {
        text: body,
        more,
        at: 0,
        cuts: Vec::new(),
    };
    scanner.whole()?;
    if scanner.cuts.is_empty() {
        return Ok(body.clone());
    }
    let mut left = Vec::with_capacity(body.len());
    let mut from = 0;
    for cut in scanner.cuts {
        left.extend_from_slice(&body[from..cut.start]);
        from = cut.end;
    }
    left.extend_from_slice(&body[from..]);
    Ok(left.into())
}

/// Says whether [`body`] removes a member of the top level, or something of what stands in it.
pub(crate) fn looks_into(key: &str) -> bool {
    Place::Top.forbids(key) || Place::Top.below(key) != Place::Elsewhere
}

/// Where in the document a container is, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    SamplingParams,
    Args,
    Elsewhere,
}

impl Place {
    fn forbids(self, key: &str) -> bool {
        match self {
            Self::Top => TRANSFER.contains(&key) || TOP_LEVEL.contains(&key),
            Self::Args => TRANSFER.contains(&key),
            Self::SamplingParams | Self::Elsewhere => false,
        }
    }

    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Top, "sampling_params") => Self::SamplingParams,
            (Self::Top, "vllm_xargs") | (Self::SamplingParams, "extra_args") => Self::Args,
            _ => Self::Elsewhere,
        }
    }
}

/// An open object or array.
enum Open {
    /// With the place of its items: those of a whole body that is a list are requests themselves.
    Array(Place),
    Object {
        place: Place,
        /// Where the member that is being read began, when it has to go.
        cut: Option<usize>,
        /// End of the last member that stays (or of the brace), from where a cut begins.
        kept: usize,
        /// Whether a member that stays was seen.
        any: bool,
    },
}

struct Scanner<'a> {
    text: &'a [u8],
    more: &'static [&'static str],
    at: usize,
    cuts: Vec<Range<usize>>,
}

/// Deepest nesting that is followed; JSON readers of engines give up near it.
const DEPTH: usize = 2_000;

impl Scanner<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, NotJson> {
        Err(NotJson {
            what,
            at: self.at,
            cut_short: self.at >= self.text.len(),
        })
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn whole(&mut self) -> Result<(), NotJson> {
        if std::str::from_utf8(self.text).is_err() {
            return self.fail("not UTF-8");
        }
        if self.peek().is_none() {
            return Ok(());
        }
        let mut stack: Vec<Open> = Vec::new();
        let mut place = Place::Top;
        loop {
            // A value is expected.
            let ended = match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    if stack.len() >= DEPTH {
                        return self.fail("nested too deep");
                    }
                    stack.push(Open::Object {
                        place,
                        cut: None,
                        kept: self.at,
                        any: false,
                    });
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                        stack.pop();
                        true
                    } else {
                        place = self.member(&mut stack)?;
                        false
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if stack.len() >= DEPTH {
                        return self.fail("nested too deep");
                    }
                    let items = if stack.is_empty() {
                        Place::Top
                    } else {
                        Place::Elsewhere
                    };
                    stack.push(Open::Array(items));
                    place = items;
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        stack.pop();
                        true
                    } else {
                        false
                    }
                }
                Some(b'"') => {
                    self.string()?;
                    true
                }
                Some(_) => {
                    self.literal()?;
                    true
                }
                None => return self.fail("it ends within a value"),
            };
            if !ended {
                continue;
            }
            match self.after_value(&mut stack)? {
                Some(next) => place = next,
                None => return Ok(()),
            }
        }
    }

    /// Closes what ends after a value; returns the place of the next value, or nothing at the end.
    fn after_value(&mut self, stack: &mut Vec<Open>) -> Result<Option<Place>, NotJson> {
        loop {
            let value_end = self.at;
            let next = self.peek();
            let Some(open) = stack.last_mut() else {
                return match next {
                    None => Ok(None),
                    Some(_) => self.fail("text after the end"),
                };
            };
            match open {
                Open::Array(items) => match next {
                    Some(b',') => {
                        self.at += 1;
                        return Ok(Some(*items));
                    }
                    Some(b']') => {
                        self.at += 1;
                        stack.pop();
                    }
                    _ => return self.fail("no `,` or `]` after a value"),
                },
                Open::Object { cut, kept, any, .. } => {
                    let more = match next {
                        Some(b',') => true,
                        Some(b'}') => false,
                        _ => return self.fail("no `,` or `}` after a value"),
                    };
                    match cut.take() {
                        // With its comma before it, or after it when it is the first.
                        Some(_) if *any || !more => self.cuts.push(*kept..value_end),
                        Some(start) => self.cuts.push(start..self.at + 1),
                        None => *any = true,
                    }
                    *kept = if *any { value_end } else { self.at + 1 };
                    self.at += 1;
                    if more {
                        return self.member(stack).map(Some);
                    }
                    stack.pop();
                }
            }
        }
    }

    /// Reads a key and its colon; returns the place of the value.
    fn member(&mut self, stack: &mut [Open]) -> Result<Place, NotJson> {
        if self.peek() != Some(b'"') {
            return self.fail("no key");
        }
        let start = self.at;
        self.string()?;
        let key = &self.text[start..self.at];
        let key: Cow<'_, str> = if key.contains(&b'\\') {
            match serde_json::from_slice::<String>(key) {
                Ok(key) => Cow::Owned(key),
                Err(_) => return self.fail("a key with a wrong escape"),
            }
        } else {
            String::from_utf8_lossy(&key[1..key.len() - 1])
        };
        let Some(Open::Object { place, cut, .. }) = stack.last_mut() else {
            return self.fail("a key outside an object");
        };
        let forbidden =
            place.forbids(&key) || *place == Place::Top && self.more.contains(&key.as_ref());
        if forbidden {
            *cut = Some(start);
        }
        let below = if forbidden {
            Place::Elsewhere
        } else {
            place.below(&key)
        };
        if self.peek() != Some(b':') {
            return self.fail("no `:` after a key");
        }
        self.at += 1;
        Ok(below)
    }

    fn string(&mut self) -> Result<(), NotJson> {
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => {
                    self.at = self.text.len();
                    return self.fail("it ends within a string");
                }
            }
        }
    }

    fn literal(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while let Some(byte) = self.text.get(self.at) {
            if !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'-' | b'.') {
                break;
            }
            self.at += 1;
        }
        if self.at == start {
            self.fail("an unexpected character")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
