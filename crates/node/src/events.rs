//! Forwards the events of a real engine from the pod's address to the socket where it publishes them.
//!
//! Between publisher and subscriber flow the same bytes over both, so that nothing is read.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Subscribers of one engine at a time; more are let go at once.
const MOST: usize = 64;
const RETRY: Duration = Duration::from_secs(1);

/// The socket for what would be published at `port`, in the directory of the pod.
pub(crate) fn socket(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!("kv-{port}"))
}

/// Forwards one port for as long as it is polled.
pub(crate) async fn forward(ip: Ipv4Addr, port: u16, socket: PathBuf) -> Infallible {
    let mut running = JoinSet::new();
    loop {
        let listener = match TcpListener::bind((ip, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::debug!(%ip, port, %error, "Events not forwarded yet");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        loop {
            tokio::select! {
                Some(_) = running.join_next(), if !running.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if running.len() < MOST => {
                        running.spawn(copy(stream, socket.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "Subscriber not accepted");
                        break;
                    }
                },
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Joins a subscriber to the engine. Where that does not publish yet, the subscriber's own retries
/// find it later.
async fn copy(mut stream: TcpStream, socket: PathBuf) {
    if let Ok(mut engine) = UnixStream::connect(&socket).await {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut engine).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn bytes_flow_both_ways_and_a_later_publisher_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let path = socket(dir.path(), port);
        let talk = async {
            // Nobody publishes yet: the connection ends.
            let mut early = loop {
                match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            assert_eq!(early.read(&mut [0; 4]).await.unwrap_or(0), 0);
            let engine = UnixListener::bind(&path).unwrap();
            let mut subscriber = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap();
            let (mut published, _) = engine.accept().await.unwrap();
            let mut bytes = [0; 5];
            published.write_all(b"hello").await.unwrap();
            subscriber.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"hello");
            subscriber.write_all(b"there").await.unwrap();
            published.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"there");
        };
        tokio::select! {
            () = talk => {}
            never = forward(Ipv4Addr::LOCALHOST, port, path.clone()) => match never {},
        }
    }
}
