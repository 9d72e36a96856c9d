//! The functions of the language, but for `and` and `or`, which do not evaluate all of their arguments.

use std::cmp::Ordering;

use crate::Value;
use crate::format::{print, printf};

pub(crate) const NAMES: &[&str] = &[
    "and", "or", "not", "len", "index", "slice", "print", "println", "printf", "html", "js",
    "urlquery", "eq", "ne", "lt", "le", "gt", "ge",
];

pub(crate) fn call<'d>(name: &str, arguments: &[Value<'d>]) -> Result<Value<'d>, String> {
    match (name, arguments) {
        ("not", [value]) => Ok(Value::Bool(!value.truth())),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys
            .iter()
            .try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [Value::Str(text), bounds @ ..]) => slice(text, bounds),
        ("print", values) => joined(values, false).map(Value::text),
        ("println", values) => Ok(Value::text(joined(values, true)? + "\n")),
        ("printf", [Value::Str(layout), values @ ..]) => printf(layout, values).map(Value::text),
        ("html", values) => Ok(Value::text(html(&joined(values, false)?))),
        ("js", values) => Ok(Value::text(js(&joined(values, false)?))),
        ("urlquery", values) => Ok(Value::text(query(&joined(values, false)?))),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            for value in rest {
                if equal(first, value)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("ne", [left, right]) => Ok(Value::Bool(!equal(left, right)?)),
        ("lt", [left, right]) => Ok(Value::Bool(order(left, right)?.is_lt())),
        ("le", [left, right]) => Ok(Value::Bool(order(left, right)?.is_le())),
        ("gt", [left, right]) => Ok(Value::Bool(order(left, right)?.is_gt())),
        ("ge", [left, right]) => Ok(Value::Bool(order(left, right)?.is_ge())),
        (_, arguments) => {
            let kinds: Vec<&str> = arguments.iter().map(Value::kind).collect();
            Err(format!(
                "these arguments do not fit: ({})",
                kinds.join(", ")
            ))
        }
    }
}

fn length<'d>(value: &Value<'d>) -> Result<Value<'d>, String> {
    let length = match value {
        Value::Str(text) => text.len(),
        Value::List(list, _) => list.len(),
        Value::Object {
            object, map: true, ..
        } => object.len(),
        Value::Nil(_) => 0,
        other => return Err(format!("len of type {}", other.kind())),
    };
    Ok(Value::int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index<'d>(value: &Value<'d>, key: &Value<'d>) -> Result<Value<'d>, String> {
    match (value, key) {
        (Value::List(list, path), Value::Int { number, .. }) => {
            let item = usize::try_from(*number)
                .ok()
                .and_then(|index| list.get(index));
            let item = item.ok_or_else(|| {
                format!(
                    "index out of range: {number}, the list has {} items",
                    list.len()
                )
            })?;
            let mut path = path.clone();
            path.push("[]".into());
            Ok(Value::of(item, path, false))
        }
        (Value::Str(text), Value::Int { number, .. }) => {
            let byte = usize::try_from(*number)
                .ok()
                .and_then(|index| text.as_bytes().get(index));
            byte.map(|byte| Value::int(i64::from(*byte)))
                .ok_or_else(|| format!("index out of range: {number}"))
        }
        (
            Value::Object {
                object,
                path,
                map: true,
            },
            Value::Str(key),
        ) => {
            let mut path = path.clone();
            path.push(key.clone());
            // A missing key is the empty value, as in Go; maps of the kinds here hold strings.
            Ok(object
                .get(&**key)
                .map_or_else(|| Value::text(String::new()), |v| Value::of(v, path, true)))
        }
        (Value::Nil(_), Value::Str(_)) => Ok(Value::text(String::new())),
        (value, key) => Err(format!("can't index {} with {}", value.kind(), key.kind())),
    }
}

fn slice<'d>(text: &str, bounds: &[Value<'d>]) -> Result<Value<'d>, String> {
    let bound = |value: Option<&Value<'_>>, default: usize| match value {
        None => Ok(default),
        Some(Value::Int { number, .. }) => {
            usize::try_from(*number).map_err(|_| format!("index out of range: {number}"))
        }
        Some(other) => Err(format!("can't slice with {}", other.kind())),
    };
    if bounds.len() > 2 {
        return Err("a string takes two indices at most".to_owned());
    }
    let (from, to) = (bound(bounds.first(), 0)?, bound(bounds.get(1), text.len())?);
    text.get(from..to)
        .map(|part| Value::text(part.to_owned()))
        .ok_or_else(|| format!("index out of range: {from} to {to} of {} bytes", text.len()))
}

/// The values side by side; a blank between two that are no strings, or between all.
fn joined(values: &[Value<'_>], all: bool) -> Result<String, String> {
    let mut text = String::new();
    for (index, value) in values.iter().enumerate() {
        let string = |value: &Value<'_>| matches!(value, Value::Str(_));
        let blank = |before: &Value<'_>| all || !(string(before) || string(value));
        if index > 0 && values.get(index - 1).is_some_and(blank) {
            text.push(' ');
        }
        text.push_str(&print(value)?);
    }
    Ok(text)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of a manifest are small"
)]
fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int { number, .. } => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, String> {
    match (left, right) {
        (Value::Nil(_), right) => Ok(matches!(right, Value::Nil(_))),
        (_, Value::Nil(_)) => Ok(false),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        _ => order(left, right).map(Ordering::is_eq),
    }
}

fn order(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, String> {
    let ordering = match (left, right) {
        (Value::Str(left), Value::Str(right)) => Some(left.cmp(right)),
        (Value::Int { number: left, .. }, Value::Int { number: right, .. }) => {
            Some(left.cmp(right))
        }
        _ => number(left)
            .zip(number(right))
            .and_then(|(left, right)| left.partial_cmp(&right)),
    };
    ordering.ok_or_else(|| {
        format!(
            "incompatible types for comparison: {} and {}",
            left.kind(),
            right.kind()
        )
    })
}

fn html(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '\0' => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

fn js(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\'' => escaped.push_str("\\'"),
            '"' => escaped.push_str("\\\""),
            '<' | '>' | '&' | '=' => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

fn query(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
