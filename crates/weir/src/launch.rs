//! `weir launch`: starts an engine with what only its pod knows, and becomes it.
//!
//! It runs inside engine images, from a volume where `--install` put it, and uses no shell: it waits
//! for the leader's address, computes the first rank, looks for network devices, fills the results
//! into words and environment, and execs. What comes of the facts is decided in `weir_vllm::launch`.

use std::ffi::{OsStr, OsString};
use std::net::ToSocketAddrs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Args;
use weir_api::names::lws;
use weir_vllm::launch::{self, Device, Gid};

/// Starts an engine with what only its pod knows: rank, leader, network devices
#[derive(Args)]
pub(crate) struct Arguments {
    /// Copies this program to PATH and ends
    #[arg(long, value_name = "PATH", conflicts_with = "words")]
    install: Option<PathBuf>,
    /// Waits until LWS_LEADER_ADDRESS resolves, DP_ADDRESS_RESOLVE_ATTEMPTS times a second apart at
    /// most, and puts the address where the words have the name
    #[arg(long)]
    wait_for_leader: bool,
    /// Data-parallel ranks of each node: $(WEIR_START_RANK) in the words is LWS_WORKER_INDEX times N
    #[arg(long, value_name = "N")]
    ranks_per_node: Option<u32>,
    /// Finds RoCE devices and sets the variables of NCCL, NVSHMEM and UCX that are not set
    #[arg(long)]
    infer_roce: bool,
    /// Where the kernel lists the devices
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/sys/class/infiniband",
        hide = true
    )]
    infiniband: PathBuf,
    /// The engine's command line
    #[arg(last = true, value_name = "WORD", required_unless_present = "install")]
    words: Vec<OsString>,
}

const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
/// Addresses of one device that are read at most.
const MOST_GIDS: u32 = 1024;

/// Runs the command; returns only when there is nothing to become, or it could not be started.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    if let Some(path) = &arguments.install {
        return match install(path) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("cannot install to {}: {error}", path.display()));
                ExitCode::FAILURE
            }
        };
    }
    match prepare(arguments) {
        Ok(mut command) => {
            let error = command.exec();
            let program = command.get_program().to_string_lossy().into_owned();
            say(&format!("cannot start {program}: {error}"));
            ExitCode::from(match error.kind() {
                std::io::ErrorKind::NotFound => 127,
                _ => 126,
            })
        }
        Err(message) => {
            say(&message);
            ExitCode::from(2)
        }
    }
}

fn prepare(arguments: &Arguments) -> Result<Command, String> {
    let rank = match arguments.ranks_per_node {
        Some(per_node) => {
            let index = variable(lws::WORKER_INDEX_ENV)
                .ok_or_else(|| format!("{} is not set", lws::WORKER_INDEX_ENV))?;
            Some(launch::start_rank(&index, per_node)?)
        }
        None => None,
    };
    let leader = if arguments.wait_for_leader {
        leader()?
    } else {
        None
    };
    let leader = leader
        .as_ref()
        .map(|(name, address)| (name.as_str(), address.as_str()));
    let fill = |word: &OsString| -> OsString {
        // What is not UTF-8 holds neither.
        word.to_str().map_or_else(
            || word.clone(),
            |word| launch::filled(word, rank, leader).into(),
        )
    };
    let mut words = arguments.words.iter().map(fill);
    let program = words.next().ok_or("no words after --")?;
    let mut command = Command::new(program);
    command.args(words);
    if arguments.infer_roce {
        let pattern = variable(launch::PATTERN).unwrap_or_else(|| launch::ROCE_V2.to_owned());
        let found = launch::device_variables(&devices(&arguments.infiniband), &pattern, variable);
        if found.is_empty() {
            say("no RoCE device that is up, or all variables are set");
        }
        for (name, value) in found {
            say(&format!("{name}={value}"));
            command.env(name, value);
        }
    }
    Ok(command)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Name and address of the leader. A name that does not resolve in time is left to the engine, whose
/// own error then tells.
fn leader() -> Result<Option<(String, String)>, String> {
    let name = variable(lws::LEADER_ADDRESS_ENV)
        .ok_or_else(|| format!("{} is not set", lws::LEADER_ADDRESS_ENV))?;
    let attempts = launch::attempts(variable(launch::ATTEMPTS_ENV).as_deref());
    for attempt in 1..=attempts {
        let found = (name.as_str(), 0).to_socket_addrs();
        if let Some(address) = found.ok().and_then(|mut all| all.next()) {
            return Ok(Some((name, address.ip().to_string())));
        }
        say(&format!(
            "{name} does not resolve, attempt {attempt} of {attempts}"
        ));
        if attempt < attempts {
            wait(BETWEEN_ATTEMPTS);
        }
    }
    say(&format!("{name} does not resolve; starting with the name"));
    Ok(None)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the launcher has one thread and no runtime"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// Reads port 1 of every device, in the order of their names.
fn devices(root: &Path) -> Vec<Device> {
    let text = |path: PathBuf| {
        let read = std::fs::read_to_string(path).unwrap_or_default();
        read.trim().to_owned()
    };
    let mut devices: Vec<Device> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let port = entry.path().join("ports/1");
            let gids = (0..MOST_GIDS).map_while(|index| {
                let number = index.to_string();
                let value = port.join("gids").join(&number);
                // An index without an address has a file, too, which may refuse to be read.
                value.exists().then(|| {
                    let gid = Gid {
                        kind: text(port.join("gid_attrs/types").join(&number)),
                        value: text(value),
                    };
                    (index, gid)
                })
            });
            Some(Device {
                name: entry.file_name().into_string().ok()?,
                state: text(port.join("state")),
                gids: gids.collect(),
            })
        })
        .collect();
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    devices
}

/// Copies the program, so that whoever looks finds it whole or not at all.
fn install(path: &Path) -> std::io::Result<()> {
    let own = std::env::current_exe()?;
    let mut new = path.as_os_str().to_owned();
    new.push(OsStr::new(".new"));
    std::fs::copy(own, &new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&new, path)
}

#[expect(
    clippy::print_stderr,
    reason = "the container's log is the only place to say it"
)]
fn say(message: &str) {
    eprintln!("weir launch: {message}");
}
