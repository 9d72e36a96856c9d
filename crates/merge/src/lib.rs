//! Kubernetes merge semantics on JSON values.
//!
//! - [`json_merge_patch`]: RFC 7396.
//! - [`strategic_merge_patch`]: the patch format of kubectl, with directives and merge keys.
//! - [`compose_merge`]: how layers of a model service are put on top of each other.
//! - [`apply`]: server-side apply and the bookkeeping of field owners.

pub mod apply;
mod compose;
mod fields;
mod keyed;
mod strategic;

use serde_json::Value;
use thiserror::Error;
use weir_schema::Node;

pub use compose::{compose_merge, merge_onto, try_compose_merge};
pub use fields::FieldSet;
pub use strategic::strategic_merge_patch;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// An item of a keyed list lacks the key that tells it apart.
    #[error("{path}: item {index} has no {key:?}, by which items of this list are merged")]
    MissingKey {
        /// The list.
        path: String,
        /// Position of the item in the patch.
        index: usize,
        /// The merge key.
        key: String,
    },
    /// An item of a keyed list is not an object.
    #[error("{path}: item {index} must be an object")]
    NotAnObject {
        /// The list.
        path: String,
        /// Position of the item in the patch.
        index: usize,
    },
    /// A directive is unknown or has the wrong shape.
    #[error("{path}: {what}")]
    Directive {
        /// Where it stands.
        path: String,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// The same, with what is around its path.
    pub(crate) fn below(mut self, name: &str) -> Self {
        let (Self::MissingKey { path, .. }
        | Self::NotAnObject { path, .. }
        | Self::Directive { path, .. }) = &mut self;
        *path = match path.is_empty() {
            true => name.to_owned(),
            false if path.starts_with('[') => format!("{name}{path}"),
            false => format!("{name}.{path}"),
        };
        self
    }
}

/// Applies an RFC 7396 merge patch.
pub fn json_merge_patch(target: &mut Value, patch: &Value) {
    json_patch::merge(target, patch);
}

/// The schema of a field, with the well-known schema for the `metadata` of an object.
pub(crate) fn field(node: &Node, name: &str, root: bool) -> Node {
    if root && name == "metadata" {
        let declared = node
            .property(name)
            .filter(|meta| meta.property_names().next().is_some());
        return declared.unwrap_or_else(Node::object_meta);
    }
    node.field(name).unwrap_or_else(Node::any)
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
