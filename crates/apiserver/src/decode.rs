//! Values of the wrong type in built-in kinds, told as the decoder of a Kubernetes API server does.

use serde_json::Value;
use weir_api::builtin;

use crate::registry::Resource;

/// Returns the decoder's message for a type fault (reason, message, field); none when the field is not found in the
/// kind's definition.
pub(crate) fn fault(
    resource: &Resource,
    (_, message, field): &(String, String, String),
) -> Option<String> {
    let got = match message.rsplit('"').nth(1)? {
        "boolean" => "bool",
        "integer" => "number",
        other => other,
    };
    let (.., root) = builtin::kinds().find(|(group, version, kind, _)| {
        (*group, *version, *kind)
            == (
                resource.group.as_str(),
                resource.version.as_str(),
                resource.kind.as_str(),
            )
    })?;
    let mut holder = root;
    let mut node = builtin::openapi_definitions().get(root)?;
    let mut place = Vec::new();
    for step in field.split('.') {
        let name = step.split('[').next().unwrap_or(step);
        if let Some(property) = node.pointer(&format!("/properties/{name}")) {
            place.push(name);
            let (inner, definition) = follow(property);
            node = inner;
            if let Some(definition) = definition {
                // The field itself is told by the type that holds it.
                if field.rsplit('.').next() != Some(step) || step.contains('[') {
                    holder = definition;
                }
            }
        } else {
            // A key of a map.
            node = node.get("additionalProperties")?;
        }
    }
    let wanted = go_type(node)?;
    let holder = holder.rsplit('.').next().unwrap_or(holder);
    Some(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: json: cannot unmarshal {got} \
         into Go struct field {holder}.{place} of type {wanted}",
        kind = resource.kind,
        version = resource.version,
        place = place.join("."),
    ))
}

/// Follows references and lists; returns the name of the last definition.
fn follow(property: &'static Value) -> (&'static Value, Option<&'static str>) {
    let (mut node, mut name) = (property, None);
    loop {
        let reference = node
            .get("$ref")
            .or_else(|| node.pointer("/allOf/0/$ref"))
            .and_then(Value::as_str)
            .and_then(|text| text.strip_prefix(builtin::REFERENCE_PREFIX));
        if let Some(reference) = reference
            && let Some(definition) = builtin::openapi_definitions().get(reference)
        {
            (node, name) = (definition, Some(reference));
        } else if let Some(items) = node.get("items") {
            node = items;
        } else {
            return (node, name);
        }
    }
}

fn go_type(node: &Value) -> Option<&'static str> {
    let format = node.get("format").and_then(Value::as_str);
    Some(match (node.get("type").and_then(Value::as_str)?, format) {
        ("integer", Some("int64")) => "int64",
        ("integer", _) => "int32",
        ("boolean", _) => "bool",
        ("string", None) => "string",
        ("object", _) if node.pointer("/additionalProperties/type").is_some() => "string",
        _ => return None,
    })
}
