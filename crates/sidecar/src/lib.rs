//! The prefill/decode sidecar: it listens on a decode pod's serving port and hands requests to the engine beside it,
//! streaming, with what clients must not send to engines taken out. Flags, routes and errors are those of llm-d's
//! sidecar. Remote prefill and remote encoding are answered with 501 until the transfer protocols exist.
//!
//! ```text
//! words → flags ─┐
//! YAML → settings ├→ options → one listener a rank → server → engine of the rank
//! environment ───┘                                    └→ respond
//! ```
//!
//! - [`flags`], [`settings`], [`options`]: what is asked for, and whether it goes together.
//! - [`route`]: which requests are whose.
//! - [`server`]: one request.
//! - [`respond`]: what a client reads of the sidecar's own.
//! - [`metrics`]: counters and their page.
//! - [`tls`]: whom the sidecar trusts.

pub mod duration;
pub mod flags;
pub mod metrics;
pub mod options;
pub mod respond;
pub mod route;
pub mod server;
pub mod settings;
pub mod tls;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_proxy::Client;
use weir_runtime::http::{Limits, serve, serve_within};
use weir_runtime::serving::Serving;
use weir_runtime::{errors, listen, logs, signals};

use crate::flags::{Given, Usage};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::server::Server;

/// How long running requests may go on after a signal.
const DRAIN: Duration = Duration::from_secs(60);
/// Most bytes of a request's head.
const HEAD: u32 = 1024 * 1024;
/// Who the certificate says it is of, as dashboards know it.
const ORGANIZATION: &str = "llm-d Routing Sidecar";
/// How long a certificate of our own is valid.
const YEARS: i16 = 10;
/// The name that an engine's certificate has to cover.
const ENGINE_NAME: &str = "localhost";
/// Longest wait for an address of a MoRI-IO host.
const LOOKUP: Duration = Duration::from_secs(5);

/// Why the sidecar could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("invalid configuration")]
    Options(#[from] options::Error),
    /// A host of the configuration has no address.
    #[error("cannot find the address of {flag} {host:?}")]
    Lookup {
        /// The flag.
        flag: &'static str,
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("cannot serve TLS")]
    Certificate(#[from] weir_runtime::certs::Error),
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The operating system refuses something else.
    #[error("cannot start")]
    System(#[from] std::io::Error),
    /// A second signal came while requests were running.
    #[error("stopped by a second signal, running requests were cut")]
    Cut,
}

/// Runs the sidecar with the words after the program until SIGTERM or SIGINT.
#[must_use]
#[expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the report on the command line, before logs exist"
)]
pub fn main(words: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let given = match Given::parse(&words) {
        Ok(given) => given,
        Err(Usage::Help) => {
            print!("{}", flags::help());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}; --help lists the flags");
            return ExitCode::from(flags::EXIT_STATUS);
        }
    };
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let ended = Options::new(&given, &env, |path| std::fs::read_to_string(path))
        .map_err(Error::from)
        .and_then(|options| {
            for note in &options.notes {
                eprintln!("{note}");
            }
            let format = if options.logs.console {
                logs::Format::Text
            } else {
                logs::Format::Zap(options.logs.times)
            };
            logs::init(options.logs.level, format);
            weir_runtime::install_crypto();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(Box::pin(run(options, &env)))
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", errors::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal, then lets running requests finish.
async fn run(options: Options, env: &BTreeMap<String, String>) -> Result<(), Error> {
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let signals = signals::watch(stop.clone(), cut.clone());
    tasks.spawn(async move {
        if let Err(error) = signals.await {
            tracing::error!(%error, "Signals cannot be watched");
        }
    });
    tracing::info!(configuration = %options.effective(), "Sidecar starts");
    warn_of_what_is_missing(&options);
    for (flag, hosts) in [
        ("--moriio-remote-hosts", &options.moriio.remote_hosts),
        ("--moriio-decode-hosts", &options.moriio.decode_hosts),
    ] {
        for host in hosts {
            look_up(flag, host).await?;
        }
    }
    let sidecar = Sidecar::new(options, env)?;
    let sockets = Sockets::bind(&sidecar.options).await?;
    for listener in &sockets.ranks {
        let address = listener.local_addr()?;
        tracing::info!(%address, "Sidecar listens");
    }
    tokio::select! {
        () = sidecar.serve(sockets, stop) => Ok(()),
        () = cut.cancelled() => Err(Error::Cut),
    }
}

/// A sidecar that is about to serve.
pub struct Sidecar {
    options: Options,
    client: Client,
    certificate: Option<Serving>,
}

/// Where a sidecar listens and whom it calls.
#[derive(Default)]
pub struct Sockets {
    /// One listener a rank.
    pub ranks: Vec<TcpListener>,
    /// Addresses of the engine of each rank, in the order of trying.
    pub engines: Vec<Vec<SocketAddr>>,
    /// The listener for metrics.
    pub metrics: Option<TcpListener>,
}

impl Sockets {
    /// Binds what `options` name.
    ///
    /// # Errors
    /// When an address is taken or not allowed.
    pub async fn bind(options: &Options) -> Result<Self, Error> {
        let mut sockets = Self::default();
        for rank in 0..options.ranks {
            // The ranges of ports were checked with the options.
            let port = options.port.saturating_add(rank);
            let listener = listen::bind(Options::listen(port)).await?;
            sockets.ranks.push(listener);
            let engine = engine(options.model_server_port.saturating_add(rank));
            sockets.engines.push(engine);
        }
        if let Some(address) = options.metrics {
            sockets.metrics = Some(listen::bind(address).await?);
        }
        Ok(sockets)
    }
}

impl Sidecar {
    /// Returns a sidecar; `env` says whom to trust.
    ///
    /// # Errors
    /// When a certificate is not usable.
    pub fn new(options: Options, env: &BTreeMap<String, String>) -> Result<Self, Error> {
        let certificate = match (options.secure, &options.cert_path) {
            (false, _) => None,
            (true, Some(directory)) => Some(Serving::from_directory(directory)?),
            (true, None) => Some(Serving::self_signed(ORGANIZATION, YEARS)?),
        };
        Ok(Self {
            client: client(&options, env),
            options,
            certificate,
        })
    }

    /// Serves between `sockets` until `stop`, then lets running requests finish for at most a minute.
    pub async fn serve(self, sockets: Sockets, stop: CancellationToken) {
        let metrics = Arc::new(Metrics::default());
        let server = Arc::new(Server::new(
            self.options,
            self.client,
            sockets.engines,
            Arc::clone(&metrics),
            stop.clone(),
        ));
        let limits = Limits {
            drain: DRAIN,
            head: Some(HEAD),
        };
        let mut listeners = JoinSet::new();
        for (rank, listener) in sockets.ranks.into_iter().enumerate() {
            let server = Arc::clone(&server);
            let tls = self.certificate.as_ref().map(Serving::server_config);
            let stop = stop.clone();
            listeners.spawn(async move {
                let handler = move |request| {
                    let server = Arc::clone(&server);
                    async move { server.handle(rank, request).await }
                };
                serve_within(listener, tls, limits, handler, stop).await;
            });
        }
        let mut beside = JoinSet::new();
        if let Some(listener) = sockets.metrics {
            let certificate = self.certificate.clone();
            let handler = move |request| {
                let (metrics, certificate) = (Arc::clone(&metrics), certificate.clone());
                async move { metrics.answer(certificate.as_ref(), &request) }
            };
            beside.spawn(serve(listener, None, handler, stop.clone()));
        }
        if let Some(certificate) = self.certificate {
            let stop = stop.clone();
            beside.spawn(async move { certificate.follow(stop).await });
        }
        // One listener that ends takes the others along.
        while listeners.join_next().await.is_some() {
            stop.cancel();
        }
        server.tunnels().close();
        server.tunnels().wait().await;
    }
}

/// Says which of the things asked for this build does not do.
fn warn_of_what_is_missing(options: &Options) {
    let missing = [
        (options.tracing, "tracing", "spans are not exported"),
        (
            options.chunk > 0,
            "decode-chunk-size",
            "answers are decoded in one piece",
        ),
        (
            options.p2p_pull,
            "enable-p2p-pull",
            "cached prefixes are not pulled from peers",
        ),
        (
            options.ssrf_protection,
            "enable-ssrf-protection",
            "no host is called that a request names, so that none has to be checked",
        ),
    ];
    for (_, flag, effect) in missing.iter().filter(|(asked, ..)| *asked) {
        tracing::warn!(flag, effect, "Flag has no effect yet");
    }
}

/// Returns the addresses of the engine on a local port.
///
/// On one machine a pod has an address of its own, which its engine listens on; elsewhere it is the loopback that
/// the pod's containers share.
fn engine(port: u16) -> Vec<SocketAddr> {
    let own: Option<IpAddr> = std::env::var(listen::POD_IP)
        .ok()
        .and_then(|text| text.parse().ok());
    let addresses = match own {
        Some(own) => vec![own],
        None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    };
    addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

/// Returns the client for the engine.
fn client(options: &Options, env: &BTreeMap<String, String>) -> Client {
    let variable = |name: &str| env.get(name).map(String::as_str);
    let tls = options.tls.decoder.then(|| {
        let places = tls::Places::new(variable("SSL_CERT_FILE"), variable("SSL_CERT_DIR"));
        ServerName::try_from(ENGINE_NAME)
            .ok()
            .map(|name| weir_proxy::Tls {
                config: tls::client_config(&places, options.skip_verify.decoder),
                name,
            })
    });
    Client::new(&weir_proxy::Options {
        connect_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(90),
        idle_per_host: match usize::try_from(options.max_idle) {
            Ok(0) | Err(_) => 1024,
            Ok(count) => count,
        },
        max_buffer: HEAD as usize,
        tls: tls.flatten(),
        upgrades: true,
    })
}

/// Makes sure that a host has an address now; it is found again when a transfer needs it.
async fn look_up(flag: &'static str, host: &str) -> Result<(), Error> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let failed = |source| Error::Lookup {
        flag,
        host: host.to_owned(),
        source,
    };
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, 0))).await;
    let mut found = found
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    match found.next() {
        Some(_) => Ok(()),
        None => Err(failed(std::io::ErrorKind::NotFound.into())),
    }
}
