//! A picker in this process, on ports of its own.

use std::path::Path;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_epp::options::Options;
use weir_epp::run::one_line;

/// A picker that runs until it is dropped.
pub(crate) struct Picker {
    pub(crate) grpc: u16,
    pub(crate) metrics: u16,
    stop: CancellationToken,
    done: JoinSet<Result<(), weir_epp::run::Error>>,
}

impl Picker {
    /// Starts with a configuration file and more flags; returns when it takes connections.
    pub(crate) async fn start(config: &Path, flags: &[&str]) -> Self {
        Self::start_on(ports(), config, flags).await
    }

    /// The same on ports that are given.
    pub(crate) async fn start_on(
        [grpc, health, metrics]: [u16; 3],
        config: &Path,
        flags: &[&str],
    ) -> Self {
        let mut words: Vec<String> = [
            "--pool-name=pool",
            "--secure-serving=false",
            &format!("--config-file={}", config.display()),
            &format!("--grpc-port={grpc}"),
            &format!("--grpc-health-port={health}"),
            &format!("--metrics-port={metrics}"),
        ]
        .map(str::to_owned)
        .to_vec();
        words.extend(flags.iter().map(ToString::to_string));
        let options = Options::parse(&words).unwrap();
        let stop = CancellationToken::new();
        weir_runtime::install_crypto();
        let mut done = JoinSet::new();
        done.spawn(weir_epp::run::serve(options, stop.clone()));
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            if let Some(ended) = done.try_join_next() {
                let why = ended.unwrap().map_err(|error| one_line(&error));
                panic!("the picker ended: {why:?}");
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", grpc))
                .await
                .is_ok()
            {
                break;
            }
        }
        Self {
            grpc,
            metrics,
            stop,
            done,
        }
    }

    /// Stops it, and returns when it has drained and given back what it held.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = self.done.join_next().await.unwrap().unwrap();
        ended.map_err(|error| one_line(&error)).unwrap();
    }

    /// The page of metrics.
    pub(crate) async fn page(&self) -> String {
        get(self.metrics, "/metrics").await
    }
}

impl Drop for Picker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Ports that were free a moment ago.
pub(crate) fn ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| std::net::TcpListener::bind("0.0.0.0:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The body of an HTTP answer.
pub(crate) async fn get(port: u16, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}
