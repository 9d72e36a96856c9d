//! Upstream's samples, those that are refused as shipped in a corrected form, and what is planned for each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};
use weir_plan::{Certificate, Facts, ServiceIdentity};

/// A service with the configs that lie beside it.
pub(crate) struct Sample {
    /// File, and what was corrected.
    pub(crate) name: String,
    pub(crate) service: Value,
    pub(crate) configs: Vec<Value>,
}

/// All samples; none, and said so, where they are not at hand.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn samples() -> Vec<Sample> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let root = shared.join("upstream-samples/llmisvc");
    if !root.is_dir() {
        eprintln!("SKIPPED: no samples at {}", root.display());
        return Vec::new();
    }
    let files = files(&root);
    let mut samples = Vec::new();
    for file in &files {
        let beside = files.iter().filter(|other| other.parent() == file.parent());
        let configs: Vec<Value> = beside.flat_map(|other| documents(other)).collect();
        for service in documents(file) {
            if service["kind"] == "LLMInferenceService" {
                let name = file.strip_prefix(&root).unwrap_or(file);
                let sample = Sample {
                    name: name.display().to_string(),
                    service,
                    configs: configs.clone(),
                };
                samples.push(corrected(sample));
            }
        }
    }
    samples
}

impl Sample {
    /// The service and its effective spec in a namespace.
    pub(crate) fn effective(&self, namespace: &str) -> Result<(ServiceIdentity, Value), String> {
        let mut service = self.service.clone();
        service["metadata"]["namespace"] = json!(namespace);
        let find = |_: &str, name: &str| -> Result<Option<Arc<Value>>, String> {
            let is = |config: &&Value| {
                config["kind"] == "LLMInferenceServiceConfig" && config["metadata"]["name"] == name
            };
            Ok(self.configs.iter().find(is).cloned().map(Arc::new))
        };
        let globals = Globals {
            tls: true,
            ..Globals::default()
        };
        let combined = combine(&service, &globals, &Naming::default(), find)
            .map_err(|error| error.to_string())?;
        Ok((ServiceIdentity::of(&service), combined.effective.spec))
    }
}

/// A cluster that serves with TLS, and that nobody looked at.
pub(crate) fn facts() -> Facts {
    Facts {
        tls: true,
        certificate: Some(certificate()),
        ..Facts::default()
    }
}

/// All objects of a sample in a namespace.
pub(crate) fn planned(sample: &Sample, namespace: &str) -> Result<Vec<Value>, String> {
    let (identity, spec) = sample.effective(namespace)?;
    weir_plan::desired(&identity, &spec, &facts()).map_err(|error| error.to_string())
}

/// A certificate in form only.
fn certificate() -> Certificate {
    let part = || "LS0tLS0=".to_owned();
    Certificate {
        ca: Some(part()),
        certificate: part(),
        key: part(),
        expiration: None,
    }
}

/// Samples that a cluster refuses, or drops half of, as their authors meant them.
fn corrected(mut sample: Sample) -> Sample {
    let spec = &mut sample.service["spec"];
    // `spec.workload` does not exist.
    if let Some(workload) = spec
        .as_object_mut()
        .and_then(|spec| spec.remove("workload"))
    {
        for (field, value) in workload.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        sample.name.push_str(" (without spec.workload)");
    }
    // An object is wanted, a block of text is given.
    if let Some(inline) = spec.pointer_mut("/router/scheduler/config/inline")
        && let Some(text) = inline.as_str().map(str::to_owned)
    {
        *inline = parse(&text, &sample.name).remove(0);
        sample.name.push_str(" (picker configuration as an object)");
    }
    sample
}

/// Manifests below a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory of samples");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of it").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}

fn parse(text: &str, name: &str) -> Vec<Value> {
    let documents = weir_manifest::parse(text, name);
    documents
        .expect("a sample is YAML")
        .into_iter()
        .map(|document| document.value)
        .collect()
}

/// The documents of a file, of the stored version where they are ours.
fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a sample can be read");
    let convert = |value: Value| weir_api::convert(value.clone(), "v1alpha2").unwrap_or(value);
    let documents = parse(&text, &path.display().to_string());
    documents.into_iter().map(convert).collect()
}
