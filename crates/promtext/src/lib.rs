//! Prometheus text: reads a page in place, writes classic text and OpenMetrics.
//!
//! - [`read`]: samples of a page without a copy.
//! - [`write`]: a page, and the classic form of an OpenMetrics one.

pub mod read;
pub mod write;

pub use read::{Sample, samples};
pub use write::Page;

#[cfg(test)]
mod properties;
