//! Profile handlers, deciders, and what is told to the engine.

use weir_scheduler::{
    Ask, Candidates, Code, DropReason, LlmRequest, Media, Outcome, Prompt, Snapshot,
};

use crate::configs::{DISAGGREGATED, SELECTIVE};
use crate::pool::{NOW, decide, ids, make, names, pool, scheduler, try_decide};

fn workers() -> Snapshot {
    pool(&[
        make("d1").role("decode"),
        make("d2").role("decode").waiting(5),
        make("p1").role("prefill"),
        make("p2").role("prefill").waiting(5),
    ])
}

fn header<'o>(outcome: &'o Outcome, name: &str) -> Option<&'o str> {
    let found = outcome.headers.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.as_str())
}

const PREFILL: &str = "x-prefiller-host-port";

#[test]
fn every_request_is_split_where_a_prefill_worker_is() {
    let scheduler = scheduler(DISAGGREGATED);
    let outcome = decide(&scheduler, &LlmRequest::default(), &workers());
    assert!(names(&outcome).starts_with('d'));
    assert_eq!(header(&outcome, PREFILL), Some("10.0.0.3:8000"));
    assert_eq!(outcome.headers.len(), 1);
    assert_eq!(outcome.decision, Some("prefill-decode"));
    assert_eq!(outcome.destination, outcome.targets[0].address.to_string());

    let no_prefill = pool(&[make("d1").role("decode")]);
    let outcome = decide(&scheduler, &LlmRequest::default(), &no_prefill);
    assert_eq!((names(&outcome).as_str(), outcome.headers.len()), ("d1", 0));
    assert_eq!(outcome.decision, Some("decode-only"));

    let no_decode = pool(&[make("p1").role("prefill")]);
    let rejection = try_decide(&scheduler, &LlmRequest::default(), &no_decode, 1).unwrap_err();
    let story = rejection.story.as_ref().unwrap();
    assert_eq!(&*story.profiles[0].filters[0].1[0], "ns/p1");
    assert_eq!(story.profiles[0].reason(), "no endpoint passed the filters");
    assert_eq!(rejection.code, Code::ResourceExhausted);
    assert_eq!(rejection.dropped, Some(DropReason::Saturated));
    assert_eq!(
        rejection.body(),
        "inference error: ResourceExhausted - no endpoints available for the given request"
    );
}

#[test]
fn a_profile_of_that_name_has_to_be_there() {
    let text = "plugins: [{type: disagg-profile-handler}]\nschedulingProfiles: [{name: prefill}]";
    let rejection =
        try_decide(&scheduler(text), &LlmRequest::default(), &workers(), 1).unwrap_err();
    assert_eq!(
        rejection.body(),
        "inference error: ResourceExhausted - failed to find target endpoint: failed to find available decode workers"
    );
}

#[test]
fn only_what_is_not_cached_is_worth_a_prefill_elsewhere() {
    let scheduler = scheduler(SELECTIVE);
    let pool = workers();
    let long = ids(1000);
    let ask = |tokens: &[u8], send: bool| {
        let prompts = [Prompt::whole(tokens)];
        let request = LlmRequest {
            target_model: "m",
            prompts: &prompts,
            ..LlmRequest::default()
        };
        let mut outcome = decide(&scheduler, &request, &pool);
        if send {
            drop(scheduler.dispatch(&request, &mut outcome, NOW));
        }
        outcome
    };
    assert_eq!(
        ask(&long[..4 * 12], false).decision,
        Some("decode-only"),
        "short"
    );
    let first = ask(&long, true);
    assert_eq!(first.decision, Some("prefill-decode"), "long and new");
    let again = ask(&long, false);
    assert_eq!(names(&again), names(&first), "the conversation stays");
    assert_eq!(again.decision, Some("decode-only"), "long and cached");
    assert!(again.has_cached_prefix && !first.has_cached_prefix);
    // The prefill worker has the blocks as well.
    let story = again.explain.unwrap();
    assert!(
        story.reasons[0].contains("1000 prompt tokens, 1024 cached, threshold 16"),
        "{story:?}"
    );
}

#[test]
fn prefill_may_go_first() {
    let text = "
plugins: [{type: prefill-filter}, {type: decode-filter}, {type: queue-scorer}, {type: disagg-profile-handler, parameters: {stageOrder: Prefill_First}}]
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]}
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}]}
";
    let outcome = decide(&scheduler(text), &LlmRequest::default(), &workers());
    let order: Vec<usize> = outcome.profiles.iter().map(|run| run.index).collect();
    assert_eq!(order, [0, 1]);
    assert_eq!(names(&outcome), "d1");
    // The handler writes the header by itself.
    assert_eq!(header(&outcome, PREFILL), Some("10.0.0.3:8000"));
}

#[test]
fn the_older_handler_leaves_headers_to_their_plugin() {
    let text = |headers: &str| {
        format!("
plugins: [{headers}{{type: prefill-filter}}, {{type: decode-filter}}, {{type: queue-scorer}}, {{type: pd-profile-handler, parameters: {{threshold: 0}}}}]
schedulingProfiles:
- {{name: prefill, plugins: [{{pluginRef: prefill-filter}}, {{pluginRef: queue-scorer}}]}}
- {{name: decode, plugins: [{{pluginRef: decode-filter}}, {{pluginRef: queue-scorer}}]}}
")
    };
    let without = decide(&scheduler(&text("")), &LlmRequest::default(), &workers());
    assert_eq!(
        (header(&without, PREFILL), without.decision),
        (None, Some("prefill-decode"))
    );
    let with = scheduler(&text("{type: prefill-header-handler}, "));
    let with = decide(&with, &LlmRequest::default(), &workers());
    assert_eq!(header(&with, PREFILL), Some("10.0.0.3:8000"));
}

#[test]
fn media_are_encoded_elsewhere() {
    let text = "
plugins:
- {type: encode-filter}
- {type: decode-filter}
- {type: always-disagg-multimodal-decider}
- {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}
- {type: disagg-profile-handler, parameters: {deciders: {encode: always-disagg-multimodal-decider}}}
schedulingProfiles:
- {name: encode, plugins: [{pluginRef: encode-filter}]}
- {name: decode, plugins: [{pluginRef: decode-filter}]}
";
    let scheduler = scheduler(text);
    let pool = pool(&[
        make("d").role("decode"),
        make("e1").role("encode"),
        make("e2").role("encode"),
    ]);
    let none = decide(&scheduler, &LlmRequest::default(), &pool);
    assert_eq!(
        (none.headers.len(), none.decision),
        (0, Some("decode-only"))
    );
    let media = [Media {
        hash: "h",
        tokens: 225,
    }];
    let request = LlmRequest {
        media: &media,
        ..LlmRequest::default()
    };
    let outcome = decide(&scheduler, &request, &pool);
    assert_eq!(outcome.decision, Some("encode-decode"));
    let mut hosts: Vec<&str> = header(&outcome, "x-encoder-hosts-ports")
        .unwrap()
        .split(',')
        .collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["10.0.0.2:8000", "10.0.0.3:8000"]);
}

#[test]
fn ranks_are_entered_through_one_port() {
    let ranks = pool(&[
        make("r0").at("10.0.0.1:8000").waiting(3),
        make("r1").at("10.0.0.1:8001"),
        make("v6").at("[fd00::1]:8001").waiting(9),
    ]);
    let text = "plugins: [{type: data-parallel-profile-handler}, {type: queue-scorer}]";
    let outcome = decide(&scheduler(text), &LlmRequest::default(), &ranks);
    assert_eq!(outcome.destination, "10.0.0.1:8000");
    assert_eq!(
        header(&outcome, "x-data-parallel-host-port"),
        Some("10.0.0.1:8001")
    );
    assert_eq!(outcome.targets[0].address.port(), 8001);

    let only_v6 = Candidates::Some(vec![2]);
    let request = LlmRequest::default();
    let outcome = scheduler(text)
        .schedule(&request, &ranks, &only_v6, Ask::default())
        .unwrap();
    assert_eq!(outcome.destination, "[fd00::1]:8000");
}

#[test]
fn a_header_names_the_profile() {
    let text = "
plugins: [{type: header-profile-handler}, {type: queue-scorer}, {type: decode-filter}, {type: prefill-filter}]
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]}
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}]}
";
    let scheduler = scheduler(text);
    let ask = |profile: &str| {
        let headers = [("epp-profile", profile)];
        let request = LlmRequest {
            headers: &headers,
            ..LlmRequest::default()
        };
        try_decide(&scheduler, &request, &workers(), 1)
    };
    assert_eq!(names(&ask("prefill").unwrap()), "p1");
    assert_eq!(names(&ask("decode").unwrap()), "d1");
    let rejection = ask("nope").unwrap_err();
    assert_eq!(rejection.code.status(), 429);
    assert!(
        rejection
            .body()
            .contains("failed to find target endpoint: ")
    );
    let default = decide(&scheduler, &LlmRequest::default(), &workers());
    assert_eq!(names(&default), "d1");
}

#[test]
fn no_candidates_are_another_answer_than_all_filtered() {
    let scheduler = scheduler("plugins: [{type: random-picker}]");
    let rejection =
        try_decide(&scheduler, &LlmRequest::default(), &Snapshot::default(), 1).unwrap_err();
    assert_eq!(
        (rejection.code.status(), rejection.dropped),
        (503, Some(DropReason::NoEndpoints))
    );
    assert_eq!(
        rejection.body(),
        "inference error: ServiceUnavailable - failed to find endpoint candidates for serving the request"
    );
    let nobody = Candidates::from_hint(&workers(), ["10.9.9.9"]);
    let request = LlmRequest::default();
    let hinted = scheduler.schedule(&request, &workers(), &nobody, Ask::default());
    assert_eq!(hinted.unwrap_err(), rejection);
}

#[test]
fn sheddable_requests_are_shed_when_the_pool_is_full() {
    let scheduler = scheduler("");
    let full = pool(&[make("a").waiting(6)]);
    let half = pool(&[make("a").waiting(2)]);
    for (priority, pool, admitted) in [
        (-1, &full, false),
        (-1, &half, true),
        (0, &full, true),
        (1, &full, true),
    ] {
        let request = LlmRequest {
            priority,
            ..LlmRequest::default()
        };
        let found = scheduler.admit(&request, pool, &Candidates::All, NOW);
        assert_eq!(found.is_ok(), admitted, "{priority}");
        if let Err(rejection) = found {
            assert_eq!(rejection.dropped, None);
            assert_eq!(
                rejection.body(),
                "inference error: ResourceExhausted - system saturated, sheddable request dropped"
            );
        }
    }
}

#[test]
fn a_story_is_told_when_asked_for() {
    let scheduler = scheduler(DISAGGREGATED);
    let outcome = decide(&scheduler, &LlmRequest::default(), &workers());
    let story = outcome.explain.unwrap();
    assert_eq!(story.profiles.len(), 2);
    let decode = &story.profiles[0];
    assert_eq!(decode.profile, "decode");
    assert_eq!(decode.candidates.len(), 4);
    let (filter, removed) = &decode.filters[0];
    assert_eq!(filter, "decode-filter");
    assert_eq!(
        removed.iter().map(|id| &**id).collect::<Vec<_>>(),
        ["ns/p1", "ns/p2"]
    );
    assert_eq!(decode.scorers.len(), 2);
    assert_eq!(decode.picked.len(), 1);
    let json = story.to_json();
    assert_eq!(
        json["profiles"][0]["scores"][0]["scores"][0]["scorer"],
        "active-request-scorer"
    );
    assert_eq!(json["reasons"][0], "prefill runs elsewhere: always");
    let reason = decode.reason();
    assert!(
        reason.starts_with("drawn among 2 with a total of "),
        "{reason}"
    );
    let prefill = story.profiles[1].reason();
    assert_eq!(prefill, "the highest total, 4.0000; the next is 2.0000");
    let request = LlmRequest::default();
    let silent = scheduler.schedule(&request, &workers(), &Candidates::All, Ask::default());
    let silent = silent.unwrap();
    assert!(silent.explain.is_none() && silent.scores.is_none());
}

/// A clock that ticks whenever somebody looks at it.
#[derive(Debug, Default)]
struct Ticking {
    now: std::sync::atomic::AtomicU64,
    took: std::sync::Mutex<Vec<(&'static str, usize, u128)>>,
}

impl weir_scheduler::Probe for Ticking {
    fn now(&self) -> std::time::Duration {
        let now = self.now.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::time::Duration::from_nanos(now)
    }

    fn took(
        &self,
        point: weir_scheduler::ExtensionPoint,
        plugin: usize,
        time: std::time::Duration,
    ) {
        self.took
            .lock()
            .unwrap()
            .push((point.label(), plugin, time.as_nanos()));
    }
}

#[test]
fn the_time_of_every_plugin_is_taken_when_asked_for() {
    let scheduler = scheduler(SELECTIVE);
    let probe = Ticking::default();
    let bytes = ids(1000);
    let prompts = [Prompt::whole(&bytes)];
    let request = LlmRequest {
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let ask = Ask {
        now: NOW,
        probe: Some(&probe),
        ..Ask::default()
    };
    let mut outcome = scheduler
        .schedule(&request, &workers(), &Candidates::All, ask)
        .unwrap();
    drop(scheduler.dispatch_probed(&request, &mut outcome, NOW, Some(&probe)));
    let took = probe.took.lock().unwrap();
    assert!(took.iter().all(|(.., time)| *time == 1));
    let config = scheduler.config();
    let seen: Vec<String> = took
        .iter()
        .map(|(point, plugin, _)| format!("{point} {}", config.plugins[*plugin].metric_type()))
        .collect();
    assert_eq!(
        seen,
        [
            "DataProducer approx-prefix-cache-producer",
            "Filter by-label",
            "Scorer prefix-cache-scorer",
            "Scorer queue-scorer",
            "Picker max-score-picker",
            "ProfilePicker disagg-profile-handler",
            "Filter by-label",
            "Scorer prefix-cache-scorer",
            "Scorer queue-scorer",
            "Picker max-score-picker",
            "PreRequest approx-prefix-cache-producer",
        ]
    );
}
