//! Names of containers and volumes: labels, since they become names of files, of environment and of objects.

use serde_json::Value;

use super::{Broken, FieldError};

/// Lists whose items are named by a label, and what one item is called.
const LISTS: [(&str, &str); 4] = [
    ("containers", "a container"),
    ("initContainers", "a container"),
    ("ephemeralContainers", "a container"),
    ("volumes", "a volume"),
];

/// Returns what is wrong with the names of containers and volumes in every pod template below `value`,
/// which stands at `path`.
#[must_use]
pub fn part_names(value: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, path, &mut errors);
    errors
}

fn walk(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Value::Object(fields) = value else {
        return;
    };
    for (field, value) in fields {
        let path = format!("{path}.{field}");
        let named = LISTS.iter().find(|(list, _)| list == field);
        match (named, value) {
            (Some((_, what)), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let Some(name) = item["name"].as_str() else {
                        continue;
                    };
                    // What a template makes of it is seen on the object that comes out.
                    if !name.contains("{{") && !is_label(name) {
                        errors.push(FieldError {
                            path: format!("{path}[{index}].name"),
                            message: format!(
                                "{name:?} cannot name {what}; use at most 63 lower-case letters, digits and hyphens, \
                                 beginning and ending with a letter or digit"
                            ),
                            broken: Broken::Invalid,
                        });
                    }
                }
            }
            _ => walk(value, &path, errors),
        }
    }
}

fn is_label(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || c == '-')
}
