//! Messages as the recordings write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::ext_proc::v3 as pb;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value as PbValue};
use pb::processing_request::Request;
use pb::processing_response::Response;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// A message to send.
pub(crate) fn sent(message: &Value) -> pb::ProcessingRequest {
    let (name, inner) = message
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| *name != "metadataContext")
        .unwrap();
    let end = inner["endOfStream"].as_bool().unwrap_or(false);
    let headers = || pb::HttpHeaders {
        headers: Some(headers(inner)),
        end_of_stream: end,
        ..Default::default()
    };
    let body = || pb::HttpBody {
        body: bytes(&inner["body"]),
        end_of_stream: end,
        ..Default::default()
    };
    let trailers = || pb::HttpTrailers {
        trailers: Some(self::headers(inner)),
    };
    let request = match name.as_str() {
        "requestHeaders" => Request::RequestHeaders(headers()),
        "requestBody" => Request::RequestBody(body()),
        "requestTrailers" => Request::RequestTrailers(trailers()),
        "responseHeaders" => Request::ResponseHeaders(headers()),
        "responseBody" => Request::ResponseBody(body()),
        "responseTrailers" => Request::ResponseTrailers(trailers()),
        other => panic!("unknown message {other}"),
    };
    pb::ProcessingRequest {
        request: Some(request),
        metadata_context: message
            .get("metadataContext")
            .map(|context| core::Metadata {
                filter_metadata: context
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(name, value)| (name.clone(), structure(value)))
                    .collect(),
                ..Default::default()
            }),
        ..Default::default()
    }
}

fn headers(inner: &Value) -> core::HeaderMap {
    let in_value = inner["valueField"] == true || inner["valueField"] == "value";
    let headers = inner["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| {
            let text = |index: usize| pair[index].as_str().unwrap_or("").to_owned();
            let own = pair.get(2).and_then(|options| options.get("in"));
            let value_field = in_value || own.is_some_and(|place| place == "value");
            core::HeaderValue {
                key: text(0),
                value: if value_field { text(1) } else { String::new() },
                raw_value: if value_field {
                    Vec::new()
                } else {
                    text(1).into_bytes()
                },
            }
        })
        .collect();
    core::HeaderMap { headers }
}

fn bytes(body: &Value) -> Vec<u8> {
    match body {
        Value::String(text) => text.clone().into_bytes(),
        Value::Object(fields) if fields.contains_key("base64") => {
            STANDARD.decode(fields["base64"].as_str().unwrap()).unwrap()
        }
        _ => Vec::new(),
    }
}

/// Says whether a message can be sent again: of long bodies only size and digest were recorded.
pub(super) fn whole(message: &Value) -> bool {
    message
        .as_object()
        .into_iter()
        .flatten()
        .all(|(_, inner)| inner["body"].get("sha256").is_none())
}

fn hex(body: &[u8]) -> String {
    Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn structure(value: &Value) -> Struct {
    Struct {
        fields: value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), to_pb(value)))
            .collect(),
    }
}

fn to_pb(value: &Value) -> PbValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(on) => Kind::BoolValue(*on),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(to_pb).collect(),
        }),
        Value::Object(_) => Kind::StructValue(structure(value)),
    };
    PbValue { kind: Some(kind) }
}

fn from_pb(value: &PbValue) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(on)) => (*on).into(),
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 => (*number as i64).into(),
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::StringValue(text)) => text.clone().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(from_pb).collect(),
        Some(Kind::StructValue(inner)) => from_struct(inner),
    }
}

fn from_struct(inner: &Struct) -> Value {
    inner
        .fields
        .iter()
        .map(|(key, value)| (key.clone(), from_pb(value)))
        .collect()
}

/// A reply as it would have been recorded.
pub(crate) fn received(reply: &pb::ProcessingResponse) -> Value {
    let phase = |common: Option<&pb::CommonResponse>| {
        let mut out = Map::new();
        let Some(common) = common else {
            return Value::Object(out);
        };
        if common.clear_route_cache {
            out.insert("clearRouteCache".to_owned(), true.into());
        }
        if let Some(changes) = &common.header_mutation {
            out.insert("headerMutation".to_owned(), mutation(changes));
        }
        let streamed = common
            .body_mutation
            .as_ref()
            .and_then(|body| body.mutation.as_ref());
        if let Some(pb::body_mutation::Mutation::StreamedResponse(piece)) = streamed {
            let piece = json!({"body": body(&piece.body), "endOfStream": piece.end_of_stream});
            out.insert("streamedResponse".to_owned(), piece);
        }
        Value::Object(out)
    };
    let (name, inner) = match reply.response.as_ref().unwrap() {
        Response::RequestHeaders(one) => ("requestHeaders", phase(one.response.as_ref())),
        Response::ResponseHeaders(one) => ("responseHeaders", phase(one.response.as_ref())),
        Response::RequestBody(one) => ("requestBody", phase(one.response.as_ref())),
        Response::ResponseBody(one) => ("responseBody", phase(one.response.as_ref())),
        Response::RequestTrailers(_) => ("requestTrailers", json!({})),
        Response::ResponseTrailers(_) => ("responseTrailers", json!({})),
        Response::ImmediateResponse(answer) => {
            let mut out = Map::new();
            let status = answer.status.as_ref().map_or(0, |status| status.code);
            out.insert("status".to_owned(), status.into());
            out.insert("body".to_owned(), body(&answer.body));
            if let Some(changes) = &answer.headers {
                out.insert("headers".to_owned(), mutation(changes));
            }
            ("immediateResponse", Value::Object(out))
        }
        other => panic!("unexpected {other:?}"),
    };
    let mut out = Map::new();
    out.insert(name.to_owned(), inner);
    if let Some(metadata) = &reply.dynamic_metadata {
        out.insert("dynamicMetadata".to_owned(), from_struct(metadata));
    }
    Value::Object(out)
}

fn mutation(changes: &pb::HeaderMutation) -> Value {
    let mut set: Vec<Value> = changes
        .set_headers
        .iter()
        .filter_map(|option| option.header.as_ref())
        .map(|header| json!([header.key, String::from_utf8_lossy(&header.raw_value)]))
        .collect();
    set.sort_by_key(ToString::to_string);
    let mut out = Map::new();
    if !set.is_empty() {
        out.insert("setHeaders".to_owned(), set.into());
    }
    if !changes.remove_headers.is_empty() {
        out.insert(
            "removeHeaders".to_owned(),
            changes.remove_headers.clone().into(),
        );
    }
    Value::Object(out)
}

fn body(bytes: &[u8]) -> Value {
    if bytes.len() > 1500 {
        return json!({"bytes": bytes.len(), "sha256": hex(bytes)});
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    }
}

/// Says whether two values are the same but for what cannot repeat.
/// Where `ties`, lists of addresses have no order.
pub(super) fn alike(expected: &Value, got: &Value, ties: bool) -> bool {
    match (expected, got) {
        (Value::String(pattern), Value::String(text)) => {
            pattern == text
                || pattern == "<uuid>" && text.len() == 36
                || ties && pattern.contains(',') && permuted(pattern, text)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && sorted(one)
                    .iter()
                    .zip(sorted(other))
                    .all(|(one, other)| alike(one, other, ties))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    other
                        .get(key)
                        .is_some_and(|other| alike(value, other, ties))
                })
        }
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= 1e-6 * one.abs().max(1.0)
        }
        _ => expected == got,
    }
}

fn permuted(one: &str, other: &str) -> bool {
    let parts = |text: &str| {
        let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
        parts.sort();
        parts
    };
    parts(one) == parts(other)
}

/// Lists of headers have no order; those are the lists of pairs.
fn sorted(list: &[Value]) -> Vec<&Value> {
    let mut all: Vec<&Value> = list.iter().collect();
    if all.iter().all(|item| item.is_array()) {
        all.sort_by_key(|item| item.to_string());
    }
    all
}
