//! What holds after any calls in any order: time, blocks, batch and the end of every request.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, any};
use proptest::{collection, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

#[derive(Clone, Debug)]
enum Call {
    Submit { prompt: u64, output: u64 },
    Abort { pick: usize },
    Wait,
}

fn calls() -> impl Strategy<Value = Vec<(u64, Call)>> {
    let call = prop_oneof![
        4 => (0..200_u64, 0..40_u64).prop_map(|(prompt, output)| Call::Submit { prompt, output }),
        1 => any::<usize>().prop_map(|pick| Call::Abort { pick }),
        2 => Just(Call::Wait),
    ];
    collection::vec((0..60_u64, call), 1..80)
}

fn config() -> impl Strategy<Value = Config> {
    (
        0..5_usize,
        0..6_usize,
        1..24_u64,
        0..17_u64,
        0..20_u64,
        0..9_u64,
        1.0..5.0_f64,
    )
        .prop_map(
            |(max_running, max_waiting, blocks, block_size, first, between, load_factor)| Config {
                max_running,
                max_waiting,
                blocks,
                block_size,
                first_token: Duration::from_millis(first),
                prefill_overhead: Duration::from_millis(1),
                prefill_per_token: Duration::from_micros(50),
                between_tokens: Duration::from_millis(between),
                load_factor,
            },
        )
}

/// The model with what must be true of it.
struct Watched {
    model: Model,
    /// Tokens that each request in the engine has still to give, with those it has given.
    open: BTreeMap<u64, (u64, u64)>,
    finished: BTreeSet<u64>,
    aborted: BTreeSet<u64>,
    latest: Duration,
}

type Outcome = Result<(), proptest::test_runner::TestCaseError>;

impl Watched {
    fn drain(&mut self, now: Duration) -> Outcome {
        while let Some(token) = self.model.advance(now) {
            prop_assert!(token.at >= self.latest && token.at <= now, "time went back");
            prop_assert!(token.arrived <= token.started && token.started <= token.at);
            self.latest = token.at;
            let (output, given) = *self.open.get(&token.id).expect("only open requests speak");
            prop_assert_eq!(token.count, given + 1);
            prop_assert_eq!(token.last, token.count == output);
            if token.last {
                self.open.remove(&token.id);
                prop_assert!(self.finished.insert(token.id), "finished twice");
            } else {
                self.open.insert(token.id, (output, token.count));
            }
            self.bounds()?;
        }
        Ok(())
    }

    fn bounds(&self) -> Outcome {
        let model = &self.model;
        prop_assert!(model.running() <= model.config.max_running.max(1));
        prop_assert!(model.waiting() <= model.config.max_waiting);
        prop_assert_eq!(model.running() + model.waiting(), self.open.len());
        let held: u64 = model
            .running
            .values()
            .map(|one| model.blocks_of(one.request))
            .sum();
        prop_assert_eq!(model.reserved, held, "blocks are returned exactly once");
        prop_assert!(held <= model.config.blocks);
        prop_assert!((0.0..=1.0).contains(&model.usage()), "{}", model.usage());
        prop_assert_eq!(model.order.len(), model.running());
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_calls_keep_the_books(config in config(), calls in calls()) {
        let mut watched = Watched {
            model: Model::new(config.clone()),
            open: BTreeMap::new(),
            finished: BTreeSet::new(),
            aborted: BTreeSet::new(),
            latest: Duration::ZERO,
        };
        let mut now = Duration::ZERO;
        let mut taken = BTreeSet::new();
        for (id, (gap, call)) in (1..).zip(calls) {
            now += Duration::from_millis(gap);
            watched.drain(now)?;
            match call {
                Call::Submit { prompt, output } => {
                    match watched.model.submit(now, id, prompt, output) {
                        Ok(()) => {
                            taken.insert(id);
                            watched.open.insert(id, (output.max(1), 0));
                        }
                        Err(Refusal::QueueFull) => {
                            prop_assert_eq!(watched.model.waiting(), config.max_waiting);
                        }
                        Err(Refusal::TooLarge { needed, blocks }) => {
                            prop_assert!(needed > blocks && blocks == config.blocks);
                        }
                    }
                }
                Call::Abort { pick } => {
                    let id = watched.open.keys().copied().nth(pick % watched.open.len().max(1));
                    if let Some(id) = id {
                        prop_assert!(watched.model.abort(now, id));
                        prop_assert!(!watched.model.abort(now, id));
                        watched.open.remove(&id);
                        watched.aborted.insert(id);
                    }
                }
                Call::Wait => {}
            }
            watched.bounds()?;
        }
        // Left alone, everything ends.
        while let Some(next) = watched.model.next() {
            now = now.max(next);
            watched.drain(now)?;
        }
        prop_assert_eq!((watched.model.running(), watched.model.waiting()), (0, 0));
        prop_assert_eq!((watched.model.reserved, watched.model.usage()), (0, 0.0));
        prop_assert!(watched.finished.is_disjoint(&watched.aborted));
        let ended: BTreeSet<u64> = watched.finished.union(&watched.aborted).copied().collect();
        prop_assert_eq!(ended, taken);
    }

    #[test]
    fn requests_begin_in_the_order_they_came(config in config(), sizes in collection::vec((1..100_u64, 1..9_u64), 1..20)) {
        let mut model = Model::new(config);
        let mut taken = Vec::new();
        for (id, (prompt, output)) in (1..).zip(sizes) {
            if model.submit(Duration::ZERO, id, prompt, output).is_ok() {
                taken.push(id);
            }
        }
        let mut began = BTreeMap::new();
        while let Some(token) = model.advance(Duration::MAX) {
            began.insert(token.id, token.started);
        }
        prop_assert_eq!(began.keys().copied().collect::<Vec<_>>(), taken);
        let starts: Vec<Duration> = began.into_values().collect();
        prop_assert!(starts.is_sorted(), "{:?}", starts);
    }
}
