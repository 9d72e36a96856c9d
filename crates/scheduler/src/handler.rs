//! Profile handlers: which profiles run, and which result is the primary one.

use std::fmt;

use crate::config::settings::{Disagg, PrefixDecider};
use crate::context::Context;
use crate::probe::{ExtensionPoint, timed};
use crate::profile::{Picked, Profile, Work};
use crate::reject::Rejection;

/// A handler, with indices of profiles in place of names.
#[derive(Debug)]
pub(crate) enum Handler {
    /// The one profile.
    Single,
    /// Decode, encode and prefill.
    Disagg(Box<Stages>),
    /// The one profile, entered through one port.
    DataParallel { primary_port: u16 },
    /// The profile that a header names.
    Header { header: String, default: String },
}

/// What a disaggregating handler works with.
#[derive(Debug)]
pub(crate) struct Stages {
    /// Which plugin it is.
    pub(crate) plugin: usize,
    pub(crate) settings: Disagg,
    pub(crate) decode: Option<usize>,
    pub(crate) prefill: Option<usize>,
    pub(crate) encode: Option<usize>,
    pub(crate) prefill_decider: Option<Decider>,
    pub(crate) encode_decider: Option<Decider>,
}

/// Decides whether a stage runs elsewhere.
#[derive(Clone, Debug)]
pub(crate) enum Decider {
    Always,
    Media,
    Prefix {
        settings: PrefixDecider,
        prefix: usize,
    },
}

/// What all profiles of a decision work on.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) profiles: &'a [Profile],
    pub(crate) context: &'a Context<'a>,
    pub(crate) candidates: &'a [u32],
}

/// What ran: profile and pick, in order; the first one named is primary.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) primary: usize,
    pub(crate) picked: Vec<(usize, Picked)>,
}

/// Why a stage runs elsewhere or not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    Always,
    Media(usize),
    Tokens {
        prompt: u64,
        cached: u64,
        threshold: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Media(count) => write!(f, "{count} media items"),
            Self::Tokens {
                prompt,
                cached,
                threshold,
            } => write!(
                f,
                "{prompt} prompt tokens, {cached} cached, threshold {threshold}"
            ),
        }
    }
}

impl Decider {
    /// Whether the stage runs elsewhere, given where the request is decoded; and why.
    pub(crate) fn decide(&self, context: &Context<'_>, decode: u32) -> (bool, Why) {
        match self {
            Self::Always => (true, Why::Always),
            Self::Media => {
                let count = context.request.media.len();
                (count > 0, Why::Media(count))
            }
            Self::Prefix { settings, prefix } => {
                let found = context.matches[*prefix].at(decode);
                let prompt = context.prompt_tokens;
                let cached = found.cached_tokens();
                let why = Why::Tokens {
                    prompt,
                    cached,
                    threshold: settings.non_cached,
                };
                (settings.decide(prompt, found.total > 0, cached), why)
            }
        }
    }
}

impl PrefixDecider {
    /// Whether prefill runs elsewhere for a prompt of which `cached` tokens are cached; `known`: the cache was asked.
    #[must_use]
    pub fn decide(&self, prompt: u64, known: bool, cached: u64) -> bool {
        self.non_cached > 0
            && known
            && prompt >= self.prompt
            && prompt >= self.non_cached
            && prompt.saturating_sub(cached) >= self.non_cached
    }
}

impl Handler {
    /// The port through which all requests enter, if there is one.
    pub(crate) fn primary_port(&self) -> Option<u16> {
        match self {
            Self::DataParallel { primary_port } => Some(*primary_port),
            Self::Disagg(stages) => stages.settings.primary_port,
            Self::Single | Self::Header { .. } => None,
        }
    }

    /// Runs what has to run.
    pub(crate) fn run(
        &self,
        ground: Ground<'_>,
        work: &mut Work<'_>,
        after_primary: impl FnMut(&Work<'_>),
    ) -> Result<Runs, Rejection> {
        match self {
            Self::Single | Self::DataParallel { .. } => only(0, ground, work, after_primary),
            Self::Header { header, default } => {
                let wanted = ground
                    .context
                    .request
                    .headers
                    .header(header)
                    .unwrap_or(default);
                let index = if ground.profiles.len() == 1 {
                    Some(0)
                } else {
                    ground
                        .profiles
                        .iter()
                        .position(|profile| profile.name == wanted)
                };
                let Some(index) = index else {
                    return Err(Rejection::not_scheduled(format_args!(
                        "failed to run any scheduler profile for request {}",
                        ground.context.request.id
                    )));
                };
                only(index, ground, work, after_primary)
            }
            Self::Disagg(stages) => stages.run(ground, work, after_primary),
        }
    }
}

fn only(
    index: usize,
    ground: Ground<'_>,
    work: &mut Work<'_>,
    mut after_primary: impl FnMut(&Work<'_>),
) -> Result<Runs, Rejection> {
    let picked = ground
        .profiles
        .get(index)
        .and_then(|profile| profile.run(ground.context, ground.candidates, work))
        .ok_or_else(Rejection::all_filtered)?;
    after_primary(work);
    Ok(Runs {
        primary: 0,
        picked: vec![(index, picked)],
    })
}

impl Stages {
    fn run(
        &self,
        ground: Ground<'_>,
        work: &mut Work<'_>,
        mut after_primary: impl FnMut(&Work<'_>),
    ) -> Result<Runs, Rejection> {
        let mut runs = Runs::default();
        let Some(decode) = self.decode else {
            return Err(Rejection::not_scheduled(
                "failed to find available decode workers",
            ));
        };
        if self.settings.prefill_first {
            if let Some(prefill) = self.prefill {
                note(work, "prefill", true, "prefill goes first");
                runs.add(prefill, ground, work);
            }
            if let (Some(encode), Some(decider)) = (self.encode, &self.encode_decider) {
                let at = ground.candidates.first().copied().unwrap_or(0);
                self.stage(("encode", encode), decider, at, &mut runs, ground, work);
            }
        }
        let picked = ground.profiles[decode]
            .run(ground.context, ground.candidates, work)
            .ok_or_else(Rejection::all_filtered)?;
        after_primary(work);
        let at = picked
            .first()
            .copied()
            .ok_or_else(Rejection::all_filtered)?;
        runs.primary = runs.picked.len();
        runs.picked.push((decode, picked));
        if !self.settings.prefill_first {
            if let (Some(encode), Some(decider)) = (self.encode, &self.encode_decider) {
                self.stage(("encode", encode), decider, at, &mut runs, ground, work);
            }
            if let (Some(prefill), Some(decider)) = (self.prefill, &self.prefill_decider) {
                self.stage(("prefill", prefill), decider, at, &mut runs, ground, work);
            }
        }
        Ok(runs)
    }

    /// Runs a stage if its decider says so, given where the request is decoded.
    fn stage(
        &self,
        (name, profile): (&str, usize),
        decider: &Decider,
        decode: u32,
        runs: &mut Runs,
        ground: Ground<'_>,
        work: &mut Work<'_>,
    ) {
        let (decision, why) = timed(
            work.probe,
            ExtensionPoint::ProfilePicker,
            self.plugin,
            || decider.decide(ground.context, decode),
        );
        if work.explain.is_some() {
            note(work, name, decision, &why.to_string());
        }
        if decision {
            runs.add(profile, ground, work);
        }
    }

    /// Label of the decision counter.
    pub(crate) fn decision(&self, runs: &Runs) -> &'static str {
        let ran = |profile: Option<usize>| {
            profile.is_some_and(|index| runs.picked.iter().any(|(ran, _)| *ran == index))
        };
        match (ran(self.encode), ran(self.prefill)) {
            (false, false) => "decode-only",
            (false, true) => "prefill-decode",
            (true, false) => "encode-decode",
            (true, true) => "encode-prefill-decode",
        }
    }
}

fn note(work: &mut Work<'_>, stage: &str, runs: bool, why: &str) {
    if let Some(explain) = &mut work.explain {
        let verb = if runs { "runs" } else { "does not run" };
        explain
            .reasons
            .push(format!("{stage} {verb} elsewhere: {why}"));
    }
}

impl Runs {
    /// Runs a stage whose failure does no harm: the request then goes without it.
    fn add(&mut self, profile: usize, ground: Ground<'_>, work: &mut Work<'_>) {
        let own = &ground.profiles[profile];
        if let Some(picked) = own.run(ground.context, ground.candidates, work) {
            self.picked.push((profile, picked));
        }
    }

    pub(crate) fn of(&self, profile: Option<usize>) -> Option<&Picked> {
        let profile = profile?;
        let run = self.picked.iter().find(|(ran, _)| *ran == profile)?;
        Some(&run.1)
    }
}
