//! The environment of a container, from its manifest and the objects it names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::objects::{Objects, ReadError};
use crate::quantity;

/// Names and values in the order of their declaration; a later one of the same name wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// Sets one variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets one variable unless it is set.
    pub fn set_default(&mut self, name: &str, value: impl Into<String>) {
        self.values
            .entry(name.to_owned())
            .or_insert_with(|| value.into());
    }

    /// Removes variables by name and returns the names removed.
    pub fn remove_where(&mut self, refused: impl Fn(&str) -> bool) -> Vec<String> {
        let names: Vec<String> = self
            .values
            .keys()
            .filter(|name| refused(name))
            .cloned()
            .collect();
        for name in &names {
            self.values.remove(name);
        }
        names
    }

    /// Applies `change` to every value.
    pub fn map(&mut self, change: impl Fn(&str) -> String) {
        for value in self.values.values_mut() {
            *value = change(value);
        }
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Replaces `$(NAME)` by the value of a known variable; `$$` stands for one `$`.
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let known = rest.strip_prefix('(').and_then(|inner| {
                let (name, after) = inner.split_once(')')?;
                Some((self.values.get(name)?, after))
            });
            match known {
                Some((value, after)) => {
                    out.push_str(value);
                    rest = after;
                }
                None => out.push('$'),
            }
        }
        out.push_str(rest);
        out
    }
}

/// Reads the variables that `container` declares.
///
/// # Errors
/// When a ConfigMap, Secret or key that is not optional is missing.
pub async fn declared(
    container: &Value,
    pod: &Value,
    ip: Ipv4Addr,
    objects: &Objects,
) -> Result<Environment, ReadError> {
    let mut env = Environment::default();
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    for from in container["envFrom"].as_array().into_iter().flatten() {
        let prefix = from["prefix"].as_str().unwrap_or_default();
        for (field, secret) in [("configMapRef", false), ("secretRef", true)] {
            if let Some(reference) = from.get(field) {
                for (key, value) in objects.data(namespace, reference, secret).await? {
                    env.set(&format!("{prefix}{key}"), String::from_utf8_lossy(&value));
                }
            }
        }
    }
    for entry in container["env"].as_array().into_iter().flatten() {
        let Some(name) = entry["name"].as_str() else {
            continue;
        };
        let source = &entry["valueFrom"];
        if source.is_null() {
            let value = env.expand(entry["value"].as_str().unwrap_or_default());
            env.set(name, value);
        } else if let Some(path) = source
            .pointer("/fieldRef/fieldPath")
            .and_then(Value::as_str)
        {
            env.set(name, field(pod, path, ip));
        } else if let Some(reference) = source.get("configMapKeyRef") {
            if let Some(value) = objects.key(namespace, reference, false).await? {
                env.set(name, String::from_utf8_lossy(&value));
            }
        } else if let Some(reference) = source.get("secretKeyRef") {
            if let Some(value) = objects.key(namespace, reference, true).await? {
                env.set(name, String::from_utf8_lossy(&value));
            }
        } else if let Some(reference) = source.get("resourceFieldRef") {
            env.set(name, resource(pod, container, reference));
        }
    }
    Ok(env)
}

/// Value of a pod field as the downward API gives it.
pub fn field(pod: &Value, path: &str, ip: Ipv4Addr) -> String {
    match path {
        "status.podIP" | "status.podIPs" => return ip.to_string(),
        "status.hostIP" | "status.hostIPs" => return "127.0.0.1".to_owned(),
        _ => {}
    }
    if let Some((parent, key)) = path
        .strip_suffix("']")
        .and_then(|path| path.split_once("['"))
    {
        let parent = format!("/{}", parent.replace('.', "/"));
        let value = pod.pointer(&parent).and_then(|map| map.get(key));
        return value.and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    match pod.pointer(&format!("/{}", path.replace('.', "/"))) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(map)) => {
            let lines: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            lines.join("\n")
        }
        Some(Value::Null) | None => match path {
            "spec.serviceAccountName" => "default".to_owned(),
            _ => String::new(),
        },
        Some(other) => other.to_string(),
    }
}

/// The number of a container's resource, in whole units of the divisor.
fn resource(pod: &Value, own: &Value, reference: &Value) -> String {
    let path = reference["resource"].as_str().unwrap_or_default();
    let named = reference["containerName"].as_str();
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    let container = match named {
        Some(name) => containers
            .into_iter()
            .flatten()
            .find(|c| c["name"] == name)
            .unwrap_or(own),
        None => own,
    };
    let Some((kind, name)) = path.split_once('.') else {
        return String::new();
    };
    match &container["resources"][kind][name] {
        Value::Null => "0".to_owned(),
        amount => {
            let text = amount
                .as_str()
                .map_or_else(|| amount.to_string(), str::to_owned);
            let divisor = reference["divisor"].as_str().unwrap_or_default();
            quantity::divided(&text, divisor).map_or(text, |number| number.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_names_are_expanded() {
        let mut env = Environment::default();
        env.set("A", "1");
        for (text, wanted) in [
            ("x$(A)y", "x1y"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("é$(A)", "é1"),
        ] {
            assert_eq!(env.expand(text), wanted, "{text}");
        }
    }

    #[test]
    fn fields_of_the_downward_api() {
        let pod =
            json!({"metadata": {"name": "p", "labels": {"a.b/c": "d"}}, "spec": {"nodeName": "n"}});
        let ip = Ipv4Addr::new(127, 1, 1, 1);
        for (path, wanted) in [
            ("metadata.name", "p"),
            ("metadata.labels['a.b/c']", "d"),
            ("metadata.labels", "a.b/c=\"d\""),
            ("status.podIP", "127.1.1.1"),
            ("spec.nodeName", "n"),
            ("metadata.uid", ""),
        ] {
            assert_eq!(field(&pod, path, ip), wanted, "{path}");
        }
    }

    #[test]
    fn a_huge_resource_is_given_without_overflow() {
        let container = json!({"name": "c", "resources": {"limits": {
            "memory": "340282366920938463463374607431768211455Ti", "cpu": 2, "odd": "x"}}});
        let pod = json!({"spec": {"containers": [container]}});
        let value = |name: &str, divisor: &str| {
            let reference = json!({"resource": format!("limits.{name}"), "divisor": divisor});
            resource(&pod, &container, &reference)
        };
        assert_eq!(value("memory", "1Mi"), i64::MAX.to_string());
        assert_eq!(value("cpu", "1m"), "2000");
        assert_eq!(value("odd", ""), "x");
        assert_eq!(value("none", ""), "0");
    }
}
