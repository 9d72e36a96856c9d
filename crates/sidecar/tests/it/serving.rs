//! What only Weir's sidecar does, and what a recording cannot show.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Running;
use crate::backend::{self, Log};
use crate::client::{self, request};

const CLEAR: &str = "--secure-proxy=false";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const HOST: (&str, &str) = ("Host", "model.example");

async fn with(flags: &[&str], answer: Value) -> (Running, Log) {
    let log = Log::new();
    let engine = backend::start("decode", vec![answer], None, log.clone()).await;
    (Running::start(flags, &[], &[engine]).await, log)
}

#[tokio::test]
async fn a_named_prefill_host_is_answered_with_501_in_the_shape_of_the_route() {
    let (running, log) = with(&[CLEAR], json!({"json": {}})).await;
    let rows = [
        ("/v1/chat/completions", "/error/type"),
        ("/v1/completions", "/type"),
        ("/v1/responses", "/error/type"),
        ("/inference/v1/generate", "/error/type"),
        ("/v1/messages", "/error/type"),
    ];
    for (path, at) in rows {
        let headers = [
            HOST,
            JSON,
            ("x-prefiller-host-port", "10.0.0.1:8000,10.0.0.2:8000"),
        ];
        let bytes = request("POST", path, &headers, b"{}");
        let got = client::exchange(running.ranks[0], false, &bytes)
            .await
            .unwrap();
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(got.status(), 501, "{path}");
        assert_eq!(body.pointer(at).unwrap(), "NotImplementedError", "{body}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("10.0.0.1:8000"), "{message}");
    }
    assert!(log.take().is_empty());
    let bytes = request("GET", "/metrics", &[HOST], b"");
    let page = client::exchange(running.metrics, false, &bytes)
        .await
        .unwrap()
        .text();
    let line = "weir_sidecar_refused_total{reason=\"prefill_not_supported\"} 5.0\n";
    assert!(page.contains(line), "{page}");
}

#[tokio::test]
async fn transfer_parameters_of_a_client_do_not_reach_the_engine() {
    let routes = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/v1/responses",
        "/inference/v1/generate",
        "/invocations",
        "/v1/chat/completions/batch",
        "/v1/chat%2Fcompletions",
    ];
    let bodies = [
        (r#"{"a": 1,  "b":2.50}"#, r#"{"a": 1,  "b":2.50}"#),
        (
            r#"{"kv_transfer_params":{"do_remote_prefill":true},"a":1}"#,
            r#"{"a":1}"#,
        ),
        (
            r#"{"a":1,"kv\u005ftransfer_params":1,"cache_hit_threshold":0}"#,
            r#"{"a":1}"#,
        ),
        (
            r#"{"vllm_xargs":{"ec_transfer_params":1},"bootstrap_room":2}"#,
            r#"{"vllm_xargs":{}}"#,
        ),
        (r#"{"model": "m", "#, r#"{"model": "m", "#),
    ];
    let (running, log) = with(&[CLEAR], json!({"json": {}})).await;
    for path in routes {
        for (sent, wanted) in bodies {
            let bytes = request("POST", path, &[HOST, JSON], sent.as_bytes());
            let got = client::exchange(running.ranks[0], false, &bytes)
                .await
                .unwrap();
            assert_eq!(got.status(), 200, "{path}");
            assert_eq!(log.take().remove(0).request.text(), wanted, "{path}");
        }
        // A reader that guesses encodings would see what the shield does not.
        let wide: Vec<u8> = r#"{"a":1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let bytes = request("POST", path, &[HOST, JSON], &wide);
        let got = client::exchange(running.ranks[0], false, &bytes)
            .await
            .unwrap();
        assert_eq!(got.status(), 400, "{path}");
        assert!(log.take().is_empty());
    }
    // The threshold is a shared store's own.
    let (running, log) = with(
        &[CLEAR, "--kv-connector=shared-storage"],
        json!({"json": {}}),
    )
    .await;
    let sent = br#"{"cache_hit_threshold":0.5}"#;
    let bytes = request("POST", "/v1/completions", &[HOST, JSON], sent);
    client::exchange(running.ranks[0], false, &bytes)
        .await
        .unwrap();
    assert_eq!(log.take().remove(0).request.body, sent);
}

#[tokio::test]
async fn a_running_stream_ends_in_peace_after_the_signal() {
    let chunks = json!({"chunks": ["data: 1\n\n", 300, "data: 2\n\n"]});
    let (running, _log) = with(&[CLEAR], chunks).await;
    let mut stream = client::connect(running.ranks[0], false).await;
    let bytes = request("POST", "/v1/completions", &[HOST, JSON], b"{}");
    stream.write_all(&bytes).await.unwrap();
    let head = client::head(stream.as_mut()).await.unwrap();
    assert_eq!(head.status(), 200);
    running.stop.cancel();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("data: 2"), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    running.done.await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_is_tunnelled() {
    let log = Log::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = client::head(&mut stream).await.unwrap();
        assert_eq!(request.header("upgrade"), Some("echo"));
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    });
    drop(log);
    let running = Running::start(&[CLEAR], &[], &[engine]).await;
    let mut stream = client::connect(running.ranks[0], false).await;
    let headers = [HOST, ("Connection", "Upgrade"), ("Upgrade", "echo")];
    let bytes = request("GET", "/v1/realtime", &headers, b"");
    stream.write_all(&bytes).await.unwrap();
    let head = client::head(stream.as_mut()).await.unwrap();
    assert_eq!((head.status(), head.header("upgrade")), (101, Some("echo")));
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
    drop(stream);
    running.stop.cancel();
    running.done.await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (running, log) = with(&[CLEAR], json!({"json": {}})).await;
    let large = "a".repeat(1024 * 1024 + 1);
    let bytes = request("GET", "/v1/models", &[HOST, ("X-Large", &large)], b"");
    let mut stream = client::connect(running.ranks[0], false).await;
    // The answer may come before everything is sent.
    let _ = stream.write_all(&bytes).await;
    if let Some(got) = client::message(stream.as_mut(), false).await {
        assert_eq!(got.status(), 431);
    }
    assert!(log.take().is_empty());
}

#[tokio::test]
async fn http2_in_clear_text_is_served() {
    use http_body_util::BodyExt as _;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let (running, log) = with(&[CLEAR], json!({"json": {"a": 1}})).await;
    let stream = tokio::net::TcpStream::connect(running.ranks[0])
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://model.example/v1/completions")
        .body(String::from("{}"))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"{"a":1}"#);
    let seen = log.take().remove(0).request;
    assert_eq!(seen.header("host"), Some("model.example"));
    assert_eq!(seen.first, "POST /v1/completions HTTP/1.1");
}
