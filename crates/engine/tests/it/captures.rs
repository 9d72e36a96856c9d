//! The simulated engine beside recordings of a real one: statuses, error bodies, the shape of every answer and of
//! every frame, and the metrics page. What differs is listed, with the reason, in `testdata/captures/differences.txt`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::client::{Engine, parse, start_named};

const REQUESTS: &str = include_str!("../../testdata/captures/requests.jsonl");
const METRICS: &str = include_str!("../../testdata/captures/metrics.tsv");
const DIFFERENCES: &str = include_str!("../../testdata/captures/differences.txt");

/// The places of `value` with the type of what is there; items of a list are one place.
fn shape(value: &Value, place: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Null => {
            out.insert(format!("{place}=null"));
        }
        Value::Bool(_) => {
            out.insert(format!("{place}=bool"));
        }
        Value::Number(_) => {
            out.insert(format!("{place}=number"));
        }
        Value::String(_) => {
            out.insert(format!("{place}=string"));
        }
        Value::Array(items) => {
            out.insert(format!("{place}=list"));
            for item in items {
                shape(item, &format!("{place}[]"), out);
            }
        }
        Value::Object(map) => {
            out.insert(format!("{place}=object"));
            for (key, value) in map {
                shape(value, &format!("{place}.{key}"), out);
            }
        }
    }
}

/// The shape of a stream: its first frame, those between and its last ones, each kind by itself.
fn stream(frames: &[Value], out: &mut BTreeSet<String>) {
    for frame in frames {
        if let Value::String(text) = frame {
            out.insert(format!("end {text}"));
            continue;
        }
        let choice = &frame["choices"][0];
        let kind = if choice.is_null() {
            "usage"
        } else if !choice["delta"]["role"].is_null() {
            "opening"
        } else if choice["finish_reason"].is_null() {
            "token"
        } else {
            "last"
        };
        shape(frame, kind, out);
    }
}

async fn compare(engine: &Engine, recorded: &Value, out: &mut BTreeSet<String>) {
    let text = |field: &str| recorded[field].as_str().unwrap_or_default();
    let name = text("name");
    let mut head = String::new();
    for pair in recorded["headers"].as_array().unwrap() {
        head.push_str(&format!(
            "{}: {}\r\n",
            pair[0].as_str().unwrap(),
            pair[1].as_str().unwrap()
        ));
    }
    let mut sent = text("body").to_owned();
    if recorded["frames"].is_array() {
        // An answer that ends at once has no frames to compare.
        let mut body = parse(&sent);
        body["ignore_eos"] = true.into();
        sent = body.to_string();
    }
    let (status, answered, body) = engine
        .call(text("method"), text("path"), &sent, &head)
        .await;
    let mut differs = |what: String| {
        out.insert(format!("{name}: {what}"));
    };
    if status != recorded["status"] {
        differs(format!("status {} here {status}", recorded["status"]));
        return;
    }
    let kind = answered
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    if kind != recorded["content_type"].as_str() {
        differs(format!("type {} here {kind:?}", recorded["content_type"]));
    }
    let (mut theirs, mut ours) = (BTreeSet::new(), BTreeSet::new());
    if let Some(frames) = recorded["frames"].as_array() {
        let said: Vec<Value> = body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into()))
            .collect();
        stream(frames, &mut theirs);
        stream(&said, &mut ours);
    } else if status != 200 {
        // Refusals are the same to the letter.
        let said = parse(&body);
        if said != recorded["answer"] {
            let error = |body: &Value| {
                body["error"]
                    .as_object()
                    .map_or_else(|| body.to_string(), |_| body["error"].to_string())
            };
            differs(format!(
                "{}\n    here {}",
                error(&recorded["answer"]),
                error(&said)
            ));
        }
    } else if !recorded["answer"].is_null() {
        // An id that the client gave comes back in the answer's.
        let id = &recorded["answer"]["id"];
        if id
            .as_str()
            .is_some_and(|id| id.ends_with("-id") || id.contains("-req-") || id.contains("abc-"))
            && *id != parse(&body)["id"]
        {
            differs(format!("id {id}"));
        }
        shape(&recorded["answer"], "", &mut theirs);
        shape(&parse(&body), "", &mut ours);
    }
    for place in outermost(&theirs, &ours) {
        differs(format!("not here {place}"));
    }
    for place in outermost(&ours, &theirs) {
        differs(format!("only here {place}"));
    }
}

/// What `one` has and `other` has not, without what lies inside of such a place.
fn outermost<'a>(
    one: &'a BTreeSet<String>,
    other: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a String> {
    let missing: Vec<&String> = one.difference(other).collect();
    let outer: Vec<String> = missing
        .iter()
        .filter_map(|place| place.rsplit_once('='))
        .filter(|(_, kind)| matches!(*kind, "object" | "list"))
        .map(|(place, _)| place.to_owned())
        .collect();
    missing.into_iter().filter(move |place| {
        !outer.iter().any(|outer| {
            place
                .strip_prefix(outer.as_str())
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    })
}

async fn metrics(out: &mut BTreeSet<String>) {
    let engine = start_named("org/m", &["m"], "--lora-modules l=/l").await;
    let (_, _, page) = engine.call("GET", "/metrics", "", "").await;
    let mut kinds = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            kinds.insert(name.to_owned(), kind.to_owned());
        }
    }
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in weir_promtext::samples(&page) {
        let family = ["", "_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|end| sample.name.strip_suffix(end))
            .find(|name| kinds.contains_key(*name))
            .unwrap();
        labels.entry(family.to_owned()).or_default().extend(
            sample
                .labels()
                .map(|(name, _)| name.to_owned())
                .filter(|name| name != "le"),
        );
    }
    engine.stop().await;
    let mut known = BTreeSet::new();
    for line in METRICS.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        known.insert(columns[0].to_owned());
        let Some(kind) = kinds.get(columns[0]) else {
            out.insert(format!("metrics: not here {}", columns[0]));
            continue;
        };
        if kind != columns[1] {
            out.insert(format!(
                "metrics: {} is a {} here a {kind}",
                columns[0], columns[1]
            ));
        }
        let theirs: BTreeSet<String> = columns[2].split(',').map(str::to_owned).collect();
        let ours = &labels[columns[0]];
        for label in theirs.difference(ours) {
            out.insert(format!("metrics: not here {}{{{label}}}", columns[0]));
        }
        for label in ours.difference(&theirs) {
            out.insert(format!("metrics: only here {}{{{label}}}", columns[0]));
        }
    }
    for name in kinds.keys().filter(|name| !known.contains(*name)) {
        out.insert(format!("metrics: only here {name}"));
    }
}

#[tokio::test]
async fn answers_have_the_shape_of_a_real_engine_s() {
    let mut found = BTreeSet::new();
    let mut engines: Vec<(String, Engine)> = Vec::new();
    for line in REQUESTS.lines() {
        let recorded = parse(line);
        let names: Vec<&str> = recorded["names"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let flags = recorded["flags"].as_str().unwrap();
        let key = format!("{names:?} {flags}");
        let at = engines.iter().position(|(known, _)| *known == key);
        let at = match at {
            Some(at) => at,
            None => {
                let flags = format!("--max-model-len 2048 --block-size 32 {flags}");
                let engine = start_named("/models/SmolLM2-135M-Instruct", &names, &flags).await;
                engines.push((key, engine));
                engines.len() - 1
            }
        };
        compare(&engines[at].1, &recorded, &mut found).await;
    }
    for (_, engine) in engines {
        engine.stop().await;
    }
    metrics(&mut found).await;
    let mut lines: Vec<String> = Vec::new();
    for line in DIFFERENCES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match lines.last_mut().filter(|_| line.starts_with(' ')) {
            Some(before) => *before = format!("{before}\n{line}"),
            None => lines.push(line.to_owned()),
        }
    }
    let listed: BTreeSet<String> = lines.into_iter().collect();
    // `*: …` is a difference in any request.
    let anywhere = |line: &str| line.split_once(": ").map(|(_, what)| format!("*: {what}"));
    let generals: BTreeSet<String> = found.iter().filter_map(|line| anywhere(line)).collect();
    let new: Vec<&String> = found
        .difference(&listed)
        .filter(|line| !anywhere(line).is_some_and(|line| listed.contains(&line)))
        .collect();
    let gone: Vec<&String> = listed
        .difference(&found)
        .filter(|line| !generals.contains(*line))
        .collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "differences that are not listed:\n{}\n\nlisted and not true:\n{}",
        new.iter()
            .map(|line| line.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        gone.iter()
            .map(|line| line.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    );
}
