//! Which pods are endpoints: pure, fed with changes.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use weir_discovery::Change;
use weir_scheduler::Labels;
use weir_scheduler::labels::Selector;

use super::selector;
use super::tables::Generation;
use crate::pool::Described;

/// Annotations that restrict the ports of a pod; the second is read when the first is absent.
const ACTIVE_PORTS: [&str; 2] = [
    "llm-d.ai/active-ports",
    "inference.networking.k8s.io/active-ports",
];

/// Protocols that the parsers of this picker read.
const SPOKEN: [&str; 3] = ["", "http", "kubernetes.io/h2c"];

/// What a pool says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PoolSpec {
    selector: Selector,
    ports: Vec<u16>,
    protocol: String,
}

/// What of a pod matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    namespace: String,
    address: IpAddr,
    node: Option<IpAddr>,
    labels: BTreeMap<String, String>,
    active: Option<HashSet<u16>>,
}

/// Pods and pool as they are now.
#[derive(Debug, Default)]
pub(super) struct Members {
    pods: BTreeMap<String, Seen>,
    listed: Option<HashSet<String>>,
    fixed: Option<PoolSpec>,
    pools: BTreeMap<Generation, PoolSpec>,
    pool_listed: BTreeMap<Generation, bool>,
    synced: bool,
}

impl PoolSpec {
    pub(super) fn selected(selector: Selector, ports: Vec<u16>) -> Self {
        Self {
            selector,
            ports,
            protocol: String::new(),
        }
    }

    /// The spec of a pool of either generation; `None` while it is being deleted or says nothing usable.
    fn of(object: &DynamicObject) -> Option<Self> {
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let spec = object.data.get("spec")?;
        let selector = spec.get("selector")?;
        let labels = selector.get("matchLabels").unwrap_or(selector);
        let pairs = labels
            .as_object()?
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
        let ports = match spec.get("targetPorts").and_then(Value::as_array) {
            Some(list) => list
                .iter()
                .filter_map(|one| port(one.get("number")?))
                .collect(),
            None => spec
                .get("targetPortNumber")
                .and_then(port)
                .into_iter()
                .collect(),
        };
        Some(Self {
            selector: selector::of_labels(pairs),
            ports,
            protocol: spec
                .get("appProtocol")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

impl Seen {
    /// A pod that is ready; `None` for every other.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = pod.status.as_ref()?;
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        if !ready {
            return None;
        }
        let annotations = pod.annotations();
        let active = ACTIVE_PORTS.iter().find_map(|name| annotations.get(*name));
        Some(Self {
            namespace: pod.namespace().unwrap_or_default(),
            address: status.pod_ip.as_ref()?.parse().ok()?,
            node: status.host_ip.as_ref().and_then(|ip| ip.parse().ok()),
            labels: pod.labels().clone(),
            active: active.map(|list| {
                list.split(',')
                    .filter_map(|port| port.trim().parse().ok())
                    .collect()
            }),
        })
    }
}

impl Members {
    /// Sets what is not read from a pool.
    pub(super) fn fixed(&mut self, spec: PoolSpec) {
        self.fixed = Some(spec);
    }

    pub(super) fn pod(&mut self, change: Change<Pod>, seen: impl Fn(&Pod) -> Option<Seen>) {
        match change {
            Change::Listing => self.listed = Some(HashSet::new()),
            Change::Synced => {
                self.synced = true;
                if let Some(listed) = self.listed.take() {
                    self.pods.retain(|name, _| listed.contains(name));
                }
            }
            Change::Deleted(pod) => {
                self.pods.remove(&pod.name_any());
            }
            Change::Applied(pod) | Change::Listed(pod) => {
                let name = pod.name_any();
                if let Some(listed) = &mut self.listed {
                    listed.insert(name.clone());
                }
                match seen(&pod) {
                    Some(seen) => self.pods.insert(name, seen),
                    None => self.pods.remove(&name),
                };
            }
        }
    }

    pub(super) fn pool(&mut self, generation: Generation, change: Change<DynamicObject>) {
        match change {
            Change::Listing => {
                self.pool_listed.insert(generation, false);
            }
            Change::Synced => {
                if self.pool_listed.remove(&generation) == Some(false) {
                    self.pools.remove(&generation);
                }
            }
            Change::Deleted(_) => {
                self.pools.remove(&generation);
            }
            Change::Applied(pool) | Change::Listed(pool) => {
                if let Some(listed) = self.pool_listed.get_mut(&generation) {
                    *listed = true;
                }
                match PoolSpec::of(&pool) {
                    Some(spec) => self.pools.insert(generation, spec),
                    None => self.pools.remove(&generation),
                };
            }
        }
    }

    fn spec(&self) -> Option<&PoolSpec> {
        self.fixed
            .as_ref()
            .or_else(|| self.pools.get(&Generation::Current))
            .or_else(|| self.pools.get(&Generation::Old))
    }

    /// Says whether it is known what to pick from.
    pub(super) fn known(&self) -> bool {
        self.synced && self.spec().is_some()
    }

    /// Says whether the parsers read the pool's protocol.
    pub(super) fn protocol_spoken(&self) -> bool {
        self.spec()
            .is_none_or(|spec| SPOKEN.contains(&spec.protocol.as_str()))
    }

    /// The endpoints: one for each port of each pod that is ready and matches.
    pub(super) fn described(&self) -> Vec<Described> {
        let Some(spec) = self.spec() else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, pod) in &self.pods {
            let labels: Labels = pod
                .labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            if !spec.selector.matches(&labels) {
                continue;
            }
            for (rank, port) in (0..).zip(&spec.ports) {
                if pod
                    .active
                    .as_ref()
                    .is_some_and(|active| !active.contains(port))
                {
                    continue;
                }
                out.push(Described {
                    namespace: pod.namespace.clone(),
                    name: name.clone(),
                    rank: Some(rank),
                    address: SocketAddr::new(pod.address, *port),
                    node: pod.node,
                    labels: labels.clone(),
                });
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
