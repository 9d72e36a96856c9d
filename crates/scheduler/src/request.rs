//! What of a request a decision looks at. Everything is borrowed: a decision copies nothing of a request.

use std::time::Duration;

/// Headers of a request by lower-case name.
pub trait Headers {
    /// The last value of a header.
    fn header(&self, name: &str) -> Option<&str>;
}

impl Headers for () {
    fn header(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Headers for [(&str, &str)] {
    fn header(&self, name: &str) -> Option<&str> {
        self.iter()
            .rev()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }
}

impl<const N: usize> Headers for [(&str, &str); N] {
    fn header(&self, name: &str) -> Option<&str> {
        self.as_slice().header(name)
    }
}

/// An inference request on its way to an endpoint.
#[derive(Clone, Copy)]
pub struct LlmRequest<'a> {
    /// The request's id, for explanations.
    pub id: &'a str,
    /// The model after rewrites: what the engine is asked for. May be empty (unknown APIs).
    pub target_model: &'a str,
    /// The prompts. Empty: unknown.
    pub prompts: &'a [Prompt<'a>],
    /// Prompts with different salts share no cache.
    pub cache_salt: &'a str,
    /// The client's limit of generated tokens.
    pub max_output_tokens: Option<u64>,
    /// Images, audio and video of the prompt.
    pub media: &'a [Media<'a>],
    /// From the request's objective; below 0 it may be shed.
    pub priority: i32,
    /// Whom to be fair to.
    pub fairness_id: &'a str,
    /// The request's headers.
    pub headers: &'a dyn Headers,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// When it came, by the caller's monotonic clock.
    pub received: Duration,
}

/// One prompt as tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt<'a> {
    /// The first tokens, as their little-endian bytes. An estimated token is four bytes of text, so here text stands
    /// for itself. What lies beyond [`crate::Needs::prompt_bytes`] may be left out.
    pub head: &'a [u8],
    /// Tokens of the whole prompt.
    pub tokens: u64,
}

impl<'a> Prompt<'a> {
    /// A prompt of which everything is at hand.
    #[must_use]
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            head: bytes,
            tokens: bytes.len().div_ceil(BYTES_PER_TOKEN) as u64,
        }
    }
}

/// A piece of a prompt that an encoder works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    /// What the cache of encoder outputs knows it by.
    pub hash: &'a str,
    /// Tokens that it becomes.
    pub tokens: u64,
}

impl Default for LlmRequest<'_> {
    fn default() -> Self {
        Self {
            id: "",
            target_model: "",
            prompts: &[],
            cache_salt: "",
            max_output_tokens: None,
            media: &[],
            priority: 0,
            fairness_id: DEFAULT_FLOW,
            headers: &(),
            body_bytes: 0,
            received: Duration::ZERO,
        }
    }
}

impl LlmRequest<'_> {
    /// Tokens of all prompts; 0 when unknown.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.prompts
            .iter()
            .fold(0, |sum: u64, prompt| sum.saturating_add(prompt.tokens))
    }
}

/// Fairness id of requests that bring none.
pub const DEFAULT_FLOW: &str = "default-flow";
/// Bytes of a token in [`Prompt::head`].
pub const BYTES_PER_TOKEN: usize = 4;
