use serde_json::json;

use super::*;

/// `s` succeeded, `f` failed at time 100, `a` active, `r` active and ready, `l` leaving.
fn pods(letters: &str) -> Vec<Pod> {
    let pod = |(place, letter): (usize, char)| Pod {
        state: match letter {
            's' => State::Succeeded,
            'f' => State::Failed { at: 100 },
            'l' => State::Leaving,
            letter => State::Active {
                ready: letter == 'r',
            },
        },
        index: i64::try_from(place).ok(),
        restarts: 0,
        at: 90,
    };
    letters.chars().enumerate().map(pod).collect()
}

fn wanted(more: &Value) -> Wanted {
    let mut spec = json!({"completions": 1, "parallelism": 1, "backoffLimit": 6});
    weir_merge::json_merge_patch(&mut spec, more);
    Wanted::of(&spec)
}

#[test]
fn steps() {
    let none = json!({});
    let two_of_four = json!({"completions": 4, "parallelism": 2});
    let queue = json!({"completions": null, "parallelism": 2});
    let strict = json!({"backoffLimit": 0});
    let soon = json!({"activeDeadlineSeconds": 30});
    let suspended = json!({"suspend": true});
    let failed = Some(End::TooManyFailures);
    // Spec, pods, time; pods to make, places to remove, end, seconds.
    let rows = [
        ("begins", &none, "", 100, (1, vec![], None, None)),
        ("runs", &none, "a", 100, (0, vec![], None, None)),
        (
            "done",
            &none,
            "s",
            100,
            (0, vec![], Some(End::Complete), None),
        ),
        (
            "two at a time",
            &two_of_four,
            "",
            100,
            (2, vec![], None, None),
        ),
        ("one more", &two_of_four, "sa", 100, (1, vec![], None, None)),
        (
            "the last",
            &two_of_four,
            "sssa",
            100,
            (0, vec![], None, None),
        ),
        ("too many", &none, "ra", 100, (0, vec![1], None, None)),
        ("one leaves", &none, "l", 100, (1, vec![], None, None)),
        (
            "waits after a failure",
            &none,
            "f",
            104,
            (0, vec![], None, Some(6)),
        ),
        ("tries again", &none, "f", 110, (1, vec![], None, None)),
        (
            "waits longer",
            &none,
            "fff",
            110,
            (0, vec![], None, Some(30)),
        ),
        ("gives up", &none, "fffffff", 110, (0, vec![], failed, None)),
        ("at once", &strict, "f", 110, (0, vec![], failed, None)),
        ("in time", &soon, "a", 110, (0, vec![], None, Some(20))),
        (
            "too late",
            &soon,
            "a",
            130,
            (0, vec![0], Some(End::TooLate), None),
        ),
        (
            "suspended",
            &suspended,
            "aa",
            100,
            (0, vec![0, 1], None, None),
        ),
        ("a queue", &queue, "", 100, (2, vec![], None, None)),
        (
            "a queue that empties",
            &queue,
            "sa",
            100,
            (0, vec![], None, None),
        ),
        (
            "an empty queue",
            &queue,
            "ss",
            100,
            (0, vec![], Some(End::Complete), None),
        ),
    ];
    for (row, spec, letters, now, (make, remove, end, again)) in rows {
        let found = step(&wanted(spec), &pods(letters), Counted::default(), 100, now);
        let expected = Step {
            make: vec![None; make],
            remove,
            end,
            again,
        };
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn pods_that_somebody_removed_count_too() {
    for (status, end) in [
        (json!({"failed": 7}), End::TooManyFailures),
        (json!({"succeeded": 1}), End::Complete),
    ] {
        let counted = Counted::of(&status);
        let found = step(&wanted(&json!({})), &[], counted, 100, 100);
        assert_eq!(found.end, Some(end), "{status}");
    }
}

#[test]
fn each_index_is_worked_on_once_and_tried_again() {
    let spec = json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"});
    let wanted = wanted(&spec);
    let mut all = pods("saf");
    let made = step(&wanted, &all, Counted::default(), 100, 110).make;
    assert_eq!(made, [Some(2), Some(3)]);
    all[1].state = State::Succeeded;
    assert_eq!(ranges(&completed_indexes(&wanted, &all)), "0,1");
    assert_eq!(ranges(&[0, 1, 2, 4].into()), "0-2,4");
}

#[test]
fn restarts_in_place_are_failures() {
    let template = json!({"backoffLimit": 2, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    let wanted = wanted(&template);
    let mut all = pods("a");
    for (restarts, end) in [(1, None), (2, Some(End::TooManyFailures))] {
        all[0].restarts = restarts;
        let found = step(&wanted, &all, Counted::default(), 0, 0);
        assert_eq!(found.end, end, "{restarts}");
    }
}
