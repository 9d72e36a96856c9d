//! Recent decisions with their explanation, one of so many.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use weir_scheduler::{Explain, LlmRequest};

/// How many are kept.
const KEPT: usize = 256;

/// The log.
#[derive(Debug)]
pub struct Decisions {
    /// One of how many is explained; 0: none.
    every: u64,
    seen: AtomicU64,
    kept: Mutex<VecDeque<Arc<str>>>,
}

impl Decisions {
    /// A log of one of `every` decisions; 0: none.
    #[must_use]
    pub fn new(every: u64) -> Self {
        Self {
            every,
            seen: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    /// Says whether the next decision is explained.
    pub fn sampled(&self) -> bool {
        self.every > 0
            && self
                .seen
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(self.every)
    }

    /// Keeps a decision; returns it as JSON on one line.
    pub fn keep(
        &self,
        request: &LlmRequest<'_>,
        destination: &str,
        explain: &Explain,
        now: Duration,
    ) -> String {
        let story = json!({
            "at": now.as_secs_f64(),
            "requestId": request.id,
            "model": request.target_model,
            "priority": request.priority,
            "promptTokens": request.prompt_tokens(),
            "destination": destination,
            "explain": explain.to_json(),
        })
        .to_string();
        let mut kept = self.kept.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(story.as_str().into());
        story
    }

    /// What is kept, the newest first, as a JSON list.
    #[must_use]
    pub fn page(&self) -> String {
        let kept: Vec<Arc<str>> = self.kept.lock().iter().rev().cloned().collect();
        format!("[{}]\n", kept.join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_its_sampling_even() {
        let decisions = Decisions::new(4);
        let sampled = (0..16).filter(|_| decisions.sampled()).count();
        assert_eq!(sampled, 4);
        assert!(!Decisions::new(0).sampled());
        for number in 0..KEPT + 3 {
            let id = number.to_string();
            let request = LlmRequest {
                id: &id,
                ..LlmRequest::default()
            };
            decisions.keep(&request, "a", &Explain::default(), Duration::ZERO);
        }
        let page: Vec<serde_json::Value> = serde_json::from_str(&decisions.page()).unwrap();
        assert_eq!(page.len(), KEPT);
        assert_eq!(page[0]["requestId"], (KEPT + 2).to_string());
    }
}
