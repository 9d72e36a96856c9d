//! Rules of built-in kinds that their schemas do not say.

use serde_json::Value;

use crate::meta;
use crate::registry::Resource;

type Fault = (String, String, String);

fn invalid(field: &str, message: &str) -> Fault {
    (
        "FieldValueInvalid".to_owned(),
        format!("Invalid value: {message}"),
        field.to_owned(),
    )
}

fn required(field: String) -> Fault {
    (
        "FieldValueRequired".to_owned(),
        "Required value".to_owned(),
        field,
    )
}

/// Returns what is wrong with an object, as (reason, message, field).
pub(crate) fn check(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Fault> {
    let mut faults = Vec::new();
    match &*resource.storage {
        "apps/deployments" | "apps/replicasets" => {
            workload(object, old, &mut faults);
            pod(
                object,
                "/spec/template/spec",
                "spec.template.spec",
                &mut faults,
            );
        }
        "batch/jobs" => pod(
            object,
            "/spec/template/spec",
            "spec.template.spec",
            &mut faults,
        ),
        "core/pods" if old.is_none() => pod(object, "/spec", "spec", &mut faults),
        "core/services" => service(object, &mut faults),
        _ => {}
    }
    for (key, value) in object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let value = value.as_str().unwrap_or("");
        if !label_value(value) {
            faults.push(invalid(
                "metadata.labels",
                &format!(
                    "\"{value}\": a valid label must be an empty string or consist of alphanumeric \
                     characters, '-', '_' or '.', and must start and end with an alphanumeric \
                     character, at most 63 of them (label {key:?})"
                ),
            ));
        }
    }
    faults
}

/// Returns what is wrong with the name of a new object.
pub(crate) fn name_fault(resource: &Resource, name: &str) -> Option<String> {
    let label = matches!(&*resource.storage, "core/namespaces" | "core/services");
    let limit = if label { 63 } else { 253 };
    if name.len() > limit {
        return Some(format!("must be no more than {limit} characters"));
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let part = |part: &str| {
        edge(part.chars().next())
            && edge(part.chars().last())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if label {
        if part(name) {
            return None;
        }
        return Some(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
             '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
             '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    if name.split('.').all(part) {
        return None;
    }
    Some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
         or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex \
         used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned(),
    )
}

fn label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && edge(value.chars().next())
        && edge(value.chars().last())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn workload(object: &Value, old: Option<&Value>, faults: &mut Vec<Fault>) {
    let selector = &object["spec"]["selector"];
    if !selector.is_object() {
        faults.push(required("spec.selector".to_owned()));
        return;
    }
    if let Some(old) = old
        && old["spec"]["selector"] != *selector
    {
        faults.push(invalid(
            "spec.selector",
            &format!("{selector}: field is immutable"),
        ));
    }
    let text = crate::selector::selector_text(selector);
    let matches = crate::selector::Selector::parse(&text, "")
        .is_ok_and(|parsed| parsed.matches(&object["spec"]["template"]));
    if !matches {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        faults.push(invalid(
            "spec.template.metadata.labels",
            &format!("{labels}: `selector` does not match template `labels`"),
        ));
    }
    if object["spec"]["replicas"]
        .as_i64()
        .is_some_and(|count| count < 0)
    {
        let text = format!(
            "{}: must be greater than or equal to 0",
            object["spec"]["replicas"]
        );
        faults.push(invalid("spec.replicas", &text));
    }
}

fn pod(object: &Value, pointer: &str, field: &str, faults: &mut Vec<Fault>) {
    let spec = object.pointer(pointer).unwrap_or(&Value::Null);
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        faults.push(required(format!("{field}.containers")));
    }
    let mut names = std::collections::HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let place = format!("{field}.containers[{index}]");
        let name = meta::text(container, "/name");
        if name.is_empty() {
            faults.push(required(format!("{place}.name")));
        } else if !names.insert(name) {
            let message = format!("Duplicate value: \"{name}\"");
            faults.push((
                "FieldValueDuplicate".to_owned(),
                message,
                format!("{place}.name"),
            ));
        }
        if meta::text(container, "/image").is_empty() && !pointer.ends_with("template/spec") {
            faults.push(required(format!("{place}.image")));
        }
    }
}

fn service(object: &Value, faults: &mut Vec<Fault>) {
    let spec = &object["spec"];
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && spec["clusterIP"] != "None" && spec["type"] != "ExternalName" {
        faults.push(required("spec.ports".to_owned()));
    }
    for (index, port) in ports.iter().enumerate() {
        if ports.len() > 1 && meta::text(port, "/name").is_empty() {
            faults.push(required(format!("spec.ports[{index}].name")));
        }
        if !port["port"]
            .as_i64()
            .is_some_and(|number| (1..=65_535).contains(&number))
        {
            let text = format!("{}: must be between 1 and 65535, inclusive", port["port"]);
            faults.push(invalid(&format!("spec.ports[{index}].port"), &text));
        }
    }
}
