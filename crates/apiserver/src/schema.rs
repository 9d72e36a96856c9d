//! Schemas of served kinds: unknown fields, defaults, validation, merging and field ownership.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use weir_merge::apply::ApplyError;
use weir_schema::Node;

use crate::meta;
use crate::registry::Resource;
use crate::rule::Rules;
use crate::status::{ApiError, ApiResult};

/// The schema of one kind in one version; read when it is first needed.
pub struct Schema {
    source: Source,
    node: OnceLock<Node>,
    rules: OnceLock<Option<Rules>>,
}

enum Source {
    Builtin(String, String, String),
    Custom(Arc<str>),
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl Schema {
    /// Returns the schema of a built-in kind.
    pub(crate) fn builtin(group: &str, version: &str, kind: &str) -> Arc<Self> {
        let source = Source::Builtin(group.to_owned(), version.to_owned(), kind.to_owned());
        Arc::new(Self {
            source,
            node: OnceLock::new(),
            rules: OnceLock::new(),
        })
    }

    /// Returns the schema of a definition, none when it has none.
    pub(crate) fn custom(openapi: &Arc<str>) -> Option<Arc<Self>> {
        let source = Source::Custom(Arc::clone(openapi));
        openapi.starts_with('{').then(|| {
            Arc::new(Self {
                source,
                node: OnceLock::new(),
                rules: OnceLock::new(),
            })
        })
    }

    /// Returns the OpenAPI v3 document.
    pub fn openapi(&self) -> Value {
        match &self.source {
            Source::Builtin(group, version, kind) => {
                weir_api::builtin::schema(group, version, kind).unwrap_or_else(open)
            }
            Source::Custom(openapi) => read(openapi),
        }
    }

    fn rules(&self) -> Option<&Rules> {
        let compile = || match &self.source {
            Source::Custom(openapi) => Rules::compile(openapi),
            Source::Builtin(..) => None,
        };
        self.rules.get_or_init(compile).as_ref()
    }

    /// Returns the parsed schema.
    pub fn node(&self) -> &Node {
        self.node.get_or_init(|| {
            let parsed = match &self.source {
                Source::Custom(openapi) => Node::parse(&read(openapi)),
                Source::Builtin(..) => Node::parse(&self.openapi()),
            };
            parsed.unwrap_or_else(|error| {
                tracing::warn!(%error, "Schema not usable: its kind is served without one");
                Node::any()
            })
        })
    }
}

/// Reads the text of a schema, which came from a value.
fn read(openapi: &str) -> Value {
    serde_json::from_str(openapi).unwrap_or_else(|_| open())
}

fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn node(resource: &Resource) -> Node {
    resource
        .schema
        .as_ref()
        .map_or_else(Node::any, |schema| schema.node().clone())
}

/// Returns the document of a kind for OpenAPI.
pub(crate) fn document(resource: &Resource) -> Value {
    let mut document = resource
        .schema
        .as_ref()
        .map_or_else(open, |schema| schema.openapi());
    if resource.custom.is_some()
        && let Some(properties) = document
            .get_mut("properties")
            .and_then(Value::as_object_mut)
    {
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), weir_api::builtin::object_meta());
    }
    document
}

/// Drops unknown fields; refuses or names them as `validation` says.
pub(crate) fn check_fields(
    resource: &Resource,
    object: &mut Value,
    validation: &str,
    warnings: &mut Vec<String>,
) -> ApiResult<()> {
    if resource.custom.is_none() {
        // A built-in kind knows no null: a typed decoder takes it for absent.
        drop_nulls(object);
    }
    if resource
        .custom
        .as_ref()
        .is_some_and(|custom| custom.preserve_unknown)
    {
        return Ok(());
    }
    let mut unknown = node(resource).prune(object);
    if resource.custom.is_some() {
        // Metadata is decoded before the rest.
        unknown.sort_by_key(|path| !path.starts_with("metadata."));
    }
    if unknown.is_empty() || validation == "Ignore" {
        return Ok(());
    }
    if validation == "Strict" {
        let list: Vec<String> = unknown
            .iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect();
        let kind = &resource.kind;
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
            resource.version,
            list.join(", ")
        )));
    }
    warnings.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
    Ok(())
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Fills in the defaults of a definition's schema.
pub(crate) fn default(resource: &Resource, object: &mut Value) {
    if resource.custom.is_some() {
        node(resource).default(object);
    }
}

/// Returns what the schema refuses, as (reason, message, field).
pub(crate) fn validate(
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
) -> Vec<(String, String, String)> {
    let violations = node(resource).validate(object);
    let rules = resource.schema.as_ref().and_then(|schema| schema.rules());
    let mut faults: Vec<_> = violations
        .into_iter()
        .map(|violation| {
            (
                violation.reason.to_owned(),
                violation.message,
                violation.path,
            )
        })
        .collect();
    // Rules see only objects whose shape is right; other faults do not keep them from it.
    let blocked = faults.iter().any(|(reason, ..)| {
        matches!(
            reason.as_str(),
            "FieldValueNotSupported"
                | "FieldValueRequired"
                | "FieldValueTooLong"
                | "FieldValueTooMany"
                | "FieldValueTypeInvalid"
        )
    });
    match rules {
        Some(_) if blocked => faults.push(crate::rule::unasked()),
        Some(rules) => faults.extend(rules.check(object, old)),
        None => {}
    }
    faults
}

/// Records which fields an update by `manager` changed.
pub(crate) fn record(
    resource: &Resource,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    subresource: &str,
) -> ApiResult<()> {
    if manager.len() > 128 {
        return Err(ApiError::bad_request(
            "fieldManager: Invalid value: must have at most 128 bytes",
        ));
    }
    let schema = node(resource);
    weir_merge::apply::record_update(old, new, manager, &schema, &meta::now(), subresource);
    Ok(())
}

/// Applies a strategic merge patch.
pub(crate) fn strategic(resource: &Resource, object: &mut Value, patch: &Value) -> ApiResult<()> {
    weir_merge::strategic_merge_patch(object, patch, &node(resource))
        .map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Applies a configuration of `manager`.
pub(crate) fn apply(
    resource: &Resource,
    live: Option<&Value>,
    mut applied: Value,
    manager: &str,
    force: bool,
    subresource: &str,
) -> ApiResult<Value> {
    if let Value::Object(map) = &mut applied {
        if subresource == "status" {
            map.retain(|key, _| {
                matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status")
            });
        } else if resource.status {
            map.remove("status");
        }
    }
    for key in [
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
        "selfLink",
    ] {
        meta::set(&mut applied, key, None);
    }
    if subresource == "status"
        && let Some(metadata) = applied.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace"));
    }
    let schema = node(resource);
    let name = meta::name(&applied).to_owned();
    weir_merge::apply::apply(
        live,
        &applied,
        manager,
        force,
        &schema,
        &meta::now(),
        subresource,
    )
    .map_err(|error| match error {
        ApplyError::Conflicts(conflicts) => {
            let message = ApplyError::Conflicts(conflicts.clone()).to_string();
            let mut error = ApiError::conflict(resource, &name, "");
            error.message = message;
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|conflict| {
                    json!({"reason": "FieldManagerConflict", "message": conflict.message(),
                            "field": conflict.field})
                })
                .collect();
            error.details = json!({"causes": causes});
            error
        }
        other => ApiError::bad_request(other.to_string()),
    })
}

/// Returns the path of the first key that a JSON object holds twice.
pub(crate) fn duplicate_key(bytes: &[u8]) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut found = None;
    let seed = Duplicates {
        path: String::new(),
        found: &mut found,
    };
    // Malformed text is reported by the parser proper.
    let _ = serde::de::DeserializeSeed::deserialize(seed, &mut deserializer);
    found
}

struct Duplicates<'a> {
    path: String,
    found: &'a mut Option<String>,
}

impl<'de> serde::de::DeserializeSeed<'de> for Duplicates<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Duplicates<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let path = format!("{}[{index}]", self.path);
            if list
                .next_element_seed(Duplicates {
                    path,
                    found: &mut *self.found,
                })?
                .is_none()
            {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = if self.path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", self.path)
            };
            if !seen.insert(key) && self.found.is_none() {
                *self.found = Some(path.clone());
            }
            map.next_value_seed(Duplicates {
                path,
                found: &mut *self.found,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_are_named() {
        let path = duplicate_key(br#"{"a": 1, "b": [{"c": 1, "c": 2}]}"#);
        assert_eq!(path.as_deref(), Some("b[0].c"));
        assert_eq!(duplicate_key(br#"{"a": {"b": 1}, "b": 1}"#), None);
    }
}
