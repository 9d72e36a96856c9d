//! The columns of each kind.

use serde_json::{Value, json};

use super::{Heading, age, created};
use crate::meta::text;
use crate::registry::{Column, Resource};
use crate::selector::selector_text;

/// Columns of built-in kinds after `Name`: `#` marks numbers, `*` what only `-o wide` shows.
const BUILTIN: &[(&str, &str)] = &[
    (
        "core/pods",
        "Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*",
    ),
    (
        "apps/deployments",
        "Ready,Up-to-date,Available,Age,Containers*,Images*,Selector*",
    ),
    (
        "apps/replicasets",
        "Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*",
    ),
    (
        "core/services",
        "Type,Cluster-IP,External-IP,Port(s),Age,Selector*",
    ),
    ("core/namespaces", "Status,Age"),
    (
        "core/nodes",
        "Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,Container-Runtime*",
    ),
    ("core/configmaps", "Data,Age"),
    ("core/secrets", "Type,Data,Age"),
    ("core/serviceaccounts", "Secrets,Age"),
    ("core/endpoints", "Endpoints,Age"),
    (
        "discovery.k8s.io/endpointslices",
        "AddressType,Ports,Endpoints,Age",
    ),
    ("coordination.k8s.io/leases", "Holder,Age"),
    (
        "batch/jobs",
        "Status,Completions,Duration,Age,Containers*,Images*,Selector*",
    ),
    (
        "apiextensions.k8s.io/customresourcedefinitions",
        "Created At",
    ),
    (
        "core/persistentvolumeclaims",
        "Status,Volume,Capacity,Access Modes,StorageClass,Age",
    ),
];

const EVENT: &str =
    "Last Seen,Type,Reason,Object,Subobject*,Source*,Message,First Seen*,Count*,Name*";

pub(super) fn headings(resource: &Resource) -> Vec<Heading> {
    if &*resource.storage == "core/events" {
        return split(EVENT);
    }
    let mut list = vec![("Name".to_owned(), "string".to_owned(), 0)];
    if let Some(custom) = &resource.custom {
        for column in &custom.columns {
            list.push((column.name.clone(), column.type_.clone(), column.priority));
        }
        if custom.columns.is_empty() {
            list.push(("Age".to_owned(), "date".to_owned(), 0));
        }
        return list;
    }
    let row = BUILTIN
        .iter()
        .find(|(storage, _)| **storage == *resource.storage);
    list.extend(split(row.map_or("Age", |(_, columns)| columns)));
    list
}

fn split(columns: &str) -> Vec<Heading> {
    columns
        .split(',')
        .map(|name| {
            let priority = i64::from(name.ends_with('*'));
            let name = name.trim_end_matches('*');
            let (name, kind) = match name.strip_suffix('#') {
                Some(name) => (name, "integer"),
                None => (name, "string"),
            };
            (name.to_owned(), kind.to_owned(), priority)
        })
        .collect()
}

pub(super) fn cells(resource: &Resource, item: &Value) -> Value {
    let name = item["metadata"]["name"].clone();
    if let Some(custom) = &resource.custom {
        let mut cells = vec![name];
        cells.extend(
            custom
                .columns
                .iter()
                .map(|column| custom_cell(column, item)),
        );
        if custom.columns.is_empty() {
            cells.push(created(item));
        }
        return Value::Array(cells);
    }
    let mut cells = match &*resource.storage {
        "core/events" => return event(item),
        "core/pods" => pod(item),
        "apps/deployments" => deployment(item),
        "apps/replicasets" => replica_set(item),
        "core/services" => service(item),
        "core/namespaces" => vec![item["status"]["phase"].clone(), created(item)],
        "core/nodes" => node(item),
        "core/configmaps" => vec![
            json!(count(&item["data"]) + count(&item["binaryData"])),
            created(item),
        ],
        "core/secrets" => vec![
            item["type"].clone(),
            json!(count(&item["data"])),
            created(item),
        ],
        "core/serviceaccounts" => vec![json!(count(&item["secrets"])), created(item)],
        "core/endpoints" => vec![json!(endpoints(item)), created(item)],
        "discovery.k8s.io/endpointslices" => slice(item),
        "coordination.k8s.io/leases" => vec![item["spec"]["holderIdentity"].clone(), created(item)],
        "batch/jobs" => job(item),
        "apiextensions.k8s.io/customresourcedefinitions" => {
            vec![item["metadata"]["creationTimestamp"].clone()]
        }
        "core/persistentvolumeclaims" => claim(item),
        _ => vec![created(item)],
    };
    cells.insert(0, name);
    Value::Array(cells)
}

fn count(value: &Value) -> usize {
    value.as_object().map_or_else(
        || value.as_array().map_or(0, Vec::len),
        serde_json::Map::len,
    )
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn or(text: &str, other: &str) -> Value {
    json!(if text.is_empty() { other } else { text })
}

fn join<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.collect::<Vec<_>>().join(",")
}

fn containers(item: &Value, pointer: &str) -> [Value; 2] {
    let each = |key: &str| join(list(item, pointer).map(|c| c[key].as_str().unwrap_or("")));
    [json!(each("name")), json!(each("image"))]
}

fn pod(item: &Value) -> Vec<Value> {
    // Sidecars count as containers do.
    let sidecar = |container: &&Value| container["restartPolicy"] == "Always";
    let sidecars = list(item, "/spec/initContainers").filter(sidecar).count();
    let total = list(item, "/spec/containers").count() + sidecars;
    let (mut ready, mut restarts) = (0, 0);
    let mut last = String::new();
    let mut reason = match (text(item, "/status/reason"), text(item, "/status/phase")) {
        ("", phase) => phase.to_owned(),
        (reason, _) => reason.to_owned(),
    };
    let mut initializing = false;
    let inits = list(item, "/spec/initContainers").count();
    for (index, status) in list(item, "/status/initContainerStatuses").enumerate() {
        let always = list(item, "/spec/initContainers")
            .nth(index)
            .is_some_and(|c| c["restartPolicy"] == "Always");
        restarts += number(status, "/restartCount");
        let state = &status["state"];
        if initializing || state.pointer("/terminated/exitCode") == Some(&json!(0)) {
            continue;
        }
        if always && status["started"] == json!(true) {
            ready += u32::from(status["ready"] == json!(true));
            continue;
        }
        initializing = true;
        reason = if state["terminated"].is_object() {
            format!("Init:{}", terminated(&state["terminated"]))
        } else {
            match text(state, "/waiting/reason") {
                "" | "PodInitializing" => format!("Init:{index}/{inits}"),
                waiting => format!("Init:{waiting}"),
            }
        };
    }
    if !initializing {
        let mut running = false;
        for status in list(item, "/status/containerStatuses") {
            restarts += number(status, "/restartCount");
            let finished = text(status, "/lastState/terminated/finishedAt");
            if finished > last.as_str() {
                last = finished.to_owned();
            }
            let state = &status["state"];
            match text(state, "/waiting/reason") {
                "" if state["terminated"].is_object() => reason = terminated(&state["terminated"]),
                "" => {}
                waiting => waiting.clone_into(&mut reason),
            }
            if status["ready"] == json!(true) && state["running"].is_object() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" && running {
            "Running".clone_into(&mut reason);
        }
    }
    if !item["metadata"]["deletionTimestamp"].is_null() {
        "Terminating".clone_into(&mut reason);
    }
    let restarts = if restarts > 0 && !last.is_empty() {
        format!("{restarts} ({} ago)", age(&last))
    } else {
        restarts.to_string()
    };
    let gates = list(item, "/spec/readinessGates").count();
    let gates = if gates == 0 {
        "<none>".to_owned()
    } else {
        format!("0/{gates}")
    };
    vec![
        json!(format!("{ready}/{total}")),
        json!(reason),
        json!(restarts),
        created(item),
        or(text(item, "/status/podIP"), "<none>"),
        or(text(item, "/spec/nodeName"), "<none>"),
        or(text(item, "/status/nominatedNodeName"), "<none>"),
        json!(gates),
    ]
}

fn terminated(state: &Value) -> String {
    match (text(state, "/reason"), number(state, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(state, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn deployment(item: &Value) -> Vec<Value> {
    let ready = number(item, "/status/readyReplicas");
    let [names, images] = containers(item, "/spec/template/spec/containers");
    vec![
        json!(format!("{ready}/{}", number(item, "/spec/replicas"))),
        json!(number(item, "/status/updatedReplicas")),
        json!(number(item, "/status/availableReplicas")),
        created(item),
        names,
        images,
        json!(selector_text(&item["spec"]["selector"])),
    ]
}

fn replica_set(item: &Value) -> Vec<Value> {
    let [names, images] = containers(item, "/spec/template/spec/containers");
    vec![
        json!(number(item, "/spec/replicas")),
        json!(number(item, "/status/replicas")),
        json!(number(item, "/status/readyReplicas")),
        created(item),
        names,
        images,
        json!(selector_text(&item["spec"]["selector"])),
    ]
}

fn service(item: &Value) -> Vec<Value> {
    let external = match text(item, "/spec/type") {
        "ExternalName" => text(item, "/spec/externalName").to_owned(),
        kind => {
            let ingress = join(list(item, "/status/loadBalancer/ingress").map(|i| {
                i["ip"]
                    .as_str()
                    .or_else(|| i["hostname"].as_str())
                    .unwrap_or("")
            }));
            match (kind, ingress.is_empty()) {
                ("LoadBalancer", true) => "<pending>".to_owned(),
                (_, true) => "<none>".to_owned(),
                (_, false) => ingress,
            }
        }
    };
    let ports: Vec<String> = list(item, "/spec/ports")
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64() {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", number(port, "/port")),
                _ => format!("{}/{protocol}", number(port, "/port")),
            }
        })
        .collect();
    vec![
        item["spec"]["type"].clone(),
        or(text(item, "/spec/clusterIP"), "<none>"),
        json!(external),
        or(&ports.join(","), "<none>"),
        created(item),
        or(&selector_text(&item["spec"]["selector"]), "<none>"),
    ]
}

fn node(item: &Value) -> Vec<Value> {
    let ready = list(item, "/status/conditions").find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| text(c, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if item["spec"]["unschedulable"] == json!(true) {
        status.push_str(",SchedulingDisabled");
    }
    let prefix = "node-role.kubernetes.io/";
    let roles = item
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .map_or_else(String::new, |labels| {
            join(labels.keys().filter_map(|key| key.strip_prefix(prefix)))
        });
    let address = |kind: &str| {
        list(item, "/status/addresses")
            .find(|a| a["type"] == kind)
            .map_or("<none>", |a| a["address"].as_str().unwrap_or("<none>"))
    };
    let info = |key: &str| or(text(item, &format!("/status/nodeInfo/{key}")), "<unknown>");
    vec![
        json!(status),
        or(&roles, "<none>"),
        created(item),
        json!(text(item, "/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn endpoints(item: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(item, "/subsets") {
        for address in list(subset, "/addresses") {
            let ip = text(address, "/ip");
            let before = all.len();
            all.extend(list(subset, "/ports").map(|p| format!("{ip}:{}", number(p, "/port"))));
            if all.len() == before {
                all.push(ip.to_owned());
            }
        }
    }
    more(&all, "<none>")
}

fn more(all: &[String], none: &str) -> String {
    match all.len() {
        0 => none.to_owned(),
        1..=3 => all.join(","),
        n => format!("{} + {} more...", all[..3].join(","), n - 3),
    }
}

fn slice(item: &Value) -> Vec<Value> {
    let ports: Vec<String> = list(item, "/ports")
        .map(|p| number(p, "/port").to_string())
        .collect();
    let addresses: Vec<String> = list(item, "/endpoints")
        .flat_map(|e| list(e, "/addresses"))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    vec![
        item["addressType"].clone(),
        json!(more(&ports, "<unset>")),
        json!(more(&addresses, "<unset>")),
        created(item),
    ]
}

fn job(item: &Value) -> Vec<Value> {
    let has = |kind: &str| {
        list(item, "/status/conditions").any(|c| c["type"] == kind && c["status"] == "True")
    };
    let status = ["Complete", "Failed", "Suspended"]
        .into_iter()
        .find(|kind| has(kind));
    let wanted = item["spec"]["completions"].as_i64().unwrap_or(1);
    let [names, images] = containers(item, "/spec/template/spec/containers");
    let start = text(item, "/status/startTime").parse::<jiff::Timestamp>();
    let end = text(item, "/status/completionTime").parse::<jiff::Timestamp>();
    let took = start.map_or_else(
        |_| String::new(),
        |start| {
            let end = end.unwrap_or_else(|_| jiff::Timestamp::now());
            super::duration(end.duration_since(start).as_secs())
        },
    );
    vec![
        json!(status.unwrap_or("Running")),
        json!(format!("{}/{wanted}", number(item, "/status/succeeded"))),
        json!(took),
        created(item),
        names,
        images,
        json!(selector_text(&item["spec"]["selector"])),
    ]
}

fn claim(item: &Value) -> Vec<Value> {
    vec![
        json!(text(item, "/status/phase")),
        json!(text(item, "/spec/volumeName")),
        json!(text(item, "/status/capacity/storage")),
        json!(join(
            list(item, "/status/accessModes").filter_map(Value::as_str)
        )),
        json!(text(item, "/spec/storageClassName")),
        created(item),
    ]
}

fn event(item: &Value) -> Value {
    let first_of = |pointers: &[&str]| {
        pointers
            .iter()
            .map(|p| text(item, p))
            .find(|t| !t.is_empty())
            .unwrap_or("")
            .to_owned()
    };
    let last = first_of(&[
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
    ]);
    let first = first_of(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]);
    let object = if item["regarding"].is_object() {
        &item["regarding"]
    } else {
        &item["involvedObject"]
    };
    let target = match text(object, "/kind") {
        "" => text(object, "/name").to_owned(),
        kind => format!("{}/{}", kind.to_lowercase(), text(object, "/name")),
    };
    let source = first_of(&[
        "/source/component",
        "/deprecatedSource/component",
        "/reportingComponent",
        "/reportingController",
    ]);
    let times = ["/series/count", "/count", "/deprecatedCount"]
        .iter()
        .map(|p| number(item, p))
        .find(|n| *n > 0)
        .unwrap_or(1);
    json!([
        age(&last),
        text(item, "/type"),
        text(item, "/reason"),
        target,
        text(object, "/fieldPath"),
        source,
        first_of(&["/message", "/note"]).trim(),
        age(&first),
        times,
        text(item, "/metadata/name"),
    ])
}

fn custom_cell(column: &Column, item: &Value) -> Value {
    let found = super::path::find(item, &column.json_path);
    match (column.type_.as_str(), found.as_slice()) {
        (_, []) => Value::Null,
        ("date", [Value::String(time), ..]) => json!(age(time)),
        ("string", [Value::String(text)]) => json!(text),
        ("string", [value]) => json!(value.to_string()),
        ("string", many) => {
            let texts: Vec<String> = many
                .iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect();
            json!(texts.join(","))
        }
        (_, [first, ..]) => (*first).clone(),
    }
}
