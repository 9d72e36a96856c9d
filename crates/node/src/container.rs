//! One container: start, probes, restarts with back-off, end.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::env::{self, Environment};
use crate::job::{self, Job, Surroundings};
use crate::objects::{Objects, ReadError, now};
use crate::paths::{self, Mount};
use crate::probe::{self, Schedule, Tally};
use crate::process::Process;
use crate::status::{ContainerState, waiting};
use crate::{EngineChoice, Options, ports, volumes};

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
    pub(crate) hosts: BTreeMap<String, PathBuf>,
    pub(crate) directory: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) states: Arc<parking::States>,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// States of a pod's containers, with a bell for the writer of the status.
pub(crate) mod parking {
    use std::sync::{Mutex, PoisonError};

    use super::{ContainerState, Notify};

    #[derive(Default)]
    pub(crate) struct States {
        list: Mutex<Vec<ContainerState>>,
        pub(crate) changed: Notify,
    }

    impl States {
        pub(crate) fn new(list: Vec<ContainerState>) -> Self {
            Self {
                list: Mutex::new(list),
                changed: Notify::new(),
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
const QUICK: Duration = Duration::from_millis(100);
const QUICK_EXEC: Duration = Duration::from_millis(500);
const FORBIDDEN_ENV: [&str; 4] = ["PATH", "HOME", "GLIBC_TUNABLES", "GCONV_PATH"];
const MODEL_DIRS: [&str; 2] = ["HF_HOME", "HF_HUB_CACHE"];
const LOG_TAIL: u64 = 2048;

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

enum Prepared {
    Start {
        argv: Vec<String>,
        env: Environment,
        mounts: Vec<Mount>,
    },
    Skip(String),
    Refused(String),
}

/// Runs a container until it is not to be started again; its last exit status.
pub(crate) async fn run(
    context: Arc<PodContext>,
    index: usize,
    container: Value,
    restart: Restart,
) -> i32 {
    let mut stop = context.stop.clone();
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    let mut back_off = BackOff::default();
    let mut first = true;
    let states = Arc::clone(&context.states);
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
        let (argv, env, mounts) = match prepared {
            Prepared::Start { argv, env, mounts } => (argv, env, mounts),
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
        let log = context.logs.join(format!("{name}.log"));
        let started_at = now();
        let started = Instant::now();
        let began = Process::start(
            &context.options.program,
            &argv,
            &env,
            &context.directory,
            &log,
        );
        let (code, reason) = match began {
            Ok(mut process) => {
                let bare = |probe: &str| container.get(probe).is_none_or(Value::is_null);
                let count = states.all().get(index).map_or(0, |state| state.restarts);
                states.change(index, |state| {
                    state.state = json!({"running": {"startedAt": started_at}});
                    state.started = bare("startupProbe");
                    state.ready = state.started && bare("readinessProbe") && !state.init;
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
                attend(&context, index, &container, &mut process, &env, &mounts).await
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
            terminated["message"] = json!(tail(&log));
        }
        let ended = json!({ "terminated": terminated });
        states.change(index, |state| {
            state.state = ended.clone();
            state.ready = state.init && code == 0;
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

async fn prepare(
    context: &PodContext,
    container: &Value,
    first: bool,
) -> Result<Prepared, ReadError> {
    let options = &context.options;
    let mounts = volumes::mounts(container, &context.hosts)?;
    let mut env = env::declared(container, &context.pod, context.ip, &context.objects).await?;
    env.set_default("POD_IP", context.ip.to_string());
    let around = Surroundings {
        engine: &options.engine,
        program: &options.program,
        allow_host_commands: options.allow_host_commands,
        ip: context.ip,
        mounts: &mounts,
    };
    let decided = job::decide(container, &env, around);
    env.map(|value| paths::replace(value, &mounts));
    let (argv, real_engine) = match decided {
        Job::Run { argv, real_engine } => (argv, real_engine),
        Job::Skip(message) => return Ok(Prepared::Skip(message)),
        Job::NotRunnable(message) => return Ok(Prepared::Refused(message)),
    };
    if !options.allow_host_commands {
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            if container[probe].get("exec").is_some() {
                return Ok(Prepared::Refused(format!(
                    "its {probe} runs a command, which needs --allow-host-commands"
                )));
            }
        }
        let dropped = env.remove_where(|name| {
            FORBIDDEN_ENV.contains(&name) || name.starts_with("LD_") || name.starts_with("WEIR_")
        });
        if first && !dropped.is_empty() {
            let message = format!(
                "Variables not taken from the manifest: {}",
                dropped.join(", ")
            );
            context
                .objects
                .event(&context.pod, false, "VariablesDropped", &message)
                .await;
        }
        let inside = |value: &str| {
            mounts
                .iter()
                .any(|mount| Path::new(value).starts_with(&mount.host))
        };
        let refused = env.iter().find(|(name, value)| {
            let model_dir = MODEL_DIRS.contains(name) && inside(value) && !value.contains("..");
            !model_dir && !weir_vllm::safety::env_is_safe(name)
        });
        if real_engine && let Some((name, _)) = refused {
            return Ok(Prepared::Refused(format!(
                "variable {name} is not given to a real engine from a manifest; --allow-host-commands lifts this"
            )));
        }
    }
    surround(context, &mut env, real_engine);
    Ok(Prepared::Start { argv, env, mounts })
}

/// What the node itself puts into every environment.
fn surround(context: &PodContext, env: &mut Environment, real_engine: bool) {
    let options = &context.options;
    let mut path = "/usr/local/bin:/usr/bin:/bin".to_owned();
    if let EngineChoice::Vllm(program) = &options.engine
        && let Some(parent) = program.parent()
    {
        path = format!("{}:{path}", parent.display());
    }
    env.set_default("PATH", path);
    env.set_default("HOME", context.directory.to_string_lossy());
    env.set_default("TMPDIR", context.directory.join("tmp").to_string_lossy());
    env.set_default("LANG", "C.UTF-8");
    env.set("WEIR_POD_IP", context.ip.to_string());
    if options.allow_host_commands {
        env.set_default("KUBECONFIG", options.kubeconfig.to_string_lossy());
    }
    if real_engine {
        for name in ["VLLM_HOST_IP", "VLLM_NIXL_SIDE_CHANNEL_HOST"] {
            env.set(name, context.ip.to_string());
        }
        for name in [
            "GLOO_SOCKET_IFNAME",
            "NCCL_SOCKET_IFNAME",
            "UCX_NET_DEVICES",
        ] {
            env.set(name, "lo");
        }
    }
}

/// Watches a running container until it ends, by itself or by order.
async fn attend(
    context: &PodContext,
    index: usize,
    container: &Value,
    process: &mut Process,
    env: &Environment,
    mounts: &[Mount],
) -> (i32, Option<&'static str>) {
    let name = container["name"].as_str().unwrap_or_default();
    let mut stop = context.stop.clone();
    let ended = {
        let probes = std::pin::pin!(probes(context, index, container, env, mounts));
        tokio::select! {
            code = process.wait() => Some(code),
            () = stopped(&mut stop) => None,
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
        Stop::No => {
            let grace = context.pod["spec"]["terminationGracePeriodSeconds"]
                .as_u64()
                .unwrap_or(30);
            (Instant::now() + Duration::from_secs(grace), true)
        }
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
    let deadline = match *stop.borrow() {
        Stop::By {
            deadline: latest, ..
        } => deadline.min(latest),
        Stop::No => deadline,
    };
    if let Ok(code) = tokio::time::timeout_at(deadline, process.wait()).await {
        return (code, None);
    }
    process.kill().await;
    (process.wait().await, None)
}

async fn pre_stop(
    context: &PodContext,
    container: &Value,
    hook: &Value,
    env: &Environment,
    mounts: &[Mount],
) {
    if let Some(seconds) = hook.pointer("/sleep/seconds").and_then(Value::as_u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
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

/// The end of a log, for the termination message.
fn tail(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
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
