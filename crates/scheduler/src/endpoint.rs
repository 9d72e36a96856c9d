//! Endpoints, what is known of their load, and the immutable list of them that a decision works on.
//!
//! An [`Endpoint`] says what an endpoint *is* and never changes; a label that changes makes a new one. Its [`Live`]
//! part says how it *does*: scrapes write it, requests count in it, decisions read it, all without a lock. A new
//! endpoint made from an old one keeps the live part, so that guards of running requests and the prefix cache stay
//! valid.
//!
//! ```text
//! discovery --> Endpoint (Arc) --+--> Snapshot (Arc, replaced as a whole)
//! scraping  --> Live (Arc) <-----+         one decision reads one snapshot
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use weir_api::names::label;
use weir_kv::ServerKey;

use crate::inflight::MAX_LOAD_PRODUCERS;

/// What an endpoint is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `<namespace>/<pod>-rank-<i>`; from files `<namespace>/<name>`.
    pub id: Arc<str>,
    /// Name of the pod.
    pub name: Arc<str>,
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Where requests go.
    pub address: SocketAddr,
    /// Address of the node, when known.
    pub node: Option<IpAddr>,
    /// Index of the port among the pool's target ports.
    pub rank: u32,
    /// Labels of the pod.
    pub labels: Labels,
    /// How it does.
    pub live: Arc<Live>,
    role: Role,
}

/// Labels, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

/// What the role label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// No label.
    Unlabelled,
    /// `prefill`
    Prefill,
    /// `decode`
    Decode,
    /// `both` or `prefill-decode`
    PrefillDecode,
    /// `encode`
    Encode,
    /// `encode-prefill`
    EncodePrefill,
    /// `encode-prefill-decode`
    EncodePrefillDecode,
    /// Any other value.
    Unknown,
}

/// What a scrape found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointLoad {
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that run.
    pub running: u32,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: f64,
    /// Tokens of a KV block; 0 when not reported.
    pub block_size: u32,
    /// Blocks of the KV cache; 0 when not reported.
    pub blocks: u32,
    /// When a scrape last set a value; `None` before the first. Of the caller's monotonic clock.
    pub updated: Option<Duration>,
}

/// Adapters that an endpoint has loaded or is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapters {
    /// Loaded.
    pub running: Vec<String>,
    /// Waited for.
    pub waiting: Vec<String>,
    /// Most that can be loaded.
    pub max: u32,
}

/// How an endpoint does.
#[derive(Debug)]
pub struct Live {
    key: ServerKey,
    waiting: AtomicU32,
    running: AtomicU32,
    kv_usage: AtomicU64,
    block_size: AtomicU32,
    blocks: AtomicU32,
    updated: AtomicU64,
    adapters: RwLock<Arc<Adapters>>,
    pub(crate) requests: AtomicI64,
    pub(crate) tokens: [AtomicI64; MAX_LOAD_PRODUCERS],
}

/// The endpoints of a pool at one moment. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: u64,
    endpoints: Vec<Arc<Endpoint>>,
    positions: HashMap<ServerKey, u32, BuildHasherDefault<Spread>>,
}

/// Keys are numbers in sequence: a multiplication spreads them.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// `updated` of an endpoint that was never scraped.
const NEVER: u64 = u64::MAX;

impl Endpoint {
    /// A new endpoint with a live part of its own.
    #[must_use]
    pub fn new(
        namespace: &str,
        name: &str,
        rank: Option<u32>,
        address: SocketAddr,
        labels: Labels,
    ) -> Self {
        let id = match rank {
            Some(rank) => format!("{namespace}/{name}-rank-{rank}"),
            None => format!("{namespace}/{name}"),
        };
        Self {
            id: id.into(),
            name: name.into(),
            namespace: namespace.into(),
            address,
            node: None,
            rank: rank.unwrap_or(0),
            role: Role::of(labels.get(label::ROLE)),
            labels,
            live: Arc::new(Live::default()),
        }
    }

    /// The same endpoint with other labels; load and running requests stay with it.
    #[must_use]
    pub fn relabelled(&self, labels: Labels) -> Self {
        Self {
            role: Role::of(labels.get(label::ROLE)),
            labels,
            ..self.clone()
        }
    }

    /// What its role label says.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Identity towards the prefix cache: of this endpoint's life, not of its name.
    #[must_use]
    pub fn key(&self) -> ServerKey {
        self.live.key
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let mut labels: Vec<(Box<str>, Box<str>)> = labels
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        labels.sort();
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(labels)
    }
}

impl Labels {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self
            .0
            .binary_search_by(|(name, _)| name.as_ref().cmp(key))
            .ok()?;
        Some(&self.0[at].1)
    }
}

impl Role {
    fn of(label: Option<&str>) -> Self {
        match label {
            None => Self::Unlabelled,
            Some("prefill") => Self::Prefill,
            Some("decode") => Self::Decode,
            Some("prefill-decode" | "both") => Self::PrefillDecode,
            Some("encode") => Self::Encode,
            Some("encode-prefill") => Self::EncodePrefill,
            Some("encode-prefill-decode") => Self::EncodePrefillDecode,
            Some(_) => Self::Unknown,
        }
    }

    /// Whether it takes decode work; so does an endpoint without the label.
    #[must_use]
    pub fn decodes(self) -> bool {
        matches!(
            self,
            Self::Unlabelled | Self::Decode | Self::PrefillDecode | Self::EncodePrefillDecode
        )
    }

    /// Whether it takes prefill work.
    #[must_use]
    pub fn prefills(self) -> bool {
        matches!(
            self,
            Self::Prefill | Self::EncodePrefill | Self::PrefillDecode | Self::EncodePrefillDecode
        )
    }

    /// Whether it takes encode work.
    #[must_use]
    pub fn encodes(self) -> bool {
        matches!(
            self,
            Self::Encode | Self::EncodePrefill | Self::EncodePrefillDecode
        )
    }
}

impl Default for Live {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            key: ServerKey(NEXT.fetch_add(1, Ordering::Relaxed)),
            waiting: AtomicU32::default(),
            running: AtomicU32::default(),
            kv_usage: AtomicU64::default(),
            block_size: AtomicU32::default(),
            blocks: AtomicU32::default(),
            updated: AtomicU64::new(NEVER),
            adapters: RwLock::default(),
            requests: AtomicI64::default(),
            tokens: Default::default(),
        }
    }
}

impl Live {
    /// The numbers of the latest scrape. A scrape at the same moment may show in part, which does no harm: each number
    /// is true.
    #[must_use]
    pub fn load(&self) -> EndpointLoad {
        EndpointLoad {
            waiting: self.waiting.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            kv_usage: f64::from_bits(self.kv_usage.load(Ordering::Relaxed)),
            block_size: self.block_size.load(Ordering::Relaxed),
            blocks: self.blocks.load(Ordering::Relaxed),
            updated: match self.updated.load(Ordering::Relaxed) {
                NEVER => None,
                nanos => Some(Duration::from_nanos(nanos)),
            },
        }
    }

    /// Stores what a scrape found.
    pub fn store(&self, load: &EndpointLoad) {
        self.waiting.store(load.waiting, Ordering::Relaxed);
        self.running.store(load.running, Ordering::Relaxed);
        self.kv_usage
            .store(load.kv_usage.to_bits(), Ordering::Relaxed);
        self.block_size.store(load.block_size, Ordering::Relaxed);
        self.blocks.store(load.blocks, Ordering::Relaxed);
        let nanos = load.updated.map_or(NEVER, |at| {
            u64::try_from(at.as_nanos()).unwrap_or(NEVER - 1)
        });
        self.updated.store(nanos, Ordering::Relaxed);
    }

    /// The adapters of the latest scrape.
    #[must_use]
    pub fn adapters(&self) -> Arc<Adapters> {
        Arc::clone(&self.adapters.read())
    }

    /// Stores the adapters that a scrape found.
    pub fn store_adapters(&self, adapters: Adapters) {
        if **self.adapters.read() != adapters {
            *self.adapters.write() = Arc::new(adapters);
        }
    }

    /// Looks at the adapters without keeping them.
    pub(crate) fn with_adapters<T>(&self, look: impl FnOnce(&Adapters) -> T) -> T {
        look(&self.adapters.read())
    }

    /// Requests sent there and not ended.
    #[must_use]
    pub fn requests_in_flight(&self) -> i64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Tokens sent there and not yet worked off, as the load producer with this index counts them.
    #[must_use]
    pub fn tokens_in_flight(&self, producer: usize) -> i64 {
        self.tokens
            .get(producer)
            .map_or(0, |tokens| tokens.load(Ordering::Relaxed))
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Snapshot {
    /// A list of endpoints, in this order.
    #[must_use]
    pub fn new(endpoints: Vec<Arc<Endpoint>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let positions = (0..).zip(&endpoints).map(|(at, e)| (e.key(), at)).collect();
        Self(Arc::new(Inner {
            version: NEXT.fetch_add(1, Ordering::Relaxed),
            endpoints,
            positions,
        }))
    }

    /// The endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.0.endpoints
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.endpoints.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.endpoints.len()
    }

    /// A number that no other snapshot has.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// Where the endpoint with a key stands.
    #[must_use]
    pub fn position(&self, key: ServerKey) -> Option<usize> {
        self.0.positions.get(&key).map(|at| *at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_take_the_work_that_their_label_says() {
        // label, decode, prefill, encode
        for (label, decodes, prefills, encodes) in [
            (None, true, false, false),
            (Some("decode"), true, false, false),
            (Some("prefill"), false, true, false),
            (Some("both"), true, true, false),
            (Some("prefill-decode"), true, true, false),
            (Some("encode"), false, false, true),
            (Some("encode-prefill"), false, true, true),
            (Some("encode-prefill-decode"), true, true, true),
            (Some("other"), false, false, false),
            (Some(""), false, false, false),
        ] {
            let role = Role::of(label);
            assert_eq!(
                (role.decodes(), role.prefills(), role.encodes()),
                (decodes, prefills, encodes),
                "{label:?}"
            );
        }
    }

    #[test]
    fn a_new_label_keeps_the_load() {
        let address = "192.0.2.1:8000".parse().unwrap();
        let old = Endpoint::new("ns", "pod", Some(1), address, Labels::default());
        assert_eq!(&*old.id, "ns/pod-rank-1");
        let load = EndpointLoad {
            waiting: 3,
            kv_usage: 0.25,
            updated: Some(Duration::from_secs(5)),
            ..EndpointLoad::default()
        };
        old.live.store(&load);
        let new = old.relabelled(Labels::from_iter([
            ("llm-d.ai/role", "prefill"),
            ("a", "b"),
        ]));
        assert_eq!(new.live.load(), load);
        assert_eq!(new.key(), old.key());
        assert_eq!(new.role(), Role::Prefill);
        assert_eq!(new.labels.get("a"), Some("b"));
        assert_eq!(new.labels.get("c"), None);
    }
}
