//! Observed objects become conditions and addresses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{
    Error, Failure, ImageVolumes, ObservedGateway, Outcome, ServiceIdentity, StatusInput, status,
    workload_failure,
};

struct World {
    service: ServiceIdentity,
    spec: Value,
    previous: Value,
    presets: Outcome,
    workloads: Outcome,
    router: Outcome,
    deployment: Value,
    others: Vec<Value>,
    pods: Vec<Value>,
    route: Value,
    gateways: Vec<ObservedGateway>,
    image_volumes: ImageVolumes,
}

fn world() -> World {
    let parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw", "namespace": "kserve"});
    let route = json!({
        "metadata": {"name": "llama-kserve-route", "namespace": "demo", "generation": 1},
        "spec": {"parentRefs": [parent], "rules": [
            {"backendRefs": [{"kind": "Service", "name": "s"}], "matches": [{"path": {"type": "PathPrefix", "value": "/demo/llama"}}]},
        ]},
        "status": {"parents": [{"parentRef": parent, "conditions": [
            {"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", "status": "True"},
        ]}]},
    });
    let gateway = json!({
        "spec": {"gatewayClassName": "weir", "listeners": [{"name": "http", "protocol": "HTTP", "port": 8080}]},
        "status": {"addresses": [{"type": "IPAddress", "value": "127.0.0.1"}]},
    });
    World {
        service: ServiceIdentity {
            name: "llama".to_owned(),
            namespace: "demo".to_owned(),
            ..ServiceIdentity::default()
        },
        spec: json!({"model": {"name": "org/model"}, "router": {"route": {}, "gateway": {}}}),
        previous: Value::Null,
        presets: Outcome::Done,
        workloads: Outcome::Done,
        router: Outcome::Done,
        deployment: json!({"kind": "Deployment", "metadata": {"name": "llama-kserve"}, "status": {"availableReplicas": 2, "conditions": [{"type": "Available", "status": "True"}]}}),
        others: Vec::new(),
        pods: Vec::new(),
        route,
        gateways: vec![ObservedGateway {
            namespace: "kserve".to_owned(),
            name: "gw".to_owned(),
            object: Some(gateway),
            class_exists: true,
            service: None,
        }],
        image_volumes: ImageVolumes::default(),
    }
}

/// Metadata of a pod of the primary Deployment.
fn pod_metadata(name: &str) -> Value {
    json!({"name": name, "labels": {"app.kubernetes.io/component": "llminferenceservice-workload"}})
}

fn of(world: &World) -> Value {
    let pinned = BTreeMap::new();
    let live = std::iter::once(&world.deployment).chain(&world.others);
    let live: Vec<_> = live.cloned().map(Arc::new).collect();
    status(&StatusInput {
        service: &world.service,
        generation: 3,
        previous: &world.previous,
        spec: Some(&world.spec),
        pinned: &pinned,
        applied: &[],
        presets: &world.presets,
        notes: "",
        workloads: &world.workloads,
        router: &world.router,
        live: &live,
        service_exists: true,
        pods: &world.pods,
        planned_route: Some(&world.route),
        routes: std::slice::from_ref(&world.route),
        gateways: &world.gateways,
        scheduler: &weir_plan::ObservedScheduler::default(),
        group: None,
        url_scheme: "http",
        cluster_domain: "cluster.local",
        model_header: "X-Gateway-Model-Name",
        tls: false,
        image_volumes: world.image_volumes,
        now: "2026-01-01T00:00:00Z",
    })
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == kind)
}

#[test]
fn a_ready_service_is_told_with_its_address() {
    insta::assert_yaml_snapshot!(of(&world()));
}

#[test]
fn a_status_of_the_same_observations_does_not_change() {
    let mut world = world();
    let first = of(&world);
    world.previous = first.clone();
    world.previous["conditions"][0]["lastTransitionTime"] = json!("2025-01-01T00:00:00Z");
    let again = of(&world);
    assert_eq!(again, world.previous);
}

#[test]
fn a_deployment_that_is_not_available_names_what_its_pods_wait_for() {
    let mut world = world();
    world.deployment["status"] = json!({"conditions": [
        {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "Not enough."},
    ]});
    world.pods = vec![
        json!({"metadata": pod_metadata("p"), "status": {"containerStatuses": [
            {"name": "main", "state": {"waiting": {"reason": "PortInUse", "message": "8000 is taken"}}},
        ]}}),
    ];
    let status = of(&world);
    let main = condition(&status, "MainWorkloadReady").unwrap();
    assert_eq!(
        main["message"],
        "Not enough. pod p, container main: PortInUse: 8000 is taken"
    );
    assert_eq!(
        condition(&status, "Ready").unwrap()["reason"],
        "MinimumReplicasUnavailable"
    );
}

#[test]
fn a_pod_without_trouble_names_the_container_that_is_awaited() {
    let rows = [
        (
            json!({"initContainerStatuses": [{"name": "storage-initializer", "state": {"running": {}}}],
                   "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            "init container storage-initializer: not done yet",
        ),
        (
            json!({"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}]}),
            "container main: not started yet",
        ),
        (
            json!({"containerStatuses": [{"name": "main", "ready": false, "state": {"running": {}}}]}),
            "container main: runs, not ready yet",
        ),
    ];
    for (pod, cause) in rows {
        let mut world = world();
        world.deployment["status"]["conditions"][0]["status"] = json!("False");
        world.pods = vec![json!({"metadata": pod_metadata("p"), "status": pod})];
        let status = of(&world);
        let main = condition(&status, "MainWorkloadReady").unwrap();
        assert_eq!(main["message"], format!("pod p, {cause}"));
    }
}

#[test]
fn a_deployment_that_calls_itself_available_without_a_pod_is_not_ready() {
    let mut world = world();
    world.deployment["status"]["availableReplicas"] = json!(0);
    let status = of(&world);
    assert_eq!(condition(&status, "Ready").unwrap()["status"], "False");
    assert_eq!(
        condition(&status, "MainWorkloadReady").unwrap()["message"],
        "no pod is available."
    );
    world.deployment["spec"] = json!({"replicas": 0});
    assert_eq!(condition(&of(&world), "Ready").unwrap()["status"], "True");
}

#[test]
fn a_route_without_a_gateways_word_is_not_ready() {
    let mut world = world();
    world.route["status"] = json!({});
    let status = of(&world);
    let ready = condition(&status, "Ready").unwrap();
    assert_eq!(ready["reason"], "HTTPRoutesNotReady");
    assert_eq!(
        ready["message"],
        "The following HTTPRoutes are not ready: [demo/llama-kserve-route: no status from a gateway for parent kserve/gw]"
    );
}

#[test]
fn a_stale_word_of_a_gateway_does_not_count() {
    let mut world = world();
    world.route["metadata"]["generation"] = json!(2);
    for at in 0..2 {
        world.route["status"]["parents"][0]["conditions"][at]["observedGeneration"] = json!(1);
    }
    assert_eq!(
        condition(&of(&world), "HTTPRoutesReady").unwrap()["status"],
        "False"
    );
}

#[test]
fn a_missing_config_leaves_the_other_conditions_as_they_were() {
    let mut world = world();
    world.previous = of(&world);
    world.presets = Outcome::Failed(Failure {
        condition: "PresetsCombined",
        reason: "ConfigNotFound",
        message: "100% gone".to_owned(),
    });
    world.workloads = Outcome::NotRun;
    world.router = Outcome::NotRun;
    let status = of(&world);
    assert_eq!(condition(&status, "Ready").unwrap()["message"], "100% gone");
    assert_eq!(
        condition(&status, "WorkloadsReady").unwrap()["status"],
        "True"
    );
    assert_eq!(status["url"], "http://127.0.0.1:8080/demo/llama");
}

#[test]
fn a_stopped_service_has_no_address() {
    let mut world = world();
    world.previous = of(&world);
    world
        .service
        .annotations
        .insert("serving.kserve.io/stop".to_owned(), "true".to_owned());
    let status = of(&world);
    assert_eq!(status.get("url"), None);
    assert_eq!(condition(&status, "Ready").unwrap()["reason"], "Stopped");
}

fn available(kind: &str, name: &str, count: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    let mut object = json!({"kind": kind, "metadata": {"name": name}, "status": {
        "conditions": [{"type": "Available", "status": status, "reason": "Why", "message": "Because."}],
    }});
    object["status"][count] = json!(if ready { 3 } else { 0 });
    object
}

/// The condition as one word.
fn told(status: &Value, kind: &str) -> String {
    condition(status, kind).map_or_else(
        || "absent".to_owned(),
        |condition| condition["status"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn each_shape_has_the_conditions_and_counts_of_its_workloads() {
    let all = [
        "MainWorkloadReady",
        "WorkerWorkloadReady",
        "PrefillWorkloadReady",
        "PrefillWorkerWorkloadReady",
    ];
    let (pod, group) = ("availableReplicas", "readyReplicas");
    let rows = [
        (
            json!({"template": {}, "prefill": {"template": {}}}),
            available("Deployment", "llama-kserve-prefill", pod, true),
            ["True", "absent", "True", "absent"],
            json!({"primary": ["Deployment", "llama-kserve", 2], "prefill": ["Deployment", "llama-kserve-prefill", 3]}),
        ),
        (
            json!({"template": {}, "prefill": {"template": {}, "worker": {}}}),
            available("LeaderWorkerSet", "llama-lws-prefill", group, false),
            ["True", "absent", "absent", "False"],
            json!({"primary": ["Deployment", "llama-kserve", 2], "prefill": ["LeaderWorkerSet", "llama-lws-prefill", 0]}),
        ),
        (
            json!({"template": {}, "worker": {}}),
            available("LeaderWorkerSet", "llama-lws", group, true),
            ["absent", "True", "absent", "absent"],
            json!({"primary": ["LeaderWorkerSet", "llama-lws", 3]}),
        ),
        // A set with the name of an existing installation keeps it.
        (
            json!({"worker": {}, "prefill": {"template": {}}}),
            available("LeaderWorkerSet", "llama-kserve-mn", group, true),
            ["absent", "True", "False", "absent"],
            json!({"primary": ["LeaderWorkerSet", "llama-kserve-mn", 3], "prefill": ["Deployment", "llama-kserve-prefill", 0]}),
        ),
    ];
    for (shape, other, wanted, counts) in rows {
        let mut world = world();
        for (field, value) in shape.as_object().unwrap() {
            world.spec[field] = value.clone();
        }
        world.others = vec![other];
        // What another shape left behind goes.
        let leftovers = all.map(|kind| json!({"type": kind, "status": "False"}));
        world.previous = json!({"conditions": leftovers});
        let status = of(&world);
        assert_eq!(all.map(|kind| told(&status, kind)), wanted, "{shape}");
        for key in ["primary", "prefill"] {
            let count = &status["workloads"][key];
            let ours = if count.is_null() {
                Value::Null
            } else {
                json!([count["kind"], count["name"], count["readyReplicas"]])
            };
            assert_eq!(ours, counts[key], "{shape}");
        }
        let ready = !wanted.contains(&"False");
        assert_eq!(told(&status, "Ready") == "True", ready, "{shape}");
    }
}

#[test]
fn a_workload_is_told_of_its_own_pods_only() {
    let mut world = world();
    world.spec["prefill"] = json!({"template": {}});
    world.others = vec![available(
        "Deployment",
        "llama-kserve-prefill",
        "availableReplicas",
        false,
    )];
    world.deployment["status"]["conditions"][0]["status"] = json!("False");
    let waiting = |name: &str, component: &str, reason: &str| {
        json!({
            "metadata": {"name": name, "labels": {"app.kubernetes.io/component": component}},
            "status": {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason}}}]},
        })
    };
    world.pods = vec![
        waiting(
            "p",
            "llminferenceservice-workload-prefill",
            "ImagePullBackOff",
        ),
        waiting("d", "llminferenceservice-workload", "CrashLoopBackOff"),
    ];
    let status = of(&world);
    let message = |kind| condition(&status, kind).unwrap()["message"].clone();
    assert_eq!(
        message("MainWorkloadReady"),
        "pod d, container main: CrashLoopBackOff"
    );
    assert_eq!(
        message("PrefillWorkloadReady"),
        "Because. pod p, container main: ImagePullBackOff"
    );
}

#[test]
fn what_cannot_be_planned_is_told_where_it_belongs() {
    let groups = json!({"worker": {}, "prefill": {"template": {}}});
    let rows = [
        (
            "spec.worker",
            "WorkerWorkloadReady",
            "ReconcileMultiNodeWorkloadError",
        ),
        (
            "spec.prefill.template",
            "MainWorkloadReady",
            "ReconcileSingleNodeWorkloadError",
        ),
    ];
    for (field, condition, reason) in rows {
        let failure = workload_failure(&groups, &Error::NoTemplate { field });
        assert_eq!((failure.condition, failure.reason), (condition, reason));
        assert!(failure.message.contains(field), "{}", failure.message);
    }
}

#[test]
fn image_volumes_are_advised_on_by_what_the_server_kept_and_by_its_version() {
    let with = json!({"spec": {"volumes": [{"name": "mnt-models", "image": {"reference": "r"}}]}});
    let without = json!({"spec": {"volumes": [{"name": "home"}]}});
    // Location, configured, minor version, the pod in the cluster, the reason.
    let table = [
        ("oci://r", true, Some(30), &with, "ImageVolumeUnsupported"),
        (
            "oci://r",
            true,
            Some(32),
            &with,
            "ImageVolumeSubPathUnsupported",
        ),
        ("oci://r", true, Some(34), &with, "ImageVolumeAlpha"),
        ("oci://r", true, Some(35), &with, ""),
        ("oci://r", true, None, &with, ""),
        (
            "oci://r",
            true,
            Some(35),
            &without,
            "ImageVolumeUnsupported",
        ),
        ("oci://r", false, Some(34), &without, ""),
        (
            "oci+native://r",
            false,
            Some(35),
            &without,
            "ImageVolumeUnsupported",
        ),
        ("oci+native://r", false, Some(34), &with, ""),
        ("hf://o/m", true, Some(34), &without, "ImageVolumeAlpha"),
        ("hf://o/m", true, Some(36), &without, ""),
    ];
    for (uri, native, server_minor, pod, reason) in table {
        let mut world = world();
        world.spec["model"]["uri"] = json!(uri);
        world.image_volumes = ImageVolumes {
            native,
            server_minor,
        };
        let component = json!({"app.kubernetes.io/component": "llminferenceservice-workload"});
        world.deployment["metadata"]["labels"] = component;
        world.deployment["spec"] = json!({"template": pod});
        let status = of(&world);
        let conditions = status["conditions"].as_array().unwrap();
        let advice = conditions
            .iter()
            .find(|c| c["type"] == "OciImageVolumeCompatible");
        let found = advice.map_or("", |advice| advice["reason"].as_str().unwrap());
        assert_eq!(found, reason, "{uri} {native} {server_minor:?} {pod}");
        let ready = conditions
            .iter()
            .find(|c| c["type"] == "WorkloadsReady")
            .unwrap();
        assert_eq!(ready["status"], "True", "{uri}: advice is no reason");
    }
}
