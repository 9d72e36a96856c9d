//! Wires the components of one machine together and runs them until a signal.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::{self, ObjectKey};
use crate::await_ready::{self, Progress};
use crate::claim::{self, AddressBlock, DataDir};
use crate::files;
use crate::hooks::LocalHooks;
use crate::options::{Engine, Options};
use crate::platform;
use crate::report::Report;
use crate::watch::{Change, Watch};

/// How long `--exit-when-ready` waits at most.
pub const READY_LIMIT: Duration = Duration::from_secs(600);

const POLL: Duration = Duration::from_millis(50);

/// How often watched files are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How often services are looked at when all are ready.
const IDLE: Duration = Duration::from_secs(5);

/// Why an instance did not start or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Error {
    #[error(transparent)]
    Claim(#[from] claim::Error),
    #[error("cannot listen on {address}{holder}; stop what uses it or give another --listen")]
    Listen {
        address: SocketAddr,
        holder: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the API store did not start")]
    Store(#[source] weir_apiserver::Error),
    #[error("cannot reach the API store")]
    Client(#[from] weir_runtime::client::Error),
    #[error("cannot install the platform's objects")]
    Platform(#[source] platform::Error),
    #[error("cannot make the gateway's objects")]
    Gateway(#[source] weir_gateway::Error),
    #[error("cannot write the kubeconfig to {path:?}")]
    Kubeconfig {
        path: PathBuf,
        #[source]
        source: weir_runtime::certs::Error,
    },
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("the {0} ended; its error stands in the log")]
    ComponentEnded(&'static str),
    #[error("--engine vllm: no vllm is on PATH; install vLLM or use --engine sim")]
    NoVllm,
}

/// Runs one machine as `options` say. Returns status 0 after a signal or when everything asked for
/// is ready, else 1.
pub fn up(options: &Options) -> ExitCode {
    weir_runtime::install_crypto();
    weir_runtime::logs::init("warn", weir_runtime::logs::Format::Text);
    let report = Report::default();
    let sources = match files::read(&options.files) {
        Ok(sources) => sources,
        Err(errors) => {
            errors.iter().for_each(|error| report.failed(error));
            return ExitCode::FAILURE;
        }
    };
    let findings = crate::hooks::review(&sources);
    if !findings.is_empty() {
        findings.iter().for_each(|finding| report.problem(finding));
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            report.failed(&error);
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(Box::pin(run(options, &sources, &report)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report.failed(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options, sources: &[files::Source], report: &Report) -> Result<bool, Error> {
    raise_file_limit();
    let (engine, engine_words) = choose_engine(options.engine)?;
    // Port 0 has no directory of its own until it is bound; any other port names it, and its lock says who
    // holds it better than the port does.
    let unbound = options.listen.port() == 0 && options.data_dir.is_none();
    let early = if unbound {
        Some(listen_on(options.listen).await?)
    } else {
        None
    };
    let port = early
        .as_ref()
        .and_then(|listener| listener.local_addr().ok());
    let directory = match &options.data_dir {
        Some(path) => path.clone(),
        None => claim::default_data_dir(port.unwrap_or(options.listen).port())?,
    };
    let data = DataDir::claim(&directory)?;
    let block = AddressBlock::claim()?;
    let listener = match early {
        Some(listener) => listener,
        None => listen_on(options.listen).await?,
    };
    let listen = listener.local_addr().unwrap_or(options.listen);

    let stop = CancellationToken::new();
    let kill = CancellationToken::new();
    let store_stop = CancellationToken::new();
    let server = weir_apiserver::start(
        weir_apiserver::Options {
            listen: options.api_listen,
            loopback_block: block.second_byte(),
            hooks: Arc::new(LocalHooks),
            ..weir_apiserver::Options::new(data.path().to_owned())
        },
        store_stop.clone(),
    )
    .await
    .map_err(Error::Store)?;
    let kubeconfig = server.kubeconfig_path();
    if let Some(path) = &options.kubeconfig {
        weir_runtime::certs::write_private(path, &server.kubeconfig()).map_err(|source| {
            Error::Kubeconfig {
                path: path.clone(),
                source,
            }
        })?;
    }
    report.started(&engine_words, data.path(), server.address, listen);
    let client = weir_runtime::client::from_kubeconfig(&kubeconfig).await?;
    platform::install(&client).await.map_err(Error::Platform)?;
    weir_gateway::ensure_default_objects(&client, listen)
        .await
        .map_err(Error::Gateway)?;

    let mut components: JoinSet<&'static str> = JoinSet::new();
    {
        let (client, stop) = (client.clone(), stop.clone());
        components.spawn(async move {
            ended(
                "workload controllers",
                weir_workloads::run(client, stop).await,
            )
        });
    }
    {
        let (client, stop) = (client.clone(), stop.clone());
        components.spawn(async move {
            crate::accounts::run(client, stop).await;
            "service accounts"
        });
    }
    {
        let (client, stop) = (client.clone(), stop.clone());
        let node = node_options(
            options,
            data.path(),
            block.second_byte(),
            engine,
            &kubeconfig,
        );
        components.spawn(async move { ended("node", weir_node::run(client, node, stop).await) });
    }
    {
        let (client, stop) = (client.clone(), stop.clone());
        let settings = weir_controller::Options::default();
        components.spawn(async move {
            ended(
                "controller",
                weir_controller::run(client, settings, stop).await,
            )
        });
    }
    {
        let (client, stop) = (client.clone(), stop.clone());
        let settings = weir_gateway::Options::new(listen);
        components.spawn(async move {
            ended(
                "gateway",
                weir_gateway::run(client, listener, settings, stop).await,
            )
        });
    }
    let signals = weir_runtime::signals::watch(stop.clone(), kill.clone());
    tokio::pin!(signals);

    let work = follow(&client, sources, options, &kubeconfig, report);
    tokio::pin!(work);
    let mut signals_done = false;
    let outcome = loop {
        tokio::select! {
            result = &mut signals, if !signals_done => {
                signals_done = true;
                result.map_err(Error::Signals)?;
            }
            () = stop.cancelled() => break Ok(true),
            finished = &mut work => break Ok(finished),
            Some(component) = components.join_next() => {
                // During a stop components end, and that is what was asked for.
                break if stop.is_cancelled() {
                    Ok(true)
                } else {
                    Err(Error::ComponentEnded(component.unwrap_or("component")))
                };
            }
        }
    };
    if stop.is_cancelled() {
        report.stopping();
    }
    stop.cancel();
    // Components end by themselves within the node's grace period; a second signal ends the wait.
    let drained = async { while components.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => {}
        _ = &mut signals, if !signals_done => {}
        () = tokio::time::sleep(Duration::from_secs(15)) => {}
    }
    drop(components);
    store_stop.cancel();
    server.stopped().await;
    outcome
}

async fn listen_on(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            address,
            holder: if source.kind() == io::ErrorKind::AddrInUse {
                ", another program uses it"
            } else {
                ""
            },
            source,
        })
}

/// Applies the files, then waits and reports. Returns whether everything succeeded; without
/// `exit_when_ready` it returns only on a refusal of a file.
async fn follow(
    client: &kube::Client,
    sources: &[files::Source],
    options: &Options,
    kubeconfig: &Path,
    report: &Report,
) -> bool {
    let exit_when_ready = options.exit_when_ready;
    let mut watch = (options.watch && !exit_when_ready)
        .then(|| Watch::new(&options.files, sources))
        .filter(|watch| !watch.is_empty());
    let mut services: BTreeMap<ObjectKey, Option<Progress>> = BTreeMap::new();
    for source in sources {
        match apply::apply(client, &source.document.value).await {
            Ok(key) => {
                report.applied(&key.kind, &key.name);
                if key.kind == "LLMInferenceService" {
                    services.insert(key, None);
                }
            }
            Err(error) => {
                report.problem(&format!(
                    "{}: {}",
                    source.path,
                    crate::report::chain(&error)
                ));
                return false;
            }
        }
    }
    if services.is_empty() {
        report.kubeconfig(kubeconfig);
        if exit_when_ready {
            return true;
        }
    }
    let started = tokio::time::Instant::now();
    let mut announced = services.is_empty();
    let mut told = announced;
    let mut observed: Option<tokio::time::Instant> = None;
    let mut looked = started;
    loop {
        // Quick while something is awaited, seldom when all is well: idle must cost nothing.
        let due = !announced || observed.is_none_or(|at| at.elapsed() >= IDLE);
        if due {
            observed = Some(tokio::time::Instant::now());
        }
        for (key, last) in services.iter_mut().filter(|_| due) {
            let now = match await_ready::observe(client, &key.namespace, &key.name).await {
                Ok(now) => now,
                Err(kube::Error::Api(status)) => Progress::Waiting(status.message.clone()),
                Err(error) => Progress::Waiting(crate::report::chain(&error)),
            };
            let now = match now {
                Progress::Ready {
                    url: Some(url),
                    model,
                } if !matches!(last, Some(Progress::Ready { .. })) => {
                    match await_ready::reachable(&url).await {
                        Ok(()) => Progress::Ready {
                            url: Some(url),
                            model,
                        },
                        Err(problem) => Progress::Waiting(format!("an answer at {url}: {problem}")),
                    }
                }
                now => now,
            };
            if last.as_ref() == Some(&now) {
                continue;
            }
            match &now {
                Progress::Waiting(what) => report.awaited(&key.name, what),
                Progress::Ready {
                    url: Some(url),
                    model,
                } => report.ready(&key.name, url, model),
                Progress::Ready { url: None, model } => {
                    report.ready_without_address(&key.name, model)
                }
            }
            *last = Some(now);
        }
        let ready = |progress: &Option<Progress>| matches!(progress, Some(Progress::Ready { .. }));
        if !announced && services.values().all(ready) {
            announced = true;
            if !told {
                told = true;
                report.kubeconfig(kubeconfig);
            }
            if exit_when_ready {
                return ask_each(&services, report).await;
            }
        }
        if exit_when_ready && started.elapsed() > READY_LIMIT {
            report.problem("not every service became Ready within 10 minutes");
            return false;
        }
        tokio::time::sleep(match (announced, &watch) {
            (false, _) => POLL,
            (true, Some(_)) => LOOK,
            (true, None) => IDLE,
        })
        .await;
        let look = looked.elapsed() >= LOOK;
        if let Some(mut looking) = watch.take_if(|_| look) {
            looked = tokio::time::Instant::now();
            // Files may lie on a slow disk.
            let polled = tokio::task::spawn_blocking(move || {
                let change = looking.poll();
                (looking, change)
            });
            let Ok((looking, change)) = polled.await else {
                continue;
            };
            watch = Some(looking);
            if let Some(change) = change {
                follow_change(client, change, &mut services, report).await;
                announced = services.values().all(ready);
            }
        }
    }
}

/// Does what a change of the files asks for. What the store refuses is said, and the rest is done.
async fn follow_change(
    client: &kube::Client,
    change: Change,
    services: &mut BTreeMap<ObjectKey, Option<Progress>>,
    report: &Report,
) {
    if !change.problems.is_empty() {
        change.problems.iter().for_each(|text| report.problem(text));
        report.kept();
        return;
    }
    for (file, document) in &change.apply {
        match apply::apply(client, document).await {
            Ok(key) => {
                report.applied(&key.kind, &key.name);
                if key.kind == "LLMInferenceService" {
                    services.insert(key, None);
                }
            }
            Err(error) => {
                report.problem(&format!("{file}: {}", crate::report::chain(&error)));
            }
        }
    }
    for document in &change.delete {
        match apply::delete(client, document).await {
            Ok(key) => {
                report.deleted(&key.kind, &key.name);
                services.remove(&key);
            }
            Err(error) => report.problem(&crate::report::chain(&error)),
        }
    }
}

async fn ask_each(services: &BTreeMap<ObjectKey, Option<Progress>>, report: &Report) -> bool {
    let mut all = true;
    for (key, progress) in services {
        let Some(Progress::Ready {
            url: Some(url),
            model,
        }) = progress
        else {
            continue;
        };
        if let Err(problem) = await_ready::ask_once(url, model).await {
            report.problem(&format!(
                "{} is Ready but did not answer: {problem}",
                key.name
            ));
            all = false;
        }
    }
    all
}

fn ended<E: std::error::Error>(component: &'static str, result: Result<(), E>) -> &'static str {
    if let Err(error) = result {
        tracing::error!(component, error = %crate::report::chain(&error), "Component failed");
    }
    component
}

fn node_options(
    options: &Options,
    data_dir: &Path,
    loopback_block: u8,
    engine: weir_node::EngineChoice,
    kubeconfig: &Path,
) -> weir_node::Options {
    weir_node::Options {
        node_name: "local".to_owned(),
        data_dir: data_dir.to_owned(),
        loopback_block,
        engine,
        program: options.program.clone(),
        kubeconfig: kubeconfig.to_owned(),
        allow_host_commands: options.allow_host_commands,
        allow_paths: options.allow_paths.clone(),
    }
}

/// Chooses the engine, and says why in words for the first line of output.
fn choose_engine(asked: Engine) -> Result<(weir_node::EngineChoice, String), Error> {
    let on_path = || {
        std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|dir| dir.join("vllm"))
                .find(|file| file.is_file())
        })
    };
    match asked {
        Engine::Simulated => Ok((
            weir_node::EngineChoice::Simulated,
            "simulated (asked for)".to_owned(),
        )),
        Engine::Vllm => {
            let program = on_path().ok_or(Error::NoVllm)?;
            let words = format!("{} (asked for)", program.display());
            Ok((weir_node::EngineChoice::Vllm(program), words))
        }
        Engine::Auto => match on_path() {
            Some(program) => {
                let words = format!("{} (found on PATH)", program.display());
                Ok((weir_node::EngineChoice::Vllm(program), words))
            }
            None => Ok((
                weir_node::EngineChoice::Simulated,
                "simulated (no vllm on PATH; answers carry x-weir-engine: simulated)".to_owned(),
            )),
        },
    }
}

/// Raises the open-file limit to the hard limit: every pod, connection and watch needs some.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!(%error, "Open-file limit stays");
    }
}
