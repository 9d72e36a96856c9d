//! Objects become endpoint sets: pure, fed with changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use crate::follow::Change;
use crate::snapshot::{PodAddress, ServiceKey, ServicePort, Snapshot};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

type Key = (String, String);

/// The objects of one kind by namespace and name, as far as they matter.
#[derive(Debug)]
struct Objects<V> {
    known: BTreeMap<Key, V>,
    listed: Option<HashSet<Key>>,
}

impl<V> Default for Objects<V> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            listed: None,
        }
    }
}

impl<V: PartialEq> Objects<V> {
    /// Takes in a change; returns the values that went and came.
    fn take<K: ResourceExt>(
        &mut self,
        change: Change<K>,
        read: impl Fn(&K) -> Option<V>,
    ) -> Vec<(Key, Option<V>)> {
        match change {
            Change::Listing => {
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            Change::Listed(object) => {
                let key = key(&object);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.put(key, read(&object))
            }
            Change::Applied(object) => self.put(key(&object), read(&object)),
            Change::Deleted(object) => self.put(key(&object), None),
            Change::Synced => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<Key> = self
                    .known
                    .keys()
                    .filter(|key| !listed.contains(*key))
                    .cloned()
                    .collect();
                gone.into_iter()
                    .flat_map(|key| self.put(key, None))
                    .collect()
            }
        }
    }

    fn put(&mut self, key: Key, value: Option<V>) -> Vec<(Key, Option<V>)> {
        if self.known.get(&key) == value.as_ref() {
            return Vec::new();
        }
        let old = match value {
            Some(value) => self.known.insert(key.clone(), value),
            None => self.known.remove(&key),
        };
        vec![(key, old)]
    }
}

fn key<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[derive(Debug, PartialEq, Eq)]
struct Slice {
    service: String,
    /// Name and number of each port.
    ports: Vec<(String, u16)>,
    ready: Vec<IpAddr>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    services: Objects<Vec<(String, u16)>>,
    slices: Objects<Slice>,
    pods: Objects<PodAddress>,
    by_service: HashMap<ServiceKey, BTreeSet<String>>,
    dirty: HashSet<ServiceKey>,
    pods_dirty: bool,
    first_sync: bool,
    published: Snapshot,
}

impl State {
    pub(crate) fn service(&mut self, change: Change<Service>) {
        self.first_sync |= !self.published.synced && matches!(change, Change::Synced);
        for (key, _) in self.services.take(change, read_service) {
            self.published.shape += 1;
            self.dirty.insert(key);
        }
    }

    pub(crate) fn slice(&mut self, change: Change<EndpointSlice>) {
        for ((namespace, name), old) in self.slices.take(change, read_slice) {
            if let Some(old) = old {
                let service = (namespace.clone(), old.service);
                if let Some(names) = self.by_service.get_mut(&service) {
                    names.remove(&name);
                    if names.is_empty() {
                        self.by_service.remove(&service);
                    }
                }
                self.dirty.insert(service);
            }
            if let Some(new) = self.slices.known.get(&(namespace.clone(), name.clone())) {
                let service = (namespace, new.service.clone());
                self.by_service
                    .entry(service.clone())
                    .or_default()
                    .insert(name);
                self.dirty.insert(service);
            }
        }
    }

    pub(crate) fn pod(&mut self, change: Change<Pod>) {
        self.pods_dirty |= !self.pods.take(change, read_pod).is_empty();
    }

    /// Returns the new snapshot when something changed since the last one.
    pub(crate) fn take_snapshot(&mut self) -> Option<Snapshot> {
        let mut changed = std::mem::take(&mut self.first_sync);
        self.published.synced |= changed;
        for key in std::mem::take(&mut self.dirty) {
            let Some(ports) = self.services.known.get(&key) else {
                changed |= self.published.services.remove(&key).is_some();
                continue;
            };
            let ports: Arc<[ServicePort]> = ports
                .iter()
                .map(|(name, port)| ServicePort {
                    name: name.clone(),
                    port: *port,
                    ready: self.ready(&key, name),
                })
                .collect();
            if self.published.services.get(&key) != Some(&ports) {
                self.published.services.insert(key, ports);
                changed = true;
            }
        }
        if std::mem::take(&mut self.pods_dirty) {
            self.published.pods = Arc::new(self.pods.known.clone());
            changed = true;
        }
        changed.then(|| self.published.clone())
    }

    fn ready(&self, service: &ServiceKey, port_name: &str) -> Arc<[SocketAddr]> {
        let slices = self.by_service.get(service).into_iter().flatten();
        let ready: BTreeSet<SocketAddr> = slices
            .filter_map(|name| self.slices.known.get(&(service.0.clone(), name.clone())))
            .flat_map(|slice| {
                slice
                    .ports
                    .iter()
                    .filter(|(name, _)| name == port_name)
                    .flat_map(|(_, port)| {
                        slice
                            .ready
                            .iter()
                            .map(|address| SocketAddr::new(*address, *port))
                    })
            })
            .collect();
        ready.into_iter().collect()
    }
}

fn read_service(service: &Service) -> Option<Vec<(String, u16)>> {
    let ports = service.spec.as_ref()?.ports.iter().flatten();
    Some(
        ports
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
            .filter_map(|port| {
                Some((
                    port.name.clone().unwrap_or_default(),
                    u16::try_from(port.port).ok()?,
                ))
            })
            .collect(),
    )
}

fn read_slice(slice: &EndpointSlice) -> Option<Slice> {
    let service = slice.labels().get(SERVICE_NAME)?.clone();
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        Some((
            port.name.clone().unwrap_or_default(),
            u16::try_from(port.port?).ok()?,
        ))
    });
    let ready = slice
        .endpoints
        .iter()
        // An endpoint that does not say so is ready.
        .filter(|endpoint| {
            endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true)
        })
        .filter_map(|endpoint| endpoint.addresses.first()?.parse().ok());
    Some(Slice {
        service,
        ports: ports.collect(),
        ready: ready.collect(),
    })
}

fn read_pod(pod: &Pod) -> Option<PodAddress> {
    let status = pod.status.as_ref()?;
    let address = status.pod_ip.as_deref()?.parse().ok()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    Some(PodAddress {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        address,
        ready: ready && pod.metadata.deletion_timestamp.is_none(),
        labels: pod.labels().clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::Missing;

    fn object<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn service() -> Service {
        object(
            json!({"metadata": {"namespace": "ns", "name": "a"}, "spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": 8000}, {"name": "zmq", "port": 5557}]}}),
        )
    }

    fn slice(name: &str, endpoints: &[(&str, Option<bool>)]) -> EndpointSlice {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, ready)| json!({"addresses": [address], "conditions": {"ready": ready}}))
            .collect();
        object(json!({
            "metadata": {"namespace": "ns", "name": name, "labels": {SERVICE_NAME: "a"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8000}]}))
    }

    fn texts(set: &[SocketAddr]) -> Vec<String> {
        set.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn slices_become_sets_by_port_name() {
        let mut state = State::default();
        state.slice(Change::Applied(slice(
            "s1",
            &[("10.0.0.2", Some(true)), ("10.0.0.3", Some(false))],
        )));
        assert!(state.take_snapshot().is_none(), "no service yet");
        state.service(Change::Applied(service()));
        state.slice(Change::Applied(slice(
            "s2",
            &[("10.0.0.1", None), ("10.0.0.2", Some(true))],
        )));
        let snapshot = state.take_snapshot().unwrap();
        assert_eq!(
            texts(&snapshot.find("ns", "a", 80).unwrap()),
            ["10.0.0.1:8000", "10.0.0.2:8000"]
        );
        assert!(snapshot.find("ns", "a", 5557).unwrap().is_empty());
        assert_eq!(snapshot.find("ns", "a", 81), Err(Missing::Port));
        assert_eq!(snapshot.find("ns", "b", 80), Err(Missing::Service));
        let shape = snapshot.shape();
        state.slice(Change::Deleted(slice("s2", &[])));
        let snapshot = state.take_snapshot().unwrap();
        assert_eq!(
            texts(&snapshot.find("ns", "a", 80).unwrap()),
            ["10.0.0.2:8000"]
        );
        assert_eq!(snapshot.shape(), shape);
    }

    #[test]
    fn a_new_list_forgets_what_it_does_not_name() {
        let mut state = State::default();
        state.service(Change::Applied(service()));
        state.slice(Change::Applied(slice("s1", &[("10.0.0.2", None)])));
        state.take_snapshot().unwrap();
        state.slice(Change::Listing);
        state.slice(Change::Listed(slice("s3", &[("10.0.0.9", None)])));
        state.slice(Change::Synced);
        let snapshot = state.take_snapshot().unwrap();
        assert_eq!(
            texts(&snapshot.find("ns", "a", 80).unwrap()),
            ["10.0.0.9:8000"]
        );
        state.service(Change::Applied(service()));
        assert!(state.take_snapshot().is_none(), "nothing changed");
    }

    #[test]
    fn pods_of_a_namespace() {
        let pod = |namespace: &str, name: &str, ready: &str| -> Pod {
            object(
                json!({"metadata": {"namespace": namespace, "name": name}, "status": {
                "podIP": "10.0.0.5", "conditions": [{"type": "Ready", "status": ready}]}}),
            )
        };
        let mut state = State::default();
        state.pod(Change::Applied(pod("a", "x", "True")));
        state.pod(Change::Applied(pod("b", "x", "True")));
        state.pod(Change::Applied(pod("b", "y", "False")));
        let snapshot = state.take_snapshot().unwrap();
        let ready: Vec<_> = snapshot
            .pods("b")
            .map(|pod| (pod.name.as_str(), pod.ready))
            .collect();
        assert_eq!(ready, [("x", true), ("y", false)]);
    }
}
