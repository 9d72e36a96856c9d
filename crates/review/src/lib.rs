//! Documents with positions become verdicts: unknown kinds and fields, wrong types, broken rules, admission.
//!
//! `weir up`, `weir validate` and the store's hook all ask here, so that a manifest is refused with the same
//! words wherever it is looked at.

mod admission;
pub mod effective;
mod kinds;
mod locate;
mod object;
pub mod offline;
mod shapes;
pub mod trace;
mod whole;

pub use admission::{Cause, Refusal, admit, admit_deletion};
pub use kinds::Kinds;
pub use whole::review_effective;

use std::collections::HashMap;

use serde_json::Value;
use weir_manifest::{Document, Position};

/// Whether a finding refuses the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The document cannot be applied.
    Error,
    /// The document can be applied, but probably is not what is meant.
    Warning,
}

/// Something wrong in a document: `file:line:column: spec.foo: what; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as given.
    pub source: String,
    /// Where in the file, when it is known.
    pub position: Option<Position>,
    /// The field, empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do, empty when the message says it.
    pub hint: String,
    /// Whether it refuses the document.
    pub severity: Severity,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)?;
        if let Some(position) = self.position {
            write!(f, ":{}:{}", position.line, position.column)?;
        }
        if !self.source.is_empty() {
            f.write_str(": ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// What a review takes into account.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// CustomResourceDefinitions beside those that this program brings and those among the documents.
    pub definitions: Vec<Value>,
    /// Whether warnings are wanted too.
    pub warnings: bool,
}

/// Reviews documents together: a CRD among them makes its kinds known to the others.
#[must_use]
pub fn review<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    options: &Options,
) -> Vec<Finding> {
    let documents: Vec<&Document> = documents.into_iter().collect();
    let kinds = Kinds::new(
        options
            .definitions
            .iter()
            .chain(documents.iter().map(|document| &document.value)),
    );
    let mut findings = Vec::new();
    let mut seen: HashMap<Identity<'_>, &Document> = HashMap::new();
    for document in documents {
        let written = |pointer: &str| {
            document
                .scalar(pointer)
                .filter(|s| !s.quoted)
                .map(|s| s.text.as_str())
        };
        let found = object::review(&document.value, &kinds, &written);
        let first = findings.len();
        let wanted = found
            .into_iter()
            .filter(|f| options.warnings || f.severity == Severity::Error);
        findings.extend(wanted.map(|found| Finding {
            source: document.source().to_owned(),
            position: Some(document.nearest(&found.pointer)),
            path: found.path,
            message: found.message,
            hint: found.hint,
            severity: found.severity,
        }));
        findings[first..].sort_by_key(|finding| finding.position);
        let Some(identity) = identity(&document.value) else {
            continue;
        };
        if let Some(earlier) = seen.get(&identity) {
            findings.push(twice(document, earlier, &identity));
        } else {
            seen.insert(identity, document);
        }
    }
    findings
}

/// Group, kind, namespace and name: what one object is known by, whatever version it is written in.
type Identity<'a> = (&'a str, &'a str, &'a str, &'a str);

fn identity(value: &Value) -> Option<Identity<'_>> {
    let api_version = value["apiVersion"].as_str()?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let metadata = &value["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    Some((
        group,
        value["kind"].as_str()?,
        namespace,
        metadata["name"].as_str()?,
    ))
}

/// Which of two documents would win is chance: that is never what is meant.
fn twice(
    document: &Document,
    earlier: &Document,
    (_, kind, namespace, name): &Identity<'_>,
) -> Finding {
    let pointer = "/metadata/name";
    let first = earlier.nearest(pointer).line;
    Finding {
        source: document.source().to_owned(),
        position: Some(document.nearest(pointer)),
        path: "metadata.name".to_owned(),
        message: format!(
            "{kind} {name:?} of namespace {namespace} stands at {}:{first} already",
            earlier.source()
        ),
        hint: "keep one of the two documents".to_owned(),
        severity: Severity::Error,
    }
}

/// Reviews one text; text that is not YAML or JSON is a finding too.
#[must_use]
pub fn review_text(text: &str, source: &str, options: &Options) -> Vec<Finding> {
    match weir_manifest::parse(text, source) {
        Ok(documents) => review(&documents, options),
        Err(error) => vec![Finding {
            source: error.source_name,
            position: Some(error.position),
            path: String::new(),
            message: error.what,
            hint: String::new(),
            severity: Severity::Error,
        }],
    }
}

#[cfg(test)]
mod tests;
