//! Hash chains over the blocks of a prompt.
//!
//! Tokens are 32-bit numbers, handed over as their little-endian bytes. That makes the estimating tokeniser free: it
//! packs four bytes of text into a token, hence the text *is* the bytes of its tokens, with zeros at the end.
//!
//! ```text
//! h(0) = XXH64(model ‖ salt)
//! b(i) = XXH64(bytes of block i)          h(i) = XXH64(LE64(b(i)) ‖ LE64(h(i-1)))
//! ```
//! A block at the end that is not full is hashed as well. Seed 0 throughout. The values are those of the picker that
//! is replaced, so that hit statistics can be compared.

use xxhash_rust::xxh64::{Xxh64, xxh64};

/// Bytes of a token.
const TOKEN: usize = 4;

/// Hash of a block and of everything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockHash(pub u64);

/// Hashes prompts of one model and salt in blocks of one size.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    root: u64,
    block: usize,
}

impl Chain {
    /// A chain for prompts to `model`, in blocks of `block_tokens` tokens (at least 1). Prompts with different salts
    /// share nothing.
    #[must_use]
    pub fn new(model: &str, salt: &str, block_tokens: u32) -> Self {
        let mut root = Xxh64::new(0);
        root.update(model.as_bytes());
        root.update(salt.as_bytes());
        Self {
            root: root.digest(),
            block: (block_tokens.max(1) as usize).saturating_mul(TOKEN),
        }
    }

    /// Appends the hashes of a prompt's blocks to `out`, at most `limit` of them. `tokens` are the tokens' bytes; the
    /// last token is filled up with zeros.
    pub fn append(&self, tokens: &[u8], limit: Option<usize>, out: &mut Vec<BlockHash>) {
        let mut previous = self.root;
        let limit = limit.unwrap_or(usize::MAX);
        for block in tokens.chunks(self.block).take(limit) {
            let own = if block.len() % TOKEN == 0 {
                xxh64(block, 0)
            } else {
                let mut padded = Xxh64::new(0);
                padded.update(block);
                padded.update(&[0; TOKEN][block.len() % TOKEN..]);
                padded.digest()
            };
            let mut pair = [0; 16];
            pair[..8].copy_from_slice(&own.to_le_bytes());
            pair[8..].copy_from_slice(&previous.to_le_bytes());
            previous = xxh64(&pair, 0);
            out.push(BlockHash(previous));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(model: &str, salt: &str, tokens: &[u8]) -> Vec<u64> {
        let mut out = Vec::new();
        Chain::new(model, salt, 64).append(tokens, None, &mut out);
        out.into_iter().map(|hash| hash.0).collect()
    }

    fn ids(count: u32) -> Vec<u8> {
        (0..count).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn published_values_come_out() {
        assert_eq!(
            hashes("m", "", &ids(150)),
            [
                10_737_944_481_019_725_661,
                208_820_148_868_097_414,
                10_782_844_546_323_161_346
            ]
        );
        assert_eq!(
            hashes("m", "tenant-a", &ids(150))[0],
            4_945_041_886_755_936_052
        );
        let text = b"You are a helpful assistant.";
        assert_eq!(hashes("m", "", text), [14_562_809_675_294_526_984]);
        let chat = b"systemBe brief.userHi";
        assert_eq!(hashes("m", "", chat), [1_019_214_140_848_281_862]);
    }

    #[test]
    fn the_limit_counts_blocks_and_nothing_has_none() {
        let mut out = Vec::new();
        Chain::new("m", "", 64).append(&ids(150), Some(2), &mut out);
        assert_eq!(out.len(), 2);
        assert_eq!(hashes("m", "", b""), []);
        Chain::new("m", "", 0).append(&ids(2), Some(0), &mut out);
        assert_eq!(out.len(), 2);
    }
}
