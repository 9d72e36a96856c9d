//! A running container: its probes, its hooks and its end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{PodContext, Stop, stopped};
use crate::env::Environment;
use crate::paths::{self, Mount};
use crate::probe::{self, Schedule, Tally};
use crate::process::Process;
use crate::{events, seconds, sockets};

const QUICK: Duration = Duration::from_millis(100);
const QUICK_EXEC: Duration = Duration::from_millis(500);
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LATER_LOOKS: Duration = Duration::from_secs(60);
/// Addresses of one engine that are told at most.
const MOST_TOLD: usize = 32;

/// With what the container was started.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) env: &'a Environment,
    pub(super) mounts: &'a [Mount],
    /// Whether it is a program that may listen where it likes.
    pub(super) real_engine: bool,
    /// Ports of the pod that lead to its sockets.
    pub(super) forwards: &'a [u16],
}

/// Watches a running container until it ends, by itself or by order.
pub(super) async fn attend(
    context: &PodContext,
    (index, container): (usize, &Value),
    process: &mut Process,
    Surroundings {
        env,
        mounts,
        real_engine,
        forwards,
    }: Surroundings<'_>,
    mut stop: watch::Receiver<Stop>,
) -> (i32, Option<&'static str>) {
    let name = container["name"].as_str().unwrap_or_default();
    let ended = {
        let probes = std::pin::pin!(probes(context, index, container, env, mounts));
        let engine = process.id().filter(|_| real_engine);
        let listeners = std::pin::pin!(watch_listeners(context, name, engine));
        let mut forwarders = JoinSet::new();
        for port in forwards {
            let socket = events::socket(&context.directory, *port);
            forwarders.spawn(events::forward(context.ip, *port, socket));
        }
        tokio::select! {
            code = process.wait() => Some(code),
            () = stopped(&mut stop) => None,
            never = listeners => match never {},
            what = probes => {
                let message = format!("Container {name} failed {what} probe, will be restarted");
                context.objects.event(&context.pod, false, "Killing", &message).await;
                None
            }
        }
    };
    if let Some(code) = ended {
        return (code, None);
    }
    let order = *stop.borrow();
    let (deadline, hooks) = match order {
        Stop::By { deadline, hooks } => (deadline, hooks),
        Stop::No => (Instant::now() + seconds::grace(&context.pod), true),
    };
    if hooks && let Some(hook) = container.pointer("/lifecycle/preStop") {
        let hook = pre_stop(context, container, hook, env, mounts);
        // A later order may be stricter: the end of the node comes without hooks.
        let stricter = stop.wait_for(|stop| matches!(stop, Stop::By { hooks: false, .. }));
        tokio::select! {
            code = process.wait() => return (code, None),
            _ = tokio::time::timeout_at(deadline, hook) => {}
            _ = stricter => {}
        }
    }
    process.terminate().await;
    // Each order may shorten the grace, up to a deletion by force, which leaves none.
    loop {
        let until = match *stop.borrow_and_update() {
            Stop::By {
                deadline: latest, ..
            } => deadline.min(latest),
            Stop::No => deadline,
        };
        tokio::select! {
            code = process.wait() => return (code, None),
            () = tokio::time::sleep_until(until) => break,
            changed = stop.changed() => {
                if changed.is_err() {
                    break;
                }
            }
        }
    }
    process.kill().await;
    (process.wait().await, None)
}

/// Looks where an engine listens, seldom once it has run for a while, and tells of each address that
/// other machines can reach. The node can only give it an address, not hold it to that.
async fn watch_listeners(context: &PodContext, name: &str, engine: Option<u32>) -> Infallible {
    let Some(engine) = engine else {
        return std::future::pending().await;
    };
    let mut told = BTreeSet::new();
    let mut wait = FIRST_LOOK;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LATER_LOOKS);
        let look = tokio::task::spawn_blocking(move || sockets::beyond_loopback(engine));
        let mut found = look.await.unwrap_or_default();
        found.retain(|address| !told.contains(address));
        found.truncate(MOST_TOLD.saturating_sub(told.len()));
        told.extend(found.iter().copied());
        if !found.is_empty() {
            let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
            let message = format!(
                "Container {name} listens beyond this machine's loopback, on {}; other machines may reach it",
                shown.join(", ")
            );
            let objects = &context.objects;
            objects
                .event(&context.pod, true, "ListensBeyondLoopback", &message)
                .await;
        }
    }
}

async fn pre_stop(
    context: &PodContext,
    container: &Value,
    hook: &Value,
    env: &Environment,
    mounts: &[Mount],
) {
    if let Some(time) = hook.pointer("/sleep/seconds") {
        tokio::time::sleep(seconds::duration(time, 0, 0)).await;
    } else if let Some(command) = hook.pointer("/exec/command") {
        if context.options.allow_host_commands {
            let _ = execute(context, command, env, mounts).await;
        }
    } else if hook.get("httpGet").is_some() {
        let _ = probe::ask(
            hook,
            container,
            context.ip,
            Duration::from_secs(30),
            &context.http,
        )
        .await;
    }
}

async fn execute(
    context: &PodContext,
    command: &Value,
    env: &Environment,
    mounts: &[Mount],
) -> Result<(), String> {
    let words: Vec<String> = command
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|word| paths::replace(word, mounts))
        .collect();
    let (program, rest) = words.split_first().ok_or("the command is empty")?;
    let status = tokio::process::Command::new(program)
        .args(rest)
        .env_clear()
        .envs(env.iter())
        .current_dir(&context.directory)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("command ended with {status}"))
    }
}

/// Probes the container; returns the kind of the probe that says that it must be started anew.
async fn probes(
    context: &PodContext,
    index: usize,
    container: &Value,
    env: &Environment,
    mounts: &[Mount],
) -> &'static str {
    let one = |kind: &'static str| ProbeLoop {
        context,
        container,
        env,
        mounts,
        kind,
        probe: &container[kind],
    };
    if !container["startupProbe"].is_null() {
        if !one("startupProbe").until_success().await {
            return "startup";
        }
        context.states.change(index, |state| {
            state.started = true;
            state.ready = container["readinessProbe"].is_null();
        });
    }
    let readiness = async {
        if container["readinessProbe"].is_null() {
            return std::future::pending().await;
        }
        one("readinessProbe")
            .follow(|ready| context.states.change(index, |state| state.ready = ready))
            .await
    };
    let liveness = async {
        if container["livenessProbe"].is_null() {
            return std::future::pending().await;
        }
        one("livenessProbe").until_failure().await;
    };
    tokio::select! {
        () = readiness => "readiness",
        () = liveness => "liveness",
    }
}

struct ProbeLoop<'a> {
    context: &'a PodContext,
    container: &'a Value,
    env: &'a Environment,
    mounts: &'a [Mount],
    kind: &'static str,
    probe: &'a Value,
}

impl ProbeLoop<'_> {
    async fn ask(&self, schedule: &Schedule) -> Result<(), String> {
        if let Some(command) = self.probe.pointer("/exec/command") {
            let run = execute(self.context, command, self.env, self.mounts);
            return tokio::time::timeout(schedule.timeout, run)
                .await
                .unwrap_or_else(|_| Err("the command took too long".to_owned()));
        }
        probe::ask(
            self.probe,
            self.container,
            self.context.ip,
            schedule.timeout,
            &self.context.http,
        )
        .await
    }

    fn quick(&self) -> Duration {
        if self.probe.get("exec").is_some() {
            QUICK_EXEC
        } else {
            QUICK
        }
    }

    async fn unhealthy(&self, tally_was_clean: &mut bool, message: &str) {
        // One event for each row of failures.
        if std::mem::take(tally_was_clean) {
            let kind = self.kind.trim_end_matches("Probe");
            let kind = format!("{}{}", kind[..1].to_uppercase(), &kind[1..]);
            let message = format!("{kind} probe failed: {message}");
            self.context
                .objects
                .event(&self.context.pod, true, "Unhealthy", &message)
                .await;
        }
    }

    /// Tries on the schedule and quickly between; `false` when failures reach the threshold.
    async fn until_success(&self) -> bool {
        let schedule = Schedule::of(self.probe);
        let mut due = Instant::now() + schedule.initial;
        let mut tally = Tally::default();
        let mut clean = true;
        loop {
            let counted = Instant::now() >= due;
            match self.ask(&schedule).await {
                Ok(()) => return true,
                Err(message) if counted => {
                    due += schedule.period;
                    self.unhealthy(&mut clean, &message).await;
                    if tally.take(false, &schedule) == Some(false) {
                        return false;
                    }
                }
                Err(_) => {}
            }
            tokio::time::sleep(self.quick()).await;
        }
    }

    /// Tries quickly until the first success, then on the schedule; tells each change.
    async fn follow(&self, tell: impl Fn(bool)) {
        let schedule = Schedule::of(self.probe);
        while self.ask(&schedule).await.is_err() {
            tokio::time::sleep(self.quick()).await;
        }
        tell(true);
        let mut told = true;
        let mut tally = Tally::default();
        let mut clean = true;
        loop {
            tokio::time::sleep(schedule.period).await;
            let outcome = self.ask(&schedule).await;
            if let Err(message) = &outcome {
                self.unhealthy(&mut clean, message).await;
            } else {
                clean = true;
            }
            if let Some(verdict) = tally.take(outcome.is_ok(), &schedule)
                && verdict != told
            {
                told = verdict;
                tell(verdict);
            }
        }
    }

    /// Tries on the schedule; returns when failures reach the threshold.
    async fn until_failure(&self) {
        let schedule = Schedule::of(self.probe);
        tokio::time::sleep(schedule.initial).await;
        let mut tally = Tally::default();
        let mut clean = true;
        loop {
            let outcome = self.ask(&schedule).await;
            if let Err(message) = &outcome {
                self.unhealthy(&mut clean, message).await;
            } else {
                clean = true;
            }
            if tally.take(outcome.is_ok(), &schedule) == Some(false) {
                return;
            }
            tokio::time::sleep(schedule.period).await;
        }
    }
}
