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
    set_conditions(definition, None, &created);
}

/// Sets the conditions: names accepted and served, or the (reason, message) of a conflict.
fn set_conditions(definition: &mut Value, conflict: Option<(&str, String)>, since: &Value) {
    let (accepted, established) = match conflict {
        None => (
            ("True", "NoConflicts", "no conflicts found".to_owned()),
            (
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
        ),
        Some((reason, message)) => (
            ("False", reason, message),
            ("False", "NotAccepted", "not all names are accepted"),
        ),
    };
    let mut conditions = json!([
        {"type": "NamesAccepted", "status": accepted.0, "reason": accepted.1,
         "message": accepted.2, "lastTransitionTime": since},
        {"type": "Established", "status": established.0, "reason": established.1,
         "message": established.2, "lastTransitionTime": since},
    ]);
    if let Value::Array(list) = &mut conditions
        && meta::deleting(definition)
    {
        list.push(json!({"type": "Terminating", "status": "True",
            "reason": "InstanceDeletionPending", "message": "CustomResourceDefinition marked \
            for deletion; CustomResource deletion will begin soon",
            "lastTransitionTime": definition["metadata"]["deletionTimestamp"]}));
    }
    meta::child(definition, "status").insert("conditions".to_owned(), conditions);
}

/// Accepts the names of a definition, or says in its status which of them another definition of
/// the group holds. Until then its kinds are not served.
pub(crate) fn accept(app: &App, definition: &mut Value) {
    let group = meta::text(definition, "/spec/group").to_owned();
    let name = meta::name(definition).to_owned();
    let (others, _) = app.store.list(STORAGE, None);
    let mut resources = Vec::new();
    let mut kinds = Vec::new();
    for other in others.iter().map(|other| &other.value) {
        if meta::text(other, "/spec/group") != group || meta::name(other) == name {
            continue;
        }
        let names = &other["status"]["acceptedNames"];
        resources.extend(resource_names(names).map(str::to_owned));
        kinds.extend(kind_names(names).map(str::to_owned));
    }
    let names = definition["spec"]["names"].clone();
    let taken = |text: &str, by: &[String]| !text.is_empty() && by.iter().any(|name| name == text);
    let mut conflict = None;
    let rows = [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ];
    let mut accepted = names.clone();
    for (key, reason, by) in rows {
        let text = names[key].as_str().unwrap_or("");
        if taken(text, by) {
            conflict.get_or_insert_with(|| (reason, format!("{text:?} is already in use")));
            accepted[key] = json!("");
        }
    }
    let short = names["shortNames"].as_array().into_iter().flatten();
    for text in short.filter_map(Value::as_str) {
        if taken(text, &resources) {
            let message = format!("{text:?} is already in use");
            conflict.get_or_insert(("ShortNamesConflict", message));
            if let Value::Object(map) = &mut accepted {
                map.remove("shortNames");
            }
        }
    }
    let since = match &conflict {
        Some(_) => json!(meta::now()),
        None => definition["metadata"]["creationTimestamp"].clone(),
    };
    let before = meta::text(definition, "/status/conditions/0/status") == "True";
    if conflict.is_none() && before {
        return;
    }
    meta::child(definition, "status").insert("acceptedNames".to_owned(), accepted);
    set_conditions(definition, conflict, &since);
}

fn resource_names(names: &Value) -> impl Iterator<Item = &str> {
    let short = names["shortNames"].as_array().into_iter().flatten();
    [&names["plural"], &names["singular"]]
        .into_iter()
        .chain(short)
        .filter_map(Value::as_str)
}

fn kind_names(names: &Value) -> impl Iterator<Item = &str> {
    [&names["kind"], &names["listKind"]]
        .into_iter()
        .filter_map(Value::as_str)
}

/// Marks a definition whose removal waits for its objects.
pub(crate) fn terminating(definition: &mut Value) {
    let since = definition["metadata"]["creationTimestamp"].clone();
    if meta::text(definition, "/status/conditions/0/status") == "True" {
        set_conditions(definition, None, &since);
    }
}

/// After a removal: definitions that waited for a name may have it now.
pub(crate) fn settle(app: &App) {
    let (all, _) = app.store.list(STORAGE, None);
    for object in all {
        if meta::text(&object.value, "/status/conditions/0/status") != "False" {
            continue;
        }
        let mut value = object.value.clone();
        accept(app, &mut value);
        if value == object.value {
            continue;
        }
        let key = crate::store::Key {
            storage: Arc::from(STORAGE),
            namespace: String::new(),
            name: meta::name(&value).to_owned(),
        };
        // A race means that somebody else wrote it, and looked at its names then.
        if let Ok(written) = app.store.write(&key, Some(&object), Some(value)) {
            register(app, &written.value);
        }
    }
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
    let all: Vec<&Value> = versions(definition).collect();
    for (index, version) in all.iter().enumerate() {
        let place = match all.len() {
            1 => "spec.validation.openAPIV3Schema".to_owned(),
            _ => format!("spec.versions[{index}].schema.openAPIV3Schema"),
        };
        match version.pointer("/schema/openAPIV3Schema") {
            Some(schema) => {
                let mut found = Vec::new();
                untyped(schema, &place, "at the root", &mut found);
                // The root is told last.
                found.sort_by_key(|(_, text, _)| text.ends_with("at the root"));
                faults.extend(found);
            }
            None if definition["spec"]["preserveUnknownFields"] != json!(true) => {
                faults.push((
                    "FieldValueRequired".to_owned(),
                    "Required value".to_owned(),
                    format!("spec.versions[{index}].schema.openAPIV3Schema"),
                ));
            }
            None => {}
        }
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

/// Finds places of a schema without a type, which then would not say what it keeps.
fn untyped(schema: &Value, place: &str, what: &str, faults: &mut Vec<(String, String, String)>) {
    let Some(map) = schema.as_object() else {
        return;
    };
    let flag = |key: &str| map.get(key) == Some(&json!(true));
    let free = flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    if meta::text(schema, "/type").is_empty() && (!free || what == "at the root") {
        faults.push((
            "FieldValueRequired".to_owned(),
            format!("Required value: must not be empty {what}"),
            format!("{place}.type"),
        ));
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, inner) in properties {
        let what = "for specified object fields";
        untyped(inner, &format!("{place}.properties[{name}]"), what, faults);
    }
    if let Some(inner) = map.get("items") {
        untyped(
            inner,
            &format!("{place}.items"),
            "for specified array items",
            faults,
        );
    }
    if let Some(inner) = map.get("additionalProperties") {
        let place = format!("{place}.additionalProperties");
        untyped(inner, &place, "for specified object fields", faults);
    }
}

/// Turns a definition into its stored form, in which schemas are texts: as a value, the schema of a
/// workload takes a dozen times its text, and only few requests look at it.
pub(crate) fn fold(definition: &mut Value) {
    for schema in schemas(definition).filter(|schema| schema.is_object()) {
        *schema = Value::String(schema.to_string());
    }
}

/// Turns a stored definition into the form that is served. A schema that is a text otherwise would
/// have been refused.
pub(crate) fn unfold(definition: &mut Value) {
    for schema in schemas(definition) {
        if let Some(value) = schema.as_str().and_then(|s| serde_json::from_str(s).ok()) {
            *schema = value;
        }
    }
}

fn schemas(definition: &mut Value) -> impl Iterator<Item = &mut Value> {
    let versions = definition.pointer_mut("/spec/versions");
    let versions = versions.and_then(Value::as_array_mut).into_iter().flatten();
    versions.filter_map(|version| version.pointer_mut("/schema/openAPIV3Schema"))
}

/// Serves what a stored definition says.
pub(crate) fn register(app: &App, definition: &Value) {
    if meta::text(definition, "/status/conditions/0/status") == "False" {
        app.registry.set_custom(meta::name(definition), Vec::new());
        return;
    }
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
        let openapi: Arc<str> = match version.pointer("/schema/openAPIV3Schema") {
            Some(Value::String(folded)) => folded.as_str().into(),
            Some(schema) => schema.to_string().into(),
            None => "null".into(),
        };
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
