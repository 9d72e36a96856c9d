//! Parameters of scorers and pickers.

use super::{clamped_usize, name, not_negative, positive, share};
use crate::config::fields::{Fields, Report};
use crate::config::settings::{ActiveRequest, Latency, NoHitLru, Pick, PrefixScorer, TokenLoad};
use crate::config::types::{APPROX, IN_FLIGHT, MEDIA_CACHE, PREDICTED};

/// Parameters that moved from the prefix scorer to its producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct OldPrefix {
    pub(in crate::config) auto_tune: Option<bool>,
    pub(in crate::config) block_size: Option<u64>,
    pub(in crate::config) max_blocks: Option<u64>,
    pub(in crate::config) capacity: Option<u64>,
}

pub(in crate::config) fn prefix_scorer(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> (PrefixScorer, Option<OldPrefix>) {
    let scorer = PrefixScorer {
        producer: name(fields, "prefixMatchInfoProducerName", APPROX, report),
        length_weight: fields.float_where("matchLengthWeight", 0.0, "from 0 to 1", share, report),
        length_scale: fields.float_where(
            "matchLengthScaleTokens",
            8192.0,
            "above 0",
            positive,
            report,
        ),
    };
    let mut moved = Vec::new();
    let mut number = |field: &'static str, report: &mut Report<'_>| {
        fields.has(field).then(|| {
            moved.push(fields.at(field));
            fields.at_least(field, 0, 0, report)
        })
    };
    let sizes = [
        number("blockSizeTokens", report),
        number("blockSize", report),
        number("hashBlockSize", report),
    ];
    let old = OldPrefix {
        block_size: sizes.into_iter().flatten().next(),
        max_blocks: number("maxPrefixBlocksToMatch", report),
        capacity: number("lruCapacityPerServer", report),
        auto_tune: fields.bool("autoTune", report),
    };
    for pointer in moved {
        report.warn(
            &pointer,
            format!("belongs to `{APPROX}` now; it is passed on to the producer that is added"),
        );
    }
    let old = (old != OldPrefix::default()).then_some(old);
    (scorer, old)
}

pub(in crate::config) fn active_request(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> ActiveRequest {
    let idle = fields.integer("idleThreshold", report).unwrap_or(0).max(0);
    let max_busy = fields
        .float("maxBusyScore", report)
        .filter(|score| share(*score))
        .unwrap_or(1.0);
    // Of the generation that forgot requests after a time; ours end with their streams.
    fields.take("requestTimeout");
    ActiveRequest {
        idle,
        max_busy,
        load: name(fields, "inFlightLoadProducerName", IN_FLIGHT, report),
    }
}

pub(in crate::config) fn no_hit_lru(fields: &mut Fields<'_>, report: &mut Report<'_>) -> NoHitLru {
    fields.take("prefixPluginType");
    fields.take("prefixPluginName");
    NoHitLru {
        size: clamped_usize(fields.at_least("lruSize", 1024, 1, report)),
        producer: name(fields, "prefixMatchInfoProducerName", APPROX, report),
    }
}

pub(in crate::config) fn token_load(fields: &mut Fields<'_>, report: &mut Report<'_>) -> TokenLoad {
    TokenLoad {
        threshold: fields.float_where(
            "queueThresholdTokens",
            4_194_304.0,
            "above 0",
            positive,
            report,
        ),
        load: name(fields, "inFlightLoadProducerName", IN_FLIGHT, report),
    }
}

pub(in crate::config) fn latency(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Latency {
    let most = match fields.string("headroomSelectionStrategy", report) {
        None | Some("" | "least") => false,
        Some("most") => true,
        Some(other) => {
            report.error(
                &fields.at("headroomSelectionStrategy"),
                format!("must be least or most, got {other:?}"),
            );
            false
        }
    };
    let mut weight =
        |field, default| fields.float_where(field, default, "at least 0", not_negative, report);
    Latency {
        ttft: weight("ttftWeight", 0.8),
        tpot: weight("tpotWeight", 0.2),
        kv: weight("compositeKVWeight", 1.0),
        queue: weight("compositeQueueWeight", 1.0),
        prefix: weight("compositePrefixWeight", 1.0),
        most,
        prefix_producer: name(fields, "prefixMatchInfoProducerName", APPROX, report),
        latency_producer: name(
            fields,
            "latencyPredictionInfoProducerName",
            PREDICTED,
            report,
        ),
    }
}

pub(in crate::config) fn media_scorer(fields: &mut Fields<'_>, report: &mut Report<'_>) -> String {
    name(fields, "producerName", MEDIA_CACHE, report)
}

pub(in crate::config) fn pick(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Pick {
    let count = fields.integer("maxNumOfEndpoints", report).unwrap_or(1);
    Pick {
        count: usize::try_from(count).unwrap_or(1).max(1),
    }
}
