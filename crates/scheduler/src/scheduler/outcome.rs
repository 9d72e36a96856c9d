//! What a decision says.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;
use weir_vllm::transfer::{ENCODE_HEADER, PREFILL_HEADER, RANK_HEADER};

use super::Scheduler;
use super::build::Told;
use crate::context::{Context, Loan, PrefixMatch};
use crate::endpoint::{Endpoint, Snapshot};
use crate::explain::Explain;
use crate::handler::{Handler, Runs};

/// Where a request goes.
#[derive(Debug)]
pub struct Outcome {
    /// Addresses to send to, best first, joined by commas: the value of the destination header.
    pub destination: String,
    /// The endpoints of the primary profile, best first.
    pub targets: SmallVec<[Arc<Endpoint>; 1]>,
    /// Headers for the engine or its sidecar. What the client sent under these names must be removed, whether they are
    /// here or not.
    pub headers: Vec<(&'static str, String)>,
    /// Headers for the answer.
    pub response_headers: Vec<(String, String)>,
    /// Every profile that ran.
    pub profiles: Vec<Run>,
    /// Total scores of the primary profile, when asked for.
    pub scores: Option<Vec<(SocketAddr, f64)>>,
    /// Label of the decision counters; `None` when the handler makes no such decision.
    pub decision: Option<&'static str>,
    /// What the primary endpoint has cached: name and type of the producer.
    pub cached: Vec<Cached>,
    /// Whether the primary endpoint has anything cached, by the default producer.
    pub has_cached_prefix: bool,
    /// The story, when asked for.
    pub explain: Option<Explain>,
    primary: usize,
    kept: Option<(Snapshot, Loan)>,
}

/// What one producer of matches says about the primary endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Index of the producer, as in [`Scheduler::prefix_sizes`].
    pub producer: usize,
    /// What it found.
    pub found: PrefixMatch,
}

/// One profile's pick.
#[derive(Clone, Debug)]
pub struct Run {
    /// Index of the profile in the configuration.
    pub index: usize,
    /// Its endpoints, best first.
    pub targets: SmallVec<[Arc<Endpoint>; 1]>,
    pub(super) first: Option<u32>,
}

impl Outcome {
    /// Keeps what dispatch needs.
    pub(super) fn keep(mut self, snapshot: &Snapshot, loan: Loan) -> Self {
        self.kept = Some((snapshot.clone(), loan));
        self
    }

    /// What dispatch needs; nothing the second time.
    pub(super) fn take(&mut self) -> Option<(Snapshot, Loan)> {
        self.kept.take()
    }

    pub(super) fn is_primary(&self, run: usize) -> bool {
        run == self.primary
    }

    pub(super) fn primary_position(&self) -> Option<u32> {
        self.profiles.get(self.primary)?.first
    }

    pub(super) fn position_of(&self, profile: Option<usize>) -> Option<u32> {
        let profile = profile?;
        self.profiles.iter().find(|run| run.index == profile)?.first
    }
}

impl Scheduler {
    pub(super) fn outcome(
        &self,
        context: &Context<'_>,
        runs: &Runs,
        scores: Option<Vec<(SocketAddr, f64)>>,
        explain: Option<Explain>,
    ) -> Outcome {
        let profiles: Vec<Run> = runs
            .picked
            .iter()
            .map(|(index, picked)| Run {
                index: *index,
                targets: picked
                    .iter()
                    .map(|at| Arc::clone(context.endpoint(*at)))
                    .collect(),
                first: picked.first().copied(),
            })
            .collect();
        let targets = profiles
            .get(runs.primary)
            .map(|run| run.targets.clone())
            .unwrap_or_default();
        let first = profiles.get(runs.primary).and_then(|run| run.first);
        let port = self.handler.primary_port();
        let mut headers = Vec::new();
        if port.is_some()
            && let Some(target) = targets.first()
        {
            headers.push((RANK_HEADER, target.address.to_string()));
        }
        for (profile, told) in &self.told {
            let Some(picked) = runs.of(Some(*profile)) else {
                continue;
            };
            let address = |at: &u32| context.endpoint(*at).address;
            let (name, value) = match told {
                Told::Prefill => (PREFILL_HEADER, join(picked.iter().take(1).map(address))),
                Told::Encode => (ENCODE_HEADER, join(picked.iter().map(address))),
            };
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value));
        }
        let cached: Vec<Cached> = first.map_or_else(Vec::new, |at| {
            (0..)
                .zip(context.matches)
                .filter(|(_, matches)| matches.total > 0)
                .map(|(producer, matches)| Cached {
                    producer,
                    found: matches.at(at),
                })
                .collect()
        });
        let has_cached_prefix = cached
            .iter()
            .any(|cached| Some(cached.producer) == self.default_prefix && cached.found.blocks > 0);
        let response_headers = targets.first().map_or_else(Vec::new, |target| {
            self.sessions
                .iter()
                .filter_map(|(_, session)| session.token(&target.id))
                .collect()
        });
        Outcome {
            destination: join(targets.iter().map(|target| {
                let mut address = target.address;
                if let Some(port) = port {
                    address.set_port(port);
                }
                address
            })),
            targets,
            headers,
            response_headers,
            profiles,
            scores,
            decision: match &self.handler {
                Handler::Disagg(stages) => Some(stages.decision(runs)),
                _ => None,
            },
            cached,
            has_cached_prefix,
            explain,
            primary: runs.primary,
            kept: None,
        }
    }
}

fn join(addresses: impl Iterator<Item = SocketAddr>) -> String {
    let mut out = String::new();
    for address in addresses {
        if !out.is_empty() {
            out.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(out, "{address}");
    }
    out
}
