//! What the command line asks of the simulated engine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use weir_engine_model::Config;
use weir_vllm::argv::{self, ArgError, ServeArgs, Setting};
use weir_vllm::flags::{Flag, Kind};

/// Flags of the llm-d simulator that are acted on; each takes one word.
const VALUES: [&str; 14] = [
    "mode",
    "max-request-body-size-mb",
    "max-waiting-queue-length",
    "kv-cache-size",
    "time-to-first-token",
    "inter-token-latency",
    "prefill-overhead",
    "prefill-time-per-token",
    "time-factor-under-load",
    "latency-calculator",
    "time-to-first-token-std-dev",
    "inter-token-latency-std-dev",
    "prefill-time-std-dev",
    "startup-duration",
];

/// Flags of the llm-d simulator that are known and have no effect; each takes one word.
const IGNORED_VALUES: [&str; 21] = [
    "hash-seed",
    "zmq-endpoint",
    "kv-events-replay-endpoint",
    "kv-events-replay-queue-size",
    "event-batch-size",
    "global-cache-hit-threshold",
    "kv-cache-transfer-latency",
    "kv-cache-transfer-latency-std-dev",
    "kv-cache-transfer-time-per-token",
    "kv-cache-transfer-time-std-dev",
    "dataset-path",
    "dataset-url",
    "dataset-table-name",
    "render-url",
    "render-timeout",
    "mm-render-timeout",
    "failure-injection-rate",
    "default-embedding-dimensions",
    "fake-metrics-refresh-interval",
    "image-emission-rate",
    "kv-transfer-check",
];

/// Switches of the llm-d simulator that are known and have no effect; they may carry a value.
const IGNORED_SWITCHES: [&str; 9] = [
    "enable-kvcache",
    "use-vllm-map-event-format",
    "self-signed-certs",
    "log-http",
    "skip-tool-validation",
    "dataset-in-memory",
    "force-dummy-tokenizer",
    "omni",
    "strict-reference",
];

/// Flags that the engine had once: known, with a warning. The second column says whether they take a word.
const RETIRED: [(&str, bool); 9] = [
    ("disable-log-requests", false),
    ("swap-space", true),
    ("task", true),
    ("device", true),
    ("num-scheduler-steps", true),
    ("use-v2-block-manager", false),
    ("guided-decoding-backend", true),
    ("enable-reasoning", false),
    ("max-seq-len-to-capture", true),
];

/// Flags of the engine that are acted on.
const ACTED_ON: [&str; 23] = [
    "model",
    "host",
    "port",
    "served-model-name",
    "max-model-len",
    "max-num-seqs",
    "max-num-queued-reqs",
    "num-gpu-blocks-override",
    "block-size",
    "api-key",
    "lora-modules",
    "seed",
    "ssl-certfile",
    "ssl-keyfile",
    "shutdown-timeout",
    "enable-prompt-tokens-details",
    "enable-request-id-headers",
    "enable-force-include-usage",
    "kv-transfer-config",
    "enable-auto-tool-choice",
    "tool-call-parser",
    "data-parallel-size",
    "headless",
];

/// Why the command line cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine's own parser refuses it.
    #[error(transparent)]
    Arguments(#[from] ArgError),
    /// A value out of range.
    #[error("--{flag} {value}: {problem}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and what to write instead.
        problem: &'static str,
    },
}

/// Where answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Canned sentences; the same for the same prompt and seed.
    Random,
    /// The prompt.
    Echo,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model as given.
    pub model: String,
    /// Its names; the first is displayed.
    pub names: Vec<String>,
    /// Names of adapters with their paths.
    pub adapters: Vec<(String, String)>,
    /// Host as given, when it names an address.
    pub host: Option<String>,
    /// Port.
    pub port: u16,
    /// Context window in tokens.
    pub window: u64,
    /// Where answers come from.
    pub mode: Mode,
    /// Seed of the answers.
    pub seed: u64,
    /// Largest body in bytes.
    pub body_limit: usize,
    /// Whether a full queue is answered as the engine's own bound is (503), else as the simulator's (429).
    pub engine_bound: bool,
    /// Keys of which clients must present one.
    pub api_keys: Vec<String>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How long running requests may go on after SIGTERM.
    pub shutdown: Duration,
    /// How long the engine is not ready after its start.
    pub startup: Duration,
    /// Whether token details are in the usage.
    pub token_details: bool,
    /// Whether the request id is sent back.
    pub id_headers: bool,
    /// Whether every stream ends with the usage.
    pub force_usage: bool,
    /// Whether clients may leave the choice of tools to the engine.
    pub tools: bool,
    /// Whether it works for a leader elsewhere and serves nothing itself.
    pub headless: bool,
    /// Number of data-parallel ranks.
    pub ranks: u64,
    /// Behaviour of the model.
    pub engine: Config,
    /// Flags that were given and have no effect here.
    pub ignored: Vec<&'static str>,
    /// Flags that the engine of today does not know any more.
    pub retired: Vec<&'static str>,
    /// Whether the help was asked for.
    pub help: bool,
}

fn extra() -> Vec<Flag> {
    let values = VALUES
        .iter()
        .chain(&IGNORED_VALUES)
        .map(|name| Flag::plain(name, Kind::Value));
    let switches = IGNORED_SWITCHES
        .iter()
        .map(|name| Flag::plain(name, Kind::Optional));
    let lists = ["fake-metrics", "failure-types"].map(|name| Flag::plain(name, Kind::List));
    let retired = RETIRED
        .iter()
        .map(|(name, word)| Flag::plain(name, if *word { Kind::Value } else { Kind::Switch }));
    values.chain(switches).chain(lists).chain(retired).collect()
}

impl Options {
    /// Reads the words after the program.
    ///
    /// # Errors
    /// When the engine would not start with them.
    pub fn parse(words: &[String]) -> Result<Self, Error> {
        let args = argv::parse_with(words, &extra())?;
        let model = args
            .model
            .clone()
            .or_else(|| std::env::var("SIM_MODEL").ok())
            .unwrap_or_else(|| "Qwen/Qwen3-0.6B".to_owned());
        let mut names = args.list("served-model-name").to_vec();
        if names.is_empty() {
            names.push(model.clone());
        }
        let engine_bound = args
            .number("max-num-queued-reqs")
            .filter(|bound| *bound >= 0);
        let engine = Config {
            max_running: whole(&args, "max-num-seqs", 5, 1)?,
            max_waiting: match engine_bound {
                Some(bound) => usize::try_from(bound).unwrap_or(usize::MAX),
                None => whole(&args, "max-waiting-queue-length", 1000, 0)?,
            },
            blocks: whole(
                &args,
                if args.value("num-gpu-blocks-override").is_some() {
                    "num-gpu-blocks-override"
                } else {
                    "kv-cache-size"
                },
                1024,
                1,
            )?,
            block_size: whole(&args, "block-size", 16, 1)?,
            first_token: duration(&args, "time-to-first-token")?,
            prefill_overhead: duration(&args, "prefill-overhead")?,
            prefill_per_token: duration(&args, "prefill-time-per-token")?,
            between_tokens: duration(&args, "inter-token-latency")?,
            load_factor: match args.value("time-factor-under-load") {
                None => 1.0,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|factor: &f64| *factor >= 1.0 && factor.is_finite())
                    .ok_or_else(|| {
                        value(
                            "time-factor-under-load",
                            text,
                            "must be a number of at least 1",
                        )
                    })?,
            },
        };
        let window: u64 = match args.value("max-model-len") {
            None | Some("auto" | "-1") => 1024,
            Some(_) => whole(&args, "max-model-len", 1024, 1)?,
        };
        // A window that fits the cache is always served, as the engine refuses to start otherwise.
        let engine = Config {
            blocks: engine.blocks.max(window.div_ceil(engine.block_size)),
            ..engine
        };
        let tls = match (args.value("ssl-certfile"), args.value("ssl-keyfile")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some(path), None) => {
                return Err(value("ssl-certfile", path, "needs --ssl-keyfile as well"));
            }
            (None, Some(path)) => {
                return Err(value("ssl-keyfile", path, "needs --ssl-certfile as well"));
            }
        };
        let mut api_keys = args.list("api-key").to_vec();
        api_keys.extend(
            std::env::var("VLLM_API_KEY")
                .ok()
                .filter(|key| !key.is_empty() && api_keys.is_empty()),
        );
        let given = || args.settings.keys().copied();
        Ok(Self {
            mode: match args.value("mode") {
                None | Some("random") => Mode::Random,
                Some("echo") => Mode::Echo,
                Some(other) => return Err(value("mode", other, "must be random or echo")),
            },
            names,
            adapters: args
                .list("lora-modules")
                .iter()
                .map(|text| adapter(text))
                .collect(),
            host: args.value("host").map(str::to_owned),
            port: whole(&args, "port", 8000, 0)?,
            window,
            seed: args.number("seed").map_or(0, i64::unsigned_abs),
            body_limit: whole::<usize>(&args, "max-request-body-size-mb", 4, 1)?.min(512) << 20,
            engine_bound: engine_bound.is_some(),
            api_keys,
            tls,
            shutdown: Duration::from_secs(whole(&args, "shutdown-timeout", 0, 0)?),
            startup: duration(&args, "startup-duration")?,
            token_details: args.switch("enable-prompt-tokens-details") == Some(true),
            id_headers: args.switch("enable-request-id-headers") == Some(true),
            force_usage: args.switch("enable-force-include-usage") == Some(true),
            tools: args.switch("enable-auto-tool-choice") == Some(true)
                && args.value("tool-call-parser").is_some(),
            headless: args.switch("headless") == Some(true),
            ranks: whole(&args, "data-parallel-size", 1, 1)?,
            engine,
            ignored: given()
                .filter(|name| {
                    !ACTED_ON.contains(name)
                        && !VALUES.contains(name)
                        && !RETIRED.iter().any(|(retired, _)| retired == name)
                        && args.settings.get(name) != Some(&Setting::Bool(false))
                })
                .collect(),
            retired: given()
                .filter(|name| RETIRED.iter().any(|(retired, _)| retired == name))
                .collect(),
            help: args.help,
            model,
        })
    }

    /// The address to bind by: an unspecified or missing host is the pod's address, else the loopback.
    #[must_use]
    pub fn bind_host(&self) -> String {
        self.bind_host_by(|name| std::env::var(name).ok())
    }

    fn bind_host_by(&self, variable: impl Fn(&str) -> Option<String>) -> String {
        let unspecified = |host: &str| {
            host.is_empty() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
        };
        match self
            .host
            .as_deref()
            .map(|host| host.trim_matches(['[', ']']))
        {
            Some(host) if !unspecified(host) => host.to_owned(),
            _ => ["WEIR_POD_IP", "POD_IP"]
                .into_iter()
                .filter_map(variable)
                .find(|ip| ip.parse::<IpAddr>().is_ok())
                .unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string()),
        }
    }
}

fn value(flag: &'static str, value: &str, problem: &'static str) -> Error {
    Error::Value {
        flag,
        value: value.to_owned(),
        problem,
    }
}

fn whole<N: TryFrom<i64>>(
    args: &ServeArgs,
    flag: &'static str,
    default: i64,
    least: i64,
) -> Result<N, Error> {
    let number = match args.value(flag) {
        None => default,
        Some(text) => args
            .number(flag)
            .ok_or_else(|| value(flag, text, "must be a whole number"))?,
    };
    let in_range = (number >= least)
        .then(|| N::try_from(number).ok())
        .flatten();
    in_range.ok_or_else(|| value(flag, &number.to_string(), "is out of range"))
}

fn duration(args: &ServeArgs, flag: &'static str) -> Result<Duration, Error> {
    let Some(text) = args.value(flag) else {
        return Ok(Duration::ZERO);
    };
    go_duration(text)
        .ok_or_else(|| value(flag, text, "must be a duration such as 250us, 10ms or 1.5s"))
}

/// Reads a duration as Go writes it; a bare number is milliseconds.
fn go_duration(text: &str) -> Option<Duration> {
    if let Ok(millis) = text.parse::<u64>() {
        return Some(Duration::from_millis(millis));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

fn adapter(text: &str) -> (String, String) {
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        let field = |name: &str| {
            value
                .get(name)
                .and_then(|text| text.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        return (field("name"), field("path"));
    }
    let (name, path) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Error> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn both_engines_flags_are_read() {
        let options = parse("serve /m --served-model-name a b --port 81 --max-model-len 2k --mode echo --time-to-first-token 1m1.5s --inter-token-latency 20 --enable-kvcache true --dtype half --swap-space 4 --lora-modules l=/l").unwrap();
        assert_eq!(options.names, ["a", "b"]);
        assert_eq!(
            (options.port, options.window, options.mode),
            (81, 2000, Mode::Echo)
        );
        assert_eq!(options.engine.first_token, Duration::from_millis(61_500));
        assert_eq!(options.engine.between_tokens, Duration::from_millis(20));
        assert_eq!(options.ignored, ["dtype", "enable-kvcache"]);
        assert_eq!(options.retired, ["swap-space"]);
        assert_eq!(options.adapters, [("l".to_owned(), "/l".to_owned())]);
    }

    #[test]
    fn leaders_serve_and_workers_are_headless() {
        let data = "serve /m --served-model-name a b --port 8000 --enable-expert-parallel \
                    --tensor-parallel-size 1 --data-parallel-size 16 --data-parallel-size-local 8 \
                    --data-parallel-address 127.70.1.1 --data-parallel-rpc-port 5555";
        let pipeline = "serve /m --port 8000 --pipeline-parallel-size 2 --nnodes 2 \
                        --master-addr 127.70.1.1";
        for (words, headless, ranks) in [
            (
                format!("{data} --api-server-count 8 --data-parallel-start-rank 0"),
                false,
                16,
            ),
            (
                format!("{data} --data-parallel-start-rank 8 --headless"),
                true,
                16,
            ),
            (format!("{pipeline} --node-rank 0"), false, 1),
            (format!("{pipeline} --node-rank 1 --headless"), true, 1),
        ] {
            let words: Vec<&str> = words.split_whitespace().collect();
            let options = parse(&words.join(" ")).unwrap();
            assert_eq!(
                (options.headless, options.ranks),
                (headless, ranks),
                "{words:?}"
            );
        }
    }

    #[test]
    fn an_unspecified_host_is_the_pods_address_or_the_loopback() {
        let rows = [
            ("m", "127.64.1.9", "127.64.1.3", "127.64.1.9"),
            ("m", "", "127.64.1.3", "127.64.1.3"),
            ("m", "not-an-ip", "127.64.1.3", "127.64.1.3"),
            ("m --host 0.0.0.0", "", "127.64.1.3", "127.64.1.3"),
            ("m --host [::]", "127.64.1.9", "", "127.64.1.9"),
            (
                "m --host 127.0.0.5",
                "127.64.1.9",
                "127.64.1.3",
                "127.0.0.5",
            ),
            ("m", "", "", "127.0.0.1"),
        ];
        for (line, ours, pods, host) in rows {
            let variable = |name: &str| {
                let value = match name {
                    "WEIR_POD_IP" => ours,
                    "POD_IP" => pods,
                    _ => "",
                };
                (!value.is_empty()).then(|| value.to_owned())
            };
            assert_eq!(parse(line).unwrap().bind_host_by(variable), host, "{line}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (line, text) in [
            ("m --mode loud", "--mode loud: must be random or echo"),
            ("m --max-num-seqs 0", "--max-num-seqs 0: is out of range"),
            ("m --port 70000", "--port 70000: is out of range"),
            (
                "m --inter-token-latency x",
                "--inter-token-latency x: must be a duration such as 250us, 10ms or 1.5s",
            ),
            ("m --foo", "unrecognized arguments: --foo"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), text, "{line}");
        }
    }
}
