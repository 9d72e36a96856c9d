//! The JSON reader, for text that the YAML reader does not take.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::tree::{Content, Entry, Node};
use crate::{Failure, Position, Scalar};

/// A value without duplicate keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!("key {name:?} occurs twice")));
            }
            let Strict(value) = entries.next_value()?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

pub(crate) fn read(text: &str) -> Result<Vec<Arc<Node>>, Failure> {
    let text = text.trim_start_matches('\u{feff}');
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Strict>();
    let mut roots = Vec::new();
    loop {
        let begin = place(text, stream.byte_offset());
        match stream.next() {
            None => return Ok(roots),
            Some(Ok(Strict(value))) => roots.push(tree(value, begin)?),
            Some(Err(error)) => {
                let at = Position {
                    line: error.line().max(1),
                    column: error.column().max(1),
                };
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
                return Err(Failure::new(at, what));
            }
        }
    }
}

fn place(text: &str, offset: usize) -> Position {
    let rest = &text[offset..];
    let offset = offset + (rest.len() - rest.trim_start().len());
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |index| index + 1);
    Position {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Every node of the value is said to stand where the value begins.
fn tree(value: Value, at: Position) -> Result<Arc<Node>, Failure> {
    let content = match value {
        Value::Array(list) => Content::List(
            list.into_iter()
                .map(|item| tree(item, at))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => Content::Map(
            fields
                .into_iter()
                .map(|(name, value)| {
                    Ok(Entry {
                        name,
                        at,
                        node: tree(value, at)?,
                    })
                })
                .collect::<Result<_, Failure>>()?,
        ),
        scalar => {
            let (text, quoted) = match &scalar {
                Value::String(text) => (text.clone(), true),
                other => (other.to_string(), false),
            };
            Content::Scalar {
                value: scalar,
                written: Scalar { text, quoted },
            }
        }
    };
    Node::new(at, content)
}
