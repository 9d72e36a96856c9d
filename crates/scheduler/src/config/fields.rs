//! Reads a mapping field by field, remembers what was asked for, and reports everything else: that is how a document
//! is read strictly, with all its problems at once and each at its place.

use std::time::Duration;

use serde_json::{Map, Value};
use weir_manifest::{Document, Position};

use super::units;

/// A problem of a document, or something worth telling about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`; empty when the document was not a text.
    pub place: String,
    /// Path of the field, as `plugins[1].parameters.threshold`; empty for the whole document.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.place, &self.path] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// Where problems are collected.
#[derive(Debug)]
pub(super) struct Report<'a> {
    document: Option<&'a Document>,
    errors: Vec<(Option<Position>, Problem)>,
    warnings: Vec<(Option<Position>, Problem)>,
}

/// A mapping of the document.
#[derive(Debug)]
pub(super) struct Fields<'v> {
    values: Option<&'v Map<String, Value>>,
    pub(super) pointer: String,
    taken: Vec<&'static str>,
}

impl<'a> Report<'a> {
    pub(super) fn new(document: Option<&'a Document>) -> Self {
        Self {
            document,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, pointer: &str, message: impl Into<String>) {
        let problem = self.problem(pointer, message.into());
        self.errors.push(problem);
    }

    pub(super) fn warn(&mut self, pointer: &str, message: impl Into<String>) {
        let problem = self.problem(pointer, message.into());
        self.warnings.push(problem);
    }

    /// Errors and warnings, each in the order of the document.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let in_order = |mut problems: Vec<(Option<Position>, Problem)>| {
            problems.sort_by_key(|(at, _)| *at);
            problems.into_iter().map(|(_, problem)| problem).collect()
        };
        (in_order(self.errors), in_order(self.warnings))
    }

    fn problem(&self, pointer: &str, message: String) -> (Option<Position>, Problem) {
        let at = self.document.map(|document| document.nearest(pointer));
        let place = match (self.document, at) {
            (Some(document), Some(at)) => {
                format!("{}:{}:{}", document.source(), at.line, at.column)
            }
            _ => String::new(),
        };
        let problem = Problem {
            place,
            path: path(pointer),
            message,
        };
        (at, problem)
    }
}

/// A JSON pointer as people write it.
fn path(pointer: &str) -> String {
    let mut out = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push_str(&format!("[{step}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&step);
        }
    }
    out
}

impl<'v> Fields<'v> {
    /// Reads `value`, which must be a mapping or null.
    pub(super) fn new(value: Option<&'v Value>, pointer: String, report: &mut Report<'_>) -> Self {
        let values = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(values)) => Some(values),
            Some(other) => {
                report.error(
                    &pointer,
                    format!("must be a mapping, not {}", described(other)),
                );
                None
            }
        };
        Self {
            values,
            pointer,
            taken: Vec::new(),
        }
    }

    pub(super) fn at(&self, name: &str) -> String {
        format!(
            "{}/{}",
            self.pointer,
            name.replace('~', "~0").replace('/', "~1")
        )
    }

    /// The value of a field that is there and not null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        self.taken.push(name);
        self.values?.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values
            .is_some_and(|values| values.get(name).is_some_and(|value| !value.is_null()))
    }

    /// Whether a field has been asked for.
    pub(super) fn taken(&self, name: &str) -> bool {
        self.taken.contains(&name)
    }

    fn wrong(&self, name: &str, wanted: &str, value: &Value, report: &mut Report<'_>) {
        report.error(
            &self.at(name),
            format!("must be {wanted}, not {}", described(value)),
        );
    }

    pub(super) fn string(
        &mut self,
        name: &'static str,
        report: &mut Report<'_>,
    ) -> Option<&'v str> {
        let value = self.take(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.wrong(name, "a string", value, report);
        }
        text
    }

    pub(super) fn bool(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<bool> {
        let value = self.take(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong(name, "true or false", value, report);
        }
        flag
    }

    pub(super) fn integer(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<i64> {
        let value = self.take(name)?;
        let number = value.as_i64();
        if number.is_none() {
            self.wrong(name, "an integer", value, report);
        }
        number
    }

    pub(super) fn float(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<f64> {
        let value = self.take(name)?;
        let number = value.as_f64().filter(|number| number.is_finite());
        if number.is_none() {
            self.wrong(name, "a number", value, report);
        }
        number
    }

    /// A number for which `accept` holds.
    pub(super) fn float_where(
        &mut self,
        name: &'static str,
        default: f64,
        rule: &str,
        accept: impl Fn(f64) -> bool,
        report: &mut Report<'_>,
    ) -> f64 {
        let value = self.float(name, report).unwrap_or(default);
        if !accept(value) {
            report.error(&self.at(name), format!("must be {rule}, got {value}"));
        }
        value
    }

    /// An integer of at least `least`.
    pub(super) fn at_least(
        &mut self,
        name: &'static str,
        default: u64,
        least: u64,
        report: &mut Report<'_>,
    ) -> u64 {
        let Some(value) = self.integer(name, report) else {
            return default;
        };
        match u64::try_from(value) {
            Ok(value) if value >= least => value,
            _ => {
                report.error(
                    &self.at(name),
                    format!("must be at least {least}, got {value}"),
                );
                default
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        name: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Duration> {
        let value = self.take(name)?;
        let parsed = match value {
            Value::String(text) => units::duration(text),
            // Nanoseconds, as the Go type is in JSON.
            Value::Number(number) => number
                .as_i64()
                .ok_or_else(|| "must be a duration such as \"30s\"".to_owned())
                .and_then(units::from_nanos),
            other => Err(format!(
                "must be a duration such as \"30s\", not {}",
                described(other)
            )),
        };
        match parsed {
            Ok(duration) => Some(duration),
            Err(message) => {
                report.error(&self.at(name), message);
                None
            }
        }
    }

    /// A count or size as Kubernetes writes quantities.
    pub(super) fn quantity(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<u64> {
        let value = self.take(name)?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => {
                self.wrong(name, "a quantity such as 100 or \"10Gi\"", other, report);
                return None;
            }
        };
        match units::quantity(&text) {
            Ok(quantity) => Some(quantity),
            Err(message) => {
                report.error(&self.at(name), message);
                None
            }
        }
    }

    pub(super) fn mapping(&mut self, name: &'static str, report: &mut Report<'_>) -> Self {
        let value = self.take(name);
        Self::new(value, self.at(name), report)
    }

    /// The items of a list, each with its pointer.
    pub(super) fn list(
        &mut self,
        name: &'static str,
        report: &mut Report<'_>,
    ) -> Vec<(&'v Value, String)> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let pointer = self.at(name);
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| (item, format!("{pointer}/{index}")))
                    .collect()
            }
            Some(other) => {
                self.wrong(name, "a list", other, report);
                Vec::new()
            }
        }
    }

    pub(super) fn strings(&mut self, name: &'static str, report: &mut Report<'_>) -> Vec<String> {
        let mut out = Vec::new();
        for (item, pointer) in self.list(name, report) {
            match item.as_str() {
                Some(text) => out.push(text.to_owned()),
                None => report.error(
                    &pointer,
                    format!("must be a string, not {}", described(item)),
                ),
            }
        }
        out
    }

    /// Takes note of a field of older generations that has no effect any more.
    pub(super) fn ignore(&mut self, name: &'static str, why: &str, report: &mut Report<'_>) {
        if self.take(name).is_some() {
            report.warn(&self.at(name), format!("has no effect: {why}"));
        }
    }

    /// Reports every field that nobody asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        let Some(values) = self.values else { return };
        for name in values.keys() {
            if !self.taken.contains(&name.as_str()) {
                let close = self
                    .taken
                    .iter()
                    .find(|known| known.eq_ignore_ascii_case(name) || near(known, name))
                    .map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
                report.error(&self.at(name), format!("unknown field{close}"));
            }
        }
    }
}

/// Whether two names differ by one letter, or by two that changed places.
fn near(a: &str, b: &str) -> bool {
    let start = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a.as_bytes()[start..], &b.as_bytes()[start..]);
    let end = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    a.len().max(b.len()) <= 1 || (a.len() == 2 && b.len() == 2 && a[0] == b[1] && a[1] == b[0])
}

fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => {
            format!("{flag} (an unquoted y, yes, on, n, no or off is a truth value, too)")
        }
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
