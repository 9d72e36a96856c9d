//! The node: its object, the binding of pods, and a worker for each pod.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::addresses::Addresses;
use crate::objects::{Objects, core, now};
use crate::pod::{self, Shared};
use crate::{Error, Options, forward, ground};

type Workers = HashMap<String, watch::Sender<Option<Value>>>;

/// Runs the node until `shutdown`, then ends all pods within 5 s.
///
/// # Errors
/// When the node cannot be registered.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    weir_runtime::install_crypto();
    register(&client, &options.node_name)
        .await
        .map_err(|source| Error::Register {
            name: options.node_name.clone(),
            source: Box::new(source),
        })?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(Error::Probes)?;
    let shared = Shared {
        objects: Objects::new(client.clone()),
        pods_dir: ground::pods_dir(
            &options.data_dir,
            std::env::var_os("XDG_RUNTIME_DIR")
                .map(PathBuf::from)
                .as_deref(),
        )
        .into(),
        told: Arc::default(),
        addresses: Arc::new(Mutex::new(Addresses::new(options.loopback_block))),
        options: Arc::new(options),
        http,
    };
    let mut forwarders = JoinSet::new();
    forwarders.spawn(forward::run(
        client.clone(),
        shared.options.loopback_block,
        shutdown.child_token(),
    ));
    let api: Api<DynamicObject> = Api::all_with(client, &core("Pod", "pods"));
    let events = watcher(api, watcher::Config::default()).default_backoff();
    futures::pin_mut!(events);
    let mut pods = JoinSet::new();
    let mut workers = Workers::new();
    let mut listed = HashSet::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = pods.join_next(), if !pods.is_empty() => {
                workers.retain(|_, worker| !worker.is_closed());
                continue;
            }
            event = events.next() => event,
        };
        match event {
            None => break,
            Some(Err(error)) => tracing::debug!(%error, "Watch of Pods interrupted"),
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(object))) => {
                listed.extend(object.metadata.uid.clone());
                take(&shared, object, &mut workers, &mut pods, &shutdown).await;
            }
            Some(Ok(Event::Apply(object))) => {
                take(&shared, object, &mut workers, &mut pods, &shutdown).await
            }
            Some(Ok(Event::InitDone)) => {
                ground::sweep(&shared.options.data_dir, &listed);
                for (uid, worker) in &workers {
                    if !listed.contains(uid) {
                        worker.send_replace(None);
                    }
                }
            }
            Some(Ok(Event::Delete(object))) => {
                if let Some(worker) = object.metadata.uid.and_then(|uid| workers.remove(&uid)) {
                    worker.send_replace(None);
                }
            }
        }
    }
    while pods.join_next().await.is_some() {}
    forwarders.shutdown().await;
    ground::unlink(&shared.pods_dir);
    Ok(())
}

/// Binds a pod, or gives it to its worker.
async fn take(
    shared: &Shared,
    object: DynamicObject,
    workers: &mut Workers,
    pods: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let pod = serde_json::to_value(object).unwrap_or_default();
    let text = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let uid = text("/metadata/uid").to_owned();
    let node = text("/spec/nodeName");
    let deleting = pod.pointer("/metadata/deletionTimestamp").is_some();
    if node.is_empty() && !deleting {
        let name = text("/metadata/name");
        if let Err(error) = bind(shared, &pod, name).await {
            tracing::debug!(%error, pod = name, "Pod not bound");
            return;
        }
        let full = format!("{}/{name}", text("/metadata/namespace"));
        let message = format!(
            "Successfully assigned {full} to {}",
            shared.options.node_name
        );
        shared
            .objects
            .event(&pod, false, "Scheduled", &message)
            .await;
        return;
    }
    if node != shared.options.node_name && !node.is_empty() {
        return;
    }
    if let Some(worker) = workers.get(&uid) {
        worker.send_replace(Some(pod));
        return;
    }
    let (sender, receiver) = watch::channel(Some(pod));
    workers.insert(uid, sender);
    let (shared, shutdown) = (shared.clone(), shutdown.child_token());
    pods.spawn(async move { Box::pin(pod::run(shared, receiver, shutdown)).await });
}

async fn bind(shared: &Shared, pod: &Value, name: &str) -> Result<(), kube::Error> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": shared.options.node_name},
    });
    let api = shared.objects.pods(namespace);
    let _: Value = api
        .create_subresource("binding", name, &PostParams::default(), &binding)
        .await?;
    Ok(())
}

async fn register(client: &Client, name: &str) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &core("Node", "nodes"));
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch}},
    });
    let parameters = PatchParams::apply("weir-node").force();
    api.patch(name, &parameters, &Patch::Apply(&object)).await?;
    let cores = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .to_string();
    let memory = memory();
    let capacity = json!({"cpu": cores, "memory": memory, "pods": "32000"});
    let at = now();
    let status = json!({"status": {
        "capacity": capacity, "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "NodeReady", "message": "weir runs",
                        "lastHeartbeatTime": at, "lastTransitionTime": at}],
        "nodeInfo": {"architecture": arch, "operatingSystem": "linux", "kubeletVersion": concat!("v", env!("CARGO_PKG_VERSION")),
                     "containerRuntimeVersion": concat!("weir://", env!("CARGO_PKG_VERSION")),
                     "kernelVersion": kernel(), "osImage": "linux", "machineID": "", "systemUUID": "", "bootID": "",
                     "kubeProxyVersion": ""},
    }});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    Ok(())
}

fn memory() -> String {
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().next())
        .unwrap_or("0");
    format!("{kilobytes}Ki")
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
