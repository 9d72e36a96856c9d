//! Every service that users start from, composed: the guide's, the samples', and shapes for KServe's own
//! presets. Kept as files in `testdata/composed`, see [`kept`].

mod kept;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weir_compose::{Globals, Naming, combine};

use kept::assert_kept;

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

/// The pods of a spec.
const PODS: [&str; 6] = [
    "/template",
    "/worker",
    "/prefill/template",
    "/prefill/worker",
    "/router/scheduler/template",
    "/router/scheduler/tokenizer/template",
];

/// The rules of a route, a line for each: they are much the same everywhere. `effective__own_example.snap` has
/// them in full.
fn shorten_rules(spec: &mut Value) {
    let rules = spec.pointer_mut("/router/route/http/spec/rules");
    for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
        let list = |value: &Value, line: &dyn Fn(&Value) -> String| {
            let list = value.as_array().into_iter().flatten().map(line);
            list.collect::<Vec<_>>().join(", ")
        };
        let matches = list(&rule["matches"], &|one| {
            let path = &one["path"];
            let headers = list(&one["headers"], &|h| {
                format!(" {}={}", text(h, "name"), text(h, "value"))
            });
            format!("{} {}{headers}", text(path, "type"), text(path, "value"))
        });
        let filters = list(&rule["filters"], &|one| {
            let rewrite = one["urlRewrite"]["path"].as_object();
            let to = rewrite.and_then(|path| path.iter().find(|(key, _)| *key != "type"));
            format!(
                "{} {}",
                text(one, "type"),
                to.map_or(&Value::Null, |(_, to)| to)
            )
        });
        let backends = list(&rule["backendRefs"], &|one| {
            let [kind, name] = ["kind", "name"].map(|key| text(one, key));
            format!("{kind} {name}:{} weight {}", one["port"], one["weight"])
        });
        let timeouts = &rule["timeouts"];
        let name = text(rule, "name");
        *rule = json!(format!(
            "{name}: {matches} | {filters} | {backends} | {timeouts}"
        ));
    }
}

/// A script of somebody else's preset stands as its length and digest: that it changed is seen, and what it does is
/// shown by running it (`argv.rs`).
fn fold_scripts(value: &mut Value) {
    match value {
        Value::String(text) if text.lines().count() > 20 && text.contains("vllm serve") => {
            let digest = Sha256::digest(text.as_bytes());
            let digest: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
            *text = format!("a script of {} lines, {digest}", text.lines().count());
        }
        Value::Array(list) => list.iter_mut().for_each(fold_scripts),
        Value::Object(map) => map.values_mut().for_each(fold_scripts),
        _ => {}
    }
}

/// What a service and `configs` come to, as a file for people.
fn composed(from: &str, service: &Value, configs: &[Value], tls: bool) -> String {
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
    let mut into = format!("# {from}, TLS {}\n", if tls { "on" } else { "off" });
    match combine(&service, &globals, &Naming::default(), find) {
        Err(error) => {
            let _ = writeln!(into, "# refused: {error}");
        }
        Ok(combined) => {
            let mut spec = combined.effective.spec;
            assert!(!spec.to_string().contains("{{"), "{from}");
            for pod in PODS {
                let pod = spec.pointer(pod).unwrap_or(&Value::Null);
                for list in ["initContainers", "containers"] {
                    pod[list]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .for_each(accepted);
                }
            }
            let _ = writeln!(into, "# layers: {}", combined.effective.applied.join(", "));
            for note in &combined.effective.notes {
                let _ = writeln!(into, "# note: {note}");
            }
            shorten_rules(&mut spec);
            fold_scripts(&mut spec);
            let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
            serde_saphyr::to_fmt_writer_with_options(&mut into, &spec, options).expect("prints");
        }
    }
    into
}

#[expect(clippy::print_stderr, reason = "skipped tests say so")]
fn services(directory: &str) -> Option<BTreeMap<String, String>> {
    let root = shared().join(directory);
    let files = files(&root);
    let mut all = BTreeMap::new();
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
                let kept = format!(
                    "{}.{}.yaml",
                    file.file_stem()
                        .and_then(|stem| stem.to_str())
                        .unwrap_or_default(),
                    text(&document["metadata"], "name")
                );
                let found = all.insert(kept, composed(&name, &document, &configs, true));
                assert_eq!(found, None, "two documents of one name");
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
        assert_kept("guide", &all);
    }
}

#[test]
fn samples() {
    if let Some(all) = services("upstream-samples/llmisvc") {
        assert_kept("samples", &all);
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
    let mut all = BTreeMap::new();
    for (name, mut spec) in shapes {
        spec["model"] = json!({"uri": "hf://org/base", "name": "org/base"});
        let service = json!({"metadata": {"name": "my-llm", "namespace": "demo"}, "spec": spec});
        for tls in [true, false] {
            let kept = format!(
                "{}{}.yaml",
                name.replace(' ', "-"),
                if tls { "-tls" } else { "" }
            );
            all.insert(kept, composed(name, &service, &presets, tls));
        }
    }
    assert_kept("kserve-presets", &all);
}
