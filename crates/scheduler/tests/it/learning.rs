//! What is learnt when requests are sent: prefixes, the order of cold requests, sessions.

use std::time::Duration;

use weir_scheduler::{Ask, Candidates, LlmRequest, Media, Prompt, Scheduler, Snapshot};

use crate::pool::{Make, NOW, decide, ids, make, names, near, only, pool, raw, scheduler};

/// Sends a prompt to the endpoint at a position.
fn send(scheduler: &Scheduler, pool: &Snapshot, at: u32, model: &str, bytes: &[u8]) {
    let prompts = [Prompt::whole(bytes)];
    let request = LlmRequest {
        target_model: model,
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let only = Candidates::Some(vec![at]);
    let mut outcome = scheduler
        .schedule(&request, pool, &only, Ask::default())
        .unwrap();
    drop(scheduler.dispatch(&request, &mut outcome, NOW));
}

fn prefix(
    scheduler: &Scheduler,
    pool: &Snapshot,
    model: &str,
    salt: &str,
    bytes: &[u8],
) -> Vec<f64> {
    let prompts = [Prompt::whole(bytes)];
    let request = LlmRequest {
        target_model: model,
        cache_salt: salt,
        prompts: &prompts,
        ..LlmRequest::default()
    };
    raw(scheduler, &request, pool)
}

#[test]
fn prefixes_are_found_where_they_were_sent() {
    let scheduler = only("prefix-cache-scorer", "");
    let pool = pool(&[make("A"), make("B")]);
    send(&scheduler, &pool, 0, "m", &ids(150));
    send(&scheduler, &pool, 1, "m", &ids(100));
    near(
        &prefix(&scheduler, &pool, "m", "", &ids(150)),
        &[1.0, 1.0 / 3.0],
        "the same",
    );
    near(
        &prefix(&scheduler, &pool, "m", "", &ids(192)),
        &[2.0 / 3.0, 1.0 / 3.0],
        "longer",
    );
    near(
        &prefix(&scheduler, &pool, "n", "", &ids(150)),
        &[0.0, 0.0],
        "another model",
    );
    near(
        &prefix(&scheduler, &pool, "m", "s", &ids(150)),
        &[0.0, 0.0],
        "a salt",
    );
    let size = scheduler.prefix_sizes().next().unwrap();
    assert_eq!(
        size,
        (
            "approx-prefix-cache-producer",
            "approx-prefix-cache-producer",
            4
        )
    );

    // Endpoints that are gone take what was learnt with them.
    let left = Snapshot::new(pool.endpoints()[1..].to_vec());
    scheduler.endpoints_changed(&left);
    assert_eq!(scheduler.prefix_sizes().next().unwrap().2, 2);
    near(
        &prefix(&scheduler, &left, "m", "", &ids(150)),
        &[1.0 / 3.0],
        "gone",
    );
}

#[test]
fn several_prompts_are_several_chains() {
    let scheduler = only("prefix-cache-scorer", "");
    let pool = pool(&[make("A"), make("B")]);
    send(&scheduler, &pool, 0, "m", &ids(128));
    let one = ids(128);
    let other: Vec<u8> = one.iter().rev().copied().collect();
    let prompts = [Prompt::whole(&other), Prompt::whole(&one)];
    let request = LlmRequest {
        target_model: "m",
        prompts: &prompts,
        ..LlmRequest::default()
    };
    near(
        &raw(&scheduler, &request, &pool),
        &[0.5, 0.0],
        "the second prompt",
    );
    assert_eq!(request.prompt_tokens(), 256);
}

#[test]
fn block_size_and_capacity_follow_the_endpoints() {
    // parameters, endpoints' block size and number, blocks of 1000 tokens, blocks remembered of 50
    for (parameters, size, count, total, held) in [
        ("", 0, 0, 16, 50),
        ("", 16, 10, 16, 10),
        ("", 128, 10, 8, 10),
        ("autoTune: false", 128, 10, 16, 50),
        (
            "autoTune: false, blockSizeTokens: 100, lruCapacityPerServer: 7",
            128,
            10,
            10,
            7,
        ),
        ("maxPrefixTokensToMatch: 500", 0, 0, 7, 7),
        ("maxPrefixTokensToMatch: 63", 0, 0, 0, 0),
        (
            "maxPrefixTokensToMatch: 0, maxPrefixBlocksToMatch: 3",
            0,
            0,
            3,
            3,
        ),
        (
            "maxPrefixTokensToMatch: 0, maxPrefixBlocksToMatch: 0",
            0,
            0,
            16,
            50,
        ),
    ] {
        let scheduler = scheduler(&format!(
            "plugins:\n- {{type: approx-prefix-cache-producer, parameters: {{{parameters}}}}}\n- {{type: prefix-cache-scorer}}\n"
        ));
        let pool = pool(&[make("a").blocks(size, count)]);
        let bytes = ids(1000);
        let prompts = [Prompt::whole(&bytes)];
        let request = LlmRequest {
            prompts: &prompts,
            ..LlmRequest::default()
        };
        let outcome = decide(&scheduler, &request, &pool);
        let found = outcome
            .cached
            .first()
            .map_or(0, |cached| cached.found.total);
        assert_eq!(found, total, "{parameters}");
        send(&scheduler, &pool, 0, "m", &ids(64 * 50));
        let known = scheduler.prefix_sizes().next().unwrap().2;
        if size != 128 || parameters.contains("autoTune: false") {
            assert_eq!(known.min(held), known, "{parameters}");
        }
        assert!(known <= held.max(1), "{parameters}: {known}");
    }
}

#[test]
fn the_smallest_block_size_counts() {
    let scheduler = only("prefix-cache-scorer", "");
    let pool = pool(&[
        make("a").blocks(256, 10),
        make("b").blocks(128, 10),
        make("c"),
    ]);
    let bytes = ids(1000);
    let prompts = [Prompt::whole(&bytes)];
    let request = LlmRequest {
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let outcome = decide(&scheduler, &request, &pool);
    assert_eq!(outcome.cached[0].found.block_size, 128);
}

#[test]
fn a_head_of_the_prompt_is_enough() {
    let scheduler = only("prefix-cache-scorer", "");
    let bytes = scheduler.needs().prompt_bytes.unwrap();
    assert_eq!(bytes, 524_288);
    let unread = crate::pool::scheduler("plugins: [{type: random-picker}]").needs();
    assert!(!unread.prompt && !unread.media);
    assert_eq!(unread.prompt_bytes, Some(0));
    let blocks = crate::pool::scheduler(
        "plugins:\n- {type: prefix-cache-scorer}\n- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 0}}\n",
    );
    assert_eq!(blocks.needs().prompt_bytes, None);
}

#[test]
fn cold_requests_go_where_the_last_one_is_longest_ago() {
    let scheduler = only("no-hit-lru-scorer", "");
    let pool = pool(&[make("A"), make("B"), make("C"), make("D")]);
    let none = LlmRequest::default();
    near(
        &raw(&scheduler, &none, &pool),
        &[1.0, 0.6667, 0.3333, 0.0],
        "never used",
    );
    send(&scheduler, &pool, 1, "m", b"");
    send(&scheduler, &pool, 3, "m", b"");
    near(
        &raw(&scheduler, &none, &pool),
        &[1.0, 0.3333, 0.6667, 0.0],
        "B then D",
    );
    send(&scheduler, &pool, 1, "m", b"");
    near(
        &raw(&scheduler, &none, &pool),
        &[1.0, 0.0, 0.6667, 0.3333],
        "B again",
    );

    // Somebody has it: no preference, and the order stays.
    send(&scheduler, &pool, 2, "m", &ids(64));
    near(
        &raw(&scheduler, &none, &pool),
        &[1.0, 0.3333, 0.0, 0.6667],
        "C as well",
    );
    let bytes = ids(64);
    let prompts = [Prompt::whole(&bytes)];
    let warm = LlmRequest {
        target_model: "m",
        prompts: &prompts,
        ..LlmRequest::default()
    };
    near(&raw(&scheduler, &warm, &pool), &[0.5; 4], "a hit");
    let mut outcome = decide(&scheduler, &warm, &pool);
    drop(scheduler.dispatch(&warm, &mut outcome, NOW));
    near(
        &raw(&scheduler, &none, &pool),
        &[1.0, 0.3333, 0.0, 0.6667],
        "unchanged",
    );

    // One candidate; and used endpoints that are no candidates keep their places.
    let ask = Ask {
        explain: true,
        ..Ask::default()
    };
    let of = |positions: &[u32]| {
        let some = Candidates::Some(positions.to_vec());
        let outcome = scheduler.schedule(&none, &pool, &some, ask).unwrap();
        outcome.explain.unwrap().profiles[0].scorers[0].2.clone()
    };
    near(&of(&[2]), &[1.0], "one");
    // D, B and C were used in this order: B is second, C third.
    near(&of(&[1, 2]), &[0.0, 0.0], "two that were used");
}

#[test]
fn the_order_of_cold_requests_is_bounded() {
    let scheduler = only("no-hit-lru-scorer", "lruSize: 1");
    let pool = pool(&[make("A"), make("B"), make("C")]);
    send(&scheduler, &pool, 0, "m", b"");
    send(&scheduler, &pool, 1, "m", b"");
    near(
        &raw(&scheduler, &LlmRequest::default(), &pool),
        &[1.0, 0.0, 0.5],
        "A is forgotten",
    );
}

#[test]
fn encoder_outputs_are_found_where_they_were_sent() {
    let scheduler = only("mm-embeddings-cache-scorer", "");
    let pool = pool(&[make("a"), make("b")]);
    let item = |hash, tokens| Media { hash, tokens };
    let cat = [item("cat", 225)];
    let request = LlmRequest {
        media: &cat,
        ..LlmRequest::default()
    };
    near(&raw(&scheduler, &request, &pool), &[0.0, 0.0], "new");
    let first = Candidates::Some(vec![0]);
    let mut outcome = scheduler
        .schedule(&request, &pool, &first, Ask::default())
        .unwrap();
    drop(scheduler.dispatch(&request, &mut outcome, NOW));
    near(&raw(&scheduler, &request, &pool), &[1.0, 0.0], "known");
    let two = [item("dog", 75), item("cat", 225)];
    let request = LlmRequest {
        media: &two,
        ..LlmRequest::default()
    };
    near(&raw(&scheduler, &request, &pool), &[0.75, 0.0], "in part");
    near(
        &raw(&scheduler, &LlmRequest::default(), &pool),
        &[0.0, 0.0],
        "no media",
    );
}

#[test]
fn a_token_leads_back_to_its_endpoint() {
    let scheduler = only("session-affinity-scorer", "");
    let pool = pool(&[make("a"), make("b")]);
    let outcome = decide(&scheduler, &LlmRequest::default(), &pool);
    let token = &outcome.response_headers[0];
    let expected = if names(&outcome).starts_with('a') {
        "bnMvYQ=="
    } else {
        "bnMvYg=="
    };
    assert_eq!(
        (token.0.as_str(), token.1.as_str()),
        ("x-session-token", expected)
    );
    for (token, expected) in [
        ("bnMvYg==", [0.0, 1.0]),
        ("bnMvYQ==", [1.0, 0.0]),
        ("bnMveg==", [0.0, 0.0]),
        ("bnMvYg", [0.0, 0.0]),
        ("?", [0.0, 0.0]),
        ("", [0.0, 0.0]),
    ] {
        let headers = [("x-session-token", token)];
        let request = LlmRequest {
            headers: &headers,
            ..LlmRequest::default()
        };
        near(&raw(&scheduler, &request, &pool), &expected, token);
    }
}

/// Decides and sends within a session; returns the target.
fn in_session(
    scheduler: &Scheduler,
    pool: &Snapshot,
    candidates: &Candidates,
    header: (&str, &str),
    now: Duration,
) -> String {
    let headers = [header];
    let request = LlmRequest {
        headers: &headers,
        ..LlmRequest::default()
    };
    let ask = Ask {
        now,
        ..Ask::default()
    };
    let mut outcome = scheduler.schedule(&request, pool, candidates, ask).unwrap();
    drop(scheduler.dispatch(&request, &mut outcome, now));
    names(&outcome)
}

#[test]
fn sessions_are_bound_move_and_expire() {
    let text = "
plugins:
- {type: session-affinity-scorer, parameters: {strategy: session_id, sessionIdConfig: {evictionTtlSeconds: 60, evictionSweepSeconds: 10}}}
- {type: kv-cache-utilization-scorer}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: session-affinity-scorer, weight: 5}, {pluginRef: kv-cache-utilization-scorer}]}
";
    let scheduler = scheduler(text);
    let pool = pool(&[make("a").kv(0.9), make("b"), make("c").kv(0.5)]);
    let id = ("x-session-id", "s1");
    let all = Candidates::All;
    let at = |seconds| NOW + Duration::from_secs(seconds);
    let only_a = Candidates::Some(vec![0]);
    let not_a = Candidates::Some(vec![1, 2]);
    assert_eq!(in_session(&scheduler, &pool, &only_a, id, at(0)), "a");
    assert_eq!(in_session(&scheduler, &pool, &all, id, at(1)), "a", "bound");
    assert_eq!(
        in_session(&scheduler, &pool, &all, ("x-session-id", "s2"), at(1)),
        "b",
        "another"
    );
    assert_eq!(
        in_session(&scheduler, &pool, &all, ("x-other", "s1"), at(1)),
        "b",
        "none"
    );
    assert_eq!(
        in_session(&scheduler, &pool, &not_a, id, at(2)),
        "b",
        "a is no candidate: moves"
    );
    assert_eq!(
        in_session(&scheduler, &pool, &only_a, ("x-session-id", "s3"), at(2)),
        "a"
    );
    // Used last at 2 s; a sweep runs when any request is sent.
    assert_eq!(
        in_session(&scheduler, &pool, &all, ("x-session-id", "s4"), at(90)),
        "b"
    );
    assert_eq!(
        in_session(&scheduler, &pool, &all, ("x-session-id", "s3"), at(91)),
        "b",
        "expired"
    );
}

#[test]
fn the_id_of_a_session_may_be_a_cookie() {
    let text = "
plugins:
- {type: session-id-producer, parameters: {cookieName: sid}}
- {type: session-affinity-filter, parameters: {strategy: session_id, sessionIdConfig: {sources: [{header: X-Sid}, {attribute: SessionID}]}}}
- {type: random-picker}
";
    let scheduler = scheduler(text);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let makes: Vec<Make> = names.into_iter().map(make).collect();
    let pool = pool(&makes);
    let third = Candidates::Some(vec![3]);
    let cookie = ("cookie", "a=b; sid=x1 ; c=d");
    in_session(&scheduler, &pool, &third, cookie, NOW);
    let headers = [cookie];
    let request = LlmRequest {
        headers: &headers,
        ..LlmRequest::default()
    };
    for _ in 0..5 {
        let outcome = decide(&scheduler, &request, &pool);
        assert_eq!(outcome.targets[0].address, pool.endpoints()[3].address);
    }
    // Without a session nothing is filtered.
    let free = decide(&scheduler, &LlmRequest::default(), &pool);
    assert_eq!(free.explain.unwrap().profiles[0].scored.len(), 8);
}
