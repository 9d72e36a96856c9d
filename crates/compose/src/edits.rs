//! What rendering does to a spec, gathered while the spec stands still and carried out afterwards.

use serde_json::{Map, Value};

use crate::origin::Tree;
use crate::render::escape;

/// What becomes of a value, in the form of the value as far as something changes.
#[derive(Debug, PartialEq)]
pub(crate) enum Edits {
    /// A text in its place.
    Text(String),
    /// These items in place of one of a list.
    Several(Vec<String>),
    /// The item is left out of its list.
    Gone,
    /// Nothing yet: a command that waits for the rest. With its pointer in the spec as it stood.
    Later(String),
    /// Of these fields.
    Object(Vec<(String, Self)>),
    /// Of these items, in order.
    List(Vec<(usize, Self)>),
}

/// A command that waits: its pointer in the spec as it stood, and as it stands when edits are carried out.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) old: String,
    pub(crate) new: String,
}

/// Carries out edits; `at` is the pointer of `value` in the spec. Returns the commands that wait.
pub(crate) fn carry_out(
    value: &mut Value,
    tree: Option<&mut Tree>,
    at: &str,
    edits: Edits,
) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    edit(value, tree, &mut at.to_owned(), edits, &mut waiting);
    waiting
}

fn edit(
    value: &mut Value,
    tree: Option<&mut Tree>,
    at: &mut String,
    edits: Edits,
    waiting: &mut Vec<Waiting>,
) {
    match (value, edits) {
        (value, Edits::Text(text)) => *value = Value::String(text),
        (_, Edits::Later(old)) => waiting.push(Waiting {
            old,
            new: at.clone(),
        }),
        (Value::Object(map), Edits::Object(edits)) => object(map, tree, at, edits, waiting),
        (Value::Array(list), Edits::List(edits)) => items(list, tree, at, edits, waiting),
        // The form of edits is that of the value.
        _ => {}
    }
}

fn object(
    map: &mut Map<String, Value>,
    tree: Option<&mut Tree>,
    at: &mut String,
    edits: Vec<(String, Edits)>,
    waiting: &mut Vec<Waiting>,
) {
    let here = at.len();
    let mut fields = tree.and_then(Tree::fields);
    for (key, edits) in edits {
        let Some(value) = map.get_mut(&key) else {
            continue;
        };
        let filled = is_filled(value);
        at.push('/');
        at.push_str(&escape(&key));
        let tree = fields.as_mut().and_then(|fields| fields.get_mut(&key));
        edit(value, tree, at, edits, waiting);
        at.truncate(here);
        // A list that has lost all of its items is no list that somebody wrote.
        if filled && !is_filled(value) {
            map.remove(&key);
            if let Some(fields) = &mut fields {
                fields.remove(&key);
            }
        }
    }
}

fn items(
    list: &mut Vec<Value>,
    tree: Option<&mut Tree>,
    at: &mut String,
    edits: Vec<(usize, Edits)>,
    waiting: &mut Vec<Waiting>,
) {
    let here = at.len();
    let mut trees = tree.and_then(Tree::items);
    let mut old_trees = trees
        .as_mut()
        .map(|trees| std::mem::take(*trees).into_iter());
    let mut edits = edits.into_iter().peekable();
    let old = std::mem::take(list);
    list.reserve(old.len());
    for (index, mut item) in old.into_iter().enumerate() {
        let mut tree = old_trees.as_mut().and_then(Iterator::next);
        let copies = match edits
            .next_if(|(of, _)| *of == index)
            .map(|(_, edits)| edits)
        {
            Some(Edits::Gone) => 0,
            Some(Edits::Several(words)) => {
                let copies = words.len();
                list.extend(words.into_iter().map(Value::String));
                copies
            }
            edits => {
                if let Some(edits) = edits {
                    at.push_str(&format!("/{}", list.len()));
                    edit(&mut item, tree.as_mut(), at, edits, waiting);
                    at.truncate(here);
                }
                list.push(item);
                1
            }
        };
        if let (Some(trees), Some(tree)) = (&mut trees, tree) {
            trees.extend(std::iter::repeat_n(tree, copies));
        }
    }
}

fn is_filled(value: &Value) -> bool {
    value.as_array().is_some_and(|list| !list.is_empty())
}
