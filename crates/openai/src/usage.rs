//! Token counts of an answer.

use serde::{Deserialize, Serialize};

/// Token counts, in the engine's order of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompts, each prompt once.
    pub prompt_tokens: u64,
    /// Both together.
    pub total_tokens: u64,
    /// Tokens generated, of all choices.
    pub completion_tokens: u64,
}

impl Usage {
    /// Counts of `prompt` and `completion` tokens.
    #[must_use]
    pub fn new(prompt: u64, completion: u64) -> Self {
        Self {
            prompt_tokens: prompt,
            total_tokens: prompt.saturating_add(completion),
            completion_tokens: completion,
        }
    }
}
