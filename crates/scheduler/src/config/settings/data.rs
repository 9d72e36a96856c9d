//! Parameters of the plugins that read requests, gather what is known of endpoints, and report.

use std::time::Duration;

use crate::config::media::Estimate;
use crate::report::{Counts, Expression};

/// Parameters of `token-producer`.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenProducer {
    /// Four bytes are a token.
    Estimate(Box<Estimate>),
    /// A vLLM server renders.
    Render {
        /// Model to name there.
        model: String,
        /// Address of the server.
        url: String,
        /// Deadline.
        timeout: Duration,
        /// Deadline with media.
        media_timeout: Duration,
    },
}

/// Parameters of `approx-prefix-cache-producer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approx {
    /// Block size and capacity as endpoints report them.
    pub auto_tune: bool,
    /// Tokens of a block where none is reported.
    pub block_size: u32,
    /// Most blocks of a prompt that are hashed; 0 is no limit.
    pub max_blocks: usize,
    /// Most tokens of a prompt that are hashed; beats `max_blocks` unless 0.
    pub max_tokens: usize,
    /// Blocks remembered per endpoint where no number is reported.
    pub capacity: usize,
}

/// Parameters of the precise producer. Only what decides about the configuration's validity and the binding is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Precise {
    /// Tokens of a block.
    pub block_size: u32,
    /// Seed of the hashes.
    pub hash_seed: String,
    /// `xxh64` instead of `cbor-fnv`.
    pub xxh64: bool,
    /// Weights of tiers.
    pub tiers: Vec<(String, f64)>,
    /// Keys held in memory.
    pub index_keys: u64,
    /// Pods held for each.
    pub index_pods: u64,
    /// Events are taken on this address.
    pub bind: Option<String>,
    /// Topics taken.
    pub topic: String,
    /// Events are fetched from each endpoint.
    pub discover: bool,
    /// Port of the first rank's events.
    pub port: u16,
    /// Port of the first rank's replay; none is off.
    pub replay_port: Option<u16>,
    /// `sglang` instead of `vllm`.
    pub sglang: bool,
    /// How long blocks count that were only sent; none is off.
    pub speculative: Option<Duration>,
}

/// Parameters of `inflight-load-producer`.
#[derive(Clone, Debug, PartialEq)]
pub struct InFlightLoad {
    /// Whether tokens to come count.
    pub output: bool,
    /// Tokens to come per prompt token.
    pub ratio: f64,
    /// Most tokens to come.
    pub max_output: Option<u64>,
    /// Producer of matches; what is cached is no load.
    pub prefix: String,
}

/// Parameters of `request-attribute-reporter`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reporter {
    /// Namespace of the metadata.
    pub namespace: String,
    /// Key in it.
    pub name: String,
    /// What is reported.
    pub expression: Expression,
    /// Reported only when it holds.
    pub condition: Option<Expression>,
}

impl Reporter {
    /// The value to report of an answer with these token counts; 0 and -1 are not reported.
    #[must_use]
    pub fn value(&self, counts: &Counts) -> Option<f64> {
        if self
            .condition
            .as_ref()
            .is_some_and(|condition| !condition.holds(counts))
        {
            return None;
        }
        let nothing = |value: f64| value.abs() < 0.5 || (value + 1.0).abs() < 0.5;
        self.expression
            .value(counts)
            .filter(|value| !nothing(*value))
    }
}

/// Parameters of the sources that ask endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// Over TLS.
    pub https: bool,
    /// The path.
    pub path: String,
    /// Another port than the endpoint's.
    pub port: Option<u16>,
    /// Certificates are not checked.
    pub insecure: bool,
    /// File of certificates to trust.
    pub ca: Option<String>,
    /// File of our certificate.
    pub cert: Option<String>,
    /// File of its key.
    pub key: Option<String>,
    /// Time between two requests; none is the base tick.
    pub interval: Option<Duration>,
}

/// Parameters of `file-discovery`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiscovery {
    /// The file.
    pub path: String,
    /// Whether changes are followed.
    pub watch: bool,
}

/// Parameters of `core-metrics-extractor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreMetrics {
    /// Label of a pod that names its engine.
    pub engine_label: String,
    /// Engine of pods without it.
    pub default_engine: String,
    /// Engines by name; built-in ones included.
    pub engines: Vec<crate::data::Engine>,
}

/// A reader of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parser {
    /// OpenAI.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// vLLM's own API.
    VllmHttp,
    /// Anything, unread.
    Passthrough,
    /// SGLang's own API.
    SglangHttp,
    /// vLLM's gRPC API.
    VllmGrpc,
    /// Vertex AI.
    VertexAi,
}
