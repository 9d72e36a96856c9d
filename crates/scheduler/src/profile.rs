//! Runs one profile: filters, then scorers, then the picker.

use smallvec::SmallVec;

use crate::context::Context;
use crate::explain::{Explain, ProfileStory};
use crate::filter::Filter;
use crate::pick::Picker;
use crate::probe::{ExtensionPoint, Probe, timed};
use crate::random::Random;
use crate::score::Scorer;

/// A profile, ready to run.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) filters: Vec<(Named, Filter)>,
    pub(crate) scorers: Vec<(Named, f64, Scorer)>,
    pub(crate) picker: (Named, Picker),
}

/// Which plugin it is.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// Its index in the configuration.
    pub(crate) plugin: usize,
    pub(crate) name: String,
}

/// Positions that a profile took, best first.
pub(crate) type Picked = SmallVec<[u32; 2]>;

/// Buffers that profiles share.
pub(crate) struct Work<'s> {
    pub(crate) survivors: &'s mut Vec<u32>,
    pub(crate) spare: &'s mut Vec<u32>,
    pub(crate) scores: &'s mut Vec<f64>,
    pub(crate) totals: &'s mut Vec<f64>,
    pub(crate) keys: &'s mut Vec<f64>,
    pub(crate) random: Random,
    pub(crate) explain: Option<Explain>,
    pub(crate) probe: Option<&'s dyn Probe>,
}

impl Profile {
    /// Runs it on `candidates`; `None` when filters left nothing. What was scored stays in `work` until the next run.
    pub(crate) fn run(
        &self,
        context: &Context<'_>,
        candidates: &[u32],
        work: &mut Work<'_>,
    ) -> Option<Picked> {
        let mut story = work.explain.is_some().then(|| ProfileStory {
            profile: self.name.clone(),
            candidates: ids(context, candidates),
            picker: self.picker.0.name.clone(),
            ..ProfileStory::default()
        });
        work.survivors.clear();
        work.survivors.extend_from_slice(candidates);
        for (Named { plugin, name }, filter) in &self.filters {
            let before = story.is_some().then(|| work.survivors.clone());
            timed(work.probe, ExtensionPoint::Filter, *plugin, || {
                filter.apply(context, work.survivors, work.spare, &mut work.random);
            });
            if let (Some(story), Some(mut before)) = (&mut story, before) {
                before.retain(|at| !work.survivors.contains(at));
                story.filters.push((name.clone(), ids(context, &before)));
            }
            if work.survivors.is_empty() {
                break;
            }
        }
        work.totals.clear();
        work.totals.resize(work.survivors.len(), 0.0);
        if work.survivors.is_empty() {
            finish(work, story);
            return None;
        }
        for (Named { plugin, name }, weight, scorer) in &self.scorers {
            work.scores.clear();
            work.scores.resize(work.survivors.len(), 0.0);
            timed(work.probe, ExtensionPoint::Scorer, *plugin, || {
                scorer.score(context, work.survivors, work.scores);
            });
            for (total, score) in work.totals.iter_mut().zip(work.scores.iter()) {
                let score = if score.is_nan() { 0.0 } else { *score };
                *total += score.clamp(0.0, 1.0) * weight;
            }
            if let Some(story) = &mut story {
                let scores = work.scores.clone();
                story.scorers.push((name.clone(), *weight, scores));
            }
        }
        let (Named { plugin, .. }, picker) = &self.picker;
        timed(work.probe, ExtensionPoint::Picker, *plugin, || {
            picker.pick(
                context,
                work.survivors,
                work.totals,
                work.spare,
                work.keys,
                &mut work.random,
            );
        });
        let picked: Picked = work
            .spare
            .iter()
            .map(|index| work.survivors[*index as usize])
            .collect();
        if let Some(story) = &mut story {
            story.scored = ids(context, work.survivors);
            story.totals.clone_from(work.totals);
            story.picked = ids(context, &picked);
        }
        finish(work, story);
        Some(picked)
    }
}

fn finish(work: &mut Work<'_>, story: Option<ProfileStory>) {
    if let (Some(explain), Some(story)) = (&mut work.explain, story) {
        explain.profiles.push(story);
    }
}

fn ids(context: &Context<'_>, positions: &[u32]) -> Vec<std::sync::Arc<str>> {
    positions
        .iter()
        .map(|at| std::sync::Arc::clone(&context.endpoint(*at).id))
        .collect()
}
