//! How long one decision takes: `cargo bench -p weir-scheduler`.
//!
//! The default profile (queue, KV usage, prefix, with the approximate prefix cache) over pools of 10 to 1,000 endpoints,
//! for a short prompt, one of 100,000 tokens, and one that is cached everywhere. `sent` is what is noted when the
//! request goes out. `page` reads a metrics page of real size. Allocations are counted: they must not grow with the
//! pool.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use divan::{AllocProfiler, Bencher};
use weir_scheduler::config::Options;
use weir_scheduler::data::Extractor;
use weir_scheduler::{
    Ask, Candidates, Config, Endpoint, EndpointLoad, Labels, LlmRequest, Prompt, Scheduler,
    Snapshot,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const NOW: Duration = Duration::from_secs(100);
const SHORT: usize = 2_000;
const LONG: usize = 400_000;

fn main() {
    divan::main();
}

fn scheduler(text: &str) -> Scheduler {
    let config = Config::parse(text, "bench", &Options::default()).expect("a valid document");
    Scheduler::new(Arc::new(config))
}

fn endpoint(index: u32) -> Arc<Endpoint> {
    let [_, high, middle, low] = index.to_be_bytes();
    let role = if index.is_multiple_of(4) {
        "prefill"
    } else {
        "decode"
    };
    let labels = Labels::from_iter([("llm-d.ai/role", role), ("app", "bench")]);
    let address = ([10, high, middle, low], 8000).into();
    let endpoint = Endpoint::new("ns", &format!("pod-{index}"), Some(0), address, labels);
    endpoint.live.store(&EndpointLoad {
        waiting: index % 7,
        running: index % 11,
        kv_usage: f64::from(index % 100) / 100.0,
        block_size: 16,
        blocks: 50_000,
        updated: Some(NOW),
    });
    Arc::new(endpoint)
}

fn pool(size: u32) -> Snapshot {
    Snapshot::new((0..size).map(endpoint).collect())
}

fn text(bytes: usize) -> Vec<u8> {
    (0u8..=255).cycle().take(bytes).collect()
}

fn decide(bencher: Bencher<'_, '_>, document: &str, size: u32, bytes: usize, known_by: u32) {
    let scheduler = scheduler(document);
    let pool = pool(size);
    let text = text(bytes);
    let prompts = [Prompt::whole(&text)];
    let request = LlmRequest {
        target_model: "model",
        prompts: &prompts,
        ..LlmRequest::default()
    };
    let ask = |seed| Ask {
        now: NOW,
        seed,
        ..Ask::default()
    };
    for at in 0..known_by.min(size) {
        let only = Candidates::Some(vec![at]);
        // Not every endpoint does every work.
        if let Ok(mut outcome) = scheduler.schedule(&request, &pool, &only, ask(1)) {
            drop(scheduler.dispatch(&request, &mut outcome, NOW));
        }
    }
    let mut seed = 0;
    bencher.bench_local(|| {
        seed += 1;
        scheduler.schedule(&request, &pool, &Candidates::All, ask(seed))
    });
}

#[divan::bench(args = [10, 100, 1000])]
fn default_profile(bencher: Bencher<'_, '_>, size: u32) {
    decide(bencher, "", size, SHORT, 1);
}

#[divan::bench(args = [10, 100, 1000])]
fn long_prompt_known_by_one(bencher: Bencher<'_, '_>, size: u32) {
    decide(bencher, "", size, LONG, 1);
}

#[divan::bench(args = [10, 100, 1000])]
fn long_prompt_known_by_all(bencher: Bencher<'_, '_>, size: u32) {
    decide(bencher, "", size, LONG, size);
}

const DISAGGREGATED: &str = "
plugins: [{type: prefill-filter}, {type: decode-filter}, {type: queue-scorer}, {type: kv-cache-utilization-scorer},
          {type: active-request-scorer}, {type: prefix-cache-scorer}, {type: always-disagg-pd-decider},
          {type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}]
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: prefix-cache-scorer, weight: 3}, {pluginRef: queue-scorer, weight: 2},
            {pluginRef: kv-cache-utilization-scorer, weight: 2}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: active-request-scorer, weight: 2}, {pluginRef: prefix-cache-scorer, weight: 3}]
";

#[divan::bench(args = [10, 100, 1000])]
fn prefill_and_decode(bencher: Bencher<'_, '_>, size: u32) {
    decide(bencher, DISAGGREGATED, size, SHORT, 1);
}

#[divan::bench(args = [10, 1000])]
fn random_picker(bencher: Bencher<'_, '_>, size: u32) {
    decide(bencher, "plugins: [{type: random-picker}]", size, SHORT, 0);
}

#[divan::bench(args = [SHORT, LONG])]
fn sent(bencher: Bencher<'_, '_>, bytes: usize) {
    let scheduler = scheduler("");
    let pool = pool(100);
    let text = text(bytes);
    let prompts = [Prompt::whole(&text)];
    let request = LlmRequest {
        target_model: "model",
        prompts: &prompts,
        ..LlmRequest::default()
    };
    bencher
        .with_inputs(|| {
            scheduler
                .schedule(&request, &pool, &Candidates::All, Ask::default())
                .expect("a candidate")
        })
        .bench_local_values(|mut outcome| scheduler.dispatch(&request, &mut outcome, NOW));
}

/// About as large as the page of a real engine.
fn page() -> String {
    let mut page = String::new();
    for family in 0..30 {
        let _ = writeln!(
            page,
            "# HELP vllm:histogram_{family} x\n# TYPE vllm:histogram_{family} histogram"
        );
        for bucket in 0..24 {
            let _ = writeln!(
                page,
                "vllm:histogram_{family}_bucket{{engine=\"0\",le=\"{bucket}.0\",model_name=\"model\"}} {bucket}.0"
            );
        }
    }
    for (name, value) in [
        ("num_requests_waiting", "3.0"),
        ("num_requests_running", "2.0"),
        ("kv_cache_usage_perc", "0.25"),
    ] {
        let _ = writeln!(
            page,
            "vllm:{name}{{engine=\"0\",model_name=\"model\"}} {value}"
        );
    }
    page + "vllm:cache_config_info{block_size=\"16\",engine=\"0\",num_gpu_blocks=\"1456\"} 1.0\n"
}

#[divan::bench]
fn metrics_page(bencher: Bencher<'_, '_>) {
    let config = Config::parse("", "bench", &Options::default()).expect("the default");
    let extractor = Extractor::of(&config).expect("an extractor");
    let endpoint = endpoint(1);
    let page = page();
    bencher
        .counter(divan::counter::BytesCount::new(page.len()))
        .bench_local(|| extractor.extract(&page, &endpoint, NOW));
}
