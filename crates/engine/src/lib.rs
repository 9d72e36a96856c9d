//! A simulated vLLM server: the engine's command line, API, errors and metrics around the model of
//! `weir-engine-model`, without weights and without an accelerator.
//!
//! - [`options`]: what the command line asks for.
//! - [`core`]: the model driven by the clock.
//! - [`text`]: the answers.
//! - [`server`]: the HTTP API.
//! - [`page`]: the metrics page.

pub mod answer;
pub mod core;
pub mod options;
pub mod page;
pub mod server;
pub mod text;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::options::{Error as OptionsError, Options};
use crate::server::Server;

/// Idle connections are closed at once on SIGTERM; this is for those that are answering.
const CUT_AFTER: Duration = Duration::from_millis(300);

/// Why the engine could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}; give another --host or --port")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot serve TLS with {path}: {reason}")]
    Tls {
        /// The file.
        path: String,
        /// The cause.
        reason: String,
    },
    /// The operating system refuses something else.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the engine with the words after the program (`serve MODEL --port 8000 …`) until SIGTERM or SIGINT.
#[must_use]
#[expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the engine's own report on its command line"
)]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = args
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let options = match Options::parse(&words) {
        Ok(options) => options,
        Err(OptionsError::Arguments(error)) => {
            eprintln!("{}", error.report());
            return ExitCode::from(weir_vllm::argv::EXIT_STATUS);
        }
        Err(error) => {
            eprintln!("vllm serve: error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if options.help {
        println!(
            "usage: vllm serve [model_tag] [options]\n\nA simulated engine that takes the flags of vLLM {}:",
            weir_vllm::VERSION
        );
        for flag in weir_vllm::flags::all() {
            println!("  --{}", flag.name);
        }
        return ExitCode::SUCCESS;
    }
    weir_runtime::logs::init("info", weir_runtime::logs::Format::Text);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "Runtime not started");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(signalled(options));
    runtime.shutdown_timeout(Duration::from_millis(100));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "Engine not started");
            ExitCode::FAILURE
        }
    }
}

async fn signalled(options: Options) -> Result<(), Error> {
    let (shutdown, at_once) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(weir_runtime::signals::watch(
        shutdown.clone(),
        at_once.clone(),
    ));
    if options.headless {
        // As the real one: it computes for the leader of its group and listens to no client.
        tracing::info!(model = options.model, "Simulated engine works headless");
        shutdown.cancelled().await;
        return Ok(());
    }
    let listener = bind(&options).await?;
    tokio::select! {
        result = Box::pin(run(options, listener, shutdown)) => result,
        () = at_once.cancelled() => Ok(()),
    }
}

/// Binds the address that `options` ask for.
///
/// # Errors
/// When it is taken or not allowed.
pub async fn bind(options: &Options) -> Result<TcpListener, Error> {
    let host = options.bind_host();
    TcpListener::bind((host.as_str(), options.port))
        .await
        .map_err(|source| Error::Listen {
            address: format!("{host}:{}", options.port),
            source,
        })
}

/// Serves on `listener` until `shutdown`.
///
/// # Errors
/// When the certificate cannot be used.
pub async fn run(
    options: Options,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let tls = options
        .tls
        .as_ref()
        .map(|(certificate, key)| tls(certificate, key))
        .transpose()?;
    let address = listener.local_addr()?;
    tracing::info!(
        model = options.model,
        served = options.names.join(","),
        %address,
        tls = tls.is_some(),
        ignored = options.ignored.join(","),
        "Simulated engine serves"
    );
    if !options.retired.is_empty() {
        tracing::warn!(
            flags = options.retired.join(","),
            version = weir_vllm::VERSION,
            "Flags that the real engine does not know any more"
        );
    }
    let grace = options.shutdown.max(CUT_AFTER);
    let server = Arc::new(Server::new(options, address.port()));
    let mut tasks = JoinSet::new();
    let clock = CancellationToken::new();
    let core = Arc::clone(server.core());
    let stop = clock.clone();
    tasks.spawn(async move { core.run(stop).await });
    let handler = move |request| {
        let server = Arc::clone(&server);
        async move { server.handle(request).await }
    };
    let serve = weir_runtime::http::serve(listener, tls, handler, shutdown.clone());
    let cut = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        () = Box::pin(serve) => {}
        () = cut => {}
    }
    clock.cancel();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn tls(
    certificate: &std::path::Path,
    key: &std::path::Path,
) -> Result<Arc<rustls::ServerConfig>, Error> {
    fn fail(path: &std::path::Path) -> impl Fn(&dyn std::fmt::Display) -> Error {
        let path = path.display().to_string();
        move |reason| Error::Tls {
            path: path.clone(),
            reason: reason.to_string(),
        }
    }
    weir_runtime::install_crypto();
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .map_err(|error| fail(certificate)(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| fail(certificate)(&error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| fail(key)(&error))?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| fail(certificate)(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
