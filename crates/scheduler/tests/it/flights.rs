//! Requests in flight are counted once and given back once.

use weir_scheduler::{LlmRequest, Prompt, Snapshot};

use crate::configs::DISAGGREGATED;
use crate::pool::{NOW, decide, ids, make, pool, scheduler};

/// Requests and tokens in flight of every endpoint.
fn held(pool: &Snapshot) -> Vec<(i64, i64)> {
    pool.endpoints()
        .iter()
        .map(|endpoint| {
            (
                endpoint.live.requests_in_flight(),
                endpoint.live.tokens_in_flight(0),
            )
        })
        .collect()
}

fn workers() -> Snapshot {
    pool(&[make("d").role("decode"), make("p").role("prefill")])
}

#[test]
fn prompts_go_back_at_the_first_piece_and_requests_at_the_end() {
    let scheduler = scheduler(DISAGGREGATED);
    let pool = workers();
    let bytes = ids(150);
    let prompts = [Prompt::whole(&bytes)];
    let request = LlmRequest {
        target_model: "m",
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let mut outcome = decide(&scheduler, &request, &pool);
    assert_eq!(
        held(&pool),
        [(0, 0), (0, 0)],
        "a decision alone counts nothing"
    );
    let mut account = scheduler.dispatch(&request, &mut outcome, NOW);
    assert_eq!(held(&pool), [(1, 192), (1, 192)]);
    assert_eq!(
        account
            .held()
            .map(|(_, requests, tokens)| (requests, tokens))
            .collect::<Vec<_>>(),
        [(1, 192), (1, 192)]
    );
    for _ in 0..2 {
        account.first_chunk();
        // The prefill worker is done, the decode worker has the request only.
        assert_eq!(held(&pool), [(1, 0), (0, 0)]);
    }
    account.end();
    assert_eq!(held(&pool), [(0, 0), (0, 0)]);

    // Cached on both now.
    let mut outcome = decide(&scheduler, &request, &pool);
    let account = scheduler.dispatch(&request, &mut outcome, NOW);
    assert_eq!(held(&pool), [(1, 0), (1, 0)]);
    // A second dispatch of the same outcome counts nothing.
    let nothing = scheduler.dispatch(&request, &mut outcome, NOW);
    assert_eq!(nothing.endpoints().count(), 0);
    drop(account);
    drop(nothing);
    assert_eq!(held(&pool), [(0, 0), (0, 0)]);
}

#[test]
fn tokens_to_come_stay_until_the_end() {
    // parameters, client's limit, tokens
    for (parameters, limit, expected) in [
        ("addEstimatedOutputTokens: true", None, 64 + 96),
        ("addEstimatedOutputTokens: true", Some(10), 64 + 10),
        (
            "addEstimatedOutputTokens: true, maxEstimatedOutputTokens: 5",
            Some(10),
            64 + 5,
        ),
        (
            "addEstimatedOutputTokens: true, outputRatio: 0.5",
            None,
            64 + 32,
        ),
        ("outputRatio: 3", None, 64),
    ] {
        let scheduler = scheduler(&format!(
            "plugins:\n- {{type: inflight-load-producer, parameters: {{{parameters}}}}}\n- {{type: random-picker}}\n"
        ));
        let pool = pool(&[make("a")]);
        let bytes = ids(64);
        let prompts = [Prompt::whole(&bytes)];
        let request = LlmRequest {
            prompts: &prompts,
            max_output_tokens: limit,
            ..LlmRequest::default()
        };
        let mut outcome = decide(&scheduler, &request, &pool);
        let mut account = scheduler.dispatch(&request, &mut outcome, NOW);
        assert_eq!(held(&pool), [(1, expected)], "{parameters}");
        account.first_chunk();
        let left = if parameters.contains("add") {
            expected
        } else {
            0
        };
        assert_eq!(held(&pool), [(1, left)], "{parameters}");
        drop(account);
        assert_eq!(held(&pool), [(0, 0)], "{parameters}");
    }
}

#[test]
fn a_request_of_unknown_length_counts_as_a_request() {
    let scheduler = scheduler("plugins: [{type: active-request-scorer}]");
    let pool = pool(&[make("a")]);
    let mut outcome = decide(&scheduler, &LlmRequest::default(), &pool);
    let account = scheduler.dispatch(&LlmRequest::default(), &mut outcome, NOW);
    assert_eq!(held(&pool), [(1, 0)]);
    drop(account);
}

#[test]
fn a_new_label_keeps_the_count_and_a_new_life_does_not() {
    let scheduler = scheduler("plugins: [{type: active-request-scorer}]");
    let old = pool(&[make("a")]);
    let mut outcome = decide(&scheduler, &LlmRequest::default(), &old);
    let account = scheduler.dispatch(&LlmRequest::default(), &mut outcome, NOW);
    let relabelled = old.endpoints()[0].relabelled([("k", "v")].into_iter().collect());
    let relabelled = Snapshot::new(vec![relabelled.into()]);
    assert_eq!(held(&relabelled), [(1, 0)]);
    let reborn = pool(&[make("a")]);
    assert_eq!(held(&reborn), [(0, 0)]);
    drop(account);
    assert_eq!(held(&relabelled), [(0, 0)]);
    assert_eq!(held(&reborn), [(0, 0)]);
}

#[test]
fn a_primary_profile_of_that_name_is_no_prefill_worker() {
    let text = "plugins: [{type: header-profile-handler, parameters: {defaultProfile: prefill}}, {type: active-request-scorer}]\nschedulingProfiles:\n- {name: prefill, plugins: [{pluginRef: active-request-scorer}]}\n";
    let scheduler = scheduler(text);
    let pool = pool(&[make("a")]);
    let mut outcome = decide(&scheduler, &LlmRequest::default(), &pool);
    let mut account = scheduler.dispatch(&LlmRequest::default(), &mut outcome, NOW);
    account.first_chunk();
    assert_eq!(held(&pool), [(1, 0)]);
    drop(account);
}
