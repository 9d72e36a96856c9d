//! Producers of prefix matches: what of a request is believed to be cached where.

use parking_lot::RwLock;
use weir_kv::{BlockHash, Chain, Hits, PrefixIndex, ServerKey};

use crate::config::Plugin;
use crate::config::settings::Approx;
use crate::context::{Columns, Matches};
use crate::endpoint::{Endpoint, Snapshot};
use crate::request::{BYTES_PER_TOKEN, LlmRequest};

/// Smallest block: smaller ones cost more than they tell.
pub(crate) const BLOCK_FLOOR: u32 = 64;

/// A producer.
#[derive(Debug)]
pub(crate) struct Producer {
    /// Which plugin it is.
    pub(crate) plugin: usize,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) source: Source,
}

/// Where a producer knows it from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From where requests went.
    Approx {
        settings: Approx,
        index: RwLock<PrefixIndex>,
    },
    /// From KV events, which nobody delivers yet: it knows nothing.
    Events,
}

/// Where a producer writes what it finds.
pub(crate) struct Found<'s> {
    /// The request's blocks.
    pub(crate) hashes: &'s mut Vec<BlockHash>,
    /// Where each prompt's blocks end.
    pub(crate) ends: &'s mut Vec<usize>,
    pub(crate) hits: &'s mut Hits,
    pub(crate) matches: &'s mut Matches,
}

impl Producer {
    pub(crate) fn approx(index: usize, plugin: &Plugin, settings: Approx) -> Self {
        Self {
            plugin: index,
            name: plugin.name.clone(),
            kind: plugin.kind.clone(),
            source: Source::Approx {
                settings,
                index: RwLock::default(),
            },
        }
    }

    /// Bytes at the head of a prompt that are looked at; `None` is all of them.
    pub(crate) fn prompt_bytes(&self) -> Option<usize> {
        match &self.source {
            Source::Events => Some(0),
            Source::Approx { settings, .. } if settings.max_tokens > 0 => {
                Some(settings.max_tokens.saturating_mul(BYTES_PER_TOKEN))
            }
            // A limit in blocks: they may be as large as endpoints report.
            Source::Approx { .. } => None,
        }
    }

    /// Finds what each endpoint has of the request. The hashes stay for [`Producer::learn`].
    pub(crate) fn find(
        &self,
        request: &LlmRequest<'_>,
        snapshot: &Snapshot,
        columns: &Columns,
        found: Found<'_>,
    ) {
        let Found {
            hashes,
            ends,
            hits,
            matches,
        } = found;
        matches.clear();
        hashes.clear();
        ends.clear();
        let Source::Approx { settings, index } = &self.source else {
            return;
        };
        if request.prompts.is_empty() {
            return;
        }
        let size = block_size(settings, columns);
        let limit = limit(settings, size);
        let chain = Chain::new(request.target_model, request.cache_salt, size);
        for prompt in request.prompts {
            chain.append(prompt.head, limit, hashes);
            ends.push(hashes.len());
        }
        matches.total = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        matches.block_size = size;
        matches.blocks.resize(snapshot.len(), 0);
        {
            let index = index.read();
            index.lookup(&[], hits);
            let mut start = 0;
            for end in ends.iter() {
                index.lookup_more(&hashes[start..*end], hits);
                start = *end;
            }
        }
        for (key, count) in hits.iter() {
            if let Some(at) = snapshot.position(key) {
                matches.blocks[at] = count;
            }
        }
    }

    /// Notes that a request with these hashes goes to an endpoint.
    pub(crate) fn learn(&self, endpoint: &Endpoint, hashes: &[BlockHash]) {
        let Source::Approx { settings, index } = &self.source else {
            return;
        };
        let reported = endpoint.live.load().blocks;
        let capacity = if settings.auto_tune && reported > 0 {
            reported as usize
        } else {
            settings.capacity
        };
        index.write().learn(endpoint.key(), capacity, hashes);
    }

    /// Forgets endpoints that are gone.
    pub(crate) fn retain(&self, keep: impl FnMut(ServerKey) -> bool) {
        if let Source::Approx { index, .. } = &self.source {
            index.write().retain(keep);
        }
    }

    /// Blocks known.
    pub(crate) fn len(&self) -> usize {
        match &self.source {
            Source::Approx { index, .. } => index.read().len(),
            Source::Events => 0,
        }
    }
}

/// The block size of this decision: the smallest that a candidate reports, or the configured one, and not below the
/// floor.
fn block_size(settings: &Approx, columns: &Columns) -> u32 {
    let reported = columns.block_size.filter(|_| settings.auto_tune);
    reported.unwrap_or(settings.block_size).max(BLOCK_FLOOR)
}

/// Most blocks of a prompt that are hashed.
fn limit(settings: &Approx, block_size: u32) -> Option<usize> {
    match (settings.max_tokens, settings.max_blocks) {
        (0, 0) => None,
        (0, blocks) => Some(blocks),
        (tokens, _) => Some(tokens / block_size as usize),
    }
}

/// Encoder outputs: which endpoint was sent which.
#[derive(Debug)]
pub(crate) struct MediaCache {
    /// Which plugin it is.
    pub(crate) plugin: usize,
    pub(crate) name: String,
    pub(crate) capacity: usize,
    pub(crate) index: RwLock<PrefixIndex>,
}

/// Taken for the size of an encoder output.
pub(crate) const MEGABYTES_PER_ITEM: u64 = 2;

impl MediaCache {
    fn hash(item: &str) -> BlockHash {
        let mut out = Vec::with_capacity(1);
        Chain::new(item, "", 1).append(&[0; BYTES_PER_TOKEN], Some(1), &mut out);
        out.first().copied().unwrap_or(BlockHash(0))
    }

    pub(crate) fn find(
        &self,
        request: &LlmRequest<'_>,
        snapshot: &Snapshot,
        hits: &mut Hits,
        matches: &mut Matches,
    ) {
        matches.clear();
        if request.media.is_empty() {
            return;
        }
        matches.blocks.resize(snapshot.len(), 0);
        matches.block_size = 1;
        let index = self.index.read();
        for item in request.media {
            let size = u32::try_from(item.tokens.max(1)).unwrap_or(u32::MAX);
            matches.total = matches.total.saturating_add(size);
            index.lookup(&[Self::hash(item.hash)], hits);
            for (key, _) in hits.iter() {
                if let Some(at) = snapshot.position(key) {
                    matches.blocks[at] = matches.blocks[at].saturating_add(size);
                }
            }
        }
    }

    pub(crate) fn learn(&self, endpoint: &Endpoint, request: &LlmRequest<'_>) {
        let hashes: Vec<BlockHash> = request.media.iter().map(|m| Self::hash(m.hash)).collect();
        let mut index = self.index.write();
        index.learn(endpoint.key(), self.capacity, &hashes);
    }
}
