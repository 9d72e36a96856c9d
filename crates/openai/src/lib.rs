//! What routing and serving need of the OpenAI protocol: requests, SSE, errors.
//!
//! - [`request`]: the fields of completion and chat requests that matter here.
//! - [`sse`]: server-sent events, encoded and split.
//! - [`error`]: error bodies as the vLLM engine writes them.
//! - [`usage`]: token counts.

pub mod error;
pub mod request;
mod sampling;
pub mod sse;
pub mod usage;

pub use error::ApiError;
pub use request::{Api, Request};
pub use usage::Usage;
