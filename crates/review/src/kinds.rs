//! Which kinds are known, and their schemas.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;
use weir_schema::Node;

type Key = (String, String, String);

/// Schemas read so far, of kinds that this program knows; there are a few dozen.
static READ: LazyLock<Mutex<BTreeMap<Key, Option<Node>>>> = LazyLock::new(Mutex::default);

fn schemas_of<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeMap<Key, Value> {
    let mut found = BTreeMap::new();
    for object in objects
        .into_iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
    {
        let spec = &object["spec"];
        let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str())
        else {
            continue;
        };
        for version in spec["versions"].as_array().into_iter().flatten() {
            if let Some(name) = version["name"].as_str() {
                let key = (group.to_owned(), name.to_owned(), kind.to_owned());
                found.insert(key, version["schema"]["openAPIV3Schema"].clone());
            }
        }
    }
    found
}

/// What is known of a kind.
#[derive(Debug)]
pub enum Known {
    /// Its schema.
    Schema(Box<Node>),
    /// It exists, but its schema cannot be read: nothing is checked.
    Unchecked,
    /// There is no such kind; the nearest one, when there is one.
    Unknown(Option<String>),
}

/// The kinds that documents may have.
#[derive(Debug, Default)]
pub struct Kinds {
    extra: BTreeMap<Key, Value>,
}

impl Kinds {
    /// Built-in and bundled kinds, and those of the CRDs among `objects`.
    pub fn new<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        Self {
            extra: schemas_of(objects),
        }
    }

    /// What is known of a kind.
    #[must_use]
    pub fn get(&self, api_version: &str, kind: &str) -> Known {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let key = (group.to_owned(), version.to_owned(), kind.to_owned());
        if let Some(schema) = self.extra.get(&key) {
            return Node::parse(schema)
                .map_or(Known::Unchecked, |node| Known::Schema(Box::new(node)));
        }
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&key) {
            return known
                .clone()
                .map_or(Known::Unchecked, |node| Known::Schema(Box::new(node)));
        }
        let node = if let Some(schema) = weir_api::crds::schema(group, version, kind) {
            Node::parse(&schema).ok()
        } else if let Some(schema) = weir_api::builtin::schema(group, version, kind) {
            // Everything is resolved; the call only says that these are Go types, which read null as absent.
            Node::parse_with_definitions(&schema, &Value::Null).ok()
        } else {
            return Known::Unknown(self.nearest(group, version, kind));
        };
        read.insert(key, node.clone());
        node.map_or(Known::Unchecked, |node| Known::Schema(Box::new(node)))
    }

    /// The known kind that was probably meant: the same kind elsewhere, else one with a similar name.
    fn nearest(&self, group: &str, version: &str, kind: &str) -> Option<String> {
        let bundled = weir_api::crds::kinds();
        let crds = self
            .extra
            .keys()
            .chain(&bundled)
            .map(|(g, v, k)| (g.as_str(), v.as_str(), k.as_str()));
        let all: Vec<_> = crds
            .chain(weir_api::builtin::kinds().map(|(g, v, k, _)| (g, v, k)))
            .collect();
        let here = all.iter().filter(|(g, _, _)| *g == group);
        // A slip of the pen anywhere, then a word left out of a kind of this group, then what is near at all.
        let name = crate::locate::near(kind, all.iter().map(|(_, _, k)| *k), 5)
            .or_else(|| crate::locate::abridged(kind, here.map(|(_, _, k)| *k)))
            .or_else(|| crate::locate::similar(kind, all.iter().map(|(_, _, k)| *k)))?;
        // Of several homes of a kind the nearest, the newest among equals.
        let homes = all.iter().filter(|(_, _, k)| *k == name);
        let (group, version, kind) =
            homes.max_by_key(|(g, v, _)| (*g == group, *v == version, *v))?;
        let home = if group.is_empty() {
            (*version).to_owned()
        } else {
            format!("{group}/{version}")
        };
        Some(format!("kind {kind} of apiVersion {home}"))
    }
}
