//! The picker over its real ports.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests are not tests to clippy, and what is skipped is said"
)]

mod certificate;
mod client;
mod cluster;
mod envoy;
mod exchange;
mod fakes;
mod goldens;
mod pages;
mod picker;
