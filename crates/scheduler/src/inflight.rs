//! Requests in flight: what an endpoint was given and has not finished.
//!
//! An [`Account`] is one request's share of the counters. It is made when the request is sent, gives tokens back at the
//! first piece of the answer, and the rest when it is dropped: whatever ends the request, each share goes back once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::config::settings::InFlightLoad;
use crate::context::{Context, PrefixMatch};
use crate::endpoint::Endpoint;

/// Most load producers of a configuration.
pub const MAX_LOAD_PRODUCERS: usize = 4;

/// One request's share of the counters.
#[derive(Debug, Default)]
#[must_use = "dropping it takes the request out of the counters"]
pub struct Account {
    shares: SmallVec<[Share; 2]>,
}

/// What one endpoint was given.
#[derive(Debug)]
struct Share {
    endpoint: Arc<Endpoint>,
    tokens: [i64; MAX_LOAD_PRODUCERS],
    /// Which of the tokens stay until the end.
    until_end: [bool; MAX_LOAD_PRODUCERS],
    /// All of it goes back at the first piece of the answer.
    prefill: bool,
    /// The request still counts.
    counted: bool,
}

/// A load producer of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct LoadProducer {
    /// Which plugin it is.
    pub(crate) plugin: usize,
    pub(crate) settings: InFlightLoad,
    /// Which of an endpoint's token counters is its.
    pub(crate) index: usize,
    /// Which producer of matches says what is cached.
    pub(crate) prefix: Option<usize>,
}

impl LoadProducer {
    /// Tokens that a request means for an endpoint.
    pub(crate) fn tokens(&self, context: &Context<'_>, at: u32) -> u64 {
        let found = self
            .prefix
            .and_then(|prefix| context.matches.get(prefix))
            .map_or_else(PrefixMatch::default, |matches| matches.at(at));
        self.weigh(
            found,
            context.prompt_tokens,
            context.request.max_output_tokens,
        )
    }

    /// Tokens of a prompt that is cached in part.
    pub(crate) fn weigh(&self, found: PrefixMatch, prompt: u64, limit: Option<u64>) -> u64 {
        found.uncached_tokens(prompt) + self.output(prompt, limit)
    }

    fn output(&self, prompt: u64, limit: Option<u64>) -> u64 {
        if !self.settings.output {
            return 0;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "token counts are small, and the conversion saturates"
        )]
        let guess = (prompt as f64 * self.settings.ratio).round() as u64;
        [limit, self.settings.max_output]
            .into_iter()
            .flatten()
            .fold(guess, u64::min)
    }
}

impl Account {
    /// Adds a request to an endpoint. `tokens` are those of each producer, and whether they stay until the end.
    pub(crate) fn add(
        &mut self,
        endpoint: &Arc<Endpoint>,
        tokens: impl IntoIterator<Item = (u64, bool)>,
        prefill: bool,
    ) {
        let mut share = Share {
            endpoint: Arc::clone(endpoint),
            tokens: [0; MAX_LOAD_PRODUCERS],
            until_end: [false; MAX_LOAD_PRODUCERS],
            prefill,
            counted: true,
        };
        endpoint.live.requests.fetch_add(1, Ordering::Relaxed);
        for (index, (count, until_end)) in tokens.into_iter().take(MAX_LOAD_PRODUCERS).enumerate() {
            let count = i64::try_from(count).unwrap_or(i64::MAX / 4);
            endpoint.live.tokens[index].fetch_add(count, Ordering::Relaxed);
            share.tokens[index] = count;
            share.until_end[index] = until_end;
        }
        self.shares.push(share);
    }

    /// The first piece of the answer came: prompts are worked off. Later calls do nothing.
    pub fn first_chunk(&mut self) {
        for share in &mut self.shares {
            if share.prefill {
                share.release();
            } else {
                share.release_tokens(false);
            }
        }
    }

    /// The request ended; the same as dropping the account.
    pub fn end(self) {}

    /// The endpoints that were given something, in the order of the profiles.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.shares.iter().map(|share| &share.endpoint)
    }

    /// What each endpoint still has of this request: requests, and tokens by the first load producer.
    pub fn held(&self) -> impl Iterator<Item = (&Arc<Endpoint>, i64, i64)> {
        self.shares
            .iter()
            .map(|share| (&share.endpoint, i64::from(share.counted), share.tokens[0]))
    }
}

impl Share {
    fn release_tokens(&mut self, all: bool) {
        for (index, tokens) in self.tokens.iter_mut().enumerate() {
            if all || !self.until_end[index] {
                let tokens = std::mem::take(tokens);
                self.endpoint.live.tokens[index].fetch_sub(tokens, Ordering::Relaxed);
            }
        }
    }

    fn release(&mut self) {
        self.release_tokens(true);
        if std::mem::take(&mut self.counted) {
            self.endpoint.live.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}
