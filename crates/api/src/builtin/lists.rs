//! The table of list and map types, by definition and field.

use serde_json::{Value, json};

const ATOMIC: &str = "atomic";
const SET: &str = "set";

/// A list that is a map by some keys: definition, field, keys, merge key of a strategic patch (empty: a strategic
/// patch replaces the list), strategy.
const MAPS: &[(&str, &str, &[&str], &str, &str)] = &[
    (
        "api.core.v1.PodSpec",
        "containers",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.core.v1.PodSpec",
        "initContainers",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.core.v1.PodSpec",
        "ephemeralContainers",
        &["name"],
        "name",
        "merge",
    ),
    ("api.core.v1.PodSpec", "hostAliases", &["ip"], "ip", "merge"),
    (
        "api.core.v1.PodSpec",
        "imagePullSecrets",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.core.v1.PodSpec",
        "resourceClaims",
        &["name"],
        "name",
        "merge,retainKeys",
    ),
    (
        "api.core.v1.PodSpec",
        "schedulingGates",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.core.v1.PodSpec",
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
        "topologyKey",
        "merge",
    ),
    (
        "api.core.v1.PodSpec",
        "volumes",
        &["name"],
        "name",
        "merge,retainKeys",
    ),
    (
        "api.core.v1.PodStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    ("api.core.v1.PodStatus", "podIPs", &["ip"], "ip", "merge"),
    (
        "api.core.v1.PodStatus",
        "resourceClaimStatuses",
        &["name"],
        "name",
        "merge,retainKeys",
    ),
    ("api.core.v1.Container", "env", &["name"], "name", "merge"),
    (
        "api.core.v1.Container",
        "ports",
        &["containerPort", "protocol"],
        "containerPort",
        "merge",
    ),
    (
        "api.core.v1.Container",
        "volumeDevices",
        &["devicePath"],
        "devicePath",
        "merge",
    ),
    (
        "api.core.v1.Container",
        "volumeMounts",
        &["mountPath"],
        "mountPath",
        "merge",
    ),
    (
        "api.core.v1.ContainerStatus",
        "volumeMounts",
        &["mountPath"],
        "mountPath",
        "merge",
    ),
    (
        "api.core.v1.EphemeralContainer",
        "env",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.core.v1.EphemeralContainer",
        "ports",
        &["containerPort", "protocol"],
        "containerPort",
        "merge",
    ),
    (
        "api.core.v1.EphemeralContainer",
        "volumeDevices",
        &["devicePath"],
        "devicePath",
        "merge",
    ),
    (
        "api.core.v1.EphemeralContainer",
        "volumeMounts",
        &["mountPath"],
        "mountPath",
        "merge",
    ),
    (
        "api.core.v1.ResourceRequirements",
        "claims",
        &["name"],
        "",
        "",
    ),
    (
        "api.core.v1.ServiceSpec",
        "ports",
        &["port", "protocol"],
        "port",
        "merge",
    ),
    (
        "api.core.v1.ServiceStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.core.v1.ServiceAccount",
        "secrets",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.core.v1.NamespaceStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.core.v1.NodeStatus",
        "addresses",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.core.v1.NodeStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.core.v1.PersistentVolumeClaimStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.core.v1.ReplicationControllerStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.apps.v1.DaemonSetStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.apps.v1.DeploymentStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.apps.v1.ReplicaSetStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.apps.v1.StatefulSetStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.autoscaling.v2.HorizontalPodAutoscalerStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.policy.v1.PodDisruptionBudgetStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "api.admissionregistration.v1.MutatingWebhookConfiguration",
        "webhooks",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.admissionregistration.v1.ValidatingWebhookConfiguration",
        "webhooks",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.admissionregistration.v1.MutatingWebhook",
        "matchConditions",
        &["name"],
        "name",
        "merge",
    ),
    (
        "api.admissionregistration.v1.ValidatingWebhook",
        "matchConditions",
        &["name"],
        "name",
        "merge",
    ),
    (
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
        "conditions",
        &["type"],
        "",
        "",
    ),
    (
        "apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "ownerReferences",
        &["uid"],
        "uid",
        "merge",
    ),
];

/// Lists of another type: definition, field, list type, merge key, strategy.
const OTHERS: &[(&str, &str, &str, &str, &str)] = &[
    (
        "apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "finalizers",
        SET,
        "",
        "merge",
    ),
    ("api.core.v1.NodeSpec", "podCIDRs", SET, "", "merge"),
    ("api.discovery.v1.Endpoint", "addresses", SET, "", ""),
    ("api.core.v1.PodStatus", "hostIPs", ATOMIC, "ip", "merge"),
    (
        "api.batch.v1.JobStatus",
        "conditions",
        ATOMIC,
        "type",
        "merge",
    ),
    (
        "api.core.v1.ContainerRestartRuleOnExitCodes",
        "values",
        SET,
        "",
        "",
    ),
    (
        "api.batch.v1.PodFailurePolicyOnExitCodesRequirement",
        "values",
        SET,
        "",
        "",
    ),
    (
        "api.batch.v1.UncountedTerminatedPods",
        "failed",
        SET,
        "",
        "",
    ),
    (
        "api.batch.v1.UncountedTerminatedPods",
        "succeeded",
        SET,
        "",
        "",
    ),
];

/// Fields with an atomic map or a strategy of their own: definition, field, attribute, value.
const FIELDS: &[(&str, &str, &str, &str)] = &[
    (
        "api.core.v1.PodSpec",
        "nodeSelector",
        "x-kubernetes-map-type",
        ATOMIC,
    ),
    (
        "api.core.v1.ServiceSpec",
        "selector",
        "x-kubernetes-map-type",
        ATOMIC,
    ),
    (
        "api.core.v1.ReplicationControllerSpec",
        "selector",
        "x-kubernetes-map-type",
        ATOMIC,
    ),
    (
        "api.apps.v1.DeploymentSpec",
        "strategy",
        "x-kubernetes-patch-strategy",
        "retainKeys",
    ),
    ("api.core.v1.ContainerPort", "protocol", "default", "TCP"),
    ("api.core.v1.ServicePort", "protocol", "default", "TCP"),
];

/// References whose `name` may be missing and then is the empty one.
const NAME_DEFAULTS: &[&str] = &[
    "api.core.v1.ConfigMapEnvSource",
    "api.core.v1.ConfigMapKeySelector",
    "api.core.v1.ConfigMapProjection",
    "api.core.v1.ConfigMapVolumeSource",
    "api.core.v1.LocalObjectReference",
    "api.core.v1.SecretEnvSource",
    "api.core.v1.SecretKeySelector",
    "api.core.v1.SecretProjection",
];

/// Objects that are owned as a whole.
const ATOMIC_OBJECTS: &[&str] = &[
    "api.core.v1.ConfigMapKeySelector",
    "api.core.v1.EndpointAddress",
    "api.core.v1.EndpointPort",
    "api.core.v1.FileKeySelector",
    "api.core.v1.LocalObjectReference",
    "api.core.v1.NodeSelector",
    "api.core.v1.NodeSelectorTerm",
    "api.core.v1.ObjectFieldSelector",
    "api.core.v1.ObjectReference",
    "api.core.v1.ResourceFieldSelector",
    "api.core.v1.ScopeSelector",
    "api.core.v1.SecretKeySelector",
    "api.core.v1.SecretReference",
    "api.core.v1.TopologySelectorTerm",
    "api.core.v1.TypedLocalObjectReference",
    "api.discovery.v1.EndpointPort",
    "api.rbac.v1.RoleRef",
    "api.rbac.v1.Subject",
    "apimachinery.pkg.apis.meta.v1.LabelSelector",
];

/// Writes the table's rows of one definition into its schema; every other list is atomic.
pub(super) fn apply(name: &str, schema: &mut Value) {
    if ATOMIC_OBJECTS.contains(&name) {
        schema["x-kubernetes-map-type"] = json!(ATOMIC);
    }
    if NAME_DEFAULTS.contains(&name) {
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|field| field != "name");
        }
        if let Some(field) = schema.pointer_mut("/properties/name") {
            field["default"] = json!("");
        }
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (field, property) in properties {
        if property.get("type").and_then(Value::as_str) == Some("array") {
            property["x-kubernetes-list-type"] = json!(ATOMIC);
        }
        if let Some((_, _, keys, merge_key, strategy)) =
            MAPS.iter().find(|row| (row.0, row.1) == (name, field))
        {
            property["x-kubernetes-list-type"] = json!("map");
            property["x-kubernetes-list-map-keys"] = json!(keys);
            patch(property, merge_key, strategy);
        }
        if let Some((_, _, list, merge_key, strategy)) =
            OTHERS.iter().find(|row| (row.0, row.1) == (name, field))
        {
            property["x-kubernetes-list-type"] = json!(list);
            patch(property, merge_key, strategy);
        }
        if let Some((_, _, attribute, value)) =
            FIELDS.iter().find(|row| (row.0, row.1) == (name, field))
        {
            property[*attribute] = json!(value);
        }
    }
}

fn patch(property: &mut Value, merge_key: &str, strategy: &str) {
    if !merge_key.is_empty() {
        property["x-kubernetes-patch-merge-key"] = json!(merge_key);
    }
    if !strategy.is_empty() {
        property["x-kubernetes-patch-strategy"] = json!(strategy);
    }
}

/// Every definition and field that a row names.
#[cfg(test)]
pub(super) fn fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    let maps = MAPS.iter().map(|row| (row.0, row.1));
    let others = OTHERS.iter().map(|row| (row.0, row.1));
    maps.chain(others)
        .chain(FIELDS.iter().map(|row| (row.0, row.1)))
}
