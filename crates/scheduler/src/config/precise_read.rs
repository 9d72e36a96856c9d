//! Reads the parameters of the precise prefix cache.

use std::time::Duration;

use super::fields::{Fields, Report};
use super::settings::Precise;
use super::types::PRECISE;

/// Port on which an engine publishes its events.
const EVENTS_PORT: u64 = 5557;

/// `scorer`: the parameters stand at the older scorer, which took a few more.
pub(super) fn precise(fields: &mut Fields<'_>, scorer: bool, report: &mut Report<'_>) -> Precise {
    let mut indexer = fields.mapping("indexerConfig", report);
    let mut old_tokens = indexer.mapping("tokenProcessorConfig", report);
    let mut tokens = fields.mapping("tokenProcessorConfig", report);
    let old_block_size = block_size(&mut old_tokens, report);
    let block_size = block_size(&mut tokens, report).or(old_block_size);
    let text = |fields: &mut Fields<'_>, field: &'static str, report: &mut Report<'_>| {
        let pointer = fields.at(field);
        match fields.take(field) {
            None => None,
            Some(value) => match value {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => {
                    report.error(&pointer, "must be a string");
                    None
                }
            },
        }
    };
    let old_seed = text(&mut old_tokens, "hashSeed", report);
    let hash_seed = text(&mut tokens, "hashSeed", report).or(old_seed);
    let algorithm = tokens.string("hashAlgorithm", report);
    let xxh64 = match algorithm {
        None | Some("" | "cbor-fnv") => false,
        Some("xxh64") => true,
        Some(other) => {
            report.error(
                &tokens.at("hashAlgorithm"),
                format!(
                    "unsupported hashAlgorithm {other:?}: accepted values are \"cbor-fnv\" and \"xxh64\""
                ),
            );
            false
        }
    };
    tokens.finish(report);
    old_tokens.finish(report);

    if indexer.take("tokenizersPoolConfig").is_some() {
        let pointer = indexer.at("tokenizersPoolConfig");
        if scorer {
            report.warn(
                &pointer,
                "has no effect: tokens come from a `token-producer` plugin",
            );
        } else {
            report.error(
                &pointer,
                "is not supported; configure a `token-producer` plugin instead",
            );
        }
    }
    let (index_keys, index_pods) = index(&mut indexer, report);
    let mut tiers = Vec::new();
    for (item, pointer) in indexer.list("kvCacheBackendConfigs", report) {
        let mut item = Fields::new(Some(item), pointer, report);
        let tier = item.string("name", report).unwrap_or("").to_owned();
        let weight = item.float_where("weight", 1.0, "at least 0", |v| v >= 0.0, report);
        if tier.is_empty() {
            report.error(&item.at("name"), "must be specified");
        }
        item.finish(report);
        tiers.push((tier, weight));
    }
    if tiers.is_empty() {
        tiers = vec![("gpu".to_owned(), 1.0), ("cpu".to_owned(), 0.8)];
    }
    indexer.finish(report);

    let speculative = speculative(fields, report);
    let mut precise = Precise {
        block_size: block_size.unwrap_or(16),
        hash_seed: hash_seed.unwrap_or_default(),
        xxh64,
        tiers,
        index_keys,
        index_pods,
        speculative,
        bind: None,
        topic: String::new(),
        discover: true,
        port: 0,
        replay_port: None,
        sglang: false,
    };
    let mut events = fields.mapping("kvEventsConfig", report);
    read_events(&mut precise, &mut events, report);
    events.finish(report);
    precise
}

fn block_size(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<u32> {
    let old = fields.integer("blockSize", report);
    let size = fields.integer("blockSizeTokens", report).or(old)?;
    match u32::try_from(size) {
        Ok(0) => Some(16),
        Ok(size) => Some(size),
        Err(_) => {
            report.error(
                &fields.at("blockSizeTokens"),
                format!("must be above 0, got {size}"),
            );
            None
        }
    }
}

fn index(indexer: &mut Fields<'_>, report: &mut Report<'_>) -> (u64, u64) {
    let mut index = indexer.mapping("kvBlockIndexConfig", report);
    let mut memory = index.mapping("inMemoryConfig", report);
    let keys = memory.at_least("size", 100_000_000, 1, report);
    let pods = memory.at_least("podCacheSize", 10, 1, report);
    memory.finish(report);
    let mut bounded = index.mapping("costAwareMemoryConfig", report);
    bounded.quantity("size", report);
    bounded.finish(report);
    for field in ["redisConfig", "valkeyConfig"] {
        if index.take(field).is_some() {
            report.warn(
                &index.at(field),
                "the shared index is not supported; this picker keeps its own",
            );
        }
    }
    index.bool("enableMetrics", report);
    index.duration("metricsLoggingInterval", report);
    index.finish(report);
    (keys, pods)
}

fn speculative(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let on = fields.bool("speculativeIndexing", report).unwrap_or(false);
    let default = Duration::from_secs(2);
    let pointer = fields.at("speculativeTTL");
    let ttl = match fields.take("speculativeTTL") {
        None => default,
        Some(serde_json::Value::String(text)) if text.is_empty() => default,
        Some(serde_json::Value::String(text)) => match super::units::duration(text) {
            Ok(ttl) if !ttl.is_zero() => ttl,
            Ok(_) => default,
            Err(message) if message.contains("negative") => default,
            Err(message) => {
                report.error(&pointer, message);
                default
            }
        },
        Some(_) => {
            report.error(&pointer, "must be a duration such as \"2s\"");
            default
        }
    };
    on.then_some(ttl)
}

fn read_events(precise: &mut Precise, events: &mut Fields<'_>, report: &mut Report<'_>) {
    precise.bind = events
        .string("zmqEndpoint", report)
        .filter(|endpoint| !endpoint.is_empty())
        .map(str::to_owned);
    precise.topic = events
        .string("topicFilter", report)
        .unwrap_or("kv@")
        .to_owned();
    events.at_least("concurrency", 4, 0, report);
    precise.sglang = match events.string("engineType", report) {
        None | Some("" | "vllm") => false,
        Some("sglang") => true,
        Some(other) => {
            report.error(
                &events.at("engineType"),
                format!("must be vllm or sglang, got {other:?}"),
            );
            false
        }
    };
    precise.discover = events.bool("discoverPods", report).unwrap_or(true);
    let mut pods = events.mapping("podDiscoveryConfig", report);
    pods.string("podLabelSelector", report);
    pods.string("podNamespace", report);
    let mut port = |field, default| {
        let value = pods.at_least(field, default, 0, report);
        u16::try_from(value).unwrap_or_else(|_| {
            report.error(&pods.at(field), format!("must be a port, got {value}"));
            0
        })
    };
    precise.port = port("socketPort", EVENTS_PORT);
    precise.replay_port = Some(port("replaySocketPort", 0)).filter(|port| *port != 0);
    pods.finish(report);
}

/// What to tell of a precise producer as long as nothing feeds it.
pub(super) fn not_bound(name: &str) -> String {
    format!(
        "`{name}` ({PRECISE}) is not bound to KV events in this build: it finds no cached prefix, and what reads it scores 0"
    )
}
