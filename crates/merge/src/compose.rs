//! Putting one layer of a model service on top of another.
//!
//! The rules are those of a strategic merge without directives: maps are united, lists with a merge key are
//! merged item by item, any other list is replaced, and an empty string or list overrides nothing. On top of
//! that, a layer that names one member of a union (a volume source, `value` or `valueFrom`, a probe handler,
//! ...) drops the inherited other one.

use serde_json::{Map, Value, json};
use weir_schema::Node;

use crate::keyed::{Places, order};
use crate::{Error, field};

/// Lists that are merged by a key, whatever schema is at hand: embedded pod templates often have none.
const KEYS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
    ("schedulingGates", "name"),
];

/// Lists whose items are unions: an item keeps only the fields that the last layer names.
const RETAINED: &[&str] = &["volumes", "resourceClaims"];

/// Fields of one object of which at most one may be set.
const UNIONS: &[&[&str]] = &[
    &["value", "valueFrom"],
    &["exec", "httpGet", "tcpSocket", "grpc", "sleep"],
    &["inline", "ref"],
    &["replicas", "scaling"],
    &["wva", "keda"],
    &["hpa", "keda"],
    &["ref", "spec"],
    &["refs", "spec"],
    &["emptyDir", "pvc"],
];

/// Merges `over` onto `base`.
///
/// An item without its merge key cannot be merged: the whole list is then that of `over`. Use
/// [`try_compose_merge`] to learn of it.
#[must_use]
pub fn compose_merge(base: &Value, over: &Value, node: &Node) -> Value {
    let mut result = base.clone();
    let merged = Merge { strict: false }.value(&mut result, over, node, "", true);
    merged.map_or_else(|_| over.clone(), |()| result)
}

/// Merges `over` onto `base`.
///
/// # Errors
/// When an item of a list that is merged by key has no key.
pub fn try_compose_merge(base: &Value, over: &Value, node: &Node) -> Result<Value, Error> {
    let mut result = base.clone();
    merge_onto(&mut result, over, node)?;
    Ok(result)
}

/// As [`try_compose_merge`], in place: nothing of `base` is copied. After an error `base` is of no use.
///
/// # Errors
/// When an item of a list that is merged by key has no key.
pub fn merge_onto(base: &mut Value, over: &Value, node: &Node) -> Result<(), Error> {
    Merge { strict: true }.value(base, over, node, "", true)
}

struct Merge {
    strict: bool,
}

impl Merge {
    /// `name` is that of the field, empty for an item of a list. The paths of errors begin at `base`: whoever
    /// calls puts its own part in front, so that no path is made where nothing is wrong.
    fn value(
        &self,
        base: &mut Value,
        over: &Value,
        node: &Node,
        name: &str,
        root: bool,
    ) -> Result<(), Error> {
        match (&mut *base, over) {
            // An opaque configuration is one value.
            (Value::Object(_), Value::Object(_)) if name == "inline" => *base = over.clone(),
            (Value::Object(old), Value::Object(new)) => {
                if has(node, "retainKeys") {
                    old.retain(|key, _| new.contains_key(key));
                }
                self.object(old, new, node, root)?;
            }
            (Value::Array(old), Value::Array(new)) => match merge_key(node, name, old, new) {
                _ if new.is_empty() => {}
                None if name == "rules" && is_default_route(new) => {}
                None if has(node, "merge") && new.iter().all(|item| !item.is_object()) => {
                    let ids =
                        |list: &[Value]| list.iter().map(Value::to_string).collect::<Vec<_>>();
                    let (named, before) = (ids(new), ids(old));
                    old.extend(new.iter().cloned());
                    let all = crate::keyed::dedup(std::mem::take(old));
                    *old = order(all, &named, &before, None);
                }
                None => *base = over.clone(),
                Some(key) => {
                    let retain = has(node, "retainKeys") || RETAINED.contains(&name);
                    let items = node.items().unwrap_or_else(Node::any);
                    match self.list(std::mem::take(old), new, &items, key, retain) {
                        Ok(list) => *old = list,
                        Err(error) if self.strict => return Err(error),
                        Err(_) => *base = over.clone(),
                    }
                }
            },
            (_, Value::String(text)) if text.is_empty() => {}
            (_, Value::Array(list)) if list.is_empty() => {}
            _ => *base = over.clone(),
        }
        Ok(())
    }

    fn object(
        &self,
        base: &mut Map<String, Value>,
        over: &Map<String, Value>,
        node: &Node,
        root: bool,
    ) -> Result<(), Error> {
        for (key, _) in over.iter().filter(|(_, value)| !is_unset(value)) {
            let of = |union: &&&[&str]| union.contains(&key.as_str());
            for union in UNIONS.iter().filter(of) {
                for member in *union {
                    if !over.contains_key(*member) {
                        base.remove(*member);
                    }
                }
            }
        }
        for (key, new) in over {
            match base.get_mut(key) {
                _ if new.is_null() && key == "containers" => {}
                _ if new.is_null() => {
                    base.remove(key);
                }
                Some(old) if !old.is_null() => self
                    .value(old, new, &field(node, key, root), key, false)
                    .map_err(|error| error.below(key))?,
                _ => {
                    base.insert(key.clone(), new.clone());
                }
            }
        }
        Ok(())
    }

    fn list(
        &self,
        mut merged: Vec<Value>,
        over: &[Value],
        node: &Node,
        key: &str,
        retain: bool,
    ) -> Result<Vec<Value>, Error> {
        let places = Places::of(&merged, over, key)?;
        for (item, place) in over.iter().zip(&places.named) {
            let Some(old) = merged.get_mut(*place) else {
                merged.push(item.clone());
                continue;
            };
            if let (true, Value::Object(old), Value::Object(new)) = (retain, &mut *old, item) {
                // Unless the layer only names the item.
                if new.len() > 1 {
                    old.retain(|name, _| new.contains_key(name));
                }
            }
            self.value(old, item, node, "", false)
                .map_err(|error| error.below(&format!("[{}]", item[key])))?;
        }
        Ok(places.order(merged))
    }
}

fn has(node: &Node, word: &str) -> bool {
    node.patch_strategy()
        .is_some_and(|strategy| strategy.split(',').any(|part| part == word))
}

fn merge_key<'n>(node: &'n Node, name: &str, base: &[Value], over: &[Value]) -> Option<&'n str> {
    if let Some(key) = node.patch_merge_key() {
        return Some(key);
    }
    if let Some((_, key)) = KEYS.iter().find(|(list, _)| *list == name) {
        return Some(key);
    }
    // `ports` of a container; other lists of that name have other fields.
    let container = |list: &[Value]| list.iter().any(|item| item.get("containerPort").is_some());
    (name == "ports" && (container(base) || container(over))).then_some("containerPort")
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Foreign definitions fill in this rule where a route has none. It has no backend, so nobody wrote it.
fn is_default_route(rules: &[Value]) -> bool {
    let path = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    matches!(rules, [Value::Object(rule)] if rule.len() == 1 && rule.get("matches") == Some(&path))
}
