//! Parameters of producers, sources and what else works on data.

use std::time::Duration;

use super::{clamped_usize, name, not_negative, port};
use crate::config::fields::{Fields, Report};
use crate::config::settings::{
    Approx, FileDiscovery, HttpSource, InFlightLoad, Reporter, SessionIdFrom, TokenProducer,
};
use crate::config::types::APPROX;
use crate::report::Expression;

pub(in crate::config) fn approx(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Approx {
    let auto_tune = fields.bool("autoTune", report).unwrap_or(true);
    let old = fields.integer("blockSize", report);
    let block_size = fields
        .integer("blockSizeTokens", report)
        .or(old)
        .unwrap_or(APPROX_BLOCK);
    if !auto_tune && block_size <= 0 {
        report.error(
            &fields.at("blockSizeTokens"),
            format!("must be above 0 when autoTune is off, got {block_size}"),
        );
    }
    Approx {
        auto_tune,
        block_size: u32::try_from(block_size.max(0)).unwrap_or(u32::MAX),
        max_blocks: clamped_usize(fields.at_least("maxPrefixBlocksToMatch", 2048, 0, report)),
        max_tokens: clamped_usize(fields.at_least("maxPrefixTokensToMatch", 131_072, 0, report)),
        capacity: clamped_usize(fields.at_least("lruCapacityPerServer", 31_250, 1, report)),
    }
}

/// Block size that the documentation gives; the floor of the producer is larger.
const APPROX_BLOCK: i64 = 16;

pub(in crate::config) fn in_flight(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> InFlightLoad {
    fields.bool("syncCrossReplicaState", report);
    InFlightLoad {
        output: fields
            .bool("addEstimatedOutputTokens", report)
            .unwrap_or(false),
        ratio: fields.float_where("outputRatio", 1.5, "at least 0", not_negative, report),
        max_output: fields
            .has("maxEstimatedOutputTokens")
            .then(|| fields.at_least("maxEstimatedOutputTokens", 0, 0, report))
            .filter(|most| *most > 0),
        prefix: name(fields, "prefixMatchInfoProducerName", APPROX, report),
    }
}

pub(in crate::config) fn media_cache(fields: &mut Fields<'_>, report: &mut Report<'_>) -> u64 {
    let old = fields.at_least("cacheSizeInMB", 4096, 1, report);
    fields.at_least("cacheSizeInMBPerServer", old, 1, report)
}

pub(in crate::config) fn session_id(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> SessionIdFrom {
    let header = fields.string("headerName", report);
    let cookie = fields.string("cookieName", report);
    match (header, cookie) {
        (Some(header), None) => SessionIdFrom::Header(header.to_ascii_lowercase()),
        (None, Some(cookie)) => SessionIdFrom::Cookie(cookie.to_owned()),
        _ => {
            report.error(
                &fields.pointer,
                "requires exactly one of headerName and cookieName",
            );
            SessionIdFrom::Header(String::new())
        }
    }
}

pub(in crate::config) fn reporter(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> Option<Reporter> {
    let items = fields.list("attributes", report);
    if items.len() != 1 {
        report.error(
            &fields.at("attributes"),
            format!("must have exactly one attribute, has {}", items.len()),
        );
    }
    let (item, pointer) = items.into_iter().next()?;
    let mut item = Fields::new(Some(item), pointer, report);
    let mut key = item.mapping("key", report);
    let namespace = name(&mut key, "namespace", "envoy.lb", report);
    let own = name(&mut key, "name", "", report);
    if own.is_empty() {
        report.error(&key.at("name"), "must be specified");
    }
    key.finish(report);
    if !item.has("expression") {
        report.error(&item.at("expression"), "must be specified");
    }
    let value = expression(&mut item, "expression", Expression::number, report);
    let condition = expression(&mut item, "condition", Expression::condition, report);
    item.finish(report);
    Some(Reporter {
        namespace,
        name: own,
        expression: value?,
        condition,
    })
}

fn expression(
    item: &mut Fields<'_>,
    field: &'static str,
    read: fn(&str) -> Result<Expression, String>,
    report: &mut Report<'_>,
) -> Option<Expression> {
    let text = item.string(field, report).filter(|text| !text.is_empty())?;
    match read(text) {
        Ok(expression) => {
            if expression.has_unknown_fields() {
                report.warn(
                    &item.at(field),
                    "asks for a member of usage that no answer has: nothing is reported then",
                );
            }
            Some(expression)
        }
        Err(message) => {
            report.error(&item.at(field), message);
            None
        }
    }
}

pub(in crate::config) fn http_source(
    fields: &mut Fields<'_>,
    path: &str,
    report: &mut Report<'_>,
) -> HttpSource {
    let https = match fields.string("scheme", report) {
        None | Some("" | "http") => false,
        Some("https") => true,
        Some(other) => {
            report.error(
                &fields.at("scheme"),
                format!("must be http or https, got {other:?}"),
            );
            false
        }
    };
    let mut file = |field| fields.string(field, report).map(str::to_owned);
    let (ca, cert, key) = (
        file("caCertPath"),
        file("clientCertPath"),
        file("clientKeyPath"),
    );
    if cert.is_some() != key.is_some() {
        report.error(
            &fields.at("clientCertPath"),
            "clientCertPath and clientKeyPath go together",
        );
    }
    HttpSource {
        https,
        path: name(fields, "path", path, report),
        port: port(fields, "port", report).filter(|port| *port != 0),
        insecure: fields.bool("insecureSkipVerify", report).unwrap_or(true),
        ca,
        cert,
        key,
        interval: fields
            .duration("interval", report)
            .filter(|interval| !interval.is_zero()),
    }
}

pub(in crate::config) fn file_discovery(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> FileDiscovery {
    let path = name(fields, "path", "", report);
    if path.is_empty() {
        report.error(&fields.at("path"), "must be specified");
    }
    FileDiscovery {
        path,
        watch: fields.bool("watchFile", report).unwrap_or(false),
    }
}

pub(in crate::config) fn token_producer(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> TokenProducer {
    let ways = ["estimate", "vllm", "udsTokenizerConfig"]
        .into_iter()
        .filter(|way| fields.has(way))
        .count();
    let by_model = fields.has("modelName") && !fields.has("vllm");
    if ways + usize::from(by_model && fields.has("estimate")) > 1 {
        report.error(
            &fields.pointer,
            "only one of `estimate`, `vllm` (or `modelName` alone) and `udsTokenizerConfig` may be set",
        );
    }
    if fields.take("udsTokenizerConfig").is_some() {
        report.error(
            &fields.at("udsTokenizerConfig"),
            "the tokenizer behind a Unix socket is not supported any more; use `vllm` with a `url`",
        );
    }
    let model = name(fields, "modelName", "", report);
    let renders = fields.has("vllm") || !model.is_empty();
    let mut vllm = fields.mapping("vllm", report);
    let url = name(&mut vllm, "url", "http://localhost:8000", report);
    let timeout = vllm.duration("timeout", report);
    let media_timeout = vllm.duration("mmTimeout", report);
    vllm.finish(report);
    let mut estimate = fields.mapping("estimate", report);
    let settings = crate::config::media_read::estimate(&mut estimate, report);
    estimate.finish(report);
    if !renders {
        return TokenProducer::Estimate(Box::new(settings));
    }
    if model.is_empty() {
        report.error(&fields.at("modelName"), "must be specified");
    }
    TokenProducer::Render {
        model,
        url,
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
        media_timeout: media_timeout.unwrap_or(Duration::from_secs(30)),
    }
}

/// Parameters of the predictor's client: they are checked; no predictor is asked yet.
pub(in crate::config) fn predicted(fields: &mut Fields<'_>, report: &mut Report<'_>) {
    for field in ["samplingMean", "sloBufferFactor"] {
        fields.float(field, report);
    }
    fields.integer("maxDecodeTokenSamplesForPrediction", report);
    fields.duration("contextTTL", report);
    for field in [
        "streamingMode",
        "predictInProduce",
        "useEncoderCacheFeatures",
    ] {
        fields.bool(field, report);
    }
    for field in [
        "prefixMatchInfoProducerName",
        "inFlightLoadProducerName",
        "endpointRoleLabel",
        "encoderCacheMatchInfoProducerName",
    ] {
        fields.string(field, report);
    }
}
