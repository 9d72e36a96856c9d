//! The well-known configurations load and become what they are meant to be.

use weir_scheduler::config::settings::Settings;
use weir_scheduler::{Config, Scheduler};

use crate::pool::config;

/// No prefill section.
pub(crate) const BASELINE: &str = "
plugins: [{type: single-profile-handler}, {type: queue-scorer}, {type: kv-cache-utilization-scorer},
          {type: prefix-cache-scorer}, {type: no-hit-lru-scorer}, {type: max-score-picker}]
schedulingProfiles:
- name: default
  plugins: [{pluginRef: queue-scorer, weight: 2}, {pluginRef: kv-cache-utilization-scorer, weight: 2},
            {pluginRef: prefix-cache-scorer, weight: 3}, {pluginRef: no-hit-lru-scorer, weight: 2},
            {pluginRef: max-score-picker}]
";

/// With a prefill section.
pub(crate) const DISAGGREGATED: &str = "
plugins: [{type: disagg-headers-handler}, {type: prefill-filter}, {type: decode-filter}, {type: queue-scorer},
          {type: kv-cache-utilization-scorer}, {type: active-request-scorer}, {type: prefix-cache-scorer},
          {type: max-score-picker}, {type: always-disagg-pd-decider},
          {type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}]
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: prefix-cache-scorer, weight: 3}, {pluginRef: queue-scorer, weight: 2},
            {pluginRef: kv-cache-utilization-scorer, weight: 2}, {pluginRef: max-score-picker}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: active-request-scorer, weight: 2},
            {pluginRef: prefix-cache-scorer, weight: 3}, {pluginRef: max-score-picker}]
";

/// Prefill elsewhere only when enough is not cached.
pub(crate) const SELECTIVE: &str = "
plugins:
- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 16384}}
- {type: prefill-filter}
- {type: decode-filter}
- {type: prefix-cache-scorer}
- {type: queue-scorer}
- {type: disagg-profile-handler, parameters: {deciders: {prefill: prefix-based-pd-decider}}}
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 16}}
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: prefix-cache-scorer, weight: 2}, {pluginRef: queue-scorer}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer, weight: 2}, {pluginRef: queue-scorer}]
";

const PRECISE: &str = "
plugins:
- {type: token-producer, parameters: {modelName: M, vllm: {url: \"http://tokenizer:8000\"}}}
- {type: endpoint-notification-source}
- {type: metrics-data-source}
- {type: core-metrics-extractor}
- {type: precise-prefix-cache-producer, parameters: {tokenProcessorConfig: {blockSizeTokens: 64},
    indexerConfig: {kvBlockIndexConfig: {enableMetrics: true}}}}
- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}}
- {type: kv-cache-utilization-scorer}
- {type: queue-scorer}
dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]},
                      {pluginRef: endpoint-notification-source, extractors: [{pluginRef: precise-prefix-cache-producer}]}]}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: prefix-cache-scorer, weight: 2}, {pluginRef: kv-cache-utilization-scorer, weight: 1}, {pluginRef: queue-scorer, weight: 1}]
";

const TIERED: &str = "
plugins:
- {type: approx-prefix-cache-producer}
- {type: approx-prefix-cache-producer, name: cpu-prefix-cache-producer, parameters: {autoTune: false, lruCapacityPerServer: 41000}}
- {type: prefix-cache-scorer, name: gpu}
- {type: prefix-cache-scorer, name: cpu, parameters: {prefixMatchInfoProducerName: cpu-prefix-cache-producer}}
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: gpu}, {pluginRef: cpu}, {pluginRef: queue-scorer, weight: 2}, {pluginRef: kv-cache-utilization-scorer, weight: 2}]
";

const FLOW: &str = "
featureGates: [flowControl]
plugins:
- {type: prefix-cache-scorer}
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
- {type: concurrency-detector, parameters: {maxConcurrency: 132}}
- {type: round-robin-fairness-policy}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: prefix-cache-scorer, weight: 3}, {pluginRef: queue-scorer, weight: 2}, {pluginRef: kv-cache-utilization-scorer, weight: 2}]
flowControl:
  maxBytes: 10Gi
  maxRequests: 1k
  defaultRequestTTL: 60s
  saturationDetector: {pluginRef: concurrency-detector}
  priorityBands:
  - {priority: 100, maxRequests: 500, fairnessPolicyRef: round-robin-fairness-policy}
  - {priority: 0, maxRequests: 200, fairnessPolicyRef: round-robin-fairness-policy}
  - {priority: -10, maxRequests: 50, fairnessPolicyRef: round-robin-fairness-policy}
";

const PREDICTED: &str = "
plugins:
- {type: predicted-latency-producer, parameters: {samplingMean: 1000, contextTTL: 300000000000, streamingMode: true}}
- {type: prefix-cache-affinity-filter, name: strict, parameters: {affinityThreshold: 0.99, ttftSource: latencyPredictor, maxTTFTPenaltyMs: 5000}}
- {type: slo-headroom-tier-filter}
- {type: prefix-cache-affinity-filter, name: loose, parameters: {affinityThreshold: 0.80, ttftSource: latencyPredictor, maxTTFTPenaltyMs: 5000}}
- {type: latency-scorer}
- {type: latency-slo-admitter}
- {type: weighted-random-picker}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: predicted-latency-producer}, {pluginRef: strict}, {pluginRef: slo-headroom-tier-filter}, {pluginRef: loose},
            {pluginRef: latency-scorer}, {pluginRef: weighted-random-picker}]
";

const ENCODE: &str = "
plugins:
- {type: encode-filter}
- {type: prefill-filter}
- {type: decode-filter}
- {type: queue-scorer}
- {type: always-disagg-multimodal-decider}
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 16}}
- {type: disagg-profile-handler, parameters: {deciders: {prefill: prefix-based-pd-decider, encode: always-disagg-multimodal-decider}}}
schedulingProfiles:
- name: encode
  plugins: [{pluginRef: encode-filter}, {pluginRef: queue-scorer}]
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}]
";

const CONTEXT_LENGTH: &str = "
plugins:
- {type: context-length-aware, parameters: {enableFiltering: true}}
- {type: token-producer, parameters: {estimate: {}}}
- {type: prefill-filter}
- {type: decode-filter}
- {type: always-disagg-pd-decider}
- {type: disagg-profile-handler, parameters: {deciderPluginName: always-disagg-pd-decider}}
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: context-length-aware}]
- name: decode
  plugins: [{pluginRef: decode-filter}]
";

const OTHERS: &[(&str, &str)] = &[
    ("adapters", "
plugins: [{type: lora-affinity-scorer}, {type: queue-scorer}, {type: max-score-picker}]
schedulingProfiles:
- {name: default, plugins: [{pluginRef: lora-affinity-scorer, weight: 4}, {pluginRef: queue-scorer, weight: 2}, {pluginRef: max-score-picker}]}
"),
    ("wide expert parallelism", "
plugins: [{type: prefill-header-handler}, {type: prefill-filter}, {type: decode-filter}, {type: prefix-cache-scorer},
          {type: active-request-scorer}, {type: queue-scorer}, {type: prefix-based-pd-decider}, {type: pd-profile-handler}]
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: prefix-cache-scorer, weight: 3}, {pluginRef: active-request-scorer, weight: 2}, {pluginRef: queue-scorer, weight: 2}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: active-request-scorer}, {pluginRef: queue-scorer}]
"),
    ("older preset", "
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: single-profile-handler}, {type: prefix-cache-scorer}, {type: load-aware-scorer}, {type: max-score-picker}]
schedulingProfiles:
- {name: default, plugins: [{pluginRef: prefix-cache-scorer, weight: 2.0}, {pluginRef: load-aware-scorer, weight: 1.0}, {pluginRef: max-score-picker}]}
"),
    ("older preset with prefill", "
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: prefill-header-handler}, {type: prefill-filter}, {type: decode-filter}, {type: max-score-picker}, {type: queue-scorer, parameters: {hashBlockSize: 5}},
          {type: pd-profile-handler, parameters: {threshold: 0, hashBlockSize: 5}}]
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer, weight: 1.0}, {pluginRef: max-score-picker}]}
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer, weight: 1.0}, {pluginRef: max-score-picker}]}
"),
    ("precise, older sample", "
plugins:
- {type: token-producer, parameters: {modelName: M, vllm: {url: \"http://tokenizer:8000\"}}}
- {type: precise-prefix-cache-producer, parameters: {tokenProcessorConfig: {blockSize: 64, hashSeed: 42}, kvEventsConfig: {topicFilter: \"kv@\", concurrency: 4, discoverPods: true, podDiscoveryConfig: {socketPort: 5557}}}}
- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}}
- {type: active-request-scorer, parameters: {maxBusyScore: 0, requestTimeout: \"2m\"}}
- {type: kv-cache-utilization-scorer}
- {type: queue-scorer}
"),
    ("precise, composite", "
plugins:
- {type: precise-prefix-cache-scorer, parameters: {indexerConfig: {tokenProcessorConfig: {blockSize: 64}, tokenizersPoolConfig: {modelName: M}}, kvEventsConfig: {zmqEndpoint: \"tcp://0.0.0.0:5557\"}}}
"),
    ("data parallel", "
plugins: [{type: data-parallel-profile-handler, parameters: {primaryPort: 8000}}, {type: decode-filter}, {type: prefix-cache-scorer}]
schedulingProfiles:
- {name: default, plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer, weight: 2}]}
"),
    ("encoder cache", "
plugins: [{type: precise-prefix-cache-scorer}, {type: mm-embeddings-cache-scorer}, {type: queue-scorer}, {type: mm-embeddings-cache-producer, parameters: {cacheSizeInMB: 2048}}]
schedulingProfiles:
- {name: default, plugins: [{pluginRef: precise-prefix-cache-scorer, weight: 10}, {pluginRef: mm-embeddings-cache-scorer, weight: 4}, {pluginRef: queue-scorer}]}
"),
    ("payload agnostic", "
plugins: [{type: passthrough-parser}, {type: active-request-scorer}, {type: session-affinity-scorer}]
requestHandler: {parsers: [{pluginRef: passthrough-parser}]}
"),
    ("another engine", "
plugins: [{type: queue-scorer}, {type: core-metrics-extractor, parameters: {defaultEngine: sglang}}]
"),
    ("shedding by chance", "
plugins: [{type: probabilistic-admitter}, {type: queue-scorer}, {type: utilization-detector, parameters: {queueDepthThreshold: 1000000, kvCacheUtilThreshold: 1}}]
"),
    ("random", "plugins: [{type: random-picker}]"),
    ("random, unread", "
plugins: [{type: random-picker}, {type: passthrough-parser}]
requestHandler: {parsers: [{pluginRef: passthrough-parser}]}
"),
];

fn added(config: &Config) -> Vec<&str> {
    let background = [
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
    ];
    let plugins = config.plugins.iter();
    plugins
        .filter(|plugin| plugin.injected && !background.contains(&plugin.name.as_str()))
        .map(|plugin| plugin.name.as_str())
        .collect()
}

#[test]
fn well_known_configurations_get_what_they_need() {
    let approx = "approx-prefix-cache-producer";
    let tokens = "token-producer";
    for (name, text, expected) in [
        ("baseline", BASELINE, &[approx, tokens][..]),
        (
            "prefill and decode",
            DISAGGREGATED,
            &["inflight-load-producer", approx, tokens],
        ),
        ("selective", SELECTIVE, &["max-score-picker", tokens]),
        (
            "precise",
            PRECISE,
            &["single-profile-handler", "max-score-picker"],
        ),
        (
            "tiers",
            TIERED,
            &["single-profile-handler", "max-score-picker", tokens],
        ),
        (
            "flow control",
            FLOW,
            &[
                "single-profile-handler",
                "max-score-picker",
                approx,
                "inflight-load-producer",
                tokens,
            ],
        ),
        (
            "predicted latency",
            PREDICTED,
            &[
                "single-profile-handler",
                tokens,
                approx,
                "inflight-load-producer",
            ],
        ),
        ("encode", ENCODE, &["max-score-picker", approx, tokens]),
        (
            "context length",
            CONTEXT_LENGTH,
            &["max-score-picker", approx],
        ),
    ] {
        let config = config(text);
        let mut found = added(&config);
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
        let _ = Scheduler::new(config.into());
    }
    for (name, text) in OTHERS {
        let config = config(text);
        assert!(!config.profiles.is_empty(), "{name}");
        let _ = Scheduler::new(config.into());
    }
}

#[test]
fn the_effective_configuration_is_one_that_loads() {
    const MOVED: &str = "
apiVersion: inference.networking.x-k8s.io/v1alpha1
plugins:
- {type: prefill-header-handler}
- {type: prefix-cache-scorer, parameters: {hashBlockSize: 100, maxPrefixBlocksToMatch: 256, lruCapacityPerServer: 77}}
- {type: pd-profile-handler, parameters: {threshold: 10, hashBlockSize: 5}}
schedulingProfiles: [{name: prefill, plugins: [{pluginRef: prefix-cache-scorer}]}, {name: decode}]
saturationDetector: {queueDepthThreshold: 9, kvCacheUtilThreshold: 0.5}
";
    let all = [
        MOVED,
        BASELINE,
        DISAGGREGATED,
        SELECTIVE,
        PRECISE,
        TIERED,
        FLOW,
        PREDICTED,
        ENCODE,
        CONTEXT_LENGTH,
    ];
    for text in all {
        let first = config(text);
        let effective = first.effective().to_string();
        let again = config(&effective);
        let sections = [
            "schedulingProfiles",
            "dataLayer",
            "flowControl",
            "requestHandler",
        ];
        for section in sections {
            assert_eq!(again.effective()[section], first.effective()[section]);
        }
        let names = |config: &Config| {
            let mut names: Vec<_> = config.plugins.iter().map(|p| p.name.clone()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&again), names(&first));
        assert_eq!(again.flow, first.flow);
        for plugin in &first.plugins {
            assert_eq!(
                again.plugin(&plugin.name).unwrap().settings,
                plugin.settings
            );
        }
    }
}

#[test]
fn what_is_not_bound_yet_is_told() {
    let notices = config(PRECISE).notices.join("\n");
    assert!(notices.contains("not bound to KV events"), "{notices}");
    assert!(notices.contains("they are estimated"), "{notices}");
    assert!(config(BASELINE).notices.is_empty());
}

#[test]
fn the_detector_of_the_flow_sample_counts_requests() {
    let config = config(FLOW);
    assert!(matches!(
        &config.plugins[config.detector].settings,
        Settings::ConcurrencyDetector(detector) if (detector.requests - 132.0).abs() < 1e-9
    ));
    let limits: Vec<(i32, u64)> = config
        .flow
        .bands
        .iter()
        .map(|(priority, band)| (*priority, band.max_requests))
        .collect();
    assert_eq!(limits, [(100, 500), (0, 200), (-10, 50)]);
}
