//! Cases recorded from llm-d's sidecar, played again: those that need no second pod. What Weir does otherwise on
//! purpose stands in [`differs`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use weir_runtime::certs::Identity;

use crate::backend::{self, Log, Seen};
use crate::client::{self, Message};
use crate::{Running, recordings};

/// Beginnings of the names of cases without prefill and encoders.
const KINDS: [&str; 11] = [
    "client-leaves-",
    "decoder-",
    "dp-",
    "ec-off",
    "health",
    "metrics-port",
    "path",
    "plain-",
    "tls-cert-path",
    "tls-decoder-",
    "tls-self-signed",
];

/// Cases that call another pod, or look at what this client cannot see.
const NOT_HERE: [(&str, &str); 2] = [
    ("plain-gzip-answer", "the body is not in the file"),
    ("plain-query-prefill-path", "calls a prefill pod"),
];

/// Headers that say nothing about the case.
const IGNORED: [&str; 4] = ["content-length", "transfer-encoding", "date", "connection"];

struct Files {
    directory: tempfile::TempDir,
    server: Arc<rustls::ServerConfig>,
}

impl Files {
    /// A pair for localhost, and its issuer in a directory of its own.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.distinguished_name.push(DnType::CommonName, "test ca");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let leaf = CertificateParams::new(names).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("ca")).unwrap();
        std::fs::write(path("ca/of-any-name"), ca_pem).unwrap();
        std::fs::write(path("tls.crt"), &leaf).unwrap();
        std::fs::write(path("tls.key"), key.serialize_pem()).unwrap();
        let identity = Identity {
            certificate: leaf,
            key: key.serialize_pem(),
        };
        Self {
            server: identity.server_config().unwrap(),
            directory,
        }
    }

    fn path(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }
}

#[tokio::test]
async fn recorded_cases_are_the_same() {
    let Some(folder) = recordings() else {
        return;
    };
    weir_runtime::install_crypto();
    let files = Files::new();
    let mut played = 0;
    let mut problems = Vec::new();
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let here = KINDS.iter().any(|kind| name.starts_with(kind))
            && !NOT_HERE.iter().any(|(other, _)| *other == name);
        if path.extension().is_none_or(|kind| kind != "json") || !here {
            continue;
        }
        let found = tokio::time::timeout(Duration::from_secs(60), play(&path, &files));
        problems.extend(
            found
                .await
                .unwrap()
                .into_iter()
                .map(|problem| format!("{name}: {problem}")),
        );
        played += 1;
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(played > 20, "{played} cases");
}

async fn play(path: &Path, files: &Files) -> Vec<String> {
    let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let log = Log::new();
    let mut addresses: BTreeMap<String, SocketAddr> = BTreeMap::new();
    for (name, backend) in case["backends"].as_object().unwrap() {
        let tls = backend["tls"].as_bool().unwrap_or(false);
        let address = if backend["closed"] == true {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        } else {
            let answers = backend["answers"].as_array().cloned();
            let tls = tls.then(|| Arc::clone(&files.server));
            backend::start(name, answers.unwrap_or_default(), tls, log.clone()).await
        };
        addresses.insert(name.clone(), address);
    }
    let count = case["run"]["listeners"].as_u64().unwrap_or(1);
    let engines: Vec<SocketAddr> = (0..count)
        .map(|rank| match rank {
            0 => addresses["decode"],
            rank => addresses[&format!("decode_r{rank}")],
        })
        .collect();
    let fill = |text: &str| {
        text.replace("{certs}", files.path())
            .replace("{port:metrics}", "9")
            .replace("{port:sidecar}", "8000")
            .replace("{port:sidecar+1}", "8001")
            .replace("{port:sidecar+2}", "8002")
            .replace("{encoder}", "127.0.0.4:9")
    };
    let mut flags: Vec<String> = case["run"]["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| fill(flag.as_str().unwrap()))
        .collect();
    if case["run"]["clear_text"] != false {
        flags.push("--secure-proxy=false".to_owned());
    }
    // The recordings show what is passed on where a client is trusted.
    flags.push("--trust-client-kv-params".to_owned());
    let env: Vec<(String, String)> = case["run"]["env"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), fill(value.as_str().unwrap())))
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let running = Running::start(&flags, &env, &engines).await;
    let mut problems = Vec::new();
    for (number, exchange) in case["exchanges"].as_array().unwrap().iter().enumerate() {
        if exchange["client_got"].is_null() {
            continue;
        }
        let sent = &exchange["client_sent"];
        let to = match sent["to_port"].as_str() {
            Some("{port:metrics}") => running.metrics,
            Some("{port:sidecar+1}") => running.ranks[1],
            Some("{port:sidecar+2}") => running.ranks[2],
            _ => running.ranks[0],
        };
        let tls = sent["tls"] == true;
        let request = request(sent, &fill);
        let mut found = Vec::new();
        if let Some(wait) = sent["leaves_after_ms"].as_u64() {
            let mut stream = client::connect(to, tls).await;
            stream.write_all(&request).await.unwrap();
            log.until(|seen| !seen.is_empty()).await;
            let answer = client::message(stream.as_mut(), false);
            let left = tokio::time::timeout(Duration::from_millis(wait), answer).await;
            assert!(left.is_err(), "the answer should not be complete");
            drop(stream);
            log.until(|seen| seen.iter().all(|seen| seen.left)).await;
        } else {
            let got = client::exchange(to, tls, &request).await;
            compare_answer(
                &exchange["client_got"],
                got.as_ref(),
                &case["weir"],
                &mut found,
            );
        }
        compare_seen(&exchange["backends_saw"], &log.take(), &fill, &mut found);
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("exchange {number}: {problem}")),
        );
    }
    running.stop.cancel();
    running.done.await.unwrap();
    problems
}

fn request(sent: &Value, fill: &dyn Fn(&str) -> String) -> Vec<u8> {
    if let Some(raw) = sent["raw"].as_str() {
        return raw.as_bytes().to_vec();
    }
    let headers: Vec<(String, String)> = sent["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            (
                pair[0].as_str().unwrap().to_owned(),
                fill(pair[1].as_str().unwrap()),
            )
        })
        .collect();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let body = match (
        sent["body_bytes"].as_u64(),
        sent["body_text"].as_str(),
        &sent["json"],
    ) {
        (Some(length), ..) => format!("{{\"x\":\"{}\"}}", "a".repeat(length as usize - 8)),
        (None, Some(text), _) => text.to_owned(),
        (None, None, Value::Null) => String::new(),
        (None, None, json) => json.to_string(),
    };
    let (method, path) = (
        sent["method"].as_str().unwrap(),
        sent["path"].as_str().unwrap(),
    );
    client::request(method, path, &headers, body.as_bytes())
}

/// Says whether a recorded header is one that Weir leaves out or writes otherwise.
fn differs(name: &str, value: &str, ours: &Message) -> bool {
    // Go guesses the type of a body without one, and compresses what nobody asked for.
    (name == "content-type" && value.starts_with("text/plain") && ours.header(name).is_none())
        // Errors of the sidecar's own are JSON and say so.
        || (name == "content-type" && ours.header(name) == Some("application/json") && ours.status() >= 500)
        || name == "x-content-type-options"
        || (name == "content-type" && value.contains("escaping=underscores"))
}

fn compare_answer(want: &Value, got: Option<&Message>, weir: &Value, problems: &mut Vec<String>) {
    let Some(got) = got else {
        if want["connection"].is_null() {
            problems.push("no answer".to_owned());
        }
        return;
    };
    if !want["connection"].is_null() {
        // Go had not flushed the head yet; here the head is out and the body is cut.
        if !got.cut {
            problems.push("the answer is complete".to_owned());
        }
        return;
    }
    if want["status"] != got.status() {
        problems.push(format!(
            "status {} for {}: {}",
            got.status(),
            want["status"],
            got.text()
        ));
        return;
    }
    if (want["cut"] == true) != got.cut {
        problems.push(format!("cut: {}", got.cut));
    }
    for pair in want["headers"].as_array().into_iter().flatten() {
        let (name, value) = (
            pair[0].as_str().unwrap().to_ascii_lowercase(),
            pair[1].as_str().unwrap(),
        );
        let there = got.headers.iter().any(|(n, v)| *n == name && v == value);
        if !IGNORED.contains(&name.as_str()) && !there && !differs(&name, value, got) {
            problems.push(format!("answer without {name}: {value}"));
        }
    }
    for (name, value) in &got.headers {
        let there = want["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
        let json = name == "content-type" && value == "application/json" && got.status() >= 500;
        if !IGNORED.contains(&name.as_str()) && !there && !json {
            problems.push(format!("answer with {name}: {value}"));
        }
    }
    if let Some(families) = want["families"].as_array() {
        let page = got.text();
        let ours = |family: &&Value| {
            let name = family.as_str().unwrap();
            name.starts_with("moriio_") || name.starts_with("certwatcher_")
        };
        for family in families.iter().filter(ours) {
            let name = family.as_str().unwrap();
            if !page.contains(&format!("# TYPE {name} counter")) {
                problems.push(format!("no family {name}"));
            }
        }
        return;
    }
    let ours: Value = serde_json::from_slice(&got.body).unwrap_or_default();
    if weir
        .as_str()
        .is_some_and(|weir| weir.starts_with("error body"))
        && got.status() >= 400
    {
        for key in ["object", "type", "param", "code"] {
            if want["json"][key] != ours[key] {
                problems.push(format!(
                    "error {key}: {} for {}",
                    ours[key], want["json"][key]
                ));
            }
        }
        if ours["error"]["message"] != ours["message"] || ours["message"] == Value::Null {
            problems.push(format!("error without message: {ours}"));
        }
    } else if let Some(text) = want["text"].as_str() {
        if text != got.text() {
            problems.push(format!("body {:?} for {text:?}", got.text()));
        }
    } else if let Some(frames) = want["sse"].as_array() {
        let text = got.text();
        let events: Vec<Value> = text
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into()))
            .collect();
        let wanted: Vec<Value> = frames
            .iter()
            .map(|frame| match frame.as_str() {
                Some(line) => line.trim_start_matches("data: ").into(),
                None => frame["data"].clone(),
            })
            .collect();
        if events != wanted {
            problems.push(format!("events {events:?}"));
        }
    } else if want["json"] != ours {
        problems.push(format!("body {} for {}", got.text(), want["json"]));
    }
}

fn compare_seen(
    want: &Value,
    got: &[Seen],
    fill: &dyn Fn(&str) -> String,
    problems: &mut Vec<String>,
) {
    let want = want.as_array().unwrap();
    if want.len() != got.len() {
        problems.push(format!(
            "{} requests for {}: {got:?}",
            got.len(),
            want.len()
        ));
        return;
    }
    for (want, got) in want.iter().zip(got) {
        let mut first = got.request.first.split(' ');
        let (method, path) = (first.next().unwrap(), first.next().unwrap());
        if want["backend"] != got.backend || want["method"] != method || want["path"] != path {
            problems.push(format!("{} saw {method} {path}", got.backend));
        }
        let mut wanted: Vec<(String, String)> = want["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| {
                (
                    pair[0].as_str().unwrap().to_ascii_lowercase(),
                    fill(pair[1].as_str().unwrap()),
                )
            })
            .filter(|(name, _)| !IGNORED.contains(&name.as_str()) && name != "accept-encoding")
            .collect();
        let mut headers: Vec<(String, String)> = got.request.headers.clone();
        headers.retain(|(name, _)| !IGNORED.contains(&name.as_str()));
        wanted.sort();
        headers.sort();
        if wanted != headers {
            problems.push(format!("headers {headers:?} for {wanted:?}"));
        }
        let same = match (want["body_bytes"].as_u64(), want["text"].as_str()) {
            (Some(length), _) => got.request.body.len() as u64 == length,
            (None, Some(text)) => got.request.text() == text,
            (None, None) => {
                let body: Value = serde_json::from_slice(&got.request.body).unwrap_or_default();
                body == want["json"]
            }
        };
        if !same {
            problems.push(format!(
                "{} saw another body: {}",
                got.backend,
                got.request.text()
            ));
        }
        if want["connection_closed_by_sidecar"]
            .as_bool()
            .unwrap_or(false)
            != got.left
        {
            problems.push(format!("hung up: {}", got.left));
        }
    }
}
