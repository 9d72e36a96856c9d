//! One container: start, probes, restarts with back-off, end.

mod attend;
mod prepare;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::log::{self, Log};
use crate::objects::{Objects, now};
use crate::process::Process;
use crate::status::{ContainerState, waiting};
use crate::volumes::Volume;
use crate::{Options, place, ports};
use attend::{Surroundings, attend};
use prepare::{Prepared, prepare};

/// Whether and how the pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    /// By `deadline`, after the preStop hook where `hooks`.
    By {
        deadline: Instant,
        hooks: bool,
    },
}

/// What the containers of a pod share.
pub(crate) struct PodContext {
    pub(crate) objects: Objects,
    pub(crate) options: Arc<Options>,
    pub(crate) http: reqwest::Client,
    pub(crate) pod: Value,
    pub(crate) ip: Ipv4Addr,
    pub(crate) hosts: BTreeMap<String, Volume>,
    /// Of the pod's own service account.
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) directory: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) states: Arc<parking::States>,
}

/// States of a pod's containers, with a bell for the writer of the status.
pub(crate) mod parking {
    use std::sync::{Mutex, PoisonError};

    use super::{ContainerState, Notify, watch};

    #[derive(Default)]
    pub(crate) struct States {
        list: Mutex<Vec<ContainerState>>,
        pub(crate) changed: Notify,
        /// Rings for whoever waits for a state.
        news: watch::Sender<()>,
    }

    impl States {
        pub(crate) fn new(list: Vec<ContainerState>) -> Self {
            Self {
                list: Mutex::new(list),
                changed: Notify::new(),
                news: watch::Sender::new(()),
            }
        }

        pub(crate) fn all(&self) -> Vec<ContainerState> {
            self.list
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        }

        pub(crate) fn change(&self, index: usize, change: impl FnOnce(&mut ContainerState)) {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(state) = list.get_mut(index) {
                change(state);
            }
            drop(list);
            self.changed.notify_one();
            self.news.send_replace(());
        }

        /// Waits until the state of one container is as wanted.
        pub(crate) async fn until(&self, index: usize, holds: impl Fn(&ContainerState) -> bool) {
            let mut news = self.news.subscribe();
            while !self.all().get(index).is_some_and(&holds) {
                // The sender is this very object.
                let _ = news.changed().await;
            }
        }
    }
}

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// Waits between restarts: the first at once, then 10 s doubling to 5 min; forgotten after 10 min up.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    next: Option<Duration>,
}

const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const FORGET: Duration = Duration::from_secs(600);
const CONFIG_RETRY: Duration = Duration::from_secs(2);

impl BackOff {
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= FORGET {
            self.next = None;
        }
        let wait = self.next.unwrap_or(Duration::ZERO);
        self.next = Some(if wait.is_zero() {
            FIRST_WAIT
        } else {
            (wait * 2).min(LONGEST_WAIT)
        });
        wait
    }
}

/// Runs a container until it is not to be started again; its last exit status.
pub(crate) async fn run(
    context: Arc<PodContext>,
    index: usize,
    container: Value,
    restart: Restart,
    mut stop: watch::Receiver<Stop>,
) -> i32 {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    let mut back_off = BackOff::default();
    let mut first = true;
    let states = Arc::clone(&context.states);
    if place::entry(&context.logs, &name).is_none() {
        let message = format!("container name {name:?} is not usable as the name of its log");
        states.change(index, |state| {
            state.state = waiting("CreateContainerError", &message)
        });
        stopped(&mut stop).await;
        return 137;
    }
    loop {
        if *stop.borrow() != Stop::No {
            return 137;
        }
        let prepared = match prepare(&context, &container, first).await {
            Ok(prepared) => prepared,
            Err(error) => {
                states.change(index, |state| {
                    state.state = waiting("CreateContainerConfigError", &error.to_string());
                });
                pause(&mut stop, CONFIG_RETRY).await;
                continue;
            }
        };
        let (argv, env, mounts, real_engine, forwards) = match prepared {
            Prepared::Start {
                argv,
                env,
                mounts,
                real_engine,
                forwards,
            } => (argv, env, mounts, real_engine, forwards),
            Prepared::Skip(message) => {
                states.change(index, |state| {
                    let at = now();
                    state.state = json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": message,
                                                        "startedAt": at, "finishedAt": at}});
                    state.ready = true;
                });
                return 0;
            }
            Prepared::Refused(message) => {
                states.change(index, |state| {
                    state.state = waiting("NotRunnable", &message)
                });
                context
                    .objects
                    .event(
                        &context.pod,
                        true,
                        "NotRunnable",
                        &format!("Container {name}: {message}"),
                    )
                    .await;
                stopped(&mut stop).await;
                return 137;
            }
        };
        if let Some(message) = ports::conflict(&container, context.ip) {
            states.change(index, |state| state.state = waiting("PortInUse", &message));
            context
                .objects
                .event(&context.pod, true, "PortInUse", &message)
                .await;
            let wait = back_off.after(Duration::ZERO).max(Duration::from_secs(1));
            pause(&mut stop, wait).await;
            continue;
        }
        let started_at = now();
        let started = Instant::now();
        let options = &context.options;
        let began = Log::begin(&context.logs, &name)
            .and_then(|log| Process::start(&options.program, &argv, &env, &context.directory, log));
        let (code, reason) = match began {
            Ok(mut process) => {
                let bare = |probe: &str| container.get(probe).is_none_or(Value::is_null);
                let count = states.all().get(index).map_or(0, |state| state.restarts);
                states.change(index, |state| {
                    state.state = json!({"running": {"startedAt": started_at}});
                    state.started = bare("startupProbe");
                    state.ready = state.started && bare("readinessProbe") && !state.runs_once();
                    state.id = format!(
                        "weir://{}/{name}/{count}",
                        context.pod["metadata"]["uid"].as_str().unwrap_or_default()
                    );
                });
                context
                    .objects
                    .event(
                        &context.pod,
                        false,
                        "Started",
                        &format!("Started container {name}"),
                    )
                    .await;
                let surroundings = Surroundings {
                    env: &env,
                    mounts: &mounts,
                    real_engine,
                    forwards: &forwards,
                };
                attend(
                    &context,
                    (index, &container),
                    &mut process,
                    surroundings,
                    stop.clone(),
                )
                .await
            }
            Err(error) => {
                context
                    .objects
                    .event(
                        &context.pod,
                        true,
                        "Failed",
                        &format!("Error: cannot start container {name}: {error}"),
                    )
                    .await;
                (128, Some("StartError"))
            }
        };
        first = false;
        let mut terminated = json!({"exitCode": code, "startedAt": started_at, "finishedAt": now(),
                                    "reason": reason.unwrap_or(if code == 0 { "Completed" } else { "Error" })});
        if code != 0 && container["terminationMessagePolicy"] == "FallbackToLogsOnError" {
            terminated["message"] = json!(log::last_words(&context.logs, &name));
        }
        let ended = json!({ "terminated": terminated });
        states.change(index, |state| {
            state.state = ended.clone();
            state.ready = state.runs_once() && code == 0;
            state.started = false;
        });
        let again = match restart {
            Restart::Always => true,
            Restart::OnFailure => code != 0,
            Restart::Never => false,
        };
        if !again || *stop.borrow() != Stop::No {
            return code;
        }
        let wait = back_off.after(started.elapsed());
        states.change(index, |state| {
            state.last = ended;
            state.restarts += 1;
            if !wait.is_zero() {
                let message = format!(
                    "back-off {}s restarting failed container={name}",
                    wait.as_secs()
                );
                state.state = waiting("CrashLoopBackOff", &message);
            }
        });
        if !wait.is_zero() {
            context
                .objects
                .event(
                    &context.pod,
                    true,
                    "BackOff",
                    &format!("Back-off restarting failed container {name}"),
                )
                .await;
            pause(&mut stop, wait).await;
        }
    }
}

/// Sleeps, but not beyond the order to stop.
async fn pause(stop: &mut watch::Receiver<Stop>, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stopped(stop) => {}
    }
}

async fn stopped(stop: &mut watch::Receiver<Stop>) {
    // A closed channel is a pod that nobody attends any more.
    let _ = stop.wait_for(|stop| *stop != Stop::No).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_wait_doubles_to_five_minutes() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| back_off.after(Duration::from_secs(1)).as_secs())
            .collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off.after(FORGET), Duration::ZERO);
    }
}
