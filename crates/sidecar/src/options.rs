//! What the sidecar shall do: flags over YAML over environment over defaults, checked before anything starts.

mod moriio;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Value, json};
use weir_runtime::logs::Times;

pub use moriio::Moriio;

use crate::duration;
use crate::flags::{Given, boolean};
use crate::settings::{self, Settings};

/// Default of `--port`.
const PORT: u16 = 8000;
/// Default of `--model-server-port`.
const MODEL_SERVER_PORT: u16 = 8200;
/// API group of pools, unless another is named.
const POOL_GROUP: &str = "inference.networking.k8s.io";
/// API groups of pools that are known.
const POOL_GROUPS: [&str; 2] = [POOL_GROUP, "inference.networking.x-k8s.io"];
/// Idle connections for one upstream host.
const IDLE: i64 = 1024;
/// Pause between attempts of a prefill, in nanoseconds.
const BACKOFF: i64 = 200_000_000;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is not allowed, or two do not go together.
    #[error("{0}")]
    Invalid(String),
    /// The YAML cannot be used.
    #[error(transparent)]
    Settings(#[from] settings::Error),
}

/// How prefill and decode exchange blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    /// NIXL, prefill first.
    NixlV2,
    /// A store that both engines share.
    SharedStorage,
    /// SGLang's bootstrap.
    SgLang,
    /// Mooncake's bootstrap.
    Mooncake,
    /// vLLM's offloading connector.
    Offloading,
    /// The first releases' name for a shared store without threshold.
    LmCache,
    /// The first releases' NIXL protocol.
    NixlV1,
}

const CONNECTORS: [(&str, Connector); 5] = [
    ("nixlv2", Connector::NixlV2),
    ("shared-storage", Connector::SharedStorage),
    ("sglang", Connector::SgLang),
    ("mooncake", Connector::Mooncake),
    ("offloading", Connector::Offloading),
];

/// Connectors that only the flag of old names.
const OLD_CONNECTORS: [(&str, Connector); 2] =
    [("lmcache", Connector::LmCache), ("nixl", Connector::NixlV1)];

impl Connector {
    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        CONNECTORS
            .iter()
            .chain(&OLD_CONNECTORS)
            .find(|(_, connector)| *connector == self)
            .map_or("", |(name, _)| name)
    }
}

/// Whether something holds for each kind of pod that is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Prefill pods.
    pub prefiller: bool,
    /// The local engine.
    pub decoder: bool,
    /// Encoder pods.
    pub encoder: bool,
}

/// How log lines look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// A `tracing` level.
    pub level: &'static str,
    /// Lines for people in place of JSON.
    pub console: bool,
    /// How the time of a JSON line is written.
    pub times: Times,
}

/// A configuration that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Port of rank 0.
    pub port: u16,
    /// Port of the engine of rank 0.
    pub model_server_port: u16,
    /// Local ranks.
    pub ranks: u16,
    /// How prefill and decode exchange blocks.
    pub connector: Connector,
    /// How encoders hand over: nothing without an encoder stage.
    pub ec_connector: Option<String>,
    /// Port of Mooncake's bootstrap on prefill pods.
    pub mooncake_port: u16,
    /// Port of the P2P tier of rank 0.
    pub p2p_port: u16,
    /// Whether cached prefixes may be pulled from peers.
    pub p2p_pull: bool,
    /// Whether TLS is served.
    pub secure: bool,
    /// Where the certificate lies; self-signed without.
    pub cert_path: Option<PathBuf>,
    /// Who is called over TLS.
    pub tls: Stages,
    /// Whose certificate is not checked.
    pub skip_verify: Stages,
    /// Whether only pods of the pool may be called.
    pub ssrf_protection: bool,
    /// Namespace and name of the pool.
    pub pool: Option<(String, String)>,
    /// API group of the pool.
    pub pool_group: String,
    /// A random prefill candidate in place of the first.
    pub sampling: bool,
    /// Idle connections for one upstream host, as given.
    pub max_idle: i64,
    /// Further attempts of a prefill.
    pub max_retries: i64,
    /// Pause between them, in nanoseconds.
    pub retry_backoff: i64,
    /// Tokens per chunk of chunked decode; 0: off.
    pub chunk: i64,
    /// OpenTelemetry export.
    pub tracing: bool,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Whether transfer parameters of clients are passed on.
    pub trust_client: bool,
    /// MoRI-IO.
    pub moriio: Moriio,
    /// Logs.
    pub logs: Logs,
    /// Address of this pod, the first half of the keys of data-parallel routing.
    pub pod_ip: Option<String>,
    /// Lines for standard error: deprecations, and values that were ignored.
    pub notes: Vec<String>,
}

impl Options {
    /// Combines what was given; `read` reads a file.
    ///
    /// # Errors
    /// When a value is not allowed, two do not go together, or the YAML cannot be used.
    pub fn new(
        given: &Given,
        env: &BTreeMap<String, String>,
        read: impl FnOnce(&str) -> std::io::Result<String>,
    ) -> Result<Self, Error> {
        let mut notes: Vec<String> = given
            .deprecated()
            .map(|(name, instead)| {
                format!("Flag --{name} has been deprecated, use {instead} instead; --{name} will be removed after the deprecation period")
            })
            .collect();
        let settings = Settings::load(given, read, &mut notes)?;
        let merged = Merged {
            given,
            settings: &settings,
            env,
        };
        let options = merged.options(notes)?;
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), Error> {
        let last = i64::from(self.ranks) - 1;
        if self.ranks > 1 && i64::from(self.p2p_port) + last > 65_535 {
            return invalid(format!(
                "--p2p-connector-port {} plus data-parallel rank {last} exceeds 65535",
                self.p2p_port
            ));
        }
        if self.p2p_pull && self.connector != Connector::NixlV2 {
            return invalid(format!(
                "--enable-p2p-pull requires --kv-connector=nixlv2 (got {:?})",
                self.connector.name()
            ));
        }
        if self.max_retries > 0 && self.retry_backoff <= 0 {
            return invalid(format!(
                "--prefill-retry-backoff must be positive when --prefill-max-retries > 0, got {}",
                duration::text(self.retry_backoff)
            ));
        }
        if self.chunk < 0 {
            return invalid(format!(
                "--decode-chunk-size must be a non-negative integer (0 disables chunked decode), got {}",
                self.chunk
            ));
        }
        if self.ssrf_protection {
            if self.pool.is_none() {
                return invalid(
                    "--inference-pool flag or INFERENCE_POOL environment variable is required when --enable-ssrf-protection is true",
                );
            }
            if !POOL_GROUPS.contains(&self.pool_group.as_str()) {
                return invalid(format!(
                    "--pool-group {:?} is not supported, must be one of: {}",
                    self.pool_group,
                    POOL_GROUPS.join(", ")
                ));
            }
        }
        self.moriio.check()
    }

    /// Returns the address of a port on all interfaces.
    #[must_use]
    pub fn listen(port: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], port))
    }

    /// Returns the configuration as one JSON object, in the names that llm-d's sidecar logs.
    #[must_use]
    pub fn effective(&self) -> Value {
        let scheme = if self.tls.decoder { "https" } else { "http" };
        let (namespace, name) = self.pool.clone().unwrap_or_default();
        json!({
            "Port": self.port.to_string(),
            "DecoderURL": format!("{scheme}://localhost:{}", self.model_server_port),
            "DataParallelSize": self.ranks,
            "KVConnector": self.connector.name(),
            "ECConnector": self.ec_connector.as_deref().unwrap_or_default(),
            "MooncakeBootstrapPort": self.mooncake_port,
            "P2PConnectorPort": self.p2p_port,
            "EnableP2PPull": self.p2p_pull,
            "SecureServing": self.secure,
            "CertPath": self.cert_path,
            "UseTLSForPrefiller": self.tls.prefiller,
            "UseTLSForDecoder": self.tls.decoder,
            "UseTLSForEncoder": self.tls.encoder,
            "InsecureSkipVerifyForPrefiller": self.skip_verify.prefiller,
            "InsecureSkipVerifyForDecoder": self.skip_verify.decoder,
            "InsecureSkipVerifyForEncoder": self.skip_verify.encoder,
            "EnableSSRFProtection": self.ssrf_protection,
            "InferencePoolNamespace": namespace,
            "InferencePoolName": name,
            "PoolGroup": self.pool_group,
            "EnablePrefillerSampling": self.sampling,
            "MaxIdleConnsPerHost": self.max_idle,
            "PrefillMaxRetries": self.max_retries,
            "PrefillRetryBackoff": self.retry_backoff,
            "DecodeChunkSize": self.chunk,
            "Tracing": self.tracing,
            "Metrics": self.metrics.map(|address| address.to_string()),
            "TrustClientKVParams": self.trust_client,
            "MoRIIOWriteMode": self.moriio.write_mode,
            "MoRIIODecodePodIP": self.moriio.local_pod_ip,
            "MoRIIOParallelDispatch": self.moriio.parallel,
            "MoRIIORemoteHosts": self.moriio.remote_hosts,
            "MoRIIODecodeHosts": self.moriio.decode_hosts,
        })
    }
}

fn invalid<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

/// The sources of a value, in the order of their rank.
struct Merged<'a> {
    given: &'a Given,
    settings: &'a Settings,
    env: &'a BTreeMap<String, String>,
}

impl Merged<'_> {
    fn env(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.given.text(name).or_else(|| self.settings.text(name))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.given
            .number(name)
            .or_else(|| self.settings.number(name))
    }

    fn number_or_env(&self, name: &str, variable: &str, default: i64) -> i64 {
        self.number(name)
            .or_else(|| self.env(variable).and_then(|text| text.parse().ok()))
            .unwrap_or(default)
    }

    fn switch(&self, name: &str, default: bool) -> bool {
        self.given
            .switch(name)
            .or_else(|| self.settings.switch(name))
            .unwrap_or(default)
    }

    fn options(&self, notes: Vec<String>) -> Result<Options, Error> {
        let ranks = self.number("data-parallel-size").unwrap_or(1);
        if ranks < 1 {
            return invalid(format!(
                "--data-parallel-size must be a positive integer, got {ranks}"
            ));
        }
        let port = self.port("port", self.port_text("port"), PORT, ranks)?;
        // A flag of either name beats the YAML of both.
        let model_server = self
            .given
            .text("model-server-port")
            .or_else(|| self.given.text("vllm-port"))
            .map(str::to_owned)
            .or_else(|| self.port_text("model-server-port"))
            .or_else(|| self.port_text("vllm-port"));
        let model_server_port =
            self.port("model-server-port", model_server, MODEL_SERVER_PORT, ranks)?;
        let connector = self.connector()?;
        let ec_connector = self.text("ec-connector").filter(|name| !name.is_empty());
        if let Some(name) = ec_connector
            && !matches!(name, "ec-example" | "ec-nixl")
        {
            return invalid("--ec-connector must be one of: ec-example, ec-nixl");
        }
        let mut tls = self.stages("enable-tls")?;
        let mut skip_verify = self.stages("tls-insecure-skip-verify")?;
        let old = |name| self.given.switch(name) == Some(true);
        tls.prefiller |= old("prefiller-use-tls");
        tls.decoder |= old("decoder-use-tls");
        skip_verify.prefiller |= old("prefiller-tls-insecure-skip-verify");
        skip_verify.decoder |= old("decoder-tls-insecure-skip-verify");
        Ok(Options {
            port,
            model_server_port,
            // The range check of the ports has bounded it.
            ranks: u16::try_from(ranks).unwrap_or(u16::MAX),
            connector,
            ec_connector: ec_connector.map(str::to_owned),
            mooncake_port: port_number(
                "--mooncake-bootstrap-port",
                self.number_or_env("mooncake-bootstrap-port", "MOONCAKE_BOOTSTRAP_PORT", 8998),
            )?,
            p2p_port: port_number(
                "--p2p-connector-port",
                self.number_or_env("p2p-connector-port", "P2P_CONNECTOR_PORT", 7777),
            )?,
            p2p_pull: self.switch("enable-p2p-pull", false),
            secure: self.switch("secure-proxy", true),
            cert_path: self
                .text("cert-path")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            tls,
            skip_verify,
            ssrf_protection: self.switch("enable-ssrf-protection", false),
            pool: self.pool()?,
            pool_group: self
                .text("pool-group")
                .filter(|group| !group.is_empty())
                .unwrap_or(POOL_GROUP)
                .to_owned(),
            sampling: self.switch(
                "enable-prefiller-sampling",
                self.env("ENABLE_PREFILLER_SAMPLING")
                    .and_then(boolean)
                    .unwrap_or(false),
            ),
            max_idle: self.number("max-idle-conns-per-host").unwrap_or(IDLE),
            max_retries: self.number("prefill-max-retries").unwrap_or(0),
            retry_backoff: self
                .given
                .duration("prefill-retry-backoff")
                .or(self.settings.backoff)
                .unwrap_or(BACKOFF),
            chunk: self.number("decode-chunk-size").unwrap_or(0),
            tracing: self.switch("tracing", false),
            metrics: self.metrics()?,
            trust_client: self.switch("trust-client-kv-params", false),
            moriio: Moriio::new(self.given, self.env("POD_IP")),
            logs: self.logs(),
            pod_ip: self.env("POD_IP").map(str::to_owned),
            notes,
        })
    }

    fn port_text(&self, name: &str) -> Option<String> {
        self.given
            .text(name)
            .map(str::to_owned)
            .or_else(|| self.settings.number(name).map(|number| number.to_string()))
    }

    fn port(
        &self,
        name: &str,
        text: Option<String>,
        default: u16,
        ranks: i64,
    ) -> Result<u16, Error> {
        let text = text.unwrap_or_else(|| default.to_string());
        let Ok(first) = text.parse::<i64>() else {
            return invalid(format!("--{name} must be a valid integer, got {text:?}"));
        };
        let Some(port) = u16::try_from(first).ok().filter(|port| *port > 0) else {
            return invalid(format!(
                "--{name} start port {first} is out of valid range [1, 65535]"
            ));
        };
        let last = first.saturating_add(ranks - 1);
        if last > i64::from(u16::MAX) {
            return invalid(format!(
                "--{name} port range [{first}, {last}] exceeds maximum port value"
            ));
        }
        Ok(port)
    }

    fn connector(&self) -> Result<Connector, Error> {
        let find = |name: &str, list: &[(&str, Connector)]| {
            list.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, connector)| *connector)
        };
        let named = self.text("kv-connector").filter(|name| !name.is_empty());
        let found = match (named, self.given.text("connector")) {
            (Some(name), _) => find(name, &CONNECTORS),
            (None, Some(name)) => find(name, &CONNECTORS).or_else(|| find(name, &OLD_CONNECTORS)),
            (None, None) => Some(Connector::NixlV2),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = CONNECTORS.iter().map(|(name, _)| *name).collect();
            Error::Invalid(format!(
                "--kv-connector must be one of: {}",
                names.join(", ")
            ))
        })
    }

    fn stages(&self, name: &str) -> Result<Stages, Error> {
        let list = match self.given.list(name) {
            Some(list) => list.to_vec(),
            None => self.settings.list(name).unwrap_or_default(),
        };
        let mut stages = Stages::default();
        for stage in &list {
            match stage.trim() {
                "prefiller" => stages.prefiller = true,
                "decoder" => stages.decoder = true,
                "encoder" => stages.encoder = true,
                _ => {
                    return invalid(format!(
                        "--{name} stages must be one of: prefiller, decoder, encoder"
                    ));
                }
            }
        }
        Ok(stages)
    }

    fn pool(&self) -> Result<Option<(String, String)>, Error> {
        let named = self
            .text("inference-pool")
            .filter(|pool| !pool.is_empty())
            .or_else(|| self.env("INFERENCE_POOL"));
        if let Some(pool) = named {
            let parts: Vec<&str> = pool.split('/').collect();
            return match parts.as_slice() {
                [name] => Ok(Some(("default".to_owned(), (*name).to_owned()))),
                [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                    Ok(Some(((*namespace).to_owned(), (*name).to_owned())))
                }
                [_, _] => invalid("--inference-pool cannot have empty namespace or name"),
                _ => invalid(
                    "--inference-pool must be in format 'namespace/name' or 'name', not multiple slashes",
                ),
            };
        }
        // Two halves, as releases until 0.7 took them and KServe's presets of that time set them.
        let half = |flag: &str, variable: &str| {
            self.given
                .text(flag)
                .filter(|text| !text.is_empty())
                .or_else(|| self.env(variable))
                .map(str::to_owned)
        };
        let namespace = half("inference-pool-namespace", "INFERENCE_POOL_NAMESPACE");
        let name = half("inference-pool-name", "INFERENCE_POOL_NAME");
        Ok(name.map(|name| (namespace.unwrap_or_else(|| "default".to_owned()), name)))
    }

    fn metrics(&self) -> Result<Option<SocketAddr>, Error> {
        let port = self.number("metrics-port").unwrap_or(0);
        if port != 0 {
            let port = port_number("--metrics-port", port)?;
            return Ok(Some(Options::listen(port)));
        }
        let Some(text) = self.env("MORIIO_METRICS_ADDR") else {
            return Ok(None);
        };
        let address = match text.strip_prefix(':') {
            Some(port) => port.parse().ok().map(Options::listen),
            None => text.parse().ok(),
        };
        match address {
            Some(address) => Ok(Some(address)),
            None => invalid(format!(
                "MORIIO_METRICS_ADDR must be an address such as :9090, got {text:?}"
            )),
        }
    }

    fn logs(&self) -> Logs {
        let verbose = |number: i64| match number {
            ..=1 => "debug",
            _ => "trace",
        };
        let level = match self.given.text("zap-log-level") {
            Some("debug") => "debug",
            Some("info") => "info",
            Some("error" | "panic") => "error",
            Some(number) => verbose(number.parse().unwrap_or(1)),
            None if self.given.switch("zap-devel") == Some(true) => "debug",
            None => match self.given.verbosity {
                Some(number) if number > 0 => verbose(number),
                _ => "info",
            },
        };
        Logs {
            level,
            console: self.given.text("zap-encoder") == Some("console"),
            times: match self.given.text("zap-time-encoding") {
                Some("millis") => Times::Millis,
                Some("nano") => Times::Nano,
                Some("iso8601") => Times::Iso8601,
                Some("rfc3339") => Times::Rfc3339,
                Some("rfc3339nano") => Times::Rfc3339Nano,
                _ => Times::Epoch,
            },
        }
    }
}

fn port_number(name: &str, number: i64) -> Result<u16, Error> {
    match u16::try_from(number).ok().filter(|port| *port > 0) {
        Some(port) => Ok(port),
        None => invalid(format!("{name} must be between 1 and 65535, got {number}")),
    }
}

/// Joins an address and a port as keys of data-parallel routing have them: IPv6 in brackets.
#[must_use]
pub fn host_port(host: &str, port: u16) -> String {
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
