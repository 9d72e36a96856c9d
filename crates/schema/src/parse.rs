//! From the JSON of a schema to the table of its nodes.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::node::{AdditionalId, Data, Id, Kind, ListType, Node, Properties, Table};

/// Why a schema cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A place of the schema has the wrong shape.
    #[error("schema at {path}: {what}")]
    Malformed {
        /// Where, as a path of keys.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// A reference leads nowhere.
    #[error("schema at {path}: {reference} is not among the definitions")]
    Unresolved {
        /// Where the reference stands.
        path: String,
        /// The reference.
        reference: String,
    },
    /// The schema is too large.
    #[error("schema has more than {MAX_NODES} nodes or more than {MAX_DEPTH} levels")]
    TooLarge,
}

/// The largest published schema, a PodTemplateSpec three times over, stays below a tenth of it.
const MAX_NODES: usize = 200_000;
const MAX_DEPTH: usize = 100;

impl Node {
    /// Reads an `openAPIV3Schema`.
    ///
    /// # Errors
    /// When a part has the wrong shape, a pattern does not compile, or the schema is too large.
    pub fn parse(schema: &Value) -> Result<Self, Error> {
        Parser::new(&Value::Null).run(schema, false)
    }

    /// Reads a schema of a built-in kind, whose `$ref` (`#/components/schemas/…` or `#/definitions/…`) are keys
    /// of `definitions`.
    ///
    /// Such schemas describe Go types: `null` is accepted everywhere as absence, and a default that is only the
    /// zero value of the type is no default.
    ///
    /// # Errors
    /// As [`Node::parse`], and when a reference is not among the definitions.
    pub fn parse_with_definitions(schema: &Value, definitions: &Value) -> Result<Self, Error> {
        Parser::new(definitions).run(schema, true)
    }
}

struct Parser<'a> {
    definitions: &'a Value,
    nodes: Vec<Data>,
    references: HashMap<String, Id>,
    native: bool,
    path: Vec<String>,
}

impl<'a> Parser<'a> {
    fn new(definitions: &'a Value) -> Self {
        Self {
            definitions,
            nodes: Vec::new(),
            references: HashMap::new(),
            native: false,
            path: Vec::new(),
        }
    }

    fn run(mut self, schema: &Value, native: bool) -> Result<Node, Error> {
        self.native = native;
        let id = self.node(schema)?;
        self.nodes.shrink_to_fit();
        Ok(Node {
            table: Arc::new(Table {
                nodes: self.nodes,
                native,
            }),
            id,
        })
    }

    fn malformed(&self, what: impl Into<String>) -> Error {
        Error::Malformed {
            path: format!("/{}", self.path.join("/")),
            what: what.into(),
        }
    }

    fn reserve(&mut self) -> Result<Id, Error> {
        if self.nodes.len() >= MAX_NODES || self.path.len() > MAX_DEPTH {
            return Err(Error::TooLarge);
        }
        self.nodes.push(Data::default());
        Id::try_from(self.nodes.len() - 1).map_err(|_| Error::TooLarge)
    }

    fn child(&mut self, key: &str, schema: &Value) -> Result<Id, Error> {
        self.path.push(key.to_owned());
        let id = self.node(schema);
        self.path.pop();
        id
    }

    fn node(&mut self, schema: &Value) -> Result<Id, Error> {
        let id = self.reserve()?;
        let data = match schema {
            Value::Object(fields) => self.object(fields)?,
            Value::Bool(true) => Data {
                preserve: true,
                nullable: true,
                ..Data::default()
            },
            _ => return Err(self.malformed("must be an object")),
        };
        self.nodes[id as usize] = data;
        Ok(id)
    }

    fn reference(&mut self, reference: &str) -> Result<Id, Error> {
        let name = reference.rsplit('/').next().unwrap_or(reference).to_owned();
        if let Some(id) = self.references.get(&name) {
            return Ok(*id);
        }
        let definitions = self.definitions;
        let Some(schema) = definitions.get(&name) else {
            return Err(Error::Unresolved {
                path: format!("/{}", self.path.join("/")),
                reference: reference.to_owned(),
            });
        };
        let id = self.reserve()?;
        self.references.insert(name.clone(), id);
        let fields = schema
            .as_object()
            .ok_or_else(|| self.malformed(format!("{reference} must be an object")))?;
        // A definition starts anew: nesting is bounded by the number of definitions, not by the path to here.
        let outer = std::mem::replace(&mut self.path, vec![name]);
        let data = self.object(fields);
        self.path = outer;
        self.nodes[id as usize] = data?;
        Ok(id)
    }

    fn object(&mut self, fields: &Map<String, Value>) -> Result<Data, Error> {
        let mut data = Data::default();
        for (key, value) in fields {
            match key.as_str() {
                "$ref" => data.base = Some(self.reference(self.text(key, value)?)?),
                "type" => data.kind = Some(self.kind(value)?),
                "properties" => {
                    let fields = self.map(key, value)?;
                    let mut list = Vec::with_capacity(fields.len());
                    for (name, schema) in fields {
                        list.push((Box::from(name.as_str()), self.child(name, schema)?));
                    }
                    data.properties = Properties::new(list);
                }
                "additionalProperties" => {
                    data.additional = match value {
                        Value::Bool(false) => AdditionalId::No,
                        Value::Bool(true) => AdditionalId::Any,
                        schema => AdditionalId::Schema(self.child(key, schema)?),
                    }
                }
                "items" => data.items = Some(self.child(key, value)?),
                "nullable" => data.nullable = self.flag(key, value)?,
                "required" => data.rare_mut().required = self.texts(key, value)?,
                "enum" => {
                    data.rare_mut().enumeration = Some(
                        value
                            .as_array()
                            .cloned()
                            .ok_or_else(|| self.wrong(key, "a list"))?,
                    );
                }
                "pattern" => {
                    let text = self.text(key, value)?;
                    let regex = Regex::new(text).map_err(|error| {
                        self.malformed(format!("pattern {text:?} does not compile: {error}"))
                    })?;
                    data.rare_mut().pattern = Some(regex);
                }
                "minimum" => data.rare_mut().minimum = Some(self.number(key, value)?),
                "maximum" => data.rare_mut().maximum = Some(self.number(key, value)?),
                "exclusiveMinimum" => data.rare_mut().exclusive_minimum = self.flag(key, value)?,
                "exclusiveMaximum" => data.rare_mut().exclusive_maximum = self.flag(key, value)?,
                "multipleOf" => data.rare_mut().multiple_of = Some(self.number(key, value)?),
                "minLength" => data.rare_mut().min_length = Some(self.count(key, value)?),
                "maxLength" => data.rare_mut().max_length = Some(self.count(key, value)?),
                "minItems" => data.rare_mut().min_items = Some(self.count(key, value)?),
                "maxItems" => data.rare_mut().max_items = Some(self.count(key, value)?),
                "uniqueItems" => data.rare_mut().unique_items = self.flag(key, value)?,
                "minProperties" => data.rare_mut().min_properties = Some(self.count(key, value)?),
                "maxProperties" => data.rare_mut().max_properties = Some(self.count(key, value)?),
                "format" => data.rare_mut().format = Some(self.text(key, value)?.to_owned()),
                "default" if self.native && is_zero(value) => {}
                "default" => data.rare_mut().default = Some(value.clone()),
                "allOf" => data.rare_mut().all_of = self.list(key, value)?,
                "anyOf" => data.rare_mut().any_of = self.list(key, value)?,
                "oneOf" => data.rare_mut().one_of = self.list(key, value)?,
                "not" => data.rare_mut().not = Some(self.child(key, value)?),
                "x-kubernetes-preserve-unknown-fields" => data.preserve = self.flag(key, value)?,
                "x-kubernetes-embedded-resource" => data.embedded = self.flag(key, value)?,
                "x-kubernetes-int-or-string" => data.int_or_string = self.flag(key, value)?,
                "x-kubernetes-list-type" => {
                    data.rare_mut().list_type = Some(match self.text(key, value)? {
                        "map" => ListType::Map,
                        "set" => ListType::Set,
                        "atomic" => ListType::Atomic,
                        other => {
                            return Err(self.malformed(format!(
                                "list type {other:?} must be map, set or atomic"
                            )));
                        }
                    });
                }
                "x-kubernetes-list-map-keys" => {
                    data.rare_mut().list_map_keys = self.texts(key, value)?
                }
                "x-kubernetes-map-type" => {
                    data.rare_mut().atomic_map = Some(self.text(key, value)? == "atomic")
                }
                "x-kubernetes-patch-merge-key" => {
                    data.rare_mut().merge_key = Some(self.text(key, value)?.to_owned())
                }
                "x-kubernetes-patch-strategy" => {
                    data.rare_mut().strategy = Some(self.text(key, value)?.to_owned())
                }
                _ => {}
            }
        }
        if data.rare().format.as_deref() == Some("int-or-string") {
            data.int_or_string = true;
        }
        // Published schemas wrap a reference that has a default or a description of its own into `allOf`.
        let shapeless = data.kind.is_none() && data.properties.is_empty() && data.items.is_none();
        if let ([only], true, None) = (data.rare().all_of.as_slice(), shapeless, data.base) {
            data.base = Some(*only);
            data.rare_mut().all_of.clear();
        }
        if data.kind.is_none() && data.base.is_none() && self.native {
            let undescribed = data.properties.is_empty()
                && data.items.is_none()
                && data.rare().any_of.is_empty()
                && data.rare().one_of.is_empty()
                && matches!(data.additional, AdditionalId::No);
            data.preserve |= undescribed && !data.int_or_string;
        }
        if self.native && data.kind == Some(Kind::Object) {
            // `type: object` and nothing else is a Go type with free content (RawExtension, FieldsV1).
            data.preserve |=
                data.properties.is_empty() && matches!(data.additional, AdditionalId::No);
        }
        Ok(data)
    }

    fn wrong(&self, key: &str, want: &str) -> Error {
        self.malformed(format!("{key} must be {want}"))
    }

    fn text<'v>(&self, key: &str, value: &'v Value) -> Result<&'v str, Error> {
        value.as_str().ok_or_else(|| self.wrong(key, "a string"))
    }

    fn texts(&self, key: &str, value: &Value) -> Result<Vec<String>, Error> {
        value
            .as_array()
            .and_then(|list| {
                list.iter()
                    .map(|item| item.as_str().map(str::to_owned))
                    .collect()
            })
            .ok_or_else(|| self.wrong(key, "a list of strings"))
    }

    fn map<'v>(&self, key: &str, value: &'v Value) -> Result<&'v Map<String, Value>, Error> {
        value
            .as_object()
            .ok_or_else(|| self.wrong(key, "an object"))
    }

    fn list(&mut self, key: &str, value: &Value) -> Result<Vec<Id>, Error> {
        let list = value.as_array().ok_or_else(|| self.wrong(key, "a list"))?;
        list.iter().map(|schema| self.child(key, schema)).collect()
    }

    fn flag(&self, key: &str, value: &Value) -> Result<bool, Error> {
        value
            .as_bool()
            .ok_or_else(|| self.wrong(key, "true or false"))
    }

    fn number(&self, key: &str, value: &Value) -> Result<f64, Error> {
        value.as_f64().ok_or_else(|| self.wrong(key, "a number"))
    }

    fn count(&self, key: &str, value: &Value) -> Result<u64, Error> {
        value.as_u64().ok_or_else(|| self.wrong(key, "a count"))
    }

    fn kind(&self, value: &Value) -> Result<Kind, Error> {
        Ok(match self.text("type", value)? {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            other => return Err(self.malformed(format!("type {other:?} is unknown"))),
        })
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
