//! Discovery documents, in the old shape and the aggregated one.

use serde_json::{Value, json};

use crate::registry::{Resource, Snapshot, api_version};

/// Content type of the aggregated shape.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// True when an Accept header asks for the aggregated shape that is served.
pub(crate) fn wants_aggregated(accept: &str) -> bool {
    accept.split(',').any(|variant| {
        variant.contains("g=apidiscovery.k8s.io")
            && variant.contains("as=APIGroupDiscoveryList")
            && variant.split(';').any(|part| part.trim() == "v=v2")
    })
}

/// `/api`.
pub(crate) fn api() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub(crate) fn groups(snapshot: &Snapshot) -> Value {
    let groups: Vec<Value> = snapshot
        .groups
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_entry(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub(crate) fn group(snapshot: &Snapshot, name: &str) -> Option<Value> {
    let (group, versions) = snapshot.groups.iter().find(|(group, _)| group == name)?;
    let mut entry = group_entry(group, versions);
    entry["kind"] = json!("APIGroup");
    entry["apiVersion"] = json!("v1");
    Some(entry)
}

fn group_entry(group: &str, versions: &[String]) -> Value {
    let entry =
        |version: &String| json!({"groupVersion": api_version(group, version), "version": version});
    let list: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "preferredVersion": list.first(), "versions": list})
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(crate) fn resources(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    if !snapshot.serves(group, version) {
        return None;
    }
    let mut list = Vec::new();
    let wanted = |r: &&std::sync::Arc<Resource>| r.group == group && r.version == version;
    for resource in snapshot.all().iter().filter(wanted) {
        let mut entry = json!({"name": resource.plural, "singularName": resource.singular,
            "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs(resource)});
        if !resource.short.is_empty() {
            entry["shortNames"] = json!(resource.short);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        if !resource.review {
            entry["storageVersionHash"] = json!("");
        }
        list.push(entry);
        for (name, kind, verbs) in subresources(resource) {
            let mut entry = json!({"name": format!("{}/{name}", resource.plural),
                "singularName": "", "namespaced": resource.namespaced, "kind": kind.1,
                "verbs": verbs});
            if kind.0 != resource.api_version() {
                let (group, version) = kind.0.split_once('/').unwrap_or(("", kind.0.as_str()));
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            list.push(entry);
        }
    }
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": api_version(group, version), "resources": list}))
}

fn verbs(resource: &Resource) -> Value {
    if resource.review {
        json!(["create"])
    } else {
        json!(VERBS)
    }
}

type Sub = (&'static str, (String, String), Value);

/// Subresources of a kind: name, (apiVersion, kind), verbs.
pub(crate) fn subresources(resource: &Resource) -> Vec<Sub> {
    let own = || (resource.api_version(), resource.kind.clone());
    let change = || json!(["get", "patch", "update"]);
    let mut list: Vec<Sub> = Vec::new();
    if resource.scale.is_some() {
        list.push((
            "scale",
            ("autoscaling/v1".to_owned(), "Scale".to_owned()),
            change(),
        ));
    }
    if resource.status {
        list.push(("status", own(), change()));
    }
    match &*resource.storage {
        "core/pods" => {
            list.push((
                "binding",
                ("v1".to_owned(), "Binding".to_owned()),
                json!(["create"]),
            ));
            list.push((
                "eviction",
                ("policy/v1".to_owned(), "Eviction".to_owned()),
                json!(["create"]),
            ));
            list.push(("log", own(), json!(["get"])));
        }
        "core/namespaces" => list.push(("finalize", own(), json!(["update"]))),
        "core/serviceaccounts" => list.push((
            "token",
            (
                "authentication.k8s.io/v1".to_owned(),
                "TokenRequest".to_owned(),
            ),
            json!(["create"]),
        )),
        _ => {}
    }
    list
}

/// The aggregated list: of core (`/api`) or of all groups (`/apis`).
pub(crate) fn aggregated(snapshot: &Snapshot, core: bool) -> Value {
    let items: Vec<Value> = snapshot
        .groups
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = snapshot
                        .all()
                        .iter()
                        .filter(|r| r.group == *group && r.version == *version)
                        .map(|r| aggregated_resource(r))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |api_version: &str, kind: &str| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        json!({"group": group, "version": version, "kind": kind})
    };
    let subs: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|(name, (version, k), verbs)| {
            json!({"subresource": name, "responseKind": kind(&version, &k), "verbs": verbs})
        })
        .collect();
    let mut entry = json!({"resource": resource.plural,
        "responseKind": kind(&resource.api_version(), &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": verbs(resource)});
    if !resource.short.is_empty() {
        entry["shortNames"] = json!(resource.short);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !subs.is_empty() {
        entry["subresources"] = json!(subs);
    }
    entry
}
