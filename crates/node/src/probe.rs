//! Probes: what they ask, and when.

mod grpc;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::seconds;

/// When a probe is tried and what its outcomes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Wait before the first try.
    pub initial: Duration,
    /// Time between tries.
    pub period: Duration,
    /// Longest time of a try.
    pub timeout: Duration,
    /// Failures in a row that count.
    pub failures: u64,
    /// Successes in a row that count.
    pub successes: u64,
}

impl Schedule {
    /// Reads a probe with the defaults of Kubernetes.
    pub fn of(probe: &Value) -> Self {
        // Zero stands for "not set" here, as in Kubernetes.
        let number = |field: &str, default: u64| match seconds::number(&probe[field], 0, 0) {
            0 => default,
            number => number,
        };
        let time = |field: &str, default: u64| Duration::from_secs(number(field, default));
        Self {
            initial: time("initialDelaySeconds", 0),
            period: time("periodSeconds", 10),
            timeout: time("timeoutSeconds", 1),
            failures: number("failureThreshold", 3),
            successes: number("successThreshold", 1),
        }
    }
}

/// Counts outcomes in a row; tells when a threshold is reached.
#[derive(Debug, Default)]
pub struct Tally {
    successes: u64,
    failures: u64,
}

impl Tally {
    /// Takes an outcome of the written schedule; the verdict when one is reached.
    pub fn take(&mut self, success: bool, schedule: &Schedule) -> Option<bool> {
        if success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes >= schedule.successes).then_some(true)
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures >= schedule.failures).then_some(false)
        }
    }
}

/// Asks once.
///
/// # Errors
/// What went wrong, in words for an event.
pub async fn ask(
    probe: &Value,
    container: &Value,
    ip: Ipv4Addr,
    timeout: Duration,
    client: &reqwest::Client,
) -> Result<(), String> {
    let asked = async {
        if let Some(get) = probe.get("httpGet") {
            http(get, container, ip, client).await
        } else if let Some(socket) = probe.get("tcpSocket") {
            tcp(socket, container, ip).await
        } else if let Some(health) = probe.get("grpc") {
            let address = SocketAddr::from((ip, port(&health["port"], container)?));
            grpc::check(address, health["service"].as_str().unwrap_or_default()).await
        } else {
            Err("this kind of probe is not known here".to_owned())
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs_f32())),
    }
}

async fn http(
    get: &Value,
    container: &Value,
    ip: Ipv4Addr,
    client: &reqwest::Client,
) -> Result<(), String> {
    let port = port(&get["port"], container)?;
    let host = asked(get, ip)?;
    let scheme = if get["scheme"] == "HTTPS" {
        "https"
    } else {
        "http"
    };
    let path = get["path"].as_str().unwrap_or("/").trim_start_matches('/');
    let url = format!("{scheme}://{host}:{port}/{path}");
    let failed = |cause: &dyn std::fmt::Display| format!("Get \"{url}\": {cause}");
    let target = Url::parse(&url).map_err(|error| failed(&error))?;
    let mut headers = HeaderMap::new();
    for header in get["httpHeaders"].as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (header["name"].as_str(), header["value"].as_str()) {
            let name = HeaderName::try_from(name).map_err(|error| failed(&error))?;
            let value = HeaderValue::try_from(value).map_err(|error| failed(&error))?;
            headers.append(name, value);
        }
    }
    let agent = HeaderValue::from_static("kube-probe/weir");
    headers.entry(USER_AGENT).or_insert(agent);
    let status = if scheme == "https" {
        let answer = client.get(target).headers(headers).send().await;
        answer
            .map(|answer| answer.status().as_u16())
            .map_err(|error| {
                let mut cause: &dyn std::error::Error = &error;
                while let Some(deeper) = cause.source() {
                    cause = deeper;
                }
                failed(&cause)
            })?
    } else {
        let asked = plain(SocketAddr::from((host, port)), &target, &headers).await;
        asked.map_err(|error| failed(&error))?
    };
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {status}"))
    }
}

/// Sends a request in clear text and reads the status of the answer, no more: probes are what a node
/// of many pods does all day, and this takes no task, pool or connector.
async fn plain(address: SocketAddr, url: &Url, headers: &HeaderMap) -> io::Result<u16> {
    let query = url.query().map(|query| format!("?{query}"));
    let query = query.unwrap_or_default();
    let mut request = format!("GET {}{query} HTTP/1.1\r\n", url.path()).into_bytes();
    if !headers.contains_key(HOST) {
        request.extend(format!("host: {address}\r\n").bytes());
    }
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            request.extend(part);
        }
    }
    request.extend(b"accept: */*\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&request).await?;
    let mut answer = [0; 1024];
    let mut length = 0;
    loop {
        let read = stream.read(&mut answer[length..]).await?;
        length += read;
        // "HTTP/1.1 200"
        let odd = || io::Error::other("the answer is not HTTP");
        match answer[..length].get(..12) {
            Some(line) if line.starts_with(b"HTTP/1.") => {
                let digits = std::str::from_utf8(&line[9..]).map_err(|_| odd())?;
                return digits.parse().map_err(|_| odd());
            }
            None if read > 0 => {}
            _ => return Err(odd()),
        }
    }
}

async fn tcp(socket: &Value, container: &Value, ip: Ipv4Addr) -> Result<(), String> {
    let port = port(&socket["port"], container)?;
    let address = SocketAddr::from((asked(socket, ip)?, port));
    let connected = TcpStream::connect(address).await;
    connected
        .map(drop)
        .map_err(|error| format!("dial tcp {address}: {error}"))
}

/// The address that a probe or hook asks. It may name another than the pod's own, but of this
/// instance only: a manifest must not make the node send requests to the machine's other servers.
fn asked(action: &Value, ip: Ipv4Addr) -> Result<Ipv4Addr, String> {
    let host = match action["host"].as_str() {
        None | Some("") => return Ok(ip),
        Some(host) => host,
    };
    let [first, block, ..] = ip.octets();
    host.parse()
        .ok()
        .filter(|named: &Ipv4Addr| named.octets()[..2] == [first, block])
        .ok_or_else(|| {
            format!(
                "host {host:?} is not asked: it is no address of this instance, \
                 {first}.{block}.0.0/16; leave it out to ask the pod"
            )
        })
}

/// What stands against a probe or hook of `container` in its text, before it ever runs.
pub(crate) fn refused(container: &Value, ip: Ipv4Addr) -> Option<String> {
    let places = [
        "/startupProbe",
        "/readinessProbe",
        "/livenessProbe",
        "/lifecycle/preStop",
    ];
    places.iter().find_map(|place| {
        let action = container.pointer(place)?;
        let found = ["httpGet", "tcpSocket"]
            .iter()
            .find_map(|kind| asked(action.get(kind)?, ip).err())?;
        Some(format!("{}: {found}", place.trim_start_matches('/')))
    })
}

fn port(port: &Value, container: &Value) -> Result<u16, String> {
    let number = match port {
        Value::String(name) => match name.parse::<u64>() {
            Ok(number) => Some(number),
            Err(_) => container["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|port| port["name"] == *name.as_str())
                .and_then(|port| port["containerPort"].as_u64()),
        },
        other => other.as_u64(),
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| format!("port {port} is not a port of the container"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thresholds_count_outcomes_in_a_row() {
        let schedule = Schedule::of(&json!({"failureThreshold": 2, "successThreshold": 2}));
        let mut tally = Tally::default();
        let outcomes = [false, true, false, false, true, true];
        let verdicts: Vec<_> = outcomes
            .iter()
            .map(|outcome| tally.take(*outcome, &schedule))
            .collect();
        assert_eq!(verdicts, [None, None, None, Some(false), None, Some(true)]);
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let schedule = Schedule::of(&json!({}));
        assert_eq!(schedule.period, Duration::from_secs(10));
        assert_eq!((schedule.failures, schedule.successes), (3, 1));
    }

    #[test]
    fn numbers_out_of_range_do_no_harm() {
        let far = json!({"initialDelaySeconds": u64::MAX, "periodSeconds": i64::MAX,
                         "timeoutSeconds": u64::MAX, "failureThreshold": u64::MAX});
        let schedule = Schedule::of(&far);
        let now = tokio::time::Instant::now();
        let _ = now + schedule.initial + schedule.period + schedule.timeout;
        let below = json!({"initialDelaySeconds": -1, "periodSeconds": -1, "timeoutSeconds": -5,
                           "failureThreshold": -1, "successThreshold": 0});
        assert_eq!(Schedule::of(&below), Schedule::of(&json!({})));
    }

    #[test]
    fn a_probe_asks_addresses_of_this_instance_only() {
        let ip = Ipv4Addr::new(127, 64, 1, 1);
        for (host, wanted) in [
            (json!(null), Some(ip)),
            (json!(""), Some(ip)),
            (json!("127.64.1.1"), Some(ip)),
            (json!("127.64.200.9"), Some(Ipv4Addr::new(127, 64, 200, 9))),
            (json!("127.0.0.1"), None),
            (json!("127.65.1.1"), None),
            (json!("localhost"), None),
            (json!("169.254.169.254"), None),
            (json!("127.64.1.1@example.org"), None),
            (json!("::1"), None),
        ] {
            let found = asked(&json!({"host": host}), ip);
            assert_eq!(found.clone().ok(), wanted, "{host} {found:?}");
        }
        let probe = |host: &str| json!({"livenessProbe": {"httpGet": {"host": host, "port": 1}}});
        assert_eq!(refused(&probe("127.64.1.1"), ip), None);
        let message = refused(&probe("10.0.0.1"), ip).unwrap();
        assert!(
            message.starts_with("livenessProbe: host \"10.0.0.1\""),
            "{message}"
        );
        assert_eq!(refused(&json!({}), ip), None);
    }

    #[tokio::test]
    async fn the_status_of_the_answer_decides() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let probe = json!({"httpGet": {"port": port, "path": "a b?c=d", "httpHeaders": [
            {"name": "X-One", "value": "1"}, {"name": "Host", "value": "example"}]}});
        weir_runtime::install_crypto();
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.unwrap();
        let limit = Duration::from_secs(20);
        for (answer, wanted) in [
            (&["HTTP/1.1 200 OK\r\n\r\n"][..], "fine"),
            (&["HTT", "P/1.0 3", "02 Found\r\n\r\n"], "fine"),
            (&["HTTP/1.1 503 No\r\n\r\n"], "statuscode: 503"),
            (&["SSH-2.0 something else\r\n"], "not HTTP"),
            (&["HTTP/1.1 2"], "not HTTP"),
        ] {
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                for part in answer {
                    stream.write_all(part.as_bytes()).await.unwrap();
                }
                String::from_utf8_lossy(&request[..length]).into_owned()
            };
            let (container, ip) = (json!({}), Ipv4Addr::LOCALHOST);
            let asked = ask(&probe, &container, ip, limit, &client);
            let (found, request) = tokio::join!(asked, server);
            let found = found.err().unwrap_or_else(|| "fine".to_owned());
            assert!(found.contains(wanted), "{answer:?}: {found}");
            assert_eq!(
                request,
                "GET /a%20b?c=d HTTP/1.1\r\nx-one: 1\r\nhost: example\r\n\
                 user-agent: kube-probe/weir\r\naccept: */*\r\nconnection: close\r\n\r\n"
            );
        }
        let split = json!({"httpGet": {"port": port, "httpHeaders": [
            {"name": "a", "value": "b\r\nc: d"}]}});
        let (container, ip) = (json!({}), Ipv4Addr::LOCALHOST);
        assert!(ask(&split, &container, ip, limit, &client).await.is_err());
    }

    #[test]
    fn ports_by_name_and_number() {
        let container = json!({"ports": [{"name": "http", "containerPort": 8000}]});
        assert_eq!(port(&json!("http"), &container), Ok(8000));
        assert_eq!(port(&json!(9), &container), Ok(9));
        assert!(port(&json!("x"), &container).is_err());
    }
}
