use super::*;
use crate::headers::Headers;
use crate::parsers::Parser;
use crate::pb::{HeaderMap, HeaderValueOption};

fn arrived(headers: &[(&str, &str)], body: &str) -> Arrived {
    let headers = headers
        .iter()
        .filter_map(|(name, value)| HeaderValueOption::raw(*name, value.as_bytes().to_vec()).header)
        .collect();
    Arrived {
        headers: Headers::lowered(Some(HeaderMap { headers })),
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Arrived::default()
    }
}

/// The body that goes out, or the refusal; nothing when it is the one that came.
fn sent(headers: &[(&str, &str)], body: &str, trust: bool) -> Result<Option<String>, String> {
    let arrived = arrived(headers, body);
    let intake = read(&arrived, &Parsers::default()).map_err(|error| error.to_string())?;
    let target = intake.target.clone();
    let out =
        outgoing(&arrived.body, &intake, &target, trust).map_err(|error| error.to_string())?;
    Ok(out.map(|body| String::from_utf8_lossy(&body).into_owned()))
}

const COMPLETIONS: (&str, &str) = (":path", "/v1/completions");
const REWRITE: (&str, &str) = ("X-LLM-D-Model-Name-Rewrite", "t\"1");

#[test]
fn only_what_must_change_changes() {
    let rows = [
        (vec![COMPLETIONS], r#"{"prompt":"x", "model" : "m"}"#, None),
        (
            vec![COMPLETIONS, REWRITE],
            r#"{"prompt":"x", "model" : "m" }"#,
            Some(r#"{"prompt":"x", "model" : "t\"1" }"#),
        ),
        (
            vec![COMPLETIONS, REWRITE],
            r#"{"model":"m","n":12345678901234567890,"prompt":"x","model":"n"}"#,
            Some(r#"{"model":"t\"1","n":12345678901234567890,"prompt":"x","model":"t\"1"}"#),
        ),
        (
            vec![COMPLETIONS, REWRITE],
            r#"{"prompt":"x"}"#,
            Some(r#"{"model":"t\"1","prompt":"x"}"#),
        ),
        (
            vec![COMPLETIONS],
            r#"{"model":"m","prompt":"x","kv_transfer_params":{"a":1}}"#,
            Some(r#"{"model":"m","prompt":"x"}"#),
        ),
        (
            vec![COMPLETIONS],
            r#"{"model":"m","prompt":"x","sampling_params":{"extra_args":{"ec_transfer_params":1}}}"#,
            Some(r#"{"model":"m","prompt":"x","sampling_params":{"extra_args":{}}}"#),
        ),
        (vec![(":path", "/x"), REWRITE], "not json", None),
    ];
    for (headers, body, expected) in rows {
        assert_eq!(
            sent(&headers, body, false),
            Ok(expected.map(str::to_owned)),
            "{body}"
        );
    }
    let trusted = sent(
        &[COMPLETIONS],
        r#"{"model":"m","prompt":"x","kv_transfer_params":{}}"#,
        true,
    );
    assert_eq!(trusted, Ok(None));
}

#[test]
fn a_request_without_a_model_is_refused() {
    let refused = sent(&[COMPLETIONS], r#"{"model":5,"prompt":"x"}"#, false);
    assert_eq!(refused, Err("model not found in request body".to_owned()));
    let arrived = arrived(&[(":path", "/foo")], "");
    let parsers = Parsers::new([Parser::OpenAi]);
    assert_eq!(
        read(&arrived, &parsers).unwrap_err().to_string(),
        "no parser registered matching path suffix for: /foo"
    );
}
