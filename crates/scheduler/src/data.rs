//! The data layer: what scraped pages say about endpoints, and what the pool looks like on average.
//!
//! - [`engine`]: which metrics say what, by engine.

pub mod engine;

pub use engine::{CacheInfo, Engine, MetricSpec};
