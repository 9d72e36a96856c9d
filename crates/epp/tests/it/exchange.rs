//! Single exchanges: what a client that leaves gives back, and the explanation that may be asked for.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Came, Stream, connect};
use crate::goldens::message::{received, sent};
use crate::picker::Picker;

/// Long enough for anything that comes at all.
const LONG: Duration = Duration::from_secs(60);

/// A configuration of one endpoint in `dir`, which nobody has to serve.
pub(crate) fn configuration(dir: &tempfile::TempDir) -> PathBuf {
    let endpoints = "endpoints: [{name: a, address: 127.0.0.1, port: \"1\"}]";
    std::fs::write(dir.path().join("endpoints.yaml"), endpoints).unwrap();
    let text = include_str!("../../testdata/exchanges/chat/config.yaml");
    let absolute = format!("path: {}/endpoints.yaml", dir.path().display());
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, text.replace("path: endpoints.yaml", &absolute)).unwrap();
    path
}

async fn next(stream: &mut Stream) -> Value {
    match stream.next(LONG).await {
        Came::Message(message) => received(&message),
        Came::End(status) => panic!("the stream ended: {status}"),
        Came::Nothing => panic!("no reply"),
    }
}

/// Sends a request and takes the replies that route it.
async fn routed(stream: &mut Stream, more: &[[&str; 2]]) {
    let mut headers = vec![
        json!([":method", "POST"]),
        json!([":path", "/v1/completions"]),
        json!(["content-type", "application/json"]),
    ];
    headers.extend(more.iter().map(|header| json!(header)));
    stream.send(sent(&json!({"requestHeaders": {"headers": headers}})));
    let body = r#"{"model":"m","prompt":"hello"}"#;
    stream.send(sent(
        &json!({"requestBody": {"body": body, "endOfStream": true}}),
    ));
    let reply = next(stream).await;
    assert!(reply.get("requestHeaders").is_some(), "{reply}");
    let reply = next(stream).await;
    assert_eq!(
        reply["requestBody"]["streamedResponse"]["endOfStream"],
        true
    );
}

/// The header of that name which the reply to response headers sets.
async fn on_response(stream: &mut Stream, name: &str) -> Option<String> {
    let headers = [[":status", "200"], ["content-type", "application/json"]];
    stream.send(sent(&json!({"responseHeaders": {"headers": headers}})));
    let reply = next(stream).await;
    let set = reply["responseHeaders"]["headerMutation"]["setHeaders"].clone();
    set.as_array()
        .unwrap()
        .iter()
        .find(|header| header[0] == name)
        .map(|header| header[1].as_str().unwrap().to_owned())
}

/// The page, once it has a line that begins so.
async fn page_with(picker: &Picker, line: &str) -> String {
    let look = async {
        loop {
            let page = picker.page().await;
            if page.lines().any(|other| other == line) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(LONG, look).await {
        Ok(page) => page,
        Err(_) => panic!("no line {line}\n{}", picker.page().await),
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_back_once_what_it_held() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--enable-grpc-stream-metrics"];
    let picker = Picker::start(&configuration(&dir), &flags).await;
    let mut client = connect(picker.grpc).await;
    let running = |count: i32| {
        format!(
            r#"llm_d_epp_request_running{{fairness_id="default-flow",model_name="m",priority="0",target_model_name="m"}} {count}"#
        )
    };
    let mut stays = Stream::open(&mut client).await;
    routed(&mut stays, &[]).await;
    let mut leaves = Stream::open(&mut client).await;
    routed(&mut leaves, &[]).await;
    let mut early = Stream::open(&mut client).await;
    early.send(sent(
        &json!({"requestHeaders": {"headers": [[":path", "/v1/completions"]]}}),
    ));
    page_with(&picker, &running(2)).await;
    // One before its decision, one while its response is awaited, one in the midst of its response.
    early.cancel();
    leaves.cancel();
    page_with(
        &picker,
        r#"llm_d_epp_extproc_streams_total{code="Canceled"} 2"#,
    )
    .await;
    let page = page_with(&picker, &running(1)).await;
    assert!(
        page.contains("llm_d_epp_extproc_streams_inflight 1"),
        "{page}"
    );
    on_response(&mut stays, "x").await;
    stays.cancel();
    page_with(
        &picker,
        r#"llm_d_epp_extproc_streams_total{code="Canceled"} 3"#,
    )
    .await;
    let page = page_with(&picker, &running(0)).await;
    assert!(
        page.contains("llm_d_epp_extproc_streams_inflight 0"),
        "{page}"
    );
}

#[tokio::test]
async fn an_explanation_is_for_those_who_ask_where_it_is_allowed() {
    const EXPLAIN: &str = "x-weir-explain";
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(&dir);
    let rows = [
        (true, Some("1"), true),
        (true, Some("0"), false),
        (true, None, false),
        (false, Some("1"), false),
    ];
    for (allowed, asked, expected) in rows {
        let picker = Picker::start(&config, &[&format!("--explain-header={allowed}")]).await;
        let mut client = connect(picker.grpc).await;
        let mut stream = Stream::open(&mut client).await;
        let header = asked.map(|value| [EXPLAIN, value]);
        routed(&mut stream, header.as_slice()).await;
        let told = on_response(&mut stream, EXPLAIN).await;
        assert_eq!(told.is_some(), expected, "{allowed} {asked:?}");
        if let Some(told) = told {
            let told: Value = serde_json::from_str(&told).unwrap();
            assert_eq!(told["model"], "m");
            assert_eq!(told["destination"], "127.0.0.1:1");
            assert!(told["explain"].is_object(), "{told}");
        }
    }
}
