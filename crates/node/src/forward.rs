//! A TCP forwarder for each port of each Service with a ClusterIP of this instance.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_discovery::EndpointSets;

use crate::objects::{Objects, core};

/// Most connections that one forwarder carries at once.
const CONNECTIONS: usize = 1024;
const CONNECT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    namespace: String,
    service: String,
    port: u16,
}

/// Keeps forwarders as the Services say until `shutdown`.
pub(crate) async fn run(client: Client, loopback_block: u8, shutdown: CancellationToken) {
    let (sets, fill) = EndpointSets::watch(client.clone(), shutdown.child_token());
    let mut tasks = JoinSet::new();
    tasks.spawn(fill);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &core("Service", "services"));
    let events = watcher(api, watcher::Config::default()).default_backoff();
    futures::pin_mut!(events);
    let objects = Objects::new(client);
    let mut running: BTreeMap<(SocketAddr, Target), CancellationToken> = BTreeMap::new();
    let mut services: BTreeMap<String, Value> = BTreeMap::new();
    let mut listed: BTreeMap<String, Value> = BTreeMap::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next(), if tasks.len() > 1 => continue,
            event = events.next() => event,
        };
        match event {
            None => break,
            Some(Err(error)) => {
                tracing::debug!(%error, "Watch of Services interrupted");
                continue;
            }
            Some(Ok(Event::Init)) => {
                listed.clear();
                continue;
            }
            Some(Ok(Event::InitApply(object))) => {
                let value = serde_json::to_value(object).unwrap_or_default();
                listed.insert(key(&value), value);
                continue;
            }
            Some(Ok(Event::InitDone)) => services = std::mem::take(&mut listed),
            Some(Ok(Event::Apply(object))) => {
                let value = serde_json::to_value(object).unwrap_or_default();
                services.insert(key(&value), value);
            }
            Some(Ok(Event::Delete(object))) => {
                services.remove(&key(&serde_json::to_value(object).unwrap_or_default()));
            }
        }
        let wanted: BTreeMap<(SocketAddr, Target), &Value> = services
            .values()
            .flat_map(|service| {
                targets(service, loopback_block).map(move |target| (target, service))
            })
            .collect();
        running.retain(|target, stop| {
            let keep = wanted.contains_key(target);
            if !keep {
                stop.cancel();
            }
            keep
        });
        for ((address, target), service) in wanted {
            if running.contains_key(&(address, target.clone())) {
                continue;
            }
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let stop = shutdown.child_token();
                    running.insert((address, target.clone()), stop.clone());
                    tasks.spawn(serve(listener, target, sets.clone(), stop));
                }
                Err(error) => {
                    let message = format!("no forwarder on {address}: {error}");
                    tracing::warn!(%address, %error, "Service port not forwarded");
                    let mut service = service.clone();
                    service["kind"] = Value::from("Service");
                    objects
                        .event(&service, true, "ForwarderFailed", &message)
                        .await;
                    // Known, so that the event is not repeated with every change.
                    running.insert((address, target), CancellationToken::new());
                }
            }
        }
    }
    tasks.shutdown().await;
}

fn key(service: &Value) -> String {
    let metadata = &service["metadata"];
    format!("{}/{}", metadata["namespace"], metadata["name"])
}

fn targets(service: &Value, block: u8) -> impl Iterator<Item = (SocketAddr, Target)> {
    let ip = service["spec"]["clusterIP"]
        .as_str()
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    let ip = ip.filter(|ip| match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 127 && ip.octets()[1] == block && ip.octets()[2] >= 128,
        IpAddr::V6(_) => false,
    });
    let text = |field: &str| {
        service["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (namespace, name) = (text("namespace"), text("name"));
    let ports = service["spec"]["ports"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ports.into_iter().filter_map(move |port| {
        let port = u16::try_from(port["port"].as_u64()?).ok()?;
        let target = Target {
            namespace: namespace.clone(),
            service: name.clone(),
            port,
        };
        Some((SocketAddr::new(ip?, port), target))
    })
}

async fn serve(listener: TcpListener, target: Target, sets: EndpointSets, stop: CancellationToken) {
    let turn = Arc::new(AtomicUsize::new(0));
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            continue;
        };
        let endpoints = sets.ready(&target.namespace, &target.service, target.port);
        let first = turn.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            let _slot = slot;
            forward(client, &endpoints, first).await;
        });
    }
    connections.shutdown().await;
}

async fn forward(mut client: TcpStream, endpoints: &[SocketAddr], first: usize) {
    let _ = client.set_nodelay(true);
    for offset in 0..endpoints.len() {
        let endpoint = endpoints[(first + offset) % endpoints.len()];
        let connected = tokio::time::timeout(CONNECT, TcpStream::connect(endpoint)).await;
        if let Ok(Ok(mut server)) = connected {
            let _ = server.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
