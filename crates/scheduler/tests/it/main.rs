//! Behaviour of the scheduler as its users see it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are not tests to clippy"
)]

mod configs;
mod filters;
mod flights;
mod formulas;
mod handlers;
mod learning;
mod manifests;
mod pool;
mod properties;
mod recorded;
