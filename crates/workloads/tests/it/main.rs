//! The controllers against an API server: the embedded store, or the real one that
//! `WEIR_TEST_KUBECONFIG` names.

#![allow(
    clippy::disallowed_methods,
    reason = "the runtime of a test ends with it, and what it spawned too"
)]

mod groups;
mod jobs;
mod rollout;
mod services;
mod sets;
mod world;
