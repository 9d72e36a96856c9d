//! Walks over typed objects: collect, merge, remove, compare.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use weir_schema::{Kind, ListType, Node};

use super::ApplyError;
use crate::field;
use crate::fields::{FieldSet, field_step, key_step, value_step};

/// How the parts of a value are owned.
enum Shape {
    /// As one.
    Leaf,
    Map,
    List,
}

fn shape(value: &Value, node: &Node) -> Shape {
    match value {
        Value::Object(_) if node.atomic_map() => Shape::Leaf,
        Value::Object(_) => Shape::Map,
        Value::Array(_) if matches!(node.list_type(), Some(ListType::Map | ListType::Set)) => {
            Shape::List
        }
        _ => Shape::Leaf,
    }
}

/// Returns the step to an item of a list, or nothing when it has none of the keys.
fn item_step(item: &Value, node: &Node) -> Option<String> {
    if node.list_type() == Some(ListType::Set) {
        return Some(value_step(item));
    }
    let items = node.items();
    let keys: BTreeMap<_, _> = node
        .list_map_keys()
        .into_iter()
        .filter_map(|key| {
            let default = || items.as_ref()?.property(&key)?.default_value();
            let value = item
                .get(&key)
                .filter(|value| !value.is_null())
                .cloned()
                .or_else(default)?;
            Some((key, value))
        })
        .collect();
    (!keys.is_empty()).then(|| key_step(&keys))
}

fn items_of(node: &Node) -> Node {
    node.items().unwrap_or_else(Node::any)
}

/// Drops the fields of objects that are `null`.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Refuses lists whose items cannot be told apart.
pub(super) fn check(value: &Value, node: &Node) -> Result<(), ApplyError> {
    fn run(value: &Value, node: &Node, path: &str, root: bool) -> Result<(), ApplyError> {
        match (shape(value, node), value) {
            (Shape::Map, Value::Object(fields)) => {
                for (name, value) in fields {
                    run(
                        value,
                        &field(node, name, root),
                        &format!("{path}.{name}"),
                        false,
                    )?;
                }
            }
            (Shape::List, Value::Array(list)) => {
                let items = items_of(node);
                let mut seen = HashSet::new();
                for (index, item) in list.iter().enumerate() {
                    let Some(step) = item_step(item, node) else {
                        return Err(ApplyError::Invalid(format!(
                            "{path}: element {index}: associative list with keys has an element that omits key \
                             field {:?}",
                            node.list_map_keys().join(", ")
                        )));
                    };
                    if !seen.insert(step.clone()) {
                        let (_, shown) = step.split_once(':').unwrap_or_default();
                        return Err(ApplyError::Invalid(format!(
                            "{path}: duplicate entries for key {shown}"
                        )));
                    }
                    run(item, &items, &format!("{path}[{index}]"), false)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
    run(value, node, "", true)
}

/// Returns every field of an object that its manager owns.
pub(super) fn collect(value: &Value, node: &Node) -> FieldSet {
    let mut set = FieldSet::default();
    fill(value, node, &mut set, true);
    set.own = false;
    set.tidy();
    set
}

fn fill(value: &Value, node: &Node, set: &mut FieldSet, root: bool) {
    match (shape(value, node), value) {
        (Shape::Map, Value::Object(fields)) => {
            for (name, value) in fields {
                let child = set.child(field_step(name));
                fill(value, &field(node, name, root), child, false);
                child.own |= is_empty(value) || !named(node, name, root);
            }
        }
        (Shape::List, Value::Array(list)) => {
            let items = items_of(node);
            for item in list {
                let Some(step) = item_step(item, node) else {
                    continue;
                };
                let child = set.child(step);
                fill(item, &items, child, false);
                child.own = true;
            }
        }
        _ => set.own = true,
    }
}

/// Nothing in here could be owned on its own.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Tells whether `name` is a field of a struct rather than a key of a map.
fn named(node: &Node, name: &str, root: bool) -> bool {
    node.has_property(name) || (root && matches!(name, "metadata" | "apiVersion" | "kind"))
}

/// Puts `applied` on top of `live`.
pub(super) fn merge(live: &mut Value, applied: &Value, node: &Node, root: bool) {
    match (shape(applied, node), &mut *live, applied) {
        (Shape::Map, Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                match old.get_mut(name) {
                    Some(old) => merge(old, value, &field(node, name, root), false),
                    None => {
                        old.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Shape::List, Value::Array(old), Value::Array(new)) => {
            let merged = merge_list(std::mem::take(old), new, node);
            *old = merged;
        }
        _ => {
            if live != applied {
                *live = applied.clone();
            }
        }
    }
}

fn merge_list(old: Vec<Value>, new: &[Value], node: &Node) -> Vec<Value> {
    let items = items_of(node);
    let wanted: HashSet<_> = new
        .iter()
        .filter_map(|item| item_step(item, node))
        .collect();
    let mut shared: HashMap<String, Value> = HashMap::new();
    // Items that stay as they are, with how many shared ones stand before them.
    let mut order = Vec::with_capacity(old.len());
    for item in old {
        match item_step(&item, node) {
            Some(step) if wanted.contains(&step) => {
                order.push((Some(step.clone()), Value::Null));
                shared.entry(step).or_insert(item);
            }
            _ => order.push((None, item)),
        }
    }
    let mut result = Vec::with_capacity(order.len() + new.len());
    let mut left = order.into_iter().peekable();
    let mut emitted = HashSet::new();
    for item in new {
        let step = item_step(item, node).unwrap_or_default();
        // Everything that only the live list has and that stands before the next shared item comes first.
        while let Some((head, _)) = left.peek() {
            let skip = match head {
                None => true,
                Some(head) => emitted.contains(head),
            };
            if !skip {
                break;
            }
            if let Some((None, value)) = left.next() {
                result.push(value);
            }
        }
        if let Some((Some(head), _)) = left.peek()
            && *head == step
        {
            left.next();
        }
        let value = match shared.remove(&step) {
            Some(mut value) => {
                merge(&mut value, item, &items, false);
                value
            }
            None => item.clone(),
        };
        emitted.insert(step);
        result.push(value);
    }
    result.extend(left.filter_map(|(head, value)| head.is_none().then_some(value)));
    result
}

/// Removes what `last` has and `kept` has not.
pub(super) fn remove(value: &mut Value, last: &FieldSet, kept: &FieldSet, node: &Node) {
    prune(value, last, kept, node, true);
}

fn gone(last: &FieldSet, kept: Option<&FieldSet>, named: bool) -> bool {
    let member = |set: &FieldSet| set.own || (named && !set.children.is_empty());
    member(last) && !kept.is_some_and(member)
}

fn prune(value: &mut Value, last: &FieldSet, kept: &FieldSet, node: &Node, root: bool) {
    let none = FieldSet::default();
    match (shape(value, node), value) {
        (Shape::Map, Value::Object(fields)) => fields.retain(|name, value| {
            let step = field_step(name);
            let Some(last) = last.children.get(&step) else {
                return true;
            };
            let kept = kept.children.get(&step);
            // What makes up the identity of an object stays, and belongs to nobody.
            if !(root && name == "metadata") && gone(last, kept, named(node, name, root)) {
                return false;
            }
            prune(
                value,
                last,
                kept.unwrap_or(&none),
                &field(node, name, root),
                false,
            );
            true
        }),
        (Shape::List, Value::Array(list)) => {
            let items = items_of(node);
            list.retain_mut(|item| {
                let Some(step) = item_step(item, node) else {
                    return true;
                };
                let Some(last) = last.children.get(&step) else {
                    return true;
                };
                let kept = kept.children.get(&step);
                if gone(last, kept, false) {
                    return false;
                }
                prune(item, last, kept.unwrap_or(&none), &items, false);
                true
            });
        }
        _ => {}
    }
}

/// What differs between two objects.
#[derive(Default)]
pub(super) struct Difference {
    /// Fields that are new or have another value.
    pub(super) changed: FieldSet,
    /// Fields that are gone.
    pub(super) removed: FieldSet,
}

/// Compares two objects.
pub(super) fn compare(old: &Value, new: &Value, node: &Node) -> Difference {
    let mut difference = Difference::default();
    diff(
        old,
        new,
        node,
        &mut difference.changed,
        &mut difference.removed,
        true,
    );
    difference.changed.own = false;
    difference.removed.own = false;
    difference.changed.tidy();
    difference.removed.tidy();
    difference
}

fn diff(
    old: &Value,
    new: &Value,
    node: &Node,
    changed: &mut FieldSet,
    removed: &mut FieldSet,
    root: bool,
) {
    if old == new {
        return;
    }
    match (shape(old, node), shape(new, node), old, new) {
        (Shape::Map, Shape::Map, Value::Object(before), Value::Object(after)) => {
            if after.is_empty() {
                changed.own = true;
            }
            for (name, value) in before {
                let child = field(node, name, root);
                let step = field_step(name);
                match after.get(name) {
                    Some(new) => diff_child(step, value, new, &child, changed, removed),
                    None => {
                        let set = removed.child(step);
                        fill(value, &child, set, false);
                        set.own = true;
                    }
                }
            }
            for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                let set = changed.child(field_step(name));
                fill(value, &field(node, name, root), set, false);
                set.own |= is_empty(value) || !named(node, name, root);
            }
        }
        (Shape::List, Shape::List, Value::Array(before), Value::Array(after)) => {
            if after.is_empty() {
                changed.own = true;
            }
            let items = items_of(node);
            let index = |list: &[Value]| -> HashMap<String, Value> {
                list.iter()
                    .filter_map(|item| Some((item_step(item, node)?, item.clone())))
                    .collect()
            };
            let (before, after) = (index(before), index(after));
            for (step, item) in &before {
                match after.get(step) {
                    Some(new) => diff_child(step.clone(), item, new, &items, changed, removed),
                    None => {
                        let set = removed.child(step.clone());
                        fill(item, &items, set, false);
                        set.own = true;
                    }
                }
            }
            for (step, item) in after.iter().filter(|(step, _)| !before.contains_key(*step)) {
                let set = changed.child(step.clone());
                fill(item, &items, set, false);
                set.own = true;
            }
        }
        _ => {
            fill(new, node, changed, root);
            if node.kind() != Some(Kind::Object) || !new.is_object() {
                changed.own = true;
            }
        }
    }
}

fn diff_child(
    step: String,
    old: &Value,
    new: &Value,
    node: &Node,
    changed: &mut FieldSet,
    removed: &mut FieldSet,
) {
    let mut more = FieldSet::default();
    let mut less = FieldSet::default();
    diff(old, new, node, &mut more, &mut less, false);
    if !more.is_empty() {
        changed.children.insert(step.clone(), more);
    }
    if !less.is_empty() {
        removed.children.insert(step, less);
    }
}
