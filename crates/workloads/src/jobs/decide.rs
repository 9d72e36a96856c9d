//! What a Job needs next, from its spec and its pods.

use std::collections::BTreeSet;

use serde_json::Value;

/// First wait after a failure, in seconds; it doubles with each failure in a row.
const FIRST_WAIT: i64 = 10;
const LONGEST_WAIT: i64 = 600;

/// What a pod has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs or will.
    Active {
        /// Whether it is ready.
        ready: bool,
    },
    /// All of its containers ended well.
    Succeeded,
    /// It did not end well, at this time.
    Failed {
        /// Seconds since the epoch.
        at: i64,
    },
    /// It is on its way out.
    Leaving,
}

/// One pod of the Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// What it has come to.
    pub state: State,
    /// Its index, of an indexed Job.
    pub index: Option<i64>,
    /// How often its containers were started again.
    pub restarts: i64,
    /// When it ended or, of one that runs, was made.
    pub at: i64,
}

/// What a Job asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Pods that must succeed; without a number the first success is enough.
    pub completions: Option<i64>,
    /// Pods at a time.
    pub parallelism: i64,
    /// Failures that are too many when there is one more.
    pub backoff_limit: i64,
    /// Longest time in seconds.
    pub deadline: Option<i64>,
    /// Whether each completion has an index.
    pub indexed: bool,
    /// Whether nothing is to run now.
    pub suspended: bool,
    /// Whether containers of failed pods are started again in place.
    pub restarts_in_place: bool,
}

impl Wanted {
    /// Reads the spec of a Job.
    pub fn of(spec: &Value) -> Self {
        let number = |key: &str| spec[key].as_i64().map(|number| number.max(0));
        Self {
            completions: number("completions"),
            parallelism: number("parallelism").unwrap_or(1),
            backoff_limit: number("backoffLimit").unwrap_or(6),
            deadline: number("activeDeadlineSeconds"),
            indexed: spec["completionMode"] == "Indexed",
            suspended: spec["suspend"] == true,
            restarts_in_place: spec.pointer("/template/spec/restartPolicy")
                == Some(&Value::from("OnFailure")),
        }
    }
}

/// Pods that were counted before, also those that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Those that succeeded.
    pub succeeded: i64,
    /// Those that failed.
    pub failed: i64,
}

impl Counted {
    /// Reads the status of a Job.
    pub fn of(status: &Value) -> Self {
        let number = |key: &str| status[key].as_i64().unwrap_or(0);
        Self {
            succeeded: number("succeeded"),
            failed: number("failed"),
        }
    }
}

/// How a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Enough pods succeeded.
    Complete,
    /// Too many failures.
    TooManyFailures,
    /// Too much time.
    TooLate,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Pods to make, with their index.
    pub make: Vec<Option<i64>>,
    /// Active pods to remove, by place in the list.
    pub remove: Vec<usize>,
    /// How the Job ends now.
    pub end: Option<End>,
    /// Seconds after which to look again.
    pub again: Option<i64>,
}

/// Decides for a Job that has not ended and that began to be active at `began`.
pub fn step(wanted: &Wanted, pods: &[Pod], counted: Counted, began: i64, now: i64) -> Step {
    let active: Vec<usize> = (0..pods.len())
        .filter(|place| matches!(pods[*place].state, State::Active { .. }))
        .collect();
    if wanted.suspended {
        return Step {
            remove: active,
            ..Step::default()
        };
    }
    let done = succeeded(wanted, pods, counted);
    let failures = failed(pods, counted);
    let end = if is_complete(wanted, done, active.len()) {
        Some(End::Complete)
    } else if failures > wanted.backoff_limit || restarted_too_often(wanted, pods) {
        Some(End::TooManyFailures)
    } else if wanted.deadline.is_some_and(|most| now - began >= most) {
        Some(End::TooLate)
    } else {
        None
    };
    if end.is_some() {
        return Step {
            remove: active,
            end,
            ..Step::default()
        };
    }
    let until_deadline = wanted.deadline.map(|most| most - (now - began));
    let running = i64::try_from(active.len()).unwrap_or(i64::MAX);
    let most = match wanted.completions {
        Some(completions) => wanted.parallelism.min(completions - done),
        // Once one has succeeded, the others are to come to their end.
        None if done > 0 => running.min(wanted.parallelism),
        None => wanted.parallelism,
    };
    if running > most {
        let surplus = usize::try_from(running - most).unwrap_or(0);
        return Step {
            remove: least_useful(pods, active)
                .into_iter()
                .take(surplus)
                .collect(),
            again: until_deadline,
            ..Step::default()
        };
    }
    let wait = back_off(pods) - now;
    if running < most && wait > 0 {
        return Step {
            again: Some(until_deadline.map_or(wait, |left| left.min(wait))),
            ..Step::default()
        };
    }
    Step {
        make: missing(wanted, pods, most - running),
        again: until_deadline,
        ..Step::default()
    }
}

/// Completions that were reached; of an indexed Job each index counts once.
pub fn succeeded(wanted: &Wanted, pods: &[Pod], counted: Counted) -> i64 {
    if wanted.indexed {
        return count(completed_indexes(wanted, pods).iter());
    }
    let now = pods.iter().filter(|pod| pod.state == State::Succeeded);
    count(now).max(counted.succeeded)
}

/// Indexes that have succeeded.
pub fn completed_indexes(wanted: &Wanted, pods: &[Pod]) -> BTreeSet<i64> {
    let done = pods.iter().filter(|pod| pod.state == State::Succeeded);
    let below = |index: &i64| {
        wanted
            .completions
            .is_none_or(|end| (0..end).contains(index))
    };
    done.filter_map(|pod| pod.index).filter(below).collect()
}

/// Pods that failed.
pub fn failed(pods: &[Pod], counted: Counted) -> i64 {
    let now = pods
        .iter()
        .filter(|pod| matches!(pod.state, State::Failed { .. }));
    count(now).max(counted.failed)
}

fn is_complete(wanted: &Wanted, done: i64, active: usize) -> bool {
    match wanted.completions {
        Some(completions) => done >= completions,
        None => done > 0 && active == 0,
    }
}

fn restarted_too_often(wanted: &Wanted, pods: &[Pod]) -> bool {
    let restarts: i64 = pods
        .iter()
        .filter(|pod| matches!(pod.state, State::Active { .. }))
        .map(|pod| pod.restarts)
        .sum();
    wanted.restarts_in_place && restarts > 0 && restarts >= wanted.backoff_limit
}

/// When the next pod may be made, after the failures since the last success.
fn back_off(pods: &[Pod]) -> i64 {
    let last_success = pods
        .iter()
        .filter(|pod| pod.state == State::Succeeded)
        .map(|pod| pod.at)
        .max();
    let failures: Vec<i64> = pods
        .iter()
        .filter_map(|pod| match pod.state {
            State::Failed { at } => Some(at),
            _ => None,
        })
        .filter(|at| last_success.is_none_or(|success| *at > success))
        .collect();
    let Some(latest) = failures.iter().max() else {
        return 0;
    };
    let doublings = u32::try_from(failures.len() - 1)
        .unwrap_or(u32::MAX)
        .min(10);
    latest + (FIRST_WAIT << doublings).min(LONGEST_WAIT)
}

/// Active pods, those that have done least first.
fn least_useful(pods: &[Pod], mut active: Vec<usize>) -> Vec<usize> {
    active.sort_by_key(|place| {
        let ready = pods[*place].state == State::Active { ready: true };
        (ready, std::cmp::Reverse(pods[*place].at))
    });
    active
}

/// The pods to make: of an indexed Job, for the lowest indexes that nobody works on.
fn missing(wanted: &Wanted, pods: &[Pod], count: i64) -> Vec<Option<i64>> {
    let count = usize::try_from(count).unwrap_or(0);
    if !wanted.indexed {
        return vec![None; count];
    }
    let taken: BTreeSet<i64> = pods
        .iter()
        .filter(|pod| matches!(pod.state, State::Active { .. } | State::Succeeded))
        .filter_map(|pod| pod.index)
        .collect();
    let all = 0..wanted.completions.unwrap_or(0);
    all.filter(|index| !taken.contains(index))
        .map(Some)
        .take(count)
        .collect()
}

/// Indexes as Kubernetes writes them, `0-2,4`.
pub fn ranges(indexes: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == *index => *end = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let shown: Vec<String> = ranges
        .into_iter()
        .map(|(start, end)| match end - start {
            0 => start.to_string(),
            1 => format!("{start},{end}"),
            _ => format!("{start}-{end}"),
        })
        .collect();
    shown.join(",")
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
