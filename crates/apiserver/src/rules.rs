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
        "core/pods" => match old {
            None => pod(object, "/spec", "spec", &mut faults),
            Some(old) => pod_change(object, old, &mut faults),
        },
        "core/services" => service(object, &mut faults),
        "core/configmaps" | "core/secrets" => fixed(object, old, &mut faults),
        _ => {}
    }
    for (key, value) in object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let value = value.as_str().unwrap_or("");
        for (what, text) in [
            (key.as_str(), key_fault(key)),
            (value, label_value_fault(value)),
        ] {
            if let Some(text) = text {
                faults.push(invalid("metadata.labels", &format!("{what:?}: {text}")));
            }
        }
    }
    let annotations = object.pointer("/metadata/annotations");
    for key in annotations
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(serde_json::Map::keys)
    {
        if let Some(text) = key_fault(&key.to_lowercase()) {
            let text = format!("{key:?}: {text}");
            faults.push(invalid("metadata.annotations", &text));
        }
    }
    finalizers(object, old, &mut faults);
    faults
}

fn finalizers(object: &Value, old: Option<&Value>, faults: &mut Vec<Fault>) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let list = meta::finalizers(object);
    for (index, name) in list.iter().enumerate() {
        if !name.contains('/') && !STANDARD.contains(&name.as_str()) && !name.contains('.') {
            let text = format!(
                "{name:?}: name is neither a standard finalizer name nor is it fully qualified"
            );
            faults.push(invalid(&format!("metadata.finalizers[{index}]"), &text));
        }
    }
    let Some(old) = old.filter(|old| meta::deleting(old)) else {
        return;
    };
    let before = meta::finalizers(old);
    let added: Vec<String> = list
        .iter()
        .filter(|name| !before.contains(name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !added.is_empty() {
        let message = format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers []string{{{}}}",
            added.join(", ")
        );
        let field = "metadata.finalizers".to_owned();
        faults.push(("FieldValueForbidden".to_owned(), message, field));
    }
}

/// Returns what is wrong with the key of a label or annotation.
fn key_fault(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix
        && !subdomain(prefix)
    {
        return Some(format!("prefix part {SUBDOMAIN}"));
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".to_owned());
    }
    (!label_value(name)).then(|| {
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
         with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
         validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            .to_owned()
    })
}

/// Returns what is wrong with the value of a label.
pub(crate) fn label_value_fault(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes".to_owned());
    }
    (!label_value(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
         '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
         'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            .to_owned()
    })
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
    or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
    '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// Returns what is wrong with the name of a new object.
pub(crate) fn name_fault(resource: &Resource, name: &str) -> Option<String> {
    let (limit, right, text): (_, fn(&str) -> bool, _) = match &*resource.storage {
        "core/namespaces" => (63, label, LABEL),
        "core/services" => (63, label_1035, LABEL_1035),
        _ => (253, subdomain, SUBDOMAIN),
    };
    if name.len() > limit {
        return Some(format!("must be no more than {limit} characters"));
    }
    if &*resource.storage == "core/namespaces" && name.contains('.') {
        return Some("must not contain dots".to_owned());
    }
    (!right(name)).then(|| text.to_owned())
}

fn label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn label_1035(text: &str) -> bool {
    label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn subdomain(text: &str) -> bool {
    text.split('.').all(label)
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

/// True for a finding of the schema that the rules of the kind tell better.
pub(crate) fn says(resource: &Resource, (reason, message, field): &Fault) -> bool {
    matches!(
        &*resource.storage,
        "apps/deployments" | "apps/replicasets" | "core/pods"
    ) && ((reason == "FieldValueRequired"
        && matches!(
            field.as_str(),
            "spec" | "spec.template" | "spec.template.spec"
        ))
        || (reason == "FieldValueDuplicate"
            && message.contains('{')
            && repeatable(field.rsplit('.').next().unwrap_or(field))))
}

/// Lists in which the original tells a repeated key otherwise, or only warns of it.
fn repeatable(step: &str) -> bool {
    ["containers[", "ports[", "env["]
        .iter()
        .any(|list| step.starts_with(list))
}

/// Only images, two periods and added tolerations of a pod may change, and the node may be set.
fn pod_change(object: &Value, old: &Value, faults: &mut Vec<Fault>) {
    let rest = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for key in ["containers", "initContainers"] {
            let list = spec.get_mut(key).and_then(Value::as_array_mut);
            for container in list.into_iter().flatten().filter_map(Value::as_object_mut) {
                container.remove("image");
            }
        }
        if let Value::Object(map) = &mut spec {
            for key in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "schedulingGates",
            ] {
                map.remove(key);
            }
            if meta::text(old, "/spec/nodeName").is_empty() {
                map.remove("nodeName");
            }
        }
        spec
    };
    if rest(object) != rest(old) {
        let message = "Forbidden: pod updates may not change fields other than \
            `spec.containers[*].image`,`spec.initContainers[*].image`,\
            `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
            tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
            previously negative)";
        let reason = "FieldValueForbidden".to_owned();
        faults.push((reason, message.to_owned(), "spec".to_owned()));
    }
}

fn one_of(value: &Value, field: String, supported: &[&str], faults: &mut Vec<Fault>) {
    let Some(text) = value.as_str() else { return };
    if !supported.contains(&text) {
        let list: Vec<String> = supported.iter().map(|text| format!("{text:?}")).collect();
        let message = format!(
            "Unsupported value: {text:?}: supported values: {}",
            list.join(", ")
        );
        faults.push(("FieldValueNotSupported".to_owned(), message, field));
    }
}

fn fixed(object: &Value, old: Option<&Value>, faults: &mut Vec<Fault>) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return;
    };
    for field in ["immutable", "data", "binaryData"] {
        if old[field] != object[field] {
            let message = "Forbidden: field is immutable when `immutable` is set".to_owned();
            faults.push(("FieldValueForbidden".to_owned(), message, field.to_owned()));
        }
    }
}

fn workload(object: &Value, old: Option<&Value>, faults: &mut Vec<Fault>) {
    let selector = &object["spec"]["selector"];
    if !selector.is_object() {
        faults.push(required("spec.selector".to_owned()));
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
    let text = crate::selector::selector_text(selector);
    let matches = selector.is_object()
        && crate::selector::Selector::parse(&text, "")
            .is_ok_and(|parsed| parsed.matches(&object["spec"]["template"]));
    if !matches {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        faults.push(invalid(
            "spec.template.metadata.labels",
            &format!("{labels}: `selector` does not match template `labels`"),
        ));
    }
    if let Some(old) = old
        && old["spec"]["selector"] != *selector
    {
        faults.push(invalid(
            "spec.selector",
            &format!("{selector}: field is immutable"),
        ));
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
        } else if !label(name) || name.len() > 63 {
            faults.push(invalid(
                &format!("{place}.name"),
                &format!("{name:?}: {LABEL}"),
            ));
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
        one_of(
            &container["imagePullPolicy"],
            format!("{place}.imagePullPolicy"),
            &["Always", "IfNotPresent", "Never"],
            faults,
        );
        let ports = container["ports"].as_array().into_iter().flatten();
        for (port, value) in ports.enumerate() {
            if value["containerPort"].as_i64().unwrap_or(0) == 0 {
                faults.push(required(format!("{place}.ports[{port}].containerPort")));
            }
        }
    }
    one_of(
        &spec["restartPolicy"],
        format!("{field}.restartPolicy"),
        &["Always", "OnFailure", "Never"],
        faults,
    );
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
        one_of(
            &port["protocol"],
            format!("spec.ports[{index}].protocol"),
            &["SCTP", "TCP", "UDP"],
            faults,
        );
        if let Some(number) = port["targetPort"].as_i64()
            && !(1..=65_535).contains(&number)
        {
            let text = format!("{number}: must be between 1 and 65535, inclusive");
            faults.push(invalid(&format!("spec.ports[{index}].targetPort"), &text));
        }
    }
    one_of(
        &spec["type"],
        "spec.type".to_owned(),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        faults,
    );
}
