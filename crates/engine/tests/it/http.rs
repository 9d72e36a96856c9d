//! Answers, streams, refusals and what a client that leaves frees.

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::client::{parse, start};

#[tokio::test]
async fn whole_answers() {
    let engine = start("").await;
    let body = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "ignore_eos": true});
    let (status, head, text) = engine.post("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{text}");
    assert!(head.contains("x-weir-engine: simulated"), "{head}");
    let answer = parse(&text);
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "m");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 5);
    let again = parse(&engine.post("/v1/chat/completions", &body).await.2);
    assert_eq!(answer["choices"], again["choices"]);

    let body = json!({"prompt": ["a", "b"], "n": 2, "max_tokens": 3});
    let answer = parse(&engine.post("/v1/completions", &body).await.2);
    assert_eq!(answer["choices"].as_array().unwrap().len(), 4);
    assert_eq!(
        engine.metric("vllm:prompt_tokens_total", None).await,
        4.0 + 2.0 * 6.0
    );
    assert_eq!(engine.metric("vllm:num_requests_running", None).await, 0.0);
    assert_eq!(
        engine
            .metric("vllm:e2e_request_latency_seconds_count", None)
            .await,
        6.0
    );
    engine.stop().await;
}

#[tokio::test]
async fn streams_end_with_usage_and_done() {
    let engine = start("--mode echo --inter-token-latency 1ms").await;
    for (path, mut body) in [
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "one two three"}]}),
        ),
        ("/v1/completions", json!({"prompt": "one two three"})),
    ] {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        let (status, head, text) = engine.post(path, &body).await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        let mut splitter = weir_openai::sse::Splitter::default();
        splitter.push(text.as_bytes()).unwrap();
        let mut frames = Vec::new();
        while let Some(event) = splitter.next_event() {
            frames
                .push(String::from_utf8(weir_openai::sse::data(&event).unwrap().to_vec()).unwrap());
        }
        assert_eq!(frames.pop().as_deref(), Some("[DONE]"));
        let frames: Vec<Value> = frames.iter().map(|frame| parse(frame)).collect();
        let said: String = frames
            .iter()
            .filter_map(|frame| {
                let choice = frame["choices"].get(0)?;
                choice["delta"]["content"]
                    .as_str()
                    .or_else(|| choice["text"].as_str())
            })
            .collect();
        assert_eq!(said, "one two three");
        let last = frames.last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"]["completion_tokens"], 3);
        assert_eq!(
            frames[frames.len() - 2]["choices"][0]["finish_reason"],
            "stop"
        );
    }
    engine.stop().await;
}

#[tokio::test]
async fn refusals_are_the_engine_s() {
    let engine = start("--api-key k --max-model-len 32").await;
    let key = "content-type: application/json\r\nauthorization: Bearer k\r\n";
    let (status, _, text) = engine
        .post("/v1/completions", &json!({"prompt": "a"}))
        .await;
    assert_eq!(
        (status, text.as_str()),
        (401, r#"{"error":"Unauthorized"}"#)
    );
    let rows = [
        (
            r#"{"model":"x","prompt":"a"}"#,
            404,
            "The model `x` does not exist. Valid aliases: m, alias.",
        ),
        (
            r#"{"prompt":"a","max_tokens":0}"#,
            400,
            "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
        ),
        ("{", 400, "1 validation error:\n  {'type': 'json_invalid'"),
        (
            r#"{"prompt":""}"#,
            400,
            "Either prompt or prompt_embeds must be provided and non-empty.",
        ),
    ];
    for (body, expected, message) in rows {
        let (status, _, text) = engine.call("POST", "/v1/completions", body, key).await;
        assert_eq!(status, expected, "{text}");
        let error = parse(&text);
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .starts_with(message),
            "{text}"
        );
        assert_eq!(error["error"]["code"], expected);
    }
    let (status, head, text) = engine.call("GET", "/v1/completions", "", key).await;
    assert_eq!(
        (status, text.as_str()),
        (405, r#"{"detail":"Method Not Allowed"}"#)
    );
    assert!(head.contains("allow: POST"), "{head}");
    let (status, _, text) = engine.call("GET", "/nowhere", "", "").await;
    assert_eq!((status, text.as_str()), (404, r#"{"detail":"Not Found"}"#));
    engine.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_request_once() {
    // Tokens come so slowly that nothing ends by itself.
    let engine = start("--max-num-seqs 1 --max-num-queued-reqs 1 --inter-token-latency 1h").await;
    let body =
        json!({"prompt": "a", "stream": true, "max_tokens": 9, "ignore_eos": true}).to_string();
    let json_type = "content-type: application/json\r\n";
    let mut first = engine
        .open("POST", "/v1/completions", &body, json_type)
        .await;
    let mut seen = [0; 64];
    assert!(first.read(&mut seen).await.unwrap() > 0);
    let second = engine
        .open("POST", "/v1/completions", &body, json_type)
        .await;
    while engine.metric("vllm:num_requests_waiting", None).await < 1.0 {
        tokio::task::yield_now().await;
    }
    let (status, _, text) = engine
        .call("POST", "/v1/completions", &body, json_type)
        .await;
    assert_eq!(status, 503, "{text}");
    assert!(engine.metric("vllm:kv_cache_usage_perc", None).await > 0.0);
    drop(first);
    drop(second);
    let abort = Some(("finished_reason", "abort"));
    while engine.metric("vllm:request_success_total", abort).await < 2.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.metric("vllm:num_requests_running", None).await, 0.0);
    assert_eq!(engine.metric("vllm:num_requests_waiting", None).await, 0.0);
    assert_eq!(engine.metric("vllm:kv_cache_usage_perc", None).await, 0.0);
    engine.stop().await;
}

#[tokio::test]
async fn small_routes_answer() {
    let engine = start("--lora-modules style=/l").await;
    for path in ["/health", "/ping", "/version", "/load", "/ready"] {
        assert_eq!(engine.call("GET", path, "", "").await.0, 200, "{path}");
    }
    let (status, head, _) = engine.call("GET", "/v1/models/", "", "").await;
    assert_eq!(status, 307);
    assert!(head.contains("location: http://x/v1/models\r\n"), "{head}");
    assert_eq!(engine.call("GET", "/nowhere/", "", "").await.0, 404);
    let (status, head, _) = engine.call("HEAD", "/health", "", "").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: GET"), "{head}");
    let models = parse(&engine.call("GET", "/v1/models", "", "").await.2);
    let names: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(names, ["m", "alias", "style"]);
    assert_eq!(models["data"][0]["root"], "org/m");
    engine.stop().await;
}
