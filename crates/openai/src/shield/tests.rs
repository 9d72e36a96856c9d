//! What is cut, what stays, and that nothing slips through in any text.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use serde_json::Value;

use super::*;

fn stripped(text: &'static str) -> String {
    String::from_utf8(body(&Bytes::from_static(text.as_bytes())).unwrap().to_vec()).unwrap()
}

#[test]
fn other_bytes_stay() {
    for text in [
        "",
        " {} ",
        "[1, 2]",
        r#"{ "a" : 1.0e5,"b":[{"kv_transfer_params":{}}] , "c":"\"}{" }"#,
        r#"{"messages":[{"role":"user","content":"kv_transfer_params"}],"x":NaN}"#,
        r#"{"sampling_params":{"kv_transfer_params":1}}"#,
    ] {
        assert_eq!(stripped(text), text);
    }
}

#[test]
fn members_are_cut_out() {
    let cases = [
        (r#"{"kv_transfer_params":{"a":[1,{"b":2}]}}"#, "{}"),
        (r#"{"kv_transfer_params":null , "a": 1}"#, r#"{ "a": 1}"#),
        (r#"{"a": 1, "kv_transfer_params": {} }"#, r#"{"a": 1 }"#),
        (
            r#"{"a":1,"ec_transfer_params":[],"b":2}"#,
            r#"{"a":1,"b":2}"#,
        ),
        (
            r#"{"kv\u005ftransfer_params":1,"kv_transfer_params":2,"a":3}"#,
            r#"{"a":3}"#,
        ),
        (r#"{"kv_transfer_params":1,"kv_transfer_params":2}"#, "{}"),
        (
            r#"{"a":0,"kv_transfer_params":1,"kv_transfer_params":2}"#,
            r#"{"a":0}"#,
        ),
        (r#"{"bootstrap_room":7,"model":"m"}"#, r#"{"model":"m"}"#),
        (
            r#"{"vllm_xargs":{"x":1,"kv_transfer_params":"s"},"n":1}"#,
            r#"{"vllm_xargs":{"x":1},"n":1}"#,
        ),
        (
            r#"[{"kv_transfer_params":1},[{"kv_transfer_params":2}],{"a":1,"bootstrap_host":"h"}]"#,
            r#"[{},[{"kv_transfer_params":2}],{"a":1}]"#,
        ),
        (
            r#"{"sampling_params":{"extra_args":{"ec_transfer_params":{}}}}"#,
            r#"{"sampling_params":{"extra_args":{}}}"#,
        ),
    ];
    for (text, want) in cases {
        assert_eq!(stripped(text), want, "{text}");
        serde_json::from_str::<Value>(want).unwrap();
    }
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for text in [
        r#"{"a"}"#,
        r#"{"a":1"#,
        r#"{"a":1}}"#,
        r#"{"a":"#,
        r#"{'a':1}"#,
        "\u{feff}{}",
    ] {
        assert!(
            body(&Bytes::from_static(text.as_bytes())).is_err(),
            "{text}"
        );
    }
    let wide: Vec<u8> = r#"{"a":1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(body(&Bytes::from(wide)).is_err());
}

#[test]
fn only_a_text_that_ends_early_is_cut_short() {
    for text in [
        "{",
        r#"{"a": "#,
        r#"{"a": "b"#,
        r#"{"a": 1"#,
        r#"{"a": 1, "#,
        "[1",
        r#"{"a\"#,
    ] {
        assert!(
            body(&Bytes::from_static(text.as_bytes()))
                .unwrap_err()
                .cut_short,
            "{text}"
        );
    }
    for text in ["{} {", "\u{feff}{}", "{'a'", "{\0", "\0{", "\u{fffe}", "{]"] {
        let error = body(&Bytes::from_static(text.as_bytes())).unwrap_err();
        assert!(!error.cut_short, "{text:?}");
    }
}

#[test]
fn further_members_go_at_the_top_only() {
    let text = Bytes::from_static(br#"{"cache_hit_threshold":1,"a":{"cache_hit_threshold":2}}"#);
    assert_eq!(body(&text).unwrap(), text);
    assert_eq!(
        body_without(&text, &["cache_hit_threshold"]).unwrap(),
        r#"{"a":{"cache_hit_threshold":2}}"#
    );
}

#[test]
fn paths_are_decoded() {
    assert!(looks_at("/v1/completions") && looks_at("/ns/n/v1/chat/completions/"));
    assert!(looks_at("/v1/%63ompletions") && !looks_at("/v1/models"));
    assert!(closed("/sleep") && closed("/reset_prefix_cache") && !closed("/v1/models"));
    assert!(closed("//sleep/") && closed("/%2Freset_mm_cache"));
}

#[test]
fn paths_that_lead_elsewhere_are_known() {
    for path in [
        "/..",
        "/a/../b",
        "/.",
        "/%2e./x",
        "/a%2F..",
        "/a%5c..",
        "/a\\..\\b",
    ] {
        assert!(wanders(path), "{path}");
    }
    for path in ["/", "/...", "/a..b/.c", "/v1/models", "/%252e%252e/x"] {
        assert!(!wanders(path), "{path}");
    }
}

const KEYS: [&str; 9] = [
    "kv_transfer_params",
    "ec_transfer_params",
    "bootstrap_host",
    "bootstrap_room",
    "vllm_xargs",
    "sampling_params",
    "extra_args",
    "model",
    "\"{é\\",
];

/// A JSON text as clients may write it: members twice, letters escaped, spaces anywhere.
fn texts() -> impl Strategy<Value = String> {
    let space = || prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
    let key = (prop::sample::select(&KEYS[..]), any::<u64>()).prop_map(|(key, escaped)| {
        let mut out = String::from("\"");
        for (at, c) in key.chars().enumerate() {
            if escaped >> (at % 64) & 3 == 3 {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else if c == '"' || c == '\\' {
                out.extend(['\\', c]);
            } else {
                out.push(c);
            }
        }
        out + "\""
    });
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-1.50e3".to_owned()),
        Just("null".to_owned()),
        Just(r#""}],{\"kv_transfer_params\":1""#.to_owned()),
        key.clone(),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let member = (space(), key.clone(), space(), inner.clone(), space())
            .prop_map(|(a, key, b, value, c)| format!("{a}{key}{b}:{value}{c}"));
        let item = (space(), inner).prop_map(|(space, value)| format!("{space}{value}"));
        prop_oneof![
            3 => prop::collection::vec(member, 0..5).prop_map(|all| format!("{{{}}}", all.join(","))),
            1 => prop::collection::vec(item, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
        ]
    })
}

/// The same rule on a tree.
fn reference(value: &mut Value, place: Place) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !place.forbids(key));
            for (key, value) in fields {
                reference(value, place.below(key));
            }
        }
        Value::Array(items) => {
            for item in items {
                // Only the items of the whole body are requests; those are handled by the caller.
                reference(item, Place::Elsewhere);
            }
        }
        _ => {}
    }
}

fn reference_whole(value: &mut Value) {
    match value {
        Value::Array(items) => {
            for item in items {
                reference(item, Place::Top);
            }
        }
        whole => reference(whole, Place::Top),
    }
}

/// Whether nothing that has to go is left in a text, as a reader sees it that takes the last of two members.
fn clean(text: &[u8]) -> bool {
    let Ok(read) = serde_json::from_slice::<Value>(text) else {
        return true;
    };
    let mut again = read.clone();
    reference_whole(&mut again);
    again == read
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_stays_is_what_a_tree_keeps(text in texts()) {
        let stripped = body(&Bytes::from(text.clone())).unwrap();
        let mut wanted: Value = serde_json::from_str(&text).unwrap();
        reference_whole(&mut wanted);
        let got: Value = serde_json::from_slice(&stripped).unwrap();
        proptest::prop_assert_eq!(got, wanted, "{}", text);
        proptest::prop_assert_eq!(body(&stripped).unwrap(), stripped);
    }

    #[test]
    fn broken_texts_are_refused_or_clean(
        text in texts(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (at, byte, insert) in edits {
            let at = at.index(bytes.len());
            // Mostly bytes that mean something.
            let byte = *b"{}[]\":,\\ \xff\0u".get(usize::from(byte)).unwrap_or(&byte);
            if insert {
                bytes.insert(at, byte);
            } else {
                bytes[at] = byte;
            }
        }
        if let Ok(stripped) = body(&Bytes::from(bytes)) {
            proptest::prop_assert!(clean(&stripped), "{}", String::from_utf8_lossy(&stripped));
        }
    }
}

#[test]
fn the_reader_of_requests_sees_whatever_is_taken_out() {
    let member = |name: &&str| format!(r#""{name}":1"#);
    let transfer: Vec<String> = TRANSFER.iter().map(member).collect();
    let mut members: Vec<String> = TOP_LEVEL.iter().map(member).collect();
    for inner in &transfer {
        members.push(inner.clone());
        members.push(format!(r#""vllm_xargs":{{{inner}}}"#));
        members.push(format!(r#""sampling_params":{{"extra_args":{{{inner}}}}}"#));
    }
    for member in members {
        let text = format!(r#"{{"prompt":"x",{member}}}"#);
        let left = body(&Bytes::from(text.clone())).unwrap();
        assert!(left.len() < text.len(), "{text}");
        let read = crate::peek::peek(crate::peek::Format::Completions, text.as_bytes()).unwrap();
        assert!(read.to_shield, "{text}");
    }
}
