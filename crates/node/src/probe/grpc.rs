//! The gRPC health protocol, one question at a time: `grpc.health.v1.Health/Check` over a connection of
//! its own in clear text, as the kubelet asks it.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{SendRequest, handshake};
use http::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Most of an answer that is read; one is a few bytes long.
const LONGEST: usize = 4 << 10;
/// gRPC's code of a method that the server does not have.
const UNIMPLEMENTED: &str = "12";

/// Asks whether `service` serves; the empty name stands for the whole server.
///
/// # Errors
/// What it answered instead, in words for an event.
pub(super) async fn check(address: SocketAddr, service: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("dial tcp {address}: {error}"))?;
    let failed = |error: h2::Error| format!("{address} does not speak gRPC: {error}");
    let (client, connection) = handshake(stream).await.map_err(failed)?;
    let mut asked = std::pin::pin!(ask(client, address, service));
    let answer = tokio::select! {
        answer = &mut asked => answer,
        // What has arrived before the end still counts.
        _ = connection => asked.await,
    };
    verdict(&answer.map_err(failed)?)
}

/// What matters of an answer.
#[derive(Default)]
struct Answer {
    /// Status of HTTP.
    status: u16,
    /// Code of gRPC with its message.
    code: Option<(String, String)>,
    body: BytesMut,
}

async fn ask(
    client: SendRequest<Bytes>,
    address: SocketAddr,
    service: &str,
) -> Result<Answer, h2::Error> {
    let mut client = client.ready().await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}{PATH}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/weir")
        .body(())
        .unwrap_or_default();
    let (response, mut send) = client.send_request(request, false)?;
    send.send_data(question(service), true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut answer = Answer {
        status: head.status.as_u16(),
        code: code(&head.headers),
        ..Answer::default()
    };
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        let room = LONGEST - answer.body.len();
        answer.body.put(data.take(room));
    }
    if let Some(trailers) = body.trailers().await? {
        answer.code = code(&trailers).or(answer.code);
    }
    Ok(answer)
}

fn code(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name: &str| {
        let value = headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Some((
        text("grpc-status")?,
        text("grpc-message").unwrap_or_default(),
    ))
}

/// The message with one field, `service`, behind gRPC's prefix.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or_default());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

fn verdict(answer: &Answer) -> Result<(), String> {
    match &answer.code {
        Some((code, _)) if code == UNIMPLEMENTED => Err(
            "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                .to_owned(),
        ),
        Some((code, message)) if code != "0" => {
            Err(format!("health rpc failed with code {code}: {message}"))
        }
        Some(_) => match serving(&answer.body) {
            Some(1) => Ok(()),
            state => {
                let name = match state {
                    Some(0) => "UNKNOWN",
                    Some(2) => "NOT_SERVING",
                    Some(3) => "SERVICE_UNKNOWN",
                    _ => "an answer that cannot be read",
                };
                Err(format!("service unhealthy (responded with {name:?})"))
            }
        },
        None => Err(format!("not an answer of gRPC, status {}", answer.status)),
    }
}

/// The one field of the answer, 0 where it is left out.
fn serving(mut body: &[u8]) -> Option<u8> {
    if body.len() < 5 || body.get_u8() != 0 {
        return None;
    }
    let length = body.get_u32();
    match body {
        [] if length == 0 => Some(0),
        [0x08, state, ..] if length >= 2 => Some(*state),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one question with status, body and trailers, and gives it back.
    async fn server(
        listener: &TcpListener,
        (status, body, code): (u16, &'static [u8], &'static str),
    ) -> Bytes {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.uri().path(), PATH);
        let answer = async {
            let asked = request.into_body().data().await.unwrap().unwrap();
            let head = Response::builder().status(status).body(()).unwrap();
            let mut send = respond.send_response(head, false).unwrap();
            send.send_data(Bytes::from_static(body), code.is_empty())
                .unwrap();
            if !code.is_empty() {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", code.parse().unwrap());
                send.send_trailers(trailers).unwrap();
            }
            asked
        };
        let rest = async { while connection.accept().await.is_some() {} };
        let (asked, ()) = tokio::join!(answer, rest);
        asked
    }

    #[tokio::test]
    async fn the_state_of_the_service_decides() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rows: [(u16, &[u8], &str, &str); 7] = [
            (200, b"\0\0\0\0\x02\x08\x01", "0", "fine"),
            (200, b"\0\0\0\0\x02\x08\x02", "0", "NOT_SERVING"),
            (200, b"\0\0\0\0\0", "0", "UNKNOWN"),
            (200, b"", "0", "cannot be read"),
            (200, b"", "12", "does not implement"),
            (200, b"", "5", "failed with code 5"),
            (404, b"<html>", "", "not an answer of gRPC, status 404"),
        ];
        for (status, body, code, wanted) in rows {
            let answer = (status, body, code);
            let (found, asked) =
                tokio::join!(check(address, "liveness"), server(&listener, answer));
            let found = found.err().unwrap_or_else(|| "fine".to_owned());
            assert!(found.contains(wanted), "{answer:?}: {found}");
            assert_eq!(asked, &b"\0\0\0\0\x0a\x0a\x08liveness"[..]);
        }
    }

    #[tokio::test]
    async fn what_does_not_speak_it_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closes = async { drop(listener.accept().await) };
        let (found, ()) = tokio::join!(check(address, ""), closes);
        assert!(found.unwrap_err().contains("does not speak gRPC"));
        drop(listener);
        assert!(check(address, "").await.unwrap_err().contains("dial tcp"));
    }

    #[test]
    fn long_names_have_long_lengths() {
        let framed = question(&"x".repeat(300));
        assert_eq!(framed[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(framed.len(), 5 + 3 + 300);
        assert_eq!(question(""), &[0, 0, 0, 0, 0][..]);
    }
}
