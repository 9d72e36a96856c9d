//! Engines that serve nothing but a page of metrics of real size.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Engines that serve a page of metrics.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many: 127.0.N.11, 127.0.N.12, …
    #[arg(long, default_value_t = 10)]
    count: u8,
    /// Third number of the addresses
    #[arg(long, default_value_t = 0)]
    net: u8,
    /// Their port
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Bytes of the page
    #[arg(long, default_value_t = 65_000)]
    bytes: usize,
    /// Writes the discovery file of these endpoints
    #[arg(long)]
    discovery: Option<std::path::PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), String> {
    let address = |index: u8| {
        let ip = Ipv4Addr::new(127, 0, arguments.net, 11 + index);
        SocketAddr::from((ip, arguments.port))
    };
    let page: Arc<[u8]> = answer(arguments.bytes).into();
    let served = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let mut listed = "endpoints:\n".to_owned();
    for index in 0..arguments.count {
        let address = address(index);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        listed += &format!(
            "- {{name: e{index}, address: {}, port: \"{}\"}}\n",
            address.ip(),
            address.port()
        );
        let (page, served) = (Arc::clone(&page), Arc::clone(&served));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&page), Arc::clone(&served)));
            }
        });
    }
    if let Some(path) = &arguments.discovery {
        std::fs::write(path, listed).map_err(|error| format!("cannot write: {error}"))?;
    }
    println!("{} endpoints", arguments.count);
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = served.load(Ordering::Relaxed);
        println!("{:.0} pages/s", (now - before) as f64 / 5.0);
        before = now;
    }
}

/// An answer of about `bytes`: what is looked for, and much that is not, as on a real page.
fn answer(bytes: usize) -> Vec<u8> {
    let mut page = String::with_capacity(bytes + 512);
    for (name, value) in [
        ("vllm:num_requests_running", "3.0"),
        ("vllm:num_requests_waiting", "1.0"),
        ("vllm:kv_cache_usage_perc", "0.25"),
    ] {
        page += &format!(
            "# HELP {name} Number.\n# TYPE {name} gauge\n{name}{{engine=\"0\",model_name=\"m\"}} {value}\n"
        );
    }
    page += "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"27000\"} 1.0\n";
    let mut bucket = 0;
    while page.len() < bytes {
        page += &format!(
            "vllm:e2e_request_latency_seconds_bucket{{engine=\"0\",le=\"{}.5\",model_name=\"m\"}} {}.0\n",
            bucket,
            bucket * 7
        );
        bucket += 1;
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        page.len()
    );
    (head + &page).into_bytes()
}

async fn serve(mut stream: TcpStream, answer: Arc<[u8]>, served: Arc<AtomicU64>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 2048];
    loop {
        // A scraper asks once and waits, so one read is one request.
        match stream.read(&mut buffer).await {
            Ok(size) if size > 0 => {}
            _ => return,
        }
        served.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
