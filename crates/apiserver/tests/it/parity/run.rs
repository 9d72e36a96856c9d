//! Steps and the requests they make.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::normal::normalise;

/// One request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// Name in reports.
    name: String,
    /// `METHOD PATH`; `{ns}` is the area's namespace, `{NAME}` a saved value.
    r#do: String,
    /// JSON body; saved values are replaced in its texts.
    #[serde(default)]
    body: Option<Value>,
    /// Body as it is, instead of `body`.
    #[serde(default)]
    raw: Option<String>,
    /// Content type.
    #[serde(default)]
    r#type: Option<String>,
    /// Accept header.
    #[serde(default)]
    accept: Option<String>,
    /// Values to keep, name to JSON pointer of the answer.
    #[serde(default)]
    save: BTreeMap<String, String>,
    /// Asked again until it answers with this status.
    #[serde(default)]
    until: Option<u16>,
    /// True when only the status code is compared.
    #[serde(default)]
    code_only: bool,
}

pub(super) fn load(file: &Path) -> Vec<Step> {
    serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Runs all steps and returns the normalised answers by step name.
pub(super) async fn run(client: &kube::Client, area: &str, steps: &[Step]) -> Value {
    let mut values = BTreeMap::from([("ns".to_owned(), format!("parity-{area}"))]);
    let mut answers = Map::new();
    for step in steps {
        let mut answer = ask(client, step, &values).await;
        for _ in 0..100 {
            if step.until.is_none_or(|code| answer["code"] == code) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = ask(client, step, &values).await;
        }
        for (name, pointer) in &step.save {
            let value = answer["body"].pointer(pointer).and_then(Value::as_str);
            values.insert(name.clone(), value.unwrap_or_default().to_owned());
        }
        if step.code_only {
            answer = json!({"code": answer["code"]});
        }
        normalise(&mut answer);
        let twice = answers.insert(step.name.clone(), answer);
        assert!(twice.is_none(), "two steps are named {:?}", step.name);
    }
    Value::Object(answers)
}

fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

async fn ask(client: &kube::Client, step: &Step, values: &BTreeMap<String, String>) -> Value {
    let (method, path) = step.r#do.split_once(' ').unwrap();
    let path = fill(path, values);
    let body = match (&step.body, &step.raw) {
        (_, Some(raw)) => fill(raw, values),
        (Some(body), None) => fill(&body.to_string(), values),
        (None, None) => String::new(),
    };
    let mut request = http::Request::builder()
        .method(method)
        .uri(&path)
        .header("user-agent", "parity/1")
        .header(
            "accept",
            step.accept.as_deref().unwrap_or("application/json"),
        );
    if !body.is_empty() || step.r#type.is_some() {
        let kind = step.r#type.as_deref().unwrap_or("application/json");
        request = request.header("content-type", kind);
    }
    let request = request
        .body(kube::client::Body::from(body.into_bytes()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let warnings: Vec<String> = response
        .headers()
        .get_all("warning")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    let bytes = tokio::time::timeout(Duration::from_secs(20), response.into_body().collect())
        .await
        .unwrap_or_else(|_| panic!("{}: no end of {path}", step.name))
        .unwrap()
        .to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = if path.contains("watch=") && code == 200 {
        events(&text)
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    let mut answer = json!({"code": code, "body": body});
    if !warnings.is_empty() {
        answer["warnings"] = json!(warnings);
    }
    answer
}

/// The events of a watch, without the bookmarks that come when a server likes.
fn events(text: &str) -> Value {
    let mark = "/object/metadata/annotations/k8s.io~1initial-events-end";
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["type"] != "BOOKMARK" || event.pointer(mark).is_some())
        .collect()
}

/// Returns every place in which the answers differ, `STEP | POINTER`, with both values.
pub(super) fn differences(steps: &[Step], real: &Value, ours: &Value) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for step in steps {
        let mut found = Vec::new();
        let (a, b) = (&real[&step.name], &ours[&step.name]);
        if a["code"] != b["code"] {
            // What else differs then follows from that.
            let brief = |answer: &Value| {
                let message = &answer["body"]["message"];
                json!({"code": answer["code"], "message": message})
            };
            let line = shown(Some(&brief(a)), Some(&brief(b)));
            lines.push((format!("{} | /code", step.name), line));
            continue;
        }
        compare(&real[&step.name], &ours[&step.name], "", &mut found);
        let named = |(pointer, line)| (format!("{} | {pointer}", step.name), line);
        lines.extend(found.into_iter().map(named));
    }
    lines
}

fn compare(real: &Value, ours: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match (real, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                if key == "." {
                    // Whether a whole new map is owned, which nobody asks.
                    continue;
                }
                let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(a, b, &place, found),
                    (a, b) => found.push((place, shown(a, b))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{at}/{index}"), found);
            }
        }
        (a, b) if a != b => found.push((at.to_owned(), shown(Some(a), Some(b)))),
        _ => {}
    }
}

fn shown(real: Option<&Value>, ours: Option<&Value>) -> String {
    let text =
        |value: Option<&Value>| value.map_or_else(|| "(absent)".to_owned(), Value::to_string);
    format!("- {}\n  + {}", text(real), text(ours))
}
