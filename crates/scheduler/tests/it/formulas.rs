//! Scores, with the worked numbers of the specification.

use weir_scheduler::config::settings::{PrefixDecider, ProbabilisticAdmitter};
use weir_scheduler::{
    Account, Ask, Candidates, LlmRequest, Prediction, Prompt, Scheduler, Snapshot,
};

use crate::pool::{Make, NOW, decide, ids, make, names, near, only, pool, raw, scheduler, totals};

fn waiting(queues: &[u32]) -> Snapshot {
    let makes: Vec<Make> = queues.iter().map(|q| make("e").waiting(*q)).collect();
    pool(&makes)
}

fn plain(scheduler: &Scheduler, pool: &Snapshot) -> Vec<f64> {
    raw(scheduler, &LlmRequest::default(), pool)
}

#[test]
fn scorers_of_load_have_their_formulas() {
    // scorer, parameters, pool, scores
    let cases: Vec<(&str, &str, Snapshot, &[f64])> = vec![
        ("queue-scorer", "", waiting(&[0, 4, 10]), &[1.0, 0.6, 0.0]),
        ("queue-scorer", "", waiting(&[3, 3, 3]), &[1.0, 1.0, 1.0]),
        ("queue-scorer", "", waiting(&[0, 0]), &[1.0, 1.0]),
        ("queue-scorer", "", waiting(&[7]), &[1.0]),
        (
            "load-aware-scorer",
            "",
            waiting(&[0, 4, 10, 200]),
            &[0.5, 0.484_375, 0.460_937_5, 0.0],
        ),
        (
            "load-aware-scorer",
            "threshold: 8",
            waiting(&[0, 4, 8]),
            &[0.5, 0.25, 0.0],
        ),
        (
            "kv-cache-utilization-scorer",
            "",
            pool(&[make("a").kv(0.2), make("b").kv(0.913), make("c").kv(1.0)]),
            &[0.8, 0.087, 0.0],
        ),
        (
            "running-requests-size-scorer",
            "",
            pool(&[make("a").running(10), make("b").running(4), make("c")]),
            &[0.0, 0.6, 1.0],
        ),
    ];
    for (kind, parameters, pool, expected) in cases {
        let found = plain(&only(kind, parameters), &pool);
        near(&found, expected, &format!("{kind} {parameters}"));
    }
}

#[test]
fn what_was_never_scraped_is_the_worst_unless_nothing_was() {
    let kinds = [
        "queue-scorer",
        "kv-cache-utilization-scorer",
        "load-aware-scorer",
        "running-requests-size-scorer",
    ];
    let mixed = pool(&[
        make("new").updated(None),
        make("a").waiting(9).running(9).kv(0.9),
        make("b").waiting(3).running(3).kv(0.3),
    ]);
    for kind in kinds {
        let outcome = decide(&only(kind, ""), &LlmRequest::default(), &mixed);
        assert_eq!(names(&outcome), "b a new", "{kind}");
        near(&plain(&only(kind, ""), &mixed)[..1], &[0.0], kind);
    }
    // Also where it would win by chance or by what else is scored.
    for seed in 0..20 {
        let any = scheduler("plugins: [{type: random-picker}]");
        let ask = Ask {
            now: NOW,
            seed,
            ..Ask::default()
        };
        let request = LlmRequest::default();
        let outcome = any
            .schedule(&request, &mixed, &Candidates::All, ask)
            .unwrap();
        assert_ne!(names(&outcome), "new");
    }
    let unscraped = pool(&[make("a").updated(None), make("b").updated(None)]);
    near(
        &plain(&only("queue-scorer", ""), &unscraped),
        &[1.0, 1.0],
        "unscraped",
    );
}

/// Puts requests in flight.
fn busy(counts: &[usize]) -> (Snapshot, Vec<Account>) {
    let makes: Vec<Make> = counts.iter().map(|_| make("e")).collect();
    let pool = pool(&makes);
    let sender = scheduler("plugins: [{type: active-request-scorer}, {type: random-picker}]");
    let request = LlmRequest::default();
    let mut accounts = Vec::new();
    for (at, count) in (0..).zip(counts) {
        for _ in 0..*count {
            let only = Candidates::Some(vec![at]);
            let mut outcome = sender
                .schedule(&request, &pool, &only, Ask::default())
                .unwrap();
            accounts.push(sender.dispatch(&request, &mut outcome, NOW));
        }
    }
    (pool, accounts)
}

#[test]
fn active_requests_count_what_was_sent() {
    for (counts, parameters, expected) in [
        (&[0, 2, 5][..], "", &[1.0, 0.6, 0.0][..]),
        (&[0, 2, 5], "maxBusyScore: 0", &[1.0, 0.0, 0.0]),
        (
            &[0, 2, 5],
            "idleThreshold: 2, maxBusyScore: 0.5",
            &[1.0, 1.0, 0.0],
        ),
        (
            &[0, 2, 5],
            "maxBusyScore: 7, idleThreshold: -3",
            &[1.0, 0.6, 0.0],
        ),
        (&[0, 2, 5], "requestTimeout: 2m", &[1.0, 0.6, 0.0]),
        (&[1, 1], "", &[0.0, 0.0]),
        (&[0, 0], "", &[1.0, 1.0]),
    ] {
        let (pool, accounts) = busy(counts);
        let found = plain(&only("active-request-scorer", parameters), &pool);
        near(&found, expected, &format!("{counts:?} {parameters}"));
        drop(accounts);
        let idle = vec![1.0; counts.len()];
        near(
            &plain(&only("active-request-scorer", ""), &pool),
            &idle,
            "after the end",
        );
    }
}

#[test]
fn adapters_are_preferred_where_they_are_or_fit() {
    let pool = pool(&[
        make("a").lora(2, &["style-a"], &[]),
        make("b").lora(2, &["x"], &[]),
        make("c").lora(2, &["x", "y"], &["style-a"]),
        make("d").lora(2, &["x", "y"], &[]),
        make("e"),
    ]);
    let request = LlmRequest {
        target_model: "style-a",
        ..LlmRequest::default()
    };
    let found = raw(&only("lora-affinity-scorer", ""), &request, &pool);
    near(&found, &[1.0, 0.8, 0.6, 0.0, 0.0], "style-a");
}

#[test]
fn context_length_prefers_narrow_ranges_with_room() {
    let label = "llm-d.ai/context-length-range";
    let pool = pool(&[
        make("a").label(label, "0-2048"),
        make("b").label(label, "0-8192"),
        make("c").label(label, "2048-8192"),
        make("d"),
        make("e").label(label, "wide"),
        make("f").label(label, "1000-1000"),
    ]);
    let scorer = only("context-length-aware", "");
    for (tokens, expected) in [
        (1000, [0.8142, 0.7537, 0.1465, 0.5, 0.0, 1.0]),
        (3000, [0.1537, 0.7000, 0.7826, 0.5, 0.0, 0.1]),
    ] {
        let bytes = ids(tokens);
        let prompts = [Prompt::whole(&bytes)];
        let request = LlmRequest {
            prompts: &prompts,
            ..LlmRequest::default()
        };
        let found = raw(&scorer, &request, &pool);
        for at in [0, 1, 2, 3, 4, 5] {
            if tokens == 1000 || [0, 3, 4, 5].contains(&at) {
                near(
                    &found[at..=at],
                    &expected[at..=at],
                    &format!("{tokens} at {at}"),
                );
            }
        }
    }
}

#[test]
fn token_load_counts_what_is_there_and_what_comes() {
    let text = "plugins:\n- {type: token-load-scorer}\n- {type: max-score-picker, parameters: {maxNumOfEndpoints: 9}}\n";
    let scheduler = scheduler(text);
    let pool = pool(&[make("a"), make("b")]);
    let load = ids(20_000);
    let prompts = [Prompt::whole(&load)];
    let request = LlmRequest {
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let first = Candidates::Some(vec![0]);
    let mut outcome = scheduler
        .schedule(&request, &pool, &first, Ask::default())
        .unwrap();
    let account = scheduler.dispatch(&request, &mut outcome, NOW);
    assert_eq!(pool.endpoints()[0].live.tokens_in_flight(0), 20_000);

    let own: Vec<u8> = ids(21_000)[80_000..].to_vec();
    let prompts = [Prompt::whole(&own)];
    let request = LlmRequest {
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let found = raw(&scheduler, &request, &pool);
    near(&found, &[0.994_99, 0.999_76], "21000 and 1000 of 4194304");
    drop(account);
}

fn predicted(
    scheduler: &Scheduler,
    pool: &Snapshot,
    predictions: &[Option<Prediction>],
) -> Vec<f64> {
    let ask = Ask {
        now: NOW,
        explain: true,
        predictions,
        ..Ask::default()
    };
    let request = LlmRequest::default();
    let outcome = scheduler
        .schedule(&request, pool, &Candidates::All, ask)
        .unwrap();
    outcome.explain.unwrap().profiles[0].scorers[0].2.clone()
}

#[test]
fn latency_is_scored_by_headroom_or_by_load() {
    let prediction = |ttft: f64, tpot: f64, dispatched: u64| {
        Some(Prediction {
            ttft_ms: 0.0,
            ttft_headroom_ms: ttft,
            tpot_headroom_ms: tpot,
            dispatched,
        })
    };
    let three = [
        prediction(100.0, 10.0, 1),
        prediction(300.0, 20.0, 1),
        prediction(500.0, 5.0, 1),
    ];
    let pool3 = pool(&[make("a"), make("b"), make("c")]);
    let least = only("latency-scorer", "");
    let most = only("latency-scorer", "headroomSelectionStrategy: most");
    near(
        &predicted(&least, &pool3, &three),
        &[0.94, 0.40, 0.20],
        "least",
    );
    near(
        &predicted(&most, &pool3, &three),
        &[0.07, 0.61, 0.81],
        "most",
    );

    let pool2 = pool(&[make("a"), make("b")]);
    let late = [prediction(-50.0, 5.0, 1), prediction(-200.0, 5.0, 1)];
    near(&predicted(&least, &pool2, &late), &[1.01, 0.01], "all late");
    // Those that are in time are scored alone.
    let mixed = [prediction(-50.0, 5.0, 1), prediction(10.0, 5.0, 1)];
    near(
        &predicted(&most, &pool2, &mixed),
        &[0.0, 0.51],
        "one in time",
    );
    // Among the late: idle before slow tokens before a late start.
    for (late, expected) in [
        (
            [prediction(-1.0, -1.0, 0), prediction(5.0, -1.0, 3)],
            [0.51, 0.0],
        ),
        (
            [prediction(5.0, -1.0, 3), prediction(-1.0, 5.0, 3)],
            [0.51, 0.0],
        ),
        (
            [prediction(-1.0, -1.0, 3), prediction(-1.0, 5.0, 3)],
            [0.0, 0.51],
        ),
    ] {
        near(&predicted(&least, &pool2, &late), &expected, "late");
    }

    // Nothing predicted: cache, queue and prefix.
    let bytes = ids(150);
    let prompts = [Prompt::whole(&bytes)];
    let request = LlmRequest {
        target_model: "m",
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let loaded = pool(&[make("a").kv(0.2).waiting(4), make("b").kv(0.6)]);
    near(
        &raw(&least, &request, &loaded),
        &[0.27, 0.47],
        "composite without a prefix",
    );
    let kv_only = only(
        "latency-scorer",
        "compositeKVWeight: 0, compositeQueueWeight: 0, compositePrefixWeight: 0",
    );
    near(&raw(&kv_only, &request, &loaded), &[0.8, 0.4], "no weights");
}

#[test]
fn totals_are_weighted_sums() {
    let text = "plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}]\nschedulingProfiles:\n- name: default\n  plugins: [{pluginRef: queue-scorer, weight: 2}, {pluginRef: kv-cache-utilization-scorer, weight: -0.5}]\n";
    let pool = pool(&[
        make("a").kv(0.5),
        make("b").waiting(4).kv(0.2),
        make("c").waiting(10).kv(0.9),
    ]);
    let outcome = decide(&scheduler(text), &LlmRequest::default(), &pool);
    near(&totals(&outcome, &pool), &[1.75, 0.8, -0.05], "totals");
    assert_eq!(names(&outcome), "a");
}

#[test]
fn the_baseline_follows_prefixes_then_load() {
    // The third endpoint has the whole prompt, the first three quarters of it.
    let scheduler = scheduler(crate::configs::BASELINE);
    let pool = pool(&[
        make("A").kv(0.5),
        make("B").waiting(4).kv(0.2),
        make("C").waiting(10).kv(0.9),
    ]);
    let whole = ids(8 * 64);
    let part = ids(6 * 64);
    for (at, bytes) in [(0, &part), (2, &whole)] {
        let prompts = [Prompt::whole(bytes)];
        let request = LlmRequest {
            target_model: "m",
            prompts: &prompts,
            ..LlmRequest::default()
        };
        let candidates = Candidates::Some(vec![at]);
        let mut outcome = scheduler
            .schedule(&request, &pool, &candidates, Ask::default())
            .unwrap();
        drop(scheduler.dispatch(&request, &mut outcome, NOW));
    }
    let prompts = [Prompt::whole(&whole)];
    let request = LlmRequest {
        target_model: "m",
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let outcome = decide(&scheduler, &request, &pool);
    near(
        &totals(&outcome, &pool),
        &[6.25, 3.8, 4.2],
        "totals of the baseline",
    );
    assert_eq!(names(&outcome), "A");
    assert_eq!(outcome.cached[0].found.cached_tokens(), 384);
}

#[test]
fn prefix_scores_weigh_share_and_length() {
    let text = |parameters: &str| {
        format!("plugins:\n- {{type: prefix-cache-scorer, parameters: {{{parameters}}}}}\n")
    };
    for (parameters, expected) in [
        ("", 0.75),
        ("matchLengthWeight: 0.5", 0.3761),
        ("matchLengthWeight: 1, matchLengthScaleTokens: 100", 1.0),
    ] {
        let scheduler = scheduler(&text(parameters));
        let pool = pool(&[make("a"), make("b")]);
        let part = ids(6 * 64);
        let whole = ids(8 * 64);
        let send = |bytes: &[u8]| {
            let prompts = [Prompt::whole(bytes)];
            let request = LlmRequest {
                prompts: &prompts,
                ..LlmRequest::default()
            };
            let first = Candidates::Some(vec![0]);
            let mut outcome = scheduler
                .schedule(&request, &pool, &first, Ask::default())
                .unwrap();
            drop(scheduler.dispatch(&request, &mut outcome, NOW));
            raw(&scheduler, &request, &pool)
        };
        send(&part);
        let prompts = [Prompt::whole(&whole)];
        let request = LlmRequest {
            prompts: &prompts,
            ..LlmRequest::default()
        };
        near(
            &raw(&scheduler, &request, &pool),
            &[expected, 0.0],
            parameters,
        );
    }
    // A prompt that is not known has no prefix.
    let scheduler = scheduler(&text(""));
    near(&plain(&scheduler, &pool(&[make("a")])), &[0.0], "no prompt");
}

#[test]
fn deciders_compare_what_is_not_cached() {
    let decider = |non_cached, prompt| PrefixDecider {
        non_cached,
        prompt,
        producer: String::new(),
    };
    // non-cached threshold, prompt threshold, prompt, known, cached, decision
    for (non_cached, least, prompt, known, cached, expected) in [
        (16, 0, 1000, true, 512, true),
        (16, 0, 1000, true, 960, true),
        (16, 0, 12, true, 0, false),
        (0, 0, 1000, true, 0, false),
        (16, 0, 1000, false, 0, false),
        (16, 0, 0, true, 0, false),
        (16, 2000, 1000, true, 0, false),
        (16, 1000, 1000, true, 0, true),
        (16, 0, 1000, true, 985, false),
        (16, 0, 1000, true, 1024, false),
    ] {
        assert_eq!(
            decider(non_cached, least).decide(prompt, known, cached),
            expected,
            "{non_cached} {least} {prompt} {known} {cached}"
        );
    }
}

#[test]
fn shedding_by_chance_rises_with_the_fifth_power() {
    let admitter = ProbabilisticAdmitter {
        queue: 5.0,
        kv: 0.8,
        power: 5.0,
        k: 300.0,
    };
    for (saturation, expected) in [
        (0.2, 0.096),
        (0.3, 0.729),
        (0.32, 1.0),
        (2.0, 1.0),
        (0.0, 0.0),
    ] {
        near(
            &[admitter.probability(saturation)],
            &[expected],
            "probability",
        );
    }
}
