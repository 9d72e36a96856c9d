//! What texts mean, where their parts stand, and what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tables of cases"
)]

use proptest::prelude::{ProptestConfig, any, prop, proptest};
use rstest::rstest;
use serde_json::{Value, json};
use weir_manifest::{Position, from_json, parse};

fn one(text: &str) -> Value {
    let mut documents = parse(text, "f.yaml").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0).value
}

fn refused(text: &str) -> String {
    match parse(text, "f.yaml") {
        Ok(documents) => panic!("read {text:?} as {documents:?}"),
        Err(error) => error.to_string(),
    }
}

#[rstest]
#[case("y", json!(true))]
#[case("Yes", json!(true))]
#[case("on", json!(true))]
#[case("n", json!(false))]
#[case("OFF", json!(false))]
#[case("no", json!(false))]
#[case("yEs", json!("yEs"))]
#[case("'n'", json!("n"))]
#[case("\"yes\"", json!("yes"))]
#[case("!!str yes", json!("yes"))]
#[case("!!int \"12\"", json!(12))]
#[case("~", Value::Null)]
#[case("", Value::Null)]
#[case("NULL", Value::Null)]
#[case("0777", json!(511))]
#[case("0o777", json!(511))]
#[case("-0777", json!(-511))]
#[case("0x1F", json!(31))]
#[case("0b101", json!(5))]
#[case("1_000", json!(1000))]
#[case("+1", json!(1))]
#[case("08", json!(8))]
#[case("1.0", json!(1))]
#[case("1e3", json!(1000))]
#[case("1.5", json!(1.5))]
#[case(".5", json!(0.5))]
#[case("18446744073709551615", json!(u64::MAX))]
#[case("-9223372036854775808", json!(i64::MIN))]
#[case("1:30", json!("1:30"))]
#[case("2024-01-02", json!("2024-01-02"))]
#[case("1.2.3", json!("1.2.3"))]
#[case("10Gi", json!("10Gi"))]
#[case("-", json!([null]))]
#[case("0x", json!("0x"))]
#[case("a: b", json!({"a": "b"}))]
#[case("|\n    x\n    y\n", json!("x\ny\n"))]
#[case(">-\n    x\n    y\n", json!("x y"))]
fn scalars_are_read_as_kubectl_reads_them(#[case] text: &str, #[case] want: Value) {
    let text = if text.contains(": ") || text == "-" {
        format!("v:\n  {text}\n")
    } else {
        format!("v: {text}\n")
    };
    assert_eq!(one(&text)["v"], want, "{text:?}");
}

#[test]
fn keys_become_text() {
    assert_eq!(
        one("on: 1\n8080: x\n'y': z\n"),
        json!({"true": 1, "8080": "x", "y": "z"})
    );
}

#[test]
fn documents_without_content_are_skipped() {
    let documents = parse("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n...\n", "f.yaml").unwrap();
    let values: Vec<_> = documents
        .into_iter()
        .map(|document| document.value)
        .collect();
    assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    assert!(parse("", "f.yaml").unwrap().is_empty());
    assert!(parse("# only a comment\n", "f.yaml").unwrap().is_empty());
}

#[test]
fn every_node_has_a_place() {
    let text =
        "kind: A\n---\nspec:\n  replicas: n\n  args:\n    - 'a b'\n    - x: {z: 1}\n  a/b: 1\n";
    let documents = parse(text, "f.yaml").unwrap();
    let document = &documents[1];
    let at = |line, column| Some(Position { line, column });
    assert_eq!(document.position(""), at(3, 1));
    assert_eq!(document.key_position("/spec/replicas"), at(4, 3));
    assert_eq!(document.position("/spec/replicas"), at(4, 13));
    assert_eq!(document.position("/spec/args/0"), at(6, 7));
    assert_eq!(document.position("/spec/args/1/x/z"), at(7, 14));
    assert_eq!(document.key_position("/spec/a~1b"), at(8, 3));
    assert_eq!(document.position("/spec/missing"), None);
    assert_eq!(Some(document.nearest("/spec/args/7/z")), at(5, 3));
    let scalar = document.scalar("/spec/replicas").unwrap();
    assert_eq!((scalar.text.as_str(), scalar.quoted), ("n", false));
    assert!(document.scalar("/spec/args/0").unwrap().quoted);
    assert_eq!(
        document.error("/spec/replicas", "quote it").to_string(),
        "f.yaml:4:3: quote it"
    );
}

#[test]
fn anchors_and_merge_keys() {
    let text = "a: &a {x: 1, z: 2}\nb:\n  z: 3\n  <<: *a\nc: *a\nd:\n  <<: [{x: 9}, *a]\n";
    let want = json!({"a": {"x": 1, "z": 2}, "b": {"z": 3, "x": 1}, "c": {"x": 1, "z": 2}, "d": {"x": 9, "z": 2}});
    assert_eq!(one(text), want);
}

#[rstest]
#[case(
    "a: 1\nb: 2\na: 3\n",
    "f.yaml:3:1: key \"a\" is set already, at line 1; remove one of them"
)]
#[case(
    "a:\n\tb: 1\n",
    "f.yaml:2:1: a tab is used for indentation, which YAML does not allow; use spaces"
)]
#[case(
    "a:\n  b: c\n\td: 2\n",
    "f.yaml:3:1: a tab is used for indentation, which YAML does not allow; use spaces"
)]
#[case(
    "a: .inf\n",
    "f.yaml:1:4: .inf has no place in JSON; quote it if it is meant as text"
)]
#[case(
    "{a: 1}: b\n",
    "f.yaml:1:1: a key must be a single word or text; text that begins with {{, { or [ must be quoted"
)]
#[case(
    "a: {{ x }}\n",
    "f.yaml:1:5: a key must be a single word or text; text that begins with {{, { or [ must be quoted"
)]
#[case(
    "a: &a [*a]\n",
    "f.yaml:1:8: this alias stands inside of what it names"
)]
#[case(
    "a: !!binary aGk=\n",
    "f.yaml:1:13: !!binary is not supported; write the base64 text without the tag"
)]
#[case("~: 1\n", "f.yaml:1:1: a key must be text; quote \"~\"")]
#[case(
    "{\"a\": 1, \"a\": 2}",
    "f.yaml:1:10: key \"a\" is set already, at line 1; remove one of them"
)]
fn what_is_wrong_is_said_with_its_place(#[case] text: &str, #[case] want: &str) {
    assert_eq!(refused(text), want);
}

#[rstest]
#[case("a: [1\n")]
#[case("a: b: c\n")]
#[case("a: *nothing\n")]
#[case("a: \"unterminated\n")]
#[case("a: @x\n")]
fn broken_text_is_refused(#[case] text: &str) {
    let message = refused(text);
    assert!(message.starts_with("f.yaml:"), "{message}");
    assert!(!message.ends_with(": "), "{message}");
}

#[test]
fn aliases_cannot_explode() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(refused(&text).contains("more than 1000000 values"));
    let keys: String = (0..20_000)
        .map(|index| format!("  k{index}: 1\n"))
        .collect();
    let maps: String = (0..2000)
        .map(|index| format!("m{index}: {{<<: *a}}\n"))
        .collect();
    assert!(refused(&format!("a: &a\n{keys}{maps}")).contains("more than 1000000 values"));
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    refused(&text);
    assert!(from_json(&text, "f.json").is_err());
}

#[test]
fn json_is_read_too() {
    let text =
        "{\n\t\"kind\": \"A\",\n\t\"t\": \"\\ud83d\\ude00\\/\"\n}\n{\"kind\": \"B\", \"f\": 1.5}\n";
    let documents = parse(text, "f.json").unwrap();
    assert_eq!(documents[0].value, json!({"kind": "A", "t": "😀/"}));
    assert_eq!(documents[1].value, json!({"kind": "B", "f": 1.5}));
    assert_eq!(
        documents[1].position("/kind"),
        Some(Position { line: 5, column: 1 })
    );
    let documents = from_json("{\"a\":\n {\"b\": [1, \"n\"]}}", "f.json").unwrap();
    assert_eq!(
        documents[0].position("/a/b/1"),
        Some(Position {
            line: 2,
            column: 12
        })
    );
    assert_eq!(documents[0].value["a"]["b"][1], json!("n"));
    assert!(from_json("{\"a\": 1, \"a\": 2}", "f.json").is_err());
    assert!(from_json("a: 1", "f.json").is_err());
}

#[test]
fn every_shared_sample_is_read() {
    let shared = std::env::var("WEIR_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
    let mut files = Vec::new();
    let mut folders: Vec<_> = ["upstream-samples", "upstream-presets", "crds"]
        .map(|name| std::path::Path::new(&shared).join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|ext| ext == "yaml" || ext == "json")
            {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        eprintln!("SKIPPED: no samples in {shared}");
        return;
    }
    let mut failures = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        if let Err(error) = parse(&text, &file.display().to_string()) {
            failures.push(error.to_string());
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {}: {failures:#?}",
        failures.len(),
        files.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_panics(text in "[-a-c0-9:{}\\[\\]&*!|>'\"%@,~?. <\n\t#]{0,60}") {
        let _ = parse(&text, "f.yaml");
        let _ = from_json(&text, "f.json");
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&String::from_utf8_lossy(&bytes), "f.yaml");
    }

    #[test]
    fn json_text_survives(text in any::<String>(), number in any::<i64>()) {
        let value = json!({"t": text, "n": [number, {}]});
        let documents = from_json(&value.to_string(), "f.json").unwrap();
        assert_eq!(documents[0].value, value);
    }
}
