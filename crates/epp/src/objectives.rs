//! What cluster objects say about requests: priorities of objectives, rewrites of models.
//!
//! Written by the watches, read by every request; both tables are replaced as a whole.

use std::collections::HashMap;

use arc_swap::ArcSwap;

/// Where a model may go, and how likely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The model that the engine is asked for.
    pub model: String,
    /// Its weight; `None` counts only when no other has one.
    pub weight: Option<u32>,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Objectives {
    priorities: ArcSwap<HashMap<String, i32>>,
    rewrites: ArcSwap<Rewrites>,
}

/// Rewrites by the model that clients name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrites {
    /// For one model.
    pub exact: HashMap<String, Vec<Target>>,
    /// For every other.
    pub any: Option<Vec<Target>>,
}

impl Objectives {
    /// The priority of an objective; 0 when it is not known.
    #[must_use]
    pub fn priority(&self, name: &str) -> i32 {
        self.priorities.load().get(name).copied().unwrap_or(0)
    }

    /// Every priority that an objective has.
    #[must_use]
    pub fn all_priorities(&self) -> Vec<i32> {
        self.priorities.load().values().copied().collect()
    }

    /// The model to ask for in place of `model`; `seed` decides among several.
    #[must_use]
    pub fn rewrite(&self, model: &str, seed: u64) -> Option<String> {
        if model.is_empty() {
            return None;
        }
        let rewrites = self.rewrites.load();
        let targets = rewrites.exact.get(model).or(rewrites.any.as_ref())?;
        choose(targets, seed).map(str::to_owned)
    }

    /// Replaces the priorities.
    pub fn set_priorities(&self, priorities: HashMap<String, i32>) {
        self.priorities.store(priorities.into());
    }

    /// Replaces the rewrites.
    pub fn set_rewrites(&self, rewrites: Rewrites) {
        self.rewrites.store(rewrites.into());
    }
}

fn choose(targets: &[Target], seed: u64) -> Option<&str> {
    // The high bits of a seed are the good ones.
    let seed = seed >> 32;
    let weighted: u64 = targets
        .iter()
        .filter_map(|target| target.weight)
        .map(u64::from)
        .sum();
    if weighted == 0 {
        let count = targets.len() as u64;
        let at = seed.checked_rem(count)?;
        return targets
            .get(usize::try_from(at).ok()?)
            .map(|target| target.model.as_str());
    }
    let mut left = seed % weighted;
    for target in targets {
        let weight = u64::from(target.weight.unwrap_or(0));
        if left < weight {
            return Some(&target.model);
        }
        left -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(model: &str, weight: Option<u32>) -> Target {
        Target {
            model: model.to_owned(),
            weight,
        }
    }

    #[test]
    fn targets_are_chosen_by_weight() {
        let counts = |targets: &[Target]| {
            let mut counts: HashMap<String, u32> = HashMap::new();
            for seed in 0..100_u64 {
                *counts
                    .entry(choose(targets, seed << 32).unwrap().to_owned())
                    .or_default() += 1;
            }
            counts
        };
        let two = [
            target("a", Some(3)),
            target("b", Some(1)),
            target("c", None),
        ];
        assert_eq!(
            counts(&two),
            HashMap::from([("a".to_owned(), 75), ("b".to_owned(), 25)])
        );
        let even = [target("a", Some(0)), target("b", None)];
        assert_eq!(
            counts(&even),
            HashMap::from([("a".to_owned(), 50), ("b".to_owned(), 50)])
        );
        assert_eq!(choose(&[], 5), None);
    }

    #[test]
    fn an_exact_match_wins() {
        let objectives = Objectives::default();
        objectives.set_priorities(HashMap::from([("batch".to_owned(), -1)]));
        assert_eq!(objectives.priority("batch"), -1);
        assert_eq!(objectives.priority("other"), 0);
        objectives.set_rewrites(Rewrites {
            exact: HashMap::from([("m".to_owned(), vec![target("m2", None)])]),
            any: Some(vec![target("any", None)]),
        });
        assert_eq!(objectives.rewrite("m", 0).as_deref(), Some("m2"));
        assert_eq!(objectives.rewrite("n", 0).as_deref(), Some("any"));
        assert_eq!(objectives.rewrite("", 0), None);
    }
}
