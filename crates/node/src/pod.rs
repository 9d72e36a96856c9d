//! One pod, from binding to removal: address, volumes, init containers, containers, status.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::probe::{self, Schedule};
use crate::runnable::{Job, job};
use crate::{EngineChoice, Shared, now, paths, shim, volumes};

const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LAST_BACK_OFF: Duration = Duration::from_secs(300);
const BACK_OFF_RESET: Duration = Duration::from_secs(600);
/// Grace of every pod when the whole instance stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Pace of the extra tries of startup and readiness probes until their first success.
const QUICK: Duration = Duration::from_millis(100);

/// What was last seen of one container.
#[derive(Clone)]
struct Seen {
    state: Value,
    last: Value,
    ready: bool,
    started: bool,
    restarts: u64,
}

/// One pod on this machine.
pub(crate) struct PodRun {
    shared: Arc<Shared>,
    pod: Value,
    namespace: String,
    name: String,
    /// The API wants the pod to end.
    ends: CancellationToken,
    /// The object is gone from the API.
    gone: CancellationToken,
    /// The instance stops.
    shutdown: CancellationToken,
    seen: Mutex<BTreeMap<String, Seen>>,
    changed: Notify,
    started_at: String,
}

struct Start<'a> {
    container: &'a Value,
    words: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl PodRun {
    pub(crate) fn new(
        shared: Arc<Shared>,
        pod: Pod,
        ends: CancellationToken,
        gone: CancellationToken,
        shutdown: CancellationToken,
    ) -> Self {
        let pod = serde_json::to_value(pod).unwrap_or_default();
        let part = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
        let mut seen = BTreeMap::new();
        for list in ["containers", "initContainers"] {
            let statuses = if list == "containers" {
                "containerStatuses"
            } else {
                "initContainerStatuses"
            };
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                let name = container["name"].as_str().unwrap_or_default();
                let before = pod["status"][statuses]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|s| s["name"] == name);
                // A pod of an earlier run of this instance: its containers start anew.
                let ran = before.is_some_and(|s| s.pointer("/state/running").is_some());
                let restarts = before.and_then(|s| s["restartCount"].as_u64()).unwrap_or(0);
                seen.insert(name.to_owned(), Seen {
                    state: json!({"waiting": {"reason": if list == "containers" { "PodInitializing" } else { "Waiting" }}}),
                    last: json!({}),
                    ready: false,
                    started: false,
                    restarts: restarts + u64::from(ran),
                });
            }
        }
        Self {
            namespace: part("namespace"),
            name: part("name"),
            shared,
            pod,
            ends,
            gone,
            shutdown,
            seen: Mutex::new(seen),
            changed: Notify::new(),
            started_at: now(),
        }
    }

    /// Runs the pod until it has ended; removes it from the API when that was asked for.
    pub(crate) async fn run(self) {
        let Some(ip) = self.shared.addresses.take() else {
            tracing::error!(name = self.name, "No free pod address");
            return;
        };
        if self.pod["spec"]["nodeName"].as_str().is_none() && !self.ends.is_cancelled() {
            if let Err(error) = self.bind().await {
                tracing::warn!(name = self.name, %error, "Pod not bound");
            }
            self.event(
                "Scheduled",
                "Normal",
                &format!(
                    "Successfully assigned {}/{} to {}",
                    self.namespace, self.name, self.shared.options.node_name
                ),
            )
            .await;
        }
        let work = Box::pin(self.work(ip));
        let report = self.report(ip);
        tokio::select! {
            () = work => {}
            () = report => {}
            () = self.gone.cancelled() => {}
        }
        // Children end with their shims, whose pipes close when `work` is dropped.
        if self.ends.is_cancelled() && !self.gone.is_cancelled() {
            let mut parameters = DeleteParams::default().grace_period(0);
            parameters.preconditions = Some(Preconditions {
                uid: self.pod["metadata"]["uid"].as_str().map(str::to_owned),
                ..Preconditions::default()
            });
            if let Err(error) = self.api().delete(&self.name, &parameters).await {
                tracing::debug!(name = self.name, %error, "Pod not removed");
            }
        } else if !self.gone.is_cancelled() && !self.shutdown.is_cancelled() {
            // Ended by itself: the status stays.
            let _ = self.write_status(ip).await;
            tokio::select! {
                () = self.gone.cancelled() => {}
                () = self.shutdown.cancelled() => {}
                () = self.ends.cancelled() => {
                    let _ = self.api().delete(&self.name, &DeleteParams::default().grace_period(0)).await;
                }
            }
        }
        self.shared.addresses.give_back(ip);
        let uid = self.pod["metadata"]["uid"].as_str().unwrap_or_default();
        for directory in self.volume_directories(uid) {
            let _ = tokio::fs::remove_dir_all(directory).await;
        }
    }

    fn volume_directories(&self, _uid: &str) -> Vec<PathBuf> {
        if self.gone.is_cancelled() || self.ends.is_cancelled() {
            vec![self.home()]
        } else {
            Vec::new()
        }
    }

    fn home(&self) -> PathBuf {
        let uid = self.pod["metadata"]["uid"].as_str().unwrap_or_default();
        self.shared.options.data_dir.join("pods").join(uid)
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.shared.client.clone(), &self.namespace)
    }

    async fn bind(&self) -> Result<(), kube::Error> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.shared.options.node_name},
        });
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/binding",
            self.namespace, self.name
        );
        let request = hyper::Request::post(path)
            .header("content-type", "application/json")
            .body(binding.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        self.shared
            .client
            .request::<Value>(request)
            .await
            .map(|_| ())
    }

    async fn work(&self, ip: Ipv4Addr) {
        let data = &self.shared.options.data_dir;
        let directories = loop {
            match volumes::prepare(&self.shared.client, data, &self.pod).await {
                Ok(directories) => break directories,
                Err(problem) => {
                    self.all_waiting("ContainerCreating", &problem);
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                        () = self.stops() => return,
                    }
                }
            }
        };
        let list = |key: &str| {
            self.pod["spec"][key]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        for container in list("initContainers") {
            let name = container["name"].as_str().unwrap_or_default();
            if job(&container) == Job::StorageInitializer
                && self.shared.options.engine == EngineChoice::Simulated
            {
                self.update(name, |seen| {
                    seen.ready = true;
                    seen.state = json!({"terminated": {"exitCode": 0, "reason": "Completed",
                        "message": "not downloaded: simulated engine", "startedAt": now(), "finishedAt": now()}});
                });
                continue;
            }
            if !self.container(&container, ip, &directories, true).await {
                return;
            }
        }
        let all = list("containers");
        let mut containers = futures::stream::FuturesUnordered::new();
        for container in &all {
            containers.push(self.container(container, ip, &directories, false));
        }
        while containers.next().await.is_some() {}
    }

    async fn stops(&self) {
        tokio::select! {
            () = self.ends.cancelled() => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Runs one container until it need not run any more; returns whether it completed with status 0.
    async fn container(
        &self,
        container: &Value,
        ip: Ipv4Addr,
        directories: &BTreeMap<String, PathBuf>,
        init: bool,
    ) -> bool {
        let name = container["name"].as_str().unwrap_or_default();
        let mut wait = Duration::ZERO;
        let mut first = true;
        loop {
            if self.ends.is_cancelled() || self.shutdown.is_cancelled() {
                return false;
            }
            if !wait.is_zero() {
                self.waiting(
                    name,
                    "CrashLoopBackOff",
                    &format!("back-off {}s restarting failed container", wait.as_secs()),
                );
                self.event(
                    "BackOff",
                    "Warning",
                    &format!("Back-off restarting failed container {name}"),
                )
                .await;
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.stops() => return false,
                }
            }
            let start = match self.prepare(container, ip, directories).await {
                Ok(start) => start,
                Err((reason, message)) => {
                    self.waiting(name, reason, &message);
                    self.event(reason, "Warning", &message).await;
                    if reason == "NotRunnable" {
                        self.stops().await;
                        return false;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(2)) => continue,
                        () = self.stops() => return false,
                    }
                }
            };
            let begun = Instant::now();
            let Some(code) = self.once(&start, ip, first).await else {
                return false;
            };
            first = false;
            if init && code == 0 {
                return true;
            }
            let policy = self.pod["spec"]["restartPolicy"]
                .as_str()
                .unwrap_or("Always");
            if policy == "Never" || (policy == "OnFailure" && code == 0) {
                return code == 0;
            }
            self.update(name, |seen| seen.restarts += 1);
            wait = match wait {
                _ if begun.elapsed() > BACK_OFF_RESET => Duration::ZERO,
                Duration::ZERO if begun.elapsed() > Duration::from_secs(1) => Duration::ZERO,
                Duration::ZERO => FIRST_BACK_OFF,
                longer => (longer * 2).min(LAST_BACK_OFF),
            };
        }
    }

    /// Decides what runs, with words and environment; or the reason and message of waiting.
    async fn prepare<'a>(
        &self,
        container: &'a Value,
        ip: Ipv4Addr,
        directories: &BTreeMap<String, PathBuf>,
    ) -> Result<Start<'a>, (&'static str, String)> {
        let options = &self.shared.options;
        let name = container["name"].as_str().unwrap_or_default();
        let mounts = volumes::mounts(container, directories);
        let declared = self.declared(container, ip).await;
        let program = options.program.to_string_lossy().into_owned();
        let not_runnable = |what: &str| {
            let message = format!(
                "container {name:?} {what}; weir up --allow-host-commands runs it as a process of this user"
            );
            Err(("NotRunnable", message))
        };
        let mut words = match job(container) {
            Job::Engine(rest) => match &options.engine {
                EngineChoice::Simulated => [vec![program, "engine".to_owned()], rest].concat(),
                EngineChoice::Vllm(vllm) => {
                    let mut words = [vec![vllm.to_string_lossy().into_owned()], rest].concat();
                    if !words
                        .iter()
                        .any(|word| word == "--host" || word.starts_with("--host="))
                    {
                        words.extend(["--host".to_owned(), ip.to_string()]);
                    }
                    words
                }
            },
            Job::Command(words) if options.allow_host_commands => words,
            Job::StorageInitializer => {
                return not_runnable("downloads a model, which this build cannot do yet");
            }
            Job::Command(words) => {
                return not_runnable(&format!(
                    "asks for {:?}, which is neither an engine nor a part of Weir",
                    words[0]
                ));
            }
            Job::Unknown => {
                return not_runnable(&format!("has image {} and no command", container["image"]));
            }
        };
        let first = words.remove(0);
        let words = words
            .iter()
            .map(|word| paths::map(&expand(word, &declared), &mounts));
        let words = std::iter::once(first).chain(words).collect();
        for port in container["ports"].as_array().into_iter().flatten() {
            let Some(number) = port["containerPort"]
                .as_u64()
                .and_then(|n| u16::try_from(n).ok())
            else {
                continue;
            };
            if let Err(error) = std::net::TcpListener::bind((ip, number))
                && error.kind() == std::io::ErrorKind::AddrInUse
            {
                let message = format!(
                    "port {number} is used by another program on every address of this machine; stop it"
                );
                return Err(("PortInUse", message));
            }
        }
        let home = self.home();
        tokio::fs::create_dir_all(&home)
            .await
            .map_err(|error| ("ContainerCreating", error.to_string()))?;
        let home = home.to_string_lossy().into_owned();
        let mut environment: BTreeMap<String, String> = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME", home.clone()),
            ("TMPDIR", home),
            ("LANG", "C.UTF-8".to_owned()),
            (
                "KUBECONFIG",
                options.kubeconfig.to_string_lossy().into_owned(),
            ),
            ("VLLM_HOST_IP", ip.to_string()),
            ("VLLM_NIXL_SIDE_CHANNEL_HOST", ip.to_string()),
            ("GLOO_SOCKET_IFNAME", "lo".to_owned()),
            ("NCCL_SOCKET_IFNAME", "lo".to_owned()),
            ("UCX_NET_DEVICES", "lo".to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        for (key, value) in &declared {
            let loads_code = ["LD_", "GLIBC_", "GCONV_", "WEIR_", "PYTHON"]
                .iter()
                .any(|p| key.starts_with(p));
            let ours = key == "PATH" || key == "HOME" || loads_code;
            if options.allow_host_commands || !ours {
                environment.insert(key.clone(), paths::map(value, &mounts));
            }
        }
        environment.insert("POD_IP".to_owned(), ip.to_string());
        environment.insert("WEIR_POD_IP".to_owned(), ip.to_string());
        Ok(Start {
            container,
            words,
            environment,
        })
    }

    /// Returns the variables that the container declares.
    async fn declared(&self, container: &Value, ip: Ipv4Addr) -> BTreeMap<String, String> {
        let mut declared = BTreeMap::new();
        for entry in container["env"].as_array().into_iter().flatten() {
            let Some(key) = entry["name"].as_str() else {
                continue;
            };
            let value = if let Some(source) = entry.get("valueFrom") {
                match source
                    .pointer("/fieldRef/fieldPath")
                    .and_then(Value::as_str)
                {
                    Some("status.podIP" | "status.podIPs") => Some(ip.to_string()),
                    Some("status.hostIP") => Some(Ipv4Addr::LOCALHOST.to_string()),
                    Some("spec.nodeName") => Some(self.shared.options.node_name.clone()),
                    Some(path) => self.field(path),
                    None => volumes::key(&self.shared.client, &self.namespace, source).await,
                }
            } else {
                Some(expand(
                    entry["value"].as_str().unwrap_or_default(),
                    &declared,
                ))
            };
            if let Some(value) = value {
                declared.insert(key.to_owned(), value);
            }
        }
        declared
    }

    fn field(&self, path: &str) -> Option<String> {
        let (map, key) = path
            .strip_suffix("']")
            .and_then(|p| p.split_once("['"))
            .unwrap_or((path, ""));
        let pointer = format!("/{}", map.replace('.', "/"));
        let mut value = self.pod.pointer(&pointer)?;
        if !key.is_empty() {
            value = value.get(key)?;
        }
        value.as_str().map(str::to_owned)
    }

    /// Runs the container once; returns its status, or `None` when the pod ends.
    async fn once(&self, start: &Start<'_>, ip: Ipv4Addr, first: bool) -> Option<i32> {
        let name = start.container["name"].as_str().unwrap_or_default();
        let mut child = match self.spawn(name, start, first) {
            Ok(child) => child,
            Err(error) => {
                self.waiting(name, "CreateContainerError", &error.to_string());
                return Some(128);
            }
        };
        // `wait` would close a pipe that is still the child's, and the shim would end the container.
        let mut pipe = child.stdin.take();
        let started = now();
        let startup = start.container.get("startupProbe");
        let readiness = start.container.get("readinessProbe");
        self.update(name, |seen| {
            seen.state = json!({"running": {"startedAt": started}});
            seen.started = startup.is_none();
            seen.ready = startup.is_none() && readiness.is_none();
        });
        self.event("Started", "Normal", &format!("Started container {name}"))
            .await;
        let unhealthy = self.probes(name, start.container, ip);
        let code = tokio::select! {
            status = child.wait() => Some(status.ok().and_then(|s| s.code()).unwrap_or(137)),
            () = unhealthy => {
                self.event("Killing", "Normal", &format!("Container {name} failed liveness probe, will be restarted")).await;
                Some(self.stop(&mut child, &mut pipe, self.grace()).await)
            }
            () = self.shutdown.cancelled() => {
                self.stop(&mut child, &mut pipe, SHUTDOWN_GRACE).await;
                None
            }
            () = self.ends.cancelled() => {
                self.update(name, |seen| seen.ready = false);
                self.event("Killing", "Normal", &format!("Stopping container {name}")).await;
                let grace = self.grace();
                let hook = start.container.pointer("/lifecycle/preStop");
                let begun = Instant::now();
                self.pre_stop(hook, &mut child, grace).await;
                self.stop(&mut child, &mut pipe, grace.saturating_sub(begun.elapsed())).await;
                None
            }
        };
        let exit = code.unwrap_or(0);
        self.update(name, |seen| {
            let ended = json!({"terminated": {"exitCode": exit, "startedAt": started, "finishedAt": now(),
                "reason": if exit == 0 { "Completed" } else { "Error" }}});
            seen.ready = false;
            seen.started = false;
            seen.last = ended.clone();
            seen.state = ended;
        });
        code
    }

    fn grace(&self) -> Duration {
        let asked = self
            .pod
            .pointer("/spec/terminationGracePeriodSeconds")
            .and_then(Value::as_u64);
        Duration::from_secs(asked.unwrap_or(30))
    }

    /// Waits as the hook says, at most `grace`, and no longer than the container runs. Commands are run
    /// only where any command may; a `sleep` command is the same as the sleep hook.
    async fn pre_stop(&self, hook: Option<&Value>, child: &mut Child, grace: Duration) {
        let Some(hook) = hook else { return };
        let slept = hook
            .pointer("/sleep/seconds")
            .and_then(Value::as_u64)
            .or_else(|| {
                let words = hook.pointer("/exec/command")?.as_array()?;
                let program = words.first()?.as_str()?.rsplit('/').next()?;
                if program == "sleep" {
                    words.get(1)?.as_str()?.parse().ok()
                } else {
                    None
                }
            });
        let Some(seconds) = slept else { return };
        // Nothing may still be on its way here once the endpoints have followed, which is at once on one
        // machine: requests in flight keep the rest of the grace.
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds).min(grace)) => {}
            _ = child.wait() => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn stop(&self, child: &mut Child, pipe: &mut Option<ChildStdin>, grace: Duration) -> i32 {
        if let Some(stdin) = pipe {
            let _ = stdin.write_all(shim::TERMINATE.as_bytes()).await;
        }
        let ended = tokio::select! {
            ended = tokio::time::timeout(grace, child.wait()) => ended,
            () = async { self.shutdown.cancelled().await; tokio::time::sleep(SHUTDOWN_GRACE).await } => {
                tokio::time::timeout(Duration::ZERO, child.wait()).await
            }
        };
        let status = match ended {
            Ok(status) => status,
            Err(_) => {
                if let Some(stdin) = pipe {
                    let _ = stdin.write_all(shim::KILL.as_bytes()).await;
                }
                child.wait().await
            }
        };
        status.ok().and_then(|status| status.code()).unwrap_or(137)
    }

    fn spawn(&self, name: &str, start: &Start<'_>, first: bool) -> std::io::Result<Child> {
        let uid = self.pod["metadata"]["uid"].as_str().unwrap_or_default();
        let directory = self
            .shared
            .options
            .data_dir
            .join("logs")
            .join(format!("{}_{}_{uid}", self.namespace, self.name));
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{name}.log"));
        if !first && path.exists() {
            std::fs::rename(&path, directory.join(format!("{name}.previous.log")))?;
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        Command::new(&self.shared.options.program)
            .arg("node-shim")
            .args(&start.words)
            .env_clear()
            .envs(&start.environment)
            .current_dir(self.home())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(false)
            .spawn()
    }

    /// Tries the probes; returns when the container must be restarted.
    async fn probes(&self, name: &str, container: &Value, ip: Ipv4Addr) {
        if let Some(startup) = container.get("startupProbe") {
            if !self
                .until_success(name, startup, ip, container, "Startup", true)
                .await
            {
                return;
            }
            self.update(name, |seen| {
                seen.started = true;
                seen.ready = container.get("readinessProbe").is_none();
            });
        }
        let ready = async {
            let Some(probe) = container.get("readinessProbe") else {
                return std::future::pending().await;
            };
            self.until_success(name, probe, ip, container, "Readiness", false)
                .await;
            self.update(name, |seen| seen.ready = true);
            let schedule = Schedule::of(probe);
            let mut failures = 0;
            loop {
                tokio::time::sleep(schedule.period).await;
                match probe::attempt(probe, ip, container).await {
                    Ok(()) => {
                        failures = 0;
                        self.update(name, |seen| seen.ready = true);
                    }
                    Err(problem) => {
                        failures += 1;
                        if failures == schedule.failures {
                            self.update(name, |seen| seen.ready = false);
                            self.event(
                                "Unhealthy",
                                "Warning",
                                &format!("Readiness probe failed: {problem}"),
                            )
                            .await;
                        }
                    }
                }
            }
        };
        let alive = async {
            let Some(probe) = container.get("livenessProbe") else {
                return std::future::pending::<()>().await;
            };
            let schedule = Schedule::of(probe);
            tokio::time::sleep(schedule.delay).await;
            let mut failures = 0;
            loop {
                tokio::time::sleep(schedule.period).await;
                match probe::attempt(probe, ip, container).await {
                    Ok(()) => failures = 0,
                    Err(problem) => {
                        failures += 1;
                        self.event(
                            "Unhealthy",
                            "Warning",
                            &format!("Liveness probe failed: {problem}"),
                        )
                        .await;
                        if failures >= schedule.failures {
                            return;
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = ready => {}
            () = alive => {}
        }
    }

    /// Tries a probe quickly until its first success; failures count on the written schedule only. Returns
    /// false when they reach the threshold and `limited`.
    async fn until_success(
        &self,
        name: &str,
        probe: &Value,
        ip: Ipv4Addr,
        container: &Value,
        kind: &str,
        limited: bool,
    ) -> bool {
        let schedule = Schedule::of(probe);
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            match probe::attempt(probe, ip, container).await {
                Ok(()) => return true,
                Err(problem) => {
                    let due = schedule.delay
                        + schedule.period * u32::try_from(failures).unwrap_or(u32::MAX);
                    if begun.elapsed() >= due {
                        failures += 1;
                        if failures == schedule.failures {
                            self.event(
                                "Unhealthy",
                                "Warning",
                                &format!("{kind} probe of {name} failed: {problem}"),
                            )
                            .await;
                            if limited {
                                return false;
                            }
                        }
                    }
                }
            }
            tokio::time::sleep(QUICK).await;
        }
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut Seen)) {
        if let Ok(mut seen) = self.seen.lock()
            && let Some(entry) = seen.get_mut(name)
        {
            change(entry);
        }
        self.changed.notify_one();
    }

    fn waiting(&self, name: &str, reason: &str, message: &str) {
        self.update(name, |seen| {
            seen.ready = false;
            seen.state = json!({"waiting": {"reason": reason, "message": message}});
        });
    }

    fn all_waiting(&self, reason: &str, message: &str) {
        for container in self.pod["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
        {
            self.waiting(
                container["name"].as_str().unwrap_or_default(),
                reason,
                message,
            );
        }
    }

    /// Writes the status whenever something changed.
    async fn report(&self, ip: Ipv4Addr) {
        loop {
            if let Err(error) = self.write_status(ip).await {
                tracing::debug!(name = self.name, %error, "Status of pod not written");
                tokio::time::sleep(QUICK).await;
                self.changed.notify_one();
            }
            self.changed.notified().await;
        }
    }

    async fn write_status(&self, ip: Ipv4Addr) -> Result<(), kube::Error> {
        let status = self.status(ip);
        let patch = json!({ "status": status });
        match self
            .api()
            .patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn status(&self, ip: Ipv4Addr) -> Value {
        let seen = self
            .seen
            .lock()
            .map(|seen| seen.clone())
            .unwrap_or_default();
        let statuses = |list: &str| -> Vec<Value> {
            let containers = self.pod["spec"][list].as_array().into_iter().flatten();
            containers
                .filter_map(|container| {
                    let name = container["name"].as_str()?;
                    let seen = seen.get(name)?;
                    Some(json!({
                        "name": name,
                        "image": container.get("image").cloned().unwrap_or_else(|| json!("")),
                        "imageID": "",
                        "ready": seen.ready,
                        "started": seen.started,
                        "restartCount": seen.restarts,
                        "state": seen.state,
                        "lastState": seen.last,
                    }))
                })
                .collect()
        };
        let containers = statuses("containers");
        let inits = statuses("initContainers");
        let all_ready = !containers.is_empty() && containers.iter().all(|c| c["ready"] == true);
        let initialized = inits
            .iter()
            .all(|c| c.pointer("/state/terminated/exitCode") == Some(&json!(0)));
        let ended = |c: &Value| c.pointer("/state/terminated").is_some();
        let never = self.pod["spec"]["restartPolicy"] == "Never";
        let phase = if never && containers.iter().all(ended) {
            let failed = containers
                .iter()
                .any(|c| c.pointer("/state/terminated/exitCode") != Some(&json!(0)));
            if failed { "Failed" } else { "Succeeded" }
        } else if containers
            .iter()
            .any(|c| c.pointer("/state/running").is_some() || c["restartCount"] != 0)
        {
            "Running"
        } else {
            "Pending"
        };
        let old = self.pod["status"]["conditions"].as_array();
        let condition = |kind: &str, yes: bool| {
            let status = if yes { "True" } else { "False" };
            let same = old
                .into_iter()
                .flatten()
                .find(|c| c["type"] == kind && c["status"] == status);
            let since = same.map_or_else(|| json!(now()), |c| c["lastTransitionTime"].clone());
            let mut condition =
                json!({"type": kind, "status": status, "lastTransitionTime": since});
            if !yes {
                condition["reason"] = json!("ContainersNotReady");
                let waiting: Vec<&str> = containers
                    .iter()
                    .filter(|c| c["ready"] != true)
                    .filter_map(|c| c["name"].as_str())
                    .collect();
                condition["message"] = json!(format!(
                    "containers with unready status: [{}]",
                    waiting.join(" ")
                ));
            }
            condition
        };
        let mut status = json!({
            "phase": phase,
            "podIP": ip.to_string(),
            "podIPs": [{"ip": ip.to_string()}],
            "hostIP": Ipv4Addr::LOCALHOST.to_string(),
            "startTime": self.started_at,
            "conditions": [condition("PodScheduled", true), condition("Initialized", initialized),
                           condition("ContainersReady", all_ready), condition("Ready", all_ready)],
            "containerStatuses": containers,
        });
        if !inits.is_empty() {
            status["initContainerStatuses"] = json!(inits);
        }
        status
    }

    async fn event(&self, reason: &str, kind: &str, message: &str) {
        let now = now();
        let event = json!({
            "metadata": {"generateName": format!("{}.", self.name), "namespace": self.namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": self.namespace,
                               "name": self.name, "uid": self.pod["metadata"]["uid"]},
            "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": "weir-node", "host": self.shared.options.node_name},
        });
        let Ok(event) = serde_json::from_value::<Event>(event) else {
            return;
        };
        let api: Api<Event> = Api::namespaced(self.shared.client.clone(), &self.namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, "Event not written");
        }
    }
}

/// Replaces `$(NAME)` by the variable and `$$` by `$`; unknown names stay.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        expanded.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            expanded.push('$');
            rest = escaped;
            continue;
        }
        let named = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        match named.and_then(|(name, tail)| Some((variables.get(name)?, tail))) {
            Some((value, tail)) => {
                expanded.push_str(value);
                rest = tail;
            }
            None => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_in_kubernetes() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, wanted) in [
            ("$(A)-$(B)", "1-$(B)"),
            ("$$(A)", "$(A)"),
            ("a$", "a$"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &variables), wanted, "{text}");
        }
    }
}
