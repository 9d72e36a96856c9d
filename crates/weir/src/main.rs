//! The `weir` program: one module a command; each reads its input, calls a crate and prints.

mod cli;
mod explain;
mod inputs;
mod launch;
mod live;
#[cfg(target_os = "linux")]
mod memory;
mod render;
mod up;
mod validate;
mod yaml;

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_local::install_crypto();
    cli::run(std::env::args_os().collect())
}
