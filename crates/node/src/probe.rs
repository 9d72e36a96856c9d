//! One try of a probe against a container.

use std::net::Ipv4Addr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// When a probe is tried and what its outcome means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failures: u64,
}

impl Schedule {
    pub(crate) fn of(probe: &Value) -> Self {
        let seconds = |key: &str, default: u64| Duration::from_secs(number(probe, key, default));
        Self {
            delay: seconds("initialDelaySeconds", 0),
            period: seconds("periodSeconds", 10),
            timeout: seconds("timeoutSeconds", 1),
            failures: number(probe, "failureThreshold", 3),
        }
    }
}

fn number(probe: &Value, key: &str, default: u64) -> u64 {
    probe[key].as_u64().filter(|n| *n > 0).unwrap_or(default)
}

/// Tries `probe` once.
///
/// # Errors
/// Why it failed, as an event says it.
pub(crate) async fn attempt(probe: &Value, ip: Ipv4Addr, container: &Value) -> Result<(), String> {
    let timeout = Schedule::of(probe).timeout;
    let tried = async {
        if let Some(get) = probe.get("httpGet") {
            return http(get, ip, port(&get["port"], container)?).await;
        }
        if let Some(socket) = probe.get("tcpSocket") {
            let address = (ip, port(&socket["port"], container)?);
            return TcpStream::connect(address)
                .await
                .map(|_| ())
                .map_err(|e| e.to_string());
        }
        Err("only http and tcp probes can be tried here".to_owned())
    };
    tokio::time::timeout(timeout, tried)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn http(get: &Value, ip: Ipv4Addr, port: u16) -> Result<(), String> {
    let stream = TcpStream::connect((ip, port))
        .await
        .map_err(|error| error.to_string())?;
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| error.to_string())?;
    let path = get["path"].as_str().unwrap_or("/");
    let request = hyper::Request::get(path)
        .header("host", format!("{ip}:{port}"))
        .header("user-agent", "weir-probe")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    // The connection may end in the very step that delivers the answer.
    let response = tokio::select! {
        response = &mut answer => response,
        _ = &mut connection => answer.await,
    };
    let response = response.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("statuscode: {status}"))
    }
}

fn port(port: &Value, container: &Value) -> Result<u16, String> {
    let named = |name: &str| {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports
            .clone()
            .find(|p| p["name"] == *name)
            .and_then(|p| p["containerPort"].as_u64())
    };
    let number = port.as_u64().or_else(|| port.as_str().and_then(named));
    number
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| format!("port {port} is not known"))
}
