//! Our messages against generated ones: same bytes, same meaning.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::{Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::ext_proc::v3 as theirs;
use proptest::prelude::{any, prop_assert_eq, proptest};
use prost::Message;
use weir_extproc::frame::{DEFAULT_LIMIT, Frames};
use weir_extproc::pb;
use weir_extproc::wire::{self, Direction, Inbound, Outbound};

fn written(message: &Outbound) -> Bytes {
    let mut data = BytesMut::new();
    wire::write(message, |piece| data.extend_from_slice(&piece));
    let mut frames = Frames::new(DEFAULT_LIMIT);
    frames.push(data.freeze());
    let frame = frames.next_frame().unwrap().unwrap();
    frames.end().unwrap();
    frame.message
}

#[test]
fn request_headers_are_read_from_either_field() {
    let header = |key: &str, value: &str, raw: &str| core::HeaderValue {
        key: key.to_owned(),
        value: value.to_owned(),
        raw_value: raw.as_bytes().to_vec(),
    };
    let message = theirs::ProcessingRequest {
        request: Some(theirs::processing_request::Request::RequestHeaders(
            theirs::HttpHeaders {
                headers: Some(core::HeaderMap {
                    headers: vec![header(":path", "/v1", ""), header("a", "", "b")],
                }),
                end_of_stream: true,
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let Inbound::Message(read) = wire::read(message.encode_to_vec().into()).unwrap() else {
        panic!("headers are no body");
    };
    let Some(pb::Request::RequestHeaders(headers)) = read.request else {
        panic!("request headers expected");
    };
    assert!(headers.end_of_stream);
    let values: Vec<_> = headers
        .headers
        .unwrap()
        .headers
        .iter()
        .map(|header| (header.key.clone(), header.bytes().clone()))
        .collect();
    assert_eq!(
        values,
        [
            (":path".to_owned(), Bytes::from_static(b"/v1")),
            ("a".to_owned(), Bytes::from_static(b"b"))
        ]
    );
}

#[test]
fn replies_mean_the_same_to_generated_code() {
    let reply = pb::ProcessingResponse {
        response: Some(pb::Response::RequestHeaders(pb::PhaseResponse {
            response: Some(pb::CommonResponse {
                header_mutation: Some(pb::HeaderMutation {
                    set_headers: vec![pb::HeaderValueOption::raw("a", "b")],
                    remove_headers: vec!["c".to_owned()],
                }),
                clear_route_cache: true,
                ..Default::default()
            }),
        })),
        dynamic_metadata: None,
    };
    let bytes = written(&Outbound::Message(Box::new(reply)));
    let read = theirs::ProcessingResponse::decode(bytes).unwrap();
    let Some(theirs::processing_response::Response::RequestHeaders(headers)) = read.response else {
        panic!("request headers expected");
    };
    let common = headers.response.unwrap();
    assert!(common.clear_route_cache);
    let mutation = common.header_mutation.unwrap();
    assert_eq!(mutation.remove_headers, ["c"]);
    assert_eq!(
        mutation.set_headers[0].header.as_ref().unwrap().raw_value,
        b"b"
    );
    assert_eq!(mutation.set_headers[0].append_action, 0);
    let immediate = pb::ProcessingResponse {
        response: Some(pb::Response::Immediate(pb::ImmediateResponse {
            status: Some(pb::HttpStatus { code: 429 }),
            headers: None,
            body: Bytes::from_static(b"no"),
        })),
        dynamic_metadata: None,
    };
    let read = theirs::ProcessingResponse::decode(written(&Outbound::Message(Box::new(immediate))))
        .unwrap();
    let Some(theirs::processing_response::Response::ImmediateResponse(answer)) = read.response
    else {
        panic!("immediate response expected");
    };
    assert_eq!(
        (answer.status.unwrap().code, &answer.body[..]),
        (429, &b"no"[..])
    );
}

proptest! {
    #[test]
    fn body_chunks_are_read_as_generated_code_writes_them(
        body: Vec<u8>,
        end: bool,
        response: bool,
        with_metadata: bool,
    ) {
        let chunk = theirs::HttpBody { body: body.clone(), end_of_stream: end, ..Default::default() };
        let message = theirs::ProcessingRequest {
            request: Some(if response {
                theirs::processing_request::Request::ResponseBody(chunk)
            } else {
                theirs::processing_request::Request::RequestBody(chunk)
            }),
            metadata_context: with_metadata.then(|| core::Metadata {
                filter_metadata: [("n".to_owned(), Default::default())].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let read = wire::read(message.encode_to_vec().into()).unwrap();
        let Inbound::Body { direction, body: bytes, end: last, metadata } = read else {
            panic!("a body expected");
        };
        prop_assert_eq!(direction == Direction::Response, response);
        prop_assert_eq!(&bytes[..], &body[..]);
        prop_assert_eq!(last, end);
        let metadata = wire::read_metadata(&metadata).unwrap();
        prop_assert_eq!(metadata.is_some_and(|map| map.filter_metadata.contains_key("n")), with_metadata);
    }

    #[test]
    fn body_pieces_are_what_generated_code_reads(
        size in 0_usize..9000,
        end: bool,
        response: bool,
        fill: u8,
    ) {
        let body = Bytes::from(vec![fill; size]);
        let direction = if response { Direction::Response } else { Direction::Request };
        let fast = written(&Outbound::Body { direction, body: body.clone(), end });
        let slow = wire::body_message(direction, body.clone(), end, None).encode_to_vec();
        let fast = theirs::ProcessingResponse::decode(fast).unwrap();
        prop_assert_eq!(&fast, &theirs::ProcessingResponse::decode(&slow[..]).unwrap());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let fast = wire::read(bytes.clone().into());
        let slow = theirs::ProcessingRequest::decode(&bytes[..]);
        if slow.is_ok() {
            prop_assert_eq!(fast.is_ok(), true);
        }
    }
}
