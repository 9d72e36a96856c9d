use super::*;

fn set(existing: i64, available: i64) -> Set {
    Set {
        wanted: existing,
        existing,
        lingering: existing,
        ready: available,
        available,
    }
}

fn facts<'a>(new: Set, old: &'a [Set], now: i64) -> Facts<'a> {
    Facts {
        generation: &Value::Null,
        wanted: 2,
        strategy: Strategy::Rolling {
            surge: 1,
            unavailable: 0,
        },
        paused: false,
        deadline: 10,
        new,
        new_name: "d-1",
        created: false,
        old,
        failure: None,
        now,
    }
}

fn progressing(status: &Value) -> &str {
    find(status, "Progressing").unwrap()["reason"]
        .as_str()
        .unwrap()
}

#[test]
fn a_roll_out_from_its_start_to_its_end() {
    let created = Facts {
        created: true,
        ..facts(set(0, 0), &[], 100)
    };
    let (status_0, again) = status(&created, &Value::Null);
    assert_eq!(
        (progressing(&status_0), again),
        ("NewReplicaSetCreated", Some(11))
    );
    let (status_1, again) = status(&facts(set(2, 0), &[], 103), &status_0);
    assert_eq!(
        (progressing(&status_1), again),
        ("ReplicaSetUpdated", Some(11))
    );
    assert_eq!(status_1["unavailableReplicas"], 2);
    // Nothing moves: the deadline of the last move counts.
    let (status_2, again) = status(&facts(set(2, 0), &[], 109), &status_1);
    assert_eq!(
        (progressing(&status_2), again),
        ("ReplicaSetUpdated", Some(5))
    );
    assert_eq!(status_2, status_1);
    let (status_3, again) = status(&facts(set(2, 2), &[], 110), &status_2);
    assert_eq!(
        (progressing(&status_3), again),
        ("NewReplicaSetAvailable", None)
    );
    // A pod that fails later does not open the roll out again.
    let (status_4, again) = status(&facts(set(2, 1), &[], 900), &status_3);
    assert_eq!(
        (progressing(&status_4), again),
        ("NewReplicaSetAvailable", None)
    );
    assert_eq!(find(&status_4, "Available").unwrap()["status"], "False");
}

#[test]
fn what_does_not_move_is_late_and_recovers_when_it_does() {
    let old = [set(2, 2)];
    let (moving, _) = status(&facts(set(1, 0), &old, 100), &Value::Null);
    let (late, again) = status(&facts(set(1, 0), &old, 111), &moving);
    assert_eq!(
        (progressing(&late), again),
        ("ProgressDeadlineExceeded", None)
    );
    assert_eq!(find(&late, "Progressing").unwrap()["status"], "False");
    let (still, _) = status(&facts(set(1, 0), &old, 120), &late);
    assert_eq!(still, late);
    let (on, again) = status(&facts(set(1, 1), &old, 130), &still);
    assert_eq!((progressing(&on), again), ("ReplicaSetUpdated", Some(11)));
}

#[test]
fn a_pause_stops_the_deadline_and_a_resume_starts_it_anew() {
    let old = [set(2, 2)];
    let (moving, _) = status(&facts(set(1, 0), &old, 100), &Value::Null);
    let pause = Facts {
        paused: true,
        ..facts(set(1, 0), &old, 105)
    };
    let (paused, again) = status(&pause, &moving);
    assert_eq!((progressing(&paused), again), ("DeploymentPaused", None));
    let (resumed, again) = status(&facts(set(1, 0), &old, 500), &paused);
    assert_eq!(
        (progressing(&resumed), again),
        ("DeploymentResumed", Some(11))
    );
    let (late, _) = status(&facts(set(1, 0), &old, 511), &resumed);
    assert_eq!(progressing(&late), "ProgressDeadlineExceeded");
}
