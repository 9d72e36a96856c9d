//! What a container runs here: decided by the first word of its command, then by its image.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde_json::Value;

use crate::env::Environment;
use crate::paths::{self, Mount};
use crate::{EngineChoice, events};

/// The decision for one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Start this command line.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Whether it is a real engine, whose environment is checked.
        real_engine: bool,
        /// Ports of the pod that lead to sockets of the engine.
        forwards: Vec<u16>,
    },
    /// Nothing needs to run: report it as completed with this message.
    Skip(String),
    /// Nothing needs to run once the second path is a link to the first.
    Link(PathBuf, PathBuf),
    /// It may or can not run here, for this reason.
    NotRunnable(String),
}

/// What the decision depends on besides the container.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The engine chosen for this instance.
    pub engine: &'a EngineChoice,
    /// This program.
    pub program: &'a std::path::Path,
    /// Whether other programs may run.
    pub allow_host_commands: bool,
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// Directory of the pod, for sockets.
    pub directory: &'a std::path::Path,
    /// The pod's mounts, of this container.
    pub mounts: &'a [Mount],
}

/// Programs and images that are the endpoint picker.
const PICKER: [&str; 3] = [
    "epp",
    "llm-d-router-endpoint-picker",
    "llm-d-inference-scheduler",
];

/// Programs and images that are the sidecar of a decode pod.
const SIDECAR: [&str; 3] = [
    "pd-sidecar",
    "llm-d-routing-sidecar",
    "llm-d-router-disagg-sidecar",
];

/// Commands of this program that a manifest may run. Others start programs or write files where the
/// manifest says.
const COMMANDS: [&str; 4] = ["engine", "epp", "sidecar", LAUNCH];
/// The command that starts the engine named after `--`.
const LAUNCH: &str = "launch";

/// Decides what `container` runs.
pub fn decide(container: &Value, env: &Environment, around: Surroundings<'_>) -> Job {
    let words = |field: &str| -> Vec<String> {
        let list = container[field].as_array();
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|word| paths::replace(&env.expand(word), around.mounts))
            .collect()
    };
    let image = container["image"].as_str().unwrap_or_default();
    let image = image_name(image);
    if image == "storage-initializer" || container["name"] == "storage-initializer" {
        return match around.engine {
            EngineChoice::Simulated => Job::Skip("not downloaded: simulated engine".to_owned()),
            EngineChoice::Vllm(_) => link(&words("args")),
        };
    }
    let command = words("command");
    let arguments = words("args");
    let mut all = command.clone();
    if command.is_empty() {
        all.extend(entrypoint(image).iter().map(|word| (*word).to_owned()));
    }
    all.extend(arguments);
    if let Some(job) = known(&all, around) {
        return job;
    }
    let first = base(&all);
    if around.allow_host_commands {
        if all.is_empty() {
            return Job::NotRunnable(format!(
                "image {image} has an entrypoint that is not known here; set the container's command"
            ));
        }
        return Job::Run {
            argv: all,
            real_engine: false,
            forwards: Vec::new(),
        };
    }
    let what = if first.is_empty() {
        format!("image {image}")
    } else {
        format!("command {first:?}")
    };
    Job::NotRunnable(format!(
        "{what} is not one of weir's own components, and manifests do not run programs of this machine by default; \
         start weir with --allow-host-commands to run it as a process of your user"
    ))
}

/// The base name of the first word.
fn base(words: &[String]) -> &str {
    let first = words.first().map(String::as_str).unwrap_or_default();
    first.rsplit('/').next().unwrap_or_default()
}

/// What a command line runs whose first word is known here.
fn known(words: &[String], around: Surroundings<'_>) -> Option<Job> {
    let after = |count: usize| words.iter().skip(count).cloned();
    let first = base(words);
    let second = words.get(1).map(String::as_str).unwrap_or_default();
    let python = first == "python" || first.starts_with("python3");
    let module = words
        .get(2)
        .is_some_and(|word| word.starts_with("vllm.entrypoints"));
    if python && second == "-m" && module {
        return Some(engine(
            ["serve".to_owned()].into_iter().chain(after(3)),
            around,
        ));
    }
    if first == "llm-d-inference-sim" {
        return Some(engine(
            ["serve".to_owned()].into_iter().chain(after(1)),
            around,
        ));
    }
    if first == "vllm" {
        return Some(engine(after(1), around));
    }
    if SIDECAR.contains(&first) {
        return Some(own(
            ["sidecar".to_owned()].into_iter().chain(after(1)),
            around,
        ));
    }
    if PICKER.contains(&first) {
        return Some(own(["epp".to_owned()].into_iter().chain(after(1)), around));
    }
    if first != "weir" {
        return None;
    }
    if second == LAUNCH {
        return Some(launch(words, around));
    }
    if !around.allow_host_commands && !COMMANDS.contains(&second) {
        return Some(Job::NotRunnable(format!(
            "weir {second} is not run for a manifest; --allow-host-commands lifts this"
        )));
    }
    Some(own(after(1), around))
}

/// This program with `words`.
fn own(words: impl Iterator<Item = String>, around: Surroundings<'_>) -> Job {
    let program = around.program.to_string_lossy().into_owned();
    Job::Run {
        argv: [program].into_iter().chain(words).collect(),
        real_engine: false,
        forwards: Vec::new(),
    }
}

/// The launcher, and what it becomes: only what a container could run without it.
fn launch(words: &[String], around: Surroundings<'_>) -> Job {
    let end = words.iter().position(|word| word == "--");
    let (options, inner) = words.split_at(end.map_or(words.len(), |end| end + 1));
    if options.iter().any(|word| word.starts_with("--install")) {
        return Job::Skip("not installed: containers here run this very program".to_owned());
    }
    let host = around.allow_host_commands && !inner.is_empty();
    let job = known(inner, around).or_else(|| {
        host.then(|| Job::Run {
            argv: inner.to_vec(),
            real_engine: false,
            forwards: Vec::new(),
        })
    });
    match job {
        Some(Job::Run {
            argv,
            real_engine,
            forwards,
        }) => {
            let program = around.program.to_string_lossy().into_owned();
            let options = options.iter().skip(1).cloned();
            Job::Run {
                argv: [program].into_iter().chain(options).chain(argv).collect(),
                real_engine,
                forwards,
            }
        }
        Some(other) => other,
        None => Job::NotRunnable(format!(
            "weir launch starts an engine here, not {:?}; --allow-host-commands lifts this",
            base(inner)
        )),
    }
}

/// A model that lies on this machine is not copied.
fn link(arguments: &[String]) -> Job {
    let path = arguments
        .first()
        .and_then(|uri| uri.strip_prefix("file://"));
    match (path, arguments.get(1)) {
        (Some(path), Some(to)) => Job::Link(PathBuf::from(path), PathBuf::from(to)),
        _ => Job::NotRunnable(
            "model downloads are not part of this build yet; name the model by a file:// or pvc:// URI"
                .to_owned(),
        ),
    }
}

/// Last path segment of an image, without tag and digest.
fn image_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(':').next().unwrap_or(last)
}

/// The entrypoint of an image known here.
fn entrypoint(image: &str) -> &'static [&'static str] {
    match image {
        "llm-d"
        | "llm-d-cuda"
        | "llm-d-cpu"
        | "llm-d-rocm"
        | "vllm-openai"
        | "vllm-openai-cpu"
        | "vllm-openai-rocm"
        | "vllm-cpu-release-repo"
        | "vllm-tpu" => &["vllm", "serve"],
        "llm-d-inference-sim" => &["llm-d-inference-sim"],
        "weir" => &["weir"],
        "llm-d-routing-sidecar" | "llm-d-router-disagg-sidecar" => &["pd-sidecar"],
        "llm-d-inference-scheduler" | "llm-d-router-endpoint-picker" => &["epp"],
        _ => &[],
    }
}

fn engine(rest: impl Iterator<Item = String>, around: Surroundings<'_>) -> Job {
    match around.engine {
        EngineChoice::Simulated => own(["engine".to_owned()].into_iter().chain(rest), around),
        EngineChoice::Vllm(program) => real_engine(program, rest.collect(), around),
    }
}

fn real_engine(program: &std::path::Path, rest: Vec<String>, around: Surroundings<'_>) -> Job {
    let socket = |port| events::socket(around.directory, port);
    let named = |port| socket(port).to_string_lossy().into_owned();
    let (rest, forwards) = weir_vllm::events::put_behind(rest, named);
    let mut rest = with_host(rest, around.ip);
    let parsed = weir_vllm::parse_argv(&rest);
    // A beginning of the name is the flag too; of several hosts the last one counts.
    let own = around.ip.to_string();
    let host = parsed.as_ref().ok().and_then(|parsed| parsed.value("host"));
    if host.is_some_and(|host| host != own && is_the_pod(host)) {
        rest.extend(["--host".to_owned(), own]);
    }
    if !around.allow_host_commands
        && let Some(message) = parsed.map_or_else(
            |error| Some(format!("the engine's command line is not usable: {error}")),
            |parsed| {
                let sockets: Vec<PathBuf> = forwards.iter().map(|port| socket(*port)).collect();
                refused(&parsed, around, &sockets)
            },
        )
    {
        return Job::NotRunnable(message);
    }
    let mut argv = vec![program.to_string_lossy().into_owned()];
    argv.extend(rest);
    Job::Run {
        argv,
        real_engine: true,
        forwards,
    }
}

/// What of a real engine's command line needs `--allow-host-commands`.
fn refused(
    parsed: &weir_vllm::ServeArgs,
    around: Surroundings<'_>,
    sockets: &[PathBuf],
) -> Option<String> {
    let own = around.ip.to_string();
    if let Some(host) = parsed.value("host")
        && host != own
        && !is_the_pod(host)
    {
        return Some(format!(
            "--host {host:?} is not the pod's address {own}; leave it out, or --allow-host-commands lifts this"
        ));
    }
    let inside = |path: &str| {
        let path = PathBuf::from(path);
        let straight = !path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        let mut mounts = around.mounts.iter();
        straight && (sockets.contains(&path) || mounts.any(|mount| path.starts_with(&mount.host)))
    };
    let refused = weir_vllm::safety::refused(parsed, &inside);
    let first = refused.first()?;
    Some(format!("{first}; --allow-host-commands lifts this"))
}

/// Whether a host stands for the pod itself: every address of it, or its own loopback. On one network
/// for all pods, the second pod could not listen there, and no probe would find the first.
fn is_the_pod(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let own = bare.parse::<IpAddr>().is_ok_and(|address| {
        let address = address.to_canonical();
        address.is_unspecified() || address.is_loopback()
    });
    own || bare.is_empty() || bare.eq_ignore_ascii_case("localhost")
}

/// Puts the pod's address in place of a missing `--host`, or one that [stands for the pod](is_the_pod).
fn with_host(words: Vec<String>, ip: Ipv4Addr) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(words.len() + 2);
    let mut seen = false;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if let Some(host) = word.strip_prefix("--host=") {
            seen = true;
            out.push(if is_the_pod(host) {
                format!("--host={ip}")
            } else {
                word
            });
        } else if word == "--host" {
            seen = true;
            let host = words.next().unwrap_or_default();
            out.push(word);
            out.push(if is_the_pod(&host) {
                ip.to_string()
            } else {
                host
            });
        } else {
            out.push(word);
        }
    }
    if !seen {
        out.push("--host".to_owned());
        out.push(ip.to_string());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(container: &Value, engine: &EngineChoice, allow: bool) -> Job {
        let around = Surroundings {
            engine,
            program: std::path::Path::new("/bin/weir"),
            allow_host_commands: allow,
            ip: Ipv4Addr::new(127, 64, 1, 1),
            directory: std::path::Path::new("/d/v/1"),
            mounts: &[],
        };
        decide(container, &Environment::default(), around)
    }

    fn line(job: Job) -> String {
        match job {
            Job::Run { argv, .. } => argv.join(" "),
            Job::Skip(message) => format!("skip: {message}"),
            Job::Link(from, to) => format!("link: {} {}", from.display(), to.display()),
            Job::NotRunnable(message) => format!("not: {message}"),
        }
    }

    #[test]
    fn the_first_word_then_the_image_decide() {
        let rows = [
            (
                json!({"command": ["vllm", "serve", "/m"], "args": ["--port", "1"]}),
                "/bin/weir engine serve /m --port 1",
            ),
            (
                json!({"command": ["/opt/x/vllm", "serve"]}),
                "/bin/weir engine serve",
            ),
            (
                json!({"command": ["python3", "-m", "vllm.entrypoints.openai.api_server", "--port=1"]}),
                "/bin/weir engine serve --port=1",
            ),
            (
                json!({"image": "docker.io/vllm/vllm-openai:v1@sha256:ab", "args": ["m"]}),
                "/bin/weir engine serve m",
            ),
            (
                json!({"image": "a/storage-initializer:v1"}),
                "skip: not downloaded: simulated engine",
            ),
            (
                json!({"image": "a/llm-d-routing-sidecar:v1", "args": ["--port=8000"]}),
                "/bin/weir sidecar --port=8000",
            ),
            (
                json!({"command": ["/app/pd-sidecar", "--port=8000"]}),
                "/bin/weir sidecar --port=8000",
            ),
            (
                json!({"command": ["/opt/weir/weir", "sidecar", "--port=8000"]}),
                "/bin/weir sidecar --port=8000",
            ),
            (
                json!({"command": ["weir", "up"]}),
                "not: weir up is not run for a manifest; --allow-host-commands lifts this",
            ),
            (
                json!({"command": ["weir", "node-shim", "--", "/bin/sh"]}),
                "not: weir node-shim is not run for a manifest; --allow-host-commands lifts this",
            ),
            (
                json!({"command": ["/weir", "launch", "--install", "/opt/weir/weir"]}),
                "skip: not installed: containers here run this very program",
            ),
            (
                json!({"command": ["/opt/weir/weir", "launch", "--wait-for-leader", "--"],
                       "args": ["vllm", "serve", "m", "--", "x"]}),
                "/bin/weir launch --wait-for-leader -- /bin/weir engine serve m -- x",
            ),
            (
                json!({"command": ["weir", "launch", "--", "/bin/sh", "-c", "true"]}),
                "not: weir launch starts an engine here, not \"sh\"; --allow-host-commands lifts this",
            ),
            (
                json!({"command": ["weir", "launch", "--", "weir", "node-stage", "--ppid"]}),
                "not: weir node-stage is not run for a manifest; --allow-host-commands lifts this",
            ),
            (
                json!({"command": ["/app/pd-sidecar", "--port=8000"], "args": ["--vllm-port=8001"]}),
                "/bin/weir sidecar --port=8000 --vllm-port=8001",
            ),
            (
                json!({"image": "ghcr.io/llm-d/llm-d-router-disagg-sidecar:v0.10.0", "args": ["--port=1"]}),
                "/bin/weir sidecar --port=1",
            ),
        ];
        for (container, wanted) in rows {
            assert_eq!(
                line(job(&container, &EngineChoice::Simulated, false)),
                wanted,
                "{container}"
            );
        }
        let shell = json!({"command": ["/bin/sh", "-c", "true"]});
        assert!(
            line(job(&shell, &EngineChoice::Simulated, false)).contains("--allow-host-commands")
        );
        assert_eq!(
            line(job(&shell, &EngineChoice::Simulated, true)),
            "/bin/sh -c true"
        );
    }

    #[test]
    fn a_real_engine_listens_on_the_pods_address() {
        let vllm = EngineChoice::Vllm("/usr/bin/vllm".into());
        let rows = [
            (
                json!({"command": ["vllm", "serve", "m"]}),
                "/usr/bin/vllm serve m --host 127.64.1.1",
            ),
            (
                json!({"command": ["vllm", "serve", "m", "--host=0.0.0.0"]}),
                "/usr/bin/vllm serve m --host=127.64.1.1",
            ),
            (
                json!({"command": ["vllm", "serve", "m", "--host", "localhost"]}),
                "/usr/bin/vllm serve m --host 127.64.1.1",
            ),
            (
                json!({"command": ["vllm", "serve", "m", "--host=127.0.0.1", "--host", "[::1]"]}),
                "/usr/bin/vllm serve m --host=127.64.1.1 --host 127.64.1.1",
            ),
            (
                json!({"command": ["vllm", "serve", "m", "--host=::ffff:0.0.0.0"]}),
                "/usr/bin/vllm serve m --host=127.64.1.1",
            ),
            (
                json!({"command": ["vllm", "serve", "m", "--host", "192.0.2.1"]}),
                "not: --host \"192.0.2.1\" is not the pod's address 127.64.1.1; leave it out, or --allow-host-commands lifts this",
            ),
        ];
        for (container, wanted) in rows {
            assert_eq!(line(job(&container, &vllm, false)), wanted, "{container}");
        }
        // The beginning of a flag's name is the flag.
        let short = json!({"command": ["vllm", "serve", "m", "--hos", "0.0.0.0"]});
        let last = line(job(&short, &vllm, false));
        assert!(last.ends_with(" --host 127.64.1.1"), "{last}");
        let events = json!({"command": ["vllm", "serve", "m", "--kv-events-config", "{\"endpoint\":\"tcp://*:5557\"}"]});
        let Job::Run { argv, forwards, .. } = job(&events, &vllm, false) else {
            panic!("not run");
        };
        assert_eq!(argv[4], r#"{"endpoint":"ipc:///d/v/1/kv-5557"}"#);
        assert_eq!(forwards, [5557]);
        let launched = json!({"command": ["weir", "launch", "--ranks-per-node=2", "--", "vllm", "serve", "m"]});
        assert_eq!(
            line(job(&launched, &vllm, false)),
            "/bin/weir launch --ranks-per-node=2 -- /usr/bin/vllm serve m --host 127.64.1.1"
        );
        let local = json!({"name": "storage-initializer", "args": ["file:///m", "/v"]});
        assert_eq!(line(job(&local, &vllm, false)), "link: /m /v");
        let unsafe_flag = json!({"command": ["vllm", "serve", "m", "--trust-remote-code"]});
        assert!(line(job(&unsafe_flag, &vllm, false)).starts_with("not: "));
    }
}
