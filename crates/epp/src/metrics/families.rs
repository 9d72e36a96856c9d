//! The families: names, older twins and words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_scheduler::Snapshot;

use super::histogram::Counted;
use super::page::Page;
use super::{Metrics, Series};

const NEW: &str = "llm_d_epp_";

/// A family of requests with its twin: both names without prefixes, and what it is.
struct Twin {
    name: &'static str,
    old: Option<&'static str>,
    help: &'static str,
}

const fn twin(name: &'static str, old: Option<&'static str>, help: &'static str) -> Twin {
    Twin { name, old, help }
}

type Pick = fn(&Series) -> &super::Histogram;

const HISTOGRAMS: [(Twin, Pick); 9] = [
    (
        twin(
            "request_duration_seconds",
            Some("inference_objective_request_duration_seconds"),
            "Seconds from a request's first message to the end of its response.",
        ),
        |s| &s.duration,
    ),
    (
        twin(
            "request_size_bytes",
            Some("inference_objective_request_sizes"),
            "Bytes of request bodies.",
        ),
        |s| &s.request_bytes,
    ),
    (
        twin(
            "response_size_bytes",
            Some("inference_objective_response_sizes"),
            "Bytes of response bodies.",
        ),
        |s| &s.response_bytes,
    ),
    (
        twin(
            "request_input_tokens",
            Some("inference_objective_input_tokens"),
            "Input token count distribution per request.",
        ),
        |s| &s.input_tokens,
    ),
    (
        twin(
            "request_output_tokens",
            Some("inference_objective_output_tokens"),
            "Tokens of answers.",
        ),
        |s| &s.output_tokens,
    ),
    (
        twin(
            "request_cached_tokens",
            Some("inference_objective_prompt_cached_tokens"),
            "Tokens of prompts that the engine had cached.",
        ),
        |s| &s.cached_tokens,
    ),
    (
        twin(
            "request_ntpot_seconds",
            Some("inference_objective_normalized_time_per_output_token_seconds"),
            "Seconds of a request for each of its output tokens.",
        ),
        |s| &s.ntpot,
    ),
    (
        twin(
            "request_streaming_tpot_seconds",
            None,
            "Seconds for each output token after the first, of streams.",
        ),
        |s| &s.tpot,
    ),
    (
        twin(
            "request_streaming_itl_seconds",
            None,
            "Seconds between chunks of a stream.",
        ),
        |s| &s.gap,
    ),
];

fn help(text: &str) -> String {
    format!("[ALPHA] {text}")
}

fn old_help(name: &str, text: &str) -> String {
    format!("[ALPHA] [Deprecated: Use {NEW}{name}] {text}")
}

/// Values by labels, added up where a twin has fewer labels.
type Sums = BTreeMap<Vec<(&'static str, String)>, f64>;

fn write_sums(page: &mut Page, name: &str, kind: &str, help: &str, sums: &Sums) {
    if sums.is_empty() {
        return;
    }
    page.family(name, kind, help);
    for (labels, value) in sums {
        page.sample(name, &borrowed(labels), *value);
    }
}

/// Names of a family without the prefix of the new one: its own, and its twin's whole.
struct Names<'a> {
    name: &'a str,
    old: &'a str,
}

/// Writes a family and its twin, which may have other words.
fn write_pair(
    page: &mut Page,
    kind: &str,
    names: &Names<'_>,
    [words, old_words]: [&str; 2],
    [new, old]: [&Sums; 2],
) {
    let name = format!("{NEW}{}", names.name);
    write_sums(page, &name, kind, &help(words), new);
    let twin_help = old_help(names.name, old_words);
    write_sums(page, names.old, kind, &twin_help, old);
}

fn borrowed<'a>(labels: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    labels
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

/// Label set of a request.
fn full(series: &Series) -> Vec<(&'static str, String)> {
    let labels = &series.labels;
    vec![
        ("fairness_id", labels.fairness.clone()),
        ("model_name", labels.model.clone()),
        ("priority", labels.priority.to_string()),
        ("target_model_name", labels.target.clone()),
    ]
}

/// Label set of its twins.
fn models(series: &Series) -> Vec<(&'static str, String)> {
    vec![
        ("model_name", series.labels.model.clone()),
        ("target_model_name", series.labels.target.clone()),
    ]
}

pub(super) fn write(metrics: &Metrics, snapshot: &Snapshot, page: &mut Page) {
    let mut all: Vec<Arc<Series>> = metrics.requests.read().values().cloned().collect();
    all.sort_by(|one, other| one.labels.cmp(&other.labels));
    requests(&all, page);
    histograms(&all, page);
    ttft(&all, page);
    scheduler(metrics, page);
    pool(metrics, snapshot, page);
    data_layer(metrics, page);
    streams(metrics, page);
    page.family("llm_d_epp_info", "gauge", &help("The build."));
    let version = env!("CARGO_PKG_VERSION");
    for name in ["llm_d_epp_info", "inference_extension_info"] {
        if name != "llm_d_epp_info" {
            page.family(name, "gauge", &old_help("info", "The build."));
        }
        page.sample(name, &[("build_ref", version), ("commit", "")], 1.0);
    }
}

fn requests(all: &[Arc<Series>], page: &mut Page) {
    let (mut total, mut old_total) = (Sums::new(), Sums::new());
    let (mut errors, mut old_errors) = (Sums::new(), Sums::new());
    let (mut running, mut old_running) = (Sums::new(), Sums::new());
    for series in all {
        let count = series.total.load(Ordering::Relaxed);
        if count > 0 {
            total.insert(full(series), count as f64);
            let mut labels = models(series);
            labels.insert(1, ("priority", series.labels.priority.to_string()));
            *old_total.entry(labels).or_default() += count as f64;
        }
        for (code, count) in series.errors.lock().iter() {
            let mut labels = full(series);
            labels.insert(0, ("error_code", code.clone()));
            errors.insert(labels, *count as f64);
            let mut labels = models(series);
            labels.insert(0, ("error_code", code.clone()));
            *old_errors.entry(labels).or_default() += *count as f64;
        }
        if series.running_touched.load(Ordering::Relaxed) {
            let now = series.running.load(Ordering::Relaxed) as f64;
            running.insert(full(series), now);
            let labels = vec![("model_name", series.labels.model.clone())];
            *old_running.entry(labels).or_default() += now;
        }
    }
    // The twin's words are compared by tests of others.
    let names = Names {
        name: "request_total",
        old: "inference_objective_request_total",
    };
    let words = [
        "Requests sent to an endpoint.",
        "Counter of inference objective requests broken out for each model and target model.",
    ];
    write_pair(page, "counter", &names, words, [&total, &old_total]);
    let names = Names {
        name: "request_error_total",
        old: "inference_objective_request_error_total",
    };
    let words = ["Requests that ended with an error."; 2];
    write_pair(page, "counter", &names, words, [&errors, &old_errors]);
    let names = Names {
        name: "request_running",
        old: "inference_objective_running_requests",
    };
    let words = ["Requests in flight."; 2];
    write_pair(page, "gauge", &names, words, [&running, &old_running]);
}

fn add(
    into: &mut BTreeMap<Vec<(&'static str, String)>, Counted>,
    labels: Vec<(&'static str, String)>,
    counted: Counted,
) {
    match into.get_mut(&labels) {
        Some(known) => known.add(&counted),
        None => {
            into.insert(labels, counted);
        }
    }
}

fn write_histograms(
    page: &mut Page,
    name: &str,
    help: &str,
    all: &BTreeMap<Vec<(&'static str, String)>, Counted>,
) {
    if all.is_empty() {
        return;
    }
    page.family(name, "histogram", help);
    for (labels, counted) in all {
        page.histogram(name, &borrowed(labels), counted);
    }
}

fn histograms(all: &[Arc<Series>], page: &mut Page) {
    for (twin, pick) in &HISTOGRAMS {
        let (mut new, mut old) = (BTreeMap::new(), BTreeMap::new());
        for series in all {
            let counted = pick(series).read();
            if counted.total() > 0 {
                add(&mut old, models(series), counted.clone());
                add(&mut new, full(series), counted);
            }
        }
        write_histograms(page, &format!("{NEW}{}", twin.name), &help(twin.help), &new);
        if let Some(name) = twin.old {
            let words = if name == "inference_objective_input_tokens" {
                "Inference objective input token count distribution for requests in each model."
            } else {
                twin.help
            };
            write_histograms(page, name, &old_help(twin.name, words), &old);
        }
    }
}

fn ttft(all: &[Arc<Series>], page: &mut Page) {
    let mut new = BTreeMap::new();
    for series in all {
        for (streaming, histogram) in [("false", &series.ttft[0]), ("true", &series.ttft[1])] {
            let counted = histogram.read();
            if counted.total() > 0 {
                let mut labels = full(series);
                labels.insert(3, ("streaming", streaming.to_owned()));
                add(&mut new, labels, counted);
            }
        }
    }
    let words = "Seconds from a request's first message to the first chunk of its response.";
    write_histograms(page, "llm_d_epp_request_ttft_seconds", &help(words), &new);
}

fn single(
    page: &mut Page,
    name: &str,
    old: Option<&str>,
    words: &str,
    histogram: &super::Histogram,
) {
    let counted = histogram.read();
    if counted.total() == 0 {
        return;
    }
    let new = format!("{NEW}{name}");
    page.family(&new, "histogram", &help(words));
    page.histogram(&new, &[], &counted);
    if let Some(old) = old {
        page.family(old, "histogram", &old_help(name, words));
        page.histogram(old, &[], &counted);
    }
}

fn scheduler(metrics: &Metrics, page: &mut Page) {
    single(
        page,
        "scheduler_e2e_duration_seconds",
        Some("inference_extension_scheduler_e2e_duration_seconds"),
        "Seconds of a decision.",
        &metrics.scheduling,
    );
    single(
        page,
        "request_processing_duration_seconds",
        None,
        "Seconds from a whole request to its reply.",
        &metrics.request_processing,
    );
    single(
        page,
        "response_processing_duration_seconds",
        None,
        "Seconds spent with a response.",
        &metrics.response_processing,
    );
    let (mut new, mut old) = (Sums::new(), Sums::new());
    for (attempt, count) in metrics.attempts.lock().iter() {
        let status = if attempt.success {
            "success"
        } else {
            "failure"
        };
        let labels = |name: &'static str| {
            let mut labels = vec![
                (name, attempt.endpoint.clone()),
                ("namespace", attempt.namespace.clone()),
                ("port", attempt.port.clone()),
                ("status", status.to_owned()),
                ("target_model_name", attempt.target.clone()),
            ];
            labels.sort_unstable();
            labels
        };
        new.insert(labels("endpoint_name"), *count as f64);
        old.insert(labels("pod_name"), *count as f64);
    }
    let names = Names {
        name: "scheduler_attempts_total",
        old: "inference_extension_scheduler_attempts_total",
    };
    let words = ["Decisions, and where they went."; 2];
    write_pair(page, "counter", &names, words, [&new, &old]);
    let (mut full, mut short) = (Sums::new(), Sums::new());
    for ((plugin, kind, model, decision), count) in metrics.decisions.lock().iter() {
        full.insert(
            vec![
                ("decision_type", decision.clone()),
                ("model_name", model.clone()),
                ("plugin_name", plugin.clone()),
                ("plugin_type", kind.clone()),
            ],
            *count as f64,
        );
        let labels = vec![
            ("decision_type", decision.clone()),
            ("model_name", model.clone()),
        ];
        *short.entry(labels).or_default() += *count as f64;
    }
    let words = ["How requests were split over prefill and decode."; 2];
    for name in ["disagg_decision_total", "pd_decision_total"] {
        let names = Names {
            name,
            old: &format!("llm_d_inference_scheduler_{name}"),
        };
        write_pair(page, "counter", &names, words, [&full, &short]);
    }
    let mut taken = Sums::new();
    for (name, count) in metrics.shielded.lock().iter() {
        taken.insert(vec![("name", name.clone())], *count as f64);
    }
    write_sums(
        page,
        "weir_epp_shielded_total",
        "counter",
        "What was taken out of requests, by name.",
        &taken,
    );
}

fn pool(metrics: &Metrics, snapshot: &Snapshot, page: &mut Page) {
    let figures = *metrics.figures.lock();
    let name = [("name", metrics.pool.as_str())];
    for (family, spread, words) in [
        ("kv_cache_utilization", figures.kv_usage, "KV cache in use"),
        ("queue_size", figures.waiting, "waiting requests"),
        ("running_requests", figures.running, "running requests"),
    ] {
        let new = format!("{NEW}average_{family}");
        let words = format!("Average of {words} over the pool.");
        page.family(&new, "gauge", &help(&words));
        page.sample(&new, &name, spread.mean);
        let old = format!("inference_pool_average_{family}");
        page.family(
            &old,
            "gauge",
            &old_help(&format!("average_{family}"), &words),
        );
        page.sample(&old, &name, spread.mean);
        let deviation = format!("{NEW}std_dev_{family}");
        page.family(&deviation, "gauge", &help(&format!("Deviation: {words}")));
        page.sample(&deviation, &name, spread.deviation);
    }
    page.family(
        "llm_d_epp_ready_endpoints",
        "gauge",
        &help("Endpoints that are ready."),
    );
    page.sample("llm_d_epp_ready_endpoints", &name, figures.ready as f64);
    // These words are compared by tests of others.
    let words = "The number of ready pods in the inference server pool.";
    page.family(
        "inference_pool_ready_pods",
        "gauge",
        &old_help("ready_endpoints", words),
    );
    page.sample("inference_pool_ready_pods", &name, figures.ready as f64);
    let words = "Waiting requests of an endpoint.";
    for (family, label, help) in [
        (
            "llm_d_epp_per_endpoint_queue_size",
            "model_server_endpoint",
            help(words),
        ),
        (
            "inference_pool_per_pod_queue_size",
            "model_server_pod",
            old_help("per_endpoint_queue_size", words),
        ),
    ] {
        if snapshot.is_empty() {
            continue;
        }
        page.family(family, "gauge", &help);
        for endpoint in snapshot.endpoints() {
            let waiting = endpoint.live.load().waiting;
            page.sample(
                family,
                &[(label, &endpoint.id), ("name", &metrics.pool)],
                f64::from(waiting),
            );
        }
    }
}

fn data_layer(metrics: &Metrics, page: &mut Page) {
    for prefix in [NEW, "llm_d_inference_scheduler_"] {
        let words = |name: &str, text: &str| {
            if prefix == NEW {
                help(text)
            } else {
                old_help(name, text)
            }
        };
        let mut sums = Sums::new();
        for (source, count) in metrics.poll_errors.lock().iter() {
            sums.insert(vec![("source_type", (*source).to_owned())], *count as f64);
        }
        let name = "datalayer_poll_errors_total";
        write_sums(
            page,
            &format!("{prefix}{name}"),
            "counter",
            &words(name, "Scrapes that failed."),
            &sums,
        );
        let mut sums = Sums::new();
        for ((source, extractor), count) in metrics.extract_errors.lock().iter() {
            let labels = vec![
                ("extractor_type", (*extractor).to_owned()),
                ("source_type", (*source).to_owned()),
            ];
            sums.insert(labels, *count as f64);
        }
        let name = "datalayer_extract_errors_total";
        write_sums(
            page,
            &format!("{prefix}{name}"),
            "counter",
            &words(name, "Scrapes that lacked something."),
            &sums,
        );
    }
}

fn streams(metrics: &Metrics, page: &mut Page) {
    if !metrics.show_streams.load(Ordering::Relaxed) {
        return;
    }
    page.family(
        "llm_d_epp_extproc_streams_inflight",
        "gauge",
        &help("Open streams."),
    );
    let open = metrics.streams.load(Ordering::Relaxed) as f64;
    page.sample("llm_d_epp_extproc_streams_inflight", &[], open);
    single(
        page,
        "extproc_stream_duration_seconds",
        None,
        "Seconds that streams were open.",
        &metrics.stream_duration,
    );
    let mut codes = Sums::new();
    for (code, count) in metrics.stream_codes.lock().iter() {
        codes.insert(vec![("code", code.clone())], *count as f64);
    }
    write_sums(
        page,
        "llm_d_epp_extproc_streams_total",
        "counter",
        &help("Streams that ended, by status."),
        &codes,
    );
}
