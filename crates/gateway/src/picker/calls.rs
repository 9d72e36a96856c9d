//! Pickers that behave unlike ours: out of reach, late with their headers, early with their answer.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use weir_extproc::frame;

use super::*;

/// A picker without TLS, each of whose streams `answer` answers.
async fn picker<F>(
    answer: impl Fn(Incoming) -> F + Clone + Send + 'static,
) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let answer = answer(request.into_body());
                async move { Ok::<_, Infallible>(answer.await) }
            });
            connections.spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, tasks)
}

/// A response of one message: the client is told `status`.
fn refusal(status: i32) -> Response<Full<Bytes>> {
    use prost::Message;
    let message = pb::ProcessingResponse {
        response: Some(pb::Response::Immediate(ImmediateResponse {
            status: Some(pb::HttpStatus { code: status }),
            headers: None,
            body: Bytes::new(),
        })),
        dynamic_metadata: None,
    };
    let mut data = bytes::BytesMut::new();
    frame::put_header(&mut data, message.encoded_len());
    message.encode(&mut data).unwrap();
    Response::new(Full::new(data.freeze()))
}

fn request() -> Parts {
    http::Request::post("/v1/completions")
        .body(())
        .unwrap()
        .into_parts()
        .0
}

async fn status(pickers: &Pickers, address: SocketAddr, body: Bytes) -> StatusCode {
    match pickers.decide(address, &request(), body).await.unwrap() {
        Decision::Answer(answer) => answer.status(),
        Decision::Go(_) => panic!("{address} let the request through"),
    }
}

#[tokio::test]
async fn a_picker_may_send_its_headers_after_it_has_read_the_request() {
    let (address, _tasks) = picker(|mut body: Incoming| async move {
        // As servers in Go do.
        while let Some(Ok(frame)) = body.frame().await {
            if frame
                .data_ref()
                .is_some_and(|data| data.ends_with(b"the end\x10\x01"))
            {
                return refusal(418);
            }
        }
        refusal(500)
    })
    .await;
    let body = Bytes::from_static(b"the end");
    let seen = status(&Pickers::default(), address, body).await;
    assert_eq!(seen, StatusCode::IM_A_TEAPOT);
}

#[tokio::test]
async fn a_picker_may_refuse_before_it_has_read_all() {
    let (address, _tasks) = picker(|_| async { refusal(418) }).await;
    // More than the windows and queues between the two hold.
    let body = Bytes::from(vec![b' '; 8 << 20]);
    let seen = status(&Pickers::default(), address, body).await;
    assert_eq!(seen, StatusCode::IM_A_TEAPOT);
}

#[tokio::test]
async fn a_status_in_the_headers_is_named() {
    let (address, _tasks) = picker(|_| async {
        let mut response = Response::new(Full::default());
        let headers = response.headers_mut();
        headers.insert("grpc-status", HeaderValue::from_static("12"));
        headers.insert("grpc-message", HeaderValue::from_static("no such method"));
        response
    })
    .await;
    let decided = Pickers::default()
        .decide(address, &request(), Bytes::new())
        .await;
    let error = decided.err().unwrap();
    let text = weir_runtime::errors::chain(&error);
    assert!(
        text.ends_with("ended with status 12 no such method"),
        "{text}"
    );
}

#[tokio::test]
async fn connecting_to_one_picker_holds_up_nobody_else() {
    let (address, _tasks) = picker(|_| async { refusal(418) }).await;
    let pickers = Pickers::default();
    // Somebody connects to a picker that is out of reach.
    let slot = pickers.slot(SocketAddr::from(([192, 0, 2, 1], 9002)));
    let _connecting = slot.lock().await;
    let seen = status(&pickers, address, Bytes::new()).await;
    assert_eq!(seen, StatusCode::IM_A_TEAPOT);
}

#[tokio::test]
async fn whoever_waited_for_an_attempt_shares_its_end() {
    // Nobody listens at a port that was just given back.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let pickers = Pickers::default();
    let parts = request();
    let (one, other) = tokio::join!(
        pickers.decide(address, &parts, Bytes::new()),
        pickers.decide(address, &parts, Bytes::new()),
    );
    let text =
        |decided: Result<Decision, Failure>| weir_runtime::errors::chain(&decided.err().unwrap());
    assert!(text(one).contains("refused"));
    assert!(text(other).contains("waited for"));
    // A request that comes later tries for itself.
    let later = pickers.decide(address, &parts, Bytes::new()).await;
    assert!(text(later).contains("refused"));
    assert_eq!(pickers.known.lock().unwrap().len(), 1);
}
