//! Versions, thresholds and flags as tables; whole texts as the worked examples have them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::*;

const URL: &str = "http://my-llm-tokenizer.demo.svc.cluster.local:8000";

fn pod(args: &[&str]) -> Value {
    json!({"containers": [{"name": "main", "args": args}]})
}

fn run(config: &Value, version: &str, tokenizer: Option<&str>) -> Value {
    let mut pod = pod(&["--config-text", &config.to_string()]);
    migrate(&mut pod, Version::parse(version).unwrap(), tokenizer).unwrap();
    read(&pod)
}

fn read(pod: &Value) -> Value {
    let text = pod
        .pointer("/containers/0/args/1")
        .unwrap()
        .as_str()
        .unwrap();
    weir_manifest::parse(text, "t").unwrap().remove(0).value
}

fn config(plugins: &Value) -> Value {
    json!({"apiVersion": OLD_API_VERSION, "kind": "EndpointPickerConfig", "plugins": plugins})
}

#[test]
fn a_version_has_three_numbers_or_is_absent() {
    for text in ["v0.9", "0.8", "0.9.0-rc", "x", "1.2.3.4", "1..2"] {
        assert!(Version::parse(text).is_err(), "{text}");
    }
    assert!(Version::parse("0.10.0").unwrap() > Version::parse("0.9.12").unwrap());
    assert_eq!(Version::parse("").unwrap(), Version::default());
}

#[test]
fn a_threshold_of_characters_becomes_tokens() {
    let table = [
        (json!(0), None),
        (json!(0.0), None),
        (json!("0"), None),
        (json!(100), Some(25)),
        (json!(5), Some(2)),
        (json!(7.0), Some(2)),
        (json!(3), Some(1)),
        (json!(0.5), Some(1)),
        (json!("100"), Some(25)),
        (json!(-1), Some(1)),
        (json!("many"), Some(1)),
    ];
    for (threshold, tokens) in table {
        let old = config(&json!([
            {"type": "a"},
            {"type": "pd-profile-handler", "parameters": {"threshold": threshold}},
        ]));
        let decider = match tokens {
            None => json!({"type": "always-disagg-pd-decider"}),
            Some(tokens) => {
                json!({"type": "prefix-based-pd-decider", "parameters": {"nonCachedTokens": tokens}})
            }
        };
        let handler = json!({
            "type": "disagg-profile-handler",
            "parameters": {"deciders": {"prefill": decider["type"]}},
        });
        let new = run(&old, "0.7.0", None);
        assert_eq!(
            new["plugins"],
            json!([{"type": "a"}, decider, handler]),
            "{threshold}"
        );
        assert_eq!(
            run(&new, "0.7.0", None),
            new,
            "a second time changes nothing"
        );
    }
}

#[test]
fn a_named_decider_needs_no_plugin() {
    let old = config(&json!([
        {"type": "disagg-profile-handler", "parameters": {"deciderPluginName": "mine", "threshold": 3}},
    ]));
    let wanted = json!([{"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": "mine"}}}]);
    assert_eq!(run(&old, "0.7.0", None)["plugins"], wanted);
    let mut pod = pod(&[
        "--config-text",
        &config(&json!([
            {"type": "disagg-profile-handler", "parameters": {"deciderPluginName": 3}},
        ]))
        .to_string(),
    ]);
    assert!(migrate(&mut pod, Version::V0_7, None).is_err());
}

/// Case D of the worked examples.
#[test]
fn each_version_gets_exactly_its_transformations() {
    let old = config(&json!([
        {"type": "prefill-header-handler"},
        {"type": "pd-profile-handler", "parameters": {"threshold": 100, "hashBlockSize": 5}},
        {"type": "prefix-cache-scorer", "parameters": {"hashBlockSize": 5}},
    ]));
    let at = |version: &str| {
        let mut pod = pod(&[
            "--config-text",
            &old.to_string(),
            "--kv-cache-usage-percentage-metric",
            "vllm:kv_cache_usage_perc",
        ]);
        migrate(&mut pod, Version::parse(version).unwrap(), None).unwrap();
        pod
    };
    assert_eq!(
        at("0.6.9"),
        pod(&[
            "--config-text",
            &old.to_string(),
            "--kv-cache-usage-percentage-metric",
            "vllm:kv_cache_usage_perc",
        ])
    );
    for version in ["0.7.0", "0.8.0", "0.9.0", "0.10.0"] {
        let pod = at(version);
        assert_eq!(pod.pointer("/containers/0/args/2"), None);
        let new = read(&pod);
        let metrics = if version == "0.7.0" {
            "model-server-protocol-metrics"
        } else {
            "core-metrics-extractor"
        };
        let newest = matches!(version, "0.9.0" | "0.10.0");
        let mut scorer = json!({"type": "prefix-cache-scorer"});
        if !newest {
            scorer["parameters"] = json!({});
        }
        let wanted = json!([
            {"type": "disagg-headers-handler"},
            {"type": "prefix-based-pd-decider", "parameters": {"nonCachedTokens": 25}},
            {"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": "prefix-based-pd-decider"}}},
            scorer,
            {"name": metrics, "type": metrics, "parameters": {
                "engineLabelKey": "inference.networking.k8s.io/engine-type",
                "defaultEngine": "vllm",
                "engineConfigs": [{"name": "vllm", "kvUsageSpec": "vllm:kv_cache_usage_perc"}],
            }},
        ]);
        assert_eq!(new["plugins"], wanted, "{version}");
        let group = if newest { API_VERSION } else { OLD_API_VERSION };
        assert_eq!(new["apiVersion"], group, "{version}");
    }
}

/// Case C of the worked examples, and the same with a name of its own.
#[test]
fn the_precise_scorer_becomes_three_plugins_where_it_stood() {
    let old = |name: Option<&str>| {
        let mut scorer = json!({"type": "precise-prefix-cache-scorer", "parameters": {"indexerConfig": {
            "kvBlockIndexConfig": {"enableMetrics": true},
            "tokenProcessorConfig": {"blockSize": 64},
            "tokenizersPoolConfig": {"workersCount": 4},
        }}});
        if let Some(name) = name {
            scorer["name"] = json!(name);
        }
        let mut config = config(&json!([
            {"type": "single-profile-handler"},
            {"type": "prefix-cache-scorer", "name": "approximate", "parameters": {"blockSize": 64}},
            scorer,
            {"type": "max-score-picker"},
        ]));
        config["schedulingProfiles"] = json!([{"name": "default", "plugins": [
            {"pluginRef": name.unwrap_or("precise-prefix-cache-scorer"), "weight": 3},
            {"pluginRef": "approximate", "weight": 1},
            {"pluginRef": "max-score-picker"},
        ]}]);
        config
    };
    for name in [None, Some("mine")] {
        let new = run(&old(name), "0.10.0", Some(URL));
        let mut scorer = json!({"type": "prefix-cache-scorer", "parameters": {
            "prefixMatchInfoProducerName": "precise-prefix-cache-producer"}});
        if let Some(name) = name {
            scorer["name"] = json!(name);
        }
        assert_eq!(
            new["plugins"],
            json!([
                {"type": "single-profile-handler"},
                {"type": "max-score-picker"},
                {"type": "token-producer", "parameters": {"modelName": "/mnt/models/base", "vllm": {"url": URL}}},
                {"type": "precise-prefix-cache-producer", "parameters": {
                    "indexerConfig": {"kvBlockIndexConfig": {"enableMetrics": true}},
                    "tokenProcessorConfig": {"blockSize": 64},
                }},
                scorer,
            ])
        );
        assert_eq!(
            new["schedulingProfiles"][0]["plugins"],
            json!([
                {"pluginRef": name.unwrap_or("prefix-cache-scorer"), "weight": 3},
                {"pluginRef": "max-score-picker"},
            ])
        );
        assert_eq!(
            run(&new, "0.10.0", Some(URL)),
            new,
            "a second time changes nothing"
        );
    }
}

#[test]
fn metric_flags_move_into_the_configuration_or_are_refused_by_name() {
    let text = config(&json!([])).to_string();
    let moved = |more: &[&str], text: &str| {
        let args: Vec<&str> = ["--config-text", text]
            .iter()
            .chain(more)
            .copied()
            .collect();
        let mut pod = pod(&args);
        migrate(&mut pod, Version::V0_10, None).map(|()| read(&pod)["plugins"].clone())
    };
    let source =
        |parameters: Value| json!([{"type": "metrics-data-source", "parameters": parameters}]);
    let flag = |name: &str| format!("--model-server-metrics-{name}");
    let table: [(&[&str], Value); 4] = [
        (&[&flag("scheme=https")], source(json!({"scheme": "https"}))),
        (
            &[&flag("path"), "/m", &flag("https-insecure-skip-verify")],
            source(json!({"path": "/m", "insecureSkipVerify": true})),
        ),
        (
            &[&flag("https-insecure-skip-verify=F")],
            source(json!({"insecureSkipVerify": false})),
        ),
        (&[&flag("port=9")], json!([])),
    ];
    for (args, plugins) in table {
        assert_eq!(moved(args, &text), Ok(plugins), "{args:?}");
    }
    let known = config(&json!([{"type": "metrics-data-source", "parameters": {"path": "/own"}}]));
    let both = [flag("path=/m"), flag("scheme=https")];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    let kept = source(json!({"path": "/own", "scheme": "https"}));
    assert_eq!(
        moved(&both, &known.to_string()),
        Ok(kept),
        "what it lacks is added"
    );

    let refused = Err(SchedulerError::NoPlaceForFlags {
        flags: "--model-server-metrics-path, --model-server-metrics-scheme".to_owned(),
    });
    assert_eq!(
        moved(&both, "{plugins: []}"),
        refused,
        "a text without kind"
    );
    let mut file = pod(&["--config-file", "f", both[0], both[1]]);
    assert_eq!(
        migrate(&mut file, Version::V0_10, None),
        refused.map(|_: Value| ())
    );
    let mut only_port = pod(&["--config-file", "f", &flag("port=1")]);
    assert_eq!(migrate(&mut only_port, Version::V0_10, None), Ok(()));
    let mut old = pod(&["--config-file", "f", "--lora-info-metric=x"]);
    assert!(migrate(&mut old, Version::V0_7, None).is_err());
    assert!(moved(&[&flag("https-insecure-skip-verify=maybe")], &text).is_err());
}

#[test]
fn a_sidecar_for_tokens_goes_when_nothing_asks_it() {
    let with = |plugin: &str, version| {
        let text = config(&json!([{"type": plugin}])).to_string();
        let mut pod = json!({"containers": [
            {"name": "main", "args": ["--config-text", text]}, {"name": "tokenizer"},
        ]});
        migrate(&mut pod, version, None).unwrap();
        has_container(&pod, "tokenizer")
    };
    assert!(with("precise-prefix-cache-scorer", Version::V0_9));
    assert!(!with("queue-scorer", Version::V0_9));
    assert!(with("queue-scorer", Version::V0_8));
}

#[test]
fn a_text_that_is_no_configuration_is_left_alone() {
    for text in ["word", "{plugins: []}", "- a", ": :"] {
        let mut given = pod(&[
            "--config-text",
            text,
            "--config-text",
            &config(&json!([])).to_string(),
        ]);
        let before = given.clone();
        migrate(&mut given, Version::V0_10, None).unwrap();
        assert_eq!(given, before, "{text}");
    }
}
