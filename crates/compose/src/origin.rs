//! Which layer each leaf came from, for those who ask: most compositions are made without.
//!
//! A [`Tree`] has the form of a spec with the number of a layer at each leaf. It is made when all layers are
//! merged, and follows what happens to the spec afterwards.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_schema::Node;

use crate::Origins;
use crate::render::escape;

/// Origin of what no layer says.
const RULE: &str = "rule";
/// The number of [`RULE`].
const RULED: u16 = u16::MAX;
/// The number of what is in no layer and by no rule: a default.
const NOBODY: u16 = u16::MAX - 1;

/// The layers by number, and the number at each leaf of a spec.
#[derive(Debug)]
pub(crate) struct Traced {
    layers: Vec<String>,
    tree: Tree,
}

/// Numbers of layers in the form of a spec. An empty object or list is a leaf.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Leaf(u16),
    Object(BTreeMap<String, Self>),
    List(Vec<Self>),
}

impl Traced {
    /// The origins of `spec`, to which `layers` were merged, the lowest first: of a leaf the last layer that says
    /// just this, else the last one that says something there.
    pub(crate) fn of(spec: &Value, layers: &[(String, &Value)], node: &Node) -> Self {
        let numbered: Vec<(u16, &Value)> = (0..NOBODY)
            .zip(layers)
            .map(|(number, (_, own))| (number, *own))
            .collect();
        Self {
            layers: layers.iter().map(|(layer, _)| layer.clone()).collect(),
            tree: Tree::of(spec, &numbered, node),
        }
    }

    fn name(&self, number: u16) -> Option<&str> {
        match number {
            RULED => Some(RULE),
            number => self.layers.get(usize::from(number)).map(String::as_str),
        }
    }

    /// The layer that a leaf came from.
    pub(crate) fn layer(&self, pointer: &str) -> Option<&str> {
        let mut tree = &self.tree;
        for step in pointer.split('/').skip(1) {
            tree = match tree {
                Tree::Leaf(_) => return None,
                Tree::Object(fields) => fields.get(&unescape(step))?,
                Tree::List(items) => items.get(step.parse::<usize>().ok()?)?,
            };
        }
        match tree {
            Tree::Leaf(number) => self.name(*number),
            _ => None,
        }
    }

    /// The place at a pointer.
    pub(crate) fn at(&mut self, pointer: &str) -> Option<&mut Tree> {
        let mut steps = pointer.split('/').skip(1);
        steps.try_fold(&mut self.tree, |tree, step| match tree {
            Tree::Leaf(_) => None,
            Tree::Object(fields) => fields.get_mut(&unescape(step)),
            Tree::List(items) => items.get_mut(step.parse::<usize>().ok()?),
        })
    }

    /// Notes that everything of `value`, which stands at `pointer`, is by rule.
    pub(crate) fn ruled(&mut self, pointer: &str, value: &Value) {
        let mut tree = &mut self.tree;
        for step in pointer.split('/').skip(1) {
            tree = match tree {
                Tree::List(items) => {
                    let Some(item) = step.parse().ok().and_then(|at: usize| items.get_mut(at))
                    else {
                        return;
                    };
                    item
                }
                Tree::Leaf(_) => {
                    *tree = Tree::Object(BTreeMap::new());
                    let Tree::Object(fields) = tree else { return };
                    fields.entry(unescape(step)).or_insert(Tree::Leaf(NOBODY))
                }
                Tree::Object(fields) => fields.entry(unescape(step)).or_insert(Tree::Leaf(NOBODY)),
            };
        }
        *tree = Tree::filled(value, RULED);
    }

    /// By JSON pointer.
    pub(crate) fn by_pointer(&self) -> Origins {
        let mut all = Origins::new();
        self.collect(&self.tree, &mut String::new(), &mut all);
        all
    }

    fn collect(&self, tree: &Tree, pointer: &mut String, all: &mut Origins) {
        let here = pointer.len();
        match tree {
            Tree::Leaf(number) => {
                if let Some(layer) = self.name(*number) {
                    all.insert(pointer.clone(), layer.to_owned());
                }
            }
            Tree::Object(fields) => {
                for (key, below) in fields {
                    pointer.push('/');
                    pointer.push_str(&escape(key));
                    self.collect(below, pointer, all);
                    pointer.truncate(here);
                }
            }
            Tree::List(items) => {
                for (index, below) in items.iter().enumerate() {
                    pointer.push_str(&format!("/{index}"));
                    self.collect(below, pointer, all);
                    pointer.truncate(here);
                }
            }
        }
    }
}

impl Tree {
    /// Those of an object.
    pub(crate) fn fields(&mut self) -> Option<&mut BTreeMap<String, Self>> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// Those of a list.
    pub(crate) fn items(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// `layers` are what the layers have at the place of `value`.
    fn of(value: &Value, layers: &[(u16, &Value)], node: &Node) -> Self {
        match value {
            Value::Object(map) if !map.is_empty() => {
                let field = |(key, value): (&String, &Value)| {
                    let below: Vec<(u16, &Value)> = layers
                        .iter()
                        .filter_map(|(number, own)| Some((*number, own.as_object()?.get(key)?)))
                        .collect();
                    let node = node.field(key).unwrap_or_else(Node::any);
                    (key.clone(), Self::of(value, &below, &node))
                };
                Self::Object(map.iter().map(field).collect())
            }
            Value::Array(list) if !list.is_empty() => {
                let key = node.patch_merge_key();
                let node = node.items().unwrap_or_else(Node::any);
                let item = |(index, value): (usize, &Value)| {
                    let name = key.and_then(|key| Some((key, value.get(key)?)));
                    let same = |own: &&Value| match name {
                        Some((key, name)) => own.get(key) == Some(name),
                        // Keyed items are told by their keys only.
                        None => key.is_none_or(|key| own.get(key).is_none()),
                    };
                    let below: Vec<(u16, &Value)> = layers
                        .iter()
                        .filter_map(|(number, own)| {
                            let own = own.as_array()?;
                            let found = match name {
                                Some(_) => own.iter().rev().find(same),
                                None => own.get(index).filter(same),
                            };
                            Some((*number, found?))
                        })
                        .collect();
                    Self::of(value, &below, &node)
                };
                Self::List(list.iter().enumerate().map(item).collect())
            }
            leaf => {
                let last = |fits: &dyn Fn(&Value) -> bool| {
                    let found = layers.iter().rev().find(|(_, own)| fits(own));
                    found.map(|(number, _)| *number)
                };
                let found = last(&|own| own == leaf).or_else(|| last(&is_leaf));
                Self::Leaf(found.unwrap_or(NOBODY))
            }
        }
    }

    /// In the form of `value`, one number at each leaf.
    fn filled(value: &Value, number: u16) -> Self {
        match value {
            Value::Object(map) if !map.is_empty() => {
                let field =
                    |(key, value): (&String, &Value)| (key.clone(), Self::filled(value, number));
                Self::Object(map.iter().map(field).collect())
            }
            Value::Array(list) if !list.is_empty() => Self::List(
                list.iter()
                    .map(|value| Self::filled(value, number))
                    .collect(),
            ),
            _ => Self::Leaf(number),
        }
    }
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    }
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}
