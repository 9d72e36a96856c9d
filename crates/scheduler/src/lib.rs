//! Chooses the endpoint for a request: configuration, filters, scorers, pickers, flow control.

pub mod config;
pub mod data;
pub mod endpoint;
pub mod inflight;
pub mod labels;
pub mod random;
pub mod reject;
pub mod request;

pub use config::{Config, ConfigErrors};
pub use endpoint::{Adapters, Endpoint, EndpointLoad, Labels, Live, Role, Snapshot};
pub use random::Random;
pub use reject::{Code, DropReason, Rejection};
pub use request::{Headers, LlmRequest, Media};
