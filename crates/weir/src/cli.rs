//! The command line: which command runs, by its name or by the name of the program.
//!
//! A container image may start the program as `vllm`, `epp` or another component's name; the base
//! name of the program then selects the command.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{explain, launch, render, up, validate};

/// Runs large language models from one resource, on Kubernetes or on this machine.
#[derive(Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// A command's own words stand at its arguments.
#[derive(Subcommand)]
enum Command {
    Up(Box<up::Arguments>),
    Render(Box<render::Arguments>),
    Validate(Box<validate::Arguments>),
    Explain(Box<explain::Arguments>),
    Launch(Box<launch::Arguments>),
    /// Prints the custom resource definitions as YAML documents (install with `kubectl apply --server-side -f -`)
    Crds,
    /// Runs the simulated engine with a `vllm serve` command line
    #[command(disable_help_flag = true)]
    Engine {
        /// The words after `vllm`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Runs the endpoint picker with the command line of llm-d's (`epp`); `--check-config FILE` reads a configuration
    #[command(disable_help_flag = true)]
    Epp {
        /// The words after `epp`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Runs the sidecar of a decode pod with the command line of llm-d's (`pd-sidecar`)
    #[command(disable_help_flag = true)]
    Sidecar {
        /// The words after `pd-sidecar`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Names under which images start the sidecar.
const SIDECAR: [&str; 3] = [
    "pd-sidecar",
    "llm-d-routing-sidecar",
    "llm-d-router-disagg-sidecar",
];

/// Names under which images start the endpoint picker.
const PICKER: [&str; 3] = [
    "epp",
    "llm-d-inference-scheduler",
    "llm-d-router-endpoint-picker",
];

/// Runs the command that `arguments` name; the first word is the program.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    // These are called with a container's own words, which clap must not read.
    let rest = || arguments.iter().skip(2).cloned().collect::<Vec<_>>();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("node-shim") => return weir_node::shim::main(rest()),
        Some("node-stage") => return weir_node::stage::main(rest()),
        Some("engine") => return weir_engine::main(rest()),
        Some("epp") => return weir_epp::main(rest()),
        Some("sidecar") => return weir_sidecar::main(rest()),
        _ => {}
    }
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    if program.is_some_and(|name| name == "vllm") {
        return weir_engine::main(arguments.into_iter().skip(1).collect());
    }
    if program.is_some_and(|name| PICKER.iter().any(|known| name == *known)) {
        return weir_epp::main(arguments.into_iter().skip(1).collect());
    }
    if program.is_some_and(|name| SIDECAR.iter().any(|known| name == *known)) {
        return weir_sidecar::main(arguments.into_iter().skip(1).collect());
    }
    match Cli::parse_from(arguments).command {
        Command::Up(arguments) => up::run(*arguments),
        Command::Render(arguments) => render::run(*arguments),
        Command::Validate(arguments) => validate::run(*arguments),
        Command::Explain(arguments) => explain::run(*arguments),
        Command::Launch(arguments) => launch::run(&arguments),
        Command::Crds => crds(),
        Command::Engine { arguments } => weir_engine::main(arguments),
        Command::Epp { arguments } => weir_epp::main(arguments),
        Command::Sidecar { arguments } => weir_sidecar::main(arguments),
    }
}

#[expect(clippy::print_stdout, reason = "the output of the command")]
fn crds() -> ExitCode {
    for definition in weir_api::crds::own() {
        // JSON is YAML, and what `kubectl` reads.
        println!("---\n{definition:#}");
    }
    ExitCode::SUCCESS
}
