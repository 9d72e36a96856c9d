//! What follows from a merged spec by rule.

use serde_json::{Value, json};
use weir_compose::{Effective, Globals, Origins, compose, compose_with_origins, presets, select};

fn effective(router: &Value) -> Effective {
    with_origins(router).0
}

fn with_origins(router: &Value) -> (Effective, Origins) {
    let service = json!({
        "metadata": {"name": "svc", "namespace": "ns"},
        "spec": {"model": {"uri": "hf://a/b"}, "router": router},
    });
    let chosen = select(&service).into_iter().filter_map(presets::find);
    let configs: Vec<_> = chosen.cloned().collect();
    compose_with_origins(&service, &configs, &Globals::default()).expect("composes")
}

/// Group, kind and name of the first backend of the first rule of a route.
fn backend(effective: &Effective) -> String {
    let backend = effective
        .spec
        .pointer("/router/route/http/spec/rules/0/backendRefs/0")
        .expect("a backend");
    let part = |key: &str| backend[key].as_str().unwrap_or_default();
    format!(
        "{}|{}|{}|{}",
        part("group"),
        part("kind"),
        part("name"),
        backend["port"]
    )
}

#[test]
fn backends_follow_the_scheduler() {
    let (none, origins) = with_origins(&json!({"route": {}}));
    assert_eq!(backend(&none), "|Service|svc-kserve-workload-svc|8000");
    let at = "/router/route/http/spec/rules/0/backendRefs/0";
    let origin = |leaf: &str| origins.get(&format!("{at}/{leaf}")).map(String::as_str);
    assert_eq!(origin("name"), Some("rule"));
    assert_eq!(origin("port"), Some("kserve-config-llm-router-route"));
    let own = effective(&json!({"route": {}, "scheduler": {}}));
    let group = "inference.networking.k8s.io|InferencePool";
    assert_eq!(backend(&own), format!("{group}|svc-inference-pool|8000"));
    let named = effective(&json!({"route": {}, "scheduler": {"pool": {"ref": {"name": "p"}}}}));
    assert_eq!(backend(&named), format!("{group}|p|8000"));
    // Backends of other names stay, as does one without a kind.
    let rules = json!([{"backendRefs": [{"kind": "InferencePool", "name": "mine"}, {"name": "svc-inference-pool"}]}]);
    let kept = effective(&json!({"route": {"http": {"spec": {"rules": rules}}}}));
    assert_eq!(kept.spec["router"]["route"]["http"]["spec"]["rules"], rules);
}

#[test]
fn gateways_that_are_named_are_the_parents() {
    let refs = json!([{"name": "a", "namespace": "n", "sectionName": "s"}, {"name": "b", "namespace": ""}]);
    let effective = effective(&json!({"route": {}, "gateway": {"refs": refs}}));
    let group = "gateway.networking.k8s.io";
    assert_eq!(
        effective.spec["router"]["route"]["http"]["spec"]["parentRefs"],
        json!([
            {"group": group, "kind": "Gateway", "name": "a", "namespace": "n", "sectionName": "s"},
            {"group": group, "kind": "Gateway", "name": "b"},
        ])
    );
}

#[test]
fn pools_get_selector_and_port_and_pickers_an_account() {
    let spec = json!({"endpointPickerRef": {"name": "e"}, "selector": {}, "targetPorts": [{"number": 8000}]});
    let own = effective(&json!({"scheduler": {"pool": {"spec": spec}}}));
    let scheduler = &own.spec["router"]["scheduler"];
    assert_eq!(scheduler["template"]["serviceAccountName"], "svc-epp-sa");
    assert_eq!(
        scheduler["pool"]["spec"]["selector"]["matchLabels"],
        json!({
            "app.kubernetes.io/name": "svc",
            "app.kubernetes.io/part-of": "llminferenceservice",
            "kserve.io/component": "workload",
        })
    );
    let service = json!({
        "metadata": {"name": "svc"},
        "spec": {"router": {"scheduler": {"pool": {"spec": {"endpointPickerRef": {"name": "e"}}}}}},
    });
    let bare = compose(&service, &[], &Globals::default()).expect("composes");
    let pool = &bare.spec["router"]["scheduler"]["pool"]["spec"];
    assert_eq!(pool["endpointPickerRef"]["port"]["number"], 9002);
    let named = json!({"scheduler": {"template": {"serviceAccountName": "mine"}}});
    let named = effective(&named);
    assert_eq!(
        named.spec["router"]["scheduler"]["template"]["serviceAccountName"],
        "mine"
    );
}
