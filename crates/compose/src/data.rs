//! What a template may read: the merged spec, the service's metadata, a few facts of the installation.

use std::borrow::Cow;

use serde_json::{Value, json};
use weir_schema::Node;
use weir_template::{Declared, Shape};

use crate::Globals;

/// Fields of the root. The spec is not part of it, for it changes between the steps of a rendering.
pub(crate) struct Root<'a> {
    metadata: Cow<'a, Value>,
    status: Cow<'a, Value>,
    globals: Value,
}

/// A name in a template and what it stands for.
pub(crate) type Fields<'f> = [(&'f str, &'f Value); 12];

/// Metadata that templates reach without `.ObjectMeta`.
const METADATA: [(&str, &str); 5] = [
    ("Name", "name"),
    ("Namespace", "namespace"),
    ("Labels", "labels"),
    ("Annotations", "annotations"),
    ("UID", "uid"),
];

/// Parts of the spec that templates reach without `.Spec`.
const SHORTCUTS: [(&str, &str); 3] = [
    ("Model", "model"),
    ("Parallelism", "parallelism"),
    ("Prefill", "prefill"),
];

impl<'a> Root<'a> {
    /// `spec` is the merged one.
    pub(crate) fn of(spec: &Value, service: &'a Value, globals: &Globals) -> Self {
        let mut metadata = Cow::Borrowed(&service["metadata"]);
        let lacks_namespace = metadata.get("namespace").is_none();
        if (lacks_namespace || metadata.get("managedFields").is_some())
            && let Some(object) = metadata.to_mut().as_object_mut()
        {
            object.remove("managedFields");
            object
                .entry("namespace")
                .or_insert_with(|| json!("default"));
        }
        let text = |pointer: &str| metadata.pointer(pointer).and_then(Value::as_str);
        let namespace = text("/namespace").unwrap_or_default();
        let pool = spec
            .pointer("/router/scheduler/pool/ref/name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .map_or_else(
                || weir_api::names::child(text("/name").unwrap_or_default(), "-inference-pool"),
                str::to_owned,
            );
        let globals = json!({
            "SystemNamespace": weir_api::names::SYSTEM_NAMESPACE,
            "IngressGatewayName": globals.gateway_name,
            "IngressGatewayNamespace": globals.gateway_namespace,
            "ModelBasedRoutingHeaderName": globals.model_header,
            "EnableTLS": globals.tls,
            "InferencePoolNamespacedName": format!("{namespace}/{pool}"),
        });
        let status = service.get("status").map(Cow::Borrowed);
        Self {
            metadata,
            status: status.unwrap_or_else(|| Cow::Owned(json!({}))),
            globals,
        }
    }

    /// Name of the service.
    pub(crate) fn name(&self) -> Option<&str> {
        self.metadata.get("name").and_then(Value::as_str)
    }

    /// All fields of the root, the spec being `spec`.
    pub(crate) fn fields<'f>(&'f self, spec: &'f Value) -> Fields<'f> {
        let metadata = |index: usize| {
            let (name, field) = METADATA[index];
            (name, &self.metadata[field])
        };
        let shortcut = |index: usize| {
            let (name, field) = SHORTCUTS[index];
            (name, &spec[field])
        };
        [
            ("ObjectMeta", &*self.metadata),
            ("Spec", spec),
            ("Status", &*self.status),
            ("GlobalConfig", &self.globals),
            metadata(0),
            metadata(1),
            metadata(2),
            metadata(3),
            metadata(4),
            shortcut(0),
            shortcut(1),
            shortcut(2),
        ]
    }
}

/// The structures that the fields of the root have.
pub(crate) struct Known<'k> {
    pub(crate) fields: &'k Fields<'k>,
    /// Schema of the spec.
    pub(crate) spec: &'k Node,
}

/// What is known of a place in the data.
enum Reached {
    Root,
    Globals,
    Structure(Node),
    /// Any name may occur.
    Open,
}

impl Known<'_> {
    fn reach(&self, path: &[Cow<'_, str>]) -> Reached {
        let Some((first, rest)) = path.split_first() else {
            return Reached::Root;
        };
        let first: &str = first;
        let shortcut = SHORTCUTS.iter().find(|(name, _)| *name == first);
        let start = match (first, shortcut) {
            ("Spec", _) => Some(self.spec.clone()),
            ("ObjectMeta", _) if rest.is_empty() => Some(Node::object_meta()),
            ("GlobalConfig", _) => return Reached::Globals,
            (_, Some((_, field))) => self.spec.property(field),
            _ => None,
        };
        let below = |node: Node, name: &Cow<'_, str>| match &**name {
            "[]" => node.items(),
            name => node.property(name),
        };
        start
            .and_then(|start| rest.iter().try_fold(start, below))
            .filter(|node| node.property_names().next().is_some())
            .map_or(Reached::Open, Reached::Structure)
    }

    fn global_names(&self) -> impl Iterator<Item = &String> {
        let globals = self.fields.iter().find(|(name, _)| *name == "GlobalConfig");
        let globals = globals.and_then(|(_, globals)| globals.as_object());
        globals.into_iter().flat_map(|globals| globals.keys())
    }
}

impl Shape for Known<'_> {
    /// In Go's spelling, since messages show them.
    fn fields(&self, path: &[Cow<'_, str>]) -> Option<Vec<String>> {
        match self.reach(path) {
            Reached::Root => Some(self.fields.map(|(name, _)| name.to_owned()).to_vec()),
            Reached::Globals => Some(self.global_names().cloned().collect()),
            Reached::Structure(node) => Some(node.property_names().map(go_name).collect()),
            Reached::Open => None,
        }
    }

    fn declares(&self, path: &[Cow<'_, str>], name: &str) -> Declared {
        let same = |known: &&str| known.eq_ignore_ascii_case(name);
        let declared = match self.reach(path) {
            Reached::Open => return Declared::Any,
            Reached::Root => {
                let mut names = self.fields.iter().map(|(name, _)| *name);
                names.find(same).map(str::to_owned)
            }
            Reached::Globals => {
                let mut names = self.global_names().map(String::as_str);
                names.find(same).map(str::to_owned)
            }
            Reached::Structure(node) => node.property_names().find(same).map(str::to_owned),
        };
        declared.map_or(Declared::No, Declared::As)
    }

    fn is_open(&self, path: &[Cow<'_, str>]) -> bool {
        matches!(self.reach(path), Reached::Open)
    }
}

/// Beginnings of fields that Go writes in capitals as a whole.
const CAPITALS: [&str; 6] = ["uri", "uid", "url", "kv", "ca", "pvc"];

/// The name that a field has in Go, and so in templates: `modelURI` is `ModelURI`, `kvCacheOffloading` is
/// `KVCacheOffloading`.
fn go_name(field: &str) -> String {
    let word = field
        .find(|c: char| !c.is_ascii_lowercase())
        .unwrap_or(field.len());
    let (word, rest) = field.split_at(word);
    if CAPITALS.contains(&word) {
        return word.to_ascii_uppercase() + rest;
    }
    let mut chars = word.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect::<String>() + rest
}
