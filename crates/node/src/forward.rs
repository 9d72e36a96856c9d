//! A TCP forwarder for each port of each Service with a ClusterIP of this instance.

use std::collections::BTreeMap;
use std::io::ErrorKind;
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
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The forwarder of a Service that is just replaced gives its address back within this time.
const TOLD_FROM: Duration = Duration::from_millis(400);

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
            let stop = shutdown.child_token();
            running.insert((address, target.clone()), stop.clone());
            let mut service = service.clone();
            service["kind"] = Value::from("Service");
            let (objects, sets) = (objects.clone(), sets.clone());
            tasks.spawn(async move {
                let failed = async |error: std::io::Error| {
                    tracing::warn!(%address, %error, "Service port not forwarded");
                    let message = format!("no forwarder on {address}: {error}");
                    let reason = "ForwarderFailed";
                    objects.event(&service, true, reason, &message).await;
                };
                if let Some(listener) = bind(address, &stop, failed).await {
                    serve(listener, target, sets, stop, CONNECTIONS).await;
                }
            });
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

/// Tries until the address is free; `None` when it is not wanted any more. `failed` hears of the first
/// failure that is not only an earlier forwarder on its way out.
async fn bind(
    address: SocketAddr,
    stop: &CancellationToken,
    failed: impl AsyncFnOnce(std::io::Error),
) -> Option<TcpListener> {
    let mut failed = Some(failed);
    let mut wait = FIRST_WAIT;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if failed.is_none() {
                    tracing::info!(%address, "Service port forwarded at last");
                }
                return Some(listener);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse && wait < TOLD_FROM => {}
            Err(error) => {
                if let Some(failed) = failed.take() {
                    failed(error).await;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Forwards at most `bound` connections at once; those beyond are closed, counted and told, the log
/// only at the powers of two.
async fn serve(
    listener: TcpListener,
    target: Target,
    sets: EndpointSets,
    stop: CancellationToken,
    bound: usize,
) {
    let mut refused: u64 = 0;
    let turn = Arc::new(AtomicUsize::new(0));
    let slots = Arc::new(Semaphore::new(bound));
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
            refused += 1;
            if refused.is_power_of_two() {
                let Target {
                    namespace,
                    service,
                    port,
                } = &target;
                tracing::warn!(%namespace, %service, port, bound, refused, "Connection beyond the bound closed");
            }
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_told_once_and_taken_when_it_is_free() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (told, holder) = (RefCell::new(Vec::new()), RefCell::new(Some(holder)));
        let failed = async |error: std::io::Error| {
            told.borrow_mut().push(error.kind());
            holder.take();
        };
        let listener = bind(address, &stop, failed).await.unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        assert_eq!(*told.borrow(), [ErrorKind::AddrInUse]);
        // Taken again, by the listener; nobody wants it any more.
        let failed = async |_| stop.cancel();
        assert!(bind(address, &stop, failed).await.is_none());
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Target {
            namespace: "n".into(),
            service: "s".into(),
            port: 1,
        };
        let stop = CancellationToken::new();
        let sets = EndpointSets::fixed(weir_discovery::Snapshot::default());
        let client = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            // The end of the stream, or a reset.
            let _ = client.read(&mut [0]).await;
            stop.cancel();
        };
        tokio::join!(serve(listener, target, sets, stop.clone(), 0), client);
    }
}
