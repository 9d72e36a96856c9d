//! `weir up`: the command line of one machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use weir_local::options::{Engine, Options};

/// Serves manifests on this machine: store, controller, node and gateway in one process.
///
/// The files are watched: what changes in them is applied, a document that vanishes from its file is deleted, and
/// while something is wrong with them nothing changes. Ctrl-C stops every pod; the state stays in the data
/// directory, and the next start on it goes on from there.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Manifest files, or directories of them (read one level deep)
    files: Vec<PathBuf>,
    /// Address of the gateway
    #[arg(long, default_value = "127.0.0.1:8080", env = "WEIR_LISTEN")]
    listen: SocketAddr,
    /// Address of the Kubernetes API; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    api_listen: SocketAddr,
    /// Also writes the kubeconfig to this file
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Where all state lives [default: $XDG_STATE_HOME/weir/<listen port>]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Which engine answers: auto, sim or vllm
    #[arg(long, default_value = "auto")]
    engine: Engine,
    /// Runs containers that are not Weir's own as processes of this user
    #[arg(long)]
    allow_host_commands: bool,
    /// Lets claims and file:// URIs name models below this directory; may be given more than once
    #[arg(long = "allow-path", value_name = "DIR")]
    allow_paths: Vec<PathBuf>,
    /// Applies the files once and does not look at them again
    #[arg(long)]
    no_watch: bool,
    /// Ends with status 0 once every service is Ready and has answered one request
    #[arg(long)]
    exit_when_ready: bool,
}

/// Runs until a signal, or until ready with `--exit-when-ready`.
#[expect(
    clippy::print_stderr,
    reason = "the only output before the report exists"
)]
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    if !cfg!(target_os = "linux") {
        eprintln!("error: weir up runs on Linux only");
        return ExitCode::FAILURE;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("error: cannot find the path of this program: {error}");
            return ExitCode::FAILURE;
        }
    };
    #[cfg(target_os = "linux")]
    crate::memory::keep_small(&program);
    weir_local::up(&Options {
        files: arguments.files,
        listen: arguments.listen,
        api_listen: arguments.api_listen,
        kubeconfig: arguments.kubeconfig,
        data_dir: arguments.data_dir,
        engine: arguments.engine,
        allow_host_commands: arguments.allow_host_commands,
        allow_paths: arguments.allow_paths,
        watch: !arguments.no_watch,
        exit_when_ready: arguments.exit_when_ready,
        program,
    })
}
