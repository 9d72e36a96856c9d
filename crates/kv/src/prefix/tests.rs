use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Strategy, prop, prop_oneof, proptest};

use super::*;
use crate::hash::Chain;

const A: ServerKey = ServerKey(10);
const B: ServerKey = ServerKey(20);

fn blocks(tokens: std::ops::Range<u32>) -> Vec<BlockHash> {
    let bytes: Vec<u8> = tokens.flat_map(u32::to_le_bytes).collect();
    let mut out = Vec::new();
    Chain::new("m", "", 64).append(&bytes, None, &mut out);
    out
}

fn found(index: &PrefixIndex, blocks: &[BlockHash]) -> BTreeMap<ServerKey, u32> {
    let mut hits = Hits::default();
    index.lookup(blocks, &mut hits);
    hits.iter().collect()
}

#[test]
fn a_shorter_prompt_shares_full_blocks_only() {
    let mut index = PrefixIndex::default();
    index.learn(A, 100, &blocks(0..150));
    index.learn(B, 100, &blocks(0..100));
    // The second block of B is its own, since it was cut.
    assert_eq!(
        found(&index, &blocks(0..150)),
        BTreeMap::from([(A, 3), (B, 1)])
    );
    assert_eq!(found(&index, &blocks(7..150)), BTreeMap::new());
}

#[test]
fn a_hole_in_the_middle_is_not_the_end_while_another_server_has_it() {
    let mut index = PrefixIndex::default();
    let all = blocks(0..256);
    index.learn(A, 100, &all);
    index.learn(B, 100, &[all[0], all[2]]);
    assert_eq!(found(&index, &all), BTreeMap::from([(A, 4), (B, 2)]));
}

#[test]
fn the_oldest_falls_out_and_use_makes_new() {
    let mut index = PrefixIndex::default();
    let all = blocks(0..256);
    index.learn(A, 3, &all[..3]);
    index.learn(A, 3, &all[..1]);
    index.learn(A, 3, &all[3..]);
    assert_eq!(index.held_by(A), 3);
    assert_eq!(index.len(), 3);
    // all[1] was the oldest.
    assert_eq!(found(&index, &all), BTreeMap::from([(A, 1)]));
    assert_eq!(found(&index, &all[2..]), BTreeMap::from([(A, 2)]));
}

#[test]
fn capacity_is_fixed_at_first_use() {
    let mut index = PrefixIndex::default();
    let all = blocks(0..256);
    index.learn(A, 2, &all[..1]);
    index.learn(A, 100, &all);
    assert_eq!(index.held_by(A), 2);
}

#[test]
fn a_forgotten_server_leaves_nothing_and_its_slot_is_used_again() {
    let mut index = PrefixIndex::default();
    let all = blocks(0..256);
    index.learn(A, 100, &all);
    index.learn(B, 100, &all[..1]);
    index.retain(|key| key != A);
    assert_eq!(found(&index, &all), BTreeMap::from([(B, 1)]));
    assert_eq!(index.len(), 1);
    index.learn(ServerKey(30), 100, &all);
    assert_eq!(
        found(&index, &all),
        BTreeMap::from([(B, 1), (ServerKey(30), 4)])
    );
    assert_eq!(index.servers.len(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Learn(u64, Vec<u64>),
    Forget(u64),
}

proptest! {
    /// Against a model that keeps a plain list per server.
    #[test]
    fn it_behaves_as_lists_of_least_recent_use(
        steps in prop::collection::vec(
            prop_oneof![
                8 => (0u64..4, prop::collection::vec(0u64..24, 1..9)).prop_map(|(s, b)| Step::Learn(s, b)),
                1 => (0u64..4).prop_map(Step::Forget),
            ],
            1..60,
        ),
        asked in prop::collection::vec(0u64..24, 0..12),
        capacity in 1usize..9,
    ) {
        let mut index = PrefixIndex::default();
        let mut model: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Learn(server, blocks) => {
                    let list = model.entry(server).or_default();
                    for block in &blocks {
                        list.retain(|held| held != block);
                        list.push(*block);
                        if list.len() > capacity {
                            list.remove(0);
                        }
                    }
                    let blocks: Vec<_> = blocks.into_iter().map(BlockHash).collect();
                    index.learn(ServerKey(server), capacity, &blocks);
                }
                Step::Forget(server) => {
                    model.remove(&server);
                    index.forget(ServerKey(server));
                }
            }
            let different: BTreeSet<u64> = model.values().flatten().copied().collect();
            assert_eq!(index.len(), different.len());
            for (server, list) in &model {
                assert!(list.len() <= capacity);
                assert_eq!(index.held_by(ServerKey(*server)), list.len());
            }
        }
        let mut expected: BTreeMap<ServerKey, u32> = BTreeMap::new();
        for block in &asked {
            let holders: Vec<u64> =
                model.iter().filter(|(_, l)| l.contains(block)).map(|(s, _)| *s).collect();
            if holders.is_empty() {
                break;
            }
            for holder in holders {
                *expected.entry(ServerKey(holder)).or_default() += 1;
            }
        }
        let asked: Vec<_> = asked.into_iter().map(BlockHash).collect();
        assert_eq!(found(&index, &asked), expected);
    }
}

#[test]
fn a_block_takes_little_memory() {
    // Table entry and list node of a block on one or two servers.
    assert!(size_of::<(u64, Holders)>() <= 40);
    assert_eq!(size_of::<Node>(), 16);
}
