//! HTTP both ways: streaming, cancellation, guards that ride on bodies, retry before the first byte.
//!
//! - [`client`]: a pooled client that sends a request to an address and streams the answer back.
//! - [`body`]: guards that live as long as a body, and reading a body up to a limit.
//! - [`headers`]: what may not travel from one connection to the next.
//! - [`respond`]: the one place where an error becomes an answer.
//!
//! Cancellation is dropping: when the caller drops the answer (or the future that waits for it), the
//! connection to the upstream is closed, and every guard is dropped.

pub mod body;
pub mod client;
pub mod headers;
pub mod respond;

pub use body::{
    Body, BoxError, TooLarge, boxed, collect_in, collect_limited, empty, full, guarded,
};
pub use client::{Client, Error, Options, Tls};
pub use respond::Problem;
