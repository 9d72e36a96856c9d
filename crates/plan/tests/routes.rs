//! The managed route, by the tables of the routing specification: pool groups, model routing, adapters, references.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::kind;
use weir_plan::{
    Error, Facts, ModelRouting, ObservedGateway, RouterFacts, ServiceIdentity, check_refs, routes,
};

const V1: &str = "inference.networking.k8s.io";
const OLD: &str = "inference.networking.x-k8s.io";
const HEADER: &str = "X-Gateway-Model-Name";

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "my-llm".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

/// A rule of the pool by path and one by model, as presets have them.
fn spec() -> Value {
    let pool = json!({"group": V1, "kind": "InferencePool", "name": "my-llm-inference-pool", "port": 8000});
    let by_model = json!([{"name": HEADER, "value": "publishers/demo/models/org/base"}]);
    json!({
        "model": {"name": "org/base"},
        "annotations": {"serving.kserve.io/model-based-routing-enabled": "true"},
        "router": {"scheduler": {"template": {}}, "route": {"http": {"spec": {
            "parentRefs": [{"name": "gw", "namespace": "infra"}],
            "rules": [
                {"name": "path", "matches": [{"path": {"type": "PathPrefix", "value": "/demo/my-llm/v1"}}], "backendRefs": [pool]},
                {"name": "model", "matches": [{"headers": by_model}], "backendRefs": [pool]},
            ],
        }}}},
    })
}

fn route(spec: &Value, facts: &Facts) -> Value {
    routes(&service(), spec, facts).unwrap().remove(0)
}

fn backend(route: &Value, key: &str) -> String {
    route["spec"]["rules"][0]["backendRefs"][0][key]
        .as_str()
        .unwrap()
        .to_owned()
}

fn marked(route: &Value) -> bool {
    route.pointer("/metadata/annotations/serving.kserve.io~1inference-pool-migrated")
        == Some(&json!("v1"))
}

fn facts(served: &[weir_api::names::Kind]) -> Facts {
    Facts {
        router: RouterFacts {
            served: served.to_vec(),
            ..RouterFacts::default()
        },
        ..Facts::default()
    }
}

const BOTH: [weir_api::names::Kind; 2] = [kind::INFERENCE_POOL, kind::INFERENCE_POOL_ALPHA];

/// A live route whose rules name `groups`, with the given reports: parent, reason of a refusal or nothing.
fn live(groups: &[&str], annotation: Option<&str>, reports: &[(&str, Option<&str>)]) -> Value {
    let rules: Vec<Value> = groups
        .iter()
        .map(|group| json!({"backendRefs": [{"group": group, "kind": "InferencePool", "name": "p"}]}))
        .collect();
    let parents: Vec<Value> = reports
        .iter()
        .map(|(gateway, refusal)| {
            let condition = match refusal {
                None => json!({"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs"}),
                Some("") => json!({"type": "Accepted", "status": "True"}),
                Some(reason) => {
                    json!({"type": "ResolvedRefs", "status": "False", "reason": reason})
                }
            };
            json!({"parentRef": {"name": gateway, "namespace": "infra"}, "conditions": [condition]})
        })
        .collect();
    let annotations =
        annotation.map(|value| json!({"serving.kserve.io/inference-pool-migrated": value}));
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "my-llm-kserve-route", "namespace": "demo", "annotations": annotations},
        "spec": {"parentRefs": [{"name": "gw", "namespace": "infra"}, {"name": "second", "namespace": "infra"}], "rules": rules},
        "status": {"parents": parents},
    })
}

#[test]
fn the_group_of_a_pool_moves_once_and_only_when_no_gateway_knows_the_old_one() {
    let invalid = Some("InvalidKind");
    let table: [(&str, Option<Value>, bool); 13] = [
        ("no route", None, false),
        ("no status", Some(live(&[OLD], None, &[])), false),
        (
            "a foreign parent",
            Some(live(&[OLD], None, &[("other", invalid)])),
            false,
        ),
        (
            "a policy controller",
            Some(live(&[OLD], None, &[("gw", Some(""))])),
            false,
        ),
        ("resolved", Some(live(&[OLD], None, &[("gw", None)])), false),
        (
            "another refusal",
            Some(live(&[OLD], None, &[("gw", Some("BackendNotFound"))])),
            false,
        ),
        (
            "refused",
            Some(live(&[OLD], None, &[("gw", invalid)])),
            true,
        ),
        (
            "refused by both",
            Some(live(&[OLD], None, &[("gw", invalid), ("second", invalid)])),
            true,
        ),
        (
            "one knows it",
            Some(live(&[OLD], None, &[("gw", invalid), ("second", None)])),
            false,
        ),
        (
            "a new one is resolved",
            Some(live(&[OLD, V1], None, &[("gw", None)])),
            true,
        ),
        (
            "moved",
            Some(live(&[V1], Some("v1"), &[("gw", invalid)])),
            true,
        ),
        (
            "mark taken, resolved",
            Some(live(&[V1], None, &[("gw", None)])),
            true,
        ),
        (
            "mark changed, refused",
            Some(live(&[V1], Some("x"), &[("gw", invalid)])),
            false,
        ),
    ];
    for (what, live, moved) in table {
        let mut facts = facts(&BOTH);
        facts.live.extend(live.map(Arc::new));
        let route = route(&spec(), &facts);
        assert_eq!(
            backend(&route, "group"),
            if moved { V1 } else { OLD },
            "{what}"
        );
        assert_eq!(marked(&route), moved, "{what}");
    }
    for (served, group, mark) in [(BOTH[0], V1, true), (BOTH[1], OLD, false)] {
        let route = route(&spec(), &facts(&[served]));
        assert_eq!(
            (backend(&route, "group").as_str(), marked(&route)),
            (group, mark)
        );
    }
}

#[test]
fn without_a_picker_requests_go_to_the_service_and_with_a_foreign_pool_there() {
    let mut spec = spec();
    spec["router"]["scheduler"] = json!({"pool": {"ref": {"name": "shared"}}});
    let to_pool = route(&spec, &facts(&BOTH));
    assert_eq!(
        (
            backend(&to_pool, "group").as_str(),
            backend(&to_pool, "name").as_str()
        ),
        (V1, "shared")
    );
    assert!(!marked(&to_pool));
    spec["router"].as_object_mut().unwrap().remove("scheduler");
    let to_service = route(&spec, &facts(&BOTH));
    let backend = &to_service["spec"]["rules"][0]["backendRefs"][0];
    assert_eq!(
        *backend,
        json!({"group": "", "kind": "Service", "name": "my-llm-kserve-workload-svc", "port": 8000})
    );
    spec["router"]["route"]["http"]["refs"] = json!([{"name": "own"}]);
    assert_eq!(routes(&service(), &spec, &facts(&BOTH)), Ok(Vec::new()));
}

#[test]
fn model_routing_needs_pods_a_mode_and_gateways_that_want_it() {
    let table = [
        (ModelRouting::Enabled, "true", false, true),
        (ModelRouting::Enabled, "true", true, false),
        (ModelRouting::Enabled, "false", false, false),
        (ModelRouting::Forced, "true", false, true),
        (ModelRouting::Forced, "true", true, true),
        (ModelRouting::Forced, "no", false, false),
        (ModelRouting::Disabled, "true", false, false),
        (ModelRouting::Disabled, "true", true, false),
        (ModelRouting::Disabled, "", false, false),
    ];
    for (mode, pods, opts_out, kept) in table {
        let mut spec = spec();
        spec["annotations"]["serving.kserve.io/model-based-routing-enabled"] = json!(pods);
        let facts = Facts {
            model_routing: mode,
            gateway_opts_out: opts_out,
            ..Facts::default()
        };
        let rules = route(&spec, &facts)["spec"]["rules"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(
            rules,
            if kept { 2 } else { 1 },
            "{mode:?} {pods:?} {opts_out}"
        );
    }
}

/// The default route: ten rules by path, one with eight matches by model, one with one.
fn default_rules() -> Value {
    let by_model = json!([{"name": HEADER, "value": "publishers/demo/models/org/base"}]);
    let mut rules: Vec<Value> = (0..10).map(|at| json!({"name": format!("p{at}"), "matches": [{"path": {"value": "/demo/my-llm/x"}}]})).collect();
    let eight: Vec<Value> = (0..8)
        .map(|at| json!({"path": {"value": format!("/v1/{at}")}, "headers": by_model}))
        .collect();
    rules.insert(4, json!({"name": "v1-model-routing", "matches": eight}));
    rules.push(json!({"name": "catch-all", "matches": [{"headers": by_model}]}));
    json!(rules)
}

#[test]
fn adapters_get_a_match_each_and_overflow_into_a_further_rule() {
    let with = |count: usize| {
        let mut spec = spec();
        spec["router"]["route"]["http"]["spec"]["rules"] = default_rules();
        // In the order of their names, whatever the order of the spec; one without a name is left out.
        let adapters: Vec<Value> = (0..count)
            .rev()
            .map(|at| json!({"name": format!("a{at:02}")}))
            .chain([json!({})])
            .collect();
        spec["model"]["lora"] = json!({"adapters": adapters});
        routes(&service(), &spec, &Facts::default())
    };
    let counts = |count: usize| -> Vec<usize> {
        let route = with(count).unwrap().remove(0);
        let rules = route["spec"]["rules"].as_array().unwrap();
        rules
            .iter()
            .map(|rule| rule["matches"].as_array().unwrap().len())
            .filter(|n| *n > 1)
            .collect()
    };
    assert_eq!(counts(2), [24, 3]);
    assert_eq!(counts(7), [64, 8]);
    assert_eq!(counts(8), [64, 8, 9]);
    assert_eq!(counts(12), [64, 40, 13]);
    assert_eq!(
        with(13),
        Err(Error::TooManyAdapters {
            adapters: 13,
            rules: 13,
            matches: 136
        })
    );
    let route = with(8).unwrap().remove(0);
    let values = |at: usize| -> Vec<String> {
        let matches = route["spec"]["rules"][at]["matches"].as_array().unwrap();
        matches
            .iter()
            .map(|one| {
                format!(
                    "{} {}",
                    one["path"]["value"].as_str().unwrap(),
                    one["headers"][0]["value"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(route["spec"]["rules"][5]["name"], "v1-model-routing-2");
    assert_eq!(
        values(4)[7..10],
        [
            "/v1/7 publishers/demo/models/org/base",
            "/v1/0 publishers/demo/models/a00",
            "/v1/0 publishers/demo/models/a01"
        ]
    );
    assert_eq!(values(5)[0], "/v1/0 publishers/demo/models/a07");
}

fn gateway(namespace: &str, name: &str) -> ObservedGateway {
    ObservedGateway {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        object: Some(json!({})),
        ..ObservedGateway::default()
    }
}

#[test]
fn what_is_referred_to_and_missing_is_named() {
    let spec = |more: Value| json!({"router": more});
    let managed =
        json!({"metadata": {"namespace": "demo"}, "spec": {"parentRefs": [{"name": "g3"}]}});
    let found = json!({"metadata": {"namespace": "demo", "name": "r1"}, "spec": {"parentRefs": [{"name": "g4", "namespace": "infra"}, {"kind": "Service", "name": "mesh"}]}});
    let orphan = json!({"metadata": {"namespace": "demo", "name": "r2"}, "spec": {}});
    let refs = json!({"gateway": {"refs": [{"name": "g1"}, {"name": "g2", "namespace": "infra"}]}});
    let of_routes = json!({"route": {"http": {"refs": [{"name": "r1"}, {"name": "r2"}]}}});
    /// What is missing; the router's spec; managed route; routes that exist; condition and message.
    type Row<'a> = (
        &'a str,
        Value,
        Option<&'a Value>,
        Vec<Value>,
        &'a str,
        &'a str,
    );
    let table: [Row<'_>; 5] = [
        (
            "gateways",
            refs,
            None,
            vec![],
            "GatewaysReady",
            "Gateway demo/g1 does not exist; Gateway infra/g2 does not exist",
        ),
        (
            "routes",
            of_routes.clone(),
            None,
            vec![],
            "HTTPRoutesReady",
            "HTTPRoute demo/r1 does not exist; HTTPRoute demo/r2 does not exist",
        ),
        (
            "parents",
            json!({}),
            Some(&managed),
            vec![],
            "HTTPRoutesReady",
            "Managed HTTPRoute references non-existent Gateway demo/g3",
        ),
        (
            "parents of routes",
            of_routes.clone(),
            None,
            vec![found.clone(), orphan.clone()],
            "HTTPRoutesReady",
            "HTTPRoute target validation failed: HTTPRoute demo/r1 references non-existent Gateway infra/g4; HTTPRoute demo/r2 has no parent gateway references",
        ),
        (
            "a gateway elsewhere",
            json!({"gateway": {"refs": [{"name": "g4"}]}}),
            None,
            vec![],
            "GatewaysReady",
            "Gateway demo/g4 does not exist",
        ),
    ];
    for (what, router, planned, routes, condition, message) in table {
        let gateways = if what == "a gateway elsewhere" {
            vec![gateway("infra", "g4")]
        } else {
            vec![]
        };
        let failure = check_refs(&service(), &spec(router), planned, &routes, &gateways).unwrap();
        assert_eq!(
            (failure.condition, failure.reason, failure.message.as_str()),
            (condition, "RefsInvalid", message),
            "{what}"
        );
    }
    let all = [gateway("demo", "g3"), gateway("infra", "g4")];
    let routes = [
        found,
        json!({"metadata": {"namespace": "demo", "name": "r2"}, "spec": {"parentRefs": [{"name": "g3"}]}}),
    ];
    assert_eq!(
        check_refs(&service(), &spec(of_routes), Some(&managed), &routes, &all),
        None
    );
}
