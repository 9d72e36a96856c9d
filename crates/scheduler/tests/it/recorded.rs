//! Exchanges of the recorded picker: the same endpoints are chosen, with the same scores.
//!
//! Only what is decided here is compared: destination, total scores, prefill header, refusal. The prompt is taken from
//! the request as the estimating token producer takes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use weir_scheduler::{
    Account, Adapters, Ask, Candidates, Endpoint, EndpointLoad, Labels, LlmRequest, Prompt,
    Scheduler, Snapshot,
};

use crate::pool::config;

/// Cases about what is decided here. Not among them: `score-no-hit-lru`, whose order among endpoints never used is
/// that of a map; its numbers are in the table of formulas.
const CASES: &[&str] = &[
    "all-filtered",
    "completions",
    "data-parallel",
    "decode-filter",
    "emit-scores-weights",
    "encode-filter",
    "filter-affinity",
    "filter-concurrency",
    "filter-context-length",
    "filter-utilization",
    "header-profile",
    "header-test-filter",
    "labels",
    "no-endpoints",
    "pd-always",
    "pd-decider",
    "pd-no-decode",
    "pd-no-prefill",
    "pd-old-handler",
    "picker-many",
    "prefill-filter",
    "score-active-request",
    "score-active-request-params",
    "score-context-length",
    "score-kv-cache-utilization-scorer",
    "score-latency-composite",
    "score-load-aware-scorer",
    "score-load-aware-threshold",
    "score-lora",
    "score-prefix",
    "score-prefix-chat",
    "score-prefix-length-weight",
    "score-queue-scorer",
    "score-running-requests-size-scorer",
    "score-token-load",
    "session-affinity",
];

/// Exchanges about how prompts are read, which is not done here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("no-endpoints", "post invalid"),
    ("score-prefix-chat", "tools"),
    ("score-prefix-chat", "responses again"),
];

fn folder() -> Option<PathBuf> {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let folder = Path::new(&shared).join("goldens/epp");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: the recordings are not at {}", folder.display());
    None
}

/// Endpoints of a case; their pages change on the way.
struct Replay {
    scheduler: Scheduler,
    pool: Snapshot,
    now: Duration,
    /// What is in flight, by stream.
    open: BTreeMap<String, Account>,
}

fn store(endpoint: &Endpoint, from: &Value, now: Duration) {
    let old = endpoint.live.load();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small numbers"
    )]
    let count = |field: &str, old: u32| from[field].as_f64().map_or(old, |number| number as u32);
    let block = |at: usize, old: u32| {
        let value = from["block"][at].as_u64();
        value.map_or(old, |value| u32::try_from(value).unwrap())
    };
    let unreadable =
        from["down"] == true || from.get("http").is_some() || from.get("page").is_some();
    endpoint.live.store(&EndpointLoad {
        waiting: count("waiting", old.waiting),
        running: count("running", old.running),
        kv_usage: from["kv"].as_f64().unwrap_or(old.kv_usage),
        block_size: block(0, old.block_size),
        blocks: block(1, old.blocks),
        updated: (!unreadable).then_some(now),
    });
    if let Some(rows) = from["lora"].as_array() {
        let newest = rows.iter().max_by(|a, b| {
            let time = |row: &Value| row[3].as_f64().unwrap_or(0.0);
            time(a).total_cmp(&time(b))
        });
        let list = |value: &Value| {
            let names = value.as_str().unwrap_or("").split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        if let Some(row) = newest {
            endpoint.live.store_adapters(Adapters {
                running: list(&row[0]),
                waiting: list(&row[1]),
                max: u32::try_from(row[2].as_u64().unwrap_or(0)).unwrap(),
            });
        }
    }
}

/// A long body is recorded by its size; those that are written by a rule can be written again.
fn long_body(case: &str, bytes: u64) -> Option<String> {
    let ids = |ids: Vec<u32>| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        format!("{{\"model\":\"m\",\"prompt\":[{}]}}", ids.join(","))
    };
    let text = match (case, bytes) {
        (_, 4025) => format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "x".repeat(4000)),
        ("score-context-length" | "filter-context-length", bytes) => {
            ids(vec![1; usize::try_from((bytes - 24) / 2).unwrap()])
        }
        ("score-token-load", 3914) => ids((0..1000).collect()),
        ("score-token-load", 3916) => ids([7].into_iter().chain(0..1000).collect()),
        ("score-token-load", 1914) => ids((0..500).collect()),
        ("score-prefix", 2073) => format!(
            "{{\"model\":\"m\",\"prompt\":\"{}{}\"}}",
            "abcd".repeat(256),
            "wxyz".repeat(256)
        ),
        _ => return None,
    };
    assert_eq!(text.len() as u64, bytes, "{case}");
    Some(text)
}

impl Replay {
    fn new(case: &Path, transcript: &Value) -> Self {
        let text = std::fs::read_to_string(case.join("config.yaml")).unwrap();
        let now = Duration::from_secs(1000);
        let endpoints = transcript["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|from| {
                let address = format!("{}:{}", from["address"].as_str().unwrap(), from["port"]);
                let labels = from["labels"].as_object().into_iter().flatten();
                let labels: Labels = labels
                    .map(|(k, v)| (k.as_str(), v.as_str().unwrap()))
                    .collect();
                let name = from["name"].as_str().unwrap();
                let endpoint =
                    Endpoint::new("default", name, None, address.parse().unwrap(), labels);
                store(&endpoint, from, now);
                Arc::new(endpoint)
            });
        Self {
            pool: Snapshot::new(endpoints.collect()),
            scheduler: Scheduler::new(Arc::new(config(&text))),
            now,
            open: BTreeMap::new(),
        }
    }

    fn pages(&mut self, changed: &Value) {
        self.now += Duration::from_millis(100);
        for (name, from) in changed.as_object().unwrap() {
            let named = |endpoint: &&Arc<Endpoint>| *endpoint.name == **name;
            if let Some(endpoint) = self.pool.endpoints().iter().find(named) {
                store(endpoint, from, self.now);
            }
        }
    }

    /// Decides as the recorded picker did; returns what it would have answered.
    fn decide(&mut self, stream: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let texts = prompt(&json);
        let prompts: Vec<Prompt<'_>> = texts.iter().map(|text| Prompt::whole(text)).collect();
        let borrowed: Vec<(&str, &str)> = headers
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let find = |name: &str| borrowed.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
        let rewritten =
            find("x-llm-d-model-name-rewrite").or_else(|| find("x-gateway-model-name-rewrite"));
        let request = LlmRequest {
            id: find("x-request-id").unwrap_or(""),
            target_model: rewritten.or_else(|| json["model"].as_str()).unwrap_or(""),
            cache_salt: json["cache_salt"].as_str().unwrap_or(""),
            max_output_tokens: json["max_tokens"].as_u64(),
            prompts: &prompts,
            headers: &Pairs(&borrowed),
            ..LlmRequest::default()
        };
        // Fresh pages: the fakes are scraped all the time.
        for endpoint in self.pool.endpoints() {
            let mut load = endpoint.live.load();
            load.updated = load.updated.map(|_| self.now);
            endpoint.live.store(&load);
        }
        let ask = Ask {
            now: self.now,
            seed: 3,
            scores: true,
            ..Ask::default()
        };
        match self
            .scheduler
            .schedule(&request, &self.pool, &Candidates::All, ask)
        {
            Err(rejection) => Answer {
                refused: Some((u64::from(rejection.code.status()), rejection.body())),
                ..Answer::default()
            },
            Ok(mut outcome) => {
                let account = self.scheduler.dispatch(&request, &mut outcome, self.now);
                self.open.insert(stream.to_owned(), account);
                Answer {
                    refused: None,
                    destination: outcome.destination.clone(),
                    scores: outcome
                        .scores
                        .iter()
                        .flatten()
                        .map(|(address, score)| (address.to_string(), *score))
                        .collect(),
                    headers: outcome
                        .headers
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), value.clone()))
                        .collect(),
                }
            }
        }
    }
}

struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl weir_scheduler::Headers for Pairs<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }
}

#[derive(Debug, Default, PartialEq)]
struct Answer {
    refused: Option<(u64, String)>,
    destination: String,
    scores: BTreeMap<String, f64>,
    headers: BTreeMap<String, String>,
}

/// The bytes whose fours are estimated tokens.
fn prompt(body: &Value) -> Vec<Vec<u8>> {
    if let Some(messages) = body["messages"].as_array() {
        let mut out = Vec::new();
        for message in messages {
            out.extend(message["role"].as_str().unwrap_or("").bytes());
            match &message["content"] {
                Value::String(text) => out.extend(text.bytes()),
                Value::Array(parts) => {
                    for part in parts {
                        out.extend(part["text"].as_str().unwrap_or("").bytes());
                    }
                }
                _ => {}
            }
        }
        return vec![out];
    }
    match &body["prompt"] {
        Value::String(text) => vec![text.clone().into_bytes()],
        Value::Array(items) if items.iter().all(Value::is_string) => items
            .iter()
            .map(|item| item.as_str().unwrap().as_bytes().to_vec())
            .collect(),
        Value::Array(items) => {
            let id = |item: &Value| u32::try_from(item.as_u64().unwrap()).unwrap();
            vec![
                items
                    .iter()
                    .flat_map(|item| id(item).to_le_bytes())
                    .collect(),
            ]
        }
        _ => Vec::new(),
    }
}

/// The recorded answer in a message, if it is one to a request.
fn recorded(message: &Value) -> Option<Answer> {
    if let Some(immediate) = message.get("immediateResponse") {
        let body = immediate["body"].as_str().unwrap_or("").to_owned();
        return Some(Answer {
            refused: Some((immediate["status"].as_u64()?, body)),
            ..Answer::default()
        });
    }
    let metadata = &message.get("requestHeaders")?;
    let metadata = metadata
        .get("dynamicMetadata")
        .or_else(|| message.get("dynamicMetadata"))?;
    let metadata = &metadata["envoy.lb"];
    let set = message["requestHeaders"]["headerMutation"]["setHeaders"].as_array();
    let told = [
        "x-prefiller-host-port",
        "x-encoder-hosts-ports",
        "x-data-parallel-host-port",
    ];
    Some(Answer {
        refused: None,
        destination: metadata["x-gateway-destination-endpoint"]
            .as_str()?
            .to_owned(),
        scores: metadata["x-gateway-destination-endpoint-scores"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(address, score)| (address.clone(), score.as_f64().unwrap()))
            .collect(),
        headers: set
            .into_iter()
            .flatten()
            .map(|pair| {
                (
                    pair[0].as_str().unwrap_or(""),
                    pair[1].as_str().unwrap_or(""),
                )
            })
            // What clients smuggle in is mirrored there and shielded here.
            .filter(|(name, value)| told.contains(name) && !value.starts_with("evil"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    })
}

fn differs(ours: &Answer, theirs: &Answer, random: bool) -> Option<String> {
    let sorted = |list: &str| {
        let mut list: Vec<String> = list.split(',').map(str::to_owned).collect();
        list.sort_unstable();
        list
    };
    let same_place = ours.destination == theirs.destination
        || random && sorted(&ours.destination) == sorted(&theirs.destination);
    let same_scores = theirs.scores.is_empty()
        || ours.scores.len() == theirs.scores.len()
            && theirs.scores.iter().all(|(address, score)| {
                ours.scores
                    .get(address)
                    .is_some_and(|ours| (ours - score).abs() < 1e-6)
            });
    let same = same_place
        && same_scores
        && ours.refused == theirs.refused
        && (theirs.refused.is_some() || ours.headers == theirs.headers);
    (!same).then(|| format!("\n  ours {ours:?}\n  recorded {theirs:?}"))
}

#[test]
fn the_same_endpoints_are_chosen_with_the_same_scores() {
    let Some(folder) = folder() else { return };
    let mut problems = Vec::new();
    let mut compared = 0;
    for case in CASES {
        let path = folder.join(case);
        let Ok(text) = std::fs::read_to_string(path.join("transcript.json")) else {
            continue;
        };
        let transcript: Value = serde_json::from_str(&text).unwrap();
        let random = transcript.get("note").is_some_and(|note| !note.is_null());
        let mut replay = Replay::new(&path, &transcript);
        for exchange in transcript["exchanges"].as_array().unwrap() {
            let name = exchange["name"].as_str().unwrap_or("");
            if let Some(changed) = exchange.get("endpoints") {
                replay.pages(changed);
            }
            let Some(messages) = exchange["messages"].as_array() else {
                continue;
            };
            let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
            for entry in messages {
                if let Some(changed) = entry.get("endpoints") {
                    replay.pages(changed);
                    continue;
                }
                let id = format!("{name}/{}", entry["stream"]);
                let stream = streams.entry(id.clone()).or_default();
                if let Some(sent) = entry.get(">") {
                    stream.sent(case, sent, &mut replay, &id);
                }
                let Some(theirs) = entry.get("<").and_then(recorded) else {
                    continue;
                };
                let elsewhere = ELSEWHERE.contains(&(*case, name));
                if let Some(ours) = stream.ours.take().filter(|_| !elsewhere) {
                    compared += 1;
                    if let Some(problem) = differs(&ours, &theirs, random) {
                        problems.push(format!("{case}/{id}: {problem}"));
                    }
                }
            }
        }
    }
    assert!(compared > 100, "{compared} answers");
    assert!(
        problems.is_empty(),
        "{} of {compared}:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// One stream on its way.
#[derive(Default)]
struct Stream {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ours: Option<Answer>,
}

impl Stream {
    fn sent(&mut self, case: &str, sent: &Value, replay: &mut Replay, id: &str) {
        if sent == "halfClose" || sent == "cancel" {
            replay.open.remove(id);
        }
        if let Some(list) = sent["requestHeaders"]["headers"].as_array() {
            self.headers = list
                .iter()
                .map(|pair| {
                    let text = |at: usize| pair[at].as_str().unwrap_or("").to_owned();
                    (text(0).to_ascii_lowercase(), text(1))
                })
                .collect();
        }
        if let Some(body) = sent.get("requestBody") {
            let long = body["body"]["bytes"].as_u64();
            match long.map(|bytes| long_body(case, bytes)) {
                None => {
                    let text = body["body"].as_str().unwrap_or("");
                    self.body.extend(text.bytes());
                }
                Some(Some(text)) => self.body.extend(text.bytes()),
                Some(None) => return,
            }
            if body["endOfStream"] == true {
                self.ours = Some(replay.decide(id, &self.headers, &self.body));
            }
        }
        if let (Some(_), Some(account)) = (sent.get("responseBody"), replay.open.get_mut(id)) {
            account.first_chunk();
        }
    }
}
