//! The command line, read as llm-d's sidecar reads it: `--name=value` or `--name value`, booleans without a value
//! of their own word, lists that grow, words that are no flags ignored. One table says what there is.

use std::collections::BTreeMap;

use crate::duration;

/// Exit status of a command line that cannot be read.
pub const EXIT_STATUS: u8 = 2;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// A boolean; alone it means true.
    Switch,
    /// A duration as Go writes it.
    Duration,
    /// Words, by comma or by repetition.
    List,
    /// One of some words, or, for the level of the log, a number above 0.
    Word(&'static [&'static str]),
}

/// One row of the table.
#[derive(Debug)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Default, as help prints it.
    pub default: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What to use in its place, for names of old.
    pub instead: Option<&'static str>,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        about,
        instead: None,
    }
}

const fn old(name: &'static str, kind: Kind, instead: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default: "",
        about: "",
        instead: Some(instead),
    }
}

/// Name of the flag for the level of the log, which also takes numbers.
const LOG_LEVEL: &str = "zap-log-level";

/// Every flag: llm-d's, Weir's own, and those of earlier releases.
pub const FLAGS: &[Flag] = &[
    flag(
        "port",
        Kind::Text,
        "8000",
        "listening port; rank r listens on port + r",
    ),
    flag(
        "model-server-port",
        Kind::Text,
        "8200",
        "port of the local model server",
    ),
    flag(
        "data-parallel-size",
        Kind::Number,
        "1",
        "local ranks, one listener each",
    ),
    flag(
        "kv-connector",
        Kind::Text,
        "nixlv2",
        "prefill/decode protocol: nixlv2, shared-storage, sglang, mooncake, offloading",
    ),
    flag(
        "ec-connector",
        Kind::Text,
        "",
        "encoder protocol: ec-example, ec-nixl; empty: no encoder stage",
    ),
    flag(
        "mooncake-bootstrap-port",
        Kind::Number,
        "8998",
        "port of the bootstrap query on prefill pods (env MOONCAKE_BOOTSTRAP_PORT)",
    ),
    flag(
        "p2p-connector-port",
        Kind::Number,
        "7777",
        "P2P tier port of rank 0, rank r uses port + r (env P2P_CONNECTOR_PORT)",
    ),
    flag(
        "enable-p2p-pull",
        Kind::Switch,
        "false",
        "cached-prefix pulls are available (nixlv2 only); no effect yet",
    ),
    flag("secure-proxy", Kind::Switch, "true", "serve TLS"),
    flag(
        "cert-path",
        Kind::Text,
        "",
        "directory with tls.crt and tls.key; empty: self-signed",
    ),
    flag(
        "enable-tls",
        Kind::List,
        "",
        "stages with outbound TLS: prefiller, decoder, encoder",
    ),
    flag(
        "tls-insecure-skip-verify",
        Kind::List,
        "",
        "stages whose certificate is not checked",
    ),
    flag(
        "enable-ssrf-protection",
        Kind::Switch,
        "false",
        "allow only hosts of the pool's pods; no effect yet: none is called",
    ),
    flag(
        "inference-pool",
        Kind::Text,
        "",
        "namespace/name or name (env INFERENCE_POOL)",
    ),
    flag(
        "pool-group",
        Kind::Text,
        "inference.networking.k8s.io",
        "API group of the InferencePool",
    ),
    flag(
        "enable-prefiller-sampling",
        Kind::Switch,
        "false",
        "pick a random prefill candidate (env ENABLE_PREFILLER_SAMPLING)",
    ),
    flag(
        "max-idle-conns-per-host",
        Kind::Number,
        "1024",
        "idle keep-alive connections per upstream host",
    ),
    flag(
        "prefill-max-retries",
        Kind::Number,
        "0",
        "extra prefill attempts on 502, 503 and 504 (nixlv2)",
    ),
    flag(
        "prefill-retry-backoff",
        Kind::Duration,
        "200ms",
        "pause between attempts",
    ),
    flag(
        "decode-chunk-size",
        Kind::Number,
        "0",
        "tokens per chunk of chunked decode; 0: off; no effect yet",
    ),
    flag(
        "tracing",
        Kind::Switch,
        "false",
        "OpenTelemetry export; no effect yet",
    ),
    flag(
        "metrics-port",
        Kind::Number,
        "0",
        "own Prometheus port; 0: off (env MORIIO_METRICS_ADDR)",
    ),
    flag(
        "trust-client-kv-params",
        Kind::Switch,
        "false",
        "pass on transfer parameters that a client sends; only behind a trusted orchestrator",
    ),
    flag("configuration", Kind::Text, "", "settings as YAML text"),
    flag(
        "configuration-file",
        Kind::Text,
        "",
        "file of settings in YAML",
    ),
    flag(
        "moriio-write-mode",
        Kind::Switch,
        "false",
        "MoRI-IO write mode (nixlv2)",
    ),
    flag(
        "moriio-local-pod-ip",
        Kind::Text,
        "",
        "decode pod address for the prefill leg (env POD_IP)",
    ),
    flag(
        "moriio-decode-notify-port",
        Kind::Number,
        "61005",
        "notify port of the decode pod",
    ),
    flag(
        "moriio-decode-handshake-port",
        Kind::Number,
        "6301",
        "handshake port of the decode pod",
    ),
    flag(
        "moriio-prefill-notify-port",
        Kind::Number,
        "61005",
        "notify port of the prefill pod",
    ),
    flag(
        "moriio-prefill-handshake-port",
        Kind::Number,
        "6301",
        "handshake port of the prefill pod",
    ),
    flag(
        "moriio-parallel-dispatch",
        Kind::Switch,
        "false",
        "prefill and decode at once; needs write mode",
    ),
    flag(
        "moriio-parallel-decode-wait-timeout",
        Kind::Duration,
        "30s",
        "longest wait for prefill in parallel dispatch",
    ),
    flag("moriio-tp-size", Kind::Number, "1", "echoed as tp_size"),
    flag(
        "moriio-dp-size",
        Kind::Number,
        "1",
        "echoed as remote_dp_size; above 1 pins ranks by header",
    ),
    flag("moriio-dp-size-local", Kind::Number, "0", "ranks per pod"),
    flag(
        "moriio-remote-hosts",
        Kind::List,
        "",
        "prefill-side pods, for the decode leg",
    ),
    flag(
        "moriio-decode-hosts",
        Kind::List,
        "",
        "decode-side pods, for the prefill leg",
    ),
    flag("zap-devel", Kind::Switch, "false", "log at debug level"),
    flag(
        "zap-encoder",
        Kind::Word(&["json", "console"]),
        "json",
        "form of log lines: json or console",
    ),
    flag(
        LOG_LEVEL,
        Kind::Word(&["debug", "info", "error", "panic"]),
        "info",
        "debug, info, error, panic or a number above 0",
    ),
    flag(
        "zap-stacktrace-level",
        Kind::Word(&["info", "error", "panic"]),
        "error",
        "accepted, without effect",
    ),
    flag(
        "zap-time-encoding",
        Kind::Word(&[
            "epoch",
            "millis",
            "nano",
            "iso8601",
            "rfc3339",
            "rfc3339nano",
        ]),
        "epoch",
        "form of times in the log",
    ),
    old("vllm-port", Kind::Text, "--model-server-port"),
    old("connector", Kind::Text, "--kv-connector"),
    old("prefiller-use-tls", Kind::Switch, "--enable-tls=prefiller"),
    old("decoder-use-tls", Kind::Switch, "--enable-tls=decoder"),
    old(
        "prefiller-tls-insecure-skip-verify",
        Kind::Switch,
        "--tls-insecure-skip-verify=prefiller",
    ),
    old(
        "decoder-tls-insecure-skip-verify",
        Kind::Switch,
        "--tls-insecure-skip-verify=decoder",
    ),
    old("inference-pool-namespace", Kind::Text, "--inference-pool"),
    old("inference-pool-name", Kind::Text, "--inference-pool"),
];

/// Flags of a logging library that the first releases had: taken, without effect.
const KLOG: &[(&str, Kind)] = &[
    ("add_dir_header", Kind::Switch),
    ("alsologtostderr", Kind::Switch),
    ("log_backtrace_at", Kind::Text),
    ("log_dir", Kind::Text),
    ("log_file", Kind::Text),
    ("log_file_max_size", Kind::Text),
    ("logtostderr", Kind::Switch),
    ("one_output", Kind::Switch),
    ("skip_headers", Kind::Switch),
    ("skip_log_headers", Kind::Switch),
    ("stderrthreshold", Kind::Text),
    ("vmodule", Kind::Text),
];

/// Why a command line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Usage {
    /// Help was asked for.
    #[error("help was asked for")]
    Help,
    /// There is no such flag.
    #[error("unknown flag: --{0}")]
    Unknown(String),
    /// The value is missing.
    #[error("flag needs an argument: --{0}")]
    NoValue(String),
    /// The value is not of the flag's kind.
    #[error("invalid argument {value:?} for \"--{name}\" flag: {why}")]
    Invalid {
        /// The flag.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A value of one flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Text`] and [`Kind::Word`].
    Text(String),
    /// Of [`Kind::Number`].
    Number(i64),
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Duration`], in nanoseconds.
    Duration(i64),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

/// The flags that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<&'static str, Value>,
    /// Verbosity by `-v`, of the first releases.
    pub verbosity: Option<i64>,
}

impl Given {
    /// Reads the words after the program.
    ///
    /// # Errors
    /// When a flag is unknown or its value is not of its kind.
    pub fn parse(words: &[String]) -> Result<Self, Usage> {
        let mut given = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            // The first releases took one dash as well; a lone dash and other words are no flags.
            let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            if word == "--" {
                break;
            }
            if body.is_empty() {
                continue;
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            if matches!(name, "help" | "h") {
                return Err(Usage::Help);
            }
            let klog = KLOG.iter().find(|(known, _)| *known == name);
            let row = FLAGS.iter().find(|flag| flag.name == name);
            let kind = match (row, klog, name) {
                (Some(row), _, _) => row.kind,
                (None, Some((_, kind)), _) => *kind,
                (None, None, "v") => Kind::Number,
                _ => return Err(Usage::Unknown(name.to_owned())),
            };
            let value = match value {
                Some(value) => value,
                None if kind == Kind::Switch => "true".to_owned(),
                None => words
                    .next()
                    .cloned()
                    .ok_or_else(|| Usage::NoValue(name.to_owned()))?,
            };
            let read = read(name, kind, &value).map_err(|why| Usage::Invalid {
                name: name.to_owned(),
                value,
                why,
            })?;
            match (row, read) {
                (Some(row), Value::List(mut more)) => {
                    // The first occurrence replaces the default, which is empty everywhere.
                    if let Some(Value::List(list)) = given.values.get_mut(row.name) {
                        list.append(&mut more);
                    } else {
                        given.values.insert(row.name, Value::List(more));
                    }
                }
                (Some(row), value) => {
                    given.values.insert(row.name, value);
                }
                (None, Value::Number(verbosity)) => given.verbosity = Some(verbosity),
                (None, _) => {}
            }
        }
        Ok(given)
    }

    /// Returns the flags that were given under a name of old, with what replaces each.
    pub fn deprecated(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FLAGS
            .iter()
            .filter(|flag| self.values.contains_key(flag.name))
            .filter_map(|flag| Some((flag.name, flag.instead?)))
    }

    /// Returns the text of a flag.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number of a flag.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.values.get(name)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns a boolean flag.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.values.get(name)? {
            Value::Switch(on) => Some(*on),
            _ => None,
        }
    }

    /// Returns the duration of a flag in nanoseconds.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<i64> {
        match self.values.get(name)? {
            Value::Duration(nanoseconds) => Some(*nanoseconds),
            _ => None,
        }
    }

    /// Returns the words of a flag.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<&[String]> {
        match self.values.get(name)? {
            Value::List(list) => Some(list),
            _ => None,
        }
    }
}

/// Reads a boolean as Go does.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn read(name: &str, kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Switch => boolean(text)
            .map(Value::Switch)
            .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
        Kind::Number => number(text)
            .map(Value::Number)
            .ok_or_else(|| format!("strconv.ParseInt: parsing {text:?}: invalid syntax")),
        Kind::Duration => duration::parse(text).map(Value::Duration),
        Kind::List => Ok(Value::List(if text.is_empty() {
            Vec::new()
        } else {
            text.split(',').map(str::to_owned).collect()
        })),
        Kind::Word(words) => {
            let lower = text.to_ascii_lowercase();
            let level = name == LOG_LEVEL;
            if words.contains(&lower.as_str())
                || (level && lower.parse::<u8>().is_ok_and(|level| level > 0))
            {
                return Ok(Value::Text(lower));
            }
            Err(if level {
                format!("invalid log level {text:?}")
            } else {
                format!("invalid {} value {text:?}", name.trim_start_matches("zap-"))
            })
        }
    }
}

/// Reads a whole number as Go does with base 0.
fn number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (base, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(digits, base)
        .ok()
        .map(|number| sign * number)
}

/// Returns the help text.
#[must_use]
pub fn help() -> String {
    use std::fmt::Write as _;
    let mut out = String::from(
        "Proxies requests to the model server beside it. Prefill and encoding on another pod are answered with\n501 until the transfer protocols exist; their flags are read and checked.\n\nUsage: weir sidecar [flags]\n\nFlags:\n",
    );
    for flag in FLAGS.iter().filter(|flag| flag.instead.is_none()) {
        let kind = match flag.kind {
            Kind::Text | Kind::Word(_) => " string",
            Kind::Number => " int",
            Kind::Switch => "",
            Kind::Duration => " duration",
            Kind::List => " strings",
        };
        let left = format!("--{}{kind}", flag.name);
        // Writing to a String does not fail.
        let _ = write!(out, "  {left:<52} {}", flag.about);
        if !flag.default.is_empty() {
            let _ = write!(out, " (default {})", flag.default);
        }
        out.push('\n');
    }
    out
}
