//! The metrics page.

use weir_promtext::Page;
use weir_vllm::metrics;

use crate::core::Core;
use crate::options::Options;

/// Writes the page.
#[must_use]
pub fn write(core: &Core, options: &Options) -> String {
    let (gauges, stats) = core.snapshot();
    let name = options
        .names
        .first()
        .map_or(options.model.as_str(), String::as_str);
    let labels = [("engine", "0"), ("model_name", name)];
    let mut page = Page::default();
    for (family, help, value) in [
        (
            metrics::RUNNING,
            "Number of requests in model execution batches.",
            gauges.running as f64,
        ),
        (
            metrics::WAITING,
            "Number of requests waiting to be processed.",
            gauges.waiting as f64,
        ),
        (
            metrics::KV_USAGE,
            "KV-cache usage. 1 means 100 percent usage.",
            gauges.usage,
        ),
    ] {
        page.family(family, "gauge", help);
        page.sample(family, &labels, value);
    }
    split(
        &mut page,
        (metrics::WAITING_BY_REASON, "gauge", "reason"),
        "Number of waiting requests by reason.",
        name,
        (&metrics::WAITING_REASONS, gauges.waiting as f64),
    );
    split(
        &mut page,
        (metrics::SLEEP_STATE, "gauge", "sleep_state"),
        "Engine sleep state.",
        name,
        (&metrics::SLEEP_STATES, 1.0),
    );
    page.family(
        metrics::CACHE_CONFIG,
        "gauge",
        "Information of the LLMEngine CacheConfig",
    );
    let (size, blocks) = (
        options.engine.block_size.to_string(),
        options.engine.blocks.to_string(),
    );
    let cache = [
        ("block_size", size.as_str()),
        ("cache_dtype", "auto"),
        ("enable_prefix_caching", "False"),
        ("engine", "0"),
        ("num_gpu_blocks", blocks.as_str()),
    ];
    page.sample(metrics::CACHE_CONFIG, &cache, 1.0);
    if !options.adapters.is_empty() {
        page.family(
            metrics::LORA_INFO,
            "gauge",
            "Running stats on lora requests.",
        );
        let most = options.adapters.len().to_string();
        let lora = [
            ("max_lora", most.as_str()),
            ("running_lora_adapters", ""),
            ("waiting_lora_adapters", ""),
        ];
        page.sample(metrics::LORA_INFO, &lora, 1.0);
    }
    for (family, help, value) in [
        (
            metrics::PROMPT_TOKENS,
            "Number of prefill tokens processed.",
            stats.prompt_tokens,
        ),
        (
            metrics::GENERATION_TOKENS,
            "Number of generation tokens processed.",
            stats.generation_tokens,
        ),
        (
            metrics::PREFIX_QUERIES,
            "Prefix cache queries, in terms of number of queried tokens.",
            0,
        ),
        (
            metrics::PREFIX_HITS,
            "Prefix cache hits, in terms of number of cached tokens.",
            0,
        ),
        (
            metrics::PREEMPTIONS,
            "Cumulative number of preemption from the engine.",
            0,
        ),
        (
            metrics::EXTERNAL_QUERIES,
            "External prefix cache queries, in terms of number of queried tokens.",
            0,
        ),
        (
            metrics::EXTERNAL_HITS,
            "External prefix cache hits, in terms of number of cached tokens.",
            0,
        ),
        (
            metrics::MM_QUERIES,
            "Multi-modal cache queries, in terms of number of queried items.",
            0,
        ),
        (
            metrics::MM_HITS,
            "Multi-modal cache hits, in terms of number of cached items.",
            0,
        ),
        (
            metrics::PROMPT_CACHED,
            "Number of cached prompt tokens (local + external).",
            0,
        ),
    ] {
        page.family(family, "counter", help);
        page.sample(family, &labels, value as f64);
    }
    split(
        &mut page,
        (metrics::PROMPT_BY_SOURCE, "counter", "source"),
        "Number of prompt tokens by source.",
        name,
        (&metrics::PROMPT_SOURCES, stats.prompt_tokens as f64),
    );
    split(
        &mut page,
        (metrics::PROMPT_CACHED_BY_SOURCE, "counter", "source"),
        "Prefix-cache hit tokens by the cache tier that supplied them.",
        name,
        (&metrics::CACHE_SOURCES, 0.0),
    );
    page.family(
        metrics::SUCCESS,
        "counter",
        "Count of successfully processed requests.",
    );
    for (reason, count) in metrics::FINISHED.into_iter().zip(stats.finished) {
        let labels = [
            ("engine", "0"),
            ("finished_reason", reason),
            ("model_name", name),
        ];
        page.sample(metrics::SUCCESS, &labels, count as f64);
    }
    page.family(
        metrics::REJECTIONS,
        "counter",
        "Requests rejected because the queue was full.",
    );
    let rejections = [("model_name", name), ("reason", "max_num_queued_reqs")];
    page.sample(metrics::REJECTIONS, &rejections, stats.rejected as f64);
    for (family, histogram) in &stats.histograms {
        page.family(family, "histogram", "Histogram of the simulated engine.");
        page.histogram(
            family,
            &labels,
            &histogram.bounds,
            &histogram.counts,
            histogram.sum,
        );
    }
    page.finish()
}

/// A family with one sample for each value of a label: all of it is the first one's.
fn split(
    page: &mut Page,
    (family, kind, label): (&str, &str, &str),
    help: &str,
    model: &str,
    (values, first): (&[&str], f64),
) {
    page.family(family, kind, help);
    for (index, value) in values.iter().enumerate() {
        let labels = [("engine", "0"), ("model_name", model), (label, *value)];
        page.sample(family, &labels, if index == 0 { first } else { 0.0 });
    }
}
