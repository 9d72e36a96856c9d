//! CustomResourceDefinitions: ours, and those of others that a machine without a cluster needs.
//!
//! What is ours is written down in `schemas/serving.*.json`; embedded types of Kubernetes come from
//! [`crate::builtin`], so that they carry the same list types as the built-in kinds.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::{builtin, names};

/// Our two CRDs: services first, then configs. No conversion webhook: who needs one fills it in.
///
/// They are large, so that they are made anew for everyone who asks and none is kept.
#[must_use]
pub fn own() -> Vec<Value> {
    [&SERVICE, &CONFIG]
        .into_iter()
        .map(own_crd)
        .map(publishable)
        .collect()
}

/// Everything that [`foreign`] and [`own`] define, each made when its turn comes.
pub fn all() -> impl Iterator<Item = Value> {
    let own = [&SERVICE, &CONFIG].into_iter().map(own_crd);
    let foreign = FOREIGN.iter().map(|text| embedded(text));
    foreign
        .map(|crd| expand(&crd, &Map::new()))
        .chain(own)
        .map(publishable)
}

/// Group, version and kind of everything that [`own`] and [`foreign`] define.
#[must_use]
pub fn kinds() -> Vec<(String, String, String)> {
    let own = [&SERVICE, &CONFIG].into_iter().flat_map(|own| {
        VERSIONS.iter().map(|(version, ..)| {
            let [group, version, kind] = [names::GROUP, version, own.kind].map(str::to_owned);
            (group, version, kind)
        })
    });
    let foreign = FOREIGN.iter().map(|text| embedded(text));
    own.chain(foreign.flat_map(|crd| {
        let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
        let kind = |version: &Value| {
            let spec = &crd["spec"];
            let [group, version, kind] = [&spec["group"], &version["name"], &spec["names"]["kind"]]
                .map(|text| text.as_str().unwrap_or_default().to_owned());
            (group, version, kind)
        };
        versions.map(kind).collect::<Vec<_>>()
    }))
    .collect()
}

/// The published schema of one kind of [`own`] or [`foreign`], made anew and without the others.
#[must_use]
pub fn schema(group: &str, version: &str, kind: &str) -> Option<Value> {
    if group == names::GROUP {
        let own = [&SERVICE, &CONFIG]
            .into_iter()
            .find(|own| own.kind == kind)?;
        let (.., text) = VERSIONS.iter().find(|(name, ..)| *name == version)?;
        return Some(publishable(object_schema(&embedded(text), own.is_config)));
    }
    let crd = FOREIGN
        .iter()
        .map(|text| embedded(text))
        .find(|crd| crd["spec"]["group"] == group && crd["spec"]["names"]["kind"] == kind)?;
    let versions = crd["spec"]["versions"].as_array()?;
    let version = versions.iter().find(|own| own["name"] == version)?;
    let schema = version.pointer("/schema/openAPIV3Schema")?;
    Some(publishable(expand(schema, &Map::new())))
}

/// Schema of a v1alpha2 service with the keys of strategic merge, by which configs are combined. A CRD cannot
/// carry those.
#[must_use]
pub fn merge_schema() -> Value {
    object_schema(
        &embedded(include_str!("../schemas/serving.v1alpha2.json")),
        false,
    )
}

/// CRDs of others as a usual cluster has them: Gateway API, inference extension, LeaderWorkerSet.
#[must_use]
pub fn foreign() -> Vec<Value> {
    FOREIGN
        .iter()
        .map(|text| publishable(expand(&embedded(text), &Map::new())))
        .collect()
}

const FOREIGN: [&str; 6] = [
    include_str!("../schemas/gatewayclasses.json"),
    include_str!("../schemas/gateways.json"),
    include_str!("../schemas/httproutes.json"),
    include_str!("../schemas/inferencepools.json"),
    include_str!("../schemas/inferenceobjectives.json"),
    include_str!("../schemas/leaderworkersets.json"),
];

/// Our versions: name, whether objects are stored in it, source of the schema.
const VERSIONS: [(&str, bool, &str); 2] = [
    (
        names::OLD_VERSION,
        false,
        include_str!("../schemas/serving.v1alpha1.json"),
    ),
    (
        names::VERSION,
        true,
        include_str!("../schemas/serving.v1alpha2.json"),
    ),
];

struct Own {
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    is_config: bool,
}

const SERVICE: Own = Own {
    kind: names::SERVICE_KIND,
    plural: names::SERVICE_PLURAL,
    singular: "llminferenceservice",
    short_names: &["llmisvc"],
    is_config: false,
};

const CONFIG: Own = Own {
    kind: names::CONFIG_KIND,
    plural: names::CONFIG_PLURAL,
    singular: "llminferenceserviceconfig",
    short_names: &[],
    is_config: true,
};

fn own_crd(own: &Own) -> Value {
    let mut crd_names = json!({
        "kind": own.kind,
        "listKind": format!("{}List", own.kind),
        "plural": own.plural,
        "singular": own.singular,
    });
    if !own.short_names.is_empty() {
        crd_names["shortNames"] = json!(own.short_names);
    }
    let versions = VERSIONS.map(|(version, storage, text)| {
        json!({
            "name": version,
            "served": true,
            "storage": storage,
            "subresources": {"status": {}},
            "additionalPrinterColumns": printer_columns(own.is_config),
            "schema": {"openAPIV3Schema": object_schema(&embedded(text), own.is_config)},
        })
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", own.plural, names::GROUP)},
        "spec": {
            "group": names::GROUP,
            "names": crd_names,
            "scope": "Namespaced",
            "versions": versions,
        },
    })
}

fn printer_columns(is_config: bool) -> Value {
    let ready = json!({"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"});
    let reason = json!({"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"});
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    if is_config {
        return json!([ready, reason, age]);
    }
    json!([
        {"name": "URL", "type": "string", "jsonPath": ".status.url"},
        ready,
        reason,
        age,
        {"name": "URLs", "type": "string", "jsonPath": ".status.addresses[*].url", "priority": 1},
    ])
}

/// The root schema of one version.
fn object_schema(source: &Value, is_config: bool) -> Value {
    let empty = Map::new();
    let definitions = source
        .get("definitions")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut spec = expand(&source["spec"], definitions);
    let workload = expand(&source["definitions"]["Workload"], definitions);
    if let (Some(spec), Some(workload)) = (spec.as_object_mut(), workload.as_object()) {
        // The primary workload is inlined at the top.
        if let Some(rules) = workload.get("x-kubernetes-validations") {
            spec.insert("x-kubernetes-validations".to_owned(), rules.clone());
        }
        if let (Some(Value::Object(properties)), Some(Value::Object(inlined))) =
            (spec.get_mut("properties"), workload.get("properties"))
        {
            properties.extend(inlined.clone());
        }
    }
    if is_config {
        for path in RELAXED {
            if let Some(schema) = descend(&mut spec, path) {
                relax(schema);
            }
        }
        if let Some(schema) = descend(&mut spec, &["router", "scheduler", "pool", "spec"]) {
            relax(schema);
        }
    }
    let status = expand(
        &source[if is_config { "configStatus" } else { "status" }],
        definitions,
    );
    json!({
        "type": "object",
        "description": if is_config { "A part of a service's spec that services inherit." } else { "A language model served under one name." },
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    })
}

/// Where a config may hold template expressions, so that nothing but the types is checked.
const RELAXED: &[&[&str]] = &[
    &["router", "route", "http", "spec"],
    &["template"],
    &["worker"],
    &["prefill", "template"],
    &["prefill", "worker"],
    &["router", "scheduler", "template"],
    &["router", "scheduler", "tokenizer", "template"],
];

fn descend<'a>(schema: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(schema, |schema, field| {
        schema.get_mut("properties")?.get_mut(*field)
    })
}

/// Takes away what a template expression would break: patterns, lower bounds of length, rules.
fn relax(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for key in [
        "pattern",
        "minLength",
        "minItems",
        "minProperties",
        "x-kubernetes-validations",
    ] {
        object.remove(key);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            relax(inner);
        }
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(relax);
    }
}

/// Resolved once: it stands in the CRDs two dozen times.
static POD_SPEC: LazyLock<Value> = LazyLock::new(builtin::pod_spec);

/// Replaces `{"$ref": NAME}` by a definition of the same file, a shared schema or a built-in type.
fn expand(schema: &Value, definitions: &Map<String, Value>) -> Value {
    match schema {
        Value::Object(object) => {
            let Some(name) = object.get("$ref").and_then(Value::as_str) else {
                return Value::Object(
                    object
                        .iter()
                        .map(|(k, v)| (k.clone(), expand(v, definitions)))
                        .collect(),
                );
            };
            match name {
                // Presets bring the containers, so a service need not.
                "PodSpec" => without_required(POD_SPEC.clone()),
                "PodSpecRequired" => POD_SPEC.clone(),
                "PersistentVolumeClaimSpec" => {
                    builtin::definition("io.k8s.api.core.v1.PersistentVolumeClaimSpec")
                        .unwrap_or_default()
                }
                "HTTPRouteSpec" => embedded(include_str!("../schemas/httproutespec.json")),
                other => definitions
                    .get(other)
                    .map_or(Value::Null, |found| expand(found, definitions)),
            }
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| expand(item, definitions)).collect())
        }
        other => other.clone(),
    }
}

/// Takes away what the schema of a CRD cannot hold: the API server does not know the keys of strategic merge there.
fn publishable(mut value: Value) -> Value {
    strip_patch_keys(&mut value);
    value
}

fn strip_patch_keys(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-patch-merge-key");
            fields.remove("x-kubernetes-patch-strategy");
            fields.values_mut().for_each(strip_patch_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_patch_keys),
        _ => {}
    }
}

fn without_required(mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.remove("required");
    }
    schema
}

/// A file compiled into this crate; the tests parse every one.
fn embedded(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
