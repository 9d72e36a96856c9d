//! The worked command lines of the control-plane text, from our presets, and from KServe's own by a real shell.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use weir_compose::{Config, Globals, compose, presets, select};

const TRANSFER: &str = r#"{"kv_connector":"NixlConnector","kv_role":"kv_both"}"#;
const OFFLOAD: &str = r#"{"kv_connector":"OffloadingConnector","kv_connector_extra_config":{"cpu_bytes_to_use":10737418240,"eviction_policy":"lru","secondary_tiers":[{"root_dir":"/mnt/kv-cache-0","type":"fs"}],"spec_name":"TieringOffloadingSpec"},"kv_role":"kv_both"}"#;
const MODULES: [&str; 2] = [
    r#"{"name":"a1","path":"/mnt/lora/a1"}"#,
    r#"{"name":"publishers/demo/models/a1","path":"/mnt/lora/a1"}"#,
];
const NAMES: &str =
    "vllm serve /mnt/models --served-model-name org/base publishers/demo/models/org/base";
const QUIET: &str =
    "--disable-access-log-for-endpoints /health,/metrics,/ping --shutdown-timeout 40";
const TLS: &str = "--enable-ssl-refresh --ssl-certfile /var/run/kserve/tls/tls.crt \
                   --ssl-keyfile /var/run/kserve/tls/tls.key";

/// A worked example: the service's spec, TLS, the version in the image, the pod, and the words.
struct Example {
    name: &'static str,
    preset: &'static str,
    spec: Value,
    tls: bool,
    version: &'static str,
    pod: &'static str,
    wanted: String,
    /// What upstream's preset comes to where ours is better on purpose.
    upstream: Option<String>,
}

/// A pod's template with the engine's image.
fn pod(version: &str, more: &Value) -> Value {
    let mut main = json!({"name": "main", "image": format!("vllm/vllm-openai:v{version}")});
    for (key, value) in more.as_object().into_iter().flatten() {
        main[key] = value.clone();
    }
    json!({"containers": [main]})
}

fn examples() -> Vec<Example> {
    let new = "0.22.0";
    let words = |parts: &[&str]| parts.join(" ");
    let data = json!({"data": 16, "dataLocal": 8, "tensor": 1, "expert": true});
    let many = |more: &Value| {
        let mut spec = json!({
            "parallelism": data, "template": pod(new, &json!({})), "worker": pod(new, &json!({})),
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        spec
    };
    let ranks = "--data-parallel-size 16 --data-parallel-size-local 8 --data-parallel-address 10.0.0.7 \
                 --data-parallel-rpc-port 5555 --data-parallel-start-rank";
    let leader = |port: &str| {
        words(&[
            NAMES,
            "--port",
            port,
            "--api-server-count 8 --enable-expert-parallel --tensor-parallel-size 1",
            ranks,
            "0",
            QUIET,
            TLS,
        ])
    };
    let worker = |port: &str| {
        words(&[
            NAMES,
            "--port",
            port,
            "--enable-expert-parallel --tensor-parallel-size 1",
            ranks,
            "8 --headless",
            QUIET,
            TLS,
        ])
    };
    let example = |name, preset, spec, tls, version, pod, wanted| Example {
        name,
        preset,
        spec,
        tls,
        version,
        pod,
        wanted,
        upstream: None,
    };
    let e1 = json!({
        "parallelism": {"tensor": 4},
        "kvCacheOffloading": {"cpu": "10Gi", "evictionPolicy": "lru", "secondary": [{"fileSystem": {"emptyDir": {}}}]},
        "template": pod(new, &json!({
            "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--trust-remote-code --hf-overrides '{\"a\": 1}'"}],
            "args": ["--enable-lora", "--lora-modules", format!("'{}'", MODULES[0]), format!("'{}'", MODULES[1]), "--max-model-len=4096"],
        })),
    });
    let prefill =
        json!({"prefill": {"parallelism": {"tensor": 8}, "template": pod(new, &json!({}))}});
    let no_alias = "vllm serve /mnt/models --served-model-name org/base";
    let pipeline = json!({
        "parallelism": {"tensor": 8, "pipeline": 2}, "template": pod(new, &json!({})), "worker": pod(new, &json!({})),
    });
    let stages = "--tensor-parallel-size 8 --pipeline-parallel-size 2 --nnodes 2 --node-rank";
    vec![
        example(
            "E1",
            "config-llm-template",
            e1,
            true,
            new,
            "/template",
            words(&[
                NAMES,
                "--port 8000",
                QUIET,
                "--kv-transfer-config",
                OFFLOAD,
                "--tensor-parallel-size 4",
                TLS,
                r#"--trust-remote-code --hf-overrides {"a":~1} --enable-lora --lora-modules"#,
                MODULES[0],
                MODULES[1],
                "--max-model-len=4096",
            ]),
        ),
        example(
            "E2",
            "config-llm-template",
            json!({"template": pod("0.15.1", &json!({}))}),
            false,
            "0.15.1",
            "/template",
            words(&[NAMES, "--port 8000 --disable-uvicorn-access-log"]),
        ),
        example(
            "E3",
            "config-llm-decode-template",
            json!({"prefill": {}, "parallelism": {"tensor": 4}, "template": pod(new, &json!({}))}),
            false,
            new,
            "/template",
            words(&[NAMES, "--port 8001", QUIET, "--tensor-parallel-size 4"]),
        ),
        Example {
            upstream: Some(words(&[
                no_alias,
                "--port 8000",
                QUIET,
                "--tensor-parallel-size 8",
            ])),
            ..example(
                "E4",
                "config-llm-prefill-template",
                prefill,
                false,
                new,
                "/prefill/template",
                words(&[NAMES, "--port 8000", QUIET, "--tensor-parallel-size 8"]),
            )
        },
        example(
            "E5 leader",
            "config-llm-worker-data-parallel",
            many(&json!({})),
            true,
            new,
            "/template",
            leader("8000"),
        ),
        example(
            "E5 worker",
            "config-llm-worker-data-parallel",
            many(&json!({})),
            true,
            new,
            "/worker",
            worker("8000"),
        ),
        example(
            "E5 without expert and tensor",
            "config-llm-worker-data-parallel",
            json!({
                "parallelism": {"data": 16, "dataLocal": 8},
                "template": pod(new, &json!({"env": [{"name": "VLLM_API_SERVER_COUNT", "value": "2"}]})),
                "worker": pod(new, &json!({})),
            }),
            false,
            new,
            "/template",
            words(&[NAMES, "--port 8000 --api-server-count 2", ranks, "0", QUIET]),
        ),
        example(
            "E6 leader",
            "config-llm-decode-worker-data-parallel",
            many(&json!({"prefill": {}})),
            true,
            new,
            "/template",
            leader("8001"),
        ),
        example(
            "E6 worker",
            "config-llm-decode-worker-data-parallel",
            many(&json!({"prefill": {}})),
            true,
            new,
            "/worker",
            worker("8001"),
        ),
        example(
            "E7 leader",
            "config-llm-prefill-worker-data-parallel",
            json!({"prefill": many(&json!({}))}),
            true,
            new,
            "/prefill/template",
            leader("8000"),
        ),
        example(
            "E7 worker",
            "config-llm-prefill-worker-data-parallel",
            json!({"prefill": many(&json!({}))}),
            true,
            new,
            "/prefill/worker",
            worker("8000"),
        ),
        example(
            "E8 leader",
            "config-llm-worker-pipeline-parallel",
            pipeline.clone(),
            false,
            new,
            "/template",
            words(&[
                NAMES,
                "--port 8000",
                QUIET,
                stages,
                "0 --master-addr 10.0.0.7",
            ]),
        ),
        example(
            "E8 worker",
            "config-llm-worker-pipeline-parallel",
            pipeline,
            false,
            new,
            "/worker",
            words(&[
                NAMES,
                "--port 8000",
                QUIET,
                stages,
                "1 --master-addr 10.0.0.7 --headless",
            ]),
        ),
        example(
            "one node, everything",
            "config-llm-template",
            json!({
                "parallelism": {"tensor": 2, "pipeline": 2, "expert": true, "data": 4, "dataLocal": 4},
                "template": pod("0.11.0", &json!({})),
            }),
            false,
            "0.11.0",
            "/template",
            words(&[
                NAMES,
                "--port 8000 --disable-uvicorn-access-log --tensor-parallel-size 2 --pipeline-parallel-size 2",
                "--enable-expert-parallel --data-parallel-size 4",
            ]),
        ),
    ]
}

/// Blanks part words; `~` stands for one inside of a word.
fn split(wanted: &str) -> Vec<String> {
    wanted
        .split_whitespace()
        .map(|word| word.replace('~', " "))
        .collect()
}

fn container(example: &Example, configs: &[Config]) -> Value {
    let mut spec = example.spec.clone();
    spec["model"] = json!({"uri": "hf://org/base", "name": "org/base"});
    let service = json!({"metadata": {"name": "my-llm", "namespace": "demo"}, "spec": spec});
    let globals = Globals {
        tls: example.tls,
        ..Globals::default()
    };
    let effective = compose(&service, configs, &globals).expect(example.name);
    let containers = effective
        .spec
        .pointer(example.pod)
        .and_then(|pod| pod.get("containers"));
    containers
        .and_then(|all| all.get(0))
        .cloned()
        .expect(example.name)
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|word| Some(word.as_str()?.to_owned()))
        .collect()
}

#[test]
fn our_presets_come_to_the_worked_command_lines() {
    for example in examples() {
        let mut spec = example.spec.clone();
        spec["model"] = json!({});
        let chosen = select(&json!({"spec": spec}));
        assert!(
            chosen.contains(&example.preset),
            "{}: {chosen:?}",
            example.name
        );
        let preset = presets::find(example.preset).expect("a preset");
        let container = container(&example, std::slice::from_ref(preset));
        let mut words = strings(&container["command"]);
        // What the launcher does: the ranks before this node's, then the rest of the words.
        let launcher = words.iter().position(|word| word == "--");
        let launcher: Vec<String> = launcher
            .map(|end| words.drain(..=end).collect())
            .unwrap_or_default();
        let local = launcher.iter().position(|word| word == "--ranks-per-node");
        let local = local
            .and_then(|at| launcher.get(at + 1))
            .map_or("1", String::as_str);
        let known = BTreeMap::from([
            ("$(LWS_LEADER_ADDRESS)", "10.0.0.7"),
            ("$(LWS_WORKER_INDEX)", "1"),
            ("$(LWS_GROUP_SIZE)", "2"),
            ("$(WEIR_START_RANK)", local),
        ]);
        words.extend(strings(&container["args"]));
        let words: Vec<String> = words
            .iter()
            .map(|word| {
                known
                    .get(word.as_str())
                    .map_or_else(|| word.clone(), |v| (*v).to_owned())
            })
            .collect();
        let mut wanted = split(&example.wanted);
        // Transfer over NIXL is configured by the presets of both sides.
        if example.preset.contains("decode") || example.preset.contains("prefill") {
            let quiet = wanted.iter().position(|word| word == "--shutdown-timeout");
            let at = quiet.expect(example.name) + 2;
            let transfer = ["--kv-transfer-config", TRANSFER].map(str::to_owned);
            wanted.splice(at..at, transfer);
        }
        assert_eq!(words, wanted, "{}", example.name);
    }
}

#[test]
fn transfer_and_offloading_go_together() {
    let configuration = |image: &str| {
        let pod = json!({"containers": [{"name": "main", "image": image}]});
        let example = Example {
            name: "both",
            preset: "config-llm-prefill-template",
            spec: json!({"prefill": {"template": pod, "kvCacheOffloading": {"cpu": "1Gi"}}}),
            tls: false,
            version: "",
            pod: "/prefill/template",
            wanted: String::new(),
            upstream: None,
        };
        let preset = presets::find(example.preset).expect("a preset");
        let words = strings(&container(&example, std::slice::from_ref(preset))["command"]);
        let at = words.iter().position(|word| word == "--kv-transfer-config");
        let text = at.and_then(|at| words.get(at + 1)).expect("configured");
        serde_json::from_str::<Value>(text).expect("JSON")
    };
    let both = configuration("vllm/vllm-openai:v0.26.0");
    assert_eq!(both["kv_connector"], "MultiConnector");
    let connectors = &both["kv_connector_extra_config"]["connectors"];
    assert_eq!(connectors[0]["kv_connector"], "NixlConnector");
    assert_eq!(connectors[1]["kv_connector"], "OffloadingConnector");
    assert_eq!(
        connectors[1]["kv_connector_extra_config"]["cpu_bytes_to_use"],
        1_u64 << 30
    );
    let cpu = configuration("vllm/vllm-openai-cpu:v0.23.0");
    assert_eq!(cpu["kv_connector"], "OffloadingConnector");
    // An engine that cannot offload transfers all the same.
    let old = configuration("vllm/vllm-openai:v0.16.0");
    assert_eq!(old["kv_connector"], "NixlConnector");
}

#[test]
fn transfer_is_configured_unless_the_user_or_the_image_says_otherwise() {
    let transfer = |image: &str, more: &Value| {
        let mut template = json!({"containers": [{"name": "main", "image": image}]});
        for (field, value) in more.as_object().into_iter().flatten() {
            template["containers"][0][field] = value.clone();
        }
        let example = Example {
            name: "transfer",
            preset: "config-llm-decode-template",
            spec: json!({"prefill": {}, "template": template}),
            tls: false,
            version: "",
            pod: "/template",
            wanted: String::new(),
            upstream: None,
        };
        let preset = presets::find(example.preset).expect("a preset");
        let container = container(&example, std::slice::from_ref(preset));
        strings(&container["command"])
            .iter()
            .any(|word| word.contains("NixlConnector"))
    };
    let own = "--kv_transfer_config {}";
    let table = [
        ("vllm/vllm-openai:v0.26.0", json!({}), true),
        ("registry.example/cpu/engine@sha256:cpu", json!({}), true),
        // It has no NIXL, and its engine no memory that NIXL reads.
        ("vllm/vllm-openai-cpu:v0.23.0", json!({}), false),
        (
            "vllm/vllm-openai:v0.26.0",
            json!({"args": ["--kv-transfer-config={}"]}),
            false,
        ),
        (
            "vllm/vllm-openai:v0.26.0",
            json!({"env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": own}]}),
            false,
        ),
    ];
    for (image, more, wanted) in table {
        assert_eq!(transfer(image, &more), wanted, "{image} {more}");
    }
}

#[test]
fn the_sidecar_has_no_empty_words() {
    let preset = presets::find("config-llm-decode-template").expect("a preset");
    let service = json!({"metadata": {"name": "my-llm", "namespace": "demo"}, "spec": {"model": {"uri": "hf://a/b"}}});
    for (tls, last) in [
        (false, "--secure-proxy=false"),
        (
            true,
            "--secure-proxy=true --cert-path=/var/run/kserve/tls --enable-tls=decoder --enable-tls=prefiller",
        ),
    ] {
        let globals = Globals {
            tls,
            ..Globals::default()
        };
        let effective =
            compose(&service, std::slice::from_ref(preset), &globals).expect("composes");
        let words = strings(&effective.spec["template"]["initContainers"][0]["command"]);
        let wanted = format!(
            "/app/pd-sidecar --port=8000 --vllm-port=8001 --kv-connector=nixlv2 --enable-ssrf-protection=true \
             --pool-group=inference.networking.x-k8s.io --inference-pool=demo/my-llm-inference-pool {last}"
        );
        assert_eq!(words.join(" "), wanted);
    }
}

/// A directory with a `vllm` that writes its words down, one a line, and a `getent` that knows the leader.
fn stubs(directory: &Path, version: &str) {
    let scripts = [
        (
            "vllm",
            format!(
                "#!/bin/sh\nif [ \"$1\" = --version ]; then echo {version}; exit; fi\nprintf '%s\\n' vllm \"$@\"\n"
            ),
        ),
        ("getent", "#!/bin/sh\necho '10.0.0.7 leader'\n".to_owned()),
    ];
    for (name, text) in scripts {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("executable");
    }
}

#[test]
fn kserve_s_presets_come_to_them_by_a_real_shell() {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let directory = std::env::temp_dir().join(format!("weir-argv-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    for example in examples() {
        let file = shared
            .join("upstream-presets")
            .join(format!("{}.yaml", example.preset));
        // Pipelines, and flags of one node, are ours alone.
        if !example.name.starts_with('E') || example.name.starts_with("E8") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&file) else {
            eprintln!("SKIPPED: {} is absent", file.display());
            continue;
        };
        let mut documents = weir_manifest::parse(&text, "preset").expect("parses");
        let config = Config {
            name: example.preset.to_owned(),
            namespace: "kserve".to_owned(),
            spec: documents.remove(0).value["spec"].take().into(),
        };
        let container = container(&example, &[config]);
        stubs(&directory, example.version);
        let command = strings(&container["command"]);
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new(command.first().expect("a program"));
        shell
            .args(command.iter().skip(1))
            .args(strings(&container["args"]))
            .env("PATH", format!("{}:{path}", directory.display()))
            .env("LWS_LEADER_ADDRESS", "leader")
            .env("LWS_WORKER_INDEX", "1");
        for one in container["env"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (one["name"].as_str(), one["value"].as_str()) {
                shell.env(name, value);
            }
        }
        let output = shell.output().expect("a shell");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = output.lines().skip_while(|line| *line != "vllm").collect();
        let wanted = example.upstream.as_ref().unwrap_or(&example.wanted);
        assert_eq!(words, split(wanted), "{}", example.name);
    }
    std::fs::remove_dir_all(&directory).expect("removes");
}
