//! Go text/template with positions in every error.
//!
//! Data is JSON. A field that exists in Go but not in the data is told from a misspelt one by a [`Shape`];
//! such a nil may be tested in conditions, and is an error where it would be printed.

mod eval;
mod format;
mod functions;
mod lex;
mod parse;
mod value;

use std::borrow::Cow;

pub use value::{Data, Path, Value};

/// Bytes that one template may produce.
pub const MAX_OUTPUT: usize = 4 << 20;
/// Nodes that one rendering may evaluate.
pub const MAX_STEPS: usize = 1_000_000;
/// How deep actions, parentheses and templates may nest.
pub const MAX_DEPTH: usize = 64;
/// How many fields may lead to a value.
pub const MAX_FIELDS: usize = 256;

/// What is wrong in a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// Whether a function of the program asked to leave the text out.
    pub omit: bool,
}

impl Error {
    pub(crate) fn at(text: &str, position: usize, message: impl Into<String>) -> Self {
        let before = text.get(..position).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Self {
            line,
            column,
            message: message.into(),
            omit: false,
        }
    }
}

/// What trim markers (`{{-`, `-}}`) remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trim {
    /// White space, as Go does.
    #[default]
    White,
    /// Blanks only: a template over JSON text sees line feeds as the two characters `\n`.
    Blanks,
}

/// What a function of the program answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The call is wrong.
    Message(String),
    /// The whole text is to be left out.
    Omit,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

/// Functions of the program, beside those of the language.
pub trait Functions {
    /// Their names.
    fn names(&self) -> &[&'static str];
    /// Calls `name`, which is one of [`Self::names`].
    ///
    /// # Errors
    /// When the arguments do not fit.
    fn call<'d>(&self, name: &str, arguments: &[Value<'d>]) -> Result<Value<'d>, Refusal>;
}

/// No functions beside those of the language.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtins;

impl Functions for Builtins {
    fn names(&self) -> &[&'static str] {
        &[]
    }

    fn call<'d>(&self, name: &str, _: &[Value<'d>]) -> Result<Value<'d>, Refusal> {
        Err(Refusal::Message(format!("function {name:?} not defined")))
    }
}

/// Which fields an object may have. Paths are JSON names from the root, `[]` for an item of a list.
pub trait Shape {
    /// The fields of the object at `path`; `None` where any name may occur.
    fn fields(&self, path: &[Cow<'_, str>]) -> Option<Vec<String>>;

    /// What the object at `path` says of a field of this name, whatever its case.
    fn declares(&self, path: &[Cow<'_, str>], name: &str) -> Declared {
        match self.fields(path) {
            None => Declared::Any,
            Some(fields) => fields
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(name))
                .map_or(Declared::No, Declared::As),
        }
    }

    /// Whether any name may occur in the object at `path`.
    fn is_open(&self, path: &[Cow<'_, str>]) -> bool {
        self.fields(path).is_none()
    }
}

/// What a structure says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Any name may occur.
    Any,
    /// It has no such field.
    No,
    /// It has one, which is written like this.
    As(String),
}

/// Any object may have any field, so a missing one is always an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shapeless;

impl Shape for Shapeless {
    fn fields(&self, _: &[Cow<'_, str>]) -> Option<Vec<String>> {
        None
    }
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
    body: Vec<parse::Node>,
    defined: std::collections::BTreeMap<String, Vec<parse::Node>>,
}

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// With the place of the first thing that is not understood.
    pub fn parse(text: &str, trim: Trim, functions: &dyn Functions) -> Result<Self, Error> {
        let tokens = lex::lex(text, trim)?;
        let (body, defined) = parse::parse(text, &tokens, functions)?;
        Ok(Self {
            text: text.to_owned(),
            body,
            defined,
        })
    }

    /// Evaluates the template with `data` as the dot.
    ///
    /// # Errors
    /// With the place of the first expression that has no value.
    pub fn render<'d>(
        &'d self,
        data: impl Into<Data<'d>>,
        shape: &dyn Shape,
        functions: &dyn Functions,
    ) -> Result<String, Error> {
        eval::render(self, data.into(), shape, functions)
    }
}
