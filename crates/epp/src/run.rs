//! Start and stop: from the words of the command line to listeners, and from a signal to a drained exit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_extproc::exchange::Rules;
use weir_extproc::frame::DEFAULT_LIMIT;
use weir_extproc::parsers::{Parser, Parsers};
use weir_runtime::{client, errors, listen, signals};
use weir_scheduler::config::settings;
use weir_scheduler::config::{self, Config};
use weir_scheduler::data::{self, Extractor};
use weir_scheduler::flow::Controller;
use weir_scheduler::{ConfigErrors, Scheduler};

use crate::auth::Auth;
use crate::decisions::Decisions;
use crate::health::{Bits, Health};
use crate::leader::{self, Claim};
use crate::metrics::Metrics;
use crate::objectives::Objectives;
use crate::options::{self, ConfigSource, Options, Pool};
use crate::picker::Picker;
use crate::pool::Endpoints;
use crate::queue::Queue;
use crate::tls::{Certificates, Terms};
use crate::{files, grpc, scrape, tls, watch, web};

/// Shortest time between two scrapes of an endpoint.
const SHORTEST_TICK: Duration = Duration::from_millis(50);

/// Name of the pool when endpoints come from a file and none is given.
const FILE_POOL: &str = "epp";

/// Environment variables that stand in for flags.
const ENV_POOL: &str = "INFERENCE_POOL_NAME";
const ENV_NAMESPACE: &str = "NAMESPACE";
const ENV_POD: &str = "POD_NAME";

/// How long there must be no stream for the drain to be over before its time.
const QUIET: Duration = Duration::from_secs(2);
/// How long open streams may go on after the drain.
const LAST: Duration = Duration::from_secs(5);
/// How long the end of everything else may take after the last stream.
const CLOSING: Duration = Duration::from_secs(2);

/// Why the picker does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line says something that cannot be.
    #[error(transparent)]
    Options(#[from] options::Error),
    /// The configuration cannot be read.
    #[error("cannot read the configuration {path:?}")]
    ConfigFile {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The endpoints file is not usable.
    #[error(transparent)]
    Endpoints(#[from] files::Error),
    /// A certificate is not usable.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// TLS towards endpoints is not usable.
    #[error(transparent)]
    Scrape(#[from] scrape::TlsError),
    /// A port is not to be had.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    /// Nothing says what to pick from.
    #[error("{0}")]
    NoPool(String),
    /// There is no cluster to watch.
    #[error("cannot reach a cluster")]
    Client(#[from] client::Error),
}

/// What runs, before it is given ports.
struct Parts {
    options: Options,
    config: Arc<Config>,
    endpoints: Arc<Endpoints>,
    objectives: Arc<Objectives>,
    metrics: Arc<Metrics>,
    bits: Arc<Bits>,
    started: Instant,
    pool: Pool,
    /// Name of the pool, also where there is no such object.
    name: String,
}

/// The cluster that is picked from.
struct Cluster {
    client: kube::Client,
    namespace: String,
}

/// Reads the configuration that the options name.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn configuration(options: &Options) -> Result<Config, Error> {
    let (text, name) = match options.config()? {
        ConfigSource::BuiltIn => (String::new(), "built-in".to_owned()),
        ConfigSource::Text(text) => (text, "--config-text".to_owned()),
        ConfigSource::File(path) => (read(&path)?, path),
    };
    Ok(Config::parse(&text, &name, &config_options(options))?)
}

/// Reads the configuration of a file.
///
/// # Errors
/// When it cannot be read or is wrong.
pub fn configuration_of(path: &str, options: &Options) -> Result<Config, Error> {
    let text = read(path)?;
    Ok(Config::parse(&text, path, &config_options(options))?)
}

fn read(path: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::ConfigFile {
        path: path.to_owned(),
        source,
    })
}

fn config_options(options: &Options) -> config::Options {
    let given = |name: &str| options.given(name).map(str::to_owned);
    config::Options {
        experimental: options.on("allow-experimental-plugins"),
        scrape: config::Scrape {
            https: options
                .given("model-server-metrics-scheme")
                .map(|scheme| scheme == "https"),
            path: given("model-server-metrics-path"),
            // 0 stood for the endpoint's own.
            port: options
                .given("model-server-metrics-port")
                .and_then(|port| port.parse().ok())
                .filter(|port| *port > 0),
            insecure: options
                .given("model-server-metrics-https-insecure-skip-verify")
                .map(|_| options.on("model-server-metrics-https-insecure-skip-verify")),
            names: [
                given("total-queued-requests-metric"),
                given("total-running-requests-metric"),
                given("kv-cache-usage-percentage-metric"),
                given("lora-info-metric"),
                given("cache-info-metric"),
            ],
        },
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs until a signal.
///
/// # Errors
/// When it cannot start.
pub async fn run(options: Options) -> Result<(), Error> {
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    tokio::select! {
        result = signals::watch(first.clone(), second.clone()) => result.map_err(Error::Signals),
        result = serve(options, first) => result,
    }
}

/// Runs until `stop`.
///
/// # Errors
/// When it cannot start.
pub async fn serve(options: Options, stop: CancellationToken) -> Result<(), Error> {
    options.check()?;
    for warning in &options.warnings {
        tracing::warn!("{warning}");
    }
    let pool = options.pool(environment(ENV_POOL).as_deref())?;
    let config = configuration(&options)?;
    for warning in &config.warnings {
        tracing::warn!(%warning, "Configuration");
    }
    for notice in &config.notices {
        tracing::warn!(notice, "Configuration has parts without effect");
    }
    let from_file = config.discovery.is_some();
    let name = match &pool {
        Pool::Named(name) => name.clone(),
        Pool::Selected { .. } if from_file => FILE_POOL.to_owned(),
        Pool::Selected { .. } => environment(ENV_POD)
            .and_then(|pod| deployment(&pod))
            .ok_or_else(|| {
                Error::NoPool(
                    "--endpoint-selector needs POD_NAME, the name of this pod of a Deployment"
                        .to_owned(),
                )
            })?,
    };
    let metrics = Arc::new(Metrics::new(
        &name,
        options.on("enable-grpc-stream-metrics"),
    ));
    let parts = Parts {
        config: Arc::new(config),
        endpoints: Arc::new(Endpoints::default()),
        objectives: Arc::new(Objectives::default()),
        metrics,
        bits: Arc::new(Bits::default()),
        started: Instant::now(),
        options,
        pool,
        name,
    };
    parts.run(stop).await
}

/// Name of the Deployment of a pod.
fn deployment(pod: &str) -> Option<String> {
    let mut rest = pod;
    for _ in 0..2 {
        let (front, group) = rest.rsplit_once('-')?;
        let valid = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if group.is_empty() || !group.bytes().all(valid) {
            return None;
        }
        rest = front;
    }
    (!rest.is_empty()).then(|| rest.to_owned())
}

impl Parts {
    async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let tasks = TaskTracker::new();
        let background = CancellationToken::new();
        let _ends_with_us = background.clone().drop_guard();
        let cluster = match self.config.discovery.clone() {
            Some(discovery) => {
                let path = PathBuf::from(&discovery.path);
                files::load(&path, &self.endpoints)?;
                if discovery.watch {
                    let endpoints = Arc::clone(&self.endpoints);
                    tasks.spawn(files::follow(path, endpoints, background.clone()));
                }
                self.bits.live.store(true, Ordering::Relaxed);
                self.bits.protocol.store(true, Ordering::Relaxed);
                None
            }
            None => Some(self.follow_cluster(&tasks, &background).await?),
        };

        let picker = Arc::new(self.picker()?);
        if let Some(queue) = &picker.queue {
            let work = Arc::clone(queue).run(Arc::clone(&picker), background.clone());
            tasks.spawn(work);
        }
        self.scrape(&tasks, &background)?;
        tasks.spawn(self.figures(background.clone()));
        tasks.spawn(forget(Arc::clone(&picker), background.clone()));

        let tls = self.certificates()?;
        if let (Some(tls), true) = (&tls, self.options.on("enable-cert-reload")) {
            tasks.spawn(Arc::clone(tls).follow(background.clone()));
        }
        let bind = |name: &str| listen::bind(([0, 0, 0, 0], self.options.port(name)).into());
        let election = cluster.is_some() && self.options.on("ha-enable-leader-election");
        let health = Health::new(Arc::clone(&self.bits), election);
        let health_listener = bind("grpc-health-port").await?;
        let metrics_listener = bind("metrics-port").await?;
        let listener = bind("grpc-port").await?;
        tracing::info!(
            grpc = self.options.port("grpc-port"),
            health = self.options.port("grpc-health-port"),
            metrics = self.options.port("metrics-port"),
            tls = tls.is_some(),
            "Serving"
        );
        let closing = CancellationToken::new();
        let _closes_with_us = closing.clone().drop_guard();
        let answer = Arc::clone(&picker);
        let serving = tasks.spawn(grpc::serve(
            listener,
            tls,
            move |request| answer.answer(request),
            closing.clone(),
            LAST,
        ));
        tasks.spawn(grpc::serve(
            health_listener,
            None,
            move |request| health.answer(request),
            closing.clone(),
            LAST,
        ));
        let page = Arc::clone(&picker);
        let auth = cluster
            .as_ref()
            .filter(|_| self.options.on("metrics-endpoint-auth"))
            .map(|cluster| Arc::new(Auth::new(cluster.client.clone())));
        tasks.spawn(weir_runtime::http::serve(
            metrics_listener,
            None,
            move |request| {
                let (page, auth) = (Arc::clone(&page), auth.clone());
                async move { web::answer(&page, auth.as_deref(), request).await }
            },
            stop.clone(),
        ));
        // Files have nothing to hand over, so the end is at once.
        let drain = match cluster {
            Some(_) => self.options.duration("drain-timeout"),
            None => Duration::ZERO,
        };
        if let (Some(cluster), true) = (cluster, election) {
            let claim = Claim {
                name: format!("epp-{}-{}.llm-d.ai", cluster.namespace, self.name),
                namespace: cluster.namespace,
                identity: environment(ENV_POD)
                    .unwrap_or_else(|| format!("epp-{:016x}", rand::random::<u64>())),
            };
            let bits = Arc::clone(&self.bits);
            tasks.spawn(leader::strive(cluster.client, claim, bits, stop.clone()));
        }
        stop.cancelled().await;
        self.bits.draining.store(true, Ordering::Relaxed);
        drained(&self.metrics, drain).await;
        closing.cancel();
        let _ = serving.await;
        background.cancel();
        // What is left gives back leases and closes listeners.
        tasks.close();
        let _ = tokio::time::timeout(CLOSING, tasks.wait()).await;
        Ok(())
    }

    /// Follows the cluster's objects until `stop`.
    async fn follow_cluster(
        &self,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Cluster, Error> {
        let client = match self.options.text("kubeconfig") {
            "" => client::infer().await?,
            path => client::from_kubeconfig(Path::new(path)).await?,
        };
        let namespace = match self.options.text("pool-namespace") {
            "" => environment(ENV_NAMESPACE).unwrap_or_else(|| "default".to_owned()),
            namespace => namespace.to_owned(),
        };
        let target = match &self.pool {
            Pool::Named(name) => {
                let group = self.options.text("pool-group").to_owned();
                tasks.spawn(watch::tables(
                    client.clone(),
                    namespace.clone(),
                    name.clone(),
                    group.clone(),
                    Arc::clone(&self.objectives),
                    stop.clone(),
                ));
                watch::Target::Pool {
                    name: name.clone(),
                    group,
                }
            }
            Pool::Selected { selector, ports } => watch::Target::Selector {
                selector: watch::selector::parse(selector).map_err(|part| {
                    Error::NoPool(format!("--endpoint-selector: cannot read {part:?}"))
                })?,
                ports: ports.clone(),
            },
        };
        tracing::info!(pool = self.name, namespace, "Picking from a cluster");
        let sinks = watch::Sinks {
            endpoints: Arc::clone(&self.endpoints),
            objectives: Arc::clone(&self.objectives),
            bits: Arc::clone(&self.bits),
        };
        let work = watch::endpoints(
            client.clone(),
            namespace.clone(),
            target,
            sinks,
            stop.clone(),
        );
        tasks.spawn(work);
        Ok(Cluster { client, namespace })
    }

    fn picker(&self) -> Result<Picker, Error> {
        let options = &self.options;
        let limit = options.message_size("grpc-max-recv-msg-size")?;
        let samples = options.text("decision-samples").parse().unwrap_or(0);
        Ok(Picker {
            scheduler: Scheduler::new(Arc::clone(&self.config)),
            endpoints: Arc::clone(&self.endpoints),
            objectives: Arc::clone(&self.objectives),
            parsers: parsers(&self.config),
            rules: Rules {
                trust_client: options.on("trust-client-kv-params"),
                skip_closes_stream: options.on("skip-closes-stream"),
                tell_served: self
                    .config
                    .plugins
                    .iter()
                    .any(|plugin| matches!(plugin.settings, settings::Settings::ServedVerifier)),
                ..Rules::default()
            },
            metrics: Arc::clone(&self.metrics),
            decisions: Decisions::new(samples),
            message_limit: limit.unwrap_or(DEFAULT_LIMIT),
            heed_subset: !options.on("disable-endpoint-subset-filter"),
            emit_scores: options.on("emit-endpoint-scores"),
            explain_header: options.on("explain-header"),
            health: options.on("health-checking"),
            queue: self.config.flow.enabled.then(|| {
                let controller = Controller::new(self.config.flow.clone(), Duration::ZERO);
                Arc::new(Queue::new(controller, self.started))
            }),
            started: self.started,
            seeds: AtomicU64::new(rand::random()),
        })
    }

    fn certificates(&self) -> Result<Option<Arc<Certificates>>, Error> {
        let options = &self.options;
        let terms = Terms::new(
            options.text("tls-min-version"),
            &options.list("tls-cipher-suites"),
        )?;
        if !options.on("secure-serving") {
            return Ok(None);
        }
        let certificates = match options.text("cert-path") {
            "" => Certificates::self_signed(terms)?,
            dir => Certificates::of_dir(terms, Path::new(dir))?,
        };
        Ok(Some(Arc::new(certificates)))
    }

    fn scrape(&self, tasks: &TaskTracker, stop: &CancellationToken) -> Result<(), Error> {
        let source = self.config.metrics_source();
        let (Some(source), Some(extractor)) = (source, Extractor::of(&self.config)) else {
            return Ok(());
        };
        let tick = self.options.duration("refresh-metrics-interval");
        if tick < SHORTEST_TICK {
            tracing::warn!("--refresh-metrics-interval is raised to {SHORTEST_TICK:?}");
        }
        let path = |file: &Option<String>| file.clone().map(PathBuf::from);
        let own = path(&source.cert).zip(path(&source.key));
        let own = own
            .as_ref()
            .map(|(one, other)| (one.as_path(), other.as_path()));
        let tls = source
            .https
            .then(|| scrape::Tls::new(source.insecure, path(&source.ca).as_deref(), own))
            .transpose()?;
        let plan = scrape::Plan {
            tls,
            path: source.path.clone(),
            port: source.port,
            interval: source.interval.unwrap_or(tick).max(SHORTEST_TICK),
            extractor,
        };
        tasks.spawn(scrape::run(
            plan,
            Arc::clone(&self.endpoints),
            Arc::clone(&self.metrics),
            self.started,
            stop.clone(),
        ));
        Ok(())
    }

    /// Refreshes the pool's averages until `stop`.
    fn figures(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let every = self
            .options
            .duration("refresh-prometheus-metrics-interval")
            .max(Duration::from_millis(100));
        let staleness = self.options.duration("metrics-staleness-threshold");
        let (endpoints, metrics) = (Arc::clone(&self.endpoints), Arc::clone(&self.metrics));
        let started = self.started;
        async move {
            loop {
                metrics.set_figures(data::averages(
                    &endpoints.snapshot(),
                    started.elapsed(),
                    staleness,
                ));
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(every) => {}
                }
            }
        }
    }
}

/// Waits for `limit`, or until there was no stream for a while: gateways have seen by then that this replica is not
/// ready.
async fn drained(metrics: &Metrics, limit: Duration) {
    // The runtime's clock, which tests can wind.
    let begun = tokio::time::Instant::now();
    let mut busy = begun;
    while begun.elapsed() < limit && busy.elapsed() < QUIET {
        if metrics.streams.load(Ordering::Relaxed) > 0 {
            busy = tokio::time::Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Tells the scheduler of endpoints that are gone, until `stop`.
async fn forget(picker: Arc<Picker>, stop: CancellationToken) {
    let mut changes = picker.endpoints.subscribe();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() {
                return;
            },
        }
        let snapshot = changes.borrow_and_update().clone();
        tracing::info!(endpoints = snapshot.len(), "Endpoints changed");
        picker.scheduler.endpoints_changed(&snapshot);
    }
}

fn parsers(config: &Config) -> Parsers {
    let known = config.parsers.iter().filter_map(|parser| match parser {
        settings::Parser::OpenAi => Some(Parser::OpenAi),
        settings::Parser::Anthropic => Some(Parser::Anthropic),
        settings::Parser::VllmHttp => Some(Parser::VllmHttp),
        settings::Parser::Passthrough => Some(Parser::Passthrough),
        other => {
            tracing::warn!(parser = ?other, "This build has no such parser: it is passed over");
            None
        }
    });
    Parsers::new(known)
}

/// An error as one line.
#[must_use]
pub fn one_line(error: &Error) -> String {
    errors::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_s_deployment_is_its_name_without_two_groups() {
        assert_eq!(deployment("my-epp-7d9f8-x2x4z").as_deref(), Some("my-epp"));
        for other in ["epp", "a-b", "-a-b", "epp-A-b", "epp--b"] {
            assert_eq!(deployment(other), None, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_when_nobody_came_for_a_while_and_at_its_limit() {
        const LIMIT: Duration = Duration::from_secs(30);
        const STEP: Duration = Duration::from_millis(50);
        // How long a stream is open, and how long the drain takes.
        let rows = [
            (Duration::ZERO, LIMIT, QUIET),
            (
                Duration::from_secs(5),
                LIMIT,
                Duration::from_secs(5) + QUIET,
            ),
            (LIMIT * 2, LIMIT, LIMIT),
            (LIMIT * 2, Duration::ZERO, Duration::ZERO),
        ];
        for (open, limit, expected) in rows {
            let metrics = Arc::new(Metrics::new("pool", false));
            let streams = i64::from(open > Duration::ZERO);
            metrics.streams.store(streams, Ordering::Relaxed);
            let ends = Arc::clone(&metrics);
            let mut stream = tokio::task::JoinSet::new();
            stream.spawn(async move {
                tokio::time::sleep(open).await;
                ends.streams.store(0, Ordering::Relaxed);
            });
            let begun = tokio::time::Instant::now();
            drained(&metrics, limit).await;
            let took = begun.elapsed();
            assert!(took.abs_diff(expected) <= STEP, "{open:?}: {took:?}");
        }
    }
}
