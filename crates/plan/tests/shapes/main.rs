//! Rules of the shapes, as the tables of the specification have them: labels, selectors, group sizes, accounts and
//! their rights, metadata, rollout.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_plan::{Facts, ServiceIdentity, workloads};

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "llama".to_owned(),
        namespace: "demo".to_owned(),
        ..ServiceIdentity::default()
    }
}

fn pod() -> Value {
    json!({"containers": [{"name": "main", "image": "engine"}]})
}

fn with_sidecar() -> Value {
    let mut pod = pod();
    pod["initContainers"] = json!([{"name": "llm-d-routing-sidecar", "image": "sidecar"}]);
    pod
}

fn spec(more: &Value) -> Value {
    let mut spec = json!({"model": {"uri": "pvc://claim", "name": "org/model"}, "template": pod()});
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

fn plan(service: &ServiceIdentity, spec: &Value) -> Vec<Value> {
    workloads(service, spec, &Facts::default()).unwrap()
}

/// The object of a kind and name.
fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

fn names(objects: &[Value], kinds: &[&str]) -> BTreeSet<String> {
    let of = objects
        .iter()
        .filter(|object| kinds.contains(&object["kind"].as_str().unwrap()));
    of.map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]).replace('"', ""))
        .collect()
}

const LEADER: &str = "/spec/leaderWorkerTemplate/leaderTemplate";
const WORKER: &str = "/spec/leaderWorkerTemplate/workerTemplate";
const POD: &str = "/spec/template";

#[test]
fn labels_follow_the_role() {
    let group = json!({"worker": pod()});
    let without_leader = json!({"worker": pod(), "template": null});
    let prefill_group = json!({"prefill": {"template": pod(), "worker": pod()}});
    let prefill_without_leader = json!({"prefill": {"worker": pod()}});
    let both_groups = json!({"worker": pod(), "prefill": {"template": pod()}});
    // Shape, kind, name, pod, end of the component, kserve.io/component, llm-d.ai/role.
    let rows = [
        (
            &json!({}),
            "Deployment",
            "llama-kserve",
            POD,
            "",
            true,
            "both",
        ),
        (
            &json!({"prefill": {"template": pod()}}),
            "Deployment",
            "llama-kserve",
            POD,
            "",
            true,
            "decode",
        ),
        (
            &json!({"prefill": {"template": pod()}}),
            "Deployment",
            "llama-kserve-prefill",
            POD,
            "-prefill",
            true,
            "prefill",
        ),
        (
            &group,
            "LeaderWorkerSet",
            "llama-lws",
            LEADER,
            "-leader",
            true,
            "both",
        ),
        (
            &group,
            "LeaderWorkerSet",
            "llama-lws",
            WORKER,
            "-worker",
            false,
            "",
        ),
        (
            &both_groups,
            "LeaderWorkerSet",
            "llama-lws",
            LEADER,
            "-leader",
            true,
            "decode",
        ),
        (
            &both_groups,
            "LeaderWorkerSet",
            "llama-lws",
            WORKER,
            "-worker",
            false,
            "",
        ),
        (
            &without_leader,
            "LeaderWorkerSet",
            "llama-lws",
            WORKER,
            "-worker",
            true,
            "decode",
        ),
        (
            &prefill_group,
            "LeaderWorkerSet",
            "llama-lws-prefill",
            LEADER,
            "-leader-prefill",
            true,
            "prefill",
        ),
        (
            &prefill_group,
            "LeaderWorkerSet",
            "llama-lws-prefill",
            WORKER,
            "-worker-prefill",
            false,
            "",
        ),
        (
            &prefill_without_leader,
            "LeaderWorkerSet",
            "llama-lws-prefill",
            WORKER,
            "-worker-prefill",
            true,
            "prefill",
        ),
    ];
    for (shape, kind, name, at, component, serves, role) in rows {
        let objects = plan(&service(), &spec(shape));
        let object = find(&objects, kind, name).unwrap_or_else(|| panic!("{name} for {shape}"));
        let mut wanted = BTreeMap::from([
            ("app.kubernetes.io/name", "llama".to_owned()),
            (
                "app.kubernetes.io/part-of",
                "llminferenceservice".to_owned(),
            ),
            (
                "app.kubernetes.io/component",
                format!("llminferenceservice-workload{component}"),
            ),
        ]);
        if serves {
            wanted.insert("kserve.io/component", "workload".to_owned());
            wanted.insert("llm-d.ai/role", role.to_owned());
        }
        let labels = object.pointer(at).unwrap()["metadata"]["labels"].clone();
        assert_eq!(labels, json!(wanted), "{name} {at} for {shape}");
        // The object itself has the labels of its pods, a set those of its workers.
        if at != LEADER {
            assert_eq!(
                object["metadata"]["labels"],
                json!(wanted),
                "{name} for {shape}"
            );
        }
    }
}

#[test]
fn metadata_of_service_and_workload_reaches_the_pods_it_is_meant_for() {
    let mut service = service();
    service.labels = BTreeMap::from([
        ("kueue.x-k8s.io/queue-name".to_owned(), "q".to_owned()),
        ("own".to_owned(), "x".to_owned()),
    ]);
    service.annotations = [
        "prometheus.io/scrape",
        "k8s.v1.cni.cncf.io/networks",
        "own",
        "leaderworkerset.sigs.k8s.io/exclusive-topology",
    ]
    .map(|key| (key.to_owned(), "1".to_owned()))
    .into();
    let spec = spec(&json!({
        "labels": {"team": "a"},
        "annotations": {"note": "decode", "serving.kserve.io/model-based-routing-enabled": "true"},
        "prefill": {
            "template": pod(), "worker": pod(),
            "labels": {"team": "b"}, "annotations": {"note": "prefill"},
        },
    }));
    let objects = plan(&service, &spec);
    let keys =
        |of: &Value| -> BTreeSet<String> { of.as_object().unwrap().keys().cloned().collect() };
    let main = find(&objects, "Deployment", "llama-kserve").unwrap();
    let pod = &main["spec"]["template"]["metadata"];
    assert_eq!(pod["labels"]["team"], "a");
    assert_eq!(pod["labels"]["kueue.x-k8s.io/queue-name"], "q");
    assert_eq!(pod["labels"]["own"], Value::Null);
    let wanted = [
        "k8s.v1.cni.cncf.io/networks",
        "note",
        "prometheus.io/scrape",
    ];
    assert_eq!(keys(&pod["annotations"]), wanted.map(str::to_owned).into());
    let wanted = ["k8s.v1.cni.cncf.io/networks", "prometheus.io/scrape"];
    assert_eq!(
        keys(&main["metadata"]["annotations"]),
        wanted.map(str::to_owned).into()
    );

    let set = find(&objects, "LeaderWorkerSet", "llama-lws-prefill").unwrap();
    for at in [LEADER, WORKER] {
        let pod = &set.pointer(at).unwrap()["metadata"];
        assert_eq!(pod["labels"]["team"], "b");
        assert_eq!(pod["annotations"]["note"], "prefill");
        assert_eq!(
            pod["annotations"]["leaderworkerset.sigs.k8s.io/exclusive-topology"],
            "1"
        );
    }
    let workload = find(&objects, "Service", "llama-kserve-workload-svc").unwrap();
    assert_eq!(workload["metadata"]["labels"]["team"], "a");
    assert_eq!(
        workload["metadata"]["annotations"],
        json!({"note": "decode"})
    );
    assert_eq!(
        workload["metadata"]["labels"].get("kueue.x-k8s.io/queue-name"),
        None
    );
}

#[test]
fn a_new_selector_has_the_stable_keys_with_the_values_of_the_pods() {
    let mut shape = json!({"labels": {"app.kubernetes.io/name": "other", "team": "a"}, "prefill": {"template": pod()}});
    let objects = plan(&service(), &spec(&shape));
    for (name, component, label) in [
        ("llama-kserve", "llminferenceservice-workload", "other"),
        (
            "llama-kserve-prefill",
            "llminferenceservice-workload-prefill",
            "llama",
        ),
    ] {
        let deployment = find(&objects, "Deployment", name).unwrap();
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let wanted = json!({
            "app.kubernetes.io/name": label, "app.kubernetes.io/part-of": "llminferenceservice",
            "app.kubernetes.io/component": component, "kserve.io/component": "workload",
        });
        assert_eq!(*selector, wanted);
    }
    // A live selector stays, whatever the spec says by now, and the pods match it.
    let live = find(&objects, "Deployment", "llama-kserve")
        .unwrap()
        .clone();
    let facts = Facts {
        live: vec![Arc::new(live.clone())],
        ..Facts::default()
    };
    shape["labels"]["app.kubernetes.io/name"] = json!("third");
    let objects = workloads(&service(), &spec(&shape), &facts).unwrap();
    let deployment = find(&objects, "Deployment", "llama-kserve").unwrap();
    assert_eq!(deployment["spec"]["selector"], live["spec"]["selector"]);
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"],
        "other"
    );
}

#[test]
fn a_live_selector_with_another_role_is_given_up() {
    let objects = plan(&service(), &spec(&json!({})));
    let mut live = find(&objects, "Deployment", "llama-kserve")
        .unwrap()
        .clone();
    live["spec"]["selector"]["matchLabels"]["llm-d.ai/role"] = json!("both");
    let facts = Facts {
        live: vec![Arc::new(live)],
        ..Facts::default()
    };
    for (shape, kept) in [
        (json!({}), true),
        (json!({"prefill": {"template": pod()}}), false),
    ] {
        let objects = workloads(&service(), &spec(&shape), &facts).unwrap();
        let deployment = find(&objects, "Deployment", "llama-kserve").unwrap();
        let selector = deployment["spec"]["selector"]["matchLabels"]
            .as_object()
            .unwrap();
        assert_eq!(selector.contains_key("llm-d.ai/role"), kept);
    }
}

#[test]
fn a_group_is_as_large_as_its_parallelism_says() {
    let rows = [
        (json!({"data": 16, "dataLocal": 8}), Some(2)),
        (json!({"data": 32, "dataLocal": 8}), Some(4)),
        (json!({"data": 8, "dataLocal": 8}), Some(1)),
        (json!({"data": 8, "dataLocal": 16}), Some(1)),
        (json!({"data": 10, "dataLocal": 4}), Some(2)),
        (json!({"dataLocal": 4}), Some(1)),
        (json!({"data": 4}), Some(4)),
        (json!({"pipeline": 3}), Some(3)),
        (json!({"pipeline": 3, "data": 4}), Some(4)),
        (json!({"tensor": 8}), None),
        (Value::Null, None),
    ];
    for (parallelism, size) in rows {
        let data = parallelism.get("data").is_some() || parallelism.get("dataLocal").is_some();
        let group = json!({"template": pod(), "worker": pod(), "parallelism": parallelism});
        let mut shape = group.clone();
        shape["prefill"] = group;
        let objects = plan(&service(), &spec(&shape));
        for (name, prefill) in [("llama-lws", false), ("llama-lws-prefill", true)] {
            let set =
                &find(&objects, "LeaderWorkerSet", name).unwrap()["spec"]["leaderWorkerTemplate"];
            assert_eq!(
                set.get("size").and_then(Value::as_u64),
                size,
                "{parallelism}"
            );
            // Ranks that prefill together are one group of neighbours.
            let neighbours = size.filter(|_| prefill && data);
            assert_eq!(
                set.pointer("/subGroupPolicy/subGroupSize")
                    .and_then(Value::as_u64),
                neighbours,
                "{name} {parallelism}"
            );
        }
    }
}

#[test]
fn replicas_and_rollout_are_written_only_where_the_spec_has_them() {
    let shape = |more: Value| {
        let mut one = spec(&json!({"worker": pod(), "prefill": {"template": pod()}}));
        for (field, value) in more.as_object().unwrap() {
            one[field] = value.clone();
            one["prefill"][field] = value.clone();
        }
        plan(&service(), &one)
    };
    let of = |objects: &[Value], kind: &str, pointer: &str| {
        let object = objects
            .iter()
            .find(|object| object["kind"] == kind)
            .unwrap();
        object.pointer(pointer).cloned()
    };
    let bare = shape(json!({"rolloutStrategy": {"maxSurge": null}}));
    assert_eq!(of(&bare, "Deployment", "/spec/replicas"), None);
    assert_eq!(of(&bare, "Deployment", "/spec/strategy"), None);
    assert_eq!(of(&bare, "LeaderWorkerSet", "/spec/replicas"), None);
    assert_eq!(
        of(&bare, "LeaderWorkerSet", "/spec/rolloutStrategy"),
        Some(json!({"type": "RollingUpdate"}))
    );
    let full = shape(json!({"replicas": 0, "rolloutStrategy": {"maxUnavailable": "50%"}}));
    assert_eq!(of(&full, "Deployment", "/spec/replicas"), Some(json!(0)));
    assert_eq!(
        of(&full, "Deployment", "/spec/strategy"),
        Some(json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}))
    );
    assert_eq!(
        of(&full, "LeaderWorkerSet", "/spec/replicas"),
        Some(json!(0))
    );
    assert_eq!(
        of(
            &full,
            "LeaderWorkerSet",
            "/spec/rolloutStrategy/rollingUpdateConfiguration"
        ),
        Some(json!({"maxUnavailable": "50%", "maxSurge": 0}))
    );
}

#[test]
fn a_live_set_of_the_upstream_name_keeps_it() {
    let shape = spec(&json!({"worker": pod(), "prefill": {"template": pod(), "worker": pod()}}));
    let live =
        |name: &str| Arc::new(json!({"kind": "LeaderWorkerSet", "metadata": {"name": name}}));
    let rows = [
        (vec![], ["llama-lws", "llama-lws-prefill"]),
        (
            vec![live("llama-kserve-mn")],
            ["llama-kserve-mn", "llama-lws-prefill"],
        ),
        (
            vec![live("llama-kserve-mn-prefill")],
            ["llama-lws", "llama-kserve-mn-prefill"],
        ),
        (vec![live("llama-lws")], ["llama-lws", "llama-lws-prefill"]),
    ];
    for (live, wanted) in rows {
        let facts = Facts {
            live,
            ..Facts::default()
        };
        let objects = workloads(&service(), &shape, &facts).unwrap();
        let wanted = wanted.map(|name| format!("LeaderWorkerSet {name}"));
        assert_eq!(names(&objects, &["LeaderWorkerSet"]), wanted.into());
    }
}

#[test]
fn services_reach_all_pods_and_the_prefill_pods() {
    let table = |spec: &Value| -> BTreeMap<String, Value> {
        let objects = plan(&service(), spec);
        let services = objects
            .into_iter()
            .filter(|object| object["kind"] == "Service");
        services
            .map(|object| {
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                (name, object["spec"].clone())
            })
            .collect()
    };
    let workload = json!({
        "app.kubernetes.io/name": "llama", "app.kubernetes.io/part-of": "llminferenceservice",
        "kserve.io/component": "workload",
    });
    let mut shape = spec(&json!({"prefill": {"template": pod()}, "router": {"scheduler": {}}}));
    let all = table(&shape);
    assert_eq!(all["llama-kserve-workload-svc"]["selector"], workload);
    let mut prefill = workload.clone();
    prefill["llm-d.ai/role"] = json!("prefill");
    assert_eq!(all["llama-kserve-prefill-svc"]["selector"], prefill);
    for spec in all.values() {
        assert_eq!(spec["ports"][0]["port"], 8000);
        assert_eq!(spec["ports"][0]["name"], "http");
    }
    shape["prefill"] = Value::Null;
    assert_eq!(table(&shape).len(), 1);
}

#[test]
fn gpus_follow_from_the_parallelism_of_the_own_workload() {
    let shape = |grouped: bool| {
        let mut workload = json!({"template": pod(), "parallelism": {"tensor": 2, "pipeline": 4}});
        let mut prefill = json!({"template": pod(), "parallelism": {"tensor": 4, "dataLocal": 2}});
        if grouped {
            workload["worker"] = pod();
            prefill["worker"] = pod();
        }
        workload["prefill"] = prefill;
        plan(&service(), &spec(&workload))
    };
    let gpus = |objects: &[Value], kind: &str, name: &str, at: &str| {
        let object = find(objects, kind, name).unwrap();
        let main = object.pointer(&format!("{at}/spec/containers/0/resources"));
        let main = main.unwrap();
        assert_eq!(main["limits"], main["requests"]);
        main["limits"]["nvidia.com/gpu"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let one_node = shape(false);
    assert_eq!(gpus(&one_node, "Deployment", "llama-kserve", POD), "8");
    assert_eq!(
        gpus(&one_node, "Deployment", "llama-kserve-prefill", POD),
        "8"
    );
    // The stages of a group's pipeline are on its other pods.
    let groups = shape(true);
    for at in [LEADER, WORKER] {
        assert_eq!(gpus(&groups, "LeaderWorkerSet", "llama-lws", at), "2");
        assert_eq!(
            gpus(&groups, "LeaderWorkerSet", "llama-lws-prefill", at),
            "8"
        );
    }
}
