//! The whole gateway against an API server: the embedded store, or the real one that
//! `WEIR_TEST_KUBECONFIG` names.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::{IpAddr, SocketAddr};

use futures::{Stream, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_runtime::http::full;

fn kind(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "gateway.networking.k8s.io",
        "v1",
        kind,
    ))
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Waits until an object of `api` is as `done` says.
async fn until(api: &Api<DynamicObject>, name: &str, done: impl Fn(&Value) -> bool) -> Value {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let objects = watcher(api.clone(), config).applied_objects();
    let mut objects: std::pin::Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(objects);
    while let Some(object) = objects.next().await {
        let Ok(object) = object else { continue };
        if done(&object.data) {
            return object.data;
        }
    }
    unreachable!("a watch does not end")
}

fn holds(conditions: &Value, kind: &str) -> bool {
    conditions
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[tokio::test]
async fn routes_are_programmed_and_status_is_written() {
    let cluster = weir_testkit::cluster().await.unwrap();
    cluster.install_definitions().await.unwrap();
    eprintln!("STORE: {}", if cluster.real { "real" } else { "embedded" });
    let client = cluster.client.clone();
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();

    // Slices of real clusters may not hold loopback addresses.
    let listener = TcpListener::bind((local_address(), 0)).await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let handler = |request: Request<Incoming>| {
        let path = request.uri().to_string();
        async move { Response::new(full(path)) }
    };
    tasks.spawn(weir_runtime::http::serve(
        listener,
        None,
        handler,
        shutdown.clone(),
    ));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..2 {
        weir_gateway::ensure_default_objects(&client, address)
            .await
            .unwrap();
    }
    let options = weir_gateway::Options::new(address);
    let stop = shutdown.clone();
    let running = client.clone();
    tasks.spawn(async move {
        weir_gateway::run(running, listener, options, stop)
            .await
            .unwrap();
    });

    let gateways: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), "kserve", &kind("Gateway"));
    let gateway = until(&gateways, "kserve-ingress-gateway", |gateway| {
        holds(&gateway["status"]["conditions"], "Programmed")
            && gateway["status"]["listeners"][0]["name"] == "http"
    })
    .await;
    assert_eq!(gateway["status"]["addresses"][0]["value"], "127.0.0.1");
    assert_eq!(gateway["spec"]["listeners"][0]["port"], address.port());
    let classes: Api<DynamicObject> = Api::all_with(client.clone(), &kind("GatewayClass"));
    until(&classes, "weir", |class| {
        holds(&class["status"]["conditions"], "Accepted")
    })
    .await;

    let namespace = format!("gateway-test-{}", std::process::id());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let create = PostParams::default();
    namespaces
        .create(&create, &object(json!({"metadata": {"name": namespace}})))
        .await
        .unwrap();
    let routes: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &namespace, &kind("HTTPRoute"));
    let route = object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "r"},
        "spec": {
            "parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/{namespace}/m")}}],
                "filters": [{"type": "URLRewrite", "urlRewrite": {
                    "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
                "backendRefs": [{"name": "s", "port": 80}]}]}}));
    routes.create(&create, &route).await.unwrap();
    let parent = |route: &Value, refs: &str, reason: &str| {
        let parent = &route["status"]["parents"][0];
        holds(&parent["conditions"], "Accepted")
            && parent["controllerName"] == "weir.dev/gateway"
            && parent["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|item| {
                    item["type"] == "ResolvedRefs"
                        && item["status"] == refs
                        && item["reason"] == reason
                })
    };
    until(&routes, "r", |route| {
        parent(route, "False", "BackendNotFound")
    })
    .await;

    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let service = object(json!({"metadata": {"name": "s"},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}}));
    services.create(&create, &service).await.unwrap();
    until(&routes, "r", |route| parent(route, "True", "ResolvedRefs")).await;
    until(&gateways, "kserve-ingress-gateway", |gateway| {
        gateway["status"]["listeners"][0]["attachedRoutes"].as_u64() >= Some(1)
    })
    .await;

    let web = weir_proxy::Client::default();
    let target = format!("/{namespace}/m/v1/models");
    assert_eq!(get(&web, address, &target).await.0, 503);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
    let slice = object(json!({
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": upstream.port()}],
        "endpoints": [{"addresses": [upstream.ip().to_string()], "conditions": {"ready": true}}]}));
    match slices.create(&create, &slice).await {
        Ok(_) => {
            let answer = loop {
                let (status, body) = get(&web, address, &target).await;
                if status != 503 {
                    break (status, body);
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            };
            assert_eq!(answer, (200, "/v1/models".to_owned()));
        }
        Err(error) => eprintln!("SKIPPED: no address but loopback for an endpoint: {error}"),
    }
    namespaces
        .delete(&namespace, &DeleteParams::default())
        .await
        .unwrap();
    until_not_found(&web, address, &target).await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
}

/// Returns an address of this machine, not a loopback one where there is another; sends nothing.
fn local_address() -> IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    match socket.connect("192.0.2.1:9") {
        Ok(()) => socket.local_addr().unwrap().ip(),
        Err(_) => IpAddr::from([127, 0, 0, 1]),
    }
}

async fn until_not_found(web: &weir_proxy::Client, address: SocketAddr, target: &str) {
    while get(web, address, target).await.0 != 404 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn get(web: &weir_proxy::Client, address: SocketAddr, target: &str) -> (u16, String) {
    let request = Request::get(target).body(weir_proxy::empty()).unwrap();
    let response = web.forward(request, address).await.unwrap();
    let status = response.status().as_u16();
    let body = weir_proxy::collect_limited(response.into_body(), 65_536)
        .await
        .unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}
