//! Parameters of each plugin, read strictly: here those of filters, detectors and admitters.

mod data;
mod handlers;
mod scorers;

use std::time::Duration;

use serde_json::Value;

use super::fields::{Fields, Report};
use super::settings::{
    ConcurrencyDetector, ConcurrencyMode, ContextLength, LabelFilter, LoadMetric, PrefixAffinity,
    ProbabilisticAdmitter, Session, SessionIdFrom, SloHeadroom, UtilizationDetector,
    UtilizationFilter,
};
use super::types::{APPROX, IN_FLIGHT, PREDICTED, SESSION_ID};
use crate::labels::{Operator, Requirement, Selector};

pub(super) use data::{
    approx, file_discovery, http_source, in_flight, media_cache, predicted, reporter, session_id,
    token_producer,
};
pub(super) use handlers::{disagg, old_disagg, prefix_decider, primary_port};
pub(super) use scorers::{
    OldPrefix, active_request, latency, media_scorer, no_hit_lru, pick, prefix_scorer, token_load,
};

/// A name with a default.
pub(super) fn name(
    fields: &mut Fields<'_>,
    field: &'static str,
    default: &str,
    report: &mut Report<'_>,
) -> String {
    fields
        .string(field, report)
        .filter(|text| !text.is_empty())
        .unwrap_or(default)
        .to_owned()
}

fn positive(value: f64) -> bool {
    value > 0.0
}

fn not_negative(value: f64) -> bool {
    value >= 0.0
}

fn share(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn port(fields: &mut Fields<'_>, field: &'static str, report: &mut Report<'_>) -> Option<u16> {
    let value = fields.integer(field, report)?;
    match u16::try_from(value) {
        Ok(port) => Some(port),
        Err(_) => {
            report.error(
                &fields.at(field),
                format!("must be a port from 0 to 65535, got {value}"),
            );
            None
        }
    }
}

fn clamped_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

pub(super) fn selector(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Selector {
    let mut selector = Selector::default();
    let pointer = fields.at("matchLabels");
    match fields.take("matchLabels") {
        None => {}
        Some(Value::Object(labels)) => {
            for (key, value) in labels {
                let Some(value) = value.as_str() else {
                    report.error(&pointer, format!("the value of {key:?} must be a string"));
                    continue;
                };
                selector.requirements.push(Requirement {
                    key: key.clone(),
                    operator: Operator::In,
                    values: vec![value.to_owned()],
                });
            }
        }
        Some(_) => report.error(&pointer, "must be a mapping of labels"),
    }
    for (item, pointer) in fields.list("matchExpressions", report) {
        let mut item = Fields::new(Some(item), pointer, report);
        let key = name(&mut item, "key", "", report);
        let values = item.strings("values", report);
        let operator = match item.string("operator", report).unwrap_or("") {
            "In" => Some((Operator::In, true)),
            "NotIn" => Some((Operator::NotIn, true)),
            "Exists" => Some((Operator::Exists, false)),
            "DoesNotExist" => Some((Operator::DoesNotExist, false)),
            other => {
                report.error(
                    &item.at("operator"),
                    format!(
                        "{other:?} is not a valid label selector operator; use In, NotIn, Exists or DoesNotExist"
                    ),
                );
                None
            }
        };
        if key.is_empty() {
            report.error(&item.at("key"), "must be specified");
        }
        if let Some((operator, wants_values)) = operator {
            if wants_values == values.is_empty() {
                let rule = if wants_values { "needs" } else { "takes no" };
                report.error(
                    &item.at("values"),
                    format!("operator {operator:?} {rule} values"),
                );
            }
            selector.requirements.push(Requirement {
                key,
                operator,
                values,
            });
        }
        item.finish(report);
    }
    selector
}

pub(super) fn label_filter(fields: &mut Fields<'_>, report: &mut Report<'_>) -> LabelFilter {
    let filter = LabelFilter {
        label: name(fields, "label", "", report),
        values: fields.strings("validValues", report),
        allows_missing: fields.bool("allowsNoLabel", report).unwrap_or(false),
    };
    if filter.label.is_empty() {
        report.error(&fields.at("label"), "must be specified");
    } else if filter.values.is_empty() && !filter.allows_missing {
        report.error(
            &fields.at("validValues"),
            "must not be empty unless `allowsNoLabel` is true",
        );
    }
    filter
}

pub(super) fn prefix_affinity(fields: &mut Fields<'_>, report: &mut Report<'_>) -> PrefixAffinity {
    let predicted = match fields.string("ttftSource", report) {
        None | Some("" | "prefillThroughput") => false,
        Some("latencyPredictor") => true,
        Some(other) => {
            report.error(
                &fields.at("ttftSource"),
                format!("must be prefillThroughput or latencyPredictor, got {other:?}"),
            );
            false
        }
    };
    PrefixAffinity {
        threshold: fields.float_where("affinityThreshold", 0.8, "at most 1", |v| v <= 1.0, report),
        exploration: fields.float_where(
            "explorationProbability",
            0.0,
            "from 0 to 1",
            share,
            report,
        ),
        max_penalty_ms: fields.float_where(
            "maxTTFTPenaltyMs",
            18_000.0,
            "at least 0",
            not_negative,
            report,
        ),
        predicted,
        throughput: fields.float_where(
            "peakPrefillThroughput",
            15_928.0,
            "above 0",
            positive,
            report,
        ),
        prefix: name(fields, "prefixMatchInfoProducerName", APPROX, report),
        load: name(fields, "inFlightLoadProducerName", IN_FLIGHT, report),
        latency: name(
            fields,
            "latencyPredictionInfoProducerName",
            PREDICTED,
            report,
        ),
    }
}

pub(super) fn slo_headroom(fields: &mut Fields<'_>, report: &mut Report<'_>) -> SloHeadroom {
    SloHeadroom {
        epsilon: fields.float_where("epsilonExploreNeg", 0.01, "from 0 to 1", share, report),
        latency: name(
            fields,
            "latencyPredictionInfoProducerName",
            PREDICTED,
            report,
        ),
    }
}

pub(super) fn context_length(fields: &mut Fields<'_>, report: &mut Report<'_>) -> ContextLength {
    ContextLength {
        label: name(fields, "label", "llm-d.ai/context-length-range", report),
        filters: fields.bool("enableFiltering", report).unwrap_or(false),
    }
}

pub(super) fn session(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Session {
    let mut encoded = fields.mapping("encodedEndpointHeaderConfig", report);
    let header = name(&mut encoded, "header", "x-session-token", report).to_ascii_lowercase();
    encoded.finish(report);
    let mut by_id = fields.mapping("sessionIdConfig", report);
    let mut sources = Vec::new();
    for (item, pointer) in by_id.list("sources", report) {
        let mut item = Fields::new(Some(item), pointer.clone(), report);
        let header = item.string("header", report).map(str::to_ascii_lowercase);
        let attribute = item.string("attribute", report).map(str::to_owned);
        let producer = name(&mut item, "producer", SESSION_ID, report);
        item.finish(report);
        match (header, attribute) {
            (Some(header), None) => sources.push(SessionIdFrom::Header(header)),
            (None, Some(_)) => sources.push(SessionIdFrom::Attribute(producer)),
            _ => report.error(&pointer, "must have exactly one of header and attribute"),
        }
    }
    if sources.is_empty() {
        sources.push(SessionIdFrom::Header("x-session-id".to_owned()));
    }
    let seconds = |seconds: u64| Duration::from_secs(seconds.min(u64::from(u32::MAX)));
    let ttl = seconds(by_id.at_least("evictionTtlSeconds", 300, 1, report));
    let sweep = seconds(by_id.at_least("evictionSweepSeconds", 10, 1, report));
    by_id.finish(report);
    let profile = name(fields, "profileName", "", report);
    match fields.string("strategy", report) {
        None | Some("" | "encoded_endpoint_header") => Session::Encoded { header },
        Some("session_id") => Session::ById {
            sources,
            ttl,
            sweep,
            profile,
        },
        Some(other) => {
            report.error(
                &fields.at("strategy"),
                format!(
                    "strategy must be \"encoded_endpoint_header\" or \"session_id\", got {other:?}"
                ),
            );
            Session::Encoded { header }
        }
    }
}

pub(super) fn utilization_filter(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> UtilizationFilter {
    let mut conditions = Vec::new();
    let items = fields.list("conditions", report);
    if items.is_empty() {
        report.error(&fields.at("conditions"), "must have at least one condition");
    }
    for (item, pointer) in items {
        let mut item = Fields::new(Some(item), pointer, report);
        let metric = match item.string("metric", report).unwrap_or("") {
            "active-requests" => Some(LoadMetric::Active),
            "running-requests" => Some(LoadMetric::Running),
            "waiting-queue" => Some(LoadMetric::Waiting),
            "kv-cache-utilization" => Some(LoadMetric::KvUsage),
            other => {
                report.error(
                    &item.at("metric"),
                    format!(
                        "must be active-requests, running-requests, waiting-queue or kv-cache-utilization, got {other:?}"
                    ),
                );
                None
            }
        };
        if !item.has("maxValue") {
            report.error(&item.at("maxValue"), "must be specified");
        }
        let most = item.float("maxValue", report);
        item.finish(report);
        conditions.extend(metric.zip(most));
    }
    UtilizationFilter {
        conditions,
        fallback: fields.bool("fallbackOnEmpty", report).unwrap_or(false),
        load: name(fields, "inFlightLoadProducerName", IN_FLIGHT, report),
    }
}

pub(super) fn utilization_detector(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> UtilizationDetector {
    let default = UtilizationDetector::default();
    UtilizationDetector {
        queue: fields.float_where(
            "queueDepthThreshold",
            default.queue,
            "above 0",
            positive,
            report,
        ),
        kv: fields.float_where(
            "kvCacheUtilThreshold",
            default.kv,
            "above 0 and at most 1",
            |v| v > 0.0 && v <= 1.0,
            report,
        ),
        staleness: fields
            .duration("metricsStalenessThreshold", report)
            .unwrap_or(default.staleness),
        headroom: fields.float_where("headroom", 0.0, "at least 0", not_negative, report),
    }
}

pub(super) fn concurrency_detector(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> ConcurrencyDetector {
    let mode = match fields.string("concurrencyMode", report) {
        None | Some("" | "requests") => ConcurrencyMode::Requests,
        Some("tokens") => ConcurrencyMode::Tokens,
        Some("hybrid") => ConcurrencyMode::Hybrid,
        Some(other) => {
            report.error(
                &fields.at("concurrencyMode"),
                format!("must be requests, tokens or hybrid, got {other:?}"),
            );
            ConcurrencyMode::Requests
        }
    };
    ConcurrencyDetector {
        requests: fields.float_where("maxConcurrency", 100.0, "above 0", positive, report),
        tokens: fields.float_where(
            "maxTokenConcurrency",
            1_000_000.0,
            "above 0",
            positive,
            report,
        ),
        mode,
        headroom: fields.float_where("headroom", 0.0, "at least 0", not_negative, report),
        load: name(fields, "inFlightLoadProducerName", IN_FLIGHT, report),
    }
}

pub(super) fn probabilistic(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> ProbabilisticAdmitter {
    let mut number =
        |field, default| fields.float_where(field, default, "above 0", positive, report);
    ProbabilisticAdmitter {
        queue: number("queueDepthThreshold", 5.0),
        kv: number("kvCacheUtilThreshold", 0.8),
        power: number("power", 5.0),
        k: number("k", 300.0),
    }
}
