//! Behind a real Envoy: what goes in comes out, whatever the picker looked at.
//!
//! Runs where `real-envoy.sh` of the shared directory can install the program; skipped loudly elsewhere.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::CancellationToken;
use weir_runtime::http::{Body, full};

use crate::picker::{Picker, ports};

/// Body of a request or response that is made of pieces.
type Pieces = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

struct Gateway {
    envoy: Child,
    address: SocketAddr,
    http1: Client<HttpConnector, Pieces>,
    http2: Client<HttpConnector, Pieces>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.envoy.kill();
        let _ = self.envoy.wait();
    }
}

fn script() -> Option<std::path::PathBuf> {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let script = Path::new(&shared).join("real-envoy/real-envoy.sh");
    let found = script.is_file()
        && Command::new(&script)
            .arg("path")
            .output()
            .is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: no Envoy, {} cannot install it", script.display());
    }
    found.then_some(script)
}

impl Gateway {
    async fn start(picker: u16, fail_open: bool) -> Option<Self> {
        let script = script()?;
        let [port, ..] = ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let envoy = Command::new("bash")
            .arg(script)
            .args(["run", &address.to_string(), &format!("127.0.0.1:{picker}")])
            .arg(fail_open.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let client = |two: bool| {
            Client::builder(TokioExecutor::new())
                .http2_only(two)
                .build_http()
        };
        Some(Self {
            envoy,
            address,
            http1: client(false),
            http2: client(true),
        })
    }

    async fn send(
        &self,
        version: Version,
        path: &str,
        body: Pieces,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let request = Request::post(format!("http://{}{path}", self.address))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .unwrap();
        if version == Version::HTTP_2 {
            self.http2.request(request).await
        } else {
            self.http1.request(request).await
        }
    }
}

/// Engines that send back what they got.
struct Engines {
    stop: CancellationToken,
    _tasks: tokio::task::JoinSet<()>,
    list: String,
    open: Arc<AtomicUsize>,
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Engines {
    async fn start(net: u8, count: u8) -> Self {
        let stop = CancellationToken::new();
        let open = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        let mut list = "endpoints:\n".to_owned();
        for index in 0..count {
            let ip = std::net::Ipv4Addr::new(127, 98, net, index + 1);
            let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            list += &format!("- {{name: e{index}, address: {ip}, port: \"{port}\"}}\n");
            let open = Arc::clone(&open);
            let handler = move |request| {
                let open = Arc::clone(&open);
                async move { echo(request, &open).await }
            };
            tasks.spawn(weir_runtime::http::serve(
                listener,
                None,
                handler,
                stop.clone(),
            ));
        }
        Self {
            stop,
            _tasks: tasks,
            list,
            open,
        }
    }
}

/// Counts a request as long as it lives, also when it is given up.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn echo(request: Request<Incoming>, open: &AtomicUsize) -> Response<Body> {
    if request.uri().path() == "/metrics" {
        return Response::new(full(
            "vllm:num_requests_waiting 0\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 0\n",
        ));
    }
    let _open = Open::new(open);
    let target = request
        .headers()
        .get("x-gateway-destination-endpoint")
        .cloned();
    let events = request.uri().path() == "/v1/chat/completions";
    let body = request.into_body().collect().await;
    let Ok(body) = body else {
        return Response::new(full("broken off"));
    };
    let mut response = Response::new(full(body.to_bytes()));
    if events {
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/event-stream"),
        );
    }
    if let Some(target) = target {
        response.headers_mut().insert("x-target", target);
    }
    response
}

/// A body of one piece, or of many without a length.
fn body(bytes: &Bytes, pieces: usize) -> Pieces {
    if pieces == 1 {
        return Full::new(bytes.clone()).boxed_unsync();
    }
    let size = bytes.len().div_ceil(pieces).max(1);
    let parts: Vec<_> = bytes
        .chunks(size)
        .map(|part| Ok(http_body::Frame::data(bytes.slice_ref(part))))
        .collect();
    StreamBody::new(futures::stream::iter(parts)).boxed_unsync()
}

fn config(dir: &Path, engines: &Engines) -> std::path::PathBuf {
    std::fs::write(dir.join("endpoints.yaml"), &engines.list).unwrap();
    let text = include_str!("../../testdata/exchanges/chat/config.yaml").replace(
        "path: endpoints.yaml",
        &format!("path: {}/endpoints.yaml", dir.display()),
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn prompt(size: usize) -> Bytes {
    let filler: String = (0..size)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect();
    format!("{{\"model\":\"m\",\"prompt\":\"p{filler}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{filler}\"}}]}}").into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_come_out_as_they_went_in() {
    let engines = Engines::start(1, 3).await;
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--grpc-max-recv-msg-size=16Mi"];
    let picker = Picker::start(&config(dir.path(), &engines), &flags).await;
    let Some(gateway) = Gateway::start(picker.grpc, false).await else {
        return;
    };
    for size in [0, 1, 4_000, 70_000, 1_000_000, 4_000_000] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for pieces in [1, 7] {
                for path in ["/v1/completions", "/v1/chat/completions", "/other"] {
                    let sent = prompt(size);
                    let response = gateway
                        .send(version, path, body(&sent, pieces))
                        .await
                        .unwrap();
                    let what = format!("{size} {version:?} {pieces} {path}");
                    assert_eq!(response.status(), 200, "{what}");
                    assert_eq!(response.headers()["x-went-into-resp-headers"], "true");
                    let target = response.headers()["x-target"].to_str().unwrap().to_owned();
                    assert!(target.starts_with("127.98.1."), "{what}: {target}");
                    let got = response.into_body().collect().await.unwrap().to_bytes();
                    assert!(got == sent, "{what}: {} bytes came back", got.len());
                }
            }
        }
    }
    // What has no body at all, and what is refused.
    let request = |path: &str| {
        Request::get(format!("http://{}{path}", gateway.address))
            .body(Full::default().boxed_unsync())
            .unwrap()
    };
    let response = gateway.http1.request(request("/v1/models")).await.unwrap();
    assert_eq!(response.status(), 200);
    let empty = body(&Bytes::from_static(b"{}"), 1);
    let response = gateway
        .send(Version::HTTP_11, "/v1/completions", empty)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_and_some_that_go_away() {
    let engines = Engines::start(2, 3).await;
    let dir = tempfile::tempdir().unwrap();
    let picker = Picker::start(&config(dir.path(), &engines), &[]).await;
    let Some(gateway) = Gateway::start(picker.grpc, false).await else {
        return;
    };
    let gateway = &gateway;
    let wrong = AtomicUsize::new(0);
    futures::stream::iter(0..2_000)
        .for_each_concurrent(100, |index| {
            let wrong = &wrong;
            async move {
                let sent = prompt(index % 3_000);
                let path = if index % 2 == 0 {
                    "/v1/completions"
                } else {
                    "/v1/chat/completions"
                };
                let answer = gateway.send(Version::HTTP_11, path, body(&sent, 1 + index % 3));
                if index % 10 == 9 {
                    // The client goes away at some point.
                    let limit = Duration::from_micros(200 * (index as u64 % 20));
                    let _ = tokio::time::timeout(limit, answer).await;
                    return;
                }
                let same = match answer.await {
                    Ok(response) if response.status() == 200 => response
                        .into_body()
                        .collect()
                        .await
                        .is_ok_and(|body| body.to_bytes() == sent),
                    _ => false,
                };
                if !same {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .await;
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    // Nothing is held for those that went.
    for _ in 0..200 {
        if engines.open.load(Ordering::Relaxed) == 0 && running(&picker.page().await) == 0.0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let page = picker.page().await;
    let open = engines.open.load(Ordering::Relaxed);
    panic!(
        "still counted: {open} at engines, {} at the picker",
        running(&page)
    );
}

/// The sum of the gauge of running requests.
fn running(page: &str) -> f64 {
    page.lines()
        .filter(|line| line.starts_with("llm_d_epp_request_running{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picker_may_die_and_come_back() {
    for fail_open in [false, true] {
        let engines = Engines::start(3 + u8::from(fail_open), 1).await;
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &engines);
        let at = ports();
        let picker = Picker::start_on(at, &config, &[]).await;
        let Some(gateway) = Gateway::start(picker.grpc, fail_open).await else {
            return;
        };
        let status = async || {
            let sent = body(&prompt(10), 1);
            let response = gateway
                .send(Version::HTTP_11, "/v1/completions", sent)
                .await;
            response.unwrap().status()
        };
        assert_eq!(status().await, 200);
        drop(picker);
        // Its tasks end when their threads come to it; until then one may still decide.
        for _ in 0..100 {
            if status().await != 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..3 {
            // Closed: an error. Open: passed on, to nowhere, since nobody named an endpoint.
            assert_ne!(status().await, 200);
        }
        let _picker = Picker::start_on(at, &config, &[]).await;
        let mut back = false;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if status().await == 200 {
                back = true;
                break;
            }
        }
        assert!(back, "fail open: {fail_open}");
    }
}
