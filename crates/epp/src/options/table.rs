//! The flags, each with its type, default and meaning.

use super::{Error, boolean, duration, usage};

/// Type of a flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Text,
    Duration,
    Ints,
    Strings,
}

/// A flag.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    /// It is of an older generation: what to say about it.
    pub(super) old: Option<&'static str>,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        help,
        old: None,
    }
}

const fn old(name: &'static str, kind: Kind, why: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default: "",
        help: "",
        old: Some(why),
    }
}

use Kind::{Bool, Duration, Int, Ints, Strings, Text};

const SOURCE: &str = "is of an older generation: declare a metrics-data-source instead";
const ENGINE: &str =
    "is of an older generation: use engineConfigs of core-metrics-extractor instead";

pub(super) const FLAGS: &[Flag] = &[
    flag(
        "allow-experimental-plugins",
        Bool,
        "false",
        "take configurations that use Alpha plugins",
    ),
    flag(
        "cert-path",
        Text,
        "",
        "directory with tls.crt and tls.key; empty: self-signed",
    ),
    flag(
        "check-config",
        Text,
        "",
        "print what a configuration becomes, or everything wrong with it, and exit",
    ),
    flag("config-file", Text, "", "the EndpointPickerConfig"),
    flag("config-text", Text, "", "the EndpointPickerConfig itself"),
    flag(
        "decision-samples",
        Int,
        "16",
        "one of how many decisions is explained in /debug/decisions; 0: none",
    ),
    flag(
        "disable-endpoint-subset-filter",
        Bool,
        "false",
        "ignore the gateway's hint which endpoints may be picked",
    ),
    flag(
        "drain-timeout",
        Duration,
        "30s",
        "how long to serve after the first signal to stop",
    ),
    flag(
        "emit-endpoint-scores",
        Bool,
        "false",
        "tell the gateway the score of every candidate",
    ),
    flag(
        "enable-cert-reload",
        Bool,
        "false",
        "take new certificates when the files change",
    ),
    flag(
        "enable-grpc-stream-metrics",
        Bool,
        "false",
        "metrics of streams",
    ),
    flag(
        "enable-pprof",
        Bool,
        "true",
        "accepted; this program has no such pages",
    ),
    flag(
        "endpoint-selector",
        Text,
        "",
        "pick from the pods that this label selector matches",
    ),
    flag("endpoint-target-ports", Ints, "", "ports of those pods"),
    flag(
        "explain-header",
        Bool,
        "false",
        "answer x-weir-explain: 1 with the decision's explanation",
    ),
    flag(
        "grpc-health-port",
        Int,
        "9003",
        "port of the health service",
    ),
    flag(
        "grpc-max-recv-msg-size",
        Text,
        "",
        "largest message taken, such as 16Mi",
    ),
    flag(
        "grpc-max-send-msg-size",
        Text,
        "",
        "largest message sent; pieces are 62,000 bytes",
    ),
    flag("grpc-port", Int, "9002", "port of the ext_proc service"),
    flag(
        "ha-enable-leader-election",
        Bool,
        "false",
        "only one of several replicas is ready",
    ),
    flag(
        "health-checking",
        Bool,
        "false",
        "a health service at the ext_proc port too",
    ),
    flag("kubeconfig", Text, "", "instead of the pod's account"),
    flag(
        "metrics-cert-dir",
        Text,
        "",
        "serve metrics over TLS with the certificate of this directory",
    ),
    flag(
        "metrics-client-ca-file",
        Text,
        "",
        "clients of metrics need a certificate of this authority",
    ),
    flag(
        "metrics-endpoint-auth",
        Bool,
        "true",
        "clients of metrics need a token that may get /metrics",
    ),
    flag("metrics-port", Int, "9090", "port of metrics"),
    flag(
        "metrics-staleness-threshold",
        Duration,
        "2s",
        "age above which an endpoint is left out of averages",
    ),
    flag(
        "pool-group",
        Text,
        "inference.networking.k8s.io",
        "API group of the pool",
    ),
    flag("pool-name", Text, "", "name of the InferencePool"),
    flag(
        "pool-namespace",
        Text,
        "",
        "its namespace; else NAMESPACE, else default",
    ),
    flag(
        "refresh-metrics-interval",
        Duration,
        "50ms",
        "how often endpoints are scraped",
    ),
    flag(
        "refresh-prometheus-metrics-interval",
        Duration,
        "5s",
        "how often averages are refreshed",
    ),
    flag("secure-serving", Bool, "true", "TLS at the ext_proc port"),
    flag(
        "skip-closes-stream",
        Bool,
        "false",
        "close the stream where a response needs no look, as the Go picker does",
    ),
    flag(
        "tls-cipher-suites",
        Strings,
        "",
        "cipher suites, comma separated",
    ),
    flag("tls-min-version", Text, "", "VersionTLS12 or VersionTLS13"),
    flag(
        "tracing",
        Bool,
        "true",
        "accepted; trace headers pass through",
    ),
    flag(
        "trust-client-kv-params",
        Bool,
        "false",
        "take nothing out of what a trusted hop in front sends",
    ),
    flag("v", Int, "2", "how much is logged"),
    flag("zap-devel", Bool, "true", "accepted"),
    flag("zap-encoder", Text, "", "accepted: logs are JSON"),
    flag(
        "zap-log-level",
        Text,
        "",
        "how much is logged; wins over -v",
    ),
    flag("zap-stacktrace-level", Text, "", "accepted"),
    flag("zap-time-encoding", Text, "", "accepted"),
    old("model-server-metrics-scheme", Text, SOURCE),
    old("model-server-metrics-path", Text, SOURCE),
    old("model-server-metrics-port", Int, SOURCE),
    old(
        "model-server-metrics-https-insecure-skip-verify",
        Bool,
        SOURCE,
    ),
    old("total-queued-requests-metric", Text, ENGINE),
    old("total-running-requests-metric", Text, ENGINE),
    old("kv-cache-usage-percentage-metric", Text, ENGINE),
    old("lora-info-metric", Text, ENGINE),
    old("cache-info-metric", Text, ENGINE),
];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Bool => "",
            Int => "int",
            Text => "string",
            Duration => "duration",
            Ints => "ints",
            Strings => "strings",
        }
    }
}

impl Flag {
    /// Says whether `value` is of the flag's type.
    pub(super) fn check(&self, value: &str) -> Result<(), Error> {
        let problem = match self.kind {
            Bool if boolean(value).is_none() => {
                format!("strconv.ParseBool: parsing {value:?}: invalid syntax")
            }
            Int if value.parse::<i64>().is_err() => {
                format!("strconv.ParseInt: parsing {value:?}: invalid syntax")
            }
            Duration if duration(value).is_none() => {
                format!("time: invalid duration {value:?}")
            }
            Ints if value
                .split(',')
                .any(|item| !item.trim().is_empty() && item.trim().parse::<i64>().is_err()) =>
            {
                format!("strconv.Atoi: parsing {value:?}: invalid syntax")
            }
            _ => {
                let port = self.name.ends_with("-port") && self.kind == Int;
                if port && value.parse::<u16>().is_err() {
                    return Err(usage(format!("--{} {value}: not a port", self.name)));
                }
                return Ok(());
            }
        };
        Err(usage(format!(
            "invalid argument {value:?} for \"--{}\" flag: {problem}",
            self.name
        )))
    }
}
