//! One pod from its binding to its end.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_api::names::NODE_STOPPED;

use crate::container::parking::States;
use crate::container::{PodContext, Stop};
use crate::no_effect::Told;
use crate::objects::{Objects, now};
use crate::status::{self, ContainerState, waiting};
use crate::{Options, account, addresses::Addresses, ground, order, place, seconds, volumes};

/// Grace of every pod when the node ends.
const NODE_GRACE: Duration = Duration::from_secs(5);
/// In the directory of a pod, beside the one of its volumes.
pub(crate) const TMP: &str = "tmp";
const RETRY: Duration = Duration::from_millis(500);

/// What all pods share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) objects: Objects,
    pub(crate) options: Arc<Options>,
    pub(crate) http: reqwest::Client,
    pub(crate) addresses: Arc<Mutex<Addresses>>,
    pub(crate) pods_dir: Arc<Path>,
    pub(crate) told: Arc<Told>,
}

impl Shared {
    fn claim(&self, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .claim(wanted)
    }

    fn release(&self, ip: Ipv4Addr) {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .release(ip);
    }
}

fn text<'a>(pod: &'a Value, pointer: &str) -> &'a str {
    pod.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Runs the pod until it is gone from the API (`None`) or the node ends.
pub(crate) async fn run(
    shared: Shared,
    mut object: watch::Receiver<Option<Value>>,
    shutdown: CancellationToken,
) {
    let Some(pod) = object.borrow_and_update().clone() else {
        return;
    };
    let uid = text(&pod, "/metadata/uid").to_owned();
    let directory = shared.pods_dir.join(ground::short(&uid));
    let logs = ground::logs_dir(
        &shared.options.data_dir,
        text(&pod, "/metadata/namespace"),
        text(&pod, "/metadata/name"),
        &uid,
    );
    if ended(&pod) {
        tokio::select! {
            _ = object.wait_for(|pod| pod.as_ref().is_none_or(deleting)) => {}
            () = shutdown.cancelled() => return,
        }
    } else if !deleting(&pod) {
        let ip = loop {
            if let Some(ip) = shared.claim(text(&pod, "/status/podIP").parse().ok()) {
                break ip;
            }
            tracing::warn!(pod = text(&pod, "/metadata/name"), "No free pod address");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        };
        let finished = attend(&shared, &pod, ip, &directory, &logs, &mut object, &shutdown).await;
        shared.release(ip);
        if !finished {
            return;
        }
    }
    // What is on its way out ends at the API, by this very pod.
    while object.borrow().is_some() {
        let mut parameters = DeleteParams::default().grace_period(0);
        parameters.preconditions = Some(Preconditions {
            uid: Some(uid.clone()),
            ..Preconditions::default()
        });
        let api = shared.objects.pods(text(&pod, "/metadata/namespace"));
        match api.delete(text(&pod, "/metadata/name"), &parameters).await {
            Ok(_) => break,
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => break,
            Err(error) => tracing::debug!(%error, "Pod not removed yet"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    for path in [directory, logs] {
        if let Err(error) = std::fs::remove_dir_all(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "Directory of a pod stays");
        }
    }
}

fn deleting(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
}

/// Runs the containers; `false` when the node ended.
async fn attend(
    shared: &Shared,
    pod: &Value,
    ip: Ipv4Addr,
    directory: &Path,
    logs: &Path,
    object: &mut watch::Receiver<Option<Value>>,
    shutdown: &CancellationToken,
) -> bool {
    let states = Arc::new(States::new(initial(pod)));
    let (stop_sender, stop) = watch::channel(Stop::No);
    let mut work = JoinSet::new();
    work.spawn(lifecycle(
        shared.clone(),
        pod.clone(),
        ip,
        (directory.to_owned(), logs.to_owned()),
        Arc::clone(&states),
        stop,
    ));
    let start = pod["status"]["startTime"]
        .as_str()
        .map_or_else(now, str::to_owned);
    let mut written = pod["status"].clone();
    let mut working = true;
    let mut leaves = false;
    let mut node_ends = false;
    let mut write_again = true;
    let deadline = seconds::active_deadline(pod, &start);
    let mut late = false;
    loop {
        if write_again && !node_ends {
            let mut status = status::pod(&states.all(), pod, &ip.to_string(), &start, &written);
            if late {
                status::exceeded(&mut status);
            }
            write_again = false;
            if status != written {
                match write(shared, pod, &status).await {
                    Ok(()) => written = status,
                    Err(error) => {
                        tracing::debug!(%error, "Pod status not written yet");
                        write_again = true;
                    }
                }
            }
        }
        let order = *stop_sender.borrow();
        if !working && leaves {
            return !node_ends;
        }
        tokio::select! {
            () = states.changed.notified() => write_again = true,
            Some(_) = work.join_next(), if working => {
                working = false;
                write_again = true;
            }
            changed = object.changed(), if !node_ends => {
                let now = object.borrow_and_update().clone();
                let grace = match &now {
                    None => Some(Duration::ZERO),
                    Some(pod) if deleting(pod) => Some(seconds::deletion_grace(pod)),
                    Some(_) => None,
                };
                let grace = if changed.is_err() { Some(Duration::ZERO) } else { grace };
                if let Some(grace) = grace {
                    leaves = true;
                    let deadline = Instant::now() + grace;
                    let first = order == Stop::No;
                    let hooks = now.is_some() && !grace.is_zero();
                    stop_sender.send_if_modified(|stop| match stop {
                        Stop::By { deadline: old, hooks: had } if *old <= deadline && (hooks || !*had) => false,
                        _ => {
                            *stop = Stop::By { deadline, hooks };
                            true
                        }
                    });
                    if first && now.is_some() {
                        for state in states.all().iter().filter(|state| state.state.get("running").is_some()) {
                            let message = format!("Stopping container {}", state.name);
                            shared.objects.event(pod, false, "Killing", &message).await;
                        }
                    }
                }
            }
            () = shutdown.cancelled(), if !node_ends => {
                node_ends = true;
                leaves = true;
                stop_sender.send_replace(Stop::By { deadline: Instant::now() + NODE_GRACE, hooks: false });
            }
            () = passed(deadline), if working && order == Stop::No => {
                late = true;
                write_again = true;
                let deadline = Instant::now() + seconds::grace(pod);
                stop_sender.send_replace(Stop::By { deadline, hooks: true });
                shared.objects.event(pod, true, "DeadlineExceeded", status::EXCEEDED).await;
            }
            () = tokio::time::sleep(RETRY), if write_again => {}
        }
    }
}

/// Waits for a time; without one, for ever.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn write(shared: &Shared, pod: &Value, status: &Value) -> Result<(), kube::Error> {
    let api = shared.objects.pods(text(pod, "/metadata/namespace"));
    // The uid guards against a pod of the same name that came after.
    let patch = json!({"metadata": {"uid": pod["metadata"]["uid"]}, "status": status});
    let result = api
        .patch_status(
            text(pod, "/metadata/name"),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Says why no container can start yet, and waits until it is worth another try; false when the pod is to end.
async fn held_up(
    shared: &Shared,
    pod: &Value,
    states: &States,
    (reason, message): (&str, &str),
    stop: &mut watch::Receiver<Stop>,
) -> bool {
    let count = states.all().len();
    for index in 0..count {
        states.change(index, |state| {
            state.state = waiting("CreateContainerConfigError", message)
        });
    }
    shared.objects.event(pod, true, reason, message).await;
    tokio::select! {
        _ = stop.wait_for(|stop| *stop != Stop::No) => false,
        () = tokio::time::sleep(Duration::from_secs(5)) => true,
    }
}

/// Prepares the volumes, then runs the containers.
async fn lifecycle(
    shared: Shared,
    pod: Value,
    ip: Ipv4Addr,
    (directory, logs): (PathBuf, PathBuf),
    states: Arc<States>,
    mut stop: watch::Receiver<Stop>,
) {
    let options = Arc::clone(&shared.options);
    let hosts = loop {
        let made = place::make_dir(&directory.join(TMP)).map_err(|error| error.to_string());
        let volumes_dir = directory.join("volumes");
        let prepared = match made {
            Ok(()) => volumes::prepare(&pod, &volumes_dir, &options, ip, &shared.objects)
                .await
                .map_err(|error| error.to_string()),
            Err(message) => Err(message),
        };
        match prepared {
            Ok(hosts) => break hosts,
            Err(message) => {
                let why = ("FailedMount", &*message);
                if !held_up(&shared, &pod, &states, why, &mut stop).await {
                    return;
                }
            }
        }
    };
    if let Some(message) = shared.told.message(&pod) {
        shared
            .objects
            .event(&pod, false, "NoEffect", &message)
            .await;
    }
    let kubeconfig = loop {
        if account::declined(&pod) {
            break None;
        }
        match account::write(&pod, &options.kubeconfig, &directory, &shared.objects).await {
            Ok(path) => break Some(path),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let message = format!("{error}: {}", cause.unwrap_or_default());
                let why = ("FailedServiceAccount", &*message);
                if !held_up(&shared, &pod, &states, why, &mut stop).await {
                    return;
                }
            }
        }
    };
    let context = Arc::new(PodContext {
        objects: shared.objects.clone(),
        options,
        http: shared.http.clone(),
        ip,
        hosts,
        kubeconfig,
        directory,
        logs,
        states,
        pod: pod.clone(),
    });
    order::run(context, stop).await;
}

/// The first states: nothing runs yet; what ran under an earlier node counts as a restart.
fn initial(pod: &Value) -> Vec<ContainerState> {
    let mut states = Vec::new();
    for (init, field, status) in [
        (true, "initContainers", "initContainerStatuses"),
        (false, "containers", "containerStatuses"),
    ] {
        for container in pod["spec"][field].as_array().into_iter().flatten() {
            let before = pod["status"][status]
                .as_array()
                .into_iter()
                .flatten()
                .find(|status| status["name"] == container["name"]);
            let ran = before.is_some_and(|status| status["state"].get("running").is_some());
            let restarts = before
                .and_then(|status| status["restartCount"].as_u64())
                .unwrap_or(0);
            let last = if ran {
                json!({"terminated": {"exitCode": 137, "reason": NODE_STOPPED, "finishedAt": now(),
                                      "message": "the node was stopped"}})
            } else {
                before.map_or_else(|| json!({}), |status| status["lastState"].clone())
            };
            states.push(ContainerState {
                name: container["name"].as_str().unwrap_or_default().to_owned(),
                image: container["image"].as_str().unwrap_or_default().to_owned(),
                init,
                sidecar: init && order::is_sidecar(container),
                state: waiting(
                    if init {
                        "PodInitializing"
                    } else {
                        "ContainerCreating"
                    },
                    "",
                ),
                last: if last.is_object() { last } else { json!({}) },
                restarts: restarts + u64::from(ran),
                ready: false,
                started: false,
                id: String::new(),
            });
        }
    }
    states
}
