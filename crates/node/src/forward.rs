//! TCP forwarders of Services: ClusterIP and port to the ready endpoints in turn.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Key of a forwarder: where it listens and whose endpoints it takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Listen {
    address: SocketAddr,
    namespace: String,
    service: String,
    port_name: String,
}

/// Keeps a forwarder for every port of every Service that has an address of this machine.
pub(crate) async fn run(client: Client, shutdown: CancellationToken) {
    let wake = Arc::new(Notify::new());
    let mut watches = JoinSet::new();
    let (services, writer) = reflector::store::<Service>();
    let (slices, slice_writer) = reflector::store::<EndpointSlice>();
    {
        let wake = Arc::clone(&wake);
        let stream = watcher(
            Api::<Service>::all(client.clone()),
            watcher::Config::default(),
        )
        .default_backoff()
        .reflect(writer);
        watches.spawn(async move {
            futures::pin_mut!(stream);
            while stream.next().await.is_some() {
                wake.notify_one();
            }
        });
        let stream = watcher(
            Api::<EndpointSlice>::all(client),
            watcher::Config::default(),
        )
        .default_backoff()
        .reflect(slice_writer);
        watches.spawn(async move {
            futures::pin_mut!(stream);
            while stream.next().await.is_some() {}
        });
    }
    let mut listening: HashMap<Listen, CancellationToken> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            () = wake.notified() => {}
        }
        let wanted = wanted(&services);
        listening.retain(|listen, stop| {
            let keep = wanted.contains(listen);
            if !keep {
                stop.cancel();
            }
            keep
        });
        for listen in wanted {
            if listening.contains_key(&listen) {
                continue;
            }
            let stop = shutdown.child_token();
            listening.insert(listen.clone(), stop.clone());
            tasks.spawn(serve(listen, slices.clone(), stop));
        }
    }
    while tasks.join_next().await.is_some() {}
}

fn wanted(services: &Store<Service>) -> Vec<Listen> {
    let mut wanted = Vec::new();
    for service in services.state() {
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec
            .cluster_ip
            .as_deref()
            .and_then(|ip| ip.parse::<IpAddr>().ok())
        else {
            continue;
        };
        if !ip.is_loopback() {
            continue;
        }
        for port in spec.ports.iter().flatten() {
            let Ok(number) = u16::try_from(port.port) else {
                continue;
            };
            wanted.push(Listen {
                address: SocketAddr::new(ip, number),
                namespace: service.metadata.namespace.clone().unwrap_or_default(),
                service: service.metadata.name.clone().unwrap_or_default(),
                port_name: port.name.clone().unwrap_or_default(),
            });
        }
    }
    wanted
}

async fn serve(listen: Listen, slices: Store<EndpointSlice>, stop: CancellationToken) {
    let listener = match TcpListener::bind(listen.address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(address = %listen.address, service = listen.service, %error, "Service port not forwarded");
            return;
        }
    };
    let turn = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((mut inbound, _)) = accepted else { continue };
                let ready = endpoints(&listen, &slices);
                if ready.is_empty() {
                    continue;
                }
                let address = ready[turn.fetch_add(1, Ordering::Relaxed) % ready.len()];
                connections.spawn(async move {
                    if let Ok(mut outbound) = TcpStream::connect(address).await {
                        let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                    }
                });
            }
        }
    }
}

fn endpoints(listen: &Listen, slices: &Store<EndpointSlice>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for slice in slices.state() {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
        if slice.metadata.namespace.as_deref() != Some(&listen.namespace)
            || service != Some(&listen.service)
        {
            continue;
        }
        let port = slice
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref().unwrap_or_default() == listen.port_name);
        let Some(port) = port
            .and_then(|p| p.port)
            .and_then(|p| u16::try_from(p).ok())
        else {
            continue;
        };
        for endpoint in slice
            .endpoints
            .iter()
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false))
        {
            found.extend(
                endpoint
                    .addresses
                    .iter()
                    .filter_map(|a| Some(SocketAddr::new(a.parse().ok()?, port))),
            );
        }
    }
    found
}
