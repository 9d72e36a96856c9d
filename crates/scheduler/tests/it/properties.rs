//! What holds for every pool, request and configuration.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop, proptest};
use weir_scheduler::config::Options;
use weir_scheduler::{
    Account, Ask, Candidates, Config, Endpoint, EndpointLoad, Labels, LlmRequest, Prompt,
    Scheduler, Snapshot,
};

use crate::configs::{BASELINE, DISAGGREGATED, SELECTIVE};
use crate::pool::{NOW, ids, scheduler};

#[derive(Clone, Debug)]
struct Drawn {
    role: Option<&'static str>,
    waiting: u32,
    running: u32,
    kv: f64,
    age: Option<u64>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let role = prop::sample::select(vec![
        None,
        Some("decode"),
        Some("prefill"),
        Some("both"),
        Some("odd"),
    ]);
    // Engines report odd numbers, too.
    let kv = prop::sample::select(vec![
        0.0,
        0.2,
        0.913,
        1.0,
        1.7,
        -0.5,
        f64::NAN,
        f64::INFINITY,
    ]);
    (
        role,
        0u32..20,
        any::<u32>(),
        kv,
        prop::option::of(0u64..1000),
    )
        .prop_map(|(role, waiting, running, kv, age)| Drawn {
            role,
            waiting,
            running,
            kv,
            age,
        })
}

fn pool(drawn: &[Drawn]) -> Snapshot {
    let endpoints = (1u8..).zip(drawn).map(|(index, drawn)| {
        let role = drawn.role.map(|role| ("llm-d.ai/role", role));
        let labels = role.into_iter().collect::<Labels>();
        let address = ([10, 0, 0, index], 8000).into();
        let endpoint = Endpoint::new("ns", &format!("e{index}"), Some(0), address, labels);
        endpoint.live.store(&EndpointLoad {
            waiting: drawn.waiting,
            running: drawn.running,
            kv_usage: drawn.kv,
            block_size: 16,
            blocks: 64,
            updated: drawn.age.map(|age| NOW - Duration::from_millis(age)),
        });
        Arc::new(endpoint)
    });
    Snapshot::new(endpoints.collect())
}

fn everything() -> Vec<Scheduler> {
    let every_scorer = "
plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}, {type: prefix-cache-scorer, parameters: {matchLengthWeight: 0.4}},
          {type: lora-affinity-scorer}, {type: active-request-scorer}, {type: no-hit-lru-scorer}, {type: load-aware-scorer},
          {type: running-requests-size-scorer}, {type: token-load-scorer}, {type: context-length-aware}, {type: latency-scorer},
          {type: mm-embeddings-cache-scorer}, {type: session-affinity-scorer},
          {type: weighted-random-picker, parameters: {maxNumOfEndpoints: 3}}]
";
    let every_filter = "
plugins: [{type: decode-filter}, {type: utilization-detector}, {type: prefix-cache-affinity-filter}, {type: slo-headroom-tier-filter},
          {type: context-length-aware, parameters: {enableFiltering: true}},
          {type: utilization-filter, parameters: {conditions: [{metric: waiting-queue, maxValue: 9}], fallbackOnEmpty: true}},
          {type: concurrency-detector}, {type: random-picker, parameters: {maxNumOfEndpoints: 2}}]
";
    let all = [
        BASELINE,
        DISAGGREGATED,
        SELECTIVE,
        every_scorer,
        every_filter,
    ];
    all.into_iter().map(scheduler).collect()
}

proptest! {
    #[test]
    fn picks_are_candidates_and_scores_are_shares(
        endpoints in prop::collection::vec(drawn(), 0..12),
        chosen in prop::collection::vec(any::<bool>(), 12),
        tokens in 0u32..300,
        seed in any::<u64>(),
    ) {
        let pool = pool(&endpoints);
        let positions: Vec<u32> = (0..)
            .zip(chosen)
            .take(endpoints.len())
            .filter(|(_, chosen)| *chosen)
            .map(|(at, _)| at)
            .collect();
        let bytes = ids(tokens);
        let prompts = [Prompt::whole(&bytes)];
        let request = LlmRequest { target_model: "m", prompts: &prompts, ..LlmRequest::default() };
        let ask = Ask { now: NOW, seed, scores: true, explain: true, ..Ask::default() };
        for scheduler in everything() {
            let candidates = Candidates::Some(positions.clone());
            for _ in 0..3 {
                let Ok(mut outcome) = scheduler.schedule(&request, &pool, &candidates, ask) else {
                    continue;
                };
                assert!(!outcome.targets.is_empty());
                for run in &outcome.profiles {
                    let taken: BTreeSet<_> = run.targets.iter().map(|t| t.key()).collect();
                    assert_eq!(taken.len(), run.targets.len(), "nobody is taken twice");
                    for target in &run.targets {
                        let at = pool.position(target.key()).unwrap();
                        assert!(positions.iter().any(|known| *known as usize == at));
                    }
                }
                for profile in &outcome.explain.take().unwrap().profiles {
                    let before: BTreeSet<_> = profile.candidates.iter().collect();
                    assert!(profile.scored.iter().all(|id| before.contains(id)));
                    for total in &profile.totals {
                        assert!(total.is_finite(), "{profile:?}");
                    }
                    let most: f64 = profile.scorers.iter().map(|(_, weight, _)| weight).sum();
                    assert!(profile.totals.iter().all(|t| (0.0..=most + 1e-9).contains(t)));
                }
                drop(scheduler.dispatch(&request, &mut outcome, NOW));
            }
            for endpoint in pool.endpoints() {
                assert_eq!(endpoint.live.requests_in_flight(), 0);
                assert_eq!(endpoint.live.tokens_in_flight(0), 0);
            }
        }
    }

    #[test]
    fn whatever_ends_requests_each_is_given_back_once(
        steps in prop::collection::vec((0u8..4, 0usize..8, 0u32..200), 0..60),
    ) {
        let scheduler = scheduler(DISAGGREGATED);
        let role = |role| Drawn { role: Some(role), waiting: 0, running: 0, kv: 0.0, age: Some(0) };
        let pool = pool(&[role("decode"), role("decode"), role("prefill")]);
        let mut open: Vec<Account> = Vec::new();
        for (step, which, tokens) in steps {
            match step {
                0 | 1 => {
                    let bytes = ids(tokens);
                    let prompts = [Prompt::whole(&bytes)];
                    let request = LlmRequest { prompts: &prompts, ..LlmRequest::default() };
                    let ask = Ask { now: NOW, seed: u64::from(tokens), ..Ask::default() };
                    let mut outcome =
                        scheduler.schedule(&request, &pool, &Candidates::All, ask).unwrap();
                    open.push(scheduler.dispatch(&request, &mut outcome, NOW));
                }
                2 => {
                    if let Some(account) = open.get_mut(which) {
                        account.first_chunk();
                    }
                }
                _ => {
                    if which < open.len() {
                        open.swap_remove(which).end();
                    }
                }
            }
            let held: i64 = open.iter().flat_map(Account::held).map(|(_, r, _)| r).sum();
            let counted: i64 =
                pool.endpoints().iter().map(|e| e.live.requests_in_flight()).sum();
            assert_eq!(held, counted);
            let held: i64 = open.iter().flat_map(Account::held).map(|(.., t)| t).sum();
            let counted: i64 = pool.endpoints().iter().map(|e| e.live.tokens_in_flight(0)).sum();
            assert_eq!(held, counted);
        }
        drop(open);
        for endpoint in pool.endpoints() {
            assert_eq!(endpoint.live.requests_in_flight(), 0);
            assert_eq!(endpoint.live.tokens_in_flight(0), 0);
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,200}") {
        let _ = Config::parse(&text, "x", &Options::default());
    }

    #[test]
    fn no_value_breaks_a_parameter(
        kind in prop::sample::select(vec![
            "prefix-cache-scorer", "approx-prefix-cache-producer", "disagg-profile-handler",
            "pd-profile-handler", "token-producer", "precise-prefix-cache-producer",
            "core-metrics-extractor", "session-affinity-scorer", "utilization-detector",
            "concurrency-detector", "label-selector-filter", "utilization-filter",
        ]),
        field in prop::sample::select(vec![
            "threshold", "blockSizeTokens", "deciders", "stageOrder", "vllm", "estimate",
            "indexerConfig", "kvEventsConfig", "engineConfigs", "strategy", "conditions",
            "matchExpressions", "matchLabels", "queueDepthThreshold", "autoTune", "sessionIdConfig",
        ]),
        value in prop::sample::select(vec![
            "-1", "0", "1e308", "x", "[]", "{}", "null", "true", "[x]", "[{}]", "{a: b}", "99999999999999999999",
        ]),
    ) {
        let text = format!("plugins: [{{type: {kind}, parameters: {{{field}: {value}}}}}]");
        let options = Options { experimental: true, ..Options::default() };
        if let Ok(config) = Config::parse(&text, "x", &options) {
            let _ = Scheduler::new(config.into());
        }
    }
}
