//! Checking a value, in the words of a Kubernetes API server.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::format;
use crate::node::{Additional, Id, Kind, ListType, Node};

/// One place where a value does not follow its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as `spec.containers[0].name`; `<nil>` for the value itself.
    pub path: String,
    /// What is wrong, without the path.
    pub message: String,
    /// The machine-readable reason, as in the causes of a `Status`.
    pub reason: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// More violations than this are not collected.
const MAX_VIOLATIONS: usize = 100;

impl Node {
    /// Checks the value and returns every violation, at most 100.
    #[must_use]
    pub fn validate(&self, value: &Value) -> Vec<Violation> {
        let mut check = Check {
            path: String::new(),
            found: Vec::new(),
        };
        check.root(self, value);
        check.found
    }
}

struct Check {
    path: String,
    found: Vec<Violation>,
}

impl Check {
    fn name(&self) -> String {
        if self.path.is_empty() {
            "<nil>".to_owned()
        } else {
            self.path.clone()
        }
    }

    fn add(&mut self, reason: &'static str, message: String) {
        if self.found.len() < MAX_VIOLATIONS {
            self.found.push(Violation {
                path: self.name(),
                message,
                reason,
            });
        }
    }

    fn invalid(&mut self, value: &Value, what: &str) {
        let message = format!(
            "Invalid value: {}: {} in body {what}",
            shown(value),
            self.path
        );
        self.add("FieldValueInvalid", message);
    }

    fn wrong_type(&mut self, value: &Value, want: &str) {
        let got = type_name(value);
        let message = format!(
            "Invalid value: {got:?}: {} in body must be of type {want}: {got:?}",
            self.path
        );
        self.add("FieldValueTypeInvalid", message);
    }

    fn within(&mut self, step: &str, run: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !step.starts_with('[') && length > 0 {
            self.path.push('.');
        }
        self.path.push_str(step);
        run(self);
        self.path.truncate(length);
    }

    fn root(&mut self, node: &Node, value: &Value) {
        self.value(node, value);
    }

    fn value(&mut self, node: &Node, value: &Value) {
        if self.found.len() >= MAX_VIOLATIONS {
            return;
        }
        if value.is_null() && (node.nullable() || node.table.native) {
            return;
        }
        if !self.kind(node, value) {
            return;
        }
        let data = node.data();
        if let Some(allowed) = &data.rare().enumeration
            && !allowed.contains(value)
        {
            let list: Vec<_> = allowed.iter().map(shown).collect();
            let message = format!(
                "Unsupported value: {}: supported values: {}",
                shown(value),
                list.join(", ")
            );
            self.add("FieldValueNotSupported", message);
        }
        match value {
            Value::Object(fields) => self.object(node, fields, value),
            Value::Array(list) => self.array(node, list, value),
            Value::String(text) => self.text(node, text, value),
            Value::Number(number) => {
                if let Some(number) = number.as_f64() {
                    self.number(node, number, value);
                }
            }
            _ => {}
        }
        self.combined(node, value);
    }

    /// Returns whether the type is right, or at least not known to be wrong.
    fn kind(&mut self, node: &Node, value: &Value) -> bool {
        if node.int_or_string() {
            let right =
                is_integer(value) || value.is_string() || (node.table.native && value.is_number());
            if !right {
                self.wrong_type(value, "integer,string");
            }
            return right;
        }
        let Some(kind) = node.kind() else {
            return !value.is_null() || node.preserves_unknown() || self.null(node);
        };
        let right = match kind {
            Kind::Object => value.is_object(),
            Kind::Array => value.is_array(),
            Kind::String => value.is_string(),
            Kind::Integer => is_integer(value),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
        };
        if !right {
            self.wrong_type(value, kind.as_str());
        }
        right
    }

    fn null(&mut self, node: &Node) -> bool {
        // Without a type nothing forbids null.
        node.own().base.is_none()
    }

    fn object(&mut self, node: &Node, fields: &Map<String, Value>, value: &Value) {
        let data = node.data();
        if let Some(least) = data.rare().min_properties
            && (fields.len() as u64) < least
        {
            self.invalid(value, &format!("should have at least {least} properties"));
        }
        if let Some(most) = data.rare().max_properties
            && fields.len() as u64 > most
        {
            let message = format!("Too many: {}: must have at most {most} items", fields.len());
            self.add("FieldValueTooMany", message);
        }
        for name in &data.rare().required {
            if !fields.contains_key(name) {
                self.within(name, |check| {
                    check.add("FieldValueRequired", "Required value".to_owned())
                });
            }
        }
        if node.embedded_resource() {
            for name in ["apiVersion", "kind"] {
                if fields
                    .get(name)
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
                {
                    self.within(name, |check| {
                        check.add("FieldValueRequired", "Required value".to_owned())
                    });
                }
            }
        }
        let additional = node.additional();
        for (name, value) in fields {
            if let Some(child) = node.property(name) {
                self.within(name, |check| check.value(&child, value));
            } else if let Additional::Schema(child) = &additional {
                self.within(name, |check| check.value(child, value));
            }
        }
    }

    fn array(&mut self, node: &Node, list: &[Value], value: &Value) {
        let data = node.data();
        if let Some(least) = data.rare().min_items
            && (list.len() as u64) < least
        {
            self.invalid(value, &format!("should have at least {least} items"));
        }
        if let Some(most) = data.rare().max_items
            && list.len() as u64 > most
        {
            let message = format!("Too many: {}: must have at most {most} items", list.len());
            self.add("FieldValueTooMany", message);
        }
        if data.rare().unique_items {
            let mut seen = HashSet::new();
            if !list.iter().all(|item| seen.insert(item.to_string())) {
                self.invalid(value, "shouldn't contain duplicates");
            }
        }
        if let Some(items) = node.items() {
            for (index, item) in list.iter().enumerate() {
                self.within(&format!("[{index}]"), |check| check.value(&items, item));
            }
        }
        self.duplicates(node, list);
    }

    fn duplicates(&mut self, node: &Node, list: &[Value]) {
        let keys = node.list_map_keys();
        let mut seen = HashSet::new();
        for (index, item) in list.iter().enumerate() {
            let identity = match node.list_type() {
                Some(ListType::Set) => shown(item),
                Some(ListType::Map) => {
                    let Some(fields) = item.as_object() else {
                        continue;
                    };
                    let picked: Map<_, _> = keys
                        .iter()
                        .filter_map(|key| {
                            let default = || node.items()?.property(key)?.default_value();
                            Some((key.clone(), fields.get(key).cloned().or_else(default)?))
                        })
                        .collect();
                    Value::Object(picked).to_string()
                }
                _ => return,
            };
            if !seen.insert(identity.clone()) {
                let message = format!("Duplicate value: {identity}");
                self.within(&format!("[{index}]"), |check| {
                    check.add("FieldValueDuplicate", message)
                });
            }
        }
    }

    fn text(&mut self, node: &Node, text: &str, value: &Value) {
        let data = node.data();
        let length = text.chars().count() as u64;
        if let Some(least) = data.rare().min_length
            && length < least
        {
            self.invalid(value, &format!("should be at least {least} chars long"));
        }
        if let Some(most) = data.rare().max_length
            && length > most
        {
            self.add(
                "FieldValueTooLong",
                format!("Too long: may not be more than {most} bytes"),
            );
        }
        if let Some(pattern) = &data.rare().pattern
            && !pattern.is_match(text)
        {
            self.invalid(value, &format!("should match '{}'", pattern.as_str()));
        }
        if let Some(format) = &data.rare().format
            && !node.table.native
            && !format::matches(format, text)
        {
            self.invalid(value, &format!("must be of type {format}: {text:?}"));
        }
    }

    fn number(&mut self, node: &Node, number: f64, value: &Value) {
        let data = node.data();
        if let Some(least) = data.rare().minimum {
            if data.rare().exclusive_minimum && number <= least {
                self.invalid(value, &format!("should be greater than {least}"));
            } else if number < least {
                self.invalid(
                    value,
                    &format!("should be greater than or equal to {least}"),
                );
            }
        }
        if let Some(most) = data.rare().maximum {
            if data.rare().exclusive_maximum && number >= most {
                self.invalid(value, &format!("should be less than {most}"));
            } else if number > most {
                self.invalid(value, &format!("should be less than or equal to {most}"));
            }
        }
        if let Some(step) = data.rare().multiple_of
            && step > 0.0
            && (number / step).fract() != 0.0
        {
            self.invalid(value, &format!("should be a multiple of {step}"));
        }
        let whole = node.kind() == Some(Kind::Integer) || node.int_or_string();
        let range = match data.rare().format.as_deref() {
            Some("int32") if whole => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            Some("int64") if whole => {
                Some((-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_807.0))
            }
            _ => None,
        };
        if let Some((least, most)) = range
            && !(least..=most).contains(&number)
        {
            let format = data.rare().format.as_deref().unwrap_or_default();
            self.invalid(
                value,
                &format!("must be of type {format}: {:?}", type_name(value)),
            );
        }
    }

    fn combined(&mut self, node: &Node, value: &Value) {
        let data = node.data();
        let holds = |id: Id| node.at(id).validate(value).is_empty();
        if let Some(not) = data.rare().not
            && holds(not)
        {
            self.invalid(value, "must not validate the schema (not)");
        }
        for id in &data.rare().all_of {
            let part = node.at(*id);
            self.value(&part, value);
        }
        if !data.rare().any_of.is_empty()
            && !node.int_or_string()
            && !data.rare().any_of.iter().any(|id| holds(*id))
        {
            self.invalid(value, "must validate at least one schema (anyOf)");
            self.best(node, &data.rare().any_of, value);
        }
        if !data.rare().one_of.is_empty() && !node.int_or_string() {
            match data.rare().one_of.iter().filter(|id| holds(**id)).count() {
                1 => {}
                0 => {
                    self.invalid(value, "must validate one and only one schema (oneOf). Found none valid");
                    self.best(node, &data.rare().one_of, value);
                }
                more => self.invalid(
                    value,
                    &format!("must validate one and only one schema (oneOf). Found {more} valid alternatives"),
                ),
            }
        }
    }

    /// Reports why the alternative that fits best does not fit.
    fn best(&mut self, node: &Node, alternatives: &[Id], value: &Value) {
        let least = alternatives
            .iter()
            .map(|id| {
                let mut check = Self {
                    path: self.path.clone(),
                    found: Vec::new(),
                };
                check.value(&node.at(*id), value);
                check.found
            })
            .min_by_key(Vec::len);
        for violation in least.into_iter().flatten() {
            if self.found.len() < MAX_VIOLATIONS {
                self.found.push(violation);
            }
        }
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Longer values are cut in messages.
const MAX_SHOWN: usize = 500;

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
