//! Filters, detectors and pickers.

use weir_scheduler::{Ask, Candidates, LlmRequest, Prediction, Prompt, Scheduler, Snapshot};

use crate::pool::{NOW, decide, ids, make, names, near, pool, scheduler, try_decide};
use std::time::Duration;

fn filter(kind: &str, parameters: &str) -> Scheduler {
    scheduler(&format!(
        "plugins:\n- {{type: {kind}, parameters: {{{parameters}}}}}\n- {{type: max-score-picker, parameters: {{maxNumOfEndpoints: 99}}}}\n"
    ))
}

/// What passes, in alphabetical order; empty for a rejection.
fn passes(scheduler: &Scheduler, request: &LlmRequest<'_>, pool: &Snapshot) -> String {
    match try_decide(scheduler, request, pool, 1) {
        Ok(outcome) => {
            let names = names(&outcome);
            let mut names: Vec<&str> = names.split(' ').collect();
            names.sort_unstable();
            names.join(" ")
        }
        Err(rejection) => {
            assert_eq!(rejection.code.status(), 429);
            assert_eq!(
                rejection.body(),
                "inference error: ResourceExhausted - no endpoints available for the given request"
            );
            String::new()
        }
    }
}

#[test]
fn roles_and_labels_decide() {
    let pool = pool(&[
        make("both").role("both"),
        make("decode").role("decode"),
        make("encode").role("encode"),
        make("encode-prefill").role("encode-prefill"),
        make("none"),
        make("odd").role("odd"),
        make("prefill").role("prefill"),
    ]);
    let role = "llm-d.ai/role";
    for (kind, parameters, expected) in [
        ("decode-filter", String::new(), "both decode none"),
        (
            "prefill-filter",
            String::new(),
            "both encode-prefill prefill",
        ),
        ("encode-filter", String::new(), "encode encode-prefill"),
        (
            "by-label",
            format!("label: {role}, validValues: [decode, odd]"),
            "decode odd",
        ),
        (
            "by-label",
            format!("label: {role}, validValues: [decode], allowsNoLabel: true"),
            "decode none",
        ),
        (
            "label-selector-filter",
            format!("matchLabels: {{{role}: prefill}}"),
            "prefill",
        ),
        (
            "by-label-selector",
            format!(
                "matchExpressions: [{{key: {role}, operator: NotIn, values: [both, odd, encode]}}]"
            ),
            "decode encode-prefill none prefill",
        ),
        (
            "label-selector-filter",
            format!("matchExpressions: [{{key: {role}, operator: DoesNotExist}}]"),
            "none",
        ),
        ("label-selector-filter", "matchLabels: {a: b}".into(), ""),
        (
            "label-selector-filter",
            String::new(),
            "both decode encode encode-prefill none odd prefill",
        ),
    ] {
        let found = passes(&filter(kind, &parameters), &LlmRequest::default(), &pool);
        assert_eq!(found, expected, "{kind} {parameters}");
    }
}

#[test]
fn labels_are_looked_at_anew_for_a_new_pool() {
    let by_label = filter("by-label", "label: a, validValues: [x]");
    let old = pool(&[make("p").label("a", "x"), make("q")]);
    let new = pool(&[make("p"), make("q").label("a", "x")]);
    let request = LlmRequest::default();
    assert_eq!(passes(&by_label, &request, &old), "p");
    assert_eq!(passes(&by_label, &request, &new), "q");
    assert_eq!(passes(&by_label, &request, &old), "p");
}

#[test]
fn load_filters_keep_what_is_not_full() {
    let ms = Duration::from_millis;
    let pool = pool(&[
        make("a").waiting(2).kv(0.4).running(1),
        make("b").waiting(6).kv(0.4).running(5),
        make("c").waiting(0).kv(0.9),
        make("old").updated(Some(NOW - ms(201))),
        make("edge")
            .waiting(4)
            .kv(0.79)
            .updated(Some(NOW - ms(200))),
    ]);
    for (kind, parameters, expected) in [
        ("utilization-detector", "", "a edge"),
        ("utilization-detector", "headroom: 0.25", "a b c edge"),
        ("utilization-detector", "headroom: 0.2", "a c edge"),
        (
            "utilization-detector",
            "metricsStalenessThreshold: 1s",
            "a edge old",
        ),
        // Nothing passes: everything stays.
        (
            "utilization-detector",
            "queueDepthThreshold: 0.1, kvCacheUtilThreshold: 0.1",
            "a b c edge old",
        ),
        (
            "utilization-filter",
            "conditions: [{metric: waiting-queue, maxValue: 2}]",
            "a c old",
        ),
        (
            "utilization-filter",
            "conditions: [{metric: waiting-queue, maxValue: 2}, {metric: kv-cache-utilization, maxValue: 0.4}]",
            "a old",
        ),
        (
            "utilization-filter",
            "conditions: [{metric: running-requests, maxValue: 0}]",
            "c edge old",
        ),
        (
            "utilization-filter",
            "conditions: [{metric: active-requests, maxValue: -1}]",
            "",
        ),
        (
            "utilization-filter",
            "conditions: [{metric: active-requests, maxValue: -1}], fallbackOnEmpty: true",
            "a b c edge old",
        ),
    ] {
        let found = passes(&filter(kind, parameters), &LlmRequest::default(), &pool);
        assert_eq!(found, expected, "{kind} {parameters}");
    }
}

#[test]
fn detectors_say_how_full_a_pool_is() {
    let stale = Some(NOW - Duration::from_secs(1));
    let three = pool(&[
        make("a").waiting(2).kv(0.4),
        make("b").waiting(6).kv(0.4),
        make("c").updated(stale),
    ]);
    let utilization = scheduler("plugins: [{type: utilization-detector}]");
    near(
        &[utilization.saturation(&three, NOW).effective],
        &[0.9],
        "mean",
    );
    assert_eq!(utilization.stale_endpoints(&three, NOW), 1);
    near(
        &[utilization.saturation(&Snapshot::default(), NOW).effective],
        &[1.0],
        "empty",
    );

    // Parts by role: the fuller one counts; unknown roles only when there is nothing else.
    let parts = pool(&[
        make("p").role("prefill").waiting(10),
        make("d").role("decode").waiting(1),
        make("both").role("both"),
        make("x").role("encode").waiting(50),
    ]);
    let found = utilization.saturation(&parts, NOW);
    near(
        &[
            found.prefill.unwrap(),
            found.decode.unwrap(),
            found.effective,
        ],
        &[1.0, 0.1, 1.0],
        "parts",
    );
    let neither = pool(&[make("x").role("encode").waiting(10)]);
    let found = utilization.saturation(&neither, NOW);
    assert_eq!((found.prefill, found.decode), (None, None));
    near(&[found.effective], &[2.0], "neither");
}

#[test]
fn concurrency_is_counted_in_requests_and_tokens() {
    let detector = |mode: &str, more: &str| {
        scheduler(&format!(
            "plugins:\n- {{type: concurrency-detector, parameters: {{concurrencyMode: {mode}, maxConcurrency: 10, maxTokenConcurrency: 1000{more}}}}}\n- {{type: inflight-load-producer}}\n- {{type: max-score-picker, parameters: {{maxNumOfEndpoints: 9}}}}\nflowControl: {{saturationDetector: {{pluginRef: concurrency-detector}}}}\n"
        ))
    };
    for (mode, expected, passing) in [
        ("requests", 0.85, "a"),
        ("tokens", 0.5, "a b"),
        ("hybrid", 1.05, "a"),
    ] {
        let scheduler = detector(mode, "");
        let pool = pool(&[make("a"), make("b")]);
        let send = |at: u32, count: usize, tokens: u32| {
            let bytes = ids(tokens);
            let prompts = [Prompt::whole(&bytes)];
            let mut accounts = Vec::new();
            for _ in 0..count {
                let request = LlmRequest {
                    prompts: &prompts,
                    ..LlmRequest::default()
                };
                let ask = Ask::default();
                let only = Candidates::Some(vec![at]);
                // The filter is part of the profile, so full endpoints have to be filled around it.
                let sender = filter("active-request-scorer", "");
                let mut outcome = sender.schedule(&request, &pool, &only, ask).unwrap();
                accounts.push(sender.dispatch(&request, &mut outcome, NOW));
            }
            accounts
        };
        // 5 requests and 900 tokens; 12 requests and 100 tokens.
        let mut held = send(0, 4, 0);
        held.extend(send(0, 1, 900));
        held.extend(send(1, 11, 0));
        held.extend(send(1, 1, 100));
        near(
            &[scheduler.saturation(&pool, NOW).effective],
            &[expected],
            mode,
        );
        assert_eq!(
            passes(&scheduler, &LlmRequest::default(), &pool),
            passing,
            "{mode}"
        );
        drop(held);
        near(&[scheduler.saturation(&pool, NOW).effective], &[0.0], mode);
    }
    // A limit is cut to a whole number and there is no way out.
    let none = detector("requests", ", headroom: 0");
    let full = pool(&[make("a")]);
    let sender = filter("active-request-scorer", "");
    let accounts: Vec<_> = (0..10)
        .map(|_| {
            let request = LlmRequest::default();
            let mut outcome = decide(&sender, &request, &full);
            sender.dispatch(&request, &mut outcome, NOW)
        })
        .collect();
    assert_eq!(passes(&none, &LlmRequest::default(), &full), "");
    assert_eq!(
        passes(
            &detector("requests", ", headroom: 0.09"),
            &LlmRequest::default(),
            &full
        ),
        ""
    );
    assert_eq!(
        passes(
            &detector("requests", ", headroom: 0.1"),
            &LlmRequest::default(),
            &full
        ),
        "a"
    );
    drop(accounts);
}

#[test]
fn context_length_filters_only_when_told() {
    let label = "llm-d.ai/context-length-range";
    let pool = pool(&[
        make("bad").label(label, "x"),
        make("long").label(label, "1000-9000"),
        make("none"),
        make("short").label(label, "0-1000"),
    ]);
    let on = filter("context-length-aware", "enableFiltering: true");
    let off = filter("context-length-aware", "");
    for (tokens, expected) in [
        (0, "none short"),
        (1000, "long none short"),
        (1001, "long none"),
        (9001, "none"),
    ] {
        let bytes = ids(tokens);
        let prompts = [Prompt::whole(&bytes)];
        let request = LlmRequest {
            prompts: &prompts,
            ..LlmRequest::default()
        };
        assert_eq!(passes(&on, &request, &pool), expected, "{tokens}");
        assert_eq!(
            passes(&off, &request, &pool),
            "bad long none short",
            "{tokens}"
        );
    }
    // No fallback.
    let only_bad = crate::pool::pool(&[make("bad").label(label, "x")]);
    assert_eq!(passes(&on, &LlmRequest::default(), &only_bad), "");
}

#[test]
fn endpoints_named_by_a_header_are_taken() {
    let scheduler = filter("header-based-testing-filter", "");
    let pool = pool(&[
        make("a").at("10.0.0.1:8000"),
        make("a2").at("10.0.0.1:8001"),
        make("b").at("10.0.0.2:8000"),
        make("c").at("[fd00::1]:8000"),
    ]);
    for (header, expected) in [
        (Some("10.0.0.2"), "b"),
        (Some("10.0.0.1:8001"), "a2"),
        (Some("10.0.0.2, 10.0.0.1"), "a b"),
        (Some("10.0.0.1:8000,10.0.0.1:8001"), "a"),
        (Some("fd00::1,[fd00::1]:8000"), "c"),
        (Some("10.0.0.2:9"), ""),
        (Some("10.0.0.99"), ""),
        (Some(""), ""),
        (None, ""),
    ] {
        let headers = [("test-epp-endpoint-selection", header.unwrap_or_default())];
        let mut request = LlmRequest {
            headers: &headers,
            ..LlmRequest::default()
        };
        if header.is_none() {
            request.headers = &();
        }
        assert_eq!(passes(&scheduler, &request, &pool), expected, "{header:?}");
    }
}

#[test]
fn prefix_affinity_sticks_unless_the_wait_is_too_long() {
    // threshold, penalty, tokens waiting at the sticky one, what stays
    for (parameters, waiting, expected) in [
        ("", 0, "a"),
        ("affinityThreshold: 0.99", 0, "a b"),
        ("affinityThreshold: 0", 0, "a b"),
        ("explorationProbability: 1", 0, "a b"),
        (
            "maxTTFTPenaltyMs: 100, peakPrefillThroughput: 1000",
            64,
            "a",
        ),
        (
            "maxTTFTPenaltyMs: 100, peakPrefillThroughput: 1000",
            128,
            "a b",
        ),
        ("maxTTFTPenaltyMs: 0, peakPrefillThroughput: 1000", 128, "a"),
        ("ttftSource: latencyPredictor", 0, "a"),
    ] {
        let scheduler = scheduler(&format!(
            "plugins:\n- {{type: prefix-cache-affinity-filter, parameters: {{{parameters}}}}}\n- {{type: inflight-load-producer}}\n- {{type: max-score-picker, parameters: {{maxNumOfEndpoints: 9}}}}\n"
        ));
        let pool = pool(&[make("a"), make("b")]);
        let first = Candidates::Some(vec![0]);
        let send = |bytes: &[u8]| {
            let prompts = [Prompt::whole(bytes)];
            let request = LlmRequest {
                prompts: &prompts,
                ..LlmRequest::default()
            };
            let mut outcome = scheduler
                .schedule(&request, &pool, &first, Ask::default())
                .unwrap();
            scheduler.dispatch(&request, &mut outcome, NOW)
        };
        drop(send(&ids(9 * 64)));
        let other: Vec<u8> = ids(5000)[5000..].to_vec();
        let held = send(&other[..waiting * 4]);
        let whole = ids(10 * 64);
        let prompts = [Prompt::whole(&whole)];
        let request = LlmRequest {
            prompts: &prompts,
            ..LlmRequest::default()
        };
        assert_eq!(
            passes(&scheduler, &request, &pool),
            expected,
            "{parameters}"
        );
        drop(held);
        // Nothing cached: everything stays.
        let fresh = LlmRequest {
            target_model: "another",
            ..request
        };
        assert_eq!(passes(&scheduler, &fresh, &pool), "a b", "{parameters}");
    }
}

#[test]
fn those_in_time_are_preferred() {
    let prediction = |headroom: f64| {
        Some(Prediction {
            ttft_headroom_ms: headroom,
            ..Prediction::default()
        })
    };
    let pool = pool(&[make("a"), make("b"), make("c")]);
    for (epsilon, predictions, expected) in [
        ("0", vec![prediction(1.0), prediction(-1.0), None], "a"),
        ("1", vec![prediction(1.0), prediction(-1.0), None], "b c"),
        ("0", vec![prediction(-1.0), prediction(-1.0), None], "a b c"),
        ("0", vec![None, None, None], "a b c"),
        ("0", vec![], "a b c"),
    ] {
        let scheduler = filter(
            "slo-headroom-tier-filter",
            &format!("epsilonExploreNeg: {epsilon}"),
        );
        let ask = Ask {
            predictions: &predictions,
            ..Ask::default()
        };
        let request = LlmRequest::default();
        let outcome = scheduler
            .schedule(&request, &pool, &Candidates::All, ask)
            .unwrap();
        let found = names(&outcome);
        let mut found: Vec<&str> = found.split(' ').collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), expected, "{epsilon} {predictions:?}");
    }
}

#[test]
fn ties_are_drawn_without_favour() {
    for text in [
        "plugins: [{type: queue-scorer}, {type: max-score-picker}]",
        "plugins: [{type: random-picker}]",
        "plugins: [{type: weighted-random-picker}]",
        "plugins: [{type: random-picker, parameters: {maxNumOfEndpoints: 2}}]",
        "plugins: [{type: queue-scorer}, {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}]",
    ] {
        let scheduler = scheduler(text);
        let pool = pool(&[make("a"), make("b"), make("c"), make("d")]);
        let mut counts = [0; 4];
        for seed in 0..2000 {
            let outcome = try_decide(&scheduler, &LlmRequest::default(), &pool, seed).unwrap();
            let first = &outcome.targets[0];
            counts[pool.position(first.key()).unwrap()] += 1;
        }
        // 500 each, within six standard deviations.
        assert!(
            counts.iter().all(|count| (385..615).contains(count)),
            "{text} {counts:?}"
        );
    }
}

#[test]
fn the_weighted_picker_draws_in_proportion() {
    let scheduler =
        scheduler("plugins: [{type: kv-cache-utilization-scorer}, {type: weighted-random-picker}]");
    let pool = pool(&[make("a").kv(0.25), make("b").kv(0.75), make("c").kv(1.0)]);
    let mut counts = [0; 3];
    for seed in 0..4000 {
        let outcome = try_decide(&scheduler, &LlmRequest::default(), &pool, seed).unwrap();
        counts[pool.position(outcome.targets[0].key()).unwrap()] += 1;
    }
    // 3 : 1 : 0
    assert!((2830..3170).contains(&counts[0]), "{counts:?}");
    assert_eq!(counts[2], 0, "{counts:?}");
}

#[test]
fn several_endpoints_come_in_order() {
    let pool = pool(&[make("a").waiting(10), make("b"), make("c").waiting(4)]);
    for (count, expected) in [("2", "b c"), ("9", "b c a"), ("0", "b"), ("-1", "b")] {
        let scheduler = scheduler(&format!(
            "plugins: [{{type: queue-scorer}}, {{type: max-score-picker, parameters: {{maxNumOfEndpoints: {count}}}}}]"
        ));
        let outcome = decide(&scheduler, &LlmRequest::default(), &pool);
        assert_eq!(names(&outcome), expected, "{count}");
    }
}
