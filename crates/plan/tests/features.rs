//! Features of the engine's pod, a table each: adapters, tiers, traces, devices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use weir_plan::{Error, Facts, ServiceIdentity, desired};

fn service(annotations: &[(&str, &str)]) -> ServiceIdentity {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    ServiceIdentity {
        name: "llama".to_owned(),
        namespace: "demo".to_owned(),
        annotations: annotations.iter().map(owned).collect(),
        ..ServiceIdentity::default()
    }
}

fn spec(uri: &str) -> Value {
    json!({
        "model": {"uri": uri, "name": "org/model"},
        "template": {"containers": [{"name": "main", "image": "engine"}]},
    })
}

fn with_adapters(base: &str, adapters: &[(&str, &str)]) -> Value {
    let mut spec = spec(base);
    let adapters = adapters.iter();
    let adapters = adapters.map(|(name, uri)| json!({"name": name, "uri": uri}));
    spec["model"]["lora"] = json!({"adapters": adapters.collect::<Vec<_>>()});
    spec
}

fn pod_of(service: &ServiceIdentity, spec: &Value) -> Result<Value, Error> {
    let objects = desired(service, spec, &Facts::default())?;
    let deployment = objects.into_iter().find(|o| o["kind"] == "Deployment");
    Ok(deployment.unwrap()["spec"]["template"]["spec"].clone())
}

fn pod(spec: &Value) -> Value {
    pod_of(&service(&[]), spec).unwrap()
}

/// `path`, or `path=sub path`, of what main mounts of a volume.
fn mounts(container: &Value, volume: &str) -> Vec<String> {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    mounts
        .filter(|mount| mount["name"] == volume)
        .map(|mount| {
            let path = mount["mountPath"].as_str().unwrap();
            match mount["subPath"].as_str() {
                Some(sub_path) => format!("{path}={sub_path}"),
                None => path.to_owned(),
            }
        })
        .collect()
}

const SCRATCH: &str = "kserve-provision-location";

/// The model, adapters, tiers, what is downloaded, and where main mounts the downloads.
type Row<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    u8,
    &'a [&'a str],
    &'a [&'a str],
);

#[test]
fn adapters_are_downloaded_with_the_model() {
    let (hf, claim) = ("hf://m", "pvc://c/m");
    let (a, b, c) = (("a", "hf://a"), ("b", "s3://b"), ("c", "pvc://d/c"));
    let table: [Row<'_>; 8] = [
        (
            hf,
            &[b, a],
            0,
            &[
                "hf://m",
                "/mnt/models",
                "hf://a",
                "/mnt/lora/a",
                "s3://b",
                "/mnt/lora/b",
            ],
            &["/mnt"],
        ),
        (
            claim,
            &[a, b],
            0,
            &["hf://a", "/mnt/lora/a", "s3://b", "/mnt/lora/b"],
            &["/mnt/lora"],
        ),
        (claim, &[a], 0, &["hf://a", "/mnt/lora/a"], &["/mnt/lora/a"]),
        (claim, &[c], 0, &[], &[]),
        // Nothing can be mounted below what is mounted read-only.
        (
            hf,
            &[a, c],
            0,
            &["hf://m", "/mnt/models", "hf://a", "/mnt/lora/a"],
            &["/mnt/models=models", "/mnt/lora/a=lora/a"],
        ),
        (
            hf,
            &[a],
            1,
            &["hf://m", "/mnt/models", "hf://a", "/mnt/lora/a"],
            &["/mnt/models=models", "/mnt/lora/a=lora/a"],
        ),
        (hf, &[], 1, &["hf://m", "/mnt/models"], &["/mnt/models"]),
        (
            claim,
            &[a, b],
            1,
            &["hf://a", "/mnt/lora/a", "s3://b", "/mnt/lora/b"],
            &["/mnt/lora"],
        ),
    ];
    for (base, adapters, tiers, args, wanted) in table {
        let mut spec = with_adapters(base, adapters);
        let tier = json!({"fileSystem": {"emptyDir": {"size": "1Gi"}}});
        let tiers: Vec<_> = (0..tiers).map(|_| tier.clone()).collect();
        spec["kvCacheOffloading"] = json!({"cpu": "1Gi", "secondary": tiers});
        let pod = pod(&spec);
        let init = pod["initContainers"].get(0).cloned().unwrap_or_default();
        let downloaded = init["args"].as_array().cloned().unwrap_or_default();
        assert_eq!(downloaded, args, "{base} {adapters:?}");
        assert_eq!(
            mounts(&pod["containers"][0], SCRATCH),
            wanted,
            "{base} {adapters:?}"
        );
        assert_eq!(mounts(&init, SCRATCH), wanted, "{base} {adapters:?}");
    }
}

#[test]
fn adapters_beside_a_modelcar_have_their_own_volume() {
    let pod = pod(&with_adapters(
        "oci://r/m:1",
        &[("a", "hf://a"), ("b", "hf://b")],
    ));
    let main = &pod["containers"][0];
    assert_eq!(mounts(main, SCRATCH), ["/mnt"]);
    assert_eq!(mounts(main, "kserve-lora-location"), ["/mnt/lora"]);
    let init = &pod["initContainers"][1];
    assert_eq!(mounts(init, "kserve-lora-location"), ["/mnt/lora"]);
}

#[test]
fn paths_and_volumes_of_adapters_are_valid_and_unique() {
    let adapters = [
        ("sql", "pvc://a/sql"),
        ("sql_V1.0", "pvc://a/old"),
        ("sql-v1-0", "pvc://a/new"),
        ("org/chat", "hf://org/chat"),
        ("org-chat", "s3://bucket/chat"),
        ("..x", "hf://x"),
        ("Ä/", "hf://y"),
    ];
    let pod = pod(&with_adapters("hf://m", &adapters));
    let modules = pod["containers"][0]["args"].as_array().unwrap();
    let paths: Vec<String> = modules
        .iter()
        .filter_map(|word| serde_json::from_str::<Value>(word.as_str()?).ok())
        .filter(|module| !module["name"].as_str().unwrap().starts_with("publishers/"))
        .map(|module| module["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        paths,
        [
            "/mnt/lora/..x",
            "/mnt/lora/org-chat",
            "/mnt/lora/org-chat-e797e2e5",
            "/mnt/lora/sql",
            "/mnt/lora/sql-v1-0",
            "/mnt/lora/sql_V1.0",
            "/mnt/lora/--",
        ]
    );
    let volumes = pod["volumes"].as_array().unwrap().iter();
    let claims: Vec<_> = volumes
        .filter(|volume| volume.get("persistentVolumeClaim").is_some())
        .map(|volume| volume["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        claims,
        [
            "lora-pvc-sql",
            "lora-pvc-sql-v1-0",
            "lora-pvc-sql-v1-0-89de9984"
        ]
    );
}

#[test]
fn the_engine_is_told_of_adapters_once() {
    let own = ["--lora-modules", "a=/x"];
    let told = |main: Value| {
        let mut spec = with_adapters("hf://m", &[("a", "hf://a")]);
        spec["model"]["lora"]["maxRank"] = json!(64);
        spec["model"]["lora"]["maxAdapters"] = json!(2);
        spec["model"]["lora"]["maxCpuAdapters"] = json!(4);
        spec["template"]["containers"][0] = main;
        pod(&spec)["containers"][0]["args"].clone()
    };
    let (plain, published) = (
        r#"{"name":"a","path":"/mnt/lora/a"}"#,
        r#"{"name":"publishers/demo/models/a","path":"/mnt/lora/a"}"#,
    );
    let flags = [
        "--enable-lora",
        "--max-lora-rank=64",
        "--max-loras=2",
        "--max-cpu-loras=4",
        "--lora-modules",
    ];
    let words = |quoted: bool, user: &[&str]| -> Value {
        let quote = |word: &str| {
            if quoted {
                format!("'{word}'")
            } else {
                word.to_owned()
            }
        };
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let modules = [quote(plain), quote(published)];
        let user = user.iter().map(|word| (*word).to_owned());
        flags.chain(modules).chain(user).collect()
    };
    let table = [
        ("nothing", json!({"name": "main"}), words(false, &[])),
        (
            "args",
            json!({"name": "main", "args": ["--x"]}),
            words(false, &["--x"]),
        ),
        (
            "a command",
            json!({"name": "main", "command": ["vllm", "serve"]}),
            words(false, &[]),
        ),
        (
            "a script",
            json!({"name": "main", "command": ["/bin/bash", "-c", "exec vllm serve", "--"]}),
            words(true, &[]),
        ),
        ("own args", json!({"name": "main", "args": own}), json!(own)),
        (
            "own command",
            json!({"name": "main", "command": own}),
            Value::Null,
        ),
        (
            "own environment",
            json!({"name": "main", "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--lora-modules a=/x"}]}),
            Value::Null,
        ),
        (
            "environment from elsewhere",
            json!({"name": "main", "env": [{"name": "VLLM_ADDITIONAL_ARGS", "valueFrom": {}}]}),
            words(false, &[]),
        ),
    ];
    for (name, main, wanted) in table {
        assert_eq!(told(main), wanted, "{name}");
    }
}

#[test]
fn no_adapters_name_reaches_a_shell_or_the_kubelets_variables() {
    let name = "a'b$(HOME)`c`";
    let mut spec = with_adapters("hf://m", &[(name, "hf://a")]);
    let plain = pod(&spec)["containers"][0]["args"][2].clone();
    // The kubelet reads `$$` as a dollar sign.
    let seen: Value = serde_json::from_str(&plain.as_str().unwrap().replace("$$", "$")).unwrap();
    assert_eq!(seen["name"], name);
    spec["template"]["containers"][0]["command"] = json!(["sh", "-c", "exec vllm"]);
    let quoted = pod(&spec)["containers"][0]["args"][2].clone();
    let quoted = quoted.as_str().unwrap();
    assert!(
        quoted.starts_with('\'') && quoted.ends_with('\''),
        "{quoted}"
    );
    assert_eq!(quoted.trim_matches('\'').replace(r"'\''", "'"), plain);
}

#[test]
fn adapters_that_cannot_be_fetched_are_refused() {
    for uri in ["", "org/a", "oci://r/a:1", "oci+native://r/a", "azure://a"] {
        let refused = pod_of(&service(&[]), &with_adapters("hf://m", &[("x", uri)])).unwrap_err();
        assert!(
            matches!(&refused, Error::AdapterScheme { name, .. } if name == "x"),
            "{uri}"
        );
    }
    let nameless = pod_of(&service(&[]), &with_adapters("hf://m", &[("", "hf://a")]));
    assert_eq!(nameless.unwrap_err(), Error::AdapterName { index: 0 });
    let mut off = with_adapters("hf://m", &[("a", "hf://a")]);
    off["storageInitializer"] = json!({"enabled": false});
    let refused = pod_of(&service(&[]), &off).unwrap_err();
    assert_eq!(refused, Error::AdaptersWithoutInitializer);
}

#[test]
fn every_tier_is_a_volume_at_the_path_of_its_position() {
    let claim = json!({"accessModes": ["ReadWriteOnce"]});
    let mut spec = spec("hf://m");
    spec["template"]["containers"][0]["resources"] =
        json!({"requests": {"ephemeral-storage": "5Gi"}});
    spec["kvCacheOffloading"] = json!({"cpu": "1Gi", "secondary": [
        {"fileSystem": {"emptyDir": {"size": "1.5Gi"}}},
        {},
        {"fileSystem": {"pvc": {"ref": {"name": "kv", "path": "a/b"}}}},
        {"fileSystem": {"pvc": {"ref": {"name": "kv"}}}},
        {"fileSystem": {"pvc": {"spec": claim}}},
        {"fileSystem": {"emptyDir": {"size": "512Mi"}}},
    ]});
    let pod = pod(&spec);
    let main = &pod["containers"][0];
    let volumes = pod["volumes"].as_array().unwrap();
    let table = [
        (
            0,
            json!({"emptyDir": {"sizeLimit": "1536Mi"}}),
            "/mnt/kv-cache-0",
        ),
        (
            2,
            json!({"persistentVolumeClaim": {"claimName": "kv"}}),
            "/mnt/kv-cache-2=a/b",
        ),
        (
            3,
            json!({"persistentVolumeClaim": {"claimName": "kv"}}),
            "/mnt/kv-cache-3",
        ),
        (
            4,
            json!({"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}),
            "/mnt/kv-cache-4",
        ),
        (
            5,
            json!({"emptyDir": {"sizeLimit": "512Mi"}}),
            "/mnt/kv-cache-5",
        ),
    ];
    for (index, mut source, mount) in table {
        let name = format!("kv-cache-secondary-{index}");
        assert_eq!(mounts(main, &name), [mount]);
        source["name"] = json!(name);
        assert!(volumes.contains(&source), "{source}");
    }
    assert_eq!(volumes.len(), 6);
    assert_eq!(main["resources"]["requests"]["ephemeral-storage"], "7Gi");
}

#[test]
fn tiers_of_one_side_are_not_those_of_the_other() {
    let mut spec = spec("hf://m");
    let template = spec["template"].clone();
    let tier = |claim: &str| json!({"cpu": "1Gi", "secondary": [{"fileSystem": {"pvc": {"ref": {"name": claim}}}}]});
    spec["prefill"] = json!({"template": template, "kvCacheOffloading": tier("prefill")});
    let objects = desired(&service(&[]), &spec, &Facts::default()).unwrap();
    let claims: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "Deployment")
        .map(|object| {
            object["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"]
                .clone()
        })
        .collect();
    assert_eq!(claims, [Value::Null, json!("prefill")]);
}

#[test]
fn a_tier_without_storage_is_refused_by_its_path() {
    for (file_system, what) in [
        (json!({}), "names no storage"),
        (json!({"emptyDir": {"size": "much"}}), "no quantity"),
        (json!({"pvc": {"ref": {"name": ""}}}), "no name"),
    ] {
        let mut spec = spec("hf://m");
        spec["kvCacheOffloading"] =
            json!({"cpu": "1Gi", "secondary": [{"fileSystem": file_system}]});
        let refused = pod_of(&service(&[]), &spec).unwrap_err().to_string();
        let at = "spec.kvCacheOffloading.secondary[0].fileSystem";
        assert!(
            refused.starts_with(at) && refused.contains(what),
            "{refused}"
        );
    }
}

#[test]
fn traces_go_where_the_spec_says_unless_the_user_did() {
    let mut spec = spec("hf://m");
    spec["tracing"] = json!({"sampler": "always_on"});
    let untraced = pod(&spec)["containers"][0].clone();
    assert_eq!((untraced.get("args"), untraced.get("env")), (None, None));

    spec["tracing"]["exporterEndpoint"] = json!("http://c:4317");
    let flags = [
        "--otlp-traces-endpoint",
        "http://c:4317",
        "--collect-detailed-traces",
        "all",
    ];
    let table: [(&[&str], Vec<&str>); 5] = [
        (&[], flags.to_vec()),
        (&["--x"], [&["--x"], flags.as_slice()].concat()),
        (
            &["--otlp-traces-endpoint", "http://mine"],
            vec![
                "--otlp-traces-endpoint",
                "http://mine",
                "--collect-detailed-traces",
                "all",
            ],
        ),
        (
            &["--collect-detailed-traces=model"],
            vec![
                "--collect-detailed-traces=model",
                "--otlp-traces-endpoint",
                "http://c:4317",
            ],
        ),
        (
            &["--otlp-traces-endpoint=u", "--collect-detailed-traces", "x"],
            vec!["--otlp-traces-endpoint=u", "--collect-detailed-traces", "x"],
        ),
    ];
    for (args, wanted) in table {
        spec["template"]["containers"][0]["args"] = json!(args);
        assert_eq!(
            pod(&spec)["containers"][0]["args"],
            json!(wanted),
            "{args:?}"
        );
    }
    spec["template"]["containers"][0]["env"] =
        json!([{"name": "OTEL_TRACES_SAMPLER", "value": "mine"}]);
    let main = pod(&spec)["containers"][0].clone();
    let env = main["env"].as_array().unwrap();
    let names: Vec<_> = env
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "OTEL_TRACES_SAMPLER",
            "OTEL_SERVICE_NAME",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME",
            "OTEL_RESOURCE_ATTRIBUTES_POD_NAME",
            "OTEL_RESOURCE_ATTRIBUTES",
        ]
    );
    assert_eq!(env[0]["value"], "mine");
    assert_eq!(env[1]["value"], "inference-server-decode");
}

const CLASS: &str = "serving.kserve.io/exp-dra-device-class";
const COUNT: &str = "serving.kserve.io/exp-dra-device-count";
const CEL: &str = "serving.kserve.io/exp-dra-cel-selector";
const CONTAINER: &str = "serving.kserve.io/exp-dra-container-name";

/// Annotations, and which of two containers gets the devices.
type DeviceRow<'a> = (&'a [(&'a str, &'a str)], [bool; 2]);

#[test]
fn devices_are_claimed_for_the_container_that_is_named() {
    let table: [DeviceRow<'_>; 6] = [
        (&[], [false, false]),
        (&[(CONTAINER, "main")], [false, false]),
        (&[(CLASS, "gpu")], [true, false]),
        (&[(CLASS, "gpu"), (CONTAINER, " ")], [true, false]),
        (&[(CLASS, "gpu"), (CONTAINER, "main")], [false, true]),
        (&[(CLASS, "gpu"), (CONTAINER, "other")], [false, false]),
    ];
    for (annotations, claimed) in table {
        let mut spec = spec("hf://m");
        spec["template"]["containers"] = json!([{"name": "side"}, {"name": "main"}]);
        let pod = pod_of(&service(annotations), &spec).unwrap();
        let claims = |at: usize| pod["containers"][at].pointer("/resources/claims").is_some();
        assert_eq!([claims(0), claims(1)], claimed, "{annotations:?}");
        let on = annotations.iter().any(|(key, _)| *key == CLASS);
        assert_eq!(pod.get("resourceClaims").is_some(), on, "{annotations:?}");
    }
}

#[test]
fn a_claim_of_that_name_is_the_users() {
    let mut spec = spec("hf://m");
    let own = json!([{"name": "managed-device", "resourceClaimName": "mine"}]);
    spec["template"]["resourceClaims"] = own.clone();
    let claims = json!({"claims": [{"name": "managed-device", "request": "r"}]});
    spec["template"]["containers"][0]["resources"] = claims.clone();
    let pod = pod_of(&service(&[(CLASS, "gpu")]), &spec).unwrap();
    assert_eq!(pod["resourceClaims"], own);
    assert_eq!(pod["containers"][0]["resources"], claims);
}

#[test]
fn the_claim_template_says_what_the_annotations_say() {
    let table: [(&[(&str, &str)], Value); 4] = [
        (&[(CLASS, " gpu ")], json!({"deviceClassName": "gpu"})),
        (
            &[(CLASS, "gpu"), (COUNT, "1")],
            json!({"deviceClassName": "gpu"}),
        ),
        (
            &[(CLASS, "gpu"), (COUNT, " ")],
            json!({"deviceClassName": "gpu"}),
        ),
        (
            &[(CLASS, "gpu"), (COUNT, "2"), (CEL, "a == 1\n\n  b == 2 \n")],
            json!({
                "deviceClassName": "gpu",
                "count": 2,
                "selectors": [{"cel": {"expression": "a == 1"}}, {"cel": {"expression": "b == 2"}}],
            }),
        ),
    ];
    for (annotations, exactly) in table {
        let objects = desired(&service(annotations), &spec("hf://m"), &Facts::default()).unwrap();
        let template = objects
            .iter()
            .find(|o| o["kind"] == "ResourceClaimTemplate")
            .unwrap();
        assert_eq!(template["metadata"]["name"], "llama-managed-dra");
        assert_eq!(
            template["spec"]["spec"]["devices"]["requests"],
            json!([{"name": "device", "exactly": exactly}]),
            "{annotations:?}"
        );
    }
    for count in ["0", "-1", "x", "1.5"] {
        let refused = pod_of(&service(&[(CLASS, "gpu"), (COUNT, count)]), &spec("hf://m"));
        assert!(matches!(refused, Err(Error::DeviceCount { .. })), "{count}");
    }
}

#[test]
fn queues_networks_and_metrics_are_passed_on_and_other_metadata_is_not() {
    let passed = [
        "kueue.x-k8s.io/pod-group-name",
        "k8s.v1.cni.cncf.io/networks",
        "prometheus.io/scrape",
    ];
    let mut all: Vec<_> = passed.iter().map(|key| (*key, "x")).collect();
    all.extend([
        ("example.com/own", "x"),
        ("leaderworkerset.sigs.k8s.io/exclusive-topology", "x"),
    ]);
    let mut service = service(&all);
    for key in [
        "kueue.x-k8s.io/queue-name",
        "example.com/own",
        "prometheus.io/x",
    ] {
        service.labels.insert(key.to_owned(), "x".to_owned());
    }
    let objects = desired(&service, &spec("hf://m"), &Facts::default()).unwrap();
    let deployment = objects.iter().find(|o| o["kind"] == "Deployment").unwrap();
    for at in ["/metadata", "/spec/template/metadata"] {
        let metadata = deployment.pointer(at).unwrap();
        let annotations = metadata["annotations"].as_object().unwrap();
        let mut keys: Vec<_> = annotations.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut wanted = passed.to_vec();
        wanted.sort_unstable();
        assert_eq!(keys, wanted, "{at}");
        let labels = metadata["labels"].as_object().unwrap();
        assert_eq!(
            labels.get("kueue.x-k8s.io/queue-name"),
            Some(&json!("x")),
            "{at}"
        );
        assert!(!labels.contains_key("example.com/own"), "{at}");
        assert!(!labels.contains_key("prometheus.io/x"), "{at}");
    }
}
