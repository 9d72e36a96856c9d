//! Effective specs of whole services.

#![expect(clippy::print_stderr, reason = "skipped tests say so")]

use std::path::Path;

use serde_json::{Value, json};
use weir_compose::{
    Config, Effective, Error, Globals, compose, compose_with_origins, presets, select,
};

fn read(path: &str) -> Option<Value> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let shared = std::env::var("WEIR_SHARED").unwrap_or_else(|_| format!("{root}/../shared"));
    let path = match path.strip_prefix("shared/") {
        Some(rest) => Path::new(&shared).join(rest),
        None => Path::new(root).join(path),
    };
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: {} is absent", path.display());
        return None;
    };
    let mut documents = weir_manifest::parse(&text, "manifest").expect("parses");
    Some(documents.remove(0).value)
}

fn chosen(service: &Value) -> Vec<Config> {
    select(service)
        .into_iter()
        .filter_map(presets::find)
        .cloned()
        .collect()
}

fn effective(service: &Value, globals: &Globals) -> Result<Effective, Error> {
    compose(service, &chosen(service), globals)
}

fn names(spec: &Value, pointer: &str) -> Vec<String> {
    let items = spec.pointer(pointer).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(|i| Some(i["name"].as_str()?.to_owned()))
        .collect()
}

fn command(effective: &Effective) -> String {
    let args = effective
        .spec
        .pointer("/template/containers/0/command")
        .and_then(Value::as_array);
    let args = args.into_iter().flatten().filter_map(Value::as_str);
    args.collect::<Vec<_>>().join(" ")
}

fn service(spec: &Value) -> Value {
    json!({"metadata": {"name": "svc", "namespace": "ns"}, "spec": spec})
}

#[test]
fn own_example() {
    let service = read("examples/basic.yaml").expect("the example is part of the repository");
    let effective = effective(&service, &Globals::default()).expect("composes");
    insta::assert_snapshot!(serde_json::to_string_pretty(&effective.spec).expect("prints"));
    let traced = compose_with_origins(&service, &chosen(&service), &Globals::default());
    let (same, origins) = traced.expect("composes");
    assert_eq!(same, effective);
    let origin = |pointer: &str| origins.get(pointer).map(String::as_str);
    assert_eq!(origin("/replicas"), Some("service"));
    assert_eq!(origin("/template/containers/0/image"), Some("service"));
    assert_eq!(
        origin("/template/containers/0/command/3"),
        Some("kserve-config-llm-template")
    );
}

#[test]
fn guide_and_sample() {
    for path in [
        "shared/guide/1-basic.yaml",
        "shared/upstream-samples/llmisvc/opt-125m-cpu/llm-inference-service-facebook-opt-125m-cpu-no-scheduler.yaml",
    ] {
        let Some(service) = read(path) else { continue };
        let effective = effective(&service, &Globals::default()).expect("composes");
        assert!(!effective.spec.to_string().contains("{{"), "{path}");
        assert_eq!(
            names(&effective.spec, "/router/route/http/spec/rules").len(),
            12,
            "{path}"
        );
        assert_eq!(
            effective.spec["replicas"], service["spec"]["replicas"],
            "{path}"
        );
        let image = "/template/containers/0/image";
        assert_eq!(
            effective.spec.pointer(image),
            service["spec"].pointer(image),
            "{path}"
        );
    }
}

#[test]
fn flags_and_volumes_follow_parallelism_and_tls() {
    let service = service(&json!({"model": {"uri": "hf://a/b"}, "parallelism": {"tensor": 4}}));
    let tls = effective(
        &service,
        &Globals {
            tls: true,
            ..Globals::default()
        },
    )
    .expect("composes");
    assert_eq!(
        command(&tls),
        "vllm serve /mnt/models --served-model-name svc publishers/ns/models/svc --port 8000 \
         --disable-access-log-for-endpoints /health,/metrics,/ping --shutdown-timeout 40 --tensor-parallel-size 4 \
         --enable-ssl-refresh --ssl-certfile /var/run/kserve/tls/tls.crt \
         --ssl-keyfile /var/run/kserve/tls/tls.key"
    );
    assert!(names(&tls.spec, "/template/volumes").contains(&"tls-certs".to_owned()));
    let scheme = "/template/containers/0/readinessProbe/httpGet/scheme";
    assert_eq!(tls.spec.pointer(scheme), Some(&json!("HTTPS")));
    let plain = effective(&service, &Globals::default()).expect("composes");
    // The certificate exists, and is mounted, in either case.
    assert!(names(&plain.spec, "/template/volumes").contains(&"tls-certs".to_owned()));
    assert_eq!(plain.spec.pointer(scheme), Some(&json!("HTTP")));
}

#[test]
fn values_of_a_config_are_seen_by_templates() {
    let config = Config {
        name: "base".to_owned(),
        namespace: "ns".to_owned(),
        spec: json!({
            "model": {"name": "{{ .Name }}-tuned"},
            "parallelism": {"tensor": 2},
        })
        .into(),
    };
    let service = service(&json!({"model": {"uri": "hf://a/b", "name": "svc"}}));
    let mut configs = chosen(&service);
    configs.push(config);
    let (effective, origins) =
        compose_with_origins(&service, &configs, &Globals::default()).expect("composes");
    assert_eq!(
        command(&effective),
        "vllm serve /mnt/models --served-model-name svc-tuned publishers/ns/models/svc-tuned --port 8000 \
         --disable-access-log-for-endpoints /health,/metrics,/ping --shutdown-timeout 40 \
         --tensor-parallel-size 2"
    );
    assert_eq!(
        origins.get("/parallelism/tensor").map(String::as_str),
        Some("ns/base")
    );
}

#[test]
fn errors_name_config_field_and_place() {
    let mut report = String::new();
    for text in [
        "{{ .Spec.Modle.Name }}",
        "{{ .Spec.Parallelism.Tensor }}",
        "{{ foo }}",
        "{{ .X",
    ] {
        let config = Config {
            name: "base".to_owned(),
            namespace: "ns".to_owned(),
            spec: json!({"template": {"containers": [{"name": "main", "args": ["a", text]}]}})
                .into(),
        };
        let service = service(&json!({"model": {"uri": "hf://a/b"}}));
        let error = compose(&service, &[config], &Globals::default()).expect_err(text);
        report.push_str(&format!("{error}\n"));
    }
    let unnamed = json!({"template": {"containers": [{"image": "i"}]}});
    let error = effective(&service(&unnamed), &Globals::default()).expect_err("no name");
    report.push_str(&format!("{error}\n"));
    insta::assert_snapshot!(report);
}

#[test]
fn filled_in_rules_count_as_absent() {
    let rules = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]);
    let route = json!({"http": {"spec": {"hostnames": ["h"], "rules": rules}}});
    let service = service(&json!({"model": {"uri": "hf://a/b"}, "router": {"route": route}}));
    let effective = effective(&service, &Globals::default()).expect("composes");
    assert_eq!(
        names(&effective.spec, "/router/route/http/spec/rules").len(),
        12
    );
}

#[test]
fn preset_files_of_kserve_render() {
    let service = service(&json!({
        "model": {"uri": "hf://a/b", "name": "m"},
        "parallelism": {"tensor": 2, "data": 4, "dataLocal": 2},
        "prefill": {"parallelism": {"tensor": 2, "data": 4}},
        "kvCacheOffloading": {"cpu": "1.5Gi", "evictionPolicy": "lru"},
    }));
    for file in [
        "decode-template",
        "decode-worker-data-parallel",
        "prefill-template",
        "prefill-worker-data-parallel",
        "router-route",
        "scheduler",
        "scheduler-latency-predictor",
        "template",
        "tokenizer",
        "tracing",
        "worker-data-parallel",
    ] {
        let Some(preset) = read(&format!("shared/upstream-presets/config-llm-{file}.yaml")) else {
            continue;
        };
        let config = Config {
            name: file.to_owned(),
            namespace: "kserve".to_owned(),
            spec: preset["spec"].clone().into(),
        };
        let effective = compose(&service, &[config], &Globals::default());
        let text = effective.map(|effective| effective.spec.to_string());
        assert!(
            text.as_ref().is_ok_and(|text| !text.contains("{{")),
            "{file}: {text:?}"
        );
        if file == "template" {
            let text = text.expect("composes");
            assert!(text.contains("--shutdown-timeout 40"), "{text}");
            assert!(
                text.contains("cpu_bytes_to_use\\\\\\\":1610612736"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_user_s_arguments_follow_the_command() {
    let service = service(&json!({
        "model": {"uri": "hf://a/b"},
        "template": {"containers": [{"name": "main", "args": ["--max-model-len", "4096"]}]},
    }));
    let effective = effective(&service, &Globals::default()).expect("composes");
    assert_eq!(
        command(&effective),
        "vllm serve /mnt/models --served-model-name svc publishers/ns/models/svc --port 8000 \
         --disable-access-log-for-endpoints /health,/metrics,/ping --shutdown-timeout 40"
    );
    assert_eq!(
        effective.spec.pointer("/template/containers/0/args"),
        Some(&json!(["--max-model-len", "4096"]))
    );
}
