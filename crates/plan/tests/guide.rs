//! The guide's services of several pods: which objects come out, how many pods they are and how many GPUs they take.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::Path;

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};
use weir_plan::{Facts, ServiceIdentity, desired};

/// The objects of a service of our presets.
fn planned(service: &Value) -> Vec<Value> {
    let mut service =
        weir_api::convert::convert(service.clone(), "serving.kserve.io/v1alpha2").unwrap();
    service["metadata"]["namespace"] = json!("default");
    let none = |_: &str, _: &str| Ok::<_, std::convert::Infallible>(None);
    let combined = combine(&service, &Globals::default(), &Naming::default(), none).unwrap();
    let identity = ServiceIdentity::of(&service);
    desired(&identity, &combined.effective.spec, &Facts::default()).unwrap()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn names(objects: &[Value]) -> Vec<String> {
    let name = |object: &Value| {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        format!("{} {}", kind.as_str().unwrap(), name.as_str().unwrap())
    };
    objects.iter().map(name).collect()
}

fn container<'a>(pod: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.into_iter().find(|c| c["name"] == name)
}

fn words(container: &Value, field: &str) -> String {
    let words = container[field].as_array().into_iter().flatten();
    let words: Vec<_> = words.filter_map(Value::as_str).collect();
    words.join(" ")
}

fn gpus(pod: &Value) -> u64 {
    let main = container(pod, "containers", "main").unwrap();
    let asked = main["resources"]["requests"]["nvidia.com/gpu"].as_str();
    asked.map_or(0, |asked| asked.parse().unwrap())
}

/// Pods and GPUs of all workloads.
fn totals(objects: &[Value]) -> (u64, u64) {
    let mut totals = (0, 0);
    for object in objects {
        let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1);
        match object["kind"].as_str().unwrap() {
            "Deployment" => {
                totals.0 += replicas;
                totals.1 += replicas * gpus(&object["spec"]["template"]);
            }
            "LeaderWorkerSet" => {
                let group = &object["spec"]["leaderWorkerTemplate"];
                let workers = group["size"].as_u64().unwrap_or(1) - 1;
                totals.0 += replicas * (1 + workers);
                totals.1 += replicas
                    * (gpus(&group["leaderTemplate"]) + workers * gpus(&group["workerTemplate"]));
            }
            _ => {}
        }
    }
    totals
}

/// The manifest in short, and the guide's own where it is at hand.
fn manifests(file: &str, short: Value) -> Vec<Value> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        Into::into,
    );
    let path = shared.join("guide").join(file);
    let mut manifests = vec![short];
    match std::fs::read_to_string(&path) {
        Ok(text) => manifests.push(serde_saphyr::from_str(&text).unwrap()),
        Err(_) => eprintln!("SKIPPED: no guide at {}", path.display()),
    }
    manifests
}

#[test]
fn prefill_and_decode_are_two_deployments_with_a_sidecar_before_decode() {
    let container = |gpus: &str| {
        json!({"containers": [{
            "name": "main", "image": "ghcr.io/llm-d/llm-d:v0.2.0",
            "resources": {"requests": {"nvidia.com/gpu": gpus}},
        }]})
    };
    let short = json!({
        "apiVersion": "serving.kserve.io/v1alpha1", "kind": "LLMInferenceService",
        "metadata": {"name": "llama-70b"},
        "spec": {
            "model": {"uri": "hf://meta-llama/Llama-3-70B"},
            "prefill": {"replicas": 2, "parallelism": {"tensor": 8}, "template": container("8")},
            "replicas": 8, "parallelism": {"tensor": 2}, "template": container("2"),
            "router": {"gateway": {}, "route": {}, "scheduler": {}},
        },
    });
    for service in manifests("4-prefill-decode.yaml", short) {
        let objects = planned(&service);
        assert_eq!(
            names(&objects),
            [
                "ServiceAccount llama-70b-kserve",
                "Role llama-70b-kserve-role",
                "RoleBinding llama-70b-kserve-rb",
                "Deployment llama-70b-kserve",
                "Deployment llama-70b-kserve-prefill",
                "Service llama-70b-kserve-workload-svc",
                "Service llama-70b-kserve-prefill-svc",
                "ServiceAccount llama-70b-epp-sa",
                "ClusterRoleBinding default-llama-70b-epp-auth-rb",
                "Role llama-70b-epp-role",
                "RoleBinding llama-70b-epp-rb",
                "Deployment llama-70b-kserve-router-scheduler",
                "Service llama-70b-epp-service",
                "InferencePool llama-70b-inference-pool",
                "Service llama-70b-kserve-headless-svc",
                "InferenceObjective llama-70b-model",
                "HTTPRoute llama-70b-kserve-route",
            ]
        );
        // Two prefill, eight decode, one picker.
        assert_eq!(totals(&objects), (11, 32));

        let decode = find(&objects, "Deployment", "llama-70b-kserve");
        assert_eq!(decode["spec"]["replicas"], 8);
        let pod = &decode["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"]["llm-d.ai/role"], "decode");
        assert_eq!(pod["spec"]["serviceAccountName"], "llama-70b-kserve");
        let sidecar = self::container(pod, "initContainers", "llm-d-routing-sidecar").unwrap();
        assert_eq!(sidecar["restartPolicy"], "Always");
        assert_eq!(sidecar["ports"][0]["containerPort"], 8000);
        let flags = words(sidecar, "command");
        for flag in [
            "--port=8000",
            "--vllm-port=8001",
            "--enable-ssrf-protection=true",
            "--inference-pool=default/llama-70b-inference-pool",
        ] {
            assert!(flags.contains(flag), "{flags}");
        }
        let main = self::container(pod, "containers", "main").unwrap();
        assert_eq!(main["ports"][0]["containerPort"], 8001);
        assert!(words(main, "command").contains("--port 8001"));
        assert!(words(main, "command").contains("--tensor-parallel-size 2"));

        let prefill = find(&objects, "Deployment", "llama-70b-kserve-prefill");
        assert_eq!(prefill["spec"]["replicas"], 2);
        let pod = &prefill["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"]["llm-d.ai/role"], "prefill");
        assert!(self::container(pod, "initContainers", "llm-d-routing-sidecar").is_none());
        let main = self::container(pod, "containers", "main").unwrap();
        assert_eq!(main["ports"][0]["containerPort"], 8000);
        assert!(words(main, "command").contains("--tensor-parallel-size 8"));
        for side in [decode, prefill] {
            let main = self::container(&side["spec"]["template"], "containers", "main").unwrap();
            let value = |name: &str| {
                let env = main["env"].as_array().unwrap();
                env.iter().find(|one| one["name"] == name).unwrap().clone()
            };
            assert_eq!(value("NIXL_ENABLE_KV_TRANSFER")["value"], "true");
            assert_eq!(value("NIXL_BACKEND")["value"], "tcp");
            assert_eq!(
                value("VLLM_NIXL_SIDE_CHANNEL_HOST")["valueFrom"]["fieldRef"]["fieldPath"],
                "status.podIP"
            );
            assert!(words(main, "command").contains("--kv-transfer-config"));
        }
    }
}

#[test]
fn many_nodes_are_groups_as_large_as_the_pipeline() {
    let pod = json!({"containers": [
        {"name": "main", "resources": {"requests": {"nvidia.com/gpu": "8"}}},
    ]});
    let short = json!({
        "apiVersion": "serving.kserve.io/v1alpha1", "kind": "LLMInferenceService",
        "metadata": {"name": "llama-405b"},
        "spec": {
            "model": {"uri": "hf://meta-llama/Llama-3-405B"},
            "replicas": 2, "parallelism": {"pipeline": 4}, "template": pod, "worker": pod,
        },
    });
    for service in manifests("6-multi-node.yaml", short) {
        let objects = planned(&service);
        assert_eq!(
            names(&objects),
            [
                "ServiceAccount llama-405b-kserve-mn",
                "LeaderWorkerSet llama-405b-lws",
                "Service llama-405b-kserve-workload-svc",
            ]
        );
        assert_eq!(totals(&objects), (8, 64));
        let set = &find(&objects, "LeaderWorkerSet", "llama-405b-lws")["spec"];
        assert_eq!(set["replicas"], 2);
        let group = &set["leaderWorkerTemplate"];
        assert_eq!(group["size"], 4);
        for (pod, rank) in [
            ("leaderTemplate", "0"),
            ("workerTemplate", "$(LWS_WORKER_INDEX)"),
        ] {
            let main = container(&group[pod], "containers", "main").unwrap();
            let command = words(main, "command");
            let ranks = format!(
                "--pipeline-parallel-size 4 --nnodes $(LWS_GROUP_SIZE) --node-rank {rank} --master-addr $(LWS_LEADER_ADDRESS)"
            );
            assert!(command.contains(&ranks), "{command}");
        }
    }
}
