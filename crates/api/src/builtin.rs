//! OpenAPI v3 schemas of the built-in kinds, with the list types that merge and server-side apply need.
//!
//! The shapes come from the `k8s-openapi` types; the list types from the table in `lists`, because those types
//! do not carry them. Computed once.

mod lists;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Prefix of a reference to a definition.
pub const REFERENCE_PREFIX: &str = "#/components/schemas/";

struct Builtin {
    definitions: Map<String, Value>,
    kinds: BTreeMap<(&'static str, &'static str, &'static str), String>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(generate);

/// The schema of a built-in kind with every reference resolved and without descriptions.
#[must_use]
pub fn schema(group: &str, version: &str, kind: &str) -> Option<Value> {
    let builtin = &*BUILTIN;
    let (_, name) = builtin
        .kinds
        .iter()
        .find(|((g, v, k), _)| (*g, *v, *k) == (group, version, kind))?;
    definition(name)
}

/// A definition by name (`io.k8s.api.core.v1.PodSpec`) with every reference resolved and without descriptions.
#[must_use]
pub fn definition(name: &str) -> Option<Value> {
    BUILTIN
        .definitions
        .get(name)
        .map(|schema| resolve(schema, &mut vec![name]))
}

/// Schema of `metadata`.
#[must_use]
pub fn object_meta() -> Value {
    definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap_or_else(preserving)
}

/// Schema of a PodSpec.
#[must_use]
pub fn pod_spec() -> Value {
    definition("io.k8s.api.core.v1.PodSpec").unwrap_or_else(preserving)
}

/// Every definition under its name, with descriptions; references start with [`REFERENCE_PREFIX`].
#[must_use]
pub fn openapi_definitions() -> &'static Map<String, Value> {
    &BUILTIN.definitions
}

/// Every kind that has a schema: group, version, kind and the name of its definition.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    BUILTIN
        .kinds
        .iter()
        .map(|((group, version, kind), name)| (*group, *version, *kind, name.as_str()))
}

fn preserving() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Replaces references by what they refer to; one that leads back to itself becomes an object that keeps
/// everything.
fn resolve<'a>(schema: &'a Value, open: &mut Vec<&'a str>) -> Value {
    match schema {
        Value::Object(object) => {
            if let Some(name) = object
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|r| r.strip_prefix(REFERENCE_PREFIX))
            {
                let target = BUILTIN
                    .definitions
                    .get(name)
                    .filter(|_| !open.contains(&name));
                let mut resolved = target.map_or_else(preserving, |target| {
                    open.push(name);
                    let resolved = resolve(target, open);
                    open.pop();
                    resolved
                });
                if let Some(resolved) = resolved.as_object_mut() {
                    for (key, value) in object
                        .iter()
                        .filter(|(key, _)| *key != "$ref" && *key != "description")
                    {
                        resolved.insert(key.clone(), value.clone());
                    }
                }
                return resolved;
            }
            let kept = object
                .iter()
                .filter(|(key, value)| !(*key == "description" && value.is_string()));
            Value::Object(
                kept.map(|(key, value)| (key.clone(), resolve(value, open)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| resolve(item, open)).collect()),
        other => other.clone(),
    }
}

macro_rules! register {
    ($generator:ident, $kinds:ident, $($kind:ty),* $(,)?) => {
        $(
            let schema = $generator.subschema_for::<$kind>();
            if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(REFERENCE_PREFIX)) {
                use k8s_openapi::Resource;
                $kinds.insert((<$kind>::GROUP, <$kind>::VERSION, <$kind>::KIND), name.to_owned());
            }
        )*
    };
}

fn generate() -> Builtin {
    use k8s_openapi::api::{
        admissionregistration::v1 as admission, apps::v1 as apps,
        authentication::v1 as authentication, authorization::v1 as authorization, autoscaling,
        batch::v1 as batch, coordination::v1 as coordination, core::v1 as core,
        discovery::v1 as discovery, events::v1 as events, networking::v1 as networking,
        policy::v1 as policy, rbac::v1 as rbac, resource::v1 as resource,
        scheduling::v1 as scheduling, storage::v1 as storage,
    };
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.transforms.clear();
    });
    let mut generator: SchemaGenerator = settings.into_generator();
    let mut kinds = BTreeMap::new();
    register!(
        generator,
        kinds,
        core::Binding,
        core::ConfigMap,
        core::Endpoints,
        core::Event,
        core::LimitRange,
        core::Namespace,
        core::Node,
        core::PersistentVolume,
        core::PersistentVolumeClaim,
        core::Pod,
        core::PodTemplate,
        core::ReplicationController,
        core::ResourceQuota,
        core::Secret,
        core::Service,
        core::ServiceAccount,
        apps::ControllerRevision,
        apps::DaemonSet,
        apps::Deployment,
        apps::ReplicaSet,
        apps::StatefulSet,
        batch::CronJob,
        batch::Job,
        discovery::EndpointSlice,
        coordination::Lease,
        rbac::ClusterRole,
        rbac::ClusterRoleBinding,
        rbac::Role,
        rbac::RoleBinding,
        events::Event,
        autoscaling::v1::HorizontalPodAutoscaler,
        autoscaling::v1::Scale,
        autoscaling::v2::HorizontalPodAutoscaler,
        policy::Eviction,
        policy::PodDisruptionBudget,
        networking::Ingress,
        networking::IngressClass,
        networking::NetworkPolicy,
        resource::DeviceClass,
        resource::ResourceClaim,
        resource::ResourceClaimTemplate,
        scheduling::PriorityClass,
        storage::StorageClass,
        admission::MutatingWebhookConfiguration,
        admission::ValidatingWebhookConfiguration,
        admission::ValidatingAdmissionPolicy,
        admission::ValidatingAdmissionPolicyBinding,
        authentication::TokenReview,
        authentication::TokenRequest,
        authentication::SelfSubjectReview,
        authorization::SubjectAccessReview,
        authorization::LocalSubjectAccessReview,
        authorization::SelfSubjectAccessReview,
        authorization::SelfSubjectRulesReview,
        apiextensions::CustomResourceDefinition,
    );
    let _ = generator.subschema_for::<meta::DeleteOptions>();
    let _ = generator.subschema_for::<meta::Status>();

    let mut definitions = Map::new();
    for (name, mut schema) in generator.take_definitions(false) {
        adjust(&name, &mut schema);
        definitions.insert(name, schema);
    }
    for ((group, version, kind), name) in &kinds {
        if let Some(definition) = definitions.get_mut(name) {
            definition["x-kubernetes-group-version-kind"] =
                json!([{"group": group, "version": version, "kind": kind}]);
        }
    }
    Builtin { definitions, kinds }
}

/// What the derived schemas lack: free-form objects, defaults that are keys, list and map types.
fn adjust(name: &str, schema: &mut Value) {
    let short = name.strip_prefix("io.k8s.").unwrap_or(name);
    match short {
        "apimachinery.pkg.apis.meta.v1.FieldsV1" | "apimachinery.pkg.runtime.RawExtension" => {
            *schema = preserving();
        }
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray" => {
            *schema = json!({"x-kubernetes-preserve-unknown-fields": true});
        }
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps" => {
            // Recursive, so nothing below can be pruned or checked by a resolved schema.
            schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
        }
        _ => {}
    }
    lists::apply(short, schema);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_self_contained_schemas() {
        for (group, version, kind, _) in kinds() {
            let schema = schema(group, version, kind).unwrap_or_default();
            assert_eq!(schema["type"], "object", "{group}/{version} {kind}");
            assert!(
                !schema.to_string().contains(REFERENCE_PREFIX),
                "{kind} still has a reference"
            );
            assert_eq!(schema["properties"]["kind"]["type"], "string", "{kind}");
            weir_schema::Node::parse(&schema).unwrap();
        }
        assert!(schema("", "v1", "Nothing").is_none());
    }

    #[test]
    fn lists_and_scalars_are_kubernetes_like() {
        let deployment = schema("apps", "v1", "Deployment").unwrap();
        let pod = &deployment["properties"]["spec"]["properties"]["template"]["properties"]["spec"]
            ["properties"];
        assert_eq!(
            pod["containers"]["x-kubernetes-list-map-keys"],
            json!(["name"])
        );
        assert_eq!(pod["containers"]["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(
            pod["volumes"]["x-kubernetes-patch-strategy"],
            "merge,retainKeys"
        );
        assert_eq!(pod["tolerations"]["x-kubernetes-list-type"], "atomic");
        let container = &pod["containers"]["items"]["properties"];
        assert_eq!(
            container["ports"]["x-kubernetes-list-map-keys"],
            json!(["containerPort", "protocol"])
        );
        assert_eq!(
            container["ports"]["x-kubernetes-patch-merge-key"],
            "containerPort"
        );
        assert_eq!(
            container["ports"]["items"]["properties"]["protocol"]["default"],
            "TCP"
        );
        let limit = &container["resources"]["properties"]["limits"]["additionalProperties"];
        assert_eq!(limit["x-kubernetes-int-or-string"], true);
        let meta = &deployment["properties"]["metadata"]["properties"];
        assert_eq!(
            meta["ownerReferences"]["x-kubernetes-list-map-keys"],
            json!(["uid"])
        );
        assert_eq!(meta["finalizers"]["x-kubernetes-list-type"], "set");
        let fields = &meta["managedFields"]["items"]["properties"]["fieldsV1"];
        assert_eq!(fields["x-kubernetes-preserve-unknown-fields"], true);
        let strategy = &deployment["properties"]["spec"]["properties"]["strategy"];
        assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
        assert_eq!(
            strategy["properties"]["rollingUpdate"]["properties"]["maxSurge"]["x-kubernetes-int-or-string"],
            true
        );
    }

    #[test]
    fn every_row_of_the_list_table_names_a_field() {
        for (name, field) in lists::fields() {
            let definition = &BUILTIN.definitions[&format!("io.k8s.{name}")];
            assert!(
                !definition["properties"][field].is_null(),
                "{name} has no field {field}"
            );
        }
    }

    #[test]
    fn nothing_is_nullable() {
        for (name, definition) in openapi_definitions() {
            let text = definition.to_string();
            assert!(!text.contains(r#""type":["#), "{name}");
            assert!(!text.contains(r#""nullable":true"#), "{name}");
        }
    }
}
