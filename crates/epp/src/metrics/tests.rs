use weir_scheduler::Snapshot;

use super::*;

#[test]
fn numbers_are_written_as_go_does() {
    let rows = [
        (0.0, "0"),
        (1.0, "1"),
        (0.5, "0.5"),
        (524_288.0, "524288"),
        (1_048_576.0, "1.048576e+06"),
        (1e9, "1e+09"),
        (0.0001, "0.0001"),
        (0.00002, "2e-05"),
        (f64::INFINITY, "+Inf"),
        (-2.5, "-2.5"),
        (123_456.789, "123456.789"),
    ];
    for (value, text) in rows {
        assert_eq!(go_number(value), text);
    }
}

fn labels(model: &str) -> RequestLabels {
    RequestLabels {
        model: model.to_owned(),
        target: "t".to_owned(),
        fairness: "default-flow".to_owned(),
        priority: 0,
    }
}

#[test]
fn twins_add_up_what_they_do_not_tell_apart() {
    let metrics = Metrics::new("pool", false);
    for fairness in ["a", "b"] {
        let series = metrics.series(RequestLabels {
            fairness: fairness.to_owned(),
            ..labels("m")
        });
        series.routed();
        series.input_tokens.observe(1_048_576.0);
        let running = series.running();
        drop(running);
    }
    let page = metrics.page(&Snapshot::default());
    for line in [
        r#"llm_d_epp_request_total{fairness_id="a",model_name="m",priority="0",target_model_name="t"} 1"#,
        r#"inference_objective_request_total{model_name="m",priority="0",target_model_name="t"} 2"#,
        r#"inference_objective_input_tokens_bucket{model_name="m",target_model_name="t",le="524288"} 0"#,
        r#"inference_objective_input_tokens_bucket{model_name="m",target_model_name="t",le="1.048576e+06"} 2"#,
        r#"inference_objective_running_requests{model_name="m"} 0"#,
        "# HELP inference_pool_ready_pods [ALPHA] [Deprecated: Use llm_d_epp_ready_endpoints] The number of ready pods in the inference server pool.",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
    assert!(!page.contains("request_error_total"));
}

#[test]
fn names_that_clients_choose_are_bounded() {
    let metrics = Metrics::new("pool", false);
    for number in 0..DISTINCT + 5 {
        metrics.series(labels(&format!("m{number}"))).routed();
    }
    let page = metrics.page(&Snapshot::default());
    assert!(page.contains(r#"model_name="other",priority="0",target_model_name="t"} 5"#));
}

/// Every family has something to show, so that no name, word, bound or label changes unseen: dashboards and alerts
/// know them.
#[test]
fn the_whole_page_is_what_it_was() {
    let metrics = Metrics::new("pool", true);
    for (fairness, model) in [("a", "m"), ("b", "m")] {
        let series = metrics.series(RequestLabels {
            fairness: fairness.to_owned(),
            ..labels(model)
        });
        series.routed();
        series.error("BadRequest");
        drop(series.running());
        if fairness == "b" {
            continue;
        }
        for (histogram, value) in [
            (&series.duration, 1.5),
            (&series.request_bytes, 300.0),
            (&series.response_bytes, 30.0),
            (&series.input_tokens, 20.0),
            (&series.output_tokens, 200.0),
            (&series.cached_tokens, 16.0),
            (&series.ntpot, 0.03),
            (&series.ttft[0], 0.25),
            (&series.ttft[1], 0.5),
            (&series.tpot, 0.025),
            (&series.gap, 0.0125),
        ] {
            histogram.observe(value);
        }
    }
    let address = std::net::SocketAddr::from(([10, 0, 0, 1], 8000));
    let endpoint = weir_scheduler::Endpoint::new(
        "default",
        "pod-a",
        Some(0),
        address,
        weir_scheduler::Labels::default(),
    );
    endpoint.live.store(&weir_scheduler::EndpointLoad {
        waiting: 3,
        ..weir_scheduler::EndpointLoad::default()
    });
    metrics.attempt("t", Some(&endpoint));
    metrics.attempt("t", None);
    metrics.decided("handler", "disagg", "m", "prefill-decode");
    metrics.decided("other", "disagg", "m", "prefill-decode");
    metrics.shielded("x-prefiller-host-port");
    metrics.poll_error("metrics");
    metrics.extract_error("metrics", "core");
    metrics.scheduling.observe(0.0003);
    metrics.request_processing.observe(0.003);
    metrics.response_processing.observe(0.0003);
    let average = |mean, deviation| weir_scheduler::data::Average { mean, deviation };
    metrics.set_figures(Averages {
        ready: 2,
        kv_usage: average(0.5, 0.25),
        waiting: average(3.0, 1.0),
        running: average(7.0, 2.0),
    });
    metrics.stream_ended("OK", 2.0);
    let page = metrics
        .page(&Snapshot::new(vec![Arc::new(endpoint)]))
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let expected = include_str!("../../testdata/metrics.txt");
    for (number, (line, expected)) in page.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "line {}", number + 1);
    }
    assert_eq!(page.len(), expected.len());
}
