//! Bounds of bodies and windows, strings that end an answer, and serving with a certificate.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{parse, start};

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let engine = start("--max-request-body-size-mb 1").await;
    let head = "content-type: application/json\r\n";
    let body = |size: usize| {
        let (before, after) = (r#"{"prompt":"a","user":""#, r#""}"#);
        format!(
            "{before}{}{after}",
            "x".repeat(size - before.len() - after.len())
        )
    };
    let (status, _, text) = engine
        .call("POST", "/v1/completions", &body(1 << 20), head)
        .await;
    assert_eq!(status, 200, "{text}");
    let (status, _, text) = engine
        .call("POST", "/v1/completions", &body((1 << 20) + 1), head)
        .await;
    assert_eq!(status, 413, "{text}");
    assert_eq!(parse(&text)["error"]["code"], 413);
    engine.stop().await;
}

#[tokio::test]
async fn an_echo_of_more_than_half_the_window_ends_with_it() {
    let engine = start("--mode echo --max-model-len 32 --kv-cache-size 1").await;
    for (words, said, reason) in [(10, 10, "stop"), (20, 12, "length"), (31, 1, "length")] {
        let prompt = vec!["a"; words].join(" ");
        let body = json!({"prompt": prompt, "max_tokens": 30});
        let (status, _, text) = engine.post("/v1/completions", &body).await;
        assert_eq!(status, 200, "{text}");
        let answer = parse(&text);
        assert_eq!(answer["usage"]["prompt_tokens"], words);
        assert_eq!(answer["usage"]["completion_tokens"], said);
        assert_eq!(answer["choices"][0]["finish_reason"], reason);
    }
    let body = json!({"prompt": vec!["a"; 32].join(" ")});
    assert_eq!(engine.post("/v1/completions", &body).await.0, 400);
    engine.stop().await;
}

#[tokio::test]
async fn a_stop_string_ends_whole_and_streamed_answers() {
    let engine = start("--mode echo").await;
    let mut body =
        json!({"messages": [{"role": "user", "content": "one two three four"}], "stop": ["three"]});
    let answer = parse(&engine.post("/v1/chat/completions", &body).await.2);
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "one two ");
    assert_eq!(
        (&choice["finish_reason"], &choice["stop_reason"]),
        (&json!("stop"), &json!("three"))
    );
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    body["stream"] = json!(true);
    body["include_stop_str_in_output"] = json!(true);
    let text = engine.post("/v1/chat/completions", &body).await.2;
    let frames: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(parse)
        .collect();
    let said: String = frames
        .iter()
        .filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, "one two three");
    assert_eq!(frames.last().unwrap()["choices"][0]["stop_reason"], "three");
    let body = json!({"prompt": "a", "stop": ""});
    assert_eq!(engine.post("/v1/completions", &body).await.0, 400);
    engine.stop().await;
}

#[tokio::test]
async fn a_certificate_makes_it_https() {
    weir_runtime::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let authority = weir_runtime::certs::Authority::load_or_create(dir.path()).unwrap();
    let identity = authority.issue(&["localhost"]).unwrap();
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    std::fs::write(&certificate, &identity.certificate).unwrap();
    std::fs::write(&key, &identity.key).unwrap();
    let flags = format!(
        "--ssl-certfile {} --ssl-keyfile {} --enable-ssl-refresh",
        certificate.display(),
        key.display()
    );
    let engine = start(&flags).await;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(engine.address)
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    stream
        .write_all(b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    engine.stop().await;

    let words = ["m", "--ssl-certfile", "/c"].map(str::to_owned);
    let error = weir_engine::options::Options::parse(&words).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--ssl-certfile /c: needs --ssl-keyfile as well"
    );
}
