//! Custom resource definitions: names, versions and schemas become served kinds.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::app::App;
use crate::meta;
use crate::registry::{Column, Custom, Resource, ScalePaths, api_version};
use crate::schema::Schema;

/// Storage of the definitions.
pub(crate) const STORAGE: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Returns the storage of a definition's objects.
pub(crate) fn storage_of(definition: &Value) -> String {
    format!(
        "{}/{}",
        meta::text(definition, "/spec/group"),
        meta::text(definition, "/spec/names/plural")
    )
}

/// Fills in what the API server derives: names, conditions, accepted names, stored versions.
pub(crate) fn complete(definition: &mut Value) {
    let kind = meta::text(definition, "/spec/names/kind").to_owned();
    let names = definition
        .pointer_mut("/spec/names")
        .and_then(Value::as_object_mut);
    if let Some(names) = names {
        names
            .entry("singular")
            .or_insert_with(|| json!(kind.to_lowercase()));
        names
            .entry("listKind")
            .or_insert_with(|| json!(format!("{kind}List")));
    }
    if let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("conversion")
            .or_insert_with(|| json!({"strategy": "None"}));
    }
    let names = definition["spec"]["names"].clone();
    let stored: Vec<Value> = versions(definition)
        .filter(|v| v["storage"] == json!(true))
        .map(|v| v["name"].clone())
        .collect();
    let created = definition["metadata"]["creationTimestamp"].clone();
    let mut finalizers = meta::finalizers(definition);
    if !meta::deleting(definition) && !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
        meta::set(definition, "finalizers", Some(json!(finalizers)));
    }
    let status = meta::child(definition, "status");
    let mut all = status
        .get("storedVersions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for version in stored {
        if !all.contains(&version) {
            all.push(version);
        }
    }
    status.insert("storedVersions".to_owned(), json!(all));
    status.insert("acceptedNames".to_owned(), names);
    status.insert(
        "conditions".to_owned(),
        json!([
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts",
             "message": "no conflicts found", "lastTransitionTime": created},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
             "message": "the initial names have been accepted", "lastTransitionTime": created},
        ]),
    );
}

fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Returns the faults of a definition as (reason, message, field).
pub(crate) fn validate(app: &App, definition: &Value) -> Vec<(String, String, String)> {
    let mut faults = Vec::new();
    let mut required = |field: &str| {
        faults.push((
            "FieldValueRequired".to_owned(),
            "Required value".to_owned(),
            field.to_owned(),
        ));
    };
    for field in ["group", "scope"] {
        if meta::text(definition, &format!("/spec/{field}")).is_empty() {
            required(&format!("spec.{field}"));
        }
    }
    for field in ["kind", "plural"] {
        if meta::text(definition, &format!("/spec/names/{field}")).is_empty() {
            required(&format!("spec.names.{field}"));
        }
    }
    if versions(definition)
        .filter(|v| v["storage"] == json!(true))
        .count()
        != 1
    {
        faults.push((
            "FieldValueInvalid".to_owned(),
            "Invalid value: must have exactly one version marked as storage version".to_owned(),
            "spec.versions".to_owned(),
        ));
    }
    let group = meta::text(definition, "/spec/group");
    let plural = meta::text(definition, "/spec/names/plural");
    let expected = format!("{plural}.{group}");
    let name = meta::name(definition);
    if name != expected {
        faults.push((
            "FieldValueInvalid".to_owned(),
            format!("Invalid value: \"{name}\": must be spec.names.plural+\".\"+spec.group"),
            "metadata.name".to_owned(),
        ));
    }
    if app.registry.is_builtin(group, plural) {
        faults.push((
            "FieldValueForbidden".to_owned(),
            "Forbidden: the kind is built in".to_owned(),
            "spec.names.plural".to_owned(),
        ));
    }
    faults
}

/// Serves what a stored definition says.
pub(crate) fn register(app: &App, definition: &Value) {
    let group = meta::text(definition, "/spec/group");
    let names = &definition["spec"]["names"];
    let list = |key: &str| -> Vec<String> {
        let list = names[key].as_array().into_iter().flatten();
        list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let storage_version = versions(definition)
        .find(|v| v["storage"] == json!(true))
        .map_or("", |v| meta::text(v, "/name"));
    let storage: Arc<str> = Arc::from(storage_of(definition));
    let mut resources = Vec::new();
    for version in versions(definition).filter(|v| v["served"] == json!(true)) {
        let name = meta::text(version, "/name");
        let openapi: Arc<Value> = Arc::new(
            version
                .pointer("/schema/openAPIV3Schema")
                .cloned()
                .unwrap_or_default(),
        );
        let sub = &version["subresources"];
        let scale = sub["scale"].is_object().then(|| ScalePaths {
            spec: pointer(meta::text(sub, "/scale/specReplicasPath")),
            status: pointer(meta::text(sub, "/scale/statusReplicasPath")),
            selector: pointer(meta::text(sub, "/scale/labelSelectorPath")),
        });
        resources.push(Resource {
            group: group.to_owned(),
            version: name.to_owned(),
            kind: meta::text(names, "/kind").to_owned(),
            list_kind: meta::text(names, "/listKind").to_owned(),
            plural: meta::text(names, "/plural").to_owned(),
            singular: meta::text(names, "/singular").to_owned(),
            short: list("shortNames"),
            categories: list("categories"),
            namespaced: meta::text(definition, "/spec/scope") == "Namespaced",
            status: sub["status"].is_object(),
            generation: true,
            scale,
            review: false,
            storage: Arc::clone(&storage),
            storage_version: api_version(group, storage_version),
            schema: Schema::custom(&openapi),
            custom: Some(Arc::new(Custom {
                preserve_unknown: definition["spec"]["preserveUnknownFields"] == json!(true),
                columns: columns(version),
                deprecation: (version["deprecated"] == json!(true)).then(|| {
                    let text = meta::text(version, "/deprecationWarning");
                    if text.is_empty() {
                        format!(
                            "{group}/{name} {} is deprecated",
                            meta::text(names, "/kind")
                        )
                    } else {
                        text.to_owned()
                    }
                }),
                openapi,
                hash: OnceLock::new(),
            })),
        });
    }
    app.registry.set_custom(meta::name(definition), resources);
}

fn columns(version: &Value) -> Vec<Column> {
    let text = |column: &Value, key: &str| column[key].as_str().unwrap_or("").to_owned();
    let list = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten();
    list.map(|column| Column {
        name: text(column, "name"),
        type_: text(column, "type"),
        format: text(column, "format"),
        description: text(column, "description"),
        priority: column["priority"].as_i64().unwrap_or(0),
        json_path: text(column, "jsonPath"),
    })
    .collect()
}

/// `.spec.replicas` as a JSON pointer.
fn pointer(path: &str) -> String {
    path.replace('.', "/")
}
