//! Defaults of built-in kinds, as a Kubernetes server fills them in.

use serde_json::{Map, Value, json};

use crate::crd;
use crate::meta;
use crate::registry::Resource;

/// Fills in what the object leaves out.
pub(crate) fn apply(resource: &Resource, object: &mut Value) {
    match &*resource.storage {
        crd::STORAGE => crd::complete(object),
        "core/pods" => {
            let spec = meta::child(object, "spec");
            pod(spec);
            for key in ["containers", "initContainers"] {
                objects(spec, key).for_each(requests);
            }
            set(spec, "enableServiceLinks", json!(true));
            set(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
            set(spec, "priority", json!(0));
            set(spec, "serviceAccountName", json!("default"));
            set(spec, "serviceAccount", json!("default"));
            set(meta::child(object, "status"), "phase", json!("Pending"));
            let qos = quality(object);
            set(meta::child(object, "status"), "qosClass", json!(qos));
        }
        "core/namespaces" => {
            let name = meta::name(object).to_owned();
            set(
                meta::child(object, "spec"),
                "finalizers",
                json!(["kubernetes"]),
            );
            set(meta::child(object, "status"), "phase", json!("Active"));
            let metadata = meta::metadata(object);
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if let Value::Object(labels) = labels {
                labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
            }
        }
        "core/services" => service(meta::child(object, "spec")),
        "core/secrets" => {
            if let Value::Object(map) = object {
                set(map, "type", json!("Opaque"));
                secret_data(map);
            }
        }
        "core/persistentvolumeclaims" => {
            set(
                meta::child(object, "spec"),
                "volumeMode",
                json!("Filesystem"),
            );
            set(meta::child(object, "status"), "phase", json!("Pending"));
        }
        "apps/deployments" => deployment(meta::child(object, "spec")),
        "apps/replicasets" => {
            let spec = meta::child(object, "spec");
            set(spec, "replicas", json!(1));
            template(spec);
        }
        "apps/statefulsets" | "apps/daemonsets" => template(meta::child(object, "spec")),
        "batch/jobs" => job(object),
        "coordination.k8s.io/leases" => {}
        "discovery.k8s.io/endpointslices" => {
            let list = object.get_mut("ports").and_then(Value::as_array_mut);
            for port in list.into_iter().flatten().filter_map(Value::as_object_mut) {
                set(port, "name", json!(""));
                set(port, "protocol", json!("TCP"));
            }
        }
        _ => {}
    }
}

/// Fills in the status that a new object has before its controller writes one.
pub(crate) fn status(resource: &Resource, object: &mut Value) {
    let status = match &*resource.storage {
        "apps/deployments" | "batch/jobs" | "batch/cronjobs" => json!({}),
        "apps/replicasets" => json!({"replicas": 0}),
        "core/services" | "networking.k8s.io/ingresses" => json!({"loadBalancer": {}}),
        _ => return,
    };
    if let Value::Object(map) = object {
        map.entry("status").or_insert(status);
    }
}

/// Writes amounts given as numbers as texts.
fn amounts(container: &mut Map<String, Value>) {
    let Some(Value::Object(resources)) = container.get_mut("resources") else {
        return;
    };
    for key in ["limits", "requests"] {
        let Some(Value::Object(list)) = resources.get_mut(key) else {
            continue;
        };
        for amount in list.values_mut().filter(|amount| amount.is_number()) {
            *amount = json!(amount.to_string());
        }
    }
}

fn set(map: &mut Map<String, Value>, key: &str, value: Value) {
    let slot = map.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value;
    }
}

fn objects<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn service(spec: &mut Map<String, Value>) {
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    if spec["type"] != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
    for port in objects(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        let number = port.get("port").cloned().unwrap_or_default();
        let target = port.get("targetPort");
        if target.is_none_or(|t| t.is_null() || *t == json!(0) || *t == json!("")) {
            port.insert("targetPort".to_owned(), number);
        }
    }
}

fn secret_data(secret: &mut Map<String, Value>) {
    use base64::Engine as _;
    let Some(Value::Object(texts)) = secret.remove("stringData") else {
        return;
    };
    let data = secret.entry("data").or_insert_with(|| json!({}));
    if !data.is_object() {
        *data = json!({});
    }
    for (key, text) in texts {
        let text = text.as_str().unwrap_or("");
        data[key] = json!(base64::engine::general_purpose::STANDARD.encode(text));
    }
}

fn deployment(spec: &mut Map<String, Value>) {
    set(spec, "replicas", json!(1));
    set(spec, "progressDeadlineSeconds", json!(600));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "strategy", json!({}));
    if let Some(Value::Object(strategy)) = spec.get_mut("strategy") {
        set(strategy, "type", json!("RollingUpdate"));
        if strategy["type"] == "RollingUpdate" {
            set(strategy, "rollingUpdate", json!({}));
            if let Some(Value::Object(rolling)) = strategy.get_mut("rollingUpdate") {
                set(rolling, "maxUnavailable", json!("25%"));
                set(rolling, "maxSurge", json!("25%"));
            }
        }
    }
    template(spec);
}

fn job(object: &mut Value) {
    let spec = meta::child(object, "spec");
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        set(spec, "completions", json!(1));
    }
    set(spec, "parallelism", json!(1));
    set(spec, "backoffLimit", json!(6));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "manualSelector", json!(false));
    set(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    template(spec);
    let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
    let spec = meta::child(object, "spec");
    if spec["manualSelector"] == json!(false) && !spec.contains_key("selector") {
        let label = "batch.kubernetes.io/controller-uid";
        spec.insert("selector".to_owned(), json!({"matchLabels": {label: uid}}));
        if let Some(template) = spec.get_mut("template") {
            let metadata = meta::metadata(template);
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            for (key, value) in [
                (label, &uid),
                ("controller-uid", &uid),
                ("batch.kubernetes.io/job-name", &name),
                ("job-name", &name),
            ] {
                labels[key] = json!(value);
            }
        }
    }
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let metadata = meta::metadata(object);
    if !metadata.contains_key("labels")
        && let Some(labels) = labels
    {
        metadata.insert("labels".to_owned(), labels);
    }
}

fn template(spec: &mut Map<String, Value>) {
    if let Some(template) = spec.get_mut("template") {
        pod(meta::child(template, "spec"));
    }
}

fn pod(spec: &mut Map<String, Value>) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    if let Some(account) = spec
        .get("serviceAccountName")
        .cloned()
        .filter(|a| !a.is_null())
    {
        set(spec, "serviceAccount", account);
    } else if let Some(account) = spec.get("serviceAccount").cloned().filter(|a| !a.is_null()) {
        set(spec, "serviceAccountName", account);
    }
    for key in ["containers", "initContainers"] {
        for container in objects(spec, key) {
            one_container(container);
        }
    }
    for volume in objects(spec, "volumes") {
        one_volume(volume);
    }
}

fn one_container(container: &mut Map<String, Value>) {
    set(
        container,
        "terminationMessagePath",
        json!("/dev/termination-log"),
    );
    set(container, "terminationMessagePolicy", json!("File"));
    set(container, "resources", json!({}));
    amounts(container);
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let tail = image.rsplit('/').next().unwrap_or("");
    let latest =
        !image.contains('@') && tail.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    set(
        container,
        "imagePullPolicy",
        json!(if latest { "Always" } else { "IfNotPresent" }),
    );
    for port in objects(container, "ports") {
        set(port, "protocol", json!("TCP"));
    }
    for variable in objects(container, "env") {
        let field = variable
            .get_mut("valueFrom")
            .and_then(|from| from.get_mut("fieldRef"));
        if let Some(Value::Object(field)) = field {
            set(field, "apiVersion", json!("v1"));
        }
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(Value::Object(probe)) = container.get_mut(key) {
            for (name, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                set(probe, name, json!(value));
            }
            http_get(probe);
        }
    }
    if let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") {
        for key in ["preStop", "postStart"] {
            if let Some(Value::Object(handler)) = lifecycle.get_mut(key) {
                http_get(handler);
            }
        }
    }
}

/// A limit without a request is also what is requested.
fn requests(container: &mut Map<String, Value>) {
    if let Some(Value::Object(resources)) = container.get_mut("resources")
        && let Some(Value::Object(limits)) = resources.get("limits").cloned()
    {
        let requests = resources.entry("requests").or_insert_with(|| json!({}));
        if let Value::Object(requests) = requests {
            for (name, limit) in limits {
                set(requests, &name, limit);
            }
        }
    }
}

fn http_get(handler: &mut Map<String, Value>) {
    if let Some(Value::Object(get)) = handler.get_mut("httpGet") {
        set(get, "path", json!("/"));
        set(get, "scheme", json!("HTTP"));
    }
    if let Some(Value::Object(grpc)) = handler.get_mut("grpc") {
        set(grpc, "service", json!(""));
    }
}

fn one_volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for key in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(Value::Object(source)) = volume.get_mut(key) {
            set(source, "defaultMode", json!(420));
        }
    }
    if let Some(Value::Object(path)) = volume.get_mut("hostPath") {
        set(path, "type", json!(""));
    }
}

fn quality(pod: &Value) -> &'static str {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    let (mut any, mut all) = (false, true);
    for container in containers.into_iter().flatten() {
        let resources = &container["resources"];
        for name in ["cpu", "memory"] {
            let (limit, request) = (&resources["limits"][name], &resources["requests"][name]);
            any |= !limit.is_null() || !request.is_null();
            all &= !limit.is_null() && (request.is_null() || request == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
