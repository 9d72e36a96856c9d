//! Load for pickers and gateways, and what they are compared with.
//!
//! - `load floor`: a picker that does nothing but round robin, on tonic and generated messages.
//! - `load pages`: engines that serve nothing but a page of metrics.
//! - `load extproc`, `load http`: open-loop load. A request's latency counts from the moment it was due, so that a
//!   target that is late cannot hide it by slowing the sender down.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and durations of a few minutes"
)]

mod exchange;
mod floor;
mod pace;
mod pages;
mod process;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load for pickers and gateways.
#[derive(Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A picker that does nothing but round robin
    Floor(floor::Arguments),
    /// Engines that serve a page of metrics
    Pages(pages::Arguments),
    /// Requests to a picker
    Extproc(exchange::Arguments),
    /// Requests to a gateway or an engine
    Http(web::Arguments),
    /// CPU and memory of a process over some seconds
    Watch(process::Arguments),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match command {
            Command::Floor(arguments) => floor::run(arguments).await,
            Command::Pages(arguments) => pages::run(arguments).await,
            Command::Extproc(arguments) => exchange::run(arguments).await,
            Command::Http(arguments) => web::run(arguments).await,
            Command::Watch(arguments) => process::run(arguments).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
