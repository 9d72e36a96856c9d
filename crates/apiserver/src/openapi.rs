//! OpenAPI v3 documents: enough for validation by `kubectl apply` and for `kubectl explain`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use weir_api::builtin;

use crate::registry::{Resource, Snapshot, api_version};
use crate::schema;

/// `/openapi/v3`.
pub(crate) fn index(snapshot: &Snapshot) -> Value {
    let mut paths = Map::new();
    for (group, versions) in &snapshot.groups {
        for version in versions {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            // kubectl caches a document by its address: another schema is another address.
            let url = format!("/openapi/v3/{path}?hash={}", hash(snapshot, group, version));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// Returns what tells a document of a group and version from an earlier one.
pub(crate) fn hash(snapshot: &Snapshot, group: &str, version: &str) -> String {
    let mut hasher = DefaultHasher::new();
    for resource in of_version(snapshot, group, version) {
        resource.plural.hash(&mut hasher);
        if let Some(custom) = &resource.custom {
            custom
                .hash
                .get_or_init(|| {
                    let mut hasher = DefaultHasher::new();
                    custom.openapi.hash(&mut hasher);
                    hasher.finish()
                })
                .hash(&mut hasher);
        }
    }
    format!("{:016X}", hasher.finish())
}

/// Documents by group and version, each with the hash of what it was built from. There are never more of them
/// than served versions and those that were served before.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<(String, String), (String, Bytes)>>);

impl Documents {
    /// Returns a document and its hash; it is built when first asked for, and again after a change.
    pub(crate) fn get(
        &self,
        snapshot: &Snapshot,
        group: &str,
        version: &str,
    ) -> Option<(String, Bytes)> {
        let key = (group.to_owned(), version.to_owned());
        if !snapshot.serves(group, version) {
            self.0.lock().remove(&key);
            return None;
        }
        let hash = hash(snapshot, group, version);
        if let Some((known, bytes)) = self.0.lock().get(&key)
            && *known == hash
        {
            return Some((hash, bytes.clone()));
        }
        let bytes = Bytes::from(document(snapshot, group, version)?.to_string());
        self.0.lock().insert(key, (hash.clone(), bytes.clone()));
        Some((hash, bytes))
    }
}

fn of_version<'a>(
    snapshot: &'a Snapshot,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    snapshot
        .all()
        .iter()
        .filter(move |r| r.group == group && r.version == version)
}

/// The document of one group and version.
fn document(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    if !snapshot.serves(group, version) {
        return None;
    }
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in of_version(snapshot, group, version) {
        let name = model(resource);
        let gvk = json!({"group": group, "version": version, "kind": resource.kind});
        let mut document = match definition(resource) {
            Some(document) => {
                references(document, &mut schemas);
                document.clone()
            }
            None => schema::document(resource),
        };
        document["x-kubernetes-group-version-kind"] = json!([gvk]);
        schemas.insert(name.clone(), document);
        let root = if group.is_empty() { "/api" } else { "/apis" };
        let prefix = format!("{root}/{}", api_version(group, version));
        let collection = if resource.namespaced {
            format!("{prefix}/namespaces/{{namespace}}/{}", resource.plural)
        } else {
            format!("{prefix}/{}", resource.plural)
        };
        let content = json!({"application/json": {"schema":
            {"$ref": format!("#/components/schemas/{name}")}}});
        let answer = json!({"200": {"description": "OK", "content": content}});
        let operation = |action: &str, parameters: &[&str]| {
            let parameters: Vec<Value> = parameters
                .iter()
                .map(|p| json!({"name": p, "in": "query", "schema": {"type": "string"}}))
                .collect();
            json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
                "parameters": parameters, "responses": answer})
        };
        let change = ["dryRun", "fieldManager", "fieldValidation"];
        let mut create = operation("post", &change);
        create["requestBody"] = json!({"content": content});
        if resource.review {
            paths.insert(collection, json!({"post": create}));
            continue;
        }
        let mut replace = operation("put", &change);
        replace["requestBody"] = json!({"content": content});
        let mut patch = operation(
            "patch",
            &["dryRun", "fieldManager", "fieldValidation", "force"],
        );
        let body = json!({"schema": {"type": "object"}});
        let mut content = json!({"application/json-patch+json": body,
            "application/merge-patch+json": body, "application/apply-patch+yaml": body});
        if resource.custom.is_none() {
            content["application/strategic-merge-patch+json"] = body;
        }
        patch["requestBody"] = json!({"content": content});
        paths.insert(
            collection.clone(),
            json!({"get": operation("list", &["labelSelector", "fieldSelector"]), "post": create}),
        );
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({"get": operation("get", &[]), "put": replace, "patch": patch,
                "delete": operation("delete", &["dryRun", "propagationPolicy"])}),
        );
    }
    Some(
        json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.35.0"},
        "paths": paths, "components": {"schemas": schemas}}),
    )
}

/// The definition of a built-in kind, with descriptions and references.
fn definition(resource: &Resource) -> Option<&'static Value> {
    let (.., name) = builtin::kinds().find(|(group, version, kind, _)| {
        (*group, *version, *kind)
            == (
                resource.group.as_str(),
                resource.version.as_str(),
                resource.kind.as_str(),
            )
    })?;
    builtin::openapi_definitions()
        .get(name)
        .filter(|_| resource.custom.is_none())
}

/// Adds the definitions that `schema` refers to.
fn references(schema: &Value, schemas: &mut Map<String, Value>) {
    match schema {
        Value::Object(map) => {
            let reference = map.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|r| r.strip_prefix(builtin::REFERENCE_PREFIX))
                && !schemas.contains_key(name)
                && let Some(definition) = builtin::openapi_definitions().get(name)
            {
                schemas.insert(name.to_owned(), definition.clone());
                references(definition, schemas);
            }
            map.values().for_each(|value| references(value, schemas));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, schemas)),
        _ => {}
    }
}

fn model(resource: &Resource) -> String {
    let group = if resource.group.is_empty() {
        "core"
    } else {
        &resource.group
    };
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    let prefix = if resource.custom.is_some() {
        parts.join(".")
    } else {
        format!("io.k8s.api.{group}")
    };
    format!("{prefix}.{}.{}", resource.version, resource.kind)
}
