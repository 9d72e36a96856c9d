//! What the command line of `weir up` says.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Which engine answers for an engine container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A real `vllm` when one is on `PATH` and this machine can run it, else the simulated one.
    Auto,
    /// The simulated engine.
    Simulated,
    /// The `vllm` on `PATH`.
    Vllm,
}

impl std::str::FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "sim" => Ok(Self::Simulated),
            "vllm" => Ok(Self::Vllm),
            other => Err(format!("{other:?} is not an engine; use auto, sim or vllm")),
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Simulated => "sim",
            Self::Vllm => "vllm",
        })
    }
}

/// Everything that `weir up` can be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Manifest files and directories, in the order given.
    pub files: Vec<PathBuf>,
    /// Address of the gateway.
    pub listen: SocketAddr,
    /// Address of the API store; port 0 takes a free one.
    pub api_listen: SocketAddr,
    /// A further place to write the kubeconfig to.
    pub kubeconfig: Option<PathBuf>,
    /// Where all state lives; the default follows the listen port.
    pub data_dir: Option<PathBuf>,
    /// Which engine answers.
    pub engine: Engine,
    /// Whether containers that are not Weir's may run as processes of the user.
    pub allow_host_commands: bool,
    /// Directories below which claims and `file://` URIs may name models, to be read only.
    pub allow_paths: Vec<PathBuf>,
    /// Whether changes of the files are applied while it runs.
    pub watch: bool,
    /// Ends with status 0 once every service is Ready and has answered one request.
    pub exit_when_ready: bool,
    /// The program that pods run: this binary.
    pub program: PathBuf,
}
