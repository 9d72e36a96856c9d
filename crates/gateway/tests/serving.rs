//! Requests through real sockets: a client, the gateway with a fixed table, an upstream.

#![allow(
    clippy::disallowed_methods,
    reason = "the runtime of a test ends with it, and what it spawned too"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_discovery::{EndpointSets, PodAddress, ServicePort, Snapshot};
use weir_gateway::attach::{World, attach};
use weir_gateway::serve::Server;
use weir_runtime::http::{Body, BoxError, full};

/// What the upstream saw of a request.
#[derive(Debug)]
struct Seen {
    target: String,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// Set when the upstream's stream is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

struct World1 {
    gateway: SocketAddr,
    server: Arc<Server>,
    seen: mpsc::UnboundedReceiver<Seen>,
    /// Sends one chunk of the streamed answer.
    chunks: futures::channel::mpsc::Sender<&'static str>,
    dropped: mpsc::UnboundedReceiver<()>,
    client: Legacy<HttpConnector, Full<Bytes>>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl World1 {
    async fn start() -> Self {
        let (seen_in, seen) = mpsc::unbounded_channel();
        let (dropped_in, dropped) = mpsc::unbounded_channel();
        let (chunks, chunks_out) = futures::channel::mpsc::channel(4);
        let chunks_out = Arc::new(std::sync::Mutex::new(Some(chunks_out)));
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let handler = move |request: Request<Incoming>| {
            let (seen_in, dropped_in) = (seen_in.clone(), dropped_in.clone());
            let chunks_out = Arc::clone(&chunks_out);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap();
                let (trailers, body) = (body.trailers().cloned(), body.to_bytes());
                let target = parts.uri.to_string();
                let streamed = target == "/stream";
                let hangs = target == "/hang";
                seen_in
                    .send(Seen {
                        target,
                        headers: parts.headers,
                        body,
                        trailers,
                    })
                    .unwrap();
                if hangs {
                    let _guard = Dropped(dropped_in);
                    return std::future::pending().await;
                }
                if !streamed {
                    return Response::new(full("fine"));
                }
                let chunks = chunks_out.lock().unwrap().take().unwrap();
                let guard = Dropped(dropped_in);
                let frames = chunks.map(move |text: &'static str| {
                    let _ = &guard;
                    Ok::<_, BoxError>(Frame::data(Bytes::from_static(text.as_bytes())))
                });
                let body: Body = StreamBody::new(frames).boxed_unsync();
                Response::new(body)
            }
        };
        tasks.spawn(weir_runtime::http::serve(
            listener,
            None,
            handler,
            shutdown.clone(),
        ));

        // The first address refuses connections, so that every request needs the second try.
        let refusing = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let port = |ready: Vec<SocketAddr>| {
            vec![ServicePort {
                name: "http".into(),
                port: 8000,
                ready: ready.into(),
            }]
        };
        let key = |name: &str| ("default".to_owned(), name.to_owned());
        let snapshot = Snapshot::of([
            (key("up"), port(vec![refusing, upstream])),
            (key("down"), port(Vec::new())),
        ]);
        let pod = |name: &str, ready: bool, app: &str| PodAddress {
            namespace: "default".into(),
            name: name.into(),
            address: upstream.ip(),
            ready,
            labels: [("app".to_owned(), app.to_owned())].into(),
        };
        let snapshot = snapshot.with_pods([
            pod("p1", true, "m"),
            pod("p2", false, "m"),
            pod("p3", true, "other"),
        ]);
        let world = world(upstream.port());
        let model = attach(&world, &snapshot);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let server = Arc::new(Server::new(
            EndpointSets::fixed(snapshot),
            weir_proxy::Client::default(),
            gateway,
        ));
        server.program(model.routing);
        let handler = {
            let server = Arc::clone(&server);
            move |request| {
                let server = Arc::clone(&server);
                async move { server.handle(request).await }
            }
        };
        tasks.spawn(weir_runtime::http::serve(
            listener,
            None,
            handler,
            shutdown.clone(),
        ));
        let client = Legacy::builder(TokioExecutor::new()).build_http();
        Self {
            gateway,
            server,
            seen,
            chunks,
            dropped,
            client,
            shutdown,
            tasks,
        }
    }

    async fn send(
        &self,
        request: http::request::Builder,
        path: &str,
        body: &'static str,
    ) -> Response<Incoming> {
        let request = request
            .uri(format!("http://{}{path}", self.gateway))
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        self.client.request(request).await.unwrap()
    }

    async fn idle(&self) {
        while self.server.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.shutdown.cancel();
        drop(self.client);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn world(pool_port: u16) -> World {
    let object = |value: serde_json::Value| value;
    let gateway = object(serde_json::json!({
        "metadata": {"namespace": "kserve", "name": "gw"},
        "spec": {"gatewayClassName": "weir", "listeners": [{"name": "http", "port": 80,
            "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]}}));
    let rule = |prefix: &str, service: &str| {
        serde_json::json!({
            "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
            "filters": [{"type": "URLRewrite",
                "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
            "backendRefs": [{"kind": "Service", "name": service, "port": 8000}]})
    };
    let pool_rule = |prefix: &str, pool: &str| {
        let mut rule = rule(prefix, pool);
        rule["backendRefs"] = serde_json::json!([
            {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": pool}]);
        rule
    };
    let pool = |mode: &str| {
        serde_json::json!({"spec": {
            "selector": {"matchLabels": {"app": "m"}},
            "targetPorts": [{"number": pool_port}],
            "endpointPickerRef": {"name": "picker", "failureMode": mode}}})
    };
    let route = object(serde_json::json!({
        "metadata": {"namespace": "default", "name": "r"},
        "spec": {"parentRefs": [{"name": "gw", "namespace": "kserve"}],
            "rules": [rule("/default/up", "up"), rule("/default/down", "down"),
                pool_rule("/default/open", "open"), pool_rule("/default/closed", "closed")]}}));
    let mut world = World::default();
    world.gateways.insert(
        ("kserve".into(), "gw".into()),
        serde_json::from_value(gateway).unwrap(),
    );
    for (name, mode) in [("open", "FailOpen"), ("closed", "FailClose")] {
        let pool = serde_json::from_value(pool(mode)).unwrap();
        world.pools.insert(("default".into(), name.into()), pool);
    }
    world.routes.insert(
        ("default".into(), "r".into()),
        serde_json::from_value(route).unwrap(),
    );
    world
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

#[tokio::test]
async fn rewritten_stripped_and_answered() {
    let mut world = World1::start().await;
    let request = Request::post("/")
        .header("x-prefiller-host-port", "evil:1")
        .header("x-kept", "1");
    let body = r#"{"model":"m", "kv_transfer_params":{"do_remote_prefill":true},"n": 1.0}"#;
    let response = world
        .send(request, "/default/up/v1/chat/completions?a=b", body)
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "fine");
    let seen = world.seen.recv().await.unwrap();
    assert_eq!(seen.target, "/v1/chat/completions?a=b");
    assert_eq!(seen.body, r#"{"model":"m","n": 1.0}"#);
    assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
    assert_eq!(seen.headers["x-kept"], "1");
    assert_eq!(seen.headers["host"], world.gateway.to_string());
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert!(!seen.headers.contains_key("x-prefiller-host-port"));

    // Bodies of other paths are not looked at.
    let body = r#"{"kv_transfer_params":1}"#;
    world
        .send(Request::post("/"), "/default/up/other", body)
        .await;
    assert_eq!(world.seen.recv().await.unwrap().body, body);
    world.idle().await;
    world.end().await;
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let world = World1::start().await;
    for (path, host, status, word) in [
        ("/nowhere", "localhost", 404, "no HTTPRoute matches"),
        (
            "/default/closed/v1/models",
            "localhost",
            503,
            "picker default/picker",
        ),
        (
            "/default/down/v1/models",
            "localhost",
            503,
            "Service default/down port 8000",
        ),
        (
            "/default/closed/v1/models",
            "localhost",
            503,
            "picker default/picker",
        ),
        (
            "/default/up/v1/models",
            "evil.example:80",
            421,
            "evil.example",
        ),
        ("/default/up/sleep", "127.0.0.1", 403, "/sleep"),
    ] {
        let response = world
            .send(Request::get("/").header("host", host), path, "")
            .await;
        assert_eq!(response.status(), status, "{path}");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
        assert_eq!(body["error"]["code"], status);
    }
    let response = world
        .send(Request::post("/"), "/default/up/v1/completions", r#"{"a""#)
        .await;
    assert_eq!(response.status(), 400);
    world.idle().await;
    world.end().await;
}

#[tokio::test]
async fn chunks_pass_one_by_one_and_a_lost_client_cancels() {
    let mut world = World1::start().await;
    let mut response = world
        .send(Request::get("/"), "/default/up/stream", "")
        .await;
    assert_eq!(world.server.in_flight(), 1);
    for chunk in ["data: 1\n\n", "data: 2\n\n"] {
        // The next chunk is sent only after this one has arrived.
        world.chunks.send(chunk).await.unwrap();
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), chunk);
    }
    drop(response);
    // Nothing is sent any more: the upstream learns it from the connection.
    world.dropped.recv().await.unwrap();
    world.idle().await;
    world.end().await;
}

#[tokio::test]
async fn a_client_lost_before_the_answer_cancels_too() {
    let mut world = World1::start().await;
    {
        let request = Request::post("/");
        let body = r#"{"model":"m"}"#;
        let request = request
            .uri(format!("http://{}/default/up/hang", world.gateway))
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        let sent = tokio::spawn(world.client.request(request));
        assert_eq!(world.seen.recv().await.unwrap().body, body);
        sent.abort();
    }
    world.dropped.recv().await.unwrap();
    world.idle().await;
    world.end().await;
}

#[tokio::test]
async fn a_pool_that_may_fail_open_needs_no_picker() {
    let mut world = World1::start().await;
    for _ in 0..3 {
        let response = world
            .send(Request::get("/"), "/default/open/v1/models", "")
            .await;
        assert_eq!(response.status(), 200);
        assert_eq!(world.seen.recv().await.unwrap().target, "/v1/models");
    }
    world.end().await;
}

#[tokio::test]
async fn parallel_requests_share_the_endpoints() {
    let mut world = World1::start().await;
    let done = AtomicUsize::new(0);
    futures::stream::iter(0..50)
        .for_each_concurrent(10, |_| async {
            let response = world
                .send(Request::get("/"), "/default/up/v1/models", "")
                .await;
            assert_eq!(text(response).await, "fine");
            done.fetch_add(1, Ordering::Relaxed);
        })
        .await;
    assert_eq!(done.into_inner(), 50);
    for _ in 0..50 {
        assert_eq!(world.seen.recv().await.unwrap().target, "/v1/models");
    }
    world.idle().await;
    world.end().await;
}

/// Sends bytes as they are and reads until the gateway closes.
async fn raw(gateway: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(gateway).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_connection_header_takes_away_nothing_that_the_gateway_set() {
    let mut world = World1::start().await;
    let answer = raw(
        world.gateway,
        "GET /default/up/other HTTP/1.1\r\nHost: localhost\r\nX-Mine: 1\r\n\
         Connection: close, X-Forwarded-For, x-forwarded-proto, x-mine, host\r\n\r\n",
    );
    assert!(answer.await.starts_with("HTTP/1.1 200"));
    let seen = world.seen.recv().await.unwrap();
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen.headers["x-forwarded-proto"], "http");
    assert_eq!(seen.headers["host"], "localhost");
    assert!(!seen.headers.contains_key("x-mine"));
    world.end().await;
}

#[tokio::test]
async fn a_body_has_one_length() {
    let mut world = World1::start().await;
    let chunked = "4\r\nabcd\r\n3\r\nefg\r\n0\r\nx-prefiller-host-port: evil:1\r\n\r\n";
    for lengths in [
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\nTrailer: x-prefiller-host-port\r\n",
    ] {
        let head = "POST /default/up/other HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let answer = raw(world.gateway, &format!("{head}{lengths}\r\n{chunked}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{lengths}: {answer}");
        let seen = world.seen.recv().await.unwrap();
        assert_eq!(seen.body, "abcdefg", "{lengths}");
        assert_eq!(seen.trailers, None, "{lengths}");
        assert!(!seen.headers.contains_key("content-length"), "{lengths}");
    }
    for lengths in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: +2\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "X-Folded: a\r\n b\r\nContent-Length: 2\r\n",
        "Content-Length : 2\r\n",
    ] {
        let head = "POST /default/up/other HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let answer = raw(world.gateway, &format!("{head}{lengths}\r\nab")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lengths}: {answer}");
    }
    assert!(world.seen.try_recv().is_err());
    world.end().await;
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let mut world = World1::start().await;
    let post = "Content-Length: 2\r\nContent-Type: application/json\r\n";
    for (line, headers, status) in [
        ("GET /default/up/../down/x", "", 400),
        ("GET /default/up/%2e%2E/x", "", 400),
        ("GET /default/up/.%2e", "", 400),
        ("GET /default/up/./x", "", 400),
        ("GET /default/up/x%2f..%2fsleep", "", 400),
        ("GET /default/up/..%5csleep", "", 400),
        ("GET /default/up/...", "", 200),
        ("GET /default/up/x", "Host: evil.example\r\n", 400),
        ("POST /default/up//sleep", "", 403),
        ("POST /default/up/%2fsleep%2f", "", 403),
        ("POST /default/up/start_profile", "", 403),
        (
            "POST /default/up/v1/completions",
            "Content-Encoding: gzip\r\n",
            415,
        ),
        ("post /default/up/v1/completions", "", 400),
        (
            "POST /default/up/v1/completions",
            "Content-Encoding: identity\r\n",
            400,
        ),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}{post}\r\n{{x"
        );
        let answer = raw(world.gateway, &request).await;
        let want = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&want), "{line} {headers}: {answer}");
    }
    assert_eq!(world.seen.recv().await.unwrap().target, "/...");
    assert!(world.seen.try_recv().is_err());
    world.end().await;
}
