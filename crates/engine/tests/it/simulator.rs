//! What an echo says and counts, beside recordings of the llm-d simulator.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::{parse, start_named};

const RECORDED: &str = include_str!("../../testdata/captures/simulator.jsonl");

/// Texts and reasons by choice, and the counts, of whole answers and of the frames of a stream alike.
fn said(frames: &[Value]) -> Value {
    let mut texts: BTreeMap<u64, String> = BTreeMap::new();
    let mut reasons: BTreeMap<u64, Value> = BTreeMap::new();
    let mut usage = Value::Null;
    for frame in frames {
        for choice in frame["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap();
            let text = ["/text", "/delta/content", "/message/content"]
                .iter()
                .find_map(|place| choice.pointer(place)?.as_str());
            texts
                .entry(index)
                .or_default()
                .push_str(text.unwrap_or_default());
            if !choice["finish_reason"].is_null() {
                reasons.insert(index, choice["finish_reason"].clone());
            }
        }
        if let Some(counts) = frame["usage"].as_object() {
            usage = json!([counts["prompt_tokens"], counts["completion_tokens"]]);
        }
    }
    json!({
        "texts": texts.into_values().collect::<Vec<_>>(),
        "reasons": reasons.into_values().collect::<Vec<_>>(),
        "usage": usage,
    })
}

#[tokio::test]
async fn echoes_are_those_of_the_simulator() {
    let engine = start_named("my-model", &["my-model"], "--mode echo --seed 42").await;
    for line in RECORDED.lines() {
        let recorded = parse(line);
        let (status, _, text) = engine
            .post(recorded["path"].as_str().unwrap(), &recorded["body"])
            .await;
        assert_eq!(status, 200, "{line}\n{text}");
        let frames: Vec<Value> = if text.starts_with("data: ") {
            text.lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .filter(|data| *data != "[DONE]")
                .map(parse)
                .collect()
        } else {
            vec![parse(&text)]
        };
        let said = said(&frames);
        for part in ["texts", "reasons", "usage"] {
            assert_eq!(said[part], recorded[part], "{line}");
        }
    }
    engine.stop().await;
}
