//! What a pod asks for that has no effect on one machine: said once for each pod template.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Templates remembered; beyond it everything may be said once more.
const MOST: usize = 4096;

/// The templates that have been told.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashSet<String>>);

impl Told {
    /// The message for the template of `pod`, the first time.
    pub(crate) fn message(&self, pod: &Value) -> Option<String> {
        let found = ineffective(pod);
        if found.is_empty() {
            return None;
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST {
            told.clear();
        }
        told.insert(template(pod))
            .then(|| format!("recorded, no effect on one machine: {}", found.join(", ")))
    }
}

/// Pods of one owner and one template hash have one template.
fn template(pod: &Value) -> String {
    let metadata = &pod["metadata"];
    let owner = metadata["ownerReferences"][0]["uid"].as_str();
    let hash = metadata["labels"]["pod-template-hash"].as_str();
    match owner {
        Some(owner) => format!("{owner}/{}", hash.unwrap_or_default()),
        None => metadata["uid"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Fields of a pod that are only recorded.
fn ineffective(pod: &Value) -> Vec<&'static str> {
    let spec = &pod["spec"];
    let filled = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    let containers = ["initContainers", "containers"]
        .iter()
        .flat_map(|field| spec[field].as_array().into_iter().flatten());
    let mut resources = containers.map(|container| &container["resources"]);
    let mut found = Vec::new();
    if resources.any(|of| filled(&of["limits"]) || filled(&of["requests"])) {
        found.push("resources");
    }
    // What every API server adds by itself is nobody's wish.
    let asked = |toleration: &&Value| {
        !toleration["key"]
            .as_str()
            .is_some_and(|key| key.starts_with("node.kubernetes.io/"))
    };
    let tolerations = spec["tolerations"].as_array();
    if tolerations.is_some_and(|list| list.iter().any(|toleration| asked(&toleration))) {
        found.push("tolerations");
    }
    for field in [
        "nodeSelector",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
        "runtimeClassName",
    ] {
        if filled(&spec[field]) {
            found.push(field);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_told_once() {
        let pod = |owner: &str| {
            json!({"metadata": {"uid": "p", "ownerReferences": [{"uid": owner}]},
                   "spec": {"nodeSelector": {"gpu": "yes"}, "affinity": {}, "tolerations": [
                                {"key": "node.kubernetes.io/not-ready"}],
                            "containers": [{"resources": {"limits": {"nvidia.com/gpu": 1}}}]}})
        };
        let told = Told::default();
        assert_eq!(
            told.message(&pod("a")).as_deref(),
            Some("recorded, no effect on one machine: resources, nodeSelector")
        );
        assert_eq!(told.message(&pod("a")), None);
        assert!(told.message(&pod("b")).is_some());
        assert_eq!(told.message(&json!({"spec": {"containers": [{}]}})), None);
    }
}
