//! Which kinds are served: the built-in ones and those that custom resource definitions add.

mod builtin;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use crate::schema::Schema;
use parking_lot::RwLock;
use tokio::sync::watch;

/// Where the scale subresource finds its numbers in an object.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    /// JSON pointer of the wanted count.
    pub spec: String,
    /// JSON pointer of the observed count.
    pub status: String,
    /// JSON pointer of the label selector (an object or a text), empty for none.
    pub selector: String,
}

/// A column that a definition adds to tables.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type.
    pub type_: String,
    /// OpenAPI format, may be empty.
    pub format: String,
    /// Help text.
    pub description: String,
    /// 0: always shown; more: only with `-o wide`.
    pub priority: i64,
    /// JSONPath of the value.
    pub json_path: String,
}

/// What a definition says of a kind beyond its names.
#[derive(Clone, Debug)]
pub struct Custom {
    /// OpenAPI schema of this version as JSON text, `null` for none. Such schemas are large, and as
    /// values a dozen times larger than as text.
    pub openapi: Arc<str>,
    /// Hash of that schema, made when OpenAPI is first asked for.
    pub(crate) hash: OnceLock<u64>,
    /// True when unknown fields are kept everywhere.
    pub preserve_unknown: bool,
    /// Printer columns.
    pub columns: Vec<Column>,
    /// Text for `kubectl explain` and discovery warnings.
    pub deprecation: Option<String>,
}

/// One kind in one version at one path.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Kind of lists.
    pub list_kind: String,
    /// Plural, as in paths.
    pub plural: String,
    /// Singular.
    pub singular: String,
    /// Short names.
    pub short: Vec<String>,
    /// Categories such as `all`.
    pub categories: Vec<String>,
    /// True when objects live in namespaces.
    pub namespaced: bool,
    /// True when `status` is a subresource.
    pub status: bool,
    /// True when `metadata.generation` counts changes.
    pub generation: bool,
    /// Scale subresource.
    pub scale: Option<ScalePaths>,
    /// True when requests are answered and not stored (reviews).
    pub review: bool,
    /// Name of the storage: the same for all versions of a kind.
    pub storage: Arc<str>,
    /// `apiVersion` in which the storage keeps objects.
    pub storage_version: String,
    /// Schema for merging, pruning and validation.
    pub schema: Option<Arc<Schema>>,
    /// Set for kinds that a definition added.
    pub custom: Option<Arc<Custom>>,
}

impl Resource {
    /// Returns `apiVersion` of this version.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Returns `plural.group`, or the plural alone for core.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

/// Returns `group/version`, or the version alone for core.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// An immutable picture of what is served.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// Groups in order of discovery, each with its versions, the preferred one first.
    pub groups: Vec<(String, Vec<String>)>,
    resources: HashMap<(String, String, String), Arc<Resource>>,
    order: Vec<Arc<Resource>>,
}

impl Snapshot {
    fn build(list: Vec<Arc<Resource>>) -> Self {
        let mut snapshot = Self::default();
        for resource in list {
            let (group, version) = (&resource.group, &resource.version);
            match snapshot.groups.iter_mut().find(|(name, _)| name == group) {
                Some((_, versions)) => {
                    if !versions.contains(version) {
                        versions.push(version.clone());
                    }
                }
                None => snapshot.groups.push((group.clone(), vec![version.clone()])),
            }
            let key = (group.clone(), version.clone(), resource.plural.clone());
            snapshot.resources.insert(key, Arc::clone(&resource));
            snapshot.order.push(resource);
        }
        for (_, versions) in &mut snapshot.groups {
            versions.sort_by_key(|version| std::cmp::Reverse(version_priority(version)));
        }
        snapshot
    }

    /// Returns the resource at `/apis/group/version/plural`.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.resources.get(&key).cloned()
    }

    /// Returns every resource in order of discovery.
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.order
    }

    /// Returns the resource of a kind in any version, the preferred version first.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.order
            .iter()
            .find(|r| r.kind == kind && r.api_version() == api_version)
            .cloned()
    }

    /// Returns the resource whose storage is `storage`, in its storage version where served.
    pub fn by_storage(&self, storage: &str) -> Option<Arc<Resource>> {
        let mut found = None;
        for resource in self.order.iter().filter(|r| *r.storage == *storage) {
            if resource.api_version() == resource.storage_version {
                return Some(Arc::clone(resource));
            }
            found = found.or_else(|| Some(Arc::clone(resource)));
        }
        found
    }

    /// True when `group/version` is served.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.groups
            .iter()
            .any(|(g, versions)| g == group && versions.iter().any(|v| v == version))
    }
}

/// Orders versions as Kubernetes does: `v2` > `v1` > `v1beta2` > `v1alpha1` > anything else.
pub fn version_priority(version: &str) -> (u8, u64, u64) {
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else {
        return (0, 0, 0);
    };
    let tail = &rest[digits..];
    if tail.is_empty() {
        return (3, major, 0);
    }
    for (level, word) in [(2, "beta"), (1, "alpha")] {
        if let Some(minor) = tail.strip_prefix(word).and_then(|text| text.parse().ok()) {
            return (level, major, minor);
        }
    }
    (0, 0, 0)
}

/// The served kinds; replaced as a whole when a definition changes.
pub struct Registry {
    builtin: Vec<Arc<Resource>>,
    custom: RwLock<BTreeMap<String, Vec<Arc<Resource>>>>,
    current: watch::Sender<Arc<Snapshot>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// Returns a registry of the built-in kinds.
    pub fn new() -> Self {
        let builtin: Vec<Arc<Resource>> = builtin::resources().into_iter().map(Arc::new).collect();
        let current = watch::Sender::new(Arc::new(Snapshot::build(builtin.clone())));
        Self {
            builtin,
            custom: RwLock::new(BTreeMap::new()),
            current,
        }
    }

    /// Returns the current picture.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// Returns a receiver of every picture from now on.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }

    /// True when `group/plural` is a built-in kind.
    pub fn is_builtin(&self, group: &str, plural: &str) -> bool {
        self.builtin
            .iter()
            .any(|r| r.group == group && r.plural == plural)
    }

    /// Sets what the definition `name` adds; nothing when `resources` is empty.
    pub fn set_custom(&self, name: &str, resources: Vec<Resource>) {
        let mut custom = self.custom.write();
        if resources.is_empty() {
            custom.remove(name);
        } else {
            custom.insert(
                name.to_owned(),
                resources.into_iter().map(Arc::new).collect(),
            );
        }
        let mut list = self.builtin.clone();
        list.extend(custom.values().flatten().cloned());
        self.current.send_replace(Arc::new(Snapshot::build(list)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_does() {
        let mut versions = ["v1alpha1", "foo", "v1beta2", "v2", "v1", "v10", "v1beta1"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_priority(version)));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
        );
    }

    #[test]
    fn built_in_kinds_are_found() {
        let snapshot = Registry::new().snapshot();
        assert_eq!(
            snapshot.find("apps", "v1", "deployments").unwrap().kind,
            "Deployment"
        );
        let events = snapshot.find("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(
            events.storage,
            snapshot.find("", "v1", "events").unwrap().storage
        );
    }
}
