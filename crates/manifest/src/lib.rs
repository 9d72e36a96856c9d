//! YAML and JSON text to values that know the line and column of every node.
//!
//! Scalars are read as kubectl reads them (YAML 1.1: an unquoted `on` is `true`, `0777` is 511). Duplicate keys
//! are refused, empty documents are skipped, and what aliases expand to is bounded.

mod json;
mod scalar;
mod tree;
mod yaml;

use serde_json::Value;
use thiserror::Error;

use tree::{Content, Node};

/// A place in a text; both numbers start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// Why a text cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{source_name}:{}:{}: {what}", position.line, position.column)]
pub struct Error {
    /// The file, as given.
    pub source_name: String,
    /// Where in it.
    pub position: Position,
    /// What is wrong and what to do.
    pub what: String,
}

/// How a scalar was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, without quotes.
    pub text: String,
    /// It was quoted or a block, hence a string whatever it looks like.
    pub quoted: bool,
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The value.
    pub value: Value,
    source: String,
    root: std::sync::Arc<Node>,
}

impl Document {
    /// Returns the name of the file, as given to [`parse`].
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns where the value at a JSON pointer stands; `""` is the document itself.
    #[must_use]
    pub fn position(&self, pointer: &str) -> Option<Position> {
        self.find(pointer).map(|(_, node)| node.at)
    }

    /// Returns where the key of a field stands, or the item of a list.
    #[must_use]
    pub fn key_position(&self, pointer: &str) -> Option<Position> {
        self.find(pointer).map(|(key, _)| key)
    }

    /// Returns where the value at a JSON pointer stands, or the innermost thing around it that exists.
    #[must_use]
    pub fn nearest(&self, pointer: &str) -> Position {
        let mut pointer = pointer;
        loop {
            if let Some(position) = self.key_position(pointer) {
                return position;
            }
            pointer = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Returns how the scalar at a JSON pointer was written.
    #[must_use]
    pub fn scalar(&self, pointer: &str) -> Option<&Scalar> {
        match &self.find(pointer)?.1.content {
            Content::Scalar { written, .. } => Some(written),
            _ => None,
        }
    }

    /// Returns an error about the value at a JSON pointer.
    #[must_use]
    pub fn error(&self, pointer: &str, what: impl Into<String>) -> Error {
        Error {
            source_name: self.source.clone(),
            position: self.nearest(pointer),
            what: what.into(),
        }
    }

    fn find(&self, pointer: &str) -> Option<(Position, &Node)> {
        let mut node = &*self.root;
        let mut key = node.at;
        if pointer.is_empty() {
            return Some((key, node));
        }
        for step in pointer.strip_prefix('/')?.split('/') {
            let step = step.replace("~1", "/").replace("~0", "~");
            (key, node) = match &node.content {
                Content::Map(entries) => {
                    let entry = entries.iter().find(|entry| entry.name == step)?;
                    (entry.at, &*entry.node)
                }
                Content::List(items) => {
                    let item = items.get(step.parse::<usize>().ok()?)?;
                    (item.at, &**item)
                }
                Content::Scalar { .. } => return None,
            };
        }
        Some((key, node))
    }
}

/// Reads every document of a YAML or JSON text. `source` is the name of the file for messages.
///
/// # Errors
/// When the text is neither, a key occurs twice, or aliases expand to too much.
pub fn parse(text: &str, source: &str) -> Result<Vec<Document>, Error> {
    match yaml::read(text) {
        Ok(roots) => Ok(documents(roots, source)),
        Err(yaml) => {
            if !yaml.syntax
                || !text
                    .trim_start_matches('\u{feff}')
                    .trim_start()
                    .starts_with('{')
            {
                return Err(located(source, yaml));
            }
            // JSON has a few things that YAML has not: objects one after the other, halves of surrogate pairs.
            match json::read(text) {
                Ok(roots) => Ok(documents(roots, source)),
                Err(json)
                    if text
                        .trim_start()
                        .trim_start_matches('{')
                        .trim_start()
                        .starts_with('"') =>
                {
                    Err(located(source, json.max_by_place(yaml)))
                }
                Err(_) => Err(located(source, yaml)),
            }
        }
    }
}

/// Reads one or more JSON values, one after the other.
///
/// # Errors
/// When the text is not JSON, or a key occurs twice.
pub fn from_json(text: &str, source: &str) -> Result<Vec<Document>, Error> {
    let strict = json::read(text).map_err(|failure| located(source, failure))?;
    // The YAML reader knows where everything stands; JSON that it does not read keeps coarse positions.
    let exact = yaml::read(text).ok().filter(|roots| {
        roots.len() == strict.len()
            && roots
                .iter()
                .zip(&strict)
                .all(|(a, b)| a.value() == b.value())
    });
    Ok(documents(exact.unwrap_or(strict), source))
}

fn documents(roots: Vec<std::sync::Arc<Node>>, source: &str) -> Vec<Document> {
    roots
        .into_iter()
        .map(|root| Document {
            value: root.value(),
            source: source.to_owned(),
            root,
        })
        .filter(|document| !document.value.is_null())
        .collect()
}

/// What is wrong at a place, before the name of the file is known.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) at: Position,
    pub(crate) what: String,
    /// The text is not of the format at all, so that another one is worth a try.
    pub(crate) syntax: bool,
}

impl Failure {
    pub(crate) fn new(at: Position, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
            syntax: false,
        }
    }

    pub(crate) fn syntax(at: Position, what: impl Into<String>) -> Self {
        Self {
            syntax: true,
            ..Self::new(at, what)
        }
    }

    /// Of two readers the one that came further knows better.
    fn max_by_place(self, other: Self) -> Self {
        if other.at > self.at { other } else { self }
    }
}

fn located(source: &str, failure: Failure) -> Error {
    Error {
        source_name: source.to_owned(),
        position: failure.at,
        what: failure.what,
    }
}
