//! Structural schemas: prune, default and validate Kubernetes objects.
//!
//! A [`Node`] is a cheap handle on one place of a schema. Schemas may refer to themselves, as that of
//! `CustomResourceDefinition` does: `$ref` is resolved once, at parse time, to a place in a shared table.

mod default;
mod format;
mod node;
mod parse;
mod prune;
mod validate;

pub use node::{Additional, Kind, ListType, Node};
pub use parse::Error;
pub use validate::Violation;
