//! Which server was sent which block: a guess of what its cache holds, bounded per server.
//!
//! ```text
//! blocks:   hash -> [(server, node), …]         one look-up a block, however many servers there are
//! servers:  slot -> nodes in order of last use   (a list inside a vector: node = hash, newer, older)
//! ```
//! The hashes come from what clients send: the table spreads them by a secret, so that nobody can make it slow.
//!
//! Learning a block moves it to the front of its server's list, and the oldest falls out when the list is full. A
//! look-up changes nothing.

use std::collections::HashMap;

use ahash::RandomState;
use smallvec::SmallVec;

use crate::hash::BlockHash;

/// Names a server for as long as it lives; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey(pub u64);

/// What is believed to be cached where.
#[derive(Debug, Default)]
pub struct PrefixIndex {
    blocks: HashMap<u64, Holders, RandomState>,
    servers: Vec<Server>,
    by_key: HashMap<ServerKey, u32>,
    free: Vec<u32>,
}

/// Result of a look-up: how many blocks each server knows. Reused from request to request.
#[derive(Debug, Default)]
pub struct Hits {
    counts: Vec<u32>,
    found: Vec<(u32, ServerKey)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    server: u32,
    node: u32,
}

type Holders = SmallVec<[Holder; 2]>;

#[derive(Debug)]
struct Server {
    key: ServerKey,
    capacity: usize,
    nodes: Vec<Node>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u64,
    newer: u32,
    older: u32,
}

/// Most blocks remembered of a server, whatever it reports.
const MAX_CAPACITY: usize = 1_000_000;
/// No node.
const NONE: u32 = u32::MAX;

impl PrefixIndex {
    /// Notes that `server` has been sent `blocks`. `capacity` is how many blocks it is believed to hold (at least 1);
    /// it is fixed when the server is first used.
    pub fn learn(&mut self, server: ServerKey, capacity: usize, blocks: &[BlockHash]) {
        if blocks.is_empty() {
            return;
        }
        let slot = self.slot(server, capacity);
        for block in blocks {
            self.learn_block(slot, block.0);
        }
    }

    /// Counts for each server how many of `blocks` it knows. Stops at the first that none knows.
    pub fn lookup(&self, blocks: &[BlockHash], hits: &mut Hits) {
        hits.counts.clear();
        hits.counts.resize(self.servers.len(), 0);
        hits.found.clear();
        self.count(blocks, hits);
    }

    /// As [`PrefixIndex::lookup`], on top of what `hits` has: for requests of several prompts.
    pub fn lookup_more(&self, blocks: &[BlockHash], hits: &mut Hits) {
        hits.counts.resize(self.servers.len(), 0);
        self.count(blocks, hits);
    }

    /// Drops everything about a server.
    pub fn forget(&mut self, server: ServerKey) {
        let Some(slot) = self.by_key.remove(&server) else {
            return;
        };
        let gone = &mut self.servers[slot as usize];
        let nodes = std::mem::take(&mut gone.nodes);
        (gone.newest, gone.oldest, gone.capacity) = (NONE, NONE, 0);
        for node in nodes {
            Self::drop_holder(&mut self.blocks, node.hash, slot);
        }
        self.free.push(slot);
    }

    /// Drops every server for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(ServerKey) -> bool) {
        let gone: Vec<ServerKey> = self
            .by_key
            .keys()
            .copied()
            .filter(|key| !keep(*key))
            .collect();
        for key in gone {
            self.forget(key);
        }
    }

    /// Number of different blocks known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Blocks believed to be on a server.
    #[must_use]
    pub fn held_by(&self, server: ServerKey) -> usize {
        self.by_key
            .get(&server)
            .map_or(0, |slot| self.servers[*slot as usize].nodes.len())
    }

    fn slot(&mut self, key: ServerKey, capacity: usize) -> u32 {
        if let Some(slot) = self.by_key.get(&key) {
            return *slot;
        }
        let server = Server {
            key,
            capacity: capacity.clamp(1, MAX_CAPACITY),
            nodes: Vec::new(),
            newest: NONE,
            oldest: NONE,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.servers[slot as usize] = server;
            slot
        } else {
            self.servers.push(server);
            u32::try_from(self.servers.len() - 1).unwrap_or(NONE)
        };
        self.by_key.insert(key, slot);
        slot
    }

    fn learn_block(&mut self, slot: u32, hash: u64) {
        let server = &mut self.servers[slot as usize];
        let holders = self.blocks.entry(hash).or_default();
        if let Some(holder) = holders.iter().find(|holder| holder.server == slot) {
            server.touch(holder.node);
            return;
        }
        let (node, evicted) = server.insert(hash);
        holders.push(Holder { server: slot, node });
        if let Some(evicted) = evicted {
            Self::drop_holder(&mut self.blocks, evicted, slot);
        }
    }

    fn drop_holder(blocks: &mut HashMap<u64, Holders, RandomState>, hash: u64, slot: u32) {
        if let Some(holders) = blocks.get_mut(&hash) {
            holders.retain(|holder| holder.server != slot);
            if holders.is_empty() {
                blocks.remove(&hash);
            }
        }
    }

    /// Neighbouring blocks mostly have the same holders: those are counted once for the whole run.
    fn count(&self, blocks: &[BlockHash], hits: &mut Hits) {
        let mut run: Option<(&Holders, u32)> = None;
        for block in blocks {
            let Some(holders) = self.blocks.get(&block.0) else {
                break;
            };
            run = match run {
                Some((before, length)) if same_servers(before, holders) => {
                    Some((before, length + 1))
                }
                before => {
                    if let Some((before, length)) = before {
                        self.credit(before, length, hits);
                    }
                    Some((holders, 1))
                }
            };
        }
        if let Some((holders, length)) = run {
            self.credit(holders, length, hits);
        }
    }

    fn credit(&self, holders: &Holders, blocks: u32, hits: &mut Hits) {
        for holder in holders {
            let count = &mut hits.counts[holder.server as usize];
            if *count == 0 {
                hits.found
                    .push((holder.server, self.servers[holder.server as usize].key));
            }
            *count += blocks;
        }
    }
}

impl Hits {
    /// The servers that know a block, and how many they know; in no order.
    pub fn iter(&self) -> impl Iterator<Item = (ServerKey, u32)> {
        self.found
            .iter()
            .map(|(slot, key)| (*key, self.counts[*slot as usize]))
    }
}

impl Server {
    /// Adds a hash as the newest; returns its node and the hash that fell out.
    fn insert(&mut self, hash: u64) -> (u32, Option<u64>) {
        if self.nodes.len() < self.capacity {
            let node = u32::try_from(self.nodes.len()).unwrap_or(NONE);
            self.nodes.push(Node {
                hash,
                newer: NONE,
                older: NONE,
            });
            self.link_newest(node);
            return (node, None);
        }
        let node = self.oldest;
        self.unlink(node);
        let evicted = std::mem::replace(&mut self.nodes[node as usize].hash, hash);
        self.link_newest(node);
        (node, Some(evicted))
    }

    fn touch(&mut self, node: u32) {
        if self.newest != node {
            self.unlink(node);
            self.link_newest(node);
        }
    }

    fn unlink(&mut self, node: u32) {
        let Node { newer, older, .. } = self.nodes[node as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, node: u32) {
        let before = self.newest;
        self.nodes[node as usize].newer = NONE;
        self.nodes[node as usize].older = before;
        match before {
            NONE => self.oldest = node,
            before => self.nodes[before as usize].newer = node,
        }
        self.newest = node;
    }
}

fn same_servers(a: &Holders, b: &Holders) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.server == b.server)
}

#[cfg(test)]
mod tests;
