//! The engine over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod captures;
mod client;
mod http;
mod limits;
