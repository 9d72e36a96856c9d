//! Filters by labels. Labels change with the snapshot only, so the answer is worked out once for each.

use parking_lot::Mutex;

use crate::config::settings::LabelFilter;
use crate::endpoint::{Endpoint, Labels, Snapshot};
use crate::labels::Selector;

/// Keeps endpoints whose labels fit.
#[derive(Debug)]
pub(crate) struct LabelMask {
    rule: Rule,
    memo: Memo<bool>,
}

#[derive(Debug)]
pub(crate) enum Rule {
    Selector(Selector),
    Values(LabelFilter),
}

/// The ranges of prompt lengths that endpoints are for.
#[derive(Debug)]
pub(crate) struct Ranges {
    label: String,
    memo: Memo<ContextRange>,
}

/// What the label of an endpoint says about prompt lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextRange {
    Missing,
    Malformed,
    Between(u64, u64),
}

/// Answers for the endpoints of one snapshot.
#[derive(Debug)]
struct Memo<T>(Mutex<(u64, Vec<T>)>);

impl<T> Memo<T> {
    fn new() -> Self {
        // No snapshot has this version.
        Self(Mutex::new((0, Vec::new())))
    }

    fn with<R>(
        &self,
        snapshot: &Snapshot,
        answer: impl Fn(&Endpoint) -> T,
        look: impl FnOnce(&[T]) -> R,
    ) -> R {
        let mut memo = self.0.lock();
        if memo.0 != snapshot.version() {
            memo.1.clear();
            let endpoints = snapshot.endpoints().iter();
            memo.1.extend(endpoints.map(|endpoint| answer(endpoint)));
            memo.0 = snapshot.version();
        }
        look(&memo.1)
    }
}

impl LabelMask {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            memo: Memo::new(),
        }
    }

    pub(crate) fn by_selector(selector: Selector) -> Self {
        Self::new(Rule::Selector(selector))
    }

    pub(crate) fn by_values(filter: LabelFilter) -> Self {
        Self::new(Rule::Values(filter))
    }

    pub(crate) fn apply(&self, snapshot: &Snapshot, candidates: &mut Vec<u32>) {
        let fits = |endpoint: &Endpoint| self.rule.fits(&endpoint.labels);
        self.memo.with(snapshot, fits, |mask| {
            candidates.retain(|at| mask[*at as usize]);
        });
    }
}

impl Rule {
    fn fits(&self, labels: &Labels) -> bool {
        match self {
            Self::Selector(selector) => selector.matches(labels),
            Self::Values(filter) => match labels.get(&filter.label) {
                None => filter.allows_missing,
                Some(value) => filter.values.iter().any(|valid| valid == value),
            },
        }
    }
}

impl Ranges {
    pub(crate) fn new(label: String) -> Self {
        Self {
            label,
            memo: Memo::new(),
        }
    }

    pub(crate) fn with<R>(
        &self,
        snapshot: &Snapshot,
        look: impl FnOnce(&[ContextRange]) -> R,
    ) -> R {
        let read = |endpoint: &Endpoint| ContextRange::read(endpoint.labels.get(&self.label));
        self.memo.with(snapshot, read, look)
    }

    pub(crate) fn retain(
        &self,
        snapshot: &Snapshot,
        candidates: &mut Vec<u32>,
        keep: impl Fn(&ContextRange) -> bool,
    ) {
        self.with(snapshot, |ranges| {
            candidates.retain(|at| keep(&ranges[*at as usize]));
        });
    }
}

impl ContextRange {
    fn read(label: Option<&str>) -> Self {
        let Some(label) = label else {
            return Self::Missing;
        };
        let bounds = label
            .split_once('-')
            .and_then(|(least, most)| least.trim().parse().ok().zip(most.trim().parse().ok()));
        match bounds {
            Some((least, most)) if least <= most => Self::Between(least, most),
            _ => Self::Malformed,
        }
    }
}
