//! Parameters of profile handlers and deciders.

use super::{name, port};
use crate::config::fields::{Fields, Report};
use crate::config::settings::{Disagg, PrefixDecider};
use crate::config::types::{APPROX, PREFIX_DECIDER};

pub(in crate::config) fn disagg(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Disagg {
    const FLAT: [&str; 6] = [
        "decodeProfile",
        "prefillProfile",
        "encodeProfile",
        "prefillDeciderPluginName",
        "encodeDeciderPluginName",
        "deciderPluginName",
    ];
    let nested = ["profiles", "deciders", "stageOrder"]
        .into_iter()
        .find(|field| fields.has(field));
    let flat = FLAT.into_iter().find(|field| fields.has(field));
    if let (Some(nested), Some(flat)) = (nested, flat) {
        report.error(
            &fields.at(flat),
            format!("cannot be used together with `{nested}`; use `profiles` and `deciders` only"),
        );
    }
    let mut profiles = fields.mapping("profiles", report);
    let mut deciders = fields.mapping("deciders", report);
    let mut profile = |nested: &'static str, flat: &'static str, report: &mut Report<'_>| {
        let old = name(fields, flat, nested, report);
        name(&mut profiles, nested, &old, report)
    };
    let decode = profile("decode", "decodeProfile", report);
    let prefill = profile("prefill", "prefillProfile", report);
    let encode = profile("encode", "encodeProfile", report);
    let mut decider = |field: &'static str, flat: &[&'static str], report: &mut Report<'_>| {
        let mut found = deciders.string(field, report);
        for flat in flat {
            let old = fields.string(flat, report);
            found = found.or(old);
        }
        found.filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let prefill_decider = decider(
        "prefill",
        &["prefillDeciderPluginName", "deciderPluginName"],
        report,
    );
    let encode_decider = decider("encode", &["encodeDeciderPluginName"], report);
    profiles.finish(report);
    deciders.finish(report);
    let order = fields.string("stageOrder", report).unwrap_or("");
    let plain: String = order
        .chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect();
    let prefill_first = match plain.strip_suffix("first").unwrap_or(&plain) {
        "" | "decode" => false,
        "prefill" => true,
        _ => {
            report.error(
                &fields.at("stageOrder"),
                format!(
                    "invalid stage order {order:?}, must be \"decode-first\" or \"prefill-first\""
                ),
            );
            false
        }
    };
    if prefill_first && prefill_decider.is_some() {
        report.error(
            &fields.at("stageOrder"),
            "a prefill decider is not supported with prefill-first: prefill always runs then",
        );
    }
    Disagg {
        decode,
        prefill,
        encode,
        prefill_decider,
        encode_decider,
        prefill_first,
        writes_headers: true,
        primary_port: None,
    }
}

/// The older handler; also returns the prompt length in characters of its `threshold`.
pub(in crate::config) fn old_disagg(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> (Disagg, Option<u64>) {
    let threshold = fields
        .has("threshold")
        .then(|| fields.at_least("threshold", 0, 0, report));
    fields.ignore("hashBlockSize", "blocks are those of the producer", report);
    fields.take("prefixPluginType");
    fields.take("prefixPluginName");
    let decider = name(fields, "deciderPluginName", PREFIX_DECIDER, report);
    let handler = Disagg {
        decode: name(fields, "decodeProfile", "decode", report),
        prefill: name(fields, "prefillProfile", "prefill", report),
        encode: "encode".to_owned(),
        prefill_decider: Some(decider),
        encode_decider: None,
        prefill_first: false,
        writes_headers: false,
        primary_port: port(fields, "primaryPort", report).filter(|port| *port != 0),
    };
    (handler, threshold)
}

pub(in crate::config) fn primary_port(fields: &mut Fields<'_>, report: &mut Report<'_>) -> u16 {
    port(fields, "primaryPort", report).unwrap_or(8000)
}

pub(in crate::config) fn prefix_decider(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> PrefixDecider {
    PrefixDecider {
        non_cached: fields.at_least("nonCachedTokens", 0, 0, report),
        prompt: fields.at_least("promptTokens", 0, 0, report),
        producer: name(fields, "prefixMatchInfoProducerName", APPROX, report),
    }
}
