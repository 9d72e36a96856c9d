//! The tree of a document, with places.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{Failure, Position, Scalar};

/// More nodes than this, aliases expanded, are refused. The largest definitions have about 30 000.
pub(crate) const MAX_NODES: usize = 1_000_000;
/// Aliases can nest what is nested already.
const MAX_DEPTH: usize = 256;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) content: Content,
    /// Nodes in here with aliases expanded, and levels.
    size: usize,
    depth: usize,
}

#[derive(Debug)]
pub(crate) enum Content {
    Scalar { value: Value, written: Scalar },
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) at: Position,
    pub(crate) node: Arc<Node>,
}

impl Node {
    pub(crate) fn new(at: Position, content: Content) -> Result<Arc<Self>, Failure> {
        let mut size = 1_usize;
        let mut depth = 0;
        let mut add = |node: &Self| {
            size = size.saturating_add(node.size);
            depth = depth.max(node.depth);
        };
        match &content {
            Content::Scalar { .. } => {}
            Content::List(items) => items.iter().for_each(|item| add(item)),
            Content::Map(entries) => entries.iter().for_each(|entry| add(&entry.node)),
        }
        if size > MAX_NODES {
            return Err(Failure::new(
                at,
                format!("aliases expand to more than {MAX_NODES} values here"),
            ));
        }
        if depth >= MAX_DEPTH {
            return Err(Failure::new(
                at,
                format!("values are nested more than {MAX_DEPTH} levels deep here"),
            ));
        }
        Ok(Arc::new(Self {
            at,
            content,
            size,
            depth: depth + 1,
        }))
    }

    /// Returns the number of values in here, aliases expanded.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar { value, .. } => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(|item| item.value()).collect()),
            Content::Map(entries) => {
                let fields: Map<_, _> = entries
                    .iter()
                    .map(|entry| (entry.name.clone(), entry.node.value()))
                    .collect();
                Value::Object(fields)
            }
        }
    }
}
