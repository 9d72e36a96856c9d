//! The scheduler: one decision from request to endpoints, and what is noted when the request is sent.
//!
//! ```text
//! schedule: candidates -> columns -> matches -> handler(profiles) -> Outcome     changes nothing
//! dispatch: Outcome -> prefixes, orders, sessions learnt -> Account             counts the request
//! ```

mod build;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::admit::Admitter;
use crate::config::Config;
use crate::context::{Context, Prediction, Scratch, ScratchPool};
use crate::endpoint::Snapshot;
use crate::explain::Explain;
use crate::handler::{Ground, Handler};
use crate::inflight::{Account, LoadProducer};
use crate::prefix::{Found, MediaCache, Producer};
use crate::probe::{ExtensionPoint, Probe, timed};
use crate::profile::{Profile, Work};
use crate::random::Random;
use crate::reject::Rejection;
use crate::request::LlmRequest;
use crate::saturation::{Detector, PoolSaturation};
use crate::score::NoHit;
use crate::session::Affinity;
use crate::subset::Candidates;

pub use outcome::{Cached, Outcome, Run};

/// Decides where requests go, by one configuration. Shared by all requests.
#[derive(Debug)]
pub struct Scheduler {
    config: Arc<Config>,
    profiles: Vec<Profile>,
    handler: Handler,
    prefixes: Vec<Producer>,
    /// The producer that conditional requests look at.
    default_prefix: Option<usize>,
    loads: Vec<LoadProducer>,
    media: Vec<MediaCache>,
    /// Each with the plugin it belongs to.
    no_hits: Vec<(usize, NoHit)>,
    sessions: Vec<(usize, Affinity)>,
    detector: Detector,
    admitters: Vec<(usize, Admitter)>,
    /// Profile and header of each pick that is told to the engine's sidecar.
    told: Vec<(usize, build::Told)>,
    prefill: Option<usize>,
    pool: Arc<ScratchPool>,
}

/// What a decision is asked for besides the endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The time, by the caller's monotonic clock.
    pub now: Duration,
    /// Randomness.
    pub seed: u64,
    /// The total score of every endpoint that was scored.
    pub scores: bool,
    /// The story of the decision.
    pub explain: bool,
    /// Expected latencies by position in the snapshot; empty without a predictor.
    pub predictions: &'a [Option<Prediction>],
    /// Takes the time of plugins.
    pub probe: Option<&'a dyn Probe>,
}

/// What of a request the configuration never looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Tokens are counted or looked at.
    pub prompt: bool,
    /// Bytes at the head of each prompt that are looked at; `None` is all.
    pub prompt_bytes: Option<usize>,
    /// Images and the like are looked at.
    pub media: bool,
}

impl Scheduler {
    /// The configuration it works by.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What of a request has to be read.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let most = |a: Option<usize>, b: Option<usize>| a.zip(b).map(|(a, b)| a.max(b));
        Needs {
            prompt: !self.prefixes.is_empty()
                || !self.loads.is_empty()
                || self.profiles.iter().any(build::counts_tokens),
            prompt_bytes: self
                .prefixes
                .iter()
                .map(Producer::prompt_bytes)
                .fold(Some(0), most),
            media: !self.media.is_empty()
                || matches!(&self.handler, Handler::Disagg(stages) if stages.encode.is_some()),
        }
    }

    /// Forgets what was noted about endpoints that are not in `snapshot` any more.
    pub fn endpoints_changed(&self, snapshot: &Snapshot) {
        let stays = |key| snapshot.position(key).is_some();
        for producer in &self.prefixes {
            producer.retain(stays);
        }
        for media in &self.media {
            media.index.write().retain(stays);
        }
        for (_, no_hit) in &self.no_hits {
            no_hit.retain(stays);
        }
    }

    /// Blocks in each approximate prefix cache: plugin name, plugin type, blocks.
    pub fn prefix_sizes(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        self.prefixes.iter().map(|producer| {
            (
                producer.name.as_str(),
                producer.kind.as_str(),
                producer.len(),
            )
        })
    }

    /// Saturation of a pool; 1 is full. No endpoints are full.
    #[must_use]
    pub fn saturation(&self, snapshot: &Snapshot, now: Duration) -> PoolSaturation {
        self.detector.pool(snapshot, now)
    }

    /// Endpoints whose metrics the detector takes for missing.
    #[must_use]
    pub fn stale_endpoints(&self, snapshot: &Snapshot, now: Duration) -> usize {
        self.detector.stale(snapshot, now)
    }

    /// Legacy admission, for when flow control is off: sheds requests below priority 0 when the candidates are
    /// saturated.
    ///
    /// # Errors
    /// With the answer to the client.
    pub fn admit(
        &self,
        request: &LlmRequest<'_>,
        snapshot: &Snapshot,
        candidates: &Candidates,
        now: Duration,
    ) -> Result<(), Rejection> {
        if request.priority >= 0 {
            return Ok(());
        }
        let endpoints = candidates.positions(snapshot.len());
        let endpoints = endpoints.map(|at| &*snapshot.endpoints()[at as usize]);
        if self.detector.of(endpoints, now) >= 1.0 {
            return Err(Rejection::shed());
        }
        Ok(())
    }

    /// Chooses endpoints for a request. Nothing is noted yet: see [`Scheduler::dispatch`].
    ///
    /// # Errors
    /// With the answer to the client: no candidates, all filtered out, or denied by an admitter.
    pub fn schedule(
        &self,
        request: &LlmRequest<'_>,
        snapshot: &Snapshot,
        candidates: &Candidates,
        ask: Ask<'_>,
    ) -> Result<Outcome, Rejection> {
        let mut loan = self.pool.lend();
        let Scratch {
            columns,
            matches,
            media,
            hashes,
            ends,
            hits,
            candidates: positions,
            survivors,
            scores,
            totals,
            order,
            keys,
        } = loan.get();
        positions.clear();
        positions.extend(candidates.positions(snapshot.len()));
        if positions.is_empty() {
            return Err(Rejection::no_candidates());
        }
        columns.read(snapshot, positions);
        matches.resize_with(self.prefixes.len(), Default::default);
        hashes.resize_with(self.prefixes.len(), Default::default);
        for (index, producer) in self.prefixes.iter().enumerate() {
            let found = Found {
                hashes: &mut hashes[index],
                ends: &mut *ends,
                hits: &mut *hits,
                matches: &mut matches[index],
            };
            timed(
                ask.probe,
                ExtensionPoint::DataProducer,
                producer.plugin,
                || {
                    producer.find(request, snapshot, columns, found);
                },
            );
        }
        media.resize_with(self.media.len(), Default::default);
        for (cache, found) in self.media.iter().zip(media.iter_mut()) {
            timed(
                ask.probe,
                ExtensionPoint::DataProducer,
                cache.plugin,
                || {
                    cache.find(request, snapshot, hits, found);
                },
            );
        }
        let context = Context {
            request,
            snapshot,
            columns,
            matches,
            media,
            predictions: ask.predictions,
            prompt_tokens: request.prompt_tokens(),
            now: ask.now,
        };
        let mut random = Random::new(ask.seed);
        for (plugin, admitter) in &self.admitters {
            timed(ask.probe, ExtensionPoint::Admission, *plugin, || {
                admitter.admit(&context, positions, &mut random)
            })?;
        }
        let mut work = Work {
            survivors,
            spare: order,
            scores,
            totals,
            keys,
            random,
            explain: ask.explain.then(Explain::default),
            probe: ask.probe,
        };
        let ground = Ground {
            profiles: &self.profiles,
            context: &context,
            candidates: positions,
        };
        let mut scored = None;
        let runs = self.handler.run(ground, &mut work, |work| {
            if ask.scores {
                let pairs = work.survivors.iter().zip(work.totals.iter());
                scored = Some(
                    pairs
                        .map(|(at, total)| (context.endpoint(*at).address, *total))
                        .collect::<Vec<_>>(),
                );
            }
        });
        let explain = work.explain.take();
        let runs = match runs {
            Ok(runs) => runs,
            Err(rejection) => return Err(rejection.told(explain)),
        };
        let outcome = self.outcome(&context, &runs, scored, explain);
        Ok(outcome.keep(snapshot, loan))
    }

    /// Notes that a request is sent where `outcome` says: prefixes, orders and sessions are learnt, and the endpoints'
    /// counters hold the request until the account is dropped.
    pub fn dispatch(
        &self,
        request: &LlmRequest<'_>,
        outcome: &mut Outcome,
        now: Duration,
    ) -> Account {
        self.dispatch_probed(request, outcome, now, None)
    }

    /// As [`Scheduler::dispatch`], with the time of plugins taken.
    pub fn dispatch_probed(
        &self,
        request: &LlmRequest<'_>,
        outcome: &mut Outcome,
        now: Duration,
        probe: Option<&dyn Probe>,
    ) -> Account {
        let noted = |plugin: usize, note: &mut dyn FnMut()| {
            timed(probe, ExtensionPoint::PreRequest, plugin, note);
        };
        let mut account = Account::default();
        let Some((snapshot, scratch)) = outcome.take() else {
            return account;
        };
        let Some(scratch) = scratch.peek() else {
            return account;
        };
        let context = Context {
            request,
            snapshot: &snapshot,
            columns: &scratch.columns,
            matches: &scratch.matches,
            media: &scratch.media,
            predictions: &[],
            prompt_tokens: request.prompt_tokens(),
            now,
        };
        let primary = outcome.primary_position();
        let prefill = outcome.position_of(self.prefill);
        // Both get the prompt's blocks: the one computes them, the other fetches them.
        let learners: SmallVec<[u32; 2]> = [primary, prefill].into_iter().flatten().collect();
        for (producer, hashes) in self.prefixes.iter().zip(&scratch.hashes) {
            noted(producer.plugin, &mut || {
                for at in &learners {
                    producer.learn(context.endpoint(*at), hashes);
                }
            });
        }
        for cache in self.media.iter().filter(|_| !request.media.is_empty()) {
            noted(cache.plugin, &mut || {
                for at in &learners {
                    cache.learn(context.endpoint(*at), request);
                }
            });
        }
        for (plugin, no_hit) in &self.no_hits {
            noted(*plugin, &mut || {
                if no_hit.cold(&context, &scratch.candidates) {
                    for at in &learners {
                        no_hit.used(context.endpoint(*at).key());
                    }
                }
            });
        }
        for (plugin, session) in &self.sessions {
            noted(*plugin, &mut || {
                let target = match session.profile() {
                    "" => primary,
                    name => outcome.position_of(self.profile(name)),
                };
                if let Some(at) = target {
                    let bound = session.endpoint(&context);
                    let stays = bound.is_some_and(|bound| scratch.candidates.contains(&bound));
                    session.bind(request.headers, &context.endpoint(at).id, stays, now);
                }
            });
        }
        let count = |account: &mut Account| {
            for (index, run) in outcome.profiles.iter().enumerate() {
                let Some(at) = run.first else { continue };
                let tokens = self
                    .loads
                    .iter()
                    .map(|load| (load.tokens(&context, at), load.settings.output));
                let prefill = self.prefill == Some(run.index) && !outcome.is_primary(index);
                account.add(context.endpoint(at), tokens, prefill);
            }
        };
        match self.loads.first() {
            Some(load) => noted(load.plugin, &mut || count(&mut account)),
            None => count(&mut account),
        }
        account
    }

    fn profile(&self, name: &str) -> Option<usize> {
        self.profiles
            .iter()
            .position(|profile| profile.name == name)
    }
}
