//! The sidecar through real sockets: recorded cases of llm-d's, command lines, and what only Weir's does.

#![allow(
    clippy::disallowed_methods,
    reason = "the runtime of a test ends with it, and what it spawned too"
)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests; a test says what it skips"
)]

mod backend;
mod client;
mod command_line;
mod recorded;
mod serving;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_sidecar::flags::Given;
use weir_sidecar::options::{Error, Options};
use weir_sidecar::{Sidecar, Sockets};

/// Returns the folder of recordings.
fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let folder = shared.join("goldens/sidecar");
    if folder.exists() {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: {} is not there (set WEIR_SHARED)",
        folder.display()
    );
    None
}

/// Reads a command line.
fn options(words: &[&str], env: &[(&str, &str)]) -> Result<Options, Error> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let given = Given::parse(&words).map_err(|error| Error::Invalid(error.to_string()))?;
    Options::new(&given, &variables(env), |path| {
        std::fs::read_to_string(path)
    })
}

fn variables(env: &[(&str, &str)]) -> BTreeMap<String, String> {
    env.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A sidecar that serves on free ports.
struct Running {
    ranks: Vec<SocketAddr>,
    metrics: SocketAddr,
    stop: CancellationToken,
    done: JoinHandle<()>,
}

impl Running {
    /// Starts one in front of `engines`, one a rank.
    async fn start(words: &[&str], env: &[(&str, &str)], engines: &[SocketAddr]) -> Self {
        weir_runtime::install_crypto();
        let options = options(words, env).unwrap();
        let mut sockets = Sockets::default();
        let mut ranks = Vec::new();
        for _ in engines {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ranks.push(listener.local_addr().unwrap());
            sockets.ranks.push(listener);
        }
        sockets.engines = engines.iter().map(|engine| vec![*engine]).collect();
        let metrics = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics_address = metrics.local_addr().unwrap();
        sockets.metrics = Some(metrics);
        let sidecar = Sidecar::new(options, &variables(env)).unwrap();
        let stop = CancellationToken::new();
        Self {
            ranks,
            metrics: metrics_address,
            stop: stop.clone(),
            done: tokio::spawn(sidecar.serve(sockets, stop)),
        }
    }
}
