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
//! - [`serve`]: one request; `picker`: endpoint pickers are asked over ext_proc.
//! - [`status`]: what is written back.
//! - [`defaults`]: the objects a machine of its own begins with.
//! - [`run()`]: all of it together.

pub mod attach;
mod convert;
pub mod defaults;
pub mod hosts;
pub mod objects;
mod picker;
mod run;
pub mod serve;
pub mod status;
pub mod table;

pub use defaults::ensure_default_objects;
pub use run::{Error, Options, run};
