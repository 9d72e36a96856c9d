//! End-to-end tests: real processes of this program, real clients, as a user has them.

#![allow(
    clippy::disallowed_methods,
    reason = "tests of processes have threads and no runtime"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says what it skips"
)]

mod bad_input;
mod context;
mod crash;
mod engine;
mod instance;
mod kubectl;
mod launch;
mod local_model;
mod mistakes;
mod offline;
mod real_vllm;
mod scheduled;
mod serve;
mod shapes;
mod sidecar;
mod watch;
mod wrapper;
