use std::sync::Arc;

use super::*;
use crate::config::Options;
use crate::endpoint::EndpointLoad;

const NOW: Duration = Duration::from_secs(9);

fn vllm() -> Engine {
    engine::builtin().remove(0)
}

fn extract(engine: &Engine, page: &str) -> (EndpointLoad, Adapters, Extracted) {
    let live = Live::default();
    let out = engine.extract(page, &live, NOW);
    (live.load(), (*live.adapters()).clone(), out)
}

const PAGE: &str = "\
# HELP vllm:num_requests_waiting x
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 3.0
vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 9.0
vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 2.0
vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.25
vllm:cache_config_info{block_size=\"32\",engine=\"0\",num_gpu_blocks=\"1456\"} 1.0
";

#[test]
fn a_page_of_vllm_is_read() {
    let (load, adapters, out) = extract(&vllm(), PAGE);
    let expected = EndpointLoad {
        waiting: 3,
        running: 2,
        kv_usage: 0.25,
        block_size: 32,
        blocks: 1456,
        updated: Some(NOW),
    };
    assert_eq!(load, expected);
    assert_eq!(adapters, Adapters::default());
    assert_eq!((out.set, out.errors), (4, Vec::new()));
}

#[test]
fn what_is_not_there_keeps_its_value_and_is_told() {
    let live = Live::default();
    vllm().extract(PAGE, &live, NOW);
    let later = NOW + Duration::from_secs(1);
    let out = vllm().extract(
        "vllm:num_requests_waiting 5\nvllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n",
        &live,
        later,
    );
    let load = live.load();
    assert_eq!((load.waiting, load.running), (5, 2));
    // No number of blocks: it stays, and the block size is not believed either.
    assert_eq!((load.block_size, load.blocks), (0, 1456));
    assert_eq!(load.updated, Some(later));
    assert_eq!(
        out.errors,
        ["running requests", "KV cache usage", "cache configuration"]
    );

    let out = vllm().extract("garbage {\n\u{0}\n", &live, later * 2);
    assert_eq!(out.set, 0);
    assert_eq!(live.load().updated, Some(later));
}

#[test]
fn several_series_become_one_number() {
    let pages = [
        // Ranks: requests add up, of the usage the most counts.
        (
            "vllm:num_requests_waiting{engine=\"0\"} 3\nvllm:num_requests_waiting{engine=\"1\"} 4\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n",
            7,
            0.5,
        ),
        // With times the newest counts.
        (
            "vllm:num_requests_waiting 3 1000\nvllm:num_requests_waiting 4 3000\nvllm:num_requests_waiting 5 2000\nvllm:kv_cache_usage_perc 0.1\n",
            4,
            0.1,
        ),
        // The older name of the usage.
        (
            "vllm:num_requests_waiting 1\nvllm:gpu_cache_usage_perc 0.75\n",
            1,
            0.75,
        ),
    ];
    for (page, waiting, usage) in pages {
        let (load, ..) = extract(&vllm(), page);
        assert_eq!((load.waiting, load.kv_usage), (waiting, usage), "{page}");
    }
}

#[test]
fn the_newest_line_of_adapters_counts() {
    let page = "\
vllm:lora_requests_info{max_lora=\"2\",running_lora_adapters=\"style-a\",waiting_lora_adapters=\"style-b,style-c\"} 1.7953417122361424e+09
vllm:lora_requests_info{max_lora=\"2\",running_lora_adapters=\"old\",waiting_lora_adapters=\"\"} 1.795341712960e+08
";
    let (_, adapters, _) = extract(&vllm(), page);
    let expected = Adapters {
        running: vec!["style-a".into()],
        waiting: vec!["style-b".into(), "style-c".into()],
        max: 2,
    };
    assert_eq!(adapters, expected);
}

#[test]
fn other_engines_have_their_own_names() {
    // engine, page, waiting, running, usage, block size, blocks
    let cases = [
        (
            "sglang",
            "sglang:num_queue_reqs 1\nsglang:num_running_reqs 2\nsglang:token_usage 0.5\nsglang:cache_config_info{page_size=\"64\",num_pages=\"10\"} 1\n",
            (1, 2, 0.5, 64, 10),
        ),
        (
            "trtllm-serve",
            "trtllm_num_requests_waiting 1\ntrtllm_num_requests_running 2\ntrtllm_kv_cache_utilization 0.5\ntrtllm_kv_cache_tokens_per_block 32\ntrtllm_kv_cache_max_blocks 20\n",
            (1, 2, 0.5, 32, 20),
        ),
        (
            "triton-tensorrt-llm",
            "nv_trt_llm_request_metrics{request_type=\"waiting\",m=\"x\"} 1\nnv_trt_llm_request_metrics{request_type=\"scheduled\"} 2\nnv_trt_llm_request_metrics{request_type=\"max\"} 9\nnv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\"} 0.5\nnv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\"} 64\nnv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\"} 30\n",
            (1, 2, 0.5, 64, 30),
        ),
        (
            "triton",
            "nv_inference_pending_request_count 1\nnv_inference_exec_count 2\n",
            (1, 2, 0.0, 0, 0),
        ),
    ];
    let config = Config::parse("", "", &Options::default()).unwrap();
    let extractor = Extractor::of(&config).unwrap();
    for (name, page, expected) in cases {
        for label in [
            "llm-d.ai/engine-type",
            "inference.networking.k8s.io/engine-type",
        ] {
            let labels = Labels::from_iter([(label, name)]);
            let address = "192.0.2.1:8000".parse().unwrap();
            let endpoint = Endpoint::new("n", "p", None, address, labels);
            let out = extractor.extract(page, &endpoint, NOW);
            let load = endpoint.live.load();
            assert_eq!(
                (
                    load.waiting,
                    load.running,
                    load.kv_usage,
                    load.block_size,
                    load.blocks
                ),
                expected,
                "{name}"
            );
            assert_eq!(out.errors, Vec::<&str>::new(), "{name}");
        }
    }
    let unknown = Labels::from_iter([("llm-d.ai/engine-type", "other")]);
    assert_eq!(extractor.engine(&unknown).unwrap().name, "vllm");
}

#[test]
fn an_engine_of_a_known_name_is_replaced_whole() {
    let text = "plugins:\n- type: queue-scorer\n- type: core-metrics-extractor\n  parameters:\n    engineConfigs:\n    - {name: vllm, queuedRequestsSpec: 'w{k=v}'}\n    - {name: mine, runningRequestsSpec: r}\n    defaultEngine: mine\n";
    let config = Config::parse(text, "", &Options::default()).unwrap();
    let extractor = Extractor::of(&config).unwrap();
    let mine = extractor.engine(&Labels::default()).unwrap();
    assert_eq!(mine.running.as_ref().unwrap().name, "r");
    let vllm = Labels::from_iter([("llm-d.ai/engine-type", "vllm")]);
    let vllm = extractor.engine(&vllm).unwrap();
    assert_eq!((vllm.running.as_ref(), vllm.kv_usage.len()), (None, 0));
    let (load, _, out) = extract(vllm, "w{k=\"x\"} 1\nw{k=\"v\"} 2\n");
    assert_eq!((load.waiting, out.errors.len()), (2, 0));
}

#[test]
fn averages_leave_out_what_is_stale() {
    let endpoint = |waiting, kv_usage, age: Option<u64>| {
        let address = "192.0.2.1:8000".parse().unwrap();
        let endpoint = Endpoint::new("n", "p", None, address, Labels::default());
        endpoint.live.store(&EndpointLoad {
            waiting,
            kv_usage,
            updated: age.map(|age| NOW - Duration::from_secs(age)),
            ..EndpointLoad::default()
        });
        Arc::new(endpoint)
    };
    let staleness = Duration::from_secs(2);
    let pool = Snapshot::new(vec![
        endpoint(1, 0.5, Some(0)),
        endpoint(2, 0.3, Some(2)),
        endpoint(90, 0.9, Some(3)),
        endpoint(90, 0.9, None),
    ]);
    let found = averages(&pool, NOW, staleness);
    assert_eq!(found.ready, 2);
    assert_eq!((found.waiting.mean, found.waiting.deviation), (1.5, 0.71));
    assert_eq!((found.kv_usage.mean, found.kv_usage.deviation), (0.4, 0.14));
    let one = averages(
        &Snapshot::new(vec![endpoint(4, 0.5, Some(0))]),
        NOW,
        staleness,
    );
    assert_eq!((one.waiting.mean, one.waiting.deviation), (4.0, 0.0));
    assert_eq!(
        averages(&Snapshot::default(), NOW, staleness),
        Averages::default()
    );
}

#[test]
fn recorded_pages_are_read() {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let folder = format!("{shared}/captures/vllm");
    for (file, running) in [
        ("metrics.txt", 0),
        ("metrics-dp2.txt", 0),
        ("metrics-saturated.txt", 3),
        ("metrics-lora.txt", 0),
    ] {
        let Ok(page) = std::fs::read_to_string(format!("{folder}/{file}")) else {
            eprintln!("SKIPPED: the recorded page is not at {folder}/{file}");
            return;
        };
        let (load, adapters, out) = extract(&vllm(), &page);
        assert_eq!(out.errors, Vec::<&str>::new(), "{file}");
        assert_eq!(load.running, running, "{file}");
        assert!(load.block_size > 0 && load.blocks > 0, "{file} {load:?}");
        assert_eq!(adapters.max > 0, file == "metrics-lora.txt", "{file}");
    }
}

#[test]
fn models_are_listed() {
    let answer = br#"{"object":"list","data":[{"id":"a","x":1},{"id":"b"}]}"#;
    assert_eq!(models(answer).unwrap(), ["a", "b"]);
    assert_eq!(models(b"{}"), None);
    assert_eq!(models(b"no"), None);
}
