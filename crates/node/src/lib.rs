//! Runs pods as local processes, through the API only.
//!
//! - [`shim`] and [`stage`]: the processes around a container.
//! - [`runnable`]: what a container may run on this machine.
//! - [`paths`]: mount paths in words, replaced by host paths.
//! - `pod`: one pod from binding to removal; `probe`: its probes; `volumes`: its volumes.
//! - `forward`: TCP forwarders of Services.

mod addresses;
mod forward;
pub mod paths;
mod pod;
mod probe;
pub mod runnable;
pub mod shim;
pub mod stage;
mod volumes;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Which engine runs in engine containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The simulated engine.
    Simulated,
    /// A real `vllm`, at this path.
    Vllm(PathBuf),
}

/// How the node runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the Node object.
    pub node_name: String,
    /// Where logs and volumes live.
    pub data_dir: PathBuf,
    /// The A of 127.A.0.0/16.
    pub loopback_block: u8,
    /// Which engine runs.
    pub engine: EngineChoice,
    /// The program of shims, stages and components.
    pub program: PathBuf,
    /// Kubeconfig given to containers.
    pub kubeconfig: PathBuf,
    /// Whether any container may run as a process of the user.
    pub allow_host_commands: bool,
}

/// Why the node ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server refused the Node object.
    #[error("cannot register node {name:?}")]
    Register {
        /// Name of the node.
        name: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What all pods share.
struct Shared {
    client: Client,
    options: Options,
    addresses: addresses::Addresses,
}

struct Running {
    ends: CancellationToken,
    gone: CancellationToken,
}

/// Runs every pod of the cluster on this machine until `shutdown`.
///
/// # Errors
/// When the node cannot be registered.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    register(&client, &options).await?;
    let shared = Arc::new(Shared {
        client: client.clone(),
        addresses: addresses::Addresses::new(options.loopback_block),
        options,
    });
    let mut tasks = JoinSet::new();
    let forwarders = forward::run(client.clone(), shutdown.clone());
    tasks.spawn(forwarders);
    let mut pods: HashMap<String, Running> = HashMap::new();
    let events =
        watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
    futures::pin_mut!(events);
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            event = events.next() => event,
        };
        match event {
            Some(Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                seen(&shared, pod, &mut pods, &mut tasks, &shutdown);
            }
            Some(Ok(watcher::Event::Delete(pod))) => {
                if let Some(running) = pods.remove(&pod.metadata.uid.unwrap_or_default()) {
                    running.gone.cancel();
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::debug!(%error, "Watch of pods interrupted"),
            None => break,
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn seen(
    shared: &Arc<Shared>,
    pod: Pod,
    pods: &mut HashMap<String, Running>,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let deleting = pod.metadata.deletion_timestamp.is_some();
    if let Some(running) = pods.get(&uid) {
        if deleting {
            running.ends.cancel();
        }
        return;
    }
    let running = Running {
        ends: CancellationToken::new(),
        gone: CancellationToken::new(),
    };
    if deleting {
        running.ends.cancel();
    }
    let pod = pod::PodRun::new(
        Arc::clone(shared),
        pod,
        running.ends.clone(),
        running.gone.clone(),
        shutdown.clone(),
    );
    tasks.spawn(Box::pin(pod.run()));
    pods.insert(uid, running);
}

async fn register(client: &Client, options: &Options) -> Result<(), Error> {
    let now = now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let amounts = json!({"cpu": cores.to_string(), "memory": "16Gi", "pods": "110"});
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": options.node_name,
                     "labels": {"kubernetes.io/hostname": options.node_name, "kubernetes.io/os": "linux"}},
    });
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": Ipv4Addr::LOCALHOST.to_string()},
                      {"type": "Hostname", "address": options.node_name}],
        "capacity": amounts, "allocatable": amounts,
        "conditions": [{"type": "Ready", "status": "True", "reason": "NodeReady",
                        "message": "pods run as local processes", "lastHeartbeatTime": now,
                        "lastTransitionTime": now}],
        "nodeInfo": {"kubeletVersion": concat!("weir-", env!("CARGO_PKG_VERSION")), "operatingSystem": "linux",
                     "architecture": std::env::consts::ARCH, "containerRuntimeVersion": "process://weir",
                     "kubeProxyVersion": "", "kernelVersion": "", "osImage": "", "bootID": "",
                     "machineID": "", "systemUUID": ""},
    }});
    let api: Api<Node> = Api::all(client.clone());
    let name = &options.node_name;
    let failed = |source| Error::Register {
        name: name.clone(),
        source: Box::new(source),
    };
    api.patch(
        name,
        &PatchParams::apply("weir-node").force(),
        &Patch::Apply(&node),
    )
    .await
    .map_err(failed)?;
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .map_err(failed)?;
    Ok(())
}

fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
