//! The engine over real sockets.

#![allow(
    clippy::disallowed_methods,
    reason = "the runtime of a test ends with it, and what it spawned too"
)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod captures;
mod client;
mod http;
mod limits;
mod simulator;
