//! Every numbered rule of admission, on a service's own spec and on an effective one.

use serde_json::{Value, json};

use super::Broken::{Forbidden, Invalid, NotSupported, Required};
use super::{Broken, Verdict, review, validate_effective};

fn service(spec: &Value) -> Value {
    json!({"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
        "metadata": {"name": "llama"}, "spec": spec})
}

/// Names with values.
type Texts = &'static [(&'static str, &'static str)];
/// Fields with what kind of rule is broken.
type Reported = &'static [(&'static str, Broken)];
/// Number of the rule, a spec that breaks it, and what is reported.
type Row = (u8, Value, Reported);

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let keda = json!({"maxReplicas": 2, "keda": {"triggers": [{"type": "cpu"}]}});
    let hpa = json!({"maxReplicas": 2, "wva": {"hpa": {}}});
    let wva_keda = json!({"maxReplicas": 2, "wva": {"keda": {}}});
    let tier = |file_system: Value| json!({"kvCacheOffloading": {"cpu": "1Gi", "secondary": [{"fileSystem": file_system}]}});
    let rollout = |unavailable: Value, surge: Value| json!({"rolloutStrategy": {"maxUnavailable": unavailable, "maxSurge": surge}});
    vec![
        (1, json!({"router": {"route": {"http": {"refs": [{"name": "r"}], "spec": {}}}}}), &[("spec.router.route.http", Invalid)]),
        (1, json!({"router": {"route": {"http": {"refs": [], "spec": {}}}}}), &[]),
        (2, json!({"router": {"gateway": {}, "route": {"http": {"refs": [{"name": "r"}]}}}}), &[("spec.router.route.http.refs", Invalid)]),
        (2, json!({"router": {"gateway": {"refs": [{"name": "g"}]}, "route": {"http": {"refs": [{"name": "r"}]}}}}), &[]),
        (3, json!({"router": {"gateway": {"refs": [{"name": "a"}]}, "route": {"http": {"spec": {"parentRefs": [{"name": "a", "sectionName": "s"}]}}}}}), &[("spec.router.route.http.spec", Invalid)]),
        (3, json!({"router": {"gateway": {"refs": [{"name": "a"}, {"name": "b"}]}, "route": {"http": {"spec": {"parentRefs": [{"name": "b"}, {"name": "a", "namespace": ""}]}}}}}), &[]),
        (4, json!({"router": {"ingress": {}, "route": {"group": "g"}}}), &[("spec.router.route.group", Invalid)]),
        (5, json!({"router": {"route": {"group": "g", "http": {"refs": [{"name": "r"}]}}}}), &[("spec.router.route.weight", Required)]),
        (5, json!({"router": {"route": {"weight": 1}}}), &[("spec.router.route.group", Required)]),
        (6, json!({"router": {"route": {"group": "g", "weight": 1, "http": {"refs": [{"name": "r"}]}}}}), &[("spec.router.route.group", Invalid)]),
        (7, json!({"worker": {}}), &[("spec.worker", Invalid)]),
        (7, json!({"worker": {}, "parallelism": {"tensor": 2}}), &[("spec.worker", Invalid)]),
        (7, json!({"prefill": {"worker": {}}}), &[("spec.prefill.worker", Invalid)]),
        (8, json!({"parallelism": {"pipeline": 2, "data": 2, "dataLocal": 1}}), &[("spec.parallelism", Invalid)]),
        (9, json!({"parallelism": {"data": 2}}), &[("spec.parallelism.dataLocal", Invalid)]),
        (9, json!({"prefill": {"parallelism": {"dataLocal": 2}}}), &[("spec.prefill.parallelism.data", Invalid)]),
        (10, json!({"parallelism": {"pipeline": 0}}), &[("spec.parallelism.pipeline", Invalid)]),
        (10, json!({"parallelism": {"data": -1, "dataLocal": 0}}), &[("spec.parallelism.data", Invalid), ("spec.parallelism.dataLocal", Invalid)]),
        (11, json!({"router": {"scheduler": {"replicas": 0}}}), &[("spec.router.scheduler.replicas", Invalid)]),
        (12, json!({"router": {"scheduler": {"config": {}}}}), &[("spec.router.scheduler.config", Invalid)]),
        (12, json!({"router": {"scheduler": {"config": {"inline": {"a": 1}, "ref": {"name": "c"}}}}}), &[("spec.router.scheduler.config", Invalid)]),
        (13, json!({"router": {"scheduler": {"config": {"inline": {}}}}}), &[("spec.router.scheduler.config.inline", Invalid)]),
        (14, json!({"router": {"scheduler": {"config": {"ref": {"name": ""}}}}}), &[("spec.router.scheduler.config.ref.name", Invalid)]),
        (15, json!({"replicas": 1, "scaling": keda}), &[("spec.scaling", Invalid)]),
        (15, json!({"scaling": {"maxReplicas": 2}}), &[("spec.scaling", Required)]),
        (15, json!({"scaling": {"maxReplicas": 2, "wva": {"hpa": {}}, "keda": {}}}), &[("spec.scaling", Invalid)]),
        (15, json!({"prefill": {"scaling": {"maxReplicas": 2, "wva": {"keda": {"advanced": {"horizontalPodAutoscalerConfig": {"name": "n"}}}}}}}), &[("spec.prefill.scaling.wva.keda.advanced.horizontalPodAutoscalerConfig.name", Forbidden)]),
        (16, json!({"scaling": keda, "prefill": {"scaling": hpa}}), &[("spec.prefill.scaling", Invalid)]),
        (17, json!({"scaling": wva_keda, "prefill": {"scaling": hpa}}), &[("spec.prefill.scaling.wva", Invalid)]),
        (18, json!({"model": {"lora": {"maxRank": 0, "maxAdapters": 0, "maxCpuAdapters": -1}}}), &[("spec.model.lora.maxRank", Invalid), ("spec.model.lora.maxAdapters", Invalid), ("spec.model.lora.maxCpuAdapters", Invalid)]),
        (19, json!({"model": {"lora": {"adapters": [{"name": ""}]}}}), &[("spec.model.lora.adapters[0].name", Required)]),
        (20, json!({"model": {"lora": {"adapters": [{"name": "."}, {"name": "."}]}}}), &[("spec.model.lora.adapters[0].name", Invalid), ("spec.model.lora.adapters[1].name", Invalid)]),
        (20, json!({"model": {"name": "b", "lora": {"adapters": [{"name": "b"}, {"name": "b"}]}}}), &[("spec.model.lora.adapters[0].name", Invalid), ("spec.model.lora.adapters[1].name", Invalid), ("spec.model.lora.adapters[1].name", Invalid)]),
        (21, json!({"kvCacheOffloading": {"cpu": "0", "secondary": [{"fileSystem": {"emptyDir": {}}}]}}), &[("spec.kvCacheOffloading.cpu", Required)]),
        (22, tier(json!({})), &[("spec.kvCacheOffloading.secondary[0].fileSystem", Required)]),
        (22, tier(json!({"emptyDir": {}, "pvc": {"ref": {"name": "p"}}})), &[("spec.kvCacheOffloading.secondary[0].fileSystem", Invalid)]),
        (23, tier(json!({"pvc": {}})), &[("spec.kvCacheOffloading.secondary[0].fileSystem.pvc", Required)]),
        (23, tier(json!({"pvc": {"spec": {}, "ref": {"name": "p"}}})), &[("spec.kvCacheOffloading.secondary[0].fileSystem.pvc", Invalid)]),
        (23, tier(json!({"pvc": {"ref": {"name": ""}}})), &[("spec.kvCacheOffloading.secondary[0].fileSystem.pvc.ref.name", Required)]),
        (24, rollout(json!(-1), json!("101%")), &[("spec.rolloutStrategy.maxUnavailable", Invalid), ("spec.rolloutStrategy.maxSurge", Invalid)]),
        (24, json!({"prefill": rollout(json!("3"), Value::Null)}), &[("spec.prefill.rolloutStrategy.maxUnavailable", Invalid)]),
        (25, rollout(json!("25%"), json!(0)), &[("spec.rolloutStrategy", Invalid)]),
        (26, json!({"worker": {}, "parallelism": {"pipeline": 2}, "rolloutStrategy": {"maxUnavailable": 0}}), &[("spec.rolloutStrategy.maxSurge", Required)]),
        (29, json!({"model": {"confidential": {"enabled": true, "resourceId": "x"}}}), &[("spec.model.confidential.resourceId", Invalid)]),
        (29, json!({"model": {"confidential": {"enabled": true, "resourceId": "kbs:///a/b/c"}}}), &[]),
    ]
}

fn found(verdict: &Verdict) -> Vec<(&str, Broken)> {
    verdict
        .errors
        .iter()
        .map(|error| (error.path.as_str(), error.broken))
        .collect()
}

#[test]
fn each_rule_holds_for_own_and_effective_specs() {
    for (rule, spec, want) in table() {
        let own = review(&service(&spec), None);
        assert_eq!(found(&own), want, "rule {rule}, own: {spec}");
        // Combining gives a route the references of `gateway.refs`.
        let want = if rule == 3 { &[] } else { want };
        let effective = validate_effective(&service(&json!({})), &spec, None);
        assert_eq!(found(&effective), want, "rule {rule}, effective: {spec}");
    }
}

#[test]
fn rule_3_is_a_warning_for_the_same_gateways_and_an_error_in_the_old_version() {
    let spec = json!({"router": {"gateway": {"refs": [{"name": "a"}]},
        "route": {"http": {"spec": {"parentRefs": [{"name": "a"}]}}}}});
    let mut object = service(&spec);
    assert_eq!(review(&object, None).warnings.len(), 1);
    assert_eq!(
        validate_effective(&service(&json!({})), &spec, None),
        Verdict::default()
    );
    object["apiVersion"] = json!("serving.kserve.io/v1alpha1");
    assert_eq!(
        found(&review(&object, None)),
        [("spec.router.route.http.spec", Invalid)]
    );
}

#[test]
fn rules_7_and_9_wait_for_what_is_inherited_and_the_others_do_not() {
    let own = json!({"baseRefs": [{"name": "b"}], "worker": {}, "parallelism": {"data": 4, "pipeline": 0}});
    assert_eq!(
        found(&review(&service(&own), None)),
        [("spec.parallelism.pipeline", Invalid)]
    );
    let mut effective = own.clone();
    assert_eq!(
        found(&validate_effective(&service(&own), &effective, None)),
        [
            ("spec.parallelism.dataLocal", Invalid),
            ("spec.parallelism.pipeline", Invalid)
        ]
    );
    effective["parallelism"] = json!({"data": 4, "dataLocal": 2});
    assert_eq!(
        validate_effective(&service(&own), &effective, None),
        Verdict::default()
    );
}

#[test]
fn rule_27_looks_at_the_annotations_of_device_claims() {
    let rows: [(Texts, Reported); 5] = [
        (
            &[("device-class", "gpu.nvidia.com"), ("device-count", "2")],
            &[],
        ),
        (&[("device-count", "2")], &[("device-class", Required)]),
        (&[("device-class", "A_b")], &[("device-class", Invalid)]),
        (
            &[
                ("device-class", "g"),
                ("device-count", "0"),
                ("cel-selector", " "),
            ],
            &[("device-count", Invalid), ("cel-selector", Invalid)],
        ),
        (
            &[("device-class", "g"), ("container-name", "A")],
            &[("container-name", Invalid)],
        ),
    ];
    for (annotations, want) in rows {
        let mut object = service(&json!({}));
        for (name, value) in annotations {
            object["metadata"]["annotations"][format!("serving.kserve.io/exp-dra-{name}")] =
                json!(value);
        }
        let verdict = review(&object, None);
        let paths: Vec<String> = want
            .iter()
            .map(|(name, _)| format!("metadata.annotations[serving.kserve.io/exp-dra-{name}]"))
            .collect();
        let want: Vec<(&str, Broken)> = paths
            .iter()
            .map(String::as_str)
            .zip(want.iter().map(|(_, broken)| *broken))
            .collect();
        assert_eq!(found(&verdict), want, "{annotations:?}");
        assert_eq!(
            found(&validate_effective(&object, &json!({}), None)),
            want,
            "{annotations:?}"
        );
    }
}

#[test]
fn rule_28_compares_group_sizes() {
    let sized = |data: i64, local: i64| json!({"parallelism": {"data": data, "dataLocal": local}});
    let rows = [
        (sized(16, 8), sized(32, 16), ""),
        (sized(16, 8), sized(32, 8), "spec.parallelism"),
        (
            json!({}),
            json!({"parallelism": {"pipeline": 2}}),
            "spec.parallelism",
        ),
        (
            json!({}),
            json!({"prefill": {"parallelism": {"pipeline": 2}}}),
            "",
        ),
        (
            json!({"prefill": {}}),
            json!({"prefill": {"parallelism": {"pipeline": 2}}}),
            "spec.prefill.parallelism",
        ),
    ];
    for (old, new, path) in rows {
        let want: Vec<_> = (!path.is_empty())
            .then_some((path, NotSupported))
            .into_iter()
            .collect();
        let own = review(&service(&new), Some(&service(&old)));
        assert_eq!(found(&own), want, "{old} to {new}");
        // The own spec may stay as it is while what is inherited changes.
        let effective = validate_effective(&service(&json!({})), &new, Some(&old));
        assert_eq!(found(&effective), want, "{old} to {new}");
    }
}

#[test]
fn rule_30_warns_of_confidential_models_that_are_not_downloaded() {
    for (uri, warned) in [
        ("oci://a/b", true),
        ("pvc://a/b", true),
        ("oci+native://a/b", false),
        ("hf://a/b", false),
    ] {
        let spec = json!({"model": {"uri": uri, "confidential": {"enabled": true}}});
        let verdict = review(&service(&spec), None);
        assert_eq!(!verdict.warnings.is_empty(), warned, "{uri}");
        assert!(verdict.errors.is_empty(), "{uri}");
    }
}

#[test]
fn accelerators_are_compared_with_parallelism() {
    let limit = |count: i64| json!({"limits": {"nvidia.com/gpu": count.to_string()}});
    let spec = |parallelism: Value, main: Value| {
        let mut main = main;
        main["name"] = json!("main");
        json!({"parallelism": parallelism, "template": {"containers": [main]}})
    };
    let generated = |size: &str, count: i64| json!({"command": ["vllm", "serve"], "args": ["--tensor-parallel-size", size], "resources": limit(count)});
    // What is given, errors and warnings on the own spec, errors and warnings on the effective one.
    let rows = [
        (
            spec(json!({"tensor": 2}), json!({"resources": limit(2)})),
            [0, 0, 0, 0],
        ),
        (
            spec(json!({"tensor": 2}), json!({"resources": limit(1)})),
            [1, 0, 1, 0],
        ),
        (
            spec(json!({}), json!({"resources": limit(1)})),
            [0, 0, 0, 0],
        ),
        (
            spec(json!({"tensor": 2}), json!({"resources": {}})),
            [0, 0, 0, 0],
        ),
        (
            spec(
                json!({"tensor": 2, "data": 8, "dataLocal": 4}),
                json!({"resources": limit(8)}),
            ),
            [0, 0, 0, 0],
        ),
        (
            spec(
                json!({"tensor": 2, "pipeline": 3}),
                json!({"resources": limit(6)}),
            ),
            [0, 0, 0, 0],
        ),
        (
            spec(
                json!({"tensor": 2}),
                json!({"resources": limit(4), "args": ["--tensor-parallel-size=4"]}),
            ),
            [0, 1, 0, 1],
        ),
        (
            spec(
                json!({"tensor": 2}),
                json!({"resources": limit(4), "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--tensor-parallel-size 4"}]}),
            ),
            [0, 1, 0, 1],
        ),
        (
            spec(
                json!({"tensor": 2}),
                json!({"resources": limit(4), "command": ["sh"]}),
            ),
            [0, 1, 0, 1],
        ),
        (spec(json!({"tensor": 2}), generated("2", 4)), [0, 1, 1, 0]),
        (spec(json!({"tensor": 2}), generated("4", 4)), [0, 1, 0, 1]),
    ];
    for (spec, want) in rows {
        let own = review(&service(&spec), None);
        let effective = validate_effective(&service(&json!({})), &spec, None);
        let got = [
            &own.errors,
            &own.warnings,
            &effective.errors,
            &effective.warnings,
        ]
        .map(Vec::len);
        assert_eq!(got, want, "{spec}");
    }
}
