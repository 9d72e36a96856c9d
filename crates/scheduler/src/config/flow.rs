//! The section on flow control.

use std::time::Duration;

use serde_json::Value;

use super::fields::{Fields, Report};

/// Flow control.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowControl {
    /// The gate is on.
    pub enabled: bool,
    /// Bytes that may wait; none is no limit.
    pub max_bytes: Option<u64>,
    /// Requests that may wait; none is no limit.
    pub max_requests: Option<u64>,
    /// How long a request may wait while there are endpoints; none is for ever.
    pub ttl: Option<Duration>,
    /// How long a request may wait while there are none; none is for ever.
    pub empty_ttl: Option<Duration>,
    /// For priorities from 0 that are not listed.
    pub default_band: Band,
    /// For priorities below 0 that are not listed.
    pub negative_band: Band,
    /// Bands by priority, highest first; 0 is always there.
    pub bands: Vec<(i32, Band)>,
    /// Saturation at which dispatch stops.
    pub ceiling: f64,
    /// Running requests are stopped in favour of more important ones.
    pub eviction: bool,
}

/// What holds for one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Bytes that may wait.
    pub max_bytes: u64,
    /// Requests that may wait.
    pub max_requests: u64,
    /// Whose turn it is.
    pub fairness: FairnessPolicy,
    /// Which request of a flow goes first.
    pub ordering: OrderingPolicy,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FairnessPolicy {
    /// The flow with the best head.
    GlobalStrict,
    /// One after the other.
    RoundRobin,
}

/// Which request goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderingPolicy {
    /// The oldest.
    Fcfs,
    /// The one that expires first.
    EarliestDeadline,
    /// The one whose latency goal ends first.
    SloDeadline,
}

/// Default of the default time to live.
const TTL: Duration = Duration::from_secs(60);

impl Default for Band {
    fn default() -> Self {
        Self {
            max_bytes: 1_000_000_000,
            max_requests: 5000,
            fairness: FairnessPolicy::GlobalStrict,
            ordering: OrderingPolicy::Fcfs,
        }
    }
}

impl FlowControl {
    /// What holds for a priority that is seen for the first time.
    #[must_use]
    pub fn template(&self, priority: i32) -> Band {
        if priority < 0 {
            self.negative_band
        } else {
            self.default_band
        }
    }
}

/// Finds policies by name.
pub(super) trait Policies {
    fn fairness(&mut self, name: &str, at: &str, report: &mut Report<'_>) -> FairnessPolicy;
    fn ordering(&mut self, name: &str, at: &str, report: &mut Report<'_>) -> OrderingPolicy;
    fn ceiling(&mut self, name: Option<&str>, at: &str, report: &mut Report<'_>) -> f64;
}

pub(super) fn read(
    fields: &mut Fields<'_>,
    enabled: bool,
    policies: &mut dyn Policies,
    report: &mut Report<'_>,
) -> FlowControl {
    let limit = |value: Option<u64>| value.filter(|value| *value > 0);
    let max_bytes = limit(fields.quantity("maxBytes", report));
    let max_requests = limit(fields.quantity("maxRequests", report));
    let ttl_given = fields.duration("defaultRequestTTL", report);
    let empty_given = fields.duration("noEndpointRequestTTL", report);
    let default_band = band(
        fields.take("defaultPriorityBand"),
        fields.at("defaultPriorityBand"),
        Band::default(),
        policies,
        report,
    )
    .1;
    let negative_band = band(
        fields.take("defaultNegativePriorityBand"),
        fields.at("defaultNegativePriorityBand"),
        Band::default(),
        policies,
        report,
    )
    .1;
    let mut bands: Vec<(i32, Band)> = Vec::new();
    for (item, pointer) in fields.list("priorityBands", report) {
        let (priority, band) = band(
            Some(item),
            pointer.clone(),
            Band::default(),
            policies,
            report,
        );
        let Some(priority) = priority else {
            report.error(&pointer, "`priority` must be specified");
            continue;
        };
        if bands.iter().any(|(known, _)| *known == priority) {
            report.error(&pointer, format!("duplicate priority level {priority}"));
        }
        bands.push((priority, band));
    }
    if !bands.iter().any(|(priority, _)| *priority == 0) {
        bands.push((0, default_band));
    }
    bands.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let limit_ref = fields.string("usageLimitPolicyPluginRef", report);
    let ceiling = policies.ceiling(limit_ref, &fields.at("usageLimitPolicyPluginRef"), report);
    let eviction = fields.bool("enableEviction", report).unwrap_or(false);
    let not_zero = |ttl: Duration| Some(ttl).filter(|ttl| !ttl.is_zero());
    FlowControl {
        enabled,
        max_bytes,
        max_requests,
        ttl: not_zero(ttl_given.unwrap_or(TTL)),
        // Follows the other budget where that one is a number.
        empty_ttl: not_zero(
            empty_given.unwrap_or_else(|| ttl_given.and_then(not_zero).unwrap_or(TTL)),
        ),
        default_band,
        negative_band,
        bands,
        ceiling,
        eviction,
    }
}

fn band(
    value: Option<&Value>,
    pointer: String,
    default: Band,
    policies: &mut dyn Policies,
    report: &mut Report<'_>,
) -> (Option<i32>, Band) {
    let mut fields = Fields::new(value, pointer, report);
    let number = fields.integer("priority", report);
    let priority = number.and_then(|number| match i32::try_from(number) {
        Ok(priority) => Some(priority),
        Err(_) => {
            report.error(&fields.at("priority"), "must fit 32 bits");
            None
        }
    });
    let above_zero = |value: Option<u64>, default| value.filter(|v| *v > 0).unwrap_or(default);
    let max_bytes = above_zero(fields.quantity("maxBytes", report), default.max_bytes);
    let max_requests = above_zero(fields.quantity("maxRequests", report), default.max_requests);
    let fairness = fields
        .string("fairnessPolicyRef", report)
        .filter(|name| !name.is_empty())
        .map_or(default.fairness, |name| {
            policies.fairness(name, &fields.at("fairnessPolicyRef"), report)
        });
    let ordering = fields
        .string("orderingPolicyRef", report)
        .filter(|name| !name.is_empty())
        .map_or(default.ordering, |name| {
            policies.ordering(name, &fields.at("orderingPolicyRef"), report)
        });
    fields.finish(report);
    (
        priority,
        Band {
            max_bytes,
            max_requests,
            fairness,
            ordering,
        },
    )
}
