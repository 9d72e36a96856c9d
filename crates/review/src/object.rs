//! One object against everything that is known of its kind.

use serde_json::Value;
use weir_api::names;
use weir_schema::Node;

use crate::Severity;
use crate::kinds::{Kinds, Known};
use crate::locate;

/// A finding without a file.
pub(crate) struct Found {
    pub(crate) pointer: String,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) severity: Severity,
}

impl Found {
    fn error(
        pointer: &str,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (pointer, path) = (pointer.to_owned(), path.to_owned());
        Self {
            pointer,
            path,
            message: message.into(),
            hint: hint.into(),
            severity: Severity::Error,
        }
    }
}

/// How the unquoted scalar at a JSON pointer was written.
pub(crate) type Written<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

pub(crate) fn review(value: &Value, kinds: &Kinds, written: Written<'_>) -> Vec<Found> {
    if value["kind"] == "List" && value["apiVersion"] == "v1" {
        let items = value["items"].as_array().map_or(&[][..], Vec::as_slice);
        let each = |(index, item): (usize, &Value)| {
            let mut found = one(item, kinds, &|pointer| {
                written(&format!("/items/{index}{pointer}"))
            });
            for finding in &mut found {
                finding.pointer = format!("/items/{index}{}", finding.pointer);
                finding.path = format!("items[{index}].{}", finding.path);
            }
            found
        };
        return items.iter().enumerate().flat_map(each).collect();
    }
    one(value, kinds, written)
}

fn one(value: &Value, kinds: &Kinds, written: Written<'_>) -> Vec<Found> {
    if !value.is_object() {
        let message = format!("a document must be an object, not {}", article(value));
        return vec![Found::error(
            "",
            "",
            message,
            "begin it with apiVersion and kind",
        )];
    }
    let mut head = Vec::new();
    for field in ["apiVersion", "kind"] {
        if value[field].as_str().is_none_or(str::is_empty) {
            let hint = "every object needs apiVersion and kind, for example serving.kserve.io/v1alpha2 and LLMInferenceService";
            head.push(Found::error("", field, "is missing", hint));
        }
    }
    let (Some(api_version), Some(kind)) = (value["apiVersion"].as_str(), value["kind"].as_str())
    else {
        return head;
    };
    if !head.is_empty() {
        return head;
    }
    let mut found = Vec::new();
    match kinds.get(api_version, kind) {
        Known::Unknown(nearest) => {
            let hint = nearest.map_or_else(
                || "give the file with its CustomResourceDefinition too".to_owned(),
                |nearest| format!("did you mean {nearest}?"),
            );
            let message = format!("unknown kind {kind:?} in apiVersion {api_version:?}");
            return vec![Found::error("/kind", "kind", message, hint)];
        }
        Known::Unchecked => {}
        Known::Schema(node) => schema(value, &node, written, &mut found),
    }
    name(value, &mut found);
    // Rules read typed fields; with a wrong type they would only repeat it.
    if found.is_empty() {
        rules(value, &mut found);
    }
    found
}

fn name(value: &Value, found: &mut Vec<Found>) {
    let metadata = &value["metadata"];
    let named = |field: &str| {
        metadata[field]
            .as_str()
            .is_some_and(|name| !name.is_empty())
    };
    if !named("name")
        && !named("generateName")
        && (metadata["name"].is_null() || metadata["name"] == "")
    {
        // The schema has said the same of `metadata` as a whole.
        found.retain(|finding| finding.path != "metadata" || !metadata.is_null());
        let hint = "every object needs a name";
        found.push(Found::error(
            "/metadata/name",
            "metadata.name",
            "is missing",
            hint,
        ));
    }
    // Our own kinds have a rule of their own, roles may be called anything.
    let group = value["apiVersion"].as_str().unwrap_or_default();
    let free = [names::GROUP, "rbac.authorization.k8s.io"];
    if free.iter().any(|free| group.starts_with(free)) {
        return;
    }
    let label =
        value["apiVersion"] == "v1" && (value["kind"] == "Namespace" || value["kind"] == "Service");
    for (field, label) in [("name", label), ("namespace", true)] {
        let Some(text) = metadata[field].as_str().filter(|text| !text.is_empty()) else {
            continue;
        };
        if let Some(fault) = name_fault(text, label) {
            let (message, hint) = fault;
            found.push(Found::error(
                &format!("/metadata/{field}"),
                &format!("metadata.{field}"),
                message,
                hint,
            ));
        }
    }
}

/// Says what is wrong with a name, and what to do; `label` for one without dots.
fn name_fault(text: &str, label: bool) -> Option<(String, &'static str)> {
    let limit = if label { 63 } else { 253 };
    if text.len() > limit {
        let message = format!("{} characters are too long", text.len());
        let hint = if label {
            "use at most 63"
        } else {
            "use at most 253"
        };
        return Some((message, hint));
    }
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || c == '-')
    };
    let fits = if label {
        part(text)
    } else {
        text.split('.').all(part)
    };
    if fits {
        return None;
    }
    let hint = if label {
        "use lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
    } else {
        "use lower-case letters, digits, hyphens and dots, each part beginning and ending with a letter or digit"
    };
    Some((
        format!("{text:?} is not a name that Kubernetes takes"),
        hint,
    ))
}

fn schema(value: &Value, node: &Node, written: Written<'_>, found: &mut Vec<Found>) {
    let mut pruned = value.clone();
    for path in node.prune(&mut pruned) {
        let pointer = locate::pointer(value, &path);
        let (parent, field) = pointer.rsplit_once('/').unwrap_or_default();
        let names = locate::node(node, parent)
            .map(|parent| parent.property_names().map(str::to_owned).collect());
        let names: Vec<String> = names.unwrap_or_default();
        let hint = match locate::similar(field, names.iter().map(String::as_str)) {
            _ if let Some(hint) = other_version(value, &pointer) => hint,
            Some(similar) => format!("did you mean {similar}?"),
            None if (1..=MANY).contains(&names.len()) => format!(
                "take it away or move it to where it belongs; fields here are {}",
                names.join(", ")
            ),
            None => "take it away or move it to where it belongs".to_owned(),
        };
        let message = format!("unknown field {field:?}");
        found.push(Found::error(&pointer, &path, message, hint));
    }
    let mut whole = pruned;
    weir_api::default(&mut whole);
    node.default(&mut whole);
    for violation in node.validate(&whole) {
        let path = if violation.path == "<nil>" {
            ""
        } else {
            violation.path.as_str()
        };
        let pointer = locate::pointer(value, path);
        let given = value.pointer(&pointer);
        let (message, hint) = match violation.reason {
            "FieldValueTypeInvalid" => wrong_type(
                given,
                written(&pointer),
                locate::node(node, &pointer).as_ref(),
            ),
            "FieldValueRequired" => ("is missing".to_owned(), "it is required here".to_owned()),
            _ => (plain(&violation.message, path), String::new()),
        };
        found.push(Found::error(&pointer, path, message, hint));
    }
}

/// Most fields that a message lists.
const MANY: usize = 16;

/// What to do with a field of our kinds that only the other version has.
fn other_version(value: &Value, pointer: &str) -> Option<String> {
    let (group, version) = value["apiVersion"].as_str()?.split_once('/')?;
    if group != names::GROUP {
        return None;
    }
    let other = if version == names::VERSION {
        names::OLD_VERSION
    } else {
        names::VERSION
    };
    let other = format!("{group}/{other}");
    let Known::Schema(node) = Kinds::default().get(&other, value["kind"].as_str()?) else {
        return None;
    };
    let (parent, field) = pointer.rsplit_once('/')?;
    let has = locate::node(&node, parent)?.has_property(field);
    has.then(|| format!("only {other} has it: write that apiVersion, or take the field away"))
}

/// The API server's words without its `Invalid value: ...: <path> in body`.
fn plain(message: &str, path: &str) -> String {
    let marker = format!("{path} in body ");
    match (
        message.split_once(&marker),
        message.strip_prefix("Invalid value: "),
    ) {
        (Some((before, after)), _) => {
            let value = before
                .trim_start_matches("Invalid value: ")
                .trim_end_matches(": ");
            format!("{value} {after}")
        }
        (None, Some(rest)) => rest.to_owned(),
        (None, None) => message.to_owned(),
    }
}

/// Words for a value of the wrong type; YAML 1.1 makes booleans and numbers of much that was meant as text.
fn wrong_type(
    given: Option<&Value>,
    written: Option<&str>,
    node: Option<&Node>,
) -> (String, String) {
    let wanted = match node {
        Some(node) if node.int_or_string() => "an integer or a string",
        Some(node) => node
            .kind()
            .map_or("another type", |kind| with_article(kind.as_str())),
        None => "another type",
    };
    let given = given.unwrap_or(&Value::Null);
    let mut message = format!("must be {wanted}, not {}", article(given));
    let as_written = written
        .map(str::to_owned)
        .unwrap_or_else(|| given.to_string());
    if given.is_boolean() && !["true", "false"].contains(&as_written.as_str()) {
        message.push_str(&format!(
            ", which is how YAML reads an unquoted {as_written}"
        ));
    }
    let hint = match (given, wanted) {
        (Value::Bool(_) | Value::Number(_), "a string" | "an integer or a string") => {
            format!("quote it: \"{as_written}\"")
        }
        (Value::Null, _) => "give it a value or take the field away".to_owned(),
        (Value::String(text), "an integer" | "a number") if text.parse::<f64>().is_ok() => {
            format!("take the quotes away: {text}")
        }
        (Value::String(text), "a boolean") if ["true", "false"].contains(&text.as_str()) => {
            format!("take the quotes away: {text}")
        }
        _ => format!("write {wanted}"),
    };
    (message, hint)
}

fn with_article(kind: &str) -> &'static str {
    match kind {
        "object" => "an object",
        "array" => "a list",
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        _ => "another type",
    }
}

fn article(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Groups whose kinds hold pod templates.
const WORKLOADS: [&str; 4] = ["v1", "apps/v1", "batch/v1", "leaderworkerset.x-k8s.io/v1"];

fn rules(value: &Value, found: &mut Vec<Found>) {
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    if WORKLOADS.contains(&api_version) {
        for error in weir_api::validate::part_names(&value["spec"], "spec") {
            let pointer = locate::pointer(value, &error.path);
            found.push(Found::error(&pointer, &error.path, error.message, ""));
        }
    }
    if !api_version.starts_with(names::GROUP) {
        return;
    }
    let mut verdict = weir_api::validate::review(value, None);
    if verdict.errors.is_empty() {
        crate::admission::render_config(value, None, &mut verdict);
    }
    let errors = verdict
        .errors
        .into_iter()
        .map(|error| (error, Severity::Error));
    let warnings = verdict
        .warnings
        .into_iter()
        .map(|warning| (warning, Severity::Warning));
    for (error, severity) in errors.chain(warnings) {
        let pointer = locate::pointer(value, &error.path);
        // The rules' messages already say what to do, behind a semicolon or as the rule itself.
        let (message, hint) = (error.message, String::new());
        found.push(Found {
            pointer,
            path: error.path,
            message,
            hint,
            severity,
        });
    }
}
