//! A picker's configuration in a ConfigMap.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_compose::{CombineError, Combined, Globals, Naming, Search, combine};

/// ConfigMaps by `namespace/name`.
struct Maps(BTreeMap<&'static str, Value>);

impl Search for Maps {
    type Error = Infallible;

    fn config(&mut self, _: &str, _: &str) -> Result<Option<Arc<Value>>, Infallible> {
        Ok(None)
    }

    fn config_map(
        &mut self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Infallible> {
        let found = self.0.get(format!("{namespace}/{name}").as_str());
        Ok(found.map(|data| Arc::new(json!({"data": data}))))
    }
}

fn combined(
    reference: &Value,
    maps: &[(&'static str, Value)],
) -> Result<Combined, CombineError<Infallible>> {
    let service = json!({
        "metadata": {"name": "svc", "namespace": "ns"},
        "spec": {
            "model": {"uri": "hf://a/b"},
            "router": {"scheduler": {"config": {"ref": reference}}},
            "template": {"containers": [{"name": "main", "image": "vllm/vllm-openai:v0.23.0"}]},
        },
    });
    let maps = Maps(maps.iter().cloned().collect());
    combine(&service, &Globals::default(), &Naming::default(), maps)
}

fn plugin(name: &str) -> Value {
    json!({"epp": format!("plugins:\n- type: {name}\n"), "other": "plugins: []"})
}

#[test]
fn the_text_takes_the_place_of_the_reference() {
    let rows = [
        (
            "own namespace",
            json!({"name": "c"}),
            "ns/c",
            "plugins:\n- type: x\n",
        ),
        (
            "a key",
            json!({"name": "c", "key": "other"}),
            "ns/c",
            "plugins: []",
        ),
        (
            "an empty key",
            json!({"name": "c", "key": ""}),
            "ns/c",
            "plugins:\n- type: x\n",
        ),
        (
            "shared",
            json!({"name": "config-scheduler-c"}),
            "kserve/config-scheduler-c",
            "plugins:\n- type: x\n",
        ),
    ];
    for (what, reference, map, wanted) in rows {
        let combined = combined(&reference, &[(map, plugin("x"))]).expect(what);
        let config = &combined.effective.spec["router"]["scheduler"]["config"];
        assert_eq!(*config, json!({"inline": wanted}), "{what}");
        assert_eq!(combined.effective.notes, [], "{what}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let rows = [
        (
            json!({"name": "c"}),
            // Of this name nothing is shared.
            ("kserve/c", plugin("x")),
            "spec.router.scheduler.config.ref: there is no key \"epp\" in a ConfigMap \"c\" in namespace ns",
        ),
        (
            json!({"name": "config-scheduler-c", "key": "k"}),
            // The one in the own namespace decides.
            ("ns/config-scheduler-c", plugin("x")),
            "spec.router.scheduler.config.ref: there is no key \"k\" in a ConfigMap \"config-scheduler-c\" in \
             namespaces ns and kserve",
        ),
    ];
    for (reference, map, wanted) in rows {
        let error = combined(&reference, &[map]).expect_err(wanted);
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn a_referenced_configuration_brings_the_tokenizer_but_not_the_predictor() {
    let rows = [
        ("token-producer", "kserve-config-llm-tokenizer", None),
        (
            "predicted-latency-producer",
            "",
            Some("LatencyPredictorConfigRef"),
        ),
        (
            "precise-prefix-cache-scorer",
            "kserve-config-llm-tokenizer",
            Some("DeprecatedPlugin"),
        ),
    ];
    for (name, preset, note) in rows {
        let combined = combined(&json!({"name": "c"}), &[("ns/c", plugin(name))]).expect(name);
        let mut wanted = vec![
            "kserve-config-llm-scheduler",
            preset,
            "kserve-config-llm-template",
        ];
        wanted.retain(|preset| !preset.is_empty());
        assert_eq!(combined.effective.applied, wanted, "{name}");
        let notes = combined.effective.notes.iter().map(|note| note.reason);
        assert_eq!(notes.collect::<Vec<_>>(), Vec::from_iter(note), "{name}");
    }
}

#[test]
fn an_engine_of_unknown_version_is_told_of_once_for_each_pod() {
    let service = |image: &str, annotations: Value| {
        json!({
            "metadata": {"name": "svc", "namespace": "ns", "annotations": annotations},
            "spec": {
                "model": {"uri": "hf://a/b"},
                "template": {"containers": [{"name": "main", "image": image}]},
                "prefill": {"template": {"containers": [{"name": "main", "image": image}]}},
            },
        })
    };
    let notes = |service: Value| {
        let combined = combine(
            &service,
            &Globals::default(),
            &Naming::default(),
            Maps(BTreeMap::new()),
        );
        let notes = combined.expect("composes").effective.notes;
        notes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let of = |at: &str| {
        format!(
            "{at}: neither the image \"vllm/vllm-openai:latest\" nor the annotation \
             serving.kserve.io/engine-version tells the engine's version, so only flags that every supported \
             version has are given"
        )
    };
    assert_eq!(
        notes(service("vllm/vllm-openai:latest", json!({}))),
        [of("spec.prefill.template"), of("spec.template")]
    );
    let annotated = json!({"serving.kserve.io/engine-version": "0.23.0"});
    assert_eq!(
        notes(service("vllm/vllm-openai:latest", annotated)),
        [""; 0]
    );
    assert_eq!(
        notes(service("vllm/vllm-openai:v0.23.0", json!({}))),
        [""; 0]
    );
}
