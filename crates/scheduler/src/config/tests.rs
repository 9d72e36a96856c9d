use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

fn options() -> Options {
    Options {
        experimental: true,
        ..Options::default()
    }
}

fn parse(text: &str) -> Config {
    Config::parse(text, "epp.yaml", &options()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn errors(text: &str) -> Vec<String> {
    match Config::parse(text, "epp.yaml", &Options::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

fn injected(config: &Config) -> Vec<&str> {
    let added = config.plugins.iter().filter(|plugin| plugin.injected);
    added.map(|plugin| plugin.name.as_str()).collect()
}

/// Profiles as `name: plugin plugin*weight`.
fn profiles(config: &Config) -> Vec<String> {
    let name = |index: usize| config.plugins[index].name.as_str();
    config
        .profiles
        .iter()
        .map(|profile| {
            let mut out = format!("{}:", profile.name);
            for filter in &profile.filters {
                out += &format!(" {}", name(*filter));
            }
            for (scorer, weight) in &profile.scorers {
                out += &format!(" {}*{weight}", name(*scorer));
            }
            out + &format!(" {}", name(profile.picker))
        })
        .collect()
}

#[test]
fn every_problem_is_told_with_its_place() {
    let found = errors(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: load-aware-scorer\n  parameters: {threshold: x, treshold: 1}\n- {type: nope}\n- {type: queue-scorer, params: {}}\nfeatureGates: [foo]\n",
    );
    assert_eq!(
        found,
        [
            "epp.yaml:5:16: plugins[0].parameters.threshold: must be an integer, not \"x\"",
            "epp.yaml:5:30: plugins[0].parameters.treshold: unknown field; did you mean `threshold`?",
            "epp.yaml:6:4: plugins[1].type: plugin type `nope` is not registered",
            "epp.yaml:7:24: plugins[2].params: unknown field",
            "epp.yaml:8:16: featureGates[0]: feature gate \"foo\" is unknown; known are flowControl and haPopulateNonLeaderDatastore",
        ]
    );
}

#[test]
fn an_empty_document_is_the_default() {
    for text in ["", "---\n", "# nothing\n"] {
        let config = parse(text);
        assert_eq!(
            profiles(&config),
            [
                "default: queue-scorer*2 kv-cache-utilization-scorer*2 prefix-cache-scorer*3 max-score-picker"
            ]
        );
        assert_eq!(
            injected(&config),
            [
                "single-profile-handler",
                "fcfs-ordering-policy",
                "global-strict-fairness-policy",
                "static-usage-limit-policy",
                "openai-parser",
                "anthropic-parser",
                "vllmhttp-parser",
                "passthrough-parser",
                "utilization-detector",
                "metrics-data-source",
                "core-metrics-extractor",
                "approx-prefix-cache-producer",
                "token-producer",
            ]
        );
        assert!(!config.flow.enabled);
    }
}

const OLD: &str =
    "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n";

#[test]
fn presets_of_older_generations_load() {
    let config = parse(&format!(
        "{OLD}plugins:\n- {{type: prefill-header-handler}}\n- {{type: prefill-filter}}\n- {{type: decode-filter}}\n- {{type: max-score-picker}}\n- type: prefix-cache-scorer\n  parameters: {{hashBlockSize: 5, maxPrefixBlocksToMatch: 256, lruCapacityPerServer: 31250}}\n- type: pd-profile-handler\n  parameters: {{threshold: 0, hashBlockSize: 5, primaryPort: 8000}}\nschedulingProfiles:\n- name: prefill\n  plugins: [{{pluginRef: prefill-filter}}, {{pluginRef: max-score-picker}}, {{pluginRef: prefix-cache-scorer, weight: 50}}]\n- name: decode\n  plugins: [{{pluginRef: decode-filter}}, {{pluginRef: max-score-picker}}, {{pluginRef: prefix-cache-scorer, weight: 50}}]\n"
    ));
    let Settings::DisaggHandler(handler) = &config.plugins[config.handler].settings else {
        panic!("{:?}", config.handler)
    };
    let decider = handler.prefill_decider.as_deref().unwrap();
    assert_eq!(
        config.plugin(decider).unwrap().settings,
        Settings::AlwaysDecider
    );
    assert_eq!(handler.primary_port, Some(8000));
    assert!(!handler.writes_headers);
    let Settings::ApproxPrefixProducer(approx) = &config
        .plugin("approx-prefix-cache-producer")
        .unwrap()
        .settings
    else {
        panic!()
    };
    assert_eq!(
        (approx.block_size, approx.max_blocks, approx.max_tokens),
        (5, 256, 0)
    );
    let paths: Vec<&str> = config.warnings.iter().map(|w| w.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "apiVersion",
            "plugins[4].parameters.hashBlockSize",
            "plugins[4].parameters.maxPrefixBlocksToMatch",
            "plugins[4].parameters.lruCapacityPerServer",
            "plugins[5].parameters.threshold",
            "plugins[5].parameters.hashBlockSize",
        ]
    );
}

#[test]
fn a_threshold_in_characters_becomes_tokens() {
    let config = parse(&format!(
        "{OLD}plugins:\n- type: pd-profile-handler\n  parameters: {{threshold: 10}}\nschedulingProfiles:\n- {{name: prefill}}\n- {{name: decode}}\n"
    ));
    let Settings::PrefixDecider(decider) =
        &config.plugin("prefix-based-pd-decider").unwrap().settings
    else {
        panic!()
    };
    assert_eq!(decider.non_cached, 3);
}

#[test]
fn thresholds_of_the_first_generation_make_a_detector() {
    let config = parse(&format!(
        "{OLD}plugins: [{{type: queue-scorer}}]\nsaturationDetector: {{queueDepthThreshold: 9, kvCacheUtilThreshold: 0.5, metricsStalenessThreshold: 1s}}\n"
    ));
    let Settings::UtilizationDetector(detector) = &config.plugins[config.detector].settings else {
        panic!()
    };
    assert_eq!((detector.queue, detector.kv), (9.0, 0.5));
    assert_eq!(config.staleness(), Duration::from_secs(1));
}

#[test]
fn thresholds_from_outside_are_for_the_default_detector_only() {
    let queue = |text: &str| {
        let mut config = parse(text);
        config.seed_detector(UtilizationDetector {
            queue: 9.0,
            ..UtilizationDetector::default()
        });
        match &config.plugins[config.detector].settings {
            Settings::UtilizationDetector(detector) => detector.queue,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(queue(""), 9.0);
    let declared = "plugins: [{type: queue-scorer}, {type: utilization-detector, parameters: {queueDepthThreshold: 3}}]";
    assert_eq!(queue(declared), 3.0);
}

#[test]
fn old_names_stand_for_new_ones() {
    let config = parse(
        "plugins:\n- {type: prefix-cache-scorer}\n- {type: queue-scorer}\n- {type: tokenizer}\n- {type: model-server-protocol-metrics}\n- {type: by-label-selector, parameters: {matchLabels: {a: b}}}\n",
    );
    // Neither a second token producer nor a second extractor is added.
    assert!(config.plugin("token-producer").is_none());
    assert!(config.plugin("core-metrics-extractor").is_none());
    assert_eq!(
        profiles(&config),
        ["default: by-label-selector prefix-cache-scorer*1 queue-scorer*1 max-score-picker"]
    );
    assert_eq!(config.sources[0].extractors, [3]);
}

#[test]
fn flow_control_has_its_defaults_and_budgets() {
    let flow = |text: &str| parse(&format!("featureGates: [flowControl]\n{text}")).flow;
    let default = flow("");
    assert!(default.enabled);
    assert_eq!((default.max_bytes, default.max_requests), (None, None));
    assert_eq!(default.ttl, Some(Duration::from_secs(60)));
    assert_eq!(default.empty_ttl, Some(Duration::from_secs(60)));
    assert_eq!(default.bands, [(0, Band::default())]);
    // text, ttl, ttl while empty
    for (text, ttl, empty) in [
        ("{defaultRequestTTL: 5s}", Some(5), Some(5)),
        ("{defaultRequestTTL: 0s}", None, Some(60)),
        ("{noEndpointRequestTTL: 0s}", Some(60), None),
        (
            "{defaultRequestTTL: 5s, noEndpointRequestTTL: 300s}",
            Some(5),
            Some(300),
        ),
    ] {
        let flow = flow(&format!("flowControl: {text}"));
        assert_eq!(flow.ttl, ttl.map(Duration::from_secs), "{text}");
        assert_eq!(flow.empty_ttl, empty.map(Duration::from_secs), "{text}");
    }
    let banded = flow(
        "flowControl:\n  maxBytes: 10Gi\n  maxRequests: 1k\n  priorityBands:\n  - {priority: -10, maxRequests: 50}\n  - {priority: 100, maxRequests: 500, fairnessPolicyRef: round-robin-fairness-policy, orderingPolicyRef: edf-ordering-policy}\n  defaultPriorityBand: {maxRequests: 7}\n",
    );
    assert_eq!(banded.max_bytes, Some(10 << 30));
    assert_eq!(banded.max_requests, Some(1000));
    let order: Vec<i32> = banded.bands.iter().map(|(priority, _)| *priority).collect();
    assert_eq!(order, [100, 0, -10]);
    assert_eq!(banded.bands[0].1.fairness, FairnessPolicy::RoundRobin);
    assert_eq!(banded.bands[0].1.ordering, OrderingPolicy::EarliestDeadline);
    assert_eq!(banded.bands[1].1.max_requests, 7);
    assert_eq!(banded.bands[2].1.max_bytes, 1_000_000_000);
}

#[test]
fn flags_of_older_generations_change_the_default_source() {
    let options = Options {
        scrape: Scrape {
            https: Some(true),
            path: Some("/m".into()),
            port: Some(9000),
            insecure: Some(false),
            names: [Some("w".into()), None, Some("k".into()), None, None],
        },
        ..Options::default()
    };
    let config = Config::parse("", "", &options).unwrap();
    let source = config.metrics_source().unwrap();
    assert_eq!(
        (source.https, source.path.as_str(), source.port),
        (true, "/m", Some(9000))
    );
    assert!(!source.insecure);
    let Settings::CoreMetrics(metrics) = &config.plugin("core-metrics-extractor").unwrap().settings
    else {
        panic!()
    };
    assert_eq!(
        metrics.engines[0].waiting.as_ref().unwrap().to_string(),
        "w"
    );
    assert_eq!(metrics.engines[0].kv_usage[0].to_string(), "k");
    assert_eq!(
        metrics.engines[0].running.as_ref().unwrap().name,
        "vllm:num_requests_running"
    );
}

#[test]
fn agents_are_known_by_their_headers() {
    let text =
        "plugins: [{type: agent-identity, parameters: {additionalSessionHeaders: [X-Mine]}}]";
    let config = parse(text);
    for (headers, expected) in [
        (
            &[
                ("x-claude-code-session-id", "v0"),
                ("x-session-affinity", "v1"),
            ][..],
            Some("v0"),
        ),
        (&[("x-session-affinity", "v1")], Some("v1")),
        (
            &[("session-id", "v2"), ("x-session-affinity", "")],
            Some("v2"),
        ),
        (&[("session_id", "v3")], Some("v3")),
        (&[("x-mine", "v4")], Some("v4")),
        (&[("x-other", "v")], None),
    ] {
        let looked: Vec<(&str, &str)> = headers.to_vec();
        let found = match looked.as_slice() {
            [a] => config.agent_flow(&[*a]).map(str::to_owned),
            [a, b] => config.agent_flow(&[*a, *b]).map(str::to_owned),
            _ => None,
        };
        assert_eq!(found.as_deref(), expected, "{headers:?}");
    }
    assert_eq!(parse("").agent_flow(&[("session-id", "v")]), None);
}

#[test]
fn reporters_are_read_with_their_expressions() {
    let text = |expression: &str| {
        format!(
            "plugins:\n- type: request-attribute-reporter\n  parameters:\n    attributes:\n    - key: {{namespace: x, name: cost}}\n      expression: {expression}\n      condition: usage.total_tokens > 10.0\n"
        )
    };
    let config = parse(&text("usage.completion_tokens - 3.0"));
    let reporter = config.reporters().next().unwrap();
    assert_eq!(
        (reporter.namespace.as_str(), reporter.name.as_str()),
        ("x", "cost")
    );
    // total, completion, reported
    for (total, completion, expected) in [
        (10.0, 9.0, None),
        (20.0, 8.0, Some(5.0)),
        (15.0, 3.0, None),
        (15.0, 2.0, None),
    ] {
        let counts = crate::report::Counts {
            total_tokens: Some(total),
            completion_tokens: Some(completion),
            ..Default::default()
        };
        assert_eq!(reporter.value(&counts), expected, "{total} {completion}");
    }
    let found = errors(&text("2 * usage.prompt_tokens"));
    assert!(found[0].starts_with("epp.yaml:6:7: plugins[0].parameters.attributes[0].expression: \"2 * usage.prompt_tokens\": no such overload"), "{found:?}");
}

fn recorded(file: &str) -> Option<Vec<Value>> {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let path = format!("{shared}/goldens/epp/{file}");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: the recording is not at {path}");
        return None;
    };
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

/// Where we decide otherwise than the recorded picker, and why.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "empty",
        "an empty document is the default; the recorded one asked for a cluster",
    ),
    (
        "detector-old-form",
        "thresholds of the first generations are read",
    ),
    ("old-metrics-extractor", "an old name, accepted as an alias"),
    ("discovery-missing-file", "files are not opened here"),
    ("discovery-declared-not-used", "asked for a cluster"),
    ("pd-handler-threshold", "a parameter of older presets"),
    (
        "prefix-scorer-old-parameters",
        "parameters of older presets",
    ),
    (
        "precise-bad-ttl",
        "a mistake is told also where it has no effect yet",
    ),
    ("token-load-alone", "the producer is added"),
];

#[test]
fn recorded_documents_are_refused_and_accepted_alike() {
    let Some(rows) = recorded("config-errors.jsonl") else {
        return;
    };
    let mut problems = Vec::new();
    for row in rows.iter().filter(|row| row["what"] == "config") {
        let name = row["name"].as_str().unwrap();
        let text = row["config"].as_str().unwrap();
        let ours = Config::parse(text, "c", &Options::default());
        let runs = row["result"] == "runs";
        let excused = OTHERWISE.iter().any(|(case, _)| *case == name);
        if ours.is_ok() != runs && !excused {
            let why = ours.err().map(|errors| errors.to_string());
            problems.push(format!("{name}: recorded {}, ours {why:?}", row["result"]));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn recorded_documents_become_the_same() {
    let Some(rows) = recorded("effective.jsonl") else {
        return;
    };
    let mut problems = Vec::new();
    for row in rows {
        let name = row["name"].as_str().unwrap().to_owned();
        let ours = Config::parse_value(&row["config"], &options());
        let config = match ours {
            Ok(config) => config,
            Err(errors) => {
                if row["starts"] == true {
                    problems.push(format!("{name}: {errors}"));
                }
                continue;
            }
        };
        if row["starts"] != true {
            problems.push(format!("{name}: starts"));
        }
        let mut expected: Vec<&str> = Vec::new();
        expected.extend(strings(&row["injected"]));
        for key in row["created_for_keys"].as_array().unwrap() {
            let key = key["key"].as_str().unwrap();
            expected.push(key.split_once('/').unwrap().1);
        }
        let mut ours = injected(&config);
        expected.sort_unstable();
        ours.sort_unstable();
        // A declared token producer serves everyone: no second one is added.
        if name == "tokenizer-old-type" {
            expected.retain(|added| *added != "token-producer");
        }
        if ours != expected {
            problems.push(format!("{name}: added {ours:?}, recorded {expected:?}"));
        }
        let plugins_of = |profile: &Value| -> BTreeMap<String, Option<String>> {
            profile
                .as_array()
                .unwrap()
                .iter()
                .map(|plugin| match plugin {
                    Value::Array(pair) => (
                        pair[0].as_str().unwrap().to_owned(),
                        Some(pair[1].to_string()),
                    ),
                    other => (other.as_str().unwrap().to_owned(), None),
                })
                .collect()
        };
        for profile in &config.profiles {
            let recorded = plugins_of(&row["profiles"][&profile.name]);
            let name_of = |index: usize| config.plugins[index].name.clone();
            let mut ours: BTreeMap<String, Option<String>> = BTreeMap::new();
            for filter in profile.filters.iter().chain([&profile.picker]) {
                ours.insert(name_of(*filter), None);
            }
            for (scorer, weight) in &profile.scorers {
                ours.insert(name_of(*scorer), Some(format!("{weight:?}")));
            }
            if ours != recorded {
                problems.push(format!("{name}: {ours:?}, recorded {recorded:?}"));
            }
        }
        let sources: Vec<&str> = config
            .sources
            .iter()
            .flat_map(|source| [source.plugin].into_iter().chain(source.extractors.clone()))
            .map(|index| config.plugins[index].name.as_str())
            .collect();
        if sources != strings(&row["sources"]) {
            problems.push(format!("{name}: sources {sources:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn strings(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item.as_str().unwrap()).collect()
}
