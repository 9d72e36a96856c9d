//! Blocks of the KV cache: their hashes, and which server is believed to hold which.
//!
//! - [`hash`]: a prompt's tokens become a chain of block hashes; equal prefixes have equal chains.
//! - [`prefix`]: which server was sent which block, bounded per server.
//!
//! ```
//! use weir_kv::{BlockHash, Chain, Hits, PrefixIndex, ServerKey};
//!
//! let mut blocks: Vec<BlockHash> = Vec::new();
//! Chain::new("m", "", 64).append(b"You are a helpful assistant.", None, &mut blocks);
//!
//! let mut index = PrefixIndex::default();
//! index.learn(ServerKey(1), 1000, &blocks);
//! let mut hits = Hits::default();
//! index.lookup(&blocks, &mut hits);
//! assert_eq!(hits.iter().collect::<Vec<_>>(), [(ServerKey(1), 1)]);
//! ```

pub mod hash;
pub mod prefix;

pub use hash::{BlockHash, Chain};
pub use prefix::{Hits, PrefixIndex, ServerKey};
