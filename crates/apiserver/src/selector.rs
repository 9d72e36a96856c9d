//! Label and field selectors of list and watch requests.

use serde_json::Value;

use crate::meta;
use crate::registry::Resource;
use crate::rules;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A parsed pair of selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Term>,
    fields: Vec<(String, bool, String)>,
}

impl Selector {
    /// Parses both selectors; empty texts match everything.
    ///
    /// # Errors
    /// A text that names the faulty part.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, String> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(fields)?,
        })
    }

    /// True when there is nothing to match.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Returns the name when the selector asks for exactly one object by name.
    pub fn single_name(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|(path, equal, _)| path == "metadata.name" && *equal)
            .map(|(_, _, value)| value.as_str())
    }

    /// Returns the paths that field selectors name.
    pub fn field_paths(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(path, _, _)| path.as_str())
    }

    /// True when `object` matches.
    pub fn matches(&self, object: &Value) -> bool {
        self.fields
            .iter()
            .all(|(path, equal, value)| (field(object, path) == *value) == *equal)
            && (self.labels.is_empty() || {
                let labels = object.pointer("/metadata/labels").unwrap_or(&Value::Null);
                self.labels.iter().all(|term| term.matches(labels))
            })
    }
}

impl Term {
    fn matches(&self, labels: &Value) -> bool {
        let get = |key: &str| labels.get(key).and_then(Value::as_str);
        match self {
            Self::In(key, values) => get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(key, values) => get(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists(key) => get(key).is_some(),
            Self::Absent(key) => get(key).is_none(),
            Self::Greater(key, bound) => get(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v > *bound),
            Self::Less(key, bound) => get(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v < *bound),
        }
    }
}

/// Fields of built-in kinds that field selectors may name, besides name and namespace.
const FIELDS: &[(&str, &str)] = &[
    (
        "core/pods",
        "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork \
         status.phase status.podIP status.podIPs status.nominatedNodeName",
    ),
    ("core/nodes", "spec.unschedulable"),
    ("core/namespaces", "status.phase"),
    ("core/secrets", "type"),
    ("core/services", "spec.clusterIP spec.type"),
    ("core/replicationcontrollers", "status.replicas"),
    ("apps/replicasets", "status.replicas"),
    ("batch/jobs", "status.successful"),
    (
        "core/events",
        "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid \
         involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath \
         regarding.kind regarding.namespace regarding.name regarding.uid regarding.apiVersion \
         regarding.resourceVersion regarding.fieldPath reason reportingComponent source type",
    ),
];

/// Returns why objects cannot be selected by the field, none when they can.
pub(crate) fn unsupported_field(resource: &Resource, path: &str) -> Option<String> {
    if matches!(path, "metadata.name" | "metadata.namespace") {
        return None;
    }
    let row = FIELDS
        .iter()
        .find(|(storage, _)| **storage == *resource.storage);
    match row {
        Some((_, fields)) if fields.split_whitespace().any(|field| field == path) => None,
        None if resource.custom.is_none() => Some(format!(
            "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )),
        _ => Some(format!("field label not supported: {path}")),
    }
}

fn field(object: &Value, path: &str) -> String {
    // Events of the newer API name the object `regarding`.
    let path = path
        .strip_prefix("regarding.")
        .map_or_else(|| path.to_owned(), |rest| format!("involvedObject.{rest}"));
    let pointer = format!("/{}", path.replace('.', "/"));
    match object.pointer(&pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ if path == "spec.unschedulable" => "false".to_owned(),
        _ if path == "source" => meta::text(object, "/source/component").to_owned(),
        _ => String::new(),
    }
}

fn parse_fields(text: &str) -> Result<Vec<(String, bool, String)>, String> {
    let mut fields = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (path, equal, value) = if let Some((path, value)) = part.split_once("!=") {
            (path, false, value)
        } else if let Some((path, value)) = part.split_once("==") {
            (path, true, value)
        } else if let Some((path, value)) = part.split_once('=') {
            (path, true, value)
        } else {
            return Err(format!(
                "invalid selector: '{text}'; can't understand '{part}'"
            ));
        };
        fields.push((path.trim().to_owned(), equal, value.trim().to_owned()));
    }
    Ok(fields)
}

fn parse_labels(text: &str) -> Result<Vec<Term>, String> {
    let mut terms: Vec<Term> = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let term = parse_term(part)?;
        if let Term::In(key, values) | Term::NotIn(key, values) = &term {
            for (index, value) in values.iter().enumerate() {
                if let Some(text) = rules::label_value_fault(value) {
                    return Err(format!(
                        "unable to parse requirement: values[{index}][{key}]: Invalid value: {value:?}: {text}"
                    ));
                }
            }
        }
        terms.push(term);
    }
    Ok(terms)
}

fn parse_term(part: &str) -> Result<Term, String> {
    let owned = |text: &str| text.trim().to_owned();
    if let Some(open) = part.find('(') {
        let inner = part[open + 1..]
            .strip_suffix(')')
            .ok_or("unable to parse requirement: found '', expected: ',' or ')'")?;
        let values: Vec<String> = inner.split(',').map(owned).collect();
        let mut words = part[..open].split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok(Term::In(owned(key), values)),
            (Some(key), Some("notin"), None) => Ok(Term::NotIn(owned(key), values)),
            _ => Err(format!(
                "unable to parse requirement {part:?}: expected 'in' or 'notin'"
            )),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Term::NotIn(owned(key), vec![owned(value)]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Term::In(owned(key), vec![owned(value)]));
    }
    for (sign, greater) in [('>', true), ('<', false)] {
        if let Some((key, value)) = part.split_once(sign) {
            let bound = value
                .trim()
                .parse()
                .map_err(|_| format!("unable to parse requirement {part:?}: not an integer"))?;
            let key = owned(key);
            return Ok(if greater {
                Term::Greater(key, bound)
            } else {
                Term::Less(key, bound)
            });
        }
    }
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Term::Absent(owned(key)));
    }
    let mut words = part.split_whitespace().skip(1);
    if let Some(word) = words.next() {
        return Err(format!(
            "unable to parse requirement: found '{word}', expected: in, notin, =, ==, !=, gt, lt"
        ));
    }
    Ok(Term::Exists(owned(part)))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Writes a `LabelSelector` object (or a plain map of labels) as a selector text.
pub fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let structured =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let labels = if structured {
        &selector["matchLabels"]
    } else {
        selector
    };
    for (key, value) in labels.as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or("")));
    }
    for term in selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let key = term["key"].as_str().unwrap_or("");
        let values: Vec<&str> = term["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let values = values.join(",");
        match term["operator"].as_str().unwrap_or("") {
            "In" => parts.push(format!("{key} in ({values})")),
            "NotIn" => parts.push(format!("{key} notin ({values})")),
            "Exists" => parts.push(key.to_owned()),
            "DoesNotExist" => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_as_kubectl_means_them() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "x", "n": "5"}},
            "spec": {"nodeName": "here"}});
        let rows = [
            ("app=x", "", true),
            ("app==x,n", "", true),
            ("app!=x", "", false),
            ("none!=x", "", true),
            ("app in (y, x)", "", true),
            ("app notin (y,x)", "", false),
            ("!app", "", false),
            ("!b,n>4,n<6", "", true),
            ("", "metadata.name=a,spec.nodeName=here", true),
            ("", "spec.nodeName!=here", false),
            ("", "status.phase=", true),
        ];
        for (labels, fields, expected) in rows {
            let selector = Selector::parse(labels, fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
        assert!(Selector::parse("a b", "").is_err());
    }
}
