//! The table of built-in kinds.

use std::sync::Arc;

use crate::schema::Schema;

use super::{Resource, ScalePaths, api_version};

/// Group, version, kind, plural, short names (by comma), flags.
///
/// Flags: `n` namespaced, `s` status, `c` scale, `g` generation, `a` category `all`, `r` review.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const ROWS: &[Row] = &[
    ("", "v1", "Binding", "bindings", "", "nr"),
    ("", "v1", "ConfigMap", "configmaps", "cm", "n"),
    ("", "v1", "Endpoints", "endpoints", "ep", "n"),
    ("", "v1", "Event", "events", "ev", "n"),
    ("", "v1", "LimitRange", "limitranges", "limits", "n"),
    ("", "v1", "Namespace", "namespaces", "ns", "s"),
    ("", "v1", "Node", "nodes", "no", "s"),
    (
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "pvc",
        "ns",
    ),
    ("", "v1", "PersistentVolume", "persistentvolumes", "pv", "s"),
    ("", "v1", "Pod", "pods", "po", "nsag"),
    ("", "v1", "PodTemplate", "podtemplates", "", "n"),
    (
        "",
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        "rc",
        "nsacg",
    ),
    ("", "v1", "ResourceQuota", "resourcequotas", "quota", "ns"),
    ("", "v1", "Secret", "secrets", "", "n"),
    ("", "v1", "ServiceAccount", "serviceaccounts", "sa", "n"),
    ("", "v1", "Service", "services", "svc", "nsa"),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd,crds",
        "sg",
    ),
    (
        "apps",
        "v1",
        "ControllerRevision",
        "controllerrevisions",
        "",
        "n",
    ),
    ("apps", "v1", "DaemonSet", "daemonsets", "ds", "nsga"),
    ("apps", "v1", "Deployment", "deployments", "deploy", "nscga"),
    ("apps", "v1", "ReplicaSet", "replicasets", "rs", "nscga"),
    ("apps", "v1", "StatefulSet", "statefulsets", "sts", "nscga"),
    ("events.k8s.io", "v1", "Event", "events", "ev", "n"),
    (
        "authentication.k8s.io",
        "v1",
        "SelfSubjectReview",
        "selfsubjectreviews",
        "",
        "r",
    ),
    (
        "authentication.k8s.io",
        "v1",
        "TokenReview",
        "tokenreviews",
        "",
        "r",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        "",
        "nr",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "",
        "r",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "",
        "r",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "SubjectAccessReview",
        "subjectaccessreviews",
        "",
        "r",
    ),
    (
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "hpa",
        "nsa",
    ),
    (
        "autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "hpa",
        "nsa",
    ),
    ("batch", "v1", "CronJob", "cronjobs", "cj", "nsga"),
    ("batch", "v1", "Job", "jobs", "", "nsga"),
    (
        "networking.k8s.io",
        "v1",
        "IngressClass",
        "ingressclasses",
        "",
        "g",
    ),
    (
        "networking.k8s.io",
        "v1",
        "Ingress",
        "ingresses",
        "ing",
        "nsg",
    ),
    (
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
        "netpol",
        "ng",
    ),
    (
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "pdb",
        "nsg",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRole",
        "clusterroles",
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "RoleBinding",
        "rolebindings",
        "",
        "n",
    ),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", "", "n"),
    (
        "storage.k8s.io",
        "v1",
        "StorageClass",
        "storageclasses",
        "sc",
        "",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "",
        "g",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        "",
        "sg",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        "",
        "g",
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "",
        "g",
    ),
    (
        "resource.k8s.io",
        "v1",
        "DeviceClass",
        "deviceclasses",
        "",
        "g",
    ),
    (
        "resource.k8s.io",
        "v1",
        "ResourceClaim",
        "resourceclaims",
        "",
        "ns",
    ),
    (
        "resource.k8s.io",
        "v1",
        "ResourceClaimTemplate",
        "resourceclaimtemplates",
        "",
        "n",
    ),
    (
        "scheduling.k8s.io",
        "v1",
        "PriorityClass",
        "priorityclasses",
        "pc",
        "g",
    ),
    ("coordination.k8s.io", "v1", "Lease", "leases", "", "n"),
    (
        "discovery.k8s.io",
        "v1",
        "EndpointSlice",
        "endpointslices",
        "",
        "ng",
    ),
];

/// Returns the built-in kinds in order of discovery.
pub(super) fn resources() -> Vec<Resource> {
    ROWS.iter().map(resource).collect()
}

fn resource(&(group, version, kind, plural, short, flags): &Row) -> Resource {
    let has = |flag: char| flags.contains(flag);
    // Events have one storage in two shapes; autoscaling keeps its newest.
    let (storage, storage_version) = match (group, plural) {
        ("events.k8s.io", "events") => ("core/events".to_owned(), "v1".to_owned()),
        ("autoscaling", _) => (format!("{group}/{plural}"), "autoscaling/v2".to_owned()),
        ("", _) => (format!("core/{plural}"), version.to_owned()),
        _ => (format!("{group}/{plural}"), api_version(group, version)),
    };
    let scale = has('c').then(|| ScalePaths {
        spec: "/spec/replicas".to_owned(),
        status: "/status/replicas".to_owned(),
        selector: "/spec/selector".to_owned(),
    });
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short: short
            .split(',')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect(),
        categories: if has('a') {
            vec!["all".to_owned()]
        } else {
            Vec::new()
        },
        namespaced: has('n'),
        status: has('s'),
        generation: has('g'),
        scale,
        review: has('r'),
        storage: Arc::from(storage),
        storage_version,
        schema: Some(Schema::builtin(group, version, kind)),
        custom: None,
    }
}
