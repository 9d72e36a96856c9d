//! One row a rule: what is given, and the paths that are reported.

use serde_json::{Value, json};

use super::{Broken, review, validate};

fn service(spec: &Value) -> Value {
    json!({"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService", "metadata": {"name": "llama"}, "spec": spec})
}

#[test]
fn every_broken_rule_is_reported_with_its_path() {
    use Broken::{Forbidden, Invalid, Required};
    let keda = json!({"maxReplicas": 2, "keda": {"triggers": [{"type": "cpu", "metadata": {}}]}});
    let table: Vec<(Value, &[(&str, Broken)])> = vec![
        (json!({}), &[]),
        (
            json!({"replicas": 2, "parallelism": {"tensor": 4, "expert": true}}),
            &[],
        ),
        (
            json!({"router": {"route": {"http": {"refs": [{"name": "r"}], "spec": {}}}}}),
            &[("spec.router.route.http", Invalid)],
        ),
        (
            json!({"router": {"gateway": {}, "route": {"http": {"refs": [{"name": "r"}]}}}}),
            &[("spec.router.route.http.refs", Invalid)],
        ),
        (
            json!({"router": {"gateway": {"refs": [{"name": "a"}]}, "route": {"http": {"spec": {"parentRefs": [{"name": "b"}]}}}}}),
            &[("spec.router.route.http.spec", Invalid)],
        ),
        (
            json!({"router": {"ingress": {}, "route": {"group": "g"}}}),
            &[("spec.router.route.group", Invalid)],
        ),
        (
            json!({"router": {"route": {"group": "g"}}}),
            &[("spec.router.route.weight", Required)],
        ),
        (
            json!({"router": {"route": {"weight": 1}}}),
            &[("spec.router.route.group", Required)],
        ),
        (
            json!({"router": {"route": {"group": "g", "weight": 1, "http": {"refs": [{"name": "r"}]}}}}),
            &[("spec.router.route.group", Invalid)],
        ),
        (json!({"worker": {}}), &[("spec.worker", Invalid)]),
        (
            json!({"worker": {}, "parallelism": {"tensor": 2}}),
            &[("spec.worker", Invalid)],
        ),
        (json!({"worker": {}, "baseRefs": [{"name": "c"}]}), &[]),
        (
            json!({"parallelism": {"pipeline": 2, "data": 2, "dataLocal": 1}}),
            &[("spec.parallelism", Invalid)],
        ),
        (
            json!({"parallelism": {"data": 2}}),
            &[("spec.parallelism.dataLocal", Invalid)],
        ),
        (
            json!({"prefill": {"parallelism": {"dataLocal": 2}}, "router": {"scheduler": {}}}),
            &[("spec.prefill.parallelism.data", Invalid)],
        ),
        (
            json!({"parallelism": {"pipeline": 0}}),
            &[("spec.parallelism.pipeline", Invalid)],
        ),
        (
            json!({"parallelism": {"data": 10, "dataLocal": 4}}),
            &[("spec.parallelism.data", Invalid)],
        ),
        (json!({"parallelism": {"data": 4, "dataLocal": 8}}), &[]),
        (
            json!({"parallelism": {"expert": 8}}),
            &[("spec.parallelism.expert", Invalid)],
        ),
        (
            json!({"parallelism": {"expert": "yes"}}),
            &[("spec.parallelism.expert", Invalid)],
        ),
        (
            json!({"router": {"scheduler": {"replicas": 0}}}),
            &[("spec.router.scheduler.replicas", Invalid)],
        ),
        (
            json!({"router": {"scheduler": {"config": {}}}}),
            &[("spec.router.scheduler.config", Invalid)],
        ),
        (
            json!({"router": {"scheduler": {"config": {"inline": {}}}}}),
            &[("spec.router.scheduler.config.inline", Invalid)],
        ),
        (
            json!({"router": {"scheduler": {"config": {"ref": {"name": "", "key": "k"}}}}}),
            &[("spec.router.scheduler.config.ref.name", Invalid)],
        ),
        (
            json!({"replicas": 1, "scaling": keda}),
            &[("spec.scaling", Invalid)],
        ),
        (
            json!({"scaling": {"maxReplicas": 2}}),
            &[("spec.scaling", Required)],
        ),
        (
            json!({"scaling": {"minReplicas": 3, "maxReplicas": 2, "wva": {"hpa": {}, "variantCost": "x"}}}),
            &[
                ("spec.scaling.wva.variantCost", Invalid),
                ("spec.scaling.minReplicas", Invalid),
            ],
        ),
        (
            json!({"scaling": {"maxReplicas": 2, "wva": {"keda": {"idleReplicaCount": 0, "advanced": {"scalingModifiers": {"formula": "x"}}}}}}),
            &[
                ("spec.scaling.wva.keda.advanced.scalingModifiers", Forbidden),
                ("spec.scaling.minReplicas", Required),
            ],
        ),
        (
            json!({"scaling": keda, "prefill": {"scaling": {"maxReplicas": 2, "wva": {"hpa": {}}}}}),
            &[("spec.prefill.scaling", Invalid)],
        ),
        (
            json!({"model": {"lora": {"maxRank": 0, "adapters": [{}, {"name": ".."}, {"name": "a"}, {"name": "a"}, {"name": "llama"}]}}}),
            &[
                ("spec.model.lora.maxRank", Invalid),
                ("spec.model.lora.adapters[0].name", Required),
                ("spec.model.lora.adapters[1].name", Invalid),
                ("spec.model.lora.adapters[3].name", Invalid),
                ("spec.model.lora.adapters[4].name", Invalid),
            ],
        ),
        (
            json!({"kvCacheOffloading": {"cpu": "0Gi", "secondary": [{}, {"fileSystem": {"pvc": {"ref": {"name": ""}}}}]}}),
            &[
                ("spec.kvCacheOffloading.cpu", Required),
                ("spec.kvCacheOffloading.secondary[0].fileSystem", Required),
                (
                    "spec.kvCacheOffloading.secondary[1].fileSystem.pvc.ref.name",
                    Required,
                ),
            ],
        ),
        (
            json!({"model": {"confidential": {"enabled": true, "resourceId": "kbs:///a/b"}}}),
            &[("spec.model.confidential.resourceId", Invalid)],
        ),
        (
            json!({"parallelism": {"tensor": 2}, "template": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}),
            &[(
                "spec.template.containers[0].resources.limits[nvidia.com/gpu]",
                Invalid,
            )],
        ),
    ];
    for (spec, want) in table {
        let found = validate(&service(&spec));
        let found: Vec<_> = found
            .iter()
            .map(|error| (error.path.as_str(), error.broken))
            .collect();
        assert_eq!(found, want, "{spec}");
    }
}

#[test]
fn rollout_limits_have_upstreams_outcomes() {
    let table = [
        (json!("25%"), json!("0%"), false, "spec.rolloutStrategy"),
        (json!("25%"), json!(0), false, "spec.rolloutStrategy"),
        (json!("25%"), json!("1%"), false, ""),
        (json!("100%"), json!(0), false, ""),
        (json!(0), json!(null), false, ""),
        (json!(0), json!(null), true, "spec.rolloutStrategy.maxSurge"),
        (
            json!("25%"),
            json!(null),
            true,
            "spec.rolloutStrategy.maxSurge",
        ),
        (
            json!("101%"),
            json!(null),
            false,
            "spec.rolloutStrategy.maxUnavailable",
        ),
        (
            json!("3"),
            json!(null),
            false,
            "spec.rolloutStrategy.maxUnavailable",
        ),
        (
            json!(-1),
            json!(null),
            false,
            "spec.rolloutStrategy.maxUnavailable",
        ),
    ];
    for (unavailable, surge, multi_node, want) in table {
        let mut spec =
            json!({"rolloutStrategy": {"maxUnavailable": unavailable, "maxSurge": surge}});
        if multi_node {
            spec["worker"] = json!({});
            spec["parallelism"] = json!({"pipeline": 2});
        }
        let found = validate(&service(&spec))
            .first()
            .map_or_else(String::new, |error| error.path.clone());
        assert_eq!(found, want, "{spec}");
    }
}

#[test]
fn names_must_fit_the_objects_made_of_them() {
    let named = |name: &str| {
        let mut object = service(&json!({}));
        object["metadata"]["name"] = json!(name);
        object
    };
    assert!(validate(&named(&"a".repeat(63))).is_empty());
    for name in ["a".repeat(64).as_str(), "1st", "a.b", "A"] {
        assert_eq!(validate(&named(name))[0].path, "metadata.name", "{name}");
        assert!(
            review(&named(name), Some(&named(name))).errors.is_empty(),
            "an update of {name} goes through"
        );
    }
}

#[test]
fn the_group_size_cannot_change() {
    let sized = |data: i64, local: i64| {
        service(&json!({"parallelism": {"data": data, "dataLocal": local}}))
    };
    assert!(
        review(&sized(32, 16), Some(&sized(16, 8)))
            .errors
            .is_empty()
    );
    assert_eq!(
        review(&sized(32, 8), Some(&sized(16, 8))).errors[0].broken,
        Broken::NotSupported
    );
}

#[test]
fn a_terminating_object_is_accepted() {
    let mut object = service(&json!({"worker": {}}));
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(validate(&object).is_empty());
}

#[test]
fn warnings_do_not_refuse() {
    let mut gpus = json!({"parallelism": {"tensor": 2}, "template": {"containers": [
        {"name": "main", "args": ["--tensor-parallel-size=1"], "resources": {"limits": {"nvidia.com/gpu": 1}}},
    ]}});
    gpus["prefill"] = json!({});
    let verdict = review(&service(&gpus), None);
    assert!(verdict.errors.is_empty());
    assert_eq!(verdict.warnings.len(), 2);
}

#[test]
fn configs_do_not_inherit() {
    let mut object =
        service(&json!({"baseRefs": [{"name": "c"}], "router": {"scheduler": {"replicas": 0}}}));
    object["kind"] = json!("LLMInferenceServiceConfig");
    let paths: Vec<_> = validate(&object)
        .into_iter()
        .map(|error| error.path)
        .collect();
    assert_eq!(paths, ["spec.baseRefs", "spec.router.scheduler.replicas"]);
}
