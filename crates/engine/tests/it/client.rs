//! An engine on a port of its own and a client that sees every byte.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weir_engine::options::Options;

pub(crate) struct Engine {
    pub(crate) address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), weir_engine::Error>>,
}

pub(crate) async fn start(flags: &str) -> Engine {
    start_named("org/m", &["m", "alias"], flags).await
}

pub(crate) async fn start_named(model: &str, names: &[&str], flags: &str) -> Engine {
    let names = names.join(" ");
    let line =
        format!("serve {model} --served-model-name {names} --port 0 --host 127.0.0.1 {flags}");
    let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
    let options = Options::parse(&words).unwrap();
    let listener = weir_engine::bind(&options).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(weir_engine::run(options, listener, shutdown.clone()));
    Engine {
        address,
        shutdown,
        task,
    }
}

impl Engine {
    pub(crate) async fn open(&self, method: &str, path: &str, body: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: &str,
        more: &str,
    ) -> (u16, String, String) {
        let mut stream = self.open(method, path, body, more).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        let body = if head.contains("transfer-encoding: chunked") {
            dechunk(rest)
        } else {
            rest.to_owned()
        };
        (status, head.to_owned(), body)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, String, String) {
        self.call(
            "POST",
            path,
            &body.to_string(),
            "content-type: application/json\r\n",
        )
        .await
    }

    pub(crate) async fn metric(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let (_, _, page) = self.call("GET", "/metrics", "", "").await;
        weir_promtext::samples(&page)
            .find(|one| {
                one.name == name && label.is_none_or(|(key, value)| one.label(key) == Some(value))
            })
            .unwrap()
            .value
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(60), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

pub(crate) fn dechunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        out.push_str(&rest[..size]);
        if size == 0 {
            break;
        }
        text = &rest[size + 2..];
    }
    out
}

pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
