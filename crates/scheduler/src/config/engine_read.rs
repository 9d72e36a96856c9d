//! Reads which metrics of which engine are looked at.

use super::fields::{Fields, Report};
use super::settings::CoreMetrics;
use crate::data::engine::{self, CacheInfo, Engine, MetricSpec};

/// Label of a pod that names its engine.
pub(super) const ENGINE_LABEL: &str = "llm-d.ai/engine-type";

pub(super) fn core_metrics(fields: &mut Fields<'_>, report: &mut Report<'_>) -> CoreMetrics {
    let mut engines = engine::builtin();
    for (item, pointer) in fields.list("engineConfigs", report) {
        let mut item = Fields::new(Some(item), pointer, report);
        let engine = read(&mut item, report);
        item.finish(report);
        // An engine of a known name replaces it whole: what it leaves out is off.
        match engines.iter_mut().find(|known| known.name == engine.name) {
            Some(known) => *known = engine,
            None => engines.push(engine),
        }
    }
    let label = fields
        .string("engineLabelKey", report)
        .filter(|label| !label.is_empty())
        .unwrap_or(ENGINE_LABEL)
        .to_owned();
    let default = fields
        .string("defaultEngine", report)
        .filter(|name| !name.is_empty())
        .unwrap_or(engine::VLLM)
        .to_owned();
    if !engines.iter().any(|engine| engine.name == default) {
        report.error(
            &fields.at("defaultEngine"),
            format!("engine {default:?} is neither built in nor in engineConfigs"),
        );
    }
    CoreMetrics {
        engine_label: label,
        default_engine: default,
        engines,
    }
}

fn read(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Engine {
    let name = fields.string("name", report).unwrap_or("").to_owned();
    if name.is_empty() {
        report.error(&fields.at("name"), "must be specified");
    } else if name == "default" {
        report.error(
            &fields.at("name"),
            "\"default\" is reserved; use defaultEngine",
        );
    }
    let mut spec = |field: &'static str, report: &mut Report<'_>| {
        let text = fields
            .string(field, report)
            .filter(|text| !text.is_empty())?;
        match MetricSpec::parse(text) {
            Ok(spec) => Some(spec),
            Err(message) => {
                report.error(&fields.at(field), message);
                None
            }
        }
    };
    let waiting = spec("queuedRequestsSpec", report);
    let running = spec("runningRequestsSpec", report);
    let kv_usage = spec("kvUsageSpec", report).into_iter().collect();
    let lora = spec("loraSpec", report);
    let info = spec("cacheInfoSpec", report);
    let block_size = spec("cacheBlockSizeSpec", report);
    let blocks = spec("cacheNumBlocksSpec", report);
    let mut label = |field: &'static str, default: &str, report: &mut Report<'_>| {
        fields
            .string(field, report)
            .filter(|text| !text.is_empty())
            .unwrap_or(default)
            .to_owned()
    };
    let size_label = label("cacheBlockSizeLabelName", "block_size", report);
    let blocks_label = label("cacheNumBlocksLabelName", "num_gpu_blocks", report);
    fields.ignore(
        "customMetrics",
        "no plugin of this picker reads custom metrics",
        report,
    );
    Engine {
        name,
        waiting,
        running,
        kv_usage,
        lora,
        cache_info: info.map(|spec| CacheInfo {
            spec,
            block_size: size_label,
            blocks: blocks_label,
        }),
        block_size,
        blocks,
    }
}
