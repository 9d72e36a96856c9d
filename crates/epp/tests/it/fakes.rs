//! Endpoints that serve nothing but a page of metrics.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An endpoint.
pub(crate) struct Fake {
    asked: tokio::sync::watch::Receiver<usize>,
    page: Arc<Mutex<(u16, String)>>,
    _task: JoinSet<()>,
}

impl Fake {
    /// Listens at `address`.
    pub(crate) async fn start(address: SocketAddr, status: u16, page: String) -> Self {
        // The one before it may still be going.
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{address}: {error}"),
            }
        };
        let page = Arc::new(Mutex::new((status, page)));
        let served = Arc::clone(&page);
        let (count, asked) = tokio::sync::watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&served), count.clone()));
            }
        });
        Self {
            asked,
            page,
            _task: task,
        }
    }

    /// Returns when its page was read twice, hence taken in once.
    pub(crate) async fn asked(&self) {
        let _ = self.asked.clone().wait_for(|count| *count >= 2).await;
    }

    /// Changes its page.
    pub(crate) fn set(&self, status: u16, page: String) {
        *self.page.lock().unwrap() = (status, page);
    }
}

async fn serve(
    mut stream: TcpStream,
    page: Arc<Mutex<(u16, String)>>,
    count: tokio::sync::watch::Sender<usize>,
) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(size) if size > 0 => seen.extend_from_slice(&buffer[..size]),
            _ => return,
        }
        while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            seen.drain(..end + 4);
            let (status, page) = page.lock().unwrap().clone();
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
                page.len()
            );
            if stream.write_all((head + &page).as_bytes()).await.is_err() {
                return;
            }
            count.send_modify(|count| *count += 1);
        }
    }
}
