//! The types of plugins, their abilities, and what they need of each other.

use serde_json::Value;

use super::fields::{Fields, Report};
use super::read::{self, OldPrefix};
use super::settings::{Parser, Settings, Work};
use super::{engine_read, precise_read};

/// Default producer of prefix matches.
pub(super) const APPROX: &str = "approx-prefix-cache-producer";
/// Default producer of loads.
pub(super) const IN_FLIGHT: &str = "inflight-load-producer";
/// Default producer of predictions.
pub(super) const PREDICTED: &str = "predicted-latency-producer";
/// Default producer of encoder matches.
pub(super) const MEDIA_CACHE: &str = "mm-embeddings-cache-producer";
/// Default producer of session ids.
pub(super) const SESSION_ID: &str = "session-id-producer";
/// Default producer of tokens.
pub(super) const TOKENS: &str = "token-producer";
/// Default extractor.
pub(super) const CORE_METRICS: &str = "core-metrics-extractor";
/// Default source.
pub(super) const METRICS_SOURCE: &str = "metrics-data-source";
/// Producer of matches from KV events.
pub(super) const PRECISE: &str = "precise-prefix-cache-producer";
/// Decider of the older handler.
pub(super) const PREFIX_DECIDER: &str = "prefix-based-pd-decider";

/// Types that exist upstream and are not part of this picker.
const NOT_SUPPORTED: &[&str] = &[
    "burst-prefix-cache-producer",
    "dcgm-data-source",
    "dcgm-extractor",
    "disaggregatedset-rollout-screener",
    "endpoint-attribute-filter",
    "endpoint-attribute-scorer",
    "header-label-affinity-scorer",
    "k8s-notification-source",
    "local-syncer",
    "multicluster-approx-prefix-cache-producer",
    "multicluster-file-discovery",
    "multicluster-kv-cache-utilization-scorer",
    "multicluster-metrics-data-source",
    "multicluster-metrics-extractor",
    "multicluster-prefix-cache-scorer",
    "multicluster-queue-scorer",
    "multicluster-session-affinity-filter",
    "p2p-source-producer",
    "priority-holdback-policy",
    "priority-then-time-eviction-order-policy",
    "program-aware-fairness",
    "sheddable-eviction-filter",
    "soft-reflective-ceiling-policy",
    "topology-affinity-filter",
    "topology-affinity-scorer",
    "topology-extractor",
];

/// Types of the first generation that have no successor of the same meaning.
const GONE: &[(&str, &str)] = &[
    ("low-queue-filter", "queue-scorer"),
    ("least-queue-filter", "queue-scorer"),
    ("least-kv-cache-filter", "kv-cache-utilization-scorer"),
    ("lora-affinity-filter", "lora-affinity-scorer"),
    ("decision-tree-filter", "a profile with scorers"),
];

/// Alpha types: they need the flag for experimental plugins.
pub(super) const EXPERIMENTAL: &[&str] = &[
    "agent-identity",
    "header-profile-handler",
    "session-affinity-filter",
    "session-affinity-scorer",
    "utilization-filter",
];

/// What a plugin can be used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ability {
    Filter,
    Scorer,
    Picker,
    Handler,
    Decider,
    Detector,
    Fairness,
    Ordering,
    UsageLimit,
    Source,
    Extractor,
    Discovery,
    Parser,
}

/// Data that one plugin makes for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Prefix,
    Load,
    Latency,
    MediaCache,
    Tokens,
    CoreMetrics,
    SessionId,
}

/// Why parameters make no settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoSettings {
    /// There is no such type.
    NoSuchType,
    /// Nothing sensible can be made of them, and it has been said why.
    Reported,
}

/// What parameters say about plugins beside their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Aside {
    pub(super) old_prefix: Option<OldPrefix>,
    /// `threshold` of the older handler, in characters.
    pub(super) threshold: Option<u64>,
}

/// The settings of a plugin of type `kind`; `None` with an error when there is no such type.
pub(super) fn settings(
    kind: &str,
    parameters: Option<&Value>,
    pointer: &str,
    report: &mut Report<'_>,
) -> Option<(Settings, Aside)> {
    let mut aside = Aside::default();
    if let Some(settings) = without_parameters(kind) {
        return Some((settings, aside));
    }
    if let Some(message) = refusal(kind) {
        report.error(&format!("{pointer}/type"), message);
        return None;
    }
    let mut fields = Fields::new(parameters, format!("{pointer}/parameters"), report);
    let settings = with_parameters(kind, &mut fields, &mut aside, report);
    if fields.has("hashBlockSize") && !fields.taken("hashBlockSize") {
        fields.ignore("hashBlockSize", "older presets have it on any type", report);
    }
    fields.finish(report);
    Some((settings.ok()?, aside))
}

/// Types that ignore whatever parameters they are given.
fn without_parameters(kind: &str) -> Option<Settings> {
    Some(match kind {
        "decode-filter" => Settings::RoleFilter(Work::Decode),
        "prefill-filter" => Settings::RoleFilter(Work::Prefill),
        "encode-filter" => Settings::RoleFilter(Work::Encode),
        "header-based-testing-filter" => Settings::HeaderTestFilter,
        "queue-scorer" => Settings::QueueScorer,
        "kv-cache-utilization-scorer" => Settings::KvUsageScorer,
        "lora-affinity-scorer" => Settings::LoraScorer,
        "running-requests-size-scorer" => Settings::RunningRequestsScorer,
        "single-profile-handler" => Settings::SingleHandler,
        "always-disagg-pd-decider" => Settings::AlwaysDecider,
        "always-disagg-multimodal-decider" => Settings::MediaDecider,
        "global-strict-fairness-policy" => Settings::GlobalStrictFairness,
        "round-robin-fairness-policy" => Settings::RoundRobinFairness,
        "fcfs-ordering-policy" => Settings::FcfsOrdering,
        "edf-ordering-policy" => Settings::EdfOrdering,
        "slo-deadline-ordering-policy" => Settings::SloDeadlineOrdering,
        "destination-endpoint-served-verifier" => Settings::ServedVerifier,
        "endpoint-notification-source" => Settings::EndpointNotificationSource,
        "models-data-extractor" => Settings::ModelsExtractor,
        "openai-parser" => Settings::Parser(Parser::OpenAi),
        "anthropic-parser" => Settings::Parser(Parser::Anthropic),
        "vllmhttp-parser" => Settings::Parser(Parser::VllmHttp),
        "passthrough-parser" => Settings::Parser(Parser::Passthrough),
        "sglanghttp-parser" => Settings::Parser(Parser::SglangHttp),
        "vllmgrpc-parser" => Settings::Parser(Parser::VllmGrpc),
        "vertexai-parser" => Settings::Parser(Parser::VertexAi),
        _ => return None,
    })
}

fn with_parameters(
    kind: &str,
    fields: &mut Fields<'_>,
    aside: &mut Aside,
    report: &mut Report<'_>,
) -> Result<Settings, NoSettings> {
    Ok(match kind {
        "label-selector-filter" | "by-label-selector" => {
            Settings::LabelSelectorFilter(read::selector(fields, report))
        }
        "by-label" => Settings::LabelFilter(read::label_filter(fields, report)),
        "prefix-cache-affinity-filter" => {
            Settings::PrefixAffinityFilter(read::prefix_affinity(fields, report))
        }
        "slo-headroom-tier-filter" => {
            Settings::SloHeadroomFilter(read::slo_headroom(fields, report))
        }
        "context-length-aware" => Settings::ContextLength(read::context_length(fields, report)),
        "session-affinity-filter" => Settings::SessionFilter(read::session(fields, report)),
        "session-affinity-scorer" => Settings::SessionScorer(read::session(fields, report)),
        "utilization-filter" => {
            Settings::UtilizationFilter(read::utilization_filter(fields, report))
        }
        "prefix-cache-scorer" => {
            let (scorer, old) = read::prefix_scorer(fields, report);
            aside.old_prefix = old;
            Settings::PrefixScorer(scorer)
        }
        "precise-prefix-cache-scorer" => {
            Settings::PrecisePrefixScorer(Box::new(precise_read::precise(fields, true, report)))
        }
        PRECISE => {
            Settings::PrecisePrefixProducer(Box::new(precise_read::precise(fields, false, report)))
        }
        "active-request-scorer" => {
            Settings::ActiveRequestScorer(read::active_request(fields, report))
        }
        "no-hit-lru-scorer" => Settings::NoHitLruScorer(read::no_hit_lru(fields, report)),
        "load-aware-scorer" => Settings::LoadAwareScorer {
            threshold: fields.at_least("threshold", 128, 1, report),
        },
        "token-load-scorer" => Settings::TokenLoadScorer(read::token_load(fields, report)),
        "latency-scorer" => Settings::LatencyScorer(read::latency(fields, report)),
        "mm-embeddings-cache-scorer" => Settings::MediaCacheScorer {
            producer: read::media_scorer(fields, report),
        },
        "max-score-picker" => Settings::MaxScorePicker(read::pick(fields, report)),
        "random-picker" => Settings::RandomPicker(read::pick(fields, report)),
        "weighted-random-picker" => Settings::WeightedRandomPicker(read::pick(fields, report)),
        "disagg-profile-handler" => Settings::DisaggHandler(read::disagg(fields, report)),
        "pd-profile-handler" => {
            let (handler, threshold) = read::old_disagg(fields, report);
            aside.threshold = threshold;
            Settings::DisaggHandler(handler)
        }
        "data-parallel-profile-handler" => Settings::DataParallelHandler {
            primary_port: read::primary_port(fields, report),
        },
        "header-profile-handler" => Settings::HeaderHandler {
            header: read::name(fields, "headerName", "EPP-Profile", report).to_ascii_lowercase(),
            default: read::name(fields, "defaultProfile", "decode", report),
        },
        "disagg-headers-handler" | "prefill-header-handler" => Settings::DisaggHeaders {
            prefill: read::name(fields, "prefillProfile", "prefill", report),
            encode: read::name(fields, "encodeProfile", "encode", report),
        },
        PREFIX_DECIDER => Settings::PrefixDecider(read::prefix_decider(fields, report)),
        TOKENS | "tokenizer" => Settings::TokenProducer(read::token_producer(fields, report)),
        APPROX => Settings::ApproxPrefixProducer(read::approx(fields, report)),
        IN_FLIGHT => Settings::InFlightProducer(read::in_flight(fields, report)),
        PREDICTED => {
            read::predicted(fields, report);
            Settings::PredictedLatencyProducer
        }
        MEDIA_CACHE => Settings::MediaCacheProducer {
            megabytes: read::media_cache(fields, report),
        },
        SESSION_ID => Settings::SessionIdProducer(read::session_id(fields, report)),
        "utilization-detector" => {
            Settings::UtilizationDetector(read::utilization_detector(fields, report))
        }
        "concurrency-detector" => {
            Settings::ConcurrencyDetector(read::concurrency_detector(fields, report))
        }
        "static-usage-limit-policy" => Settings::StaticLimit {
            threshold: fields.float_where(
                "threshold",
                1.0,
                "above 0 and at most 1",
                |v| v > 0.0 && v <= 1.0,
                report,
            ),
        },
        "latency-slo-admitter" => {
            read::name(
                fields,
                "latencyPredictionInfoProducerName",
                PREDICTED,
                report,
            );
            Settings::LatencySloAdmitter
        }
        "probabilistic-admitter" => {
            Settings::ProbabilisticAdmitter(read::probabilistic(fields, report))
        }
        "request-attribute-reporter" => {
            let reporter = read::reporter(fields, report).ok_or(NoSettings::Reported)?;
            Settings::Reporter(Box::new(reporter))
        }
        "agent-identity" => Settings::AgentIdentity {
            additional: fields
                .strings("additionalSessionHeaders", report)
                .into_iter()
                .map(|header| header.to_ascii_lowercase())
                .collect(),
        },
        METRICS_SOURCE => Settings::MetricsSource(read::http_source(fields, "/metrics", report)),
        "models-data-source" => {
            Settings::ModelsSource(read::http_source(fields, "/v1/models", report))
        }
        "file-discovery" => Settings::FileDiscovery(read::file_discovery(fields, report)),
        CORE_METRICS | "model-server-protocol-metrics" => {
            Settings::CoreMetrics(engine_read::core_metrics(fields, report))
        }
        _ => return Err(NoSettings::NoSuchType),
    })
}

/// Why there is no plugin of a type.
fn refusal(kind: &str) -> Option<String> {
    if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == kind) {
        return Some(format!("plugin type `{kind}` is gone; use {instead}"));
    }
    if NOT_SUPPORTED.contains(&kind) {
        return Some(format!(
            "plugin type `{kind}` is not supported by this picker"
        ));
    }
    if is_known(kind) {
        return None;
    }
    Some(format!("plugin type `{kind}` is not registered"))
}

/// Whether there is a plugin of a type.
pub(super) fn is_known(kind: &str) -> bool {
    if without_parameters(kind).is_some() {
        return true;
    }
    let mut report = Report::new(None);
    let mut fields = Fields::new(None, String::new(), &mut report);
    let settings = with_parameters(kind, &mut fields, &mut Aside::default(), &mut report);
    settings != Err(NoSettings::NoSuchType)
}

impl Settings {
    /// Whether a plugin can be used as something.
    pub(super) fn is(&self, ability: Ability) -> bool {
        match ability {
            Ability::Filter => matches!(
                self,
                Self::RoleFilter(_)
                    | Self::LabelSelectorFilter(_)
                    | Self::LabelFilter(_)
                    | Self::PrefixAffinityFilter(_)
                    | Self::SloHeadroomFilter(_)
                    | Self::ContextLength(_)
                    | Self::SessionFilter(_)
                    | Self::UtilizationFilter(_)
                    | Self::HeaderTestFilter
                    | Self::UtilizationDetector(_)
                    | Self::ConcurrencyDetector(_)
            ),
            Ability::Scorer => matches!(
                self,
                Self::QueueScorer
                    | Self::KvUsageScorer
                    | Self::PrefixScorer(_)
                    | Self::PrecisePrefixScorer(_)
                    | Self::LoraScorer
                    | Self::ActiveRequestScorer(_)
                    | Self::NoHitLruScorer(_)
                    | Self::LoadAwareScorer { .. }
                    | Self::RunningRequestsScorer
                    | Self::TokenLoadScorer(_)
                    | Self::LatencyScorer(_)
                    | Self::MediaCacheScorer { .. }
                    | Self::SessionScorer(_)
                    | Self::ContextLength(_)
            ),
            Ability::Picker => matches!(
                self,
                Self::MaxScorePicker(_) | Self::RandomPicker(_) | Self::WeightedRandomPicker(_)
            ),
            Ability::Handler => matches!(
                self,
                Self::SingleHandler
                    | Self::DisaggHandler(_)
                    | Self::DataParallelHandler { .. }
                    | Self::HeaderHandler { .. }
            ),
            Ability::Decider => matches!(
                self,
                Self::PrefixDecider(_) | Self::AlwaysDecider | Self::MediaDecider
            ),
            Ability::Detector => matches!(
                self,
                Self::UtilizationDetector(_) | Self::ConcurrencyDetector(_)
            ),
            Ability::Fairness => {
                matches!(self, Self::GlobalStrictFairness | Self::RoundRobinFairness)
            }
            Ability::Ordering => matches!(
                self,
                Self::FcfsOrdering | Self::EdfOrdering | Self::SloDeadlineOrdering
            ),
            Ability::UsageLimit => matches!(self, Self::StaticLimit { .. }),
            Ability::Source => matches!(
                self,
                Self::MetricsSource(_) | Self::ModelsSource(_) | Self::EndpointNotificationSource
            ),
            Ability::Extractor => matches!(
                self,
                Self::CoreMetrics(_)
                    | Self::ModelsExtractor
                    | Self::PrecisePrefixProducer(_)
                    | Self::PrecisePrefixScorer(_)
                    | Self::InFlightProducer(_)
            ),
            Ability::Discovery => matches!(self, Self::FileDiscovery(_)),
            Ability::Parser => matches!(self, Self::Parser(_)),
        }
    }

    /// What the plugin makes for others.
    pub(super) fn makes(&self) -> Option<Key> {
        Some(match self {
            Self::ApproxPrefixProducer(_)
            | Self::PrecisePrefixProducer(_)
            | Self::PrecisePrefixScorer(_) => Key::Prefix,
            Self::InFlightProducer(_) => Key::Load,
            Self::PredictedLatencyProducer => Key::Latency,
            Self::MediaCacheProducer { .. } => Key::MediaCache,
            Self::TokenProducer(_) => Key::Tokens,
            Self::CoreMetrics(_) => Key::CoreMetrics,
            Self::SessionIdProducer(_) => Key::SessionId,
            _ => return None,
        })
    }

    /// What the plugin needs, and of which producer.
    pub(super) fn needs(&self) -> Vec<(Key, &str)> {
        match self {
            Self::QueueScorer
            | Self::KvUsageScorer
            | Self::RunningRequestsScorer
            | Self::LoraScorer => vec![(Key::CoreMetrics, CORE_METRICS)],
            Self::PrefixScorer(s) => vec![(Key::Prefix, &s.producer)],
            Self::NoHitLruScorer(s) => vec![(Key::Prefix, &s.producer)],
            Self::PrefixAffinityFilter(s) if s.predicted => {
                vec![(Key::Prefix, &s.prefix), (Key::Latency, &s.latency)]
            }
            Self::PrefixAffinityFilter(s) => vec![(Key::Prefix, &s.prefix), (Key::Load, &s.load)],
            Self::SloHeadroomFilter(s) => vec![(Key::Latency, &s.latency)],
            Self::UtilizationFilter(s)
                if s.conditions
                    .iter()
                    .any(|(metric, _)| *metric == super::settings::LoadMetric::Active) =>
            {
                vec![(Key::Load, &s.load)]
            }
            Self::ActiveRequestScorer(s) => vec![(Key::Load, &s.load)],
            Self::TokenLoadScorer(s) => vec![(Key::Load, &s.load)],
            Self::ConcurrencyDetector(s) => vec![(Key::Load, &s.load)],
            Self::LatencyScorer(s) => vec![
                (Key::Latency, &s.latency_producer),
                (Key::Prefix, &s.prefix_producer),
            ],
            Self::PredictedLatencyProducer => vec![
                (Key::Tokens, TOKENS),
                (Key::Prefix, APPROX),
                (Key::Load, IN_FLIGHT),
            ],
            Self::MediaCacheScorer { producer } => vec![(Key::MediaCache, producer)],
            Self::DisaggHandler(_) => vec![(Key::Prefix, APPROX), (Key::Tokens, TOKENS)],
            Self::PrefixDecider(s) => vec![(Key::Prefix, &s.producer)],
            Self::ContextLength(_)
            | Self::ApproxPrefixProducer(_)
            | Self::PrecisePrefixProducer(_)
            | Self::PrecisePrefixScorer(_)
            | Self::InFlightProducer(_)
            | Self::MediaCacheProducer { .. } => vec![(Key::Tokens, TOKENS)],
            Self::LatencySloAdmitter => vec![(Key::Latency, PREDICTED)],
            Self::SessionScorer(super::settings::Session::ById { sources, .. })
            | Self::SessionFilter(super::settings::Session::ById { sources, .. }) => sources
                .iter()
                .filter_map(|source| match source {
                    super::settings::SessionIdFrom::Attribute(producer) => {
                        Some((Key::SessionId, producer.as_str()))
                    }
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl Key {
    /// The type that is added when nobody makes it; none: there is no default.
    pub(super) fn default_producer(self) -> Option<&'static str> {
        Some(match self {
            Self::Prefix => APPROX,
            Self::Load => IN_FLIGHT,
            Self::Latency => PREDICTED,
            Self::MediaCache => MEDIA_CACHE,
            Self::Tokens => TOKENS,
            Self::CoreMetrics | Self::SessionId => return None,
        })
    }

    /// What it is, in words.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Prefix => "prefix matches",
            Self::Load => "loads in flight",
            Self::Latency => "latency predictions",
            Self::MediaCache => "encoder cache matches",
            Self::Tokens => "tokens",
            Self::CoreMetrics => "load metrics",
            Self::SessionId => "session ids",
        }
    }
}

impl Ability {
    /// What it is, in words.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Filter => "a filter",
            Self::Scorer => "a scorer",
            Self::Picker => "a picker",
            Self::Handler => "a profile handler",
            Self::Decider => "a decider",
            Self::Detector => "a saturation detector",
            Self::Fairness => "a fairness policy",
            Self::Ordering => "an ordering policy",
            Self::UsageLimit => "a usage limit policy",
            Self::Source => "a data source",
            Self::Extractor => "an extractor",
            Self::Discovery => "a discovery",
            Self::Parser => "a parser",
        }
    }
}
