//! A place in a schema, and what can be asked of it.

use std::sync::{Arc, OnceLock};

use regex::Regex;
use serde_json::{Value, json};

/// The JSON type that a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
    /// A JSON string.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl Kind {
    /// Returns the word that schemas use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value.
    Atomic,
    /// Items are objects, told apart by their keys.
    Map,
    /// Items are scalars, each at most once.
    Set,
}

/// What holds for the keys of an object that `properties` does not name.
#[derive(Clone, Debug)]
pub enum Additional {
    /// Nothing is said, or `false`.
    No,
    /// `additionalProperties: true`.
    Any,
    /// Their values follow this schema.
    Schema(Node),
}

/// Place of a node in its table; tables are far smaller than that.
pub(crate) type Id = u32;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum AdditionalId {
    #[default]
    No,
    Any,
    Schema(Id),
}

/// One schema object as parsed. The schema of a workload has tens of thousands of them, so that what most of
/// them do not say stands apart.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// The schema this one refers to; what is said here comes on top of it.
    pub(crate) base: Option<Id>,
    pub(crate) kind: Option<Kind>,
    pub(crate) properties: Properties,
    pub(crate) additional: AdditionalId,
    pub(crate) items: Option<Id>,
    pub(crate) nullable: bool,
    pub(crate) preserve: bool,
    pub(crate) embedded: bool,
    pub(crate) int_or_string: bool,
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few schema objects say.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) required: Vec<String>,
    pub(crate) enumeration: Option<Vec<Value>>,
    pub(crate) pattern: Option<Regex>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) format: Option<String>,
    pub(crate) default: Option<Value>,
    pub(crate) all_of: Vec<Id>,
    pub(crate) any_of: Vec<Id>,
    pub(crate) one_of: Vec<Id>,
    pub(crate) not: Option<Id>,
    pub(crate) list_type: Option<ListType>,
    pub(crate) list_map_keys: Vec<String>,
    pub(crate) atomic_map: Option<bool>,
    pub(crate) merge_key: Option<String>,
    pub(crate) strategy: Option<String>,
}

impl Data {
    /// What few schema objects say; nothing when this one says none of it.
    pub(crate) fn rare(&self) -> &Rare {
        static NOTHING: OnceLock<Rare> = OnceLock::new();
        self.rare
            .as_deref()
            .unwrap_or_else(|| NOTHING.get_or_init(Rare::default))
    }

    /// The same, to be filled.
    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// The declared fields of an object, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Properties(Box<[(Box<str>, Id)]>);

impl Properties {
    pub(crate) fn new(mut list: Vec<(Box<str>, Id)>) -> Self {
        list.sort_unstable();
        Self(list.into_boxed_slice())
    }

    pub(crate) fn get(&self, name: &str) -> Option<Id> {
        let place = self.0.binary_search_by(|(own, _)| (**own).cmp(name));
        place.ok().map(|place| self.0[place].1)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) nodes: Vec<Data>,
    /// Set for schemas of built-in kinds, where `null` is the same as absence.
    pub(crate) native: bool,
}

/// A place in a schema.
#[derive(Clone)]
pub struct Node {
    pub(crate) table: Arc<Table>,
    pub(crate) id: Id,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

/// More links from one schema to another than this are a loop.
const MAX_LINKS: usize = 32;

impl Node {
    /// Returns a schema that says nothing: every value is valid, no field is unknown.
    #[must_use]
    pub fn any() -> Self {
        static ANY: OnceLock<Node> = OnceLock::new();
        ANY.get_or_init(|| Self {
            table: Arc::new(Table {
                nodes: vec![Data {
                    preserve: true,
                    nullable: true,
                    ..Data::default()
                }],
                native: false,
            }),
            id: 0,
        })
        .clone()
    }

    /// Returns the schema of `metadata`, which definitions of custom resources do not spell out.
    #[must_use]
    pub fn object_meta() -> Self {
        static META: OnceLock<Node> = OnceLock::new();
        META.get_or_init(|| {
            Self::parse_with_definitions(&object_meta(), &Value::Null)
                .unwrap_or_else(|_| Self::any())
        })
        .clone()
    }

    pub(crate) fn at(&self, id: Id) -> Self {
        Self {
            table: Arc::clone(&self.table),
            id,
        }
    }

    /// What this very schema object says.
    pub(crate) fn own(&self) -> &Data {
        &self.table.nodes[self.id as usize]
    }

    /// What the schema says that this one finally refers to.
    pub(crate) fn data(&self) -> &Data {
        let mut data = self.own();
        for _ in 0..MAX_LINKS {
            let Some(base) = data.base else { break };
            data = &self.table.nodes[base as usize];
        }
        data
    }

    fn first<'n, T>(&'n self, pick: impl Fn(&'n Data) -> Option<T>) -> Option<T> {
        let mut data = self.own();
        for _ in 0..MAX_LINKS {
            if let Some(found) = pick(data) {
                return Some(found);
            }
            data = &self.table.nodes[data.base? as usize];
        }
        None
    }

    /// Returns the JSON type, if one is asked for.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.data().kind
    }

    /// Returns the schema of the field `name`: a declared one, or that of additional properties.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Self> {
        self.property(name).or_else(|| match self.additional() {
            Additional::Schema(node) => Some(node),
            Additional::Any => Some(Self::any()),
            Additional::No => self.preserves_unknown().then(Self::any),
        })
    }

    /// Returns the schema of the declared field `name`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<Self> {
        self.data().properties.get(name).map(|id| self.at(id))
    }

    /// Tells whether `name` is a declared field.
    #[must_use]
    pub fn has_property(&self, name: &str) -> bool {
        self.data().properties.get(name).is_some()
    }

    /// Returns the names of all declared fields, sorted.
    pub fn property_names(&self) -> impl Iterator<Item = &str> {
        self.data().properties.names()
    }

    /// Returns what holds for fields that are not declared.
    #[must_use]
    pub fn additional(&self) -> Additional {
        match self.data().additional {
            AdditionalId::No => Additional::No,
            AdditionalId::Any => Additional::Any,
            AdditionalId::Schema(id) => Additional::Schema(self.at(id)),
        }
    }

    /// Returns the schema of the items of a list.
    #[must_use]
    pub fn items(&self) -> Option<Self> {
        self.data().items.map(|id| self.at(id))
    }

    /// Returns the default value.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        self.first(|data| data.rare().default.clone())
    }

    /// Tells whether `null` is a value of its own here.
    #[must_use]
    pub fn nullable(&self) -> bool {
        self.own().nullable || self.data().nullable
    }

    /// Returns `x-kubernetes-list-type`.
    #[must_use]
    pub fn list_type(&self) -> Option<ListType> {
        self.first(|data| data.rare().list_type)
    }

    /// Returns `x-kubernetes-list-map-keys`.
    #[must_use]
    pub fn list_map_keys(&self) -> Vec<String> {
        self.first(|data| {
            (!data.rare().list_map_keys.is_empty()).then(|| data.rare().list_map_keys.clone())
        })
        .unwrap_or_default()
    }

    /// Returns `x-kubernetes-map-type`.
    #[must_use]
    pub fn map_type(&self) -> Option<&'static str> {
        self.first(|data| data.rare().atomic_map)
            .map(|atomic| if atomic { "atomic" } else { "granular" })
    }

    /// Tells whether an object here is one value.
    #[must_use]
    pub fn atomic_map(&self) -> bool {
        self.first(|data| data.rare().atomic_map).unwrap_or(false)
    }

    /// Returns `x-kubernetes-patch-merge-key`.
    #[must_use]
    pub fn patch_merge_key(&self) -> Option<&str> {
        self.first(|data| data.rare().merge_key.as_deref())
    }

    /// Returns `x-kubernetes-patch-strategy`.
    #[must_use]
    pub fn patch_strategy(&self) -> Option<&str> {
        self.first(|data| data.rare().strategy.as_deref())
    }

    /// Returns `x-kubernetes-preserve-unknown-fields`.
    #[must_use]
    pub fn preserves_unknown(&self) -> bool {
        self.own().preserve || self.data().preserve
    }

    /// Returns `x-kubernetes-embedded-resource`.
    #[must_use]
    pub fn embedded_resource(&self) -> bool {
        self.own().embedded || self.data().embedded
    }

    /// Returns `x-kubernetes-int-or-string`.
    #[must_use]
    pub fn int_or_string(&self) -> bool {
        self.own().int_or_string || self.data().int_or_string
    }
}

fn object_meta() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer", "format": "int64"});
    let time = || json!({"type": "string", "format": "date-time"});
    let texts = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "properties": {
            "name": text(), "generateName": text(), "namespace": text(), "selfLink": text(), "uid": text(),
            "resourceVersion": text(), "generation": number(), "creationTimestamp": time(),
            "deletionTimestamp": time(), "deletionGracePeriodSeconds": number(),
            "labels": texts(), "annotations": texts(),
            "finalizers": {
                "type": "array", "items": text(), "x-kubernetes-list-type": "set",
                "x-kubernetes-patch-strategy": "merge",
            },
            "ownerReferences": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
                "x-kubernetes-patch-merge-key": "uid", "x-kubernetes-patch-strategy": "merge",
                "items": {
                    "type": "object", "x-kubernetes-map-type": "atomic",
                    "required": ["apiVersion", "kind", "name", "uid"],
                    "properties": {
                        "apiVersion": text(), "kind": text(), "name": text(), "uid": text(),
                        "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
                    },
                },
            },
            "managedFields": {
                "type": "array", "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "properties": {
                        "manager": text(), "operation": text(), "apiVersion": text(), "time": time(),
                        "fieldsType": text(), "subresource": text(),
                        "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                },
            },
        },
    })
}
