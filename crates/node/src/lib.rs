//! Runs pods as local processes, through the API only.
//!
//! [`run`] registers one node, binds every unscheduled pod to it and runs each bound pod as process
//! groups on an address of its own. A container is started through two stages of this program:
//! [`shim`], which ends everything below it when the node is gone, and [`stage`]. [`job`] decides
//! what a container may run; a manifest does not run programs of the user's machine by default.

mod account;
pub mod addresses;
mod container;
pub mod env;
mod events;
mod forward;
mod ground;
pub mod job;
mod log;
mod no_effect;
mod node;
pub mod objects;
mod order;
pub mod paths;
mod place;
mod pod;
pub mod ports;
pub mod probe;
mod process;
mod processes;
mod quantity;
mod seconds;
pub mod shim;
mod sockets;
pub mod stage;
pub mod status;
pub mod volumes;

use std::path::PathBuf;

pub use node::run;

/// Which engine answers for engine containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The simulated engine of this program.
    Simulated,
    /// The real one at this path.
    Vllm(PathBuf),
}

/// What a node is and may do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the Node object.
    pub node_name: String,
    /// Directory below which volumes and logs live.
    pub data_dir: PathBuf,
    /// `A` of the instance's addresses 127.A.0.0/16.
    pub loopback_block: u8,
    /// The engine.
    pub engine: EngineChoice,
    /// This program, whose `node-shim` and `node-stage` commands start containers.
    pub program: PathBuf,
    /// Kubeconfig for containers that may have it.
    pub kubeconfig: PathBuf,
    /// Whether containers may run other programs of this machine.
    pub allow_host_commands: bool,
    /// Directories below which claims and `file://` URIs may name models, to be read only.
    pub allow_paths: Vec<PathBuf>,
}

/// Why the node ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Node object could not be written.
    #[error("cannot register node {name:?}")]
    Register {
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The client of the probes could not be made.
    #[error("cannot make the client of the probes")]
    Probes(#[source] reqwest::Error),
}
