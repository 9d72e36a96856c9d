//! Which presets a service asks for.

use serde_json::{Value, json};
use weir_compose::{Config, detect, select, select_with};

fn suffixes(spec: &Value) -> String {
    let chosen = select(&json!({"spec": spec}));
    let short = chosen
        .iter()
        .map(|name| name.trim_start_matches("config-llm-"));
    short.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_shape_decides() {
    let plugins = |name: &str| json!({"plugins": [{"type": name}]});
    let args = |args: &[&str]| json!({"containers": [{"name": "main", "args": args}]});
    let text = "plugins:\n- type: token-producer\n";
    let rows = [
        (json!({}), "template"),
        (
            json!({"router": {"route": {}, "gateway": {}}}),
            "router-route template",
        ),
        (
            json!({"router": {"scheduler": {}, "route": {}, "gateway": {}}}),
            "scheduler router-route template",
        ),
        (
            json!({"router": {"scheduler": {}, "route": {}}, "prefill": {}, "tracing": {}}),
            "scheduler router-route tracing prefill-template decode-template",
        ),
        (
            json!({"prefill": {}, "worker": {}, "parallelism": {"data": 2, "dataLocal": 1}}),
            "prefill-template decode-worker-data-parallel",
        ),
        (
            json!({"prefill": {"worker": {}, "parallelism": {"pipeline": 2}}}),
            "prefill-worker-pipeline-parallel decode-template",
        ),
        (
            json!({"prefill": {"worker": {}, "parallelism": {"data": 2}}, "worker": {}, "parallelism": {"pipeline": 2}}),
            "prefill-worker-data-parallel decode-worker-pipeline-parallel",
        ),
        (
            json!({"worker": {}, "parallelism": {"pipeline": 2}}),
            "worker-pipeline-parallel",
        ),
        (
            json!({"worker": {}, "parallelism": {"pipeline": 2, "data": 2}}),
            "worker-data-parallel",
        ),
        (json!({"worker": {}}), ""),
        (
            json!({"parallelism": {"data": 8, "pipeline": 2}}),
            "template",
        ),
        (
            json!({"router": {"scheduler": {"pool": {"ref": {"name": "p"}}}}}),
            "template",
        ),
        (
            json!({"router": {"scheduler": {"pool": {"ref": {"name": ""}}}}}),
            "scheduler template",
        ),
        (
            json!({"router": {"route": {"http": {"refs": []}}}}),
            "router-route template",
        ),
        (
            json!({"router": {"route": {"http": {"refs": [{"name": "r"}]}}}}),
            "template",
        ),
        (
            json!({"router": {"route": null, "scheduler": null}}),
            "template",
        ),
        (
            json!({"router": {"scheduler": {"tokenizer": {}}}}),
            "scheduler tokenizer template",
        ),
        (
            json!({"router": {"scheduler": {"config": {"inline": plugins("precise-prefix-cache-scorer")}, "pool": {"ref": {"name": "p"}}}}}),
            "tokenizer template",
        ),
        (
            json!({"router": {"scheduler": {"config": {"inline": plugins("predicted-latency-producer")}}}}),
            "scheduler scheduler-latency-predictor template",
        ),
        (
            json!({"router": {"scheduler": {"template": args(&["--v=1", "-configText", text])}}}),
            "scheduler tokenizer template",
        ),
        // Neither the other form nor what follows a file is seen, and nonsense has no plugins.
        (
            json!({"router": {"scheduler": {"template": args(&[&format!("--config-text={text}")])}}}),
            "scheduler template",
        ),
        (
            json!({"router": {"scheduler": {"template": args(&["--config-file", "f", "--config-text", text])}}}),
            "scheduler template",
        ),
        (
            json!({"router": {"scheduler": {"template": args(&["--config-text", "{{ not yaml"])}}}),
            "scheduler template",
        ),
        (
            json!({"router": {"scheduler": {"template": args(&["--config-text"])}}}),
            "scheduler template",
        ),
    ];
    for (spec, wanted) in rows {
        assert_eq!(suffixes(&spec), wanted, "{spec}");
    }
}

#[test]
fn a_referenced_picker_configuration_adds_the_tokenizer_only() {
    let service = json!({"spec": {"router": {"scheduler": {"config": {"ref": {"name": "c"}}}}}});
    let text = "plugins: [{type: token-producer}, {type: predicted-latency-producer}]";
    let wanted = [
        "config-llm-scheduler",
        "config-llm-tokenizer",
        "config-llm-template",
    ];
    assert_eq!(select_with(&service, Some(text)), wanted);
    assert_eq!(
        select_with(&service, None),
        ["config-llm-scheduler", "config-llm-template"]
    );
}

#[test]
fn base_references_turn_features_on_and_the_last_layer_decides() {
    let base = |spec: Value| Config {
        name: "b".to_owned(),
        namespace: "ns".to_owned(),
        spec: spec.into(),
    };
    let chosen = |spec: Value, bases: &[Config]| {
        let service = json!({"metadata": {"name": "svc"}, "spec": spec});
        suffixes(&detect(&service, bases)["spec"])
    };
    let bases = [
        base(json!({"prefill": {}})),
        base(json!({"router": {"scheduler": {}}})),
    ];
    assert_eq!(
        chosen(json!({}), &bases),
        "scheduler prefill-template decode-template"
    );
    let split = [base(json!({"parallelism": {"data": 2, "dataLocal": 1}}))];
    assert_eq!(
        chosen(json!({"worker": {}}), &split),
        "worker-data-parallel"
    );
    let refs = json!({"router": {"route": {"http": {"refs": [{"name": "own"}]}}}});
    let managed = [base(
        json!({"router": {"route": {"http": {"spec": {"hostnames": ["h"]}}}}}),
    )];
    assert_eq!(chosen(refs, &managed), "template");
}
