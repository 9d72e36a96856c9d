//! The store as its clients see it: the real `kubectl` and the kube client.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

mod bounds;
mod client;
mod kill;
mod kit;
mod kubectl;
mod parity;
