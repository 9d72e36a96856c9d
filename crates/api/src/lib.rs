//! Kubernetes types that Weir owns or reads, and every name it shares with a cluster.
//!
//! Pure data and pure functions: the wire types of `LLMInferenceService` and `LLMInferenceServiceConfig`, the
//! names of everything derived from them, and the schemas of the built-in kinds.

pub mod builtin;
pub mod convert;
pub mod crds;
mod default;
mod kind;
pub mod names;
pub mod v1alpha1;
pub mod v1alpha2;
pub mod validate;

pub use convert::convert;
pub use default::default;
pub use kube_core;
pub use validate::validate;

/// An embedded object of another API (a PodSpec, an HTTPRouteSpec, ...), kept as it was written: fields that
/// this build does not know survive.
pub type RawObject = serde_json::Value;
