//! One recorded case, played again.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use serde_json::Value;
use tonic::transport::Channel;

use super::message::{alike, received, sent, whole};
use super::{json, text};
use crate::client::{Came, Stream, connect};
use crate::fakes::Fake;
use crate::picker::Picker;

/// Longest wait for a reply that was recorded.
const PATIENCE: Duration = Duration::from_secs(5);

/// A case that runs.
struct Running {
    fakes: BTreeMap<String, Fake>,
    endpoints: Vec<Value>,
    client: ExternalProcessorClient<Channel>,
    dir: tempfile::TempDir,
    _picker: Picker,
    /// Equal endpoints occur, whose order is random.
    ties: bool,
}

/// Plays a case; returns the exchanges that went otherwise, with what went.
pub(super) async fn case(dir: &Path) -> Vec<(String, String)> {
    let transcript = json(&dir.join("transcript.json"));
    let work = tempfile::tempdir().unwrap();
    let endpoints: Vec<Value> = transcript["endpoints"].as_array().unwrap().clone();
    std::fs::write(work.path().join("endpoints.yaml"), listed(&endpoints)).unwrap();
    let absolute = format!("path: {}", work.path().join("endpoints.yaml").display());
    let config = text(&dir.join("config.yaml")).replace("path: endpoints.yaml", &absolute);
    let config_path = work.path().join("config.yaml");
    std::fs::write(&config_path, config).unwrap();
    let mut fakes = BTreeMap::new();
    for endpoint in &endpoints {
        if endpoint["down"] != true {
            let name = endpoint["name"].as_str().unwrap().to_owned();
            let (status, page) = page(endpoint);
            fakes.insert(name, Fake::start(address(endpoint), status, page).await);
        }
    }
    let mut flags: Vec<String> = Vec::new();
    let recorded: Vec<&str> = transcript["flags"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut skip = false;
    for flag in recorded {
        let named = flag == "--pool-name";
        if !named && !skip {
            flags.push(flag.to_owned());
        }
        skip = named;
    }
    // What the recorded picker always did.
    flags.push("--skip-closes-stream".to_owned());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let picker = Picker::start(&config_path, &flags).await;
    for fake in fakes.values() {
        fake.asked().await;
    }
    let mut running = Running {
        client: connect(picker.grpc).await,
        fakes,
        endpoints,
        dir: work,
        _picker: picker,
        ties: transcript.get("note").is_some(),
    };
    let mut wrong = Vec::new();
    let mut streams = HashMap::new();
    for exchange in transcript["exchanges"].as_array().unwrap() {
        let name = exchange["name"].as_str().unwrap_or("change").to_owned();
        let sends = exchange["messages"].as_array().into_iter().flatten();
        if !sends.filter_map(|entry| entry.get(">")).all(whole) {
            eprintln!(
                "SKIPPED: {} / {name}: only the digest of its body was recorded",
                dir.display()
            );
            continue;
        }
        match running.exchange(exchange, &mut streams).await {
            Ok(()) => {}
            Err(words) => {
                wrong.push((name, words));
                streams.clear();
            }
        }
    }
    wrong
}

impl Running {
    async fn exchange(
        &mut self,
        exchange: &Value,
        streams: &mut HashMap<String, Stream>,
    ) -> Result<(), String> {
        if exchange.get("endpoints").is_some() {
            self.step(exchange).await;
        }
        streams.clear();
        for (index, entry) in exchange["messages"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let id = entry["stream"].to_string();
            if let Some(message) = entry.get(">") {
                if !streams.contains_key(&id) {
                    streams.insert(id.clone(), Stream::open(&mut self.client).await);
                }
                let stream = streams.get_mut(&id).unwrap();
                match message.as_str() {
                    Some("halfClose") => stream.half_close(),
                    Some("cancel") => {
                        stream.cancel();
                        // It says so to nobody when it has arrived.
                        tokio::time::sleep(Duration::from_millis(30)).await;
                    }
                    _ => stream.send(sent(message)),
                }
                // Streams that are open together are told apart by the order in which their requests come.
                let next = exchange["messages"].get(index + 1);
                if next.is_some_and(|next| {
                    next.get(">").is_some() && next["stream"] != entry["stream"]
                }) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            } else if let Some(expected) = entry.get("<") {
                let times = entry["times"].as_u64().unwrap_or(1);
                let stream = streams.get_mut(&id).ok_or("a reply without a stream")?;
                for _ in 0..times {
                    reply(stream, expected, self.ties).await?;
                }
            } else {
                self.step(entry).await;
            }
        }
        Ok(())
    }

    /// A change of the world.
    async fn step(&mut self, entry: &Value) {
        if let Some(seconds) = entry["wait"].as_f64() {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        if let Some(changes) = entry.get("endpoints").and_then(Value::as_object) {
            for (name, change) in changes {
                let known = self.endpoints.iter_mut().find(|one| one["name"] == *name);
                let Some(endpoint) = known else { continue };
                for (key, value) in change.as_object().into_iter().flatten() {
                    endpoint[key] = value.clone();
                }
                if let Some(fake) = self.fakes.get(name) {
                    let (status, page) = page(endpoint);
                    fake.set(status, page);
                }
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if let Some(list) = entry.get("endpointsFile").and_then(Value::as_array) {
            let new = self.dir.path().join("endpoints.new");
            std::fs::write(&new, listed(list)).unwrap();
            std::fs::rename(new, self.dir.path().join("endpoints.yaml")).unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn reply(stream: &mut Stream, expected: &Value, ties: bool) -> Result<(), String> {
    if stream.cancelled() && expected["end"]["code"] == "CANCELLED" {
        return Ok(());
    }
    let got = match stream.next(PATIENCE).await {
        Came::Message(message) => received(&message),
        Came::End(status) => {
            let code = format!("{:?}", status.code());
            let message = status.message().to_owned();
            if let Some(end) = expected.get("end") {
                let plain = |text: &str| text.replace('_', "").to_lowercase();
                let same = plain(end["code"].as_str().unwrap_or("")) == plain(&code)
                    && end["message"].as_str().unwrap_or("") == message;
                if same {
                    return Ok(());
                }
            }
            return Err(format!(
                "  expected {expected}\n  got      end {code} {message:?}"
            ));
        }
        Came::Nothing => return Err(format!("  expected {expected}\n  got      nothing")),
    };
    if alike(expected, &got, ties) {
        Ok(())
    } else {
        Err(format!("  expected {expected}\n  got      {got}"))
    }
}

fn address(endpoint: &Value) -> std::net::SocketAddr {
    let ip = endpoint["address"].as_str().unwrap();
    let port = &endpoint["port"];
    let port = port
        .as_str()
        .map_or_else(|| port.to_string(), str::to_owned);
    format!("{ip}:{port}").parse().unwrap()
}

/// The discovery file, as JSON.
fn listed(endpoints: &[Value]) -> String {
    let list: Vec<Value> = endpoints
        .iter()
        .map(|one| {
            let mut entry = serde_json::json!({
                "name": one["name"],
                "address": one["address"],
                "port": address(one).port().to_string(),
            });
            for key in ["labels", "namespace"] {
                if let Some(value) = one.get(key) {
                    entry[key] = value.clone();
                }
            }
            entry
        })
        .collect();
    serde_json::json!({"endpoints": list}).to_string()
}

/// Status and page of an endpoint.
fn page(endpoint: &Value) -> (u16, String) {
    let status = endpoint["http"]
        .as_u64()
        .map_or(200, |code| u16::try_from(code).unwrap());
    if let Some(page) = endpoint["page"].as_str() {
        return (status, page.to_owned());
    }
    let mut page = String::new();
    for (name, key) in [
        ("vllm:num_requests_waiting", "waiting"),
        ("vllm:num_requests_running", "running"),
        ("vllm:kv_cache_usage_perc", "kv"),
    ] {
        let value = endpoint[key].as_f64().unwrap_or(0.0);
        page += &format!("# TYPE {name} gauge\n{name} {value}\n");
    }
    if let Some(block) = endpoint["block"].as_array() {
        page += &format!(
            "# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{{block_size=\"{}\",num_gpu_blocks=\"{}\"}} 1\n",
            block[0], block[1]
        );
    }
    for one in endpoint["lora"].as_array().into_iter().flatten() {
        let text = |index: usize| one[index].as_str().unwrap_or("");
        page += &format!(
            "vllm:lora_requests_info{{running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\",max_lora=\"{}\"}} {}\n",
            text(0),
            text(1),
            one[2],
            one[3]
        );
    }
    (status, page)
}
