//! The controllers against an API server: the embedded store, or the real one that
//! `WEIR_TEST_KUBECONFIG` names.

mod rollout;
mod services;
mod sets;
mod world;
