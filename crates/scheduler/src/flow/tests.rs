use std::collections::BTreeSet;

use proptest::prelude::{prop, proptest};

use super::*;
use crate::config::{Config, FairnessPolicy, Options};

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn controller(section: &str) -> Controller {
    let text = format!("featureGates: [flowControl]\nflowControl: {{{section}}}\n");
    let config = Config::parse(&text, "", &Options::default()).unwrap();
    let mut controller = Controller::new(config.flow, Duration::ZERO);
    controller.pool_is(false, Duration::ZERO);
    controller
}

fn item(priority: i32, flow: &str) -> Item {
    Item {
        priority,
        fairness_id: flow.to_owned(),
        bytes: 10,
        received: Duration::ZERO,
        ttft_goal_ms: None,
    }
}

/// Flows of everything that leaves an unsaturated pool, in order.
fn order(controller: &mut Controller, now: Duration) -> String {
    std::iter::from_fn(|| controller.dispatch(0.0, now))
        .map(|ended| ended.item.fairness_id)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_timeline_of_the_specification() {
    let mut flow = controller(
        "defaultRequestTTL: 60s, noEndpointRequestTTL: 300s, priorityBands: [{priority: 100}]",
    );
    // The one endpoint has 5 waiting: 1.0.
    let r1 = flow.enqueue(item(0, "a"), at(0.010)).unwrap();
    let r2 = flow.enqueue(item(100, "b"), at(0.020)).unwrap();
    let r3 = flow.enqueue(item(0, "c"), at(0.030)).unwrap();
    assert_eq!(flow.dispatch(1.0, at(0.031)), None);
    let first = flow.dispatch(0.8, at(0.051)).unwrap();
    assert_eq!(
        (first.ticket, first.outcome),
        (Some(r2), Outcome::Dispatched)
    );
    assert_eq!(first.waited, at(0.051) - at(0.020));
    assert_eq!(flow.dispatch(0.8, at(0.052)).unwrap().ticket, Some(r1));
    assert_eq!(flow.dispatch(0.8, at(0.053)).unwrap().ticket, Some(r3));

    let r4 = flow.enqueue(item(0, "a"), at(1.0)).unwrap();
    let r5 = flow.enqueue(item(7, "z"), at(2.0)).unwrap();
    assert_eq!(
        flow.bands()
            .map(|band| (band.priority, band.requests))
            .collect::<Vec<_>>(),
        [(100, 0), (0, 2)]
    );
    assert_eq!(flow.sweep(at(60.9)), []);
    let ended = flow.sweep(at(61.5));
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (ended[0].ticket, ended[0].outcome),
        (Some(r4), Outcome::EvictedTtl)
    );
    let ended = flow.sweep(at(62.5));
    assert_eq!(ended[0].ticket, Some(r5));
    assert_eq!(
        ended[0].item.priority, 7,
        "the label keeps the request's own priority"
    );

    let r6 = flow.enqueue(item(0, "a"), at(80.0)).unwrap();
    flow.pool_is(true, at(90.0));
    let r7 = flow.enqueue(item(0, "b"), at(100.0)).unwrap();
    // An empty pool is full.
    assert_eq!(flow.dispatch(1.0, at(120.0)), None);
    assert_eq!(flow.sweep(at(149.0)), []);
    flow.pool_is(false, at(150.0));
    assert_eq!(flow.dispatch(1.0, at(150.001)), None);
    assert_eq!(flow.dispatch(0.25, at(150.050)).unwrap().ticket, Some(r6));
    assert_eq!(flow.dispatch(0.25, at(150.051)).unwrap().ticket, Some(r7));
    assert!(flow.is_empty());
}

#[test]
fn budgets_start_anew_when_the_pool_flips_but_not_for_ever() {
    let mut flow = controller("defaultRequestTTL: 60s, noEndpointRequestTTL: 300s");
    flow.enqueue(item(0, "a"), at(80.0)).unwrap();
    flow.pool_is(true, at(90.0));
    assert_eq!(flow.sweep(at(381.9)), []);
    // 80 + 302, before 90 + 300.
    let ended = flow.sweep(at(382.0));
    assert_eq!(ended[0].outcome, Outcome::EvictedNoEndpoints);
    let rejection = ended[0].outcome.rejection().unwrap();
    assert_eq!(rejection.code.status(), 503);
    assert_eq!(
        rejection.message,
        "request timed out in queue and no endpoints are available: request evicted from queue: request TTL expired: no endpoints available"
    );

    // Without a limit in one regime there is no hard stop either.
    let mut flow = controller("defaultRequestTTL: 0s, noEndpointRequestTTL: 10s");
    flow.enqueue(item(0, "a"), at(0.0)).unwrap();
    assert_eq!(flow.sweep(at(9999.0)), []);
    flow.pool_is(true, at(10_000.0));
    assert_eq!(flow.sweep(at(10_009.0)), []);
    assert_eq!(flow.sweep(at(10_010.0)).len(), 1);
}

#[test]
fn what_does_not_fit_is_refused() {
    // section, priorities that came before, outcome of one more of priority 0
    for (section, before, refused) in [
        ("maxRequests: 2", vec![1, 1], true),
        ("maxRequests: 3", vec![1, 1], false),
        ("maxBytes: 29", vec![1, 1], true),
        ("maxBytes: 30", vec![1, 1], false),
        (
            "priorityBands: [{priority: 0, maxRequests: 1}, {priority: 1}]",
            vec![0],
            true,
        ),
        (
            "priorityBands: [{priority: 0, maxRequests: 1}, {priority: 1}]",
            vec![1, 1],
            false,
        ),
        (
            "priorityBands: [{priority: 0, maxBytes: 19}, {priority: 1}]",
            vec![0],
            true,
        ),
        ("defaultPriorityBand: {maxBytes: '9'}", vec![], true),
    ] {
        for empty in [false, true] {
            let mut flow = controller(section);
            flow.provision([1], at(0.0));
            flow.pool_is(empty, at(0.0));
            for priority in &before {
                flow.enqueue(item(*priority, "a"), at(0.0)).unwrap();
            }
            let found = flow.enqueue(item(0, "b"), at(0.0));
            assert_eq!(found.is_err(), refused, "{section}");
            if let Err(ended) = found {
                let (outcome, status) = if empty {
                    (Outcome::RejectedNoEndpoints, 503)
                } else {
                    (Outcome::RejectedCapacity, 429)
                };
                assert_eq!((ended.ticket, ended.outcome), (None, outcome));
                assert_eq!(outcome.rejection().unwrap().code.status(), status);
            }
        }
    }
}

#[test]
fn flows_take_turns_or_the_oldest_goes_first() {
    let requests = ["a", "a", "a", "b", "c", "b"];
    for (policy, expected) in [
        ("global-strict-fairness-policy", "a a a b c b"),
        ("round-robin-fairness-policy", "a b c a b a"),
    ] {
        let section = format!("defaultPriorityBand: {{fairnessPolicyRef: {policy}}}");
        let mut flow = controller(&section);
        for (index, name) in (0u32..).zip(requests) {
            flow.enqueue(item(0, name), at(f64::from(index))).unwrap();
        }
        assert_eq!(order(&mut flow, at(9.0)), expected, "{policy}");
    }
}

#[test]
fn deadlines_decide_where_the_policy_says_so() {
    // name, received, goal
    let requests = [
        ("late", 1.0, Some(9000.0)),
        ("none", 0.0, None),
        ("soon", 3.0, Some(500.0)),
        ("tie", 0.5, Some(3000.0)),
        ("older-none", -1.0, None),
    ];
    for (policy, expected) in [
        ("fcfs-ordering-policy", "late none soon tie older-none"),
        ("edf-ordering-policy", "late none soon tie older-none"),
        (
            "slo-deadline-ordering-policy",
            "tie soon late older-none none",
        ),
    ] {
        let mut flow = controller(&format!(
            "defaultPriorityBand: {{orderingPolicyRef: {policy}}}"
        ));
        for (name, received, goal) in requests {
            let item = Item {
                received: at(10.0 + received),
                ttft_goal_ms: goal,
                ..item(0, name)
            };
            flow.enqueue(item, at(20.0)).unwrap();
        }
        assert_eq!(order(&mut flow, at(21.0)), expected, "{policy}");
    }
}

#[test]
fn a_ceiling_below_full_stops_dispatch_earlier() {
    let text = "featureGates: [flowControl]\nplugins: [{type: static-usage-limit-policy, parameters: {threshold: 0.5}}]\n";
    let config = Config::parse(text, "", &Options::default()).unwrap();
    let mut flow = Controller::new(config.flow, Duration::ZERO);
    flow.enqueue(item(0, "a"), at(0.0)).unwrap();
    assert_eq!(flow.dispatch(0.5, at(0.0)), None);
    assert!(flow.dispatch(0.49, at(0.0)).is_some());
}

#[test]
fn who_goes_away_is_taken_out_once() {
    let mut flow =
        controller("defaultPriorityBand: {fairnessPolicyRef: round-robin-fairness-policy}");
    let first = flow.enqueue(item(0, "a"), at(0.0)).unwrap();
    let second = flow.enqueue(item(0, "a"), at(0.0)).unwrap();
    let ended = flow.cancel(first, at(1.0)).unwrap();
    assert_eq!(
        (ended.outcome, ended.waited),
        (Outcome::EvictedContextCancelled, at(1.0))
    );
    assert_eq!(flow.cancel(first, at(1.0)), None);
    assert_eq!(flow.dispatch(0.0, at(1.0)).unwrap().ticket, Some(second));
    assert_eq!(flow.cancel(second, at(1.0)), None);
    assert_eq!(flow.fill().bytes, 0);
}

#[test]
fn the_end_of_the_picker_ends_all_waiting() {
    let mut flow = controller("");
    flow.provision([5], at(0.0));
    for priority in [0, 5, 0] {
        flow.enqueue(item(priority, "a"), at(0.0)).unwrap();
    }
    let ended = flow.shut_down(at(1.0));
    assert_eq!(ended.len(), 3);
    let rejection = ended[0].outcome.rejection().unwrap();
    assert_eq!(rejection.dropped.unwrap().value(), "rejected-shutting-down");
    assert!(flow.is_empty());
}

#[test]
fn bands_of_objectives_come_and_go() {
    let mut flow = controller(
        "priorityBands: [{priority: 100}], defaultNegativePriorityBand: {maxRequests: 3}",
    );
    let priorities = |flow: &Controller| flow.bands().map(|band| band.priority).collect::<Vec<_>>();
    flow.provision([-1, 7], at(0.0));
    assert_eq!(priorities(&flow), [100, 7, 0, -1]);
    let limit = flow.bands().last().unwrap().limits.max_requests;
    assert_eq!(limit, 3);
    flow.provision([-1], at(10.0));
    flow.sweep(at(599.0));
    assert_eq!(priorities(&flow), [100, 7, 0, -1]);
    flow.sweep(at(600.0));
    assert_eq!(priorities(&flow), [100, 0, -1]);
    // A band in use stays until it is idle again.
    flow.enqueue(item(-1, "a"), at(700.0)).unwrap();
    flow.provision([], at(700.0));
    flow.sweep(at(1400.0));
    assert_eq!(priorities(&flow), [100, 0, -1]);
}

proptest! {
    /// Everything that came in is waiting or has ended once; what waits is within the limits.
    #[test]
    fn nothing_is_lost_and_nothing_ends_twice(
        steps in prop::collection::vec((0u8..6, 0u64..12, -1i32..2, 1u64..40), 0..120),
        turns in prop::bool::ANY,
    ) {
        let fairness = if turns { "round-robin-fairness-policy" } else { "global-strict-fairness-policy" };
        let mut flow = controller(&format!(
            "maxRequests: 8, maxBytes: 200, defaultRequestTTL: 5s, noEndpointRequestTTL: 9s, defaultPriorityBand: {{maxRequests: 6, fairnessPolicyRef: {fairness}}}, priorityBands: [{{priority: 1}}]"
        ));
        assert_eq!(flow.bands().any(|band| band.limits.fairness == FairnessPolicy::RoundRobin), turns);
        let mut waiting = BTreeSet::new();
        let mut now = Duration::ZERO;
        for (step, number, priority, bytes) in steps {
            now += Duration::from_millis(number * 100);
            let mut ended = Vec::new();
            match step {
                0 | 1 => {
                    let item = Item { bytes, ..item(priority, &format!("f{}", number % 3)) };
                    if let Ok(ticket) = flow.enqueue(item, now) {
                        assert!(waiting.insert(ticket));
                    }
                }
                2 => ended.extend(flow.dispatch(if number % 4 == 0 { 1.0 } else { 0.3 }, now)),
                3 => ended.extend(flow.cancel(Ticket(number), now)),
                4 => ended.extend(flow.sweep(now)),
                _ => flow.pool_is(number % 2 == 0, now),
            }
            for ended in ended {
                assert!(waiting.remove(&ended.ticket.unwrap()));
            }
            let fill = flow.fill();
            assert_eq!(fill.requests, waiting.len() as u64);
            assert!(fill.requests <= 8 && fill.bytes <= 200);
            assert_eq!(fill.requests, flow.bands().map(|band| band.requests).sum::<u64>());
            assert_eq!(fill.bytes, flow.bands().map(|band| band.bytes).sum::<u64>());
            assert!(flow.bands().all(|band| band.requests <= band.limits.max_requests));
        }
        for ended in flow.shut_down(now) {
            assert!(waiting.remove(&ended.ticket.unwrap()));
        }
        assert!(waiting.is_empty() && flow.is_empty());
    }
}
