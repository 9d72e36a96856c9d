//! Reading the recordings: what was there, and what was made of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::kind;
use weir_compose::Search;
use weir_plan::{
    CERTIFICATE_EXPIRATION, Certificate, Facts, RouterFacts, Secret, ServiceIdentity, Settings,
};

use crate::files::{documents, recordings, text};

/// One service of a recorded case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) service: Value,
    /// What was in the namespace beside services.
    pub(crate) stored: Vec<Value>,
    pub(crate) facts: Facts,
    pub(crate) objects: Vec<Object>,
}

impl Search for &Case {
    type Error = String;

    fn config(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, String> {
        Ok(self.find("LLMInferenceServiceConfig", namespace, name))
    }

    fn config_map(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, String> {
        Ok(self.find("ConfigMap", namespace, name))
    }
}

impl Case {
    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        let found = self.stored.iter().find(is);
        found
            .filter(|_| namespace == self.namespace)
            .cloned()
            .map(Arc::new)
    }
}

/// An object by the name that the list gives it: its kind and what follows the service's name.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) value: Value,
}

/// Kinds that are compared.
const KINDS: [&str; 9] = [
    "Deployment",
    "LeaderWorkerSet",
    "Service",
    "Secret",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ResourceClaimTemplate",
    "ConfigMap",
];
/// Names, without that of the service, of objects that belong to the picker.
const PICKER: [&str; 7] = [
    "-kserve-router-scheduler",
    "-epp-service",
    "-epp-sa",
    "-epp-role",
    "-epp-rb",
    "-tokenizer",
    "-kserve-headless-svc",
];

/// Ends of names that may be shortened before.
const SHORTENED: [&str; 7] = [
    "-kserve",
    "-kserve-prefill",
    "-kserve-workload-svc",
    "-kserve-prefill-svc",
    "-kserve-role",
    "-kserve-rb",
    "-kserve-self-signed-certs",
];

/// The objects that are compared, with their names.
pub(crate) fn named(service: &str, objects: Vec<Value>) -> Vec<Object> {
    let child = |suffix: &str| weir_api::names::child(service, suffix);
    objects
        .into_iter()
        .filter_map(|value| {
            let kind = value["kind"].as_str()?.to_owned();
            let name = value["metadata"]["name"].as_str()?;
            let ours = KINDS.contains(&kind.as_str());
            let component = value.pointer("/metadata/labels/app.kubernetes.io~1component");
            let component = component.and_then(Value::as_str).unwrap_or_default();
            if !ours
                || component.starts_with("llminferenceservice-router")
                || PICKER.iter().any(|suffix| child(suffix) == name)
            {
                return None;
            }
            let suffix = match name.strip_prefix(service) {
                Some("-kserve-mn") if kind == "LeaderWorkerSet" => "-lws",
                Some("-kserve-mn-prefill") if kind == "LeaderWorkerSet" => "-lws-prefill",
                Some(suffix) => suffix,
                // A shortened name, or one that has nothing of the service.
                None => SHORTENED
                    .into_iter()
                    .find(|suffix| child(suffix) == name)
                    .unwrap_or(name),
            };
            Some(Object {
                name: format!("{kind}{suffix}"),
                kind,
                value,
            })
        })
        .collect()
}

const POD: &str = "/spec/template/spec";
const LEADER: &str = "/spec/leaderWorkerTemplate/leaderTemplate/spec";
const WORKER: &str = "/spec/leaderWorkerTemplate/workerTemplate/spec";

/// The pods of both objects, with the name that the differ knows them by.
pub(crate) fn pods<'a>(
    ours: &'a Object,
    theirs: &'a Object,
) -> Vec<(&'static str, Option<&'a Value>, Option<&'a Value>)> {
    let prefill = ours.name.contains("prefill");
    let pods: &[(&str, &str)] = match (ours.kind.as_str(), prefill) {
        ("Deployment", false) => &[("main", POD)],
        ("Deployment", true) => &[("prefill", POD)],
        ("LeaderWorkerSet", false) => &[("main", LEADER), ("worker", WORKER)],
        ("LeaderWorkerSet", true) => &[("prefill", LEADER), ("prefill-worker", WORKER)],
        _ => &[],
    };
    pods.iter()
        .map(|(pod, at)| (*pod, ours.value.pointer(at), theirs.value.pointer(at)))
        .collect()
}

/// The object without its pods and without what an API server fills in.
pub(crate) fn shell(object: &Object) -> Value {
    let mut value = object.value.clone();
    for pod in [POD, LEADER, WORKER] {
        if let Some(spec) = value.pointer_mut(pod) {
            *spec = Value::Null;
        }
    }
    let filled: &[(&str, &[&str])] = match object.kind.as_str() {
        "Deployment" => &[(
            "/spec",
            &["progressDeadlineSeconds", "revisionHistoryLimit"],
        )],
        "Service" => &[(
            "/spec",
            &[
                "internalTrafficPolicy",
                "ipFamilies",
                "ipFamilyPolicy",
                "sessionAffinity",
            ],
        )],
        "LeaderWorkerSet" => &[(
            "/spec/leaderWorkerTemplate/subGroupPolicy",
            &["subGroupPolicyType"],
        )],
        "ResourceClaimTemplate" => &[("/spec", &["metadata"])],
        _ => &[],
    };
    for (at, fields) in filled {
        if let Some(map) = value.pointer_mut(at).and_then(Value::as_object_mut) {
            map.retain(|field, _| !fields.contains(&field.as_str()));
        }
    }
    if object.kind == "Deployment" {
        let limits = value.pointer_mut("/spec/strategy/rollingUpdate");
        if let Some(limits) = limits.and_then(Value::as_object_mut)
            && limits.values().any(|limit| limit != "25%")
        {
            limits.retain(|_, limit| limit != "25%");
        }
        let defaults = [
            ("replicas", json!(1)),
            (
                "strategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
            ),
        ];
        for (field, default) in defaults {
            let spec = value["spec"].as_object_mut().unwrap();
            if spec.get(field) == Some(&default) {
                spec.remove(field);
            }
        }
    }
    for request in value
        .pointer_mut("/spec/spec/devices/requests")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let exactly = request["exactly"].as_object_mut().unwrap();
        exactly.remove("allocationMode");
        if exactly.get("count") == Some(&json!(1)) {
            exactly.remove("count");
        }
    }
    value
}

/// All cases with a service and objects; says so where there are none.
pub(crate) fn cases() -> Option<Vec<Case>> {
    let entries = std::fs::read_dir(recordings()?).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    Some(paths.iter().flat_map(|path| read(path)).collect())
}

/// One case for each service.
fn read(path: &Path) -> Vec<Case> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    // What admission refused was never planned.
    if name == "refused-workload" {
        return Vec::new();
    }
    let objects = documents(&path.join("objects.yaml"));
    let namespace = objects
        .iter()
        .find_map(|object| object["metadata"]["namespace"].as_str());
    let Some(namespace) = namespace.map(str::to_owned) else {
        return Vec::new();
    };
    let environment = Environment::read(&path.join("environment.yaml"));
    let (mut services, mut configs, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for mut document in documents(&path.join("input.yaml")) {
        document["metadata"]["namespace"] = json!(namespace);
        let document = weir_api::convert::convert(document.clone(), "serving.kserve.io/v1alpha2")
            .unwrap_or(document);
        match document["kind"].as_str() {
            Some("LLMInferenceService") => services.push(document),
            Some("LLMInferenceServiceConfig") => configs.push(document),
            _ => others.push(document),
        }
    }
    services
        .into_iter()
        .map(|mut service| {
            service["metadata"]["uid"] = json!("<uid>");
            environment.mark(&mut service);
            let own = service["metadata"]["name"].as_str().unwrap();
            let of_service = |object: &Value| {
                let owner = &object["metadata"]["ownerReferences"][0]["name"];
                owner == own || owner.is_null()
            };
            let mut objects: Vec<_> = objects.iter().filter(|o| of_service(o)).cloned().collect();
            objects.iter_mut().for_each(without_quotes);
            Case {
                name: name.clone(),
                namespace: namespace.clone(),
                facts: environment.facts(&others),
                objects: named(own, objects),
                service,
                stored: configs.iter().chain(&others).cloned().collect(),
            }
        })
        .collect()
}

/// Adapters are quoted for a shell only where there is one (workloads 7.2 [FIX]): our presets have none.
fn without_quotes(object: &mut Value) {
    for pod in [POD, LEADER, WORKER] {
        let main = object.pointer_mut(&format!("{pod}/containers"));
        let main = main.and_then(Value::as_array_mut).into_iter().flatten();
        let args = main.filter_map(|container| container.get_mut("args")?.as_array_mut());
        for word in args.flatten() {
            let quoted = word
                .as_str()
                .and_then(|word| word.strip_prefix("'{\"name\":"));
            if let Some(rest) = quoted.and_then(|rest| rest.strip_suffix('\'')) {
                *word = json!(format!("{{\"name\":{rest}"));
            }
        }
    }
}

/// What was there beside the input.
struct Environment {
    settings: Settings,
    objects: Vec<Value>,
    caches: Vec<Value>,
    default_account: Value,
    ca_bundle: Option<String>,
}

impl Environment {
    fn read(path: &Path) -> Self {
        let text = text(path).unwrap_or_default();
        let mut data = json!({
            "ingress": {"enableLLMInferenceServiceTLS": true},
            "storageInitializer": {},
        });
        let (mut caches, mut ca_bundle) = (Vec::new(), None);
        let mut default_account = json!({"metadata": {"name": "default"}});
        for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
            if let Some((_, fields)) = line.split_once("fields that differ: ") {
                let fields: Value = serde_json::from_str(fields).unwrap();
                weir_merge::json_merge_patch(&mut data, &fields);
            } else if let Some(rest) = line.strip_prefix("LocalModelCache ") {
                let (name, rest) = rest.split_once(": sourceModelUri ").unwrap();
                let (source, groups) = rest.split_once(", nodeGroups ").unwrap();
                caches.push(json!({
                    "metadata": {"name": name},
                    "spec": {"sourceModelUri": source, "nodeGroups": list(groups)},
                }));
            } else if let Some(rest) = line.strip_prefix("the namespace account \"default\" has ") {
                for part in rest.split(" and ") {
                    let (field, names) = part.split_once(' ').unwrap();
                    let named = list(names).into_iter().map(|name| json!({"name": name}));
                    default_account[field] = named.collect();
                }
            } else if let Some((_, certificate)) = line.split_once("data cabundle.crt: ") {
                ca_bundle = Some(certificate.to_owned());
            }
        }
        let text = data.as_object().unwrap().iter();
        let data: Value = text
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), json!(value.to_string())))
            .collect();
        Self {
            settings: Settings::read(Some(&json!({"data": data})), "kserve").unwrap(),
            objects: documents(path),
            caches,
            default_account,
            ca_bundle,
        }
    }

    /// Marks the service as admission does.
    fn mark(&self, service: &mut Value) {
        let identity = ServiceIdentity::of(service);
        let uri = service["spec"]["model"]["uri"].as_str().unwrap_or_default();
        let caches = self.settings.local_models.then_some(self.caches.as_slice());
        if let Some(patch) = weir_plan::cache_marks(&identity, uri, caches) {
            weir_merge::json_merge_patch(&mut service["metadata"], &patch);
        }
    }

    fn facts(&self, others: &[Value]) -> Facts {
        let generated = || "<generated>".to_owned();
        let mut accounts =
            BTreeMap::from([("default".to_owned(), Arc::new(self.default_account.clone()))]);
        let mut secrets = BTreeMap::new();
        for object in self.objects.iter().chain(others) {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            match object["kind"].as_str() {
                Some("ServiceAccount") => drop(accounts.insert(name, Arc::new(object.clone()))),
                Some("Secret") => drop(secrets.insert(name, secret(object))),
                _ => {}
            }
        }
        Facts {
            accounts: Some(accounts),
            secrets: Some(secrets),
            ca_bundle: self.ca_bundle.clone(),
            certificate: Some(Certificate {
                ca: Some(generated()),
                certificate: generated(),
                key: generated(),
                expiration: Some((CERTIFICATE_EXPIRATION.to_owned(), generated())),
            }),
            router: RouterFacts {
                served: vec![kind::INFERENCE_POOL, kind::INFERENCE_POOL_ALPHA],
                ..RouterFacts::default()
            },
            ..self.settings.facts()
        }
    }
}

fn list(text: &str) -> Vec<&str> {
    let inner = text.trim_matches(['[', ']']);
    inner.split(", ").filter(|name| !name.is_empty()).collect()
}

fn secret(object: &Value) -> Secret {
    let strings = |at: &str| -> BTreeMap<String, String> {
        let map = object.pointer(at).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect()
    };
    let data = strings("/stringData");
    Secret {
        annotations: strings("/metadata/annotations"),
        keys: data.keys().cloned().collect(),
        texts: data
            .into_iter()
            .filter(|(key, _)| Secret::READABLE.contains(&key.as_str()))
            .collect(),
    }
}
