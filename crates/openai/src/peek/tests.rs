use proptest::prelude::{any, proptest};

use super::*;

fn refusal(format: Format, body: &str) -> Option<String> {
    peek(format, body.as_bytes())
        .err()
        .map(|error| error.to_string())
}

#[test]
fn refusals_have_the_recorded_words() {
    let chat = "invalid chat completions request: must have valid messages field";
    let completions = "invalid completions request: must have prompt field";
    let rows = [
        (
            Format::Chat,
            "no",
            "error unmarshaling request bodyMap: invalid character 'o' in literal null (expecting 'u')",
        ),
        (
            Format::Chat,
            r#"{"model":"m","messages":["#,
            "error unmarshaling request bodyMap: unexpected end of JSON input",
        ),
        (
            Format::Chat,
            "{} x",
            "error unmarshaling request bodyMap: invalid character 'x' after top-level value",
        ),
        (
            Format::Chat,
            "[]",
            "error unmarshaling request bodyMap: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            Format::Messages,
            "x",
            "error unmarshaling request body: invalid character 'x' looking for beginning of value",
        ),
        (Format::Chat, "null", chat),
        (Format::Chat, r#"{"messages":[]}"#, chat),
        (Format::Chat, r#"{"messages":"x"}"#, chat),
        (Format::Chat, r#"{"messages":[{"role":5}]}"#, chat),
        (Format::Chat, r#"{"messages":[{"content":5}]}"#, chat),
        (Format::Chat, r#"{"messages":[{"content":["x"]}]}"#, chat),
        (
            Format::Chat,
            r#"{"messages":[{"content":[{"type":"image_url","image_url":"x"}]}]}"#,
            chat,
        ),
        (Format::Completions, r#"{"prompt":""}"#, completions),
        (Format::Completions, r#"{"prompt":5}"#, completions),
        (Format::Completions, r#"{"prompt":[1,-2]}"#, completions),
        (
            Format::Completions,
            r#"{"prompt":[4294967296]}"#,
            completions,
        ),
        (Format::Completions, r#"{"prompt":[1.5]}"#, completions),
        (
            Format::Responses,
            "{}",
            "invalid responses request: must have input field",
        ),
        (
            Format::Embeddings,
            "{}",
            "invalid embeddings request: must have input field",
        ),
        (
            Format::Conversations,
            r#"{"items":[ ]}"#,
            "invalid conversations request: must have items field",
        ),
        (
            Format::Images,
            "{}",
            "invalid images generations request: must have prompt field",
        ),
        (
            Format::Messages,
            "{}",
            "invalid messages request: must have at least one message",
        ),
        (
            Format::Generate,
            r#"{"token_ids":[]}"#,
            "invalid generate request: must have non-empty token_ids field",
        ),
    ];
    for (format, body, expected) in rows {
        assert_eq!(refusal(format, body).as_deref(), Some(expected), "{body}");
    }
    for body in [
        r#"{"messages":[null]}"#,
        r#"{"messages":[{"content":null},{"content":[{"type":"odd"}]}]}"#,
    ] {
        assert_eq!(refusal(Format::Chat, body), None, "{body}");
    }
}

fn texts(peek: &Peek<'_>) -> Vec<String> {
    peek.prompts
        .iter()
        .map(|prompt| String::from_utf8_lossy(prompt).into_owned())
        .collect()
}

#[test]
fn prompts_are_what_is_hashed() {
    let rows = [
        (
            Format::Completions,
            r#"{"prompt":"You are"}"#,
            vec!["You are"],
        ),
        (
            Format::Completions,
            r#"{"prompt":["a\n","b"]}"#,
            vec!["a\n", "b"],
        ),
        (
            Format::Completions,
            r#"{"prompt":[97,258]}"#,
            vec!["a\0\0\0\u{2}\u{1}\0\0"],
        ),
        (
            Format::Chat,
            r#"{"messages":[{"content":"Be brief.","role":"system"},{"role":"user","content":[{"type":"text","text":"Hi"}]}]}"#,
            vec!["systemBe brief.userHi"],
        ),
        (
            Format::Chat,
            r#"{"messages":[{"role":"user","content":"Hi"}],"tools":[{"a":1}]}"#,
            vec!["[{\"a\":1}]userHi"],
        ),
        (
            Format::Responses,
            r#"{"input":"x","instructions":"y"}"#,
            vec!["\"y\"\"x\""],
        ),
        (
            Format::Generate,
            r#"{"token_ids":[7]}"#,
            vec!["\u{7}\0\0\0"],
        ),
        (Format::Images, r#"{"prompt":"cat"}"#, vec![]),
    ];
    for (format, body, expected) in rows {
        let read = peek(format, body.as_bytes()).unwrap();
        assert_eq!(texts(&read), expected, "{body}");
    }
}

#[test]
fn fields_are_found_wherever_they_stand() {
    let body = r#"{"stream":true,"mod\u0065l":"m\u0031","max_tokens":9,"prompt":"x","cache_salt":"s","model":"n","kv_transfer_params":null}"#;
    let read = peek(Format::Completions, body.as_bytes()).unwrap();
    assert_eq!(read.model.as_deref(), Some("n"));
    let places: Vec<_> = read.model_at.iter().map(|at| &body[at.clone()]).collect();
    assert_eq!(places, [r#""m\u0031""#, r#""n""#]);
    assert!(read.stream && read.to_shield);
    assert_eq!(read.output_cap, Some(9));
    assert_eq!(read.cache_salt.as_deref(), Some("s"));
    let chat = r#"{"messages":[{}],"max_completion_tokens":3,"max_tokens":9}"#;
    let read = peek(Format::Chat, chat.as_bytes()).unwrap();
    assert_eq!(read.output_cap, Some(3));
    let generate = r#"{"token_ids":[1],"sampling_params":{"n":1,"max_tokens":5}}"#;
    let read = peek(Format::Generate, generate.as_bytes()).unwrap();
    assert_eq!(read.output_cap, Some(5));
}

#[test]
fn a_model_has_a_place_when_there_is_none() {
    let rows = [
        (r#"{"messages":[{}]}"#, 16, true, false),
        (r#"{"messages":[{}],"n":1}"#, 17, false, true),
    ];
    for (body, at, comma_before, comma_after) in rows {
        let read = peek(Format::Chat, body.as_bytes()).unwrap();
        let slot = Slot {
            at,
            comma_before,
            comma_after,
        };
        assert_eq!(read.model_slot, Some(slot), "{body}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>) {
        let _ = peek(Format::Chat, &body);
    }

    #[test]
    fn valid_is_what_serde_says(text in "[\\[\\]{}\":,0-9a-e.+\\- \\\\ntruefalsul]{0,24}") {
        let ours = {
            let mut cursor = Cursor::new(text.as_bytes());
            cursor.value().and_then(|_| cursor.end()).is_ok()
        };
        // Numbers out of range are JSON, only serde_json has no value for them.
        let theirs = match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => true,
            Err(error) => error.to_string().contains("out of range"),
        };
        assert_eq!(ours, theirs, "{text}");
    }

    #[test]
    fn strings_come_back(text in any::<String>()) {
        let body = serde_json::json!({"prompt": format!("x{text}")}).to_string();
        let read = peek(Format::Completions, body.as_bytes()).unwrap();
        assert_eq!(texts(&read), [format!("x{text}")]);
    }
}
