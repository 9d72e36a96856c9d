//! Reading the recordings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use weir_compose::Search;

/// One case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) tls: bool,
    pub(crate) service: Value,
    pub(crate) configs: Vec<Value>,
    pub(crate) maps: Vec<Value>,
    /// Pods by the name that the list gives them.
    pub(crate) pods: BTreeMap<&'static str, Value>,
}

fn documents(path: &Path) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Vec::new();
    };
    let documents = weir_manifest::parse(&text, "recording").expect("parses");
    documents
        .into_iter()
        .map(|document| document.value)
        .collect()
}

impl Search for &Case {
    type Error = String;

    fn config(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, String> {
        Ok(self.find(&self.configs, namespace, name))
    }

    fn config_map(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, String> {
        Ok(self.find(&self.maps, namespace, name))
    }
}

impl Case {
    fn find(&self, objects: &[Value], namespace: &str, name: &str) -> Option<Arc<Value>> {
        let is = |object: &&Value| object["metadata"]["name"] == name;
        let found = objects.iter().find(is);
        found
            .filter(|_| namespace == self.namespace)
            .cloned()
            .map(Arc::new)
    }
}

/// All cases with a service and objects; says so where there are none.
pub(crate) fn cases() -> Option<Vec<Case>> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let goldens = shared.join("goldens/controller");
    let Ok(entries) = std::fs::read_dir(&goldens) else {
        eprintln!("SKIPPED: no recordings at {}", goldens.display());
        return None;
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    Some(paths.iter().flat_map(|path| read(path)).collect())
}

/// One case a service.
fn read(path: &Path) -> Vec<Case> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let objects = documents(&path.join("objects.yaml"));
    let Some(namespace) = objects
        .iter()
        .find_map(|object| object["metadata"]["namespace"].as_str())
    else {
        return Vec::new();
    };
    let environment = std::fs::read_to_string(path.join("environment.yaml")).unwrap_or_default();
    let tls = !environment.contains("\"enableLLMInferenceServiceTLS\": false");
    let mut services = Vec::new();
    let (mut configs, mut maps) = (Vec::new(), Vec::new());
    for mut document in documents(&path.join("input.yaml")) {
        document["metadata"]["namespace"] = Value::from(namespace);
        let document = weir_api::convert::convert(document.clone(), "serving.kserve.io/v1alpha2")
            .unwrap_or(document);
        match document["kind"].as_str() {
            Some("LLMInferenceService") => services.push(document),
            Some("LLMInferenceServiceConfig") => configs.push(document),
            Some("ConfigMap") => maps.push(document),
            _ => {}
        }
    }
    services
        .into_iter()
        .map(|service| Case {
            name: name.clone(),
            namespace: namespace.to_owned(),
            tls,
            pods: pods(&service, &objects),
            service,
            configs: configs.clone(),
            maps: maps.clone(),
        })
        .collect()
}

fn pods(service: &Value, objects: &[Value]) -> BTreeMap<&'static str, Value> {
    let own = service["metadata"]["name"].as_str().unwrap_or_default();
    let child = |suffix: &str| weir_api::names::child(own, suffix);
    let one = "/spec/template/spec";
    let leader = "/spec/leaderWorkerTemplate/leaderTemplate/spec";
    let worker = "/spec/leaderWorkerTemplate/workerTemplate/spec";
    let wanted = [
        ("main", "Deployment", "-kserve", one),
        ("main", "LeaderWorkerSet", "-kserve-mn", leader),
        ("worker", "LeaderWorkerSet", "-kserve-mn", worker),
        ("prefill", "Deployment", "-kserve-prefill", one),
        ("prefill", "LeaderWorkerSet", "-kserve-mn-prefill", leader),
        (
            "prefill-worker",
            "LeaderWorkerSet",
            "-kserve-mn-prefill",
            worker,
        ),
        ("picker", "Deployment", "-kserve-router-scheduler", one),
        ("tokenizer", "Deployment", "-tokenizer", one),
    ];
    let find = |(pod, kind, suffix, pointer): (&'static str, &str, &str, &str)| {
        let name = child(suffix);
        let object = objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)?;
        Some((pod, object.pointer(pointer)?.clone()))
    };
    wanted.into_iter().filter_map(find).collect()
}
