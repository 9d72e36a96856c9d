//! Pools and requests in a few words.

use std::sync::Arc;
use std::time::Duration;

use weir_scheduler::config::Options;
use weir_scheduler::{
    Adapters, Ask, Candidates, Config, Endpoint, EndpointLoad, Labels, LlmRequest, Outcome,
    Scheduler, Snapshot,
};

/// The time of all decisions.
pub(crate) const NOW: Duration = Duration::from_secs(100);

pub(crate) fn config(text: &str) -> Config {
    let options = Options {
        experimental: true,
        ..Options::default()
    };
    Config::parse(text, "epp.yaml", &options).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

pub(crate) fn scheduler(text: &str) -> Scheduler {
    Scheduler::new(Arc::new(config(text)))
}

/// One scorer, and every endpoint taken in order.
pub(crate) fn only(kind: &str, parameters: &str) -> Scheduler {
    scheduler(&format!(
        "plugins:\n- {{type: {kind}, parameters: {{{parameters}}}}}\n- {{type: max-score-picker, parameters: {{maxNumOfEndpoints: 99}}}}\n"
    ))
}

/// An endpoint in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Make {
    name: &'static str,
    address: Option<&'static str>,
    labels: Vec<(&'static str, &'static str)>,
    load: EndpointLoad,
    adapters: Adapters,
}

pub(crate) fn make(name: &'static str) -> Make {
    Make {
        name,
        load: EndpointLoad {
            updated: Some(NOW),
            ..EndpointLoad::default()
        },
        ..Make::default()
    }
}

impl Make {
    pub(crate) fn waiting(mut self, waiting: u32) -> Self {
        self.load.waiting = waiting;
        self
    }

    pub(crate) fn running(mut self, running: u32) -> Self {
        self.load.running = running;
        self
    }

    pub(crate) fn kv(mut self, usage: f64) -> Self {
        self.load.kv_usage = usage;
        self
    }

    pub(crate) fn blocks(mut self, size: u32, count: u32) -> Self {
        (self.load.block_size, self.load.blocks) = (size, count);
        self
    }

    pub(crate) fn updated(mut self, updated: Option<Duration>) -> Self {
        self.load.updated = updated;
        self
    }

    pub(crate) fn label(mut self, key: &'static str, value: &'static str) -> Self {
        self.labels.push((key, value));
        self
    }

    pub(crate) fn role(self, role: &'static str) -> Self {
        self.label("llm-d.ai/role", role)
    }

    pub(crate) fn at(mut self, address: &'static str) -> Self {
        self.address = Some(address);
        self
    }

    pub(crate) fn lora(mut self, max: u32, running: &[&str], waiting: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.adapters = Adapters {
            running: owned(running),
            waiting: owned(waiting),
            max,
        };
        self
    }
}

/// A pool; the n-th endpoint is at 10.0.0.n:8000.
pub(crate) fn pool(makes: &[Make]) -> Snapshot {
    let endpoints = makes.iter().enumerate().map(|(index, make)| {
        let address = make.address.map_or_else(
            || format!("10.0.{}.{}:8000", (index + 1) / 256, (index + 1) % 256),
            str::to_owned,
        );
        let labels = make.labels.iter().copied().collect::<Labels>();
        let endpoint = Endpoint::new("ns", make.name, None, address.parse().unwrap(), labels);
        endpoint.live.store(&make.load);
        endpoint.live.store_adapters(make.adapters.clone());
        Arc::new(endpoint)
    });
    Snapshot::new(endpoints.collect())
}

/// The letters of an outcome's targets, in order.
pub(crate) fn names(outcome: &Outcome) -> String {
    let names = outcome.targets.iter().map(|target| &*target.name);
    names.collect::<Vec<_>>().join(" ")
}

pub(crate) fn decide(scheduler: &Scheduler, request: &LlmRequest<'_>, pool: &Snapshot) -> Outcome {
    try_decide(scheduler, request, pool, 1).unwrap_or_else(|rejection| panic!("{rejection}"))
}

pub(crate) fn try_decide(
    scheduler: &Scheduler,
    request: &LlmRequest<'_>,
    pool: &Snapshot,
    seed: u64,
) -> Result<Outcome, weir_scheduler::Rejection> {
    let ask = Ask {
        now: NOW,
        seed,
        scores: true,
        explain: true,
        ..Ask::default()
    };
    scheduler.schedule(request, pool, &Candidates::All, ask)
}

/// Total scores in the order of the pool.
pub(crate) fn totals(outcome: &Outcome, pool: &Snapshot) -> Vec<f64> {
    let scores = outcome.scores.as_ref().unwrap();
    let of = |endpoint: &Arc<Endpoint>| {
        let found = scores
            .iter()
            .find(|(address, _)| *address == endpoint.address);
        found.map_or(f64::NAN, |(_, score)| *score)
    };
    pool.endpoints().iter().map(of).collect()
}

/// Raw scores of the first scorer of the first profile, in the order of the pool.
pub(crate) fn raw(scheduler: &Scheduler, request: &LlmRequest<'_>, pool: &Snapshot) -> Vec<f64> {
    let outcome = decide(scheduler, request, pool);
    let explain = outcome.explain.unwrap();
    explain.profiles[0].scorers[0].2.clone()
}

#[track_caller]
pub(crate) fn near(found: &[f64], expected: &[f64], what: &str) {
    let close = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 5e-5);
    assert!(close, "{what}: {found:?}, expected {expected:?}");
}

/// Token ids from 0, as bytes.
pub(crate) fn ids(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_le_bytes).collect()
}
