//! The endpoint picker: an ext_proc server around the scheduler.
//!
//! ```text
//! gateway ══ext_proc══▶ grpc ─▶ conversation ─▶ extproc::Exchange ─▶ picker ─▶ scheduler
//!                                                                     │
//!            files, watches ─▶ pool ─────────────────────────────────▶│
//!            endpoints' /metrics ─▶ scrape ─▶ Endpoint::live ────────▶│
//! ```
//! - [`options`]: the command line. [`grpc`], [`tls`], [`health`]: what listens.
//! - [`pool`], [`files`], [`watch`]: which endpoints there are. [`metrics`]: what is counted.

#![allow(
    clippy::cast_precision_loss,
    reason = "metrics are floating point, counts are far below 2^53"
)]

mod account;
pub mod auth;
mod command;
mod conversation;
pub mod decisions;
pub mod files;
pub mod grpc;
pub mod health;
pub mod leader;
pub mod metrics;
pub mod objectives;
pub mod options;
pub mod picker;
pub mod pool;
pub mod queue;
pub mod run;
pub mod scrape;
pub mod tls;
pub mod watch;
mod web;

pub use command::main;
