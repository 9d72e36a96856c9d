//! What the parameters of each plugin become; those of plugins that read or gather are in [`data`].

mod data;

use std::time::Duration;

use crate::labels::Selector;

pub use data::{
    Approx, CoreMetrics, FileDiscovery, HttpSource, InFlightLoad, Parser, Precise, Reporter,
    TokenProducer,
};

/// A kind of plugin with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Keeps endpoints by the work that their role label says.
    RoleFilter(Work),
    /// Keeps endpoints by a label selector.
    LabelSelectorFilter(Selector),
    /// Keeps endpoints by the value of one label.
    LabelFilter(LabelFilter),
    /// Keeps endpoints that hold most of the prompt.
    PrefixAffinityFilter(PrefixAffinity),
    /// Keeps endpoints that are expected to meet their latency goals.
    SloHeadroomFilter(SloHeadroom),
    /// Filter and scorer by the range of prompt lengths in a label.
    ContextLength(ContextLength),
    /// Keeps the endpoint of the session.
    SessionFilter(Session),
    /// Keeps endpoints below limits of load.
    UtilizationFilter(UtilizationFilter),
    /// Keeps the endpoints that a header names.
    HeaderTestFilter,
    /// Few waiting requests.
    QueueScorer,
    /// Little of the KV cache in use.
    KvUsageScorer,
    /// Much of the prompt cached.
    PrefixScorer(PrefixScorer),
    /// The same by KV events: scorer and producer in one.
    PrecisePrefixScorer(Box<Precise>),
    /// The adapter is loaded, or can be.
    LoraScorer,
    /// Few requests of ours in flight.
    ActiveRequestScorer(ActiveRequest),
    /// Spreads requests that hit no cache.
    NoHitLruScorer(NoHitLru),
    /// Few waiting requests, against a fixed limit.
    LoadAwareScorer {
        /// Waiting requests that score 0.
        threshold: u64,
    },
    /// Few running requests.
    RunningRequestsScorer,
    /// Few tokens of ours in flight.
    TokenLoadScorer(TokenLoad),
    /// Predicted latency against goals.
    LatencyScorer(Latency),
    /// Encoder outputs cached.
    MediaCacheScorer {
        /// Producer of the matches.
        producer: String,
    },
    /// The endpoint of the session.
    SessionScorer(Session),
    /// Takes the best.
    MaxScorePicker(Pick),
    /// Takes any.
    RandomPicker(Pick),
    /// Takes any, better ones more often.
    WeightedRandomPicker(Pick),
    /// Runs the one profile.
    SingleHandler,
    /// Runs decode, prefill and encode profiles.
    DisaggHandler(Disagg),
    /// Runs the one profile and sends everything through one port.
    DataParallelHandler {
        /// The port through which requests enter.
        primary_port: u16,
    },
    /// Runs the profile that a header names.
    HeaderHandler {
        /// The header.
        header: String,
        /// The profile without it.
        default: String,
    },
    /// Writes the headers of prefill and encode workers.
    DisaggHeaders {
        /// Name of the prefill profile.
        prefill: String,
        /// Name of the encode profile.
        encode: String,
    },
    /// Prefill elsewhere when enough of the prompt is not cached.
    PrefixDecider(PrefixDecider),
    /// Prefill elsewhere always.
    AlwaysDecider,
    /// Encode elsewhere when there is something to encode.
    MediaDecider,
    /// Turns prompts into tokens.
    TokenProducer(TokenProducer),
    /// Remembers which prompt went where.
    ApproxPrefixProducer(Approx),
    /// Knows from KV events which block is where.
    PrecisePrefixProducer(Box<Precise>),
    /// Counts requests and tokens in flight.
    InFlightProducer(InFlightLoad),
    /// Asks a predictor for latencies.
    PredictedLatencyProducer,
    /// Remembers which encoder output is where.
    MediaCacheProducer {
        /// Size of an endpoint's cache.
        megabytes: u64,
    },
    /// Takes the session's id from a header or cookie.
    SessionIdProducer(SessionIdFrom),
    /// Saturation from scraped load.
    UtilizationDetector(UtilizationDetector),
    /// Saturation from requests in flight.
    ConcurrencyDetector(ConcurrencyDetector),
    /// The best head of all flows.
    GlobalStrictFairness,
    /// One flow after the other.
    RoundRobinFairness,
    /// First come, first served.
    FcfsOrdering,
    /// Earliest deadline first.
    EdfOrdering,
    /// Earliest deadline by latency goal.
    SloDeadlineOrdering,
    /// One ceiling for all.
    StaticLimit {
        /// Saturation at which dispatch stops.
        threshold: f64,
    },
    /// Denies sheddable requests that no endpoint can serve in time.
    LatencySloAdmitter,
    /// Denies sheddable requests by chance, the fuller the likelier.
    ProbabilisticAdmitter(ProbabilisticAdmitter),
    /// Puts a computed value into the metadata of the answer.
    Reporter(Box<Reporter>),
    /// Takes the flow's id from the headers of known agents.
    AgentIdentity {
        /// Headers looked at besides the known ones.
        additional: Vec<String>,
    },
    /// Tells which endpoint served.
    ServedVerifier,
    /// Scrapes metrics.
    MetricsSource(HttpSource),
    /// Asks for the list of models.
    ModelsSource(HttpSource),
    /// Tells of endpoints that come and go.
    EndpointNotificationSource,
    /// Endpoints from a file.
    FileDiscovery(FileDiscovery),
    /// Load from scraped metrics.
    CoreMetrics(CoreMetrics),
    /// Model names from the list.
    ModelsExtractor,
    /// Reads requests.
    Parser(Parser),
}

/// What a role label allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Generate.
    Decode,
    /// Compute prompts.
    Prefill,
    /// Encode media.
    Encode,
}

/// Parameters of `by-label`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// The label's key.
    pub label: String,
    /// Values that pass.
    pub values: Vec<String>,
    /// Whether an endpoint without the label passes.
    pub allows_missing: bool,
}

/// Parameters of `prefix-cache-affinity-filter`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefixAffinity {
    /// Share of the prompt from which an endpoint is sticky.
    pub threshold: f64,
    /// How often to look elsewhere.
    pub exploration: f64,
    /// How much later the sticky one may be, in milliseconds.
    pub max_penalty_ms: f64,
    /// Whether time comes from a predictor.
    pub predicted: bool,
    /// Prompt tokens an endpoint works off in a second.
    pub throughput: f64,
    /// Producer of matches.
    pub prefix: String,
    /// Producer of loads.
    pub load: String,
    /// Producer of predictions.
    pub latency: String,
}

/// Parameters of `slo-headroom-tier-filter`.
#[derive(Clone, Debug, PartialEq)]
pub struct SloHeadroom {
    /// How often to try one that is expected to be late.
    pub epsilon: f64,
    /// Producer of predictions.
    pub latency: String,
}

/// Parameters of `context-length-aware`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextLength {
    /// The label with the range.
    pub label: String,
    /// Whether it filters, too.
    pub filters: bool,
}

/// Parameters of the session plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// The endpoint's id travels in a header.
    Encoded {
        /// The header.
        header: String,
    },
    /// Sessions are bound here.
    ById {
        /// Where ids come from, the first that has one.
        sources: Vec<SessionIdFrom>,
        /// Unused bindings are dropped after this time.
        ttl: Duration,
        /// How often they are looked for.
        sweep: Duration,
        /// Profile whose pick is bound; the primary one when empty.
        profile: String,
    },
}

/// Where a session's id comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionIdFrom {
    /// A header.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// What the `session-id-producer` of this name finds.
    Attribute(String),
}

/// Parameters of `utilization-filter`.
#[derive(Clone, Debug, PartialEq)]
pub struct UtilizationFilter {
    /// All must hold.
    pub conditions: Vec<(LoadMetric, f64)>,
    /// Whether all pass when none would.
    pub fallback: bool,
    /// Producer of loads.
    pub load: String,
}

/// A number that says how loaded an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadMetric {
    /// Requests of ours in flight.
    Active,
    /// Running requests.
    Running,
    /// Waiting requests.
    Waiting,
    /// Share of the KV cache in use.
    KvUsage,
}

/// Parameters of `prefix-cache-scorer`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefixScorer {
    /// Producer of matches.
    pub producer: String,
    /// Weight of the matched length against the matched share, 0 to 1.
    pub length_weight: f64,
    /// Matched tokens that count as full length.
    pub length_scale: f64,
}

/// Parameters of `active-request-scorer`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveRequest {
    /// Requests up to which an endpoint is idle.
    pub idle: i64,
    /// Score of the least busy of those that are not.
    pub max_busy: f64,
    /// Producer of loads.
    pub load: String,
}

/// Parameters of `no-hit-lru-scorer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoHitLru {
    /// Endpoints remembered.
    pub size: usize,
    /// Producer of matches.
    pub producer: String,
}

/// Parameters of `token-load-scorer`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLoad {
    /// Tokens that score 0.
    pub threshold: f64,
    /// Producer of loads.
    pub load: String,
}

/// Parameters of `latency-scorer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Weight of the time to first token.
    pub ttft: f64,
    /// Weight of the time per token.
    pub tpot: f64,
    /// Prefers much headroom to little.
    pub most: bool,
    /// Weight of the free KV cache without predictions.
    pub kv: f64,
    /// Weight of the queue without predictions.
    pub queue: f64,
    /// Weight of the cached prefix without predictions.
    pub prefix: f64,
    /// Producer of matches.
    pub prefix_producer: String,
    /// Producer of predictions.
    pub latency_producer: String,
}

/// Parameters of the pickers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Most endpoints to take, at least 1.
    pub count: usize,
}

/// Parameters of `disagg-profile-handler` and of the older `pd-profile-handler`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagg {
    /// Name of the decode profile.
    pub decode: String,
    /// Name of the prefill profile.
    pub prefill: String,
    /// Name of the encode profile.
    pub encode: String,
    /// Decides on prefill elsewhere; none: never.
    pub prefill_decider: Option<String>,
    /// Decides on encode elsewhere; none: never.
    pub encode_decider: Option<String>,
    /// Prefill is chosen first and always.
    pub prefill_first: bool,
    /// Whether it writes the headers itself.
    pub writes_headers: bool,
    /// Everything enters through this port.
    pub primary_port: Option<u16>,
}

/// Parameters of `prefix-based-pd-decider`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixDecider {
    /// Tokens not cached from which prefill goes elsewhere; 0 is never.
    pub non_cached: u64,
    /// Shorter prompts stay.
    pub prompt: u64,
    /// Producer of matches.
    pub producer: String,
}

/// Parameters of `utilization-detector`.
#[derive(Clone, Debug, PartialEq)]
pub struct UtilizationDetector {
    /// Waiting requests that are full.
    pub queue: f64,
    /// KV usage that is full.
    pub kv: f64,
    /// Older metrics count as full.
    pub staleness: Duration,
    /// As filter: how far above full is still taken.
    pub headroom: f64,
}

impl Default for UtilizationDetector {
    fn default() -> Self {
        Self {
            queue: 5.0,
            kv: 0.8,
            staleness: Duration::from_millis(200),
            headroom: 0.0,
        }
    }
}

/// What the concurrency detector counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyMode {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
    /// Whichever is fuller.
    Hybrid,
}

/// Parameters of `concurrency-detector`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConcurrencyDetector {
    /// Requests that are full.
    pub requests: f64,
    /// Tokens that are full.
    pub tokens: f64,
    /// What counts.
    pub mode: ConcurrencyMode,
    /// As filter: how far above full is still taken.
    pub headroom: f64,
    /// Producer of loads.
    pub load: String,
}

/// Parameters of `probabilistic-admitter`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbabilisticAdmitter {
    /// Waiting requests that are full.
    pub queue: f64,
    /// KV usage that is full.
    pub kv: f64,
    /// Exponent of the saturation.
    pub power: f64,
    /// Factor before it.
    pub k: f64,
}
