//! The contract of the vLLM engine: flags, metric names, transfer parameters.
//!
//! - [`events`]: where an engine publishes what it caches.
//! - [`flags`]: every flag of `vllm serve` and whether it is safe to take from an untrusted manifest.
//! - [`argv`]: the command line as the engine's own parser reads it.
//! - [`safety`]: what of a command line or environment a manifest may give to a real engine.
//! - [`launch`]: what a start takes from the pod it happens in.
//! - [`metrics`]: names and buckets of the engine's metrics.
//! - [`transfer`]: headers and fields of split serving, and what clients must not send.

pub mod argv;
pub mod events;
pub mod flags;
pub mod launch;
pub mod metrics;
pub mod safety;
pub mod transfer;

pub use argv::{ArgError, ServeArgs, parse_argv};

/// Version of the engine whose contract these tables record.
pub const VERSION: &str = "0.32.0";
