//! Where a service answers: every row of the table of URL discovery in the routing specification.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_plan::{
    ImageVolumes, ObservedGateway, ObservedScheduler, Outcome, ServiceIdentity, StatusInput, status,
};

const OWN: &str = "/demo/my-llm";
const PUBLISHER: &str = "/publishers/demo/models/org/base";

/// Name, protocol, port and host of a listener.
type Listener = (&'static str, &'static str, u16, &'static str);

const HTTP: Listener = ("http", "HTTP", 80, "");
const HTTPS: Listener = ("https", "HTTPS", 443, "");

struct Row {
    number: u8,
    listeners: &'static [Listener],
    addresses: &'static [&'static str],
    /// Ports of the gateway's Service; no Service when empty.
    ports: &'static [u16],
    scheme: &'static str,
    route: Value,
    /// URLs in order; `p` stands for the service's own path.
    urls: &'static [&'static str],
    /// Names of addresses, where the row gives them.
    names: &'static [&'static str],
    /// Which of the URLs is the status's, from 1; 0 for none.
    chosen: usize,
}

fn rule(backend: &str, matches: &Value) -> Value {
    json!({"backendRefs": [{"kind": backend, "name": "b"}], "matches": matches})
}

fn path(value: &str) -> Value {
    json!([{"path": {"type": "PathPrefix", "value": value}}])
}

fn spec_of(rules: &[Value]) -> Value {
    json!({"parentRefs": [{"name": "gw", "namespace": "infra"}], "rules": rules})
}

/// One Service-backed prefix.
fn prefix() -> Value {
    spec_of(&[rule("Service", &path(OWN))])
}

/// The default route, or without what routes by model.
fn default_route(by_model: bool) -> Value {
    let header = json!([{"name": "H", "value": PUBLISHER}]);
    let mut rules = vec![rule(
        "InferencePool",
        &path(&format!("{OWN}/v1/completions")),
    )];
    if by_model {
        rules.push(rule(
            "InferencePool",
            &json!([{"path": {"value": "/v1/completions"}, "headers": header}]),
        ));
    }
    rules.push(rule(
        "InferencePool",
        &path(&format!("{PUBLISHER}/v1/completions")),
    ));
    rules.push(rule("Service", &path(PUBLISHER)));
    rules.push(rule("Service", &path(OWN)));
    if by_model {
        rules.push(rule("Service", &json!([{"headers": header}])));
    }
    spec_of(&rules)
}

fn with(mut route: Value, key: &str, value: Value) -> Value {
    route[key] = value;
    route
}

fn table() -> Vec<Row> {
    let row = |number, listeners, addresses, ports, scheme, route, urls, names, chosen| Row {
        number,
        listeners,
        addresses,
        ports,
        scheme,
        route,
        urls,
        names,
        chosen,
    };
    let one = &["203.0.113.10"];
    let section = |name: &str| json!([{"name": "gw", "namespace": "infra", "sectionName": name}]);
    let other_header = spec_of(&[rule(
        "Service",
        &json!([{"path": {"value": "/secret"}, "headers": [{"name": "X", "value": "1"}]}]),
    )]);
    let only_pools = spec_of(&[
        rule("InferencePool", &path(&format!("{OWN}/v1/completions"))),
        rule(
            "InferencePool",
            &path(&format!("{OWN}/v1/chat/completions")),
        ),
    ]);
    vec![
        row(
            1,
            &[HTTP],
            one,
            &[],
            "http",
            default_route(true),
            &[
                "http://203.0.113.10/",
                "http://203.0.113.10p",
                "http://203.0.113.10/publishers/demo/models/org/base",
            ],
            &[
                "gateway-external-model-routing",
                "gateway-external",
                "gateway-external",
            ],
            2,
        ),
        row(
            2,
            &[HTTP, HTTPS],
            one,
            &[80, 443],
            "https",
            prefix(),
            &[
                "http://203.0.113.10p",
                "http://gw-svc.infra.svc.cluster.localp",
                "https://203.0.113.10p",
                "https://gw-svc.infra.svc.cluster.localp",
            ],
            &[],
            1,
        ),
        row(
            3,
            &[HTTP, HTTPS],
            &[],
            &[80, 443],
            "https",
            prefix(),
            &[
                "http://gw-svc.infra.svc.cluster.localp",
                "https://gw-svc.infra.svc.cluster.localp",
            ],
            &[],
            2,
        ),
        row(
            4,
            &[HTTP, HTTPS],
            &[],
            &[80, 443],
            "http",
            prefix(),
            &[
                "http://gw-svc.infra.svc.cluster.localp",
                "https://gw-svc.infra.svc.cluster.localp",
            ],
            &[],
            1,
        ),
        row(
            5,
            &[HTTP],
            &[],
            &[80],
            "https",
            prefix(),
            &["http://gw-svc.infra.svc.cluster.localp"],
            &[],
            1,
        ),
        row(
            6,
            &[HTTP, ("alt", "HTTP", 8080, "")],
            &[],
            &[80],
            "http",
            prefix(),
            &["http://gw-svc.infra.svc.cluster.localp"],
            &[],
            1,
        ),
        row(
            7,
            &[("w", "HTTPS", 8443, "*.example.com")],
            one,
            &[],
            "http",
            prefix(),
            &["https://inference.example.com:8443p"],
            &[],
            1,
        ),
        row(
            8,
            &[
                ("a", "HTTP", 80, "a.example.com"),
                ("b", "HTTP", 80, "b.example.com"),
            ],
            one,
            &[],
            "http",
            with(
                prefix(),
                "hostnames",
                json!(["z.example.com", "api.example.com", "*"]),
            ),
            &["http://api.example.comp", "http://z.example.comp"],
            &[],
            1,
        ),
        row(
            9,
            &[("h", "HTTP", 8080, "")],
            &["2001:db8::1"],
            &[],
            "http",
            prefix(),
            &["http://[2001:db8::1]:8080p"],
            &[],
            1,
        ),
        row(
            10,
            &[HTTP, ("int", "HTTP", 8081, "")],
            &["10.0.0.5"],
            &[],
            "http",
            with(prefix(), "parentRefs", section("int")),
            &["http://10.0.0.5:8081p"],
            &["internal"],
            1,
        ),
        row(
            11,
            &[HTTP],
            &["gw.example.com"],
            &[],
            "http",
            only_pools,
            &["http://gw.example.comp/v1/completions"],
            &[],
            1,
        ),
        row(
            12,
            &[HTTP],
            &["gw-svc.infra.svc.cluster.local"],
            &[80],
            "http",
            prefix(),
            &["http://gw-svc.infra.svc.cluster.localp"],
            &["gateway-internal"],
            1,
        ),
        row(
            13,
            &[HTTP],
            &["10.1.2.3", "203.0.113.10"],
            &[],
            "http",
            prefix(),
            &["http://10.1.2.3p", "http://203.0.113.10p"],
            &["internal", "gateway-external"],
            2,
        ),
        row(14, &[HTTP], &[], &[], "http", prefix(), &[], &[], 0),
        row(
            15,
            &[HTTP],
            one,
            &[],
            "http",
            other_header,
            &["http://203.0.113.10/"],
            &["gateway-external-model-routing"],
            1,
        ),
        row(
            16,
            &[("tls", "TLS", 443, "")],
            one,
            &[],
            "http",
            prefix(),
            &["https://203.0.113.10p"],
            &[],
            1,
        ),
        row(
            20,
            &[HTTP],
            one,
            &[],
            "http",
            default_route(false),
            &[
                "http://203.0.113.10p",
                "http://203.0.113.10/publishers/demo/models/org/base",
            ],
            &[],
            1,
        ),
        // Beyond the table: what section 9 decides.
        row(
            101,
            &[HTTP],
            one,
            &[],
            "http",
            with(prefix(), "hostnames", json!(["*.example.org"])),
            &["http://inference.example.orgp"],
            &[],
            1,
        ),
        row(
            102,
            &[HTTP, ("same", "HTTP", 80, "")],
            one,
            &[],
            "http",
            with(
                prefix(),
                "parentRefs",
                json!([
                    {"name": "gw", "namespace": "infra", "sectionName": "http"},
                    {"name": "gw", "namespace": "infra", "sectionName": "same"},
                ]),
            ),
            &["http://203.0.113.10p"],
            &[],
            1,
        ),
    ]
}

fn told(row: &Row, class_exists: bool) -> Value {
    let listeners: Vec<Value> = row
        .listeners
        .iter()
        .map(|(name, protocol, port, host)| {
            let mut one = json!({"name": name, "protocol": protocol, "port": port});
            if !host.is_empty() {
                one["hostname"] = json!(host);
            }
            one
        })
        .collect();
    let addresses: Vec<Value> = row
        .addresses
        .iter()
        .map(|value| json!({"value": value}))
        .collect();
    let ports: Vec<Value> = row.ports.iter().map(|port| json!({"port": port})).collect();
    let gateway = ObservedGateway {
        namespace: "infra".to_owned(),
        name: "gw".to_owned(),
        object: Some(json!({
            "metadata": {"name": "gw", "namespace": "infra"},
            "spec": {"gatewayClassName": "c", "listeners": listeners},
            "status": {"addresses": addresses},
        })),
        class_exists,
        service: (!ports.is_empty())
            .then(|| json!({"metadata": {"name": "gw-svc"}, "spec": {"ports": ports}})),
    };
    let service = ServiceIdentity {
        name: "my-llm".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    };
    let route = json!({"metadata": {"name": "my-llm-kserve-route", "namespace": "demo"}, "spec": row.route});
    status(&StatusInput {
        service: &service,
        generation: 1,
        previous: &json!({"url": "http://before"}),
        spec: Some(
            &json!({"model": {"name": "org/base"}, "router": {"route": {"http": {"spec": {}}}}}),
        ),
        pinned: &BTreeMap::new(),
        applied: &[],
        presets: &Outcome::Done,
        notes: "",
        workloads: &Outcome::NotRun,
        router: &Outcome::Done,
        live: &[],
        service_exists: true,
        pods: &[],
        scheduler: &ObservedScheduler::default(),
        group: None,
        planned_route: Some(&route),
        routes: std::slice::from_ref(&route),
        gateways: &[gateway],
        url_scheme: row.scheme,
        cluster_domain: "cluster.local",
        model_header: "H",
        tls: false,
        image_volumes: ImageVolumes::default(),
        now: "2026-01-01T00:00:00Z",
    })
}

#[test]
fn urls_and_the_one_that_is_shown_are_those_of_the_table() {
    for row in table() {
        let number = row.number;
        let status = told(&row, true);
        let empty = Vec::new();
        let addresses = status["addresses"].as_array().unwrap_or(&empty);
        let urls: Vec<&str> = addresses
            .iter()
            .map(|one| one["url"].as_str().unwrap())
            .collect();
        let wanted: Vec<String> = row
            .urls
            .iter()
            .map(|url| match url.split_once("p/v1") {
                Some((host, rest)) => format!("{host}{OWN}/v1{rest}"),
                None => url
                    .strip_suffix('p')
                    .map_or_else(|| (*url).to_owned(), |host| format!("{host}{OWN}")),
            })
            .collect();
        assert_eq!(urls, wanted, "row {number}");
        if !row.names.is_empty() {
            let names: Vec<&str> = addresses
                .iter()
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, row.names, "row {number}");
        }
        let chosen = row.chosen.checked_sub(1).map(|at| json!(wanted[at]));
        assert_eq!(status.get("url").cloned(), chosen, "row {number}");
    }
}

#[test]
fn what_cannot_be_reached_is_an_error_and_the_address_stays() {
    let rows = table();
    let mut no_protocol = Row {
        listeners: &[("t", "TCP", 9000, "")],
        ..rows.into_iter().next().unwrap()
    };
    let refused = |row: &Row, class_exists: bool| {
        let status = told(row, class_exists);
        assert_eq!(status["url"], "http://before");
        let conditions = status["conditions"].as_array().unwrap();
        let routes = conditions
            .iter()
            .find(|one| one["type"] == "HTTPRoutesReady")
            .unwrap();
        assert_eq!(routes["reason"], "HTTPRouteReconcileError");
        routes["message"].as_str().unwrap().to_owned()
    };
    assert!(refused(&no_protocol, true).contains("no HTTP, HTTPS or TLS listener"));
    no_protocol.listeners = &[HTTP];
    assert!(
        refused(&no_protocol, false).contains("GatewayClass c of Gateway infra/gw does not exist")
    );
    no_protocol.route["parentRefs"][0]["sectionName"] = json!("nope");
    assert!(refused(&no_protocol, true).contains("has no listener nope"));
}
