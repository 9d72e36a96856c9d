//! What routing and serving need of the OpenAI protocol: requests, SSE, errors.
//!
//! - [`request`]: the fields of completion and chat requests that matter here.
//! - [`peek`]: what a router reads of a body, without a tree; [`scan`]: JSON read in place.
//! - [`shield`]: what clients must not send to engines, and how it is taken out.
//! - [`sse`]: server-sent events, encoded and split.
//! - [`error`]: error bodies as the vLLM engine writes them.
//! - [`usage`]: token counts.

pub mod error;
pub mod peek;
pub mod request;
mod sampling;
pub mod scan;
pub mod shield;
pub mod sse;
pub mod usage;

pub use error::ApiError;
pub use request::{Api, Request};
pub use usage::Usage;
