//! HTTPRoutes matched and served, with status written back.
//!
//! ```text
//! watches → World → attach (pure) → Model ─→ Routing → Server: one request
//!                        ↑                └→ status (pure) → writes
//!              Services and their endpoints
//! ```
//!
//! - [`objects`]: what is read of Gateway API objects.
//! - [`attach`]: which routes attach to which listeners.
//! - [`table`]: the routing table.
//! - [`strip`]: what clients must not send to engines.
//! - [`serve`]: one request.

pub mod attach;
mod convert;
pub mod hosts;
pub mod objects;
pub mod serve;
pub mod strip;
pub mod table;
