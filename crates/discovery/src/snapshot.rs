//! What is known of endpoints at one moment.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Namespace and name of a Service.
pub type ServiceKey = (String, String);

/// Why a Service port has no endpoint set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// There is no such Service.
    #[error("there is no such service")]
    Service,
    /// The Service has no such port.
    #[error("the service has no such port")]
    Port,
}

/// A port of a Service with what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, may be empty.
    pub name: String,
    /// Number.
    pub port: u16,
    /// Ready endpoints, sorted, each once.
    pub ready: Arc<[SocketAddr]>,
}

/// A pod that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Address.
    pub address: IpAddr,
    /// Whether it says Ready and is not being deleted.
    pub ready: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What is known of endpoints at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) services: HashMap<ServiceKey, Arc<[ServicePort]>>,
    pub(crate) pods: Arc<BTreeMap<(String, String), PodAddress>>,
    pub(crate) shape: u64,
    pub(crate) synced: bool,
}

impl Snapshot {
    /// Returns a snapshot of these services.
    #[must_use]
    pub fn of(services: impl IntoIterator<Item = (ServiceKey, Vec<ServicePort>)>) -> Self {
        Self {
            services: services
                .into_iter()
                .map(|(key, ports)| (key, ports.into()))
                .collect(),
            synced: true,
            ..Self::default()
        }
    }

    /// Adds pods.
    #[must_use]
    pub fn with_pods(mut self, pods: impl IntoIterator<Item = PodAddress>) -> Self {
        let pods = pods
            .into_iter()
            .map(|pod| ((pod.namespace.clone(), pod.name.clone()), pod));
        self.pods = Arc::new(pods.collect());
        self
    }

    /// Returns the ready endpoints behind a port of a Service, or what is missing.
    ///
    /// # Errors
    /// When there is no such Service, or it has no such port.
    pub fn find(
        &self,
        namespace: &str,
        service: &str,
        port: u16,
    ) -> Result<Arc<[SocketAddr]>, Missing> {
        let ports = self
            .services
            .get(&(namespace.to_owned(), service.to_owned()))
            .ok_or(Missing::Service)?;
        ports
            .iter()
            .find(|candidate| candidate.port == port)
            .map(|port| Arc::clone(&port.ready))
            .ok_or(Missing::Port)
    }

    /// Returns the pods of `namespace` that have an address.
    pub fn pods<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a PodAddress> {
        self.pods
            .range((namespace.to_owned(), String::new())..)
            .map(|(_, pod)| pod)
            .take_while(move |pod| pod.namespace == namespace)
    }

    /// Changes when a Service or one of its ports comes or goes, not when endpoints do.
    #[must_use]
    pub fn shape(&self) -> u64 {
        self.shape
    }

    /// Says whether all Services were listed once: before, one that is missing may only be late.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// Number of Services.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Says whether there is no Service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}
