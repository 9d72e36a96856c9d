//! The picker's Deployment and Service.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use weir_api::names::{ChildNames, annotation, container, kind};

use super::config::Config;
use super::labels;
use super::migrate::{self, Version};
use crate::{Error, Facts, ServiceIdentity, items, present, strings, text};

/// Annotation of the pod that says which version the image is.
const VERSION: &str = "app.kubernetes.io/version";
/// Flag that makes one of several replicas active.
const LEADER_ELECTION: &str = "ha-enable-leader-election";
/// Which files the download container fetches.
const ALLOW_PATTERNS: &str = "STORAGE_ALLOW_PATTERNS";
/// The files of a tokenizer, in the words of existing installations.
const TOKENIZER_FILES: &str = r#"["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "config.json", "generation_config.json"]"#;
/// Ports of the template that the Service has.
const SERVICE_PORTS: [&str; 4] = ["grpc", "grpc-health", "metrics", "zmq"];

/// The Deployment.
pub(super) fn deployment(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
    live: Option<&Value>,
    config: &Config,
    tokenizer: Option<&str>,
) -> Result<Value, Error> {
    let scheduler = &spec["router"]["scheduler"];
    let annotations = strings(scheduler.get("annotations"));
    let version = annotations.get(VERSION).map(String::as_str);
    let version = Version::parse(version.unwrap_or_default())?;

    let mut pod = scheduler["template"].clone();
    pod["serviceAccountName"] = json!(super::account::effective(service, spec));
    if let Some(main) = main_mut(&mut pod) {
        arguments(main, scheduler, live, config);
        if present(spec, "/tracing") {
            tracing(main, service, &spec["tracing"]);
        }
    }
    if migrate::has_container(&pod, container::TOKENIZER) {
        let sidecar = container::TOKENIZER;
        super::tokenizer::attach_model(&mut pod, service, spec, facts, live, sidecar)?;
        fetch_tokenizer_only(&mut pod);
    }
    migrate::migrate(&mut pod, version, tokenizer)?;

    let ours = labels(service);
    let selector = live.map(|live| strings(live.pointer("/spec/selector/matchLabels")));
    let selector = selector
        .filter(|labels| !labels.is_empty())
        .unwrap_or_else(|| ours.clone());
    let mut pod_labels = strings(scheduler.get("labels"));
    pod_labels.extend(ours.clone());
    // A selector cannot change, so pods keep what the live one asks for.
    pod_labels.extend(selector.clone());
    let mut metadata = Map::from_iter([("labels".to_owned(), json!(pod_labels))]);
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), json!(annotations));
    }
    let source = config.source.map(|source| {
        (
            annotation::EPP_CONFIG_SOURCE.to_owned(),
            source.as_str().to_owned(),
        )
    });
    let mut body = json!({
        "selector": {"matchLabels": selector},
        "strategy": {"type": "Recreate"},
        "template": {"metadata": metadata, "spec": pod},
    });
    if let Some(replicas) = scheduler.get("replicas").filter(|count| count.is_number()) {
        body["replicas"] = replicas.clone();
    }
    Ok(json!({
        "apiVersion": kind::DEPLOYMENT.api_version(),
        "kind": kind::DEPLOYMENT.kind,
        "metadata": service.metadata(
            &ChildNames::new(&service.name).picker_deployment(),
            &ours,
            &source.into_iter().collect(),
        ),
        "spec": body,
    }))
}

/// A sidecar that only counts tokens needs no weights.
fn fetch_tokenizer_only(pod: &mut Value) {
    let list = pod.get_mut("initContainers").and_then(Value::as_array_mut);
    let fetching = |one: &&mut Value| one["name"] == container::STORAGE_INITIALIZER;
    let Some(fetch) = list.into_iter().flatten().find(fetching) else {
        return;
    };
    let mut env = items(fetch, "/env").to_vec();
    if !env.iter().any(|one| one["name"] == ALLOW_PATTERNS) {
        env.push(json!({"name": ALLOW_PATTERNS, "value": TOKENIZER_FILES}));
        fetch["env"] = Value::Array(env);
    }
}

fn main_mut(pod: &mut Value) -> Option<&mut Value> {
    let containers = pod.get_mut("containers")?.as_array_mut()?;
    containers
        .iter_mut()
        .find(|one| one["name"] == container::MAIN)
}

/// Appends what the picker is told beyond its template.
fn arguments(main: &mut Value, scheduler: &Value, live: Option<&Value>, config: &Config) {
    let mut args = items(main, "/args").to_vec();
    let has = |args: &[Value], flag: &str| {
        args.iter().filter_map(Value::as_str).any(|word| {
            let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            name.is_some_and(|name| {
                name == flag
                    || name
                        .strip_prefix(flag)
                        .is_some_and(|rest| rest.starts_with('='))
            })
        })
    };
    // Without a count of its own the Deployment keeps the one that it has.
    let count = scheduler.get("replicas").and_then(Value::as_i64);
    let running = || live.and_then(|live| live.pointer("/spec/replicas")?.as_i64());
    if count.or_else(running).unwrap_or(1) > 1 && !has(&args, LEADER_ELECTION) {
        args.push(json!(format!("--{LEADER_ELECTION}")));
    }
    args.extend(config.append.iter().flatten().cloned());
    if !args.is_empty() {
        main["args"] = Value::Array(args);
    }
}

/// Where traces of the picker go; what the template says itself wins.
fn tracing(main: &mut Value, service: &ServiceIdentity, tracing: &Value) {
    let mut args = items(main, "/args").to_vec();
    let told = args.iter().filter_map(Value::as_str).any(|word| {
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        name.is_some_and(|name| name == "tracing" || name.starts_with("tracing="))
    });
    if !told {
        args.push(json!("--tracing=true"));
        main["args"] = Value::Array(args);
    }
    let given = |key: &str| {
        tracing
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let field =
        |path: &str| json!({"valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let attributes = format!(
        "k8s.namespace.name={},k8s.node.name=$(OTEL_RESOURCE_ATTRIBUTES_NODE_NAME),k8s.pod.name=$(OTEL_RESOURCE_ATTRIBUTES_POD_NAME),llmisvc.name={}",
        service.namespace, service.name
    );
    let wanted = [
        ("OTEL_SERVICE_NAME", json!({"value": "inference-scheduler"})),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            json!({"value": given("exporterEndpoint")}),
        ),
        ("OTEL_TRACES_EXPORTER", json!({"value": given("exporter")})),
        ("OTEL_TRACES_SAMPLER", json!({"value": given("sampler")})),
        (
            "OTEL_TRACES_SAMPLER_ARG",
            json!({"value": given("samplerArg")}),
        ),
        ("OTEL_RESOURCE_ATTRIBUTES_NODE_NAME", field("spec.nodeName")),
        ("OTEL_RESOURCE_ATTRIBUTES_POD_NAME", field("metadata.name")),
        ("OTEL_RESOURCE_ATTRIBUTES", json!({"value": attributes})),
    ];
    let mut env = items(main, "/env").to_vec();
    let known: BTreeSet<String> = env
        .iter()
        .map(|one| text(one, "/name").to_owned())
        .collect();
    for (name, mut variable) in wanted {
        if !known.contains(name) {
            variable["name"] = json!(name);
            env.push(variable);
        }
    }
    main["env"] = Value::Array(env);
}

/// Name of the picker's Service: the one that the pool asks for.
pub(super) fn service_name(service: &ServiceIdentity, spec: &Value) -> String {
    match text(spec, "/router/scheduler/pool/spec/endpointPickerRef/name") {
        "" => ChildNames::new(&service.name).picker_service(),
        name => name.to_owned(),
    }
}

/// The Service.
pub(super) fn picker_service(service: &ServiceIdentity, spec: &Value) -> Value {
    let containers = items(spec, "/router/scheduler/template/containers");
    let mut ports: BTreeMap<&str, Value> = BTreeMap::new();
    for port in containers
        .iter()
        .flat_map(|container| items(container, "/ports"))
    {
        let name = text(port, "/name");
        if SERVICE_PORTS.contains(&name) {
            let protocol = Some(text(port, "/protocol")).filter(|protocol| !protocol.is_empty());
            let entry = json!({
                "name": name,
                "port": port["containerPort"],
                "targetPort": name,
                "protocol": protocol.unwrap_or("TCP"),
            });
            ports.insert(name, entry);
        }
    }
    json!({
        "apiVersion": kind::CORE_SERVICE.api_version(),
        "kind": kind::CORE_SERVICE.kind,
        "metadata": service.metadata(&service_name(service, spec), &labels(service), &BTreeMap::new()),
        "spec": {
            "type": "ClusterIP",
            "selector": labels(service),
            "ports": ports.into_values().collect::<Vec<_>>(),
        },
    })
}
