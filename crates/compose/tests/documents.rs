//! Every service that users start from, composed: the guide's, the samples', and shapes for KServe's own
//! presets. Kept as reviewed digests.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};

fn shared() -> PathBuf {
    std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    )
}

/// Manifests below a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml") =>
        {
            vec![path]
        }
        false => Vec::new(),
    };
    paths.into_iter().flat_map(below).collect()
}

/// The documents of a file, of the stored version where they are ours.
fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("reads");
    let documents = weir_manifest::parse(&text, "manifest").expect("parses");
    documents
        .into_iter()
        .map(|document| {
            let value = document.value;
            weir_api::convert(value.clone(), "v1alpha2").unwrap_or(value)
        })
        .collect()
}

fn strings(value: &Value) -> String {
    let list = value.as_array().into_iter().flatten();
    let word = |word: &Value| {
        word.as_str()
            .map_or_else(|| word.to_string(), str::to_owned)
    };
    // A script is not for reading here.
    list.map(|one| match word(one) {
        long if long.contains('\n') => "<script>".to_owned(),
        word => word,
    })
    .collect::<Vec<_>>()
    .join(" ")
}

fn listed(value: &Value, line: impl Fn(&Value) -> String) -> String {
    let list = value.as_array().into_iter().flatten();
    list.map(line).collect::<Vec<_>>().join(", ")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The words that an argv gives to `vllm serve` are known to the engine, and none is empty.
fn accepted(container: &Value) {
    let words = [&container["command"], &container["args"]];
    let words = words.into_iter().filter_map(Value::as_array).flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    let Some(start) = words.windows(2).position(|pair| pair == ["vllm", "serve"]) else {
        return;
    };
    // Upstream's scripts stay as they are.
    let known = |word: &&str| {
        if word.starts_with("$(") {
            "1".to_owned()
        } else {
            (*word).to_owned()
        }
    };
    let given: Vec<String> = words.iter().skip(start + 2).map(known).collect();
    assert!(words.iter().all(|word| !word.is_empty()), "{words:?}");
    if let Err(error) = weir_vllm::parse_argv(&given) {
        panic!("{given:?}: {}", error.report());
    }
}

/// What matters of a pod.
fn pod(name: &str, pod: &Value, into: &mut String) {
    for list in ["initContainers", "containers"] {
        for container in pod[list].as_array().into_iter().flatten() {
            let of = if list == "containers" { "" } else { "init " };
            let _ = writeln!(
                into,
                "  {name}: {of}{} {}",
                text(container, "name"),
                text(container, "image")
            );
            accepted(container);
            let env = listed(&container["env"], |one| match one["value"].as_str() {
                Some(value) => format!("{}={value}", text(one, "name")),
                None => format!("{} from elsewhere", text(one, "name")),
            });
            let mounts = listed(&container["volumeMounts"], |one| {
                format!("{} {}", text(one, "name"), text(one, "mountPath"))
            });
            for (what, value) in [
                ("command", strings(&container["command"])),
                ("args", strings(&container["args"])),
                ("env", env),
                ("mounts", mounts),
            ] {
                if !value.is_empty() {
                    let _ = writeln!(into, "    {what}: {value}");
                }
            }
        }
    }
    let volumes = listed(&pod["volumes"], |one| {
        let kind = one
            .as_object()
            .and_then(|o| o.keys().find(|key| *key != "name"));
        format!("{} {}", text(one, "name"), kind.map_or("", String::as_str))
    });
    let _ = writeln!(into, "    volumes: {volumes}");
}

fn digest(name: &str, service: &Value, configs: &[Value], tls: bool) -> String {
    let globals = Globals {
        tls,
        ..Globals::default()
    };
    let find = |_: &str, name: &str| -> Result<Option<Arc<Value>>, String> {
        let found = configs
            .iter()
            .find(|config| config["metadata"]["name"] == name);
        Ok(found.cloned().map(Arc::new))
    };
    let mut service = service.clone();
    if service["metadata"]["namespace"].is_null() {
        service["metadata"]["namespace"] = json!("default");
    }
    let mut into = format!("{name} {}\n", text(&service["metadata"], "name"));
    match combine(&service, &globals, &Naming::default(), find) {
        Err(error) => {
            let _ = writeln!(into, "  refused: {error}");
        }
        Ok(combined) => {
            let spec = &combined.effective.spec;
            assert!(!spec.to_string().contains("{{"), "{name}");
            let _ = writeln!(into, "  applied: {}", combined.effective.applied.join(" "));
            let _ = writeln!(
                into,
                "  model: {} as {}",
                text(&spec["model"], "uri"),
                text(&spec["model"], "name")
            );
            for (of, pointer) in [
                ("main", "/template"),
                ("worker", "/worker"),
                ("prefill", "/prefill/template"),
                ("prefill worker", "/prefill/worker"),
                ("picker", "/router/scheduler/template"),
                ("tokenizer", "/router/scheduler/tokenizer/template"),
            ] {
                if let Some(value) = spec.pointer(pointer) {
                    pod(of, value, &mut into);
                }
            }
            let rules = spec
                .pointer("/router/route/http/spec/rules")
                .unwrap_or(&Value::Null);
            let routes = listed(rules, |rule| {
                let backends = listed(&rule["backendRefs"], |b| text(b, "name").to_owned());
                format!("{} -> {backends}", text(rule, "name"))
            });
            if !routes.is_empty() {
                let _ = writeln!(into, "  rules: {routes}");
            }
            for note in &combined.effective.notes {
                let _ = writeln!(into, "  note: {note}");
            }
        }
    }
    into
}

#[expect(clippy::print_stderr, reason = "skipped tests say so")]
fn services(directory: &str) -> Option<String> {
    let root = shared().join(directory);
    let files = files(&root);
    let mut all = String::new();
    for file in &files {
        let beside = files.iter().filter(|other| other.parent() == file.parent());
        let configs: Vec<Value> = beside.flat_map(|other| documents(other)).collect();
        for document in documents(file) {
            if document["kind"] == "LLMInferenceService" {
                let name = file
                    .strip_prefix(&root)
                    .unwrap_or(file)
                    .display()
                    .to_string();
                all.push_str(&digest(&name, &document, &configs, true));
            }
        }
    }
    if all.is_empty() {
        eprintln!("SKIPPED: {} is absent", root.display());
        return None;
    }
    Some(all)
}

#[test]
fn guide() {
    if let Some(all) = services("guide") {
        insta::assert_snapshot!(all);
    }
}

#[test]
fn samples() {
    if let Some(all) = services("upstream-samples/llmisvc") {
        insta::assert_snapshot!(all);
    }
}

#[test]
fn kserve_s_presets() {
    let files = files(&shared().join("upstream-presets"));
    let presets: Vec<Value> = files.iter().flat_map(|file| documents(file)).collect();
    if presets.is_empty() {
        eprintln!("SKIPPED: no presets of KServe");
        return;
    }
    let main = json!({"containers": [{"name": "main", "args": ["--max-model-len", "4096"]}]});
    let data = json!({"tensor": 1, "data": 4, "dataLocal": 2, "expert": true});
    let picker = |plugin: &str| json!({"config": {"inline": {"plugins": [{"type": plugin}]}}});
    let shapes = [
        (
            "one node",
            json!({"template": main, "router": {"route": {}, "gateway": {}}, "tracing": {}}),
        ),
        (
            "disaggregated",
            json!({
                "template": main, "parallelism": {"tensor": 2},
                "prefill": {"template": main, "parallelism": {"tensor": 4}},
                "router": {"scheduler": picker("token-producer"), "route": {}},
            }),
        ),
        (
            "data parallel",
            json!({
                "template": main, "worker": main, "parallelism": data,
                "router": {"scheduler": picker("predicted-latency-producer")},
            }),
        ),
        (
            "disaggregated and data parallel",
            json!({
                "worker": main, "parallelism": data,
                "prefill": {"worker": main, "parallelism": data},
            }),
        ),
    ];
    let mut all = String::new();
    for (name, mut spec) in shapes {
        spec["model"] = json!({"uri": "hf://org/base", "name": "org/base"});
        let service = json!({"metadata": {"name": "my-llm", "namespace": "demo"}, "spec": spec});
        for tls in [true, false] {
            all.push_str(&digest(
                &format!("{name}, TLS {tls}:"),
                &service,
                &presets,
                tls,
            ));
        }
    }
    insta::assert_snapshot!(all);
}
