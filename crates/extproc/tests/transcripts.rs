//! Whole exchanges, message by message, with the decision given. Each reply is one line of text.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are not tests to clippy"
)]

use std::time::Duration;

use bytes::Bytes;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use weir_extproc::exchange::{Exchange, Route, Rules, Step};
use weir_extproc::intake;
use weir_extproc::parsers::Parsers;
use weir_extproc::pb;
use weir_extproc::wire::{Direction, Inbound, Outbound};

const B: &str = "10.0.0.2:8000";
const CHAT: &str = r#"{"messages":[{"content":"Hi","role":"user"}],"model":"m"}"#;

fn header(key: &str, value: &str) -> pb::HeaderValue {
    // As agentgateway does: pseudo headers in one field, ordinary ones in the other.
    let (value, raw_value) = if key.starts_with(':') {
        (value, "")
    } else {
        ("", value)
    };
    pb::HeaderValue {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        raw_value: Bytes::copy_from_slice(raw_value.as_bytes()),
    }
}

fn headers(list: &[(&str, &str)], end: bool) -> pb::HttpHeaders {
    let headers = list.iter().map(|(key, value)| header(key, value)).collect();
    pb::HttpHeaders {
        headers: Some(pb::HeaderMap { headers }),
        end_of_stream: end,
    }
}

fn message(request: pb::Request) -> Inbound {
    Inbound::Message(Box::new(pb::ProcessingRequest {
        request: Some(request),
        metadata_context: None,
    }))
}

fn request_headers(list: &[(&str, &str)], end: bool) -> Inbound {
    message(pb::Request::RequestHeaders(headers(list, end)))
}

fn response_headers(list: &[(&str, &str)]) -> Inbound {
    message(pb::Request::ResponseHeaders(headers(list, false)))
}

fn body(direction: Direction, text: &str, end: bool) -> Inbound {
    Inbound::Body {
        direction,
        body: Bytes::copy_from_slice(text.as_bytes()),
        end,
        metadata: Bytes::new(),
    }
}

fn post(path: &str, more: &[(&str, &str)]) -> Inbound {
    let mut list = vec![(":method", "POST"), (":path", path), ("x-request-id", "r1")];
    list.extend_from_slice(more);
    request_headers(&list, false)
}

/// Routes as the picker would, without a scheduler: to [`B`], with these headers.
struct Picker {
    exchange: Exchange,
    rules: Rules,
    headers: Vec<(String, String)>,
    clock: Duration,
}

impl Picker {
    fn new() -> Self {
        Self::with(Rules::default())
    }

    fn with(rules: Rules) -> Self {
        Self {
            exchange: Exchange::new(rules, 7),
            rules,
            headers: Vec::new(),
            clock: Duration::from_secs(100),
        }
    }

    /// Replies to a message, one line each.
    fn on(&mut self, message: Inbound) -> Vec<String> {
        self.clock += Duration::from_millis(10);
        let mut out = Vec::new();
        let mut step = self.exchange.on(message, self.clock, &mut out).unwrap();
        match step {
            Step::Any => self.exchange.any("10.0.0.1:8000", &mut out),
            Step::Decide => step = self.decide(&mut out),
            Step::Go | Step::Close => {}
        }
        let mut lines: Vec<String> = out.iter().map(line).collect();
        if step == Step::Close {
            lines.push("close".to_owned());
        }
        lines
    }

    fn decide(&mut self, out: &mut Vec<Outbound>) -> Step {
        let arrived = self.exchange.arrived();
        let route = intake::read(arrived, &Parsers::default()).and_then(|intake| {
            let target = intake.target.clone();
            let body = intake::outgoing(&arrived.body, &intake, &target, self.rules.trust_client)?;
            Ok(Route {
                destination: B.to_owned(),
                headers: self.headers.clone(),
                body,
                format: intake.format,
                stream: intake.peek.stream,
                incoming: intake.incoming.into_owned(),
                target: target.into_owned(),
                ..Route::default()
            })
        });
        match route {
            Ok(route) => self.exchange.route(route, out),
            Err(error) => {
                let text = format!("inference error: BadRequest - {error}");
                self.exchange.refuse(400, text, None, out)
            }
        }
    }
}

fn mutation(mutation: Option<&pb::HeaderMutation>) -> String {
    let Some(mutation) = mutation else {
        return String::new();
    };
    let mut set: Vec<String> = mutation
        .set_headers
        .iter()
        .filter_map(|option| option.header.as_ref())
        .map(|header| {
            assert!(header.value.is_empty(), "values go into raw_value");
            format!(
                "{}={}",
                header.key,
                String::from_utf8_lossy(&header.raw_value)
            )
        })
        .collect();
    set.sort();
    let mut text = format!(" set[{}]", set.join(" "));
    if !mutation.remove_headers.is_empty() {
        text += &format!(" remove{:?}", mutation.remove_headers);
    }
    text
}

fn value(value: &Value) -> String {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::StructValue(inner)) => structure(inner),
        other => format!("{other:?}"),
    }
}

fn structure(fields: &Struct) -> String {
    let fields: Vec<_> = fields
        .fields
        .iter()
        .map(|(key, one)| format!("{key}: {}", value(one)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn line(reply: &Outbound) -> String {
    let piece = |direction, body: &Bytes, end| {
        format!(
            "{direction:?} body {:?} end={end}",
            String::from_utf8_lossy(body)
        )
    };
    match reply {
        Outbound::Body {
            direction,
            body,
            end,
        } => piece(*direction, body, *end),
        Outbound::Message(message) => {
            let mut text = match message.response.as_ref().unwrap() {
                pb::Response::RequestHeaders(phase) => {
                    let common = phase.response.as_ref().unwrap();
                    assert!(common.clear_route_cache);
                    format!(
                        "request headers{}",
                        mutation(common.header_mutation.as_ref())
                    )
                }
                pb::Response::ResponseHeaders(phase) => {
                    let common = phase.response.as_ref().unwrap();
                    assert!(!common.clear_route_cache);
                    format!(
                        "response headers{}",
                        mutation(common.header_mutation.as_ref())
                    )
                }
                pb::Response::Immediate(answer) => format!(
                    "immediate {} {:?}{}",
                    answer.status.as_ref().unwrap().code,
                    String::from_utf8_lossy(&answer.body),
                    mutation(answer.headers.as_ref())
                ),
                pb::Response::RequestTrailers(_) => "request trailers".to_owned(),
                pb::Response::ResponseTrailers(_) => "response trailers".to_owned(),
                other => format!("{other:?}"),
            };
            if let Some(metadata) = &message.dynamic_metadata {
                text += &format!(" metadata{}", structure(metadata));
            }
            text
        }
    }
}

const NONE: [&str; 0] = [];
const OK_HEADERS: &str =
    "response headers set[:status=200 content-type=application/json x-went-into-resp-headers=true]";

#[test]
fn t1_chat_not_streaming() {
    let mut picker = Picker::new();
    let sent = post(
        "/v1/chat/completions",
        &[
            ("content-type", "application/json"),
            ("content-length", "57"),
        ],
    );
    assert_eq!(picker.on(sent), NONE);
    assert_eq!(
        picker.on(body(Direction::Request, CHAT, true)),
        [
            "request headers set[:method=POST :path=/v1/chat/completions Content-Length=57 content-type=application/json x-gateway-destination-endpoint=10.0.0.2:8000 x-request-id=r1] metadata{envoy.lb: {x-gateway-destination-endpoint: 10.0.0.2:8000}}".to_owned(),
            format!("Request body {CHAT:?} end=true"),
        ]
    );
    let answer = [
        (":status", "200"),
        ("content-type", "application/json"),
        ("content-length", "180"),
    ];
    assert_eq!(picker.on(response_headers(&answer)), [OK_HEADERS]);
    assert_eq!(
        picker.on(body(
            Direction::Response,
            "{\"usage\":{\"prompt_tokens\":7,",
            false
        )),
        NONE
    );
    assert_eq!(
        picker.on(body(Direction::Response, "\"completion_tokens\":2}}", true)),
        [
            "Response body \"{\\\"usage\\\":{\\\"prompt_tokens\\\":7,\\\"completion_tokens\\\":2}}\" end=true"
        ]
    );
    let record = picker.exchange.record();
    let usage = record.usage.unwrap();
    assert_eq!((usage.prompt, usage.completion, usage.total), (7, 2, 9));
    assert_eq!((record.request_bytes, record.response_bytes), (57, 51));
    assert!(!record.streaming && !record.server_error);
}

#[test]
fn t2_chat_streaming() {
    let mut picker = Picker::new();
    picker.on(post("/v1/chat/completions", &[]));
    picker.on(body(
        Direction::Request,
        r#"{"messages":[{"content":"Hi"}],"model":"m","stream":true}"#,
        true,
    ));
    picker.on(response_headers(&[
        (":status", "200"),
        ("content-type", "text/event-stream"),
    ]));
    let chunks = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"He\"}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\n",
        "data: [DONE]\n\n",
        "",
    ];
    let mut gaps = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        let end = index == 3;
        assert_eq!(
            picker.on(body(Direction::Response, chunk, end)),
            [format!("Response body {chunk:?} end={end}")]
        );
        gaps += usize::from(picker.exchange.record().gap.is_some());
    }
    let record = picker.exchange.record();
    assert_eq!(gaps, 2, "the empty end is no token");
    assert_eq!(record.first_chunk, Some(Duration::from_millis(100_040)));
    assert_eq!(record.usage.unwrap().total, 9);
}

#[test]
fn t3_model_rewrite() {
    let mut picker = Picker::new();
    picker.on(post(
        "/v1/completions",
        &[("x-llm-d-model-name-rewrite", "m-v2")],
    ));
    assert_eq!(
        picker.on(body(
            Direction::Request,
            r#"{"model":"m","prompt":"x"}"#,
            true
        )),
        [
            "request headers set[:method=POST :path=/v1/completions Content-Length=29 x-gateway-destination-endpoint=10.0.0.2:8000 x-request-id=r1] metadata{envoy.lb: {x-gateway-destination-endpoint: 10.0.0.2:8000}}",
            r#"Request body "{\"model\":\"m-v2\",\"prompt\":\"x\"}" end=true"#,
        ]
    );
    picker.on(response_headers(&[(":status", "200")]));
    assert_eq!(
        picker.on(body(
            Direction::Response,
            r#"{"id":"c1","model":"m-v2","object":"text_completion"}"#,
            true
        )),
        [
            r#"Response body "{\"id\":\"c1\",\"model\":\"m\",\"object\":\"text_completion\"}" end=true"#
        ]
    );
}

#[test]
fn t4_no_body() {
    let mut picker = Picker::new();
    assert_eq!(
        picker.on(request_headers(
            &[
                (":method", "GET"),
                (":path", "/v1/models"),
                ("x-prefiller-url", "evil")
            ],
            true
        )),
        [
            "request headers set[x-gateway-destination-endpoint=10.0.0.1:8000 x-request-id=00000000-0000-4000-8000-000000000007] remove[\"x-prefiller-url\"] metadata{envoy.lb: {x-gateway-destination-endpoint: 10.0.0.1:8000}}"
        ]
    );
    picker.on(response_headers(&[(":status", "404")]));
    assert!(picker.exchange.record().server_error);
    assert_eq!(
        picker.on(body(Direction::Response, "x", true)),
        ["Response body \"x\" end=true"]
    );
}

#[test]
fn t5_the_hint_of_the_last_message_counts() {
    let list = Value {
        kind: Some(Kind::ListValue(ListValue { values: vec![] })),
    };
    let hint = |namespace: &str| pb::Metadata {
        filter_metadata: [(
            namespace.to_owned(),
            Struct {
                fields: [("k".to_owned(), list.clone())].into(),
            },
        )]
        .into(),
    };
    let mut exchange = Exchange::new(Rules::default(), 0);
    let first = Inbound::Message(Box::new(pb::ProcessingRequest {
        request: Some(pb::Request::RequestHeaders(headers(&[], false))),
        metadata_context: Some(hint("first")),
    }));
    let last = Inbound::Body {
        direction: Direction::Request,
        body: Bytes::from_static(b"{}"),
        end: true,
        metadata: prost::Message::encode_to_vec(&hint("last")).into(),
    };
    let mut out = Vec::new();
    exchange.on(first, Duration::ZERO, &mut out).unwrap();
    assert_eq!(
        exchange.on(last, Duration::ZERO, &mut out),
        Ok(Step::Decide)
    );
    let seen = exchange.arrived().metadata.as_ref().unwrap();
    assert!(seen.filter_metadata.contains_key("last"));
    assert_eq!(seen.filter_metadata.len(), 1);
}

#[test]
fn t6_t7_refusals_end_the_stream() {
    let mut picker = Picker::new();
    picker.on(post("/v1/completions", &[]));
    let mut out = Vec::new();
    let step = picker.exchange.refuse(
        503,
        "inference error: ServiceUnavailable - x".to_owned(),
        Some("rejected-no-endpoints"),
        &mut out,
    );
    assert_eq!(step, Step::Close);
    assert_eq!(
        line(&out[0]),
        "immediate 503 \"inference error: ServiceUnavailable - x\" set[x-llm-d-request-dropped-reason=rejected-no-endpoints]"
    );
    let mut picker = Picker::new();
    picker.on(post("/v1/completions", &[]));
    assert_eq!(
        picker.on(body(Direction::Request, "{\"model\":\"m\"}", true)),
        [
            "immediate 400 \"inference error: BadRequest - invalid completions request: must have prompt field\"",
            "close"
        ]
    );
    assert_eq!(picker.on(body(Direction::Request, "late", true)), NONE);
}

#[test]
fn t8_prefill_is_chosen_by_the_picker_only() {
    let mut picker = Picker::new();
    picker.headers = vec![(
        "x-prefiller-host-port".to_owned(),
        "10.0.2.1:8000".to_owned(),
    )];
    picker.on(post(
        "/v1/completions",
        &[("x-prefiller-host-port", "evil:1")],
    ));
    assert_eq!(
        picker.on(body(
            Direction::Request,
            r#"{"kv_transfer_params":{"a":1},"model":"m","prompt":"x"}"#,
            true
        )),
        [
            "request headers set[:method=POST :path=/v1/completions Content-Length=26 x-gateway-destination-endpoint=10.0.0.2:8000 x-prefiller-host-port=10.0.2.1:8000 x-request-id=r1] remove[\"x-prefiller-host-port\"] metadata{envoy.lb: {x-gateway-destination-endpoint: 10.0.0.2:8000}}",
            r#"Request body "{\"model\":\"m\",\"prompt\":\"x\"}" end=true"#,
        ]
    );
    assert_eq!(picker.exchange.shielded(), ["x-prefiller-host-port"]);
}

#[test]
fn trailers_end_a_body() {
    let mut picker = Picker::new();
    picker.on(post("/v1/chat/completions", &[]));
    assert_eq!(picker.on(body(Direction::Request, CHAT, false)), NONE);
    let trailers = || message(pb::Request::RequestTrailers(pb::HttpTrailers::default()));
    let replies = picker.on(trailers());
    assert_eq!(
        replies[1..],
        [
            format!("Request body {CHAT:?} end=false"),
            "request trailers".to_owned()
        ]
    );
    assert_eq!(picker.on(trailers()), NONE, "only once");
    picker.on(response_headers(&[(":status", "200")]));
    picker.on(body(Direction::Response, "{}", false));
    let trailers = message(pb::Request::ResponseTrailers(pb::HttpTrailers::default()));
    assert_eq!(
        picker.on(trailers),
        ["Response body \"{}\" end=false", "response trailers"]
    );
}

#[test]
fn repeated_headers_are_left_alone() {
    let mut picker = Picker::new();
    picker.on(post("/x", &[("cookie", "a"), ("Cookie", "b")]));
    let replies = picker.on(body(Direction::Request, "", true));
    assert!(!replies[0].contains("cookie"), "{}", replies[0]);
    assert_eq!(replies[1], "Request body \"\" end=true");
    let replies = picker.on(response_headers(&[
        (":status", "200"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
    ]));
    assert_eq!(
        replies,
        ["response headers set[:status=200 x-went-into-resp-headers=true]"]
    );
}

#[test]
fn token_counting_may_close_the_stream() {
    for closes in [false, true] {
        let mut picker = Picker::with(Rules {
            skip_closes_stream: closes,
            ..Rules::default()
        });
        picker.on(post("/v1/messages/count_tokens", &[]));
        let replies = picker.on(body(Direction::Request, CHAT, true));
        assert_eq!(replies.last().map(String::as_str) == Some("close"), closes);
    }
}

#[test]
fn a_response_may_come_alone() {
    let mut picker = Picker::new();
    assert_eq!(
        picker.on(response_headers(&[
            (":status", "200"),
            ("content-type", "application/json")
        ])),
        [OK_HEADERS]
    );
    assert_eq!(
        picker.on(body(
            Direction::Response,
            "{\"usage\":{\"prompt_tokens\":1}}",
            true
        )),
        ["Response body \"{\\\"usage\\\":{\\\"prompt_tokens\\\":1}}\" end=true"]
    );
    assert_eq!(picker.exchange.record().usage.unwrap().prompt, 1);
}

#[test]
fn a_body_without_end_is_bounded() {
    // As the fast reader reads it, and as it leaves it to the slow one.
    let slow = |text: &str| {
        message(pb::Request::RequestBody(pb::HttpBody {
            body: Bytes::copy_from_slice(text.as_bytes()),
            end_of_stream: false,
        }))
    };
    for bodies in [
        ["0123456789", "0"].map(|text| body(Direction::Request, text, false)),
        ["0123456789", "0"].map(slow),
    ] {
        let mut picker = Picker::with(Rules {
            max_body: 10,
            ..Rules::default()
        });
        picker.on(post("/v1/completions", &[]));
        let [first, second] = bodies.map(|body| picker.on(body));
        assert_eq!(first, NONE);
        assert_eq!(
            second,
            [
                "immediate 413 \"inference error: BadRequest - request body is larger than 10 bytes\"",
                "close"
            ]
        );
    }
}

#[test]
fn a_response_that_is_kept_until_it_is_whole_is_bounded() {
    let mut picker = Picker::with(Rules {
        max_body: CHAT.len(),
        ..Rules::default()
    });
    picker.on(post("/v1/chat/completions", &[]));
    picker.on(body(Direction::Request, CHAT, true));
    picker.on(response_headers(&[
        (":status", "200"),
        ("content-type", "application/json"),
    ]));
    let long = "x".repeat(CHAT.len());
    assert_eq!(picker.on(body(Direction::Response, &long, false)), NONE);
    assert_eq!(
        picker.on(body(Direction::Response, "y", false)),
        [format!("Response body {:?} end=false", format!("{long}y"))]
    );
    assert_eq!(picker.on(body(Direction::Response, "z", false)), NONE);
    assert_eq!(
        picker.on(body(Direction::Response, "", true)),
        ["Response body \"z\" end=true"]
    );
    let record = picker.exchange.record();
    assert_eq!(record.response_bytes, CHAT.len() as u64 + 2);
    assert!(record.completed.is_some());
}
