//! The rules of a service and a config that a schema cannot say, on objects whose types are right.
//!
//! All broken rules are reported, not the first one. Where a service inherits by `baseRefs`, the rules about
//! what is missing wait for the effective spec.

mod accelerators;
mod devices;
mod parallelism;
mod parts;
mod rollout;
mod router;
mod scaling;

pub use parts::part_names;

use serde_json::Value;

use crate::names;

/// What kind of rule is broken, as causes of a refusal name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The value is not allowed.
    Invalid,
    /// Something is missing.
    Required,
    /// Must not be set.
    Forbidden,
    /// The change is not supported.
    NotSupported,
}

impl Broken {
    /// The reason of a cause in a Kubernetes `Status`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "FieldValueInvalid",
            Self::Required => "FieldValueRequired",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotSupported => "FieldValueNotSupported",
        }
    }
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as `spec.prefill.parallelism.data`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// What kind of rule.
    pub broken: Broken,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What was found in one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Broken rules: the object is refused.
    pub errors: Vec<FieldError>,
    /// What is accepted but probably not meant.
    pub warnings: Vec<FieldError>,
}

impl Verdict {
    fn push(&mut self, broken: Broken, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError {
            path: path.into(),
            message: message.into(),
            broken,
        });
    }

    fn invalid(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Broken::Invalid, path, message);
    }

    fn required(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Broken::Required, path, message);
    }

    fn forbidden(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Broken::Forbidden, path, message);
    }

    fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(FieldError {
            path: path.into(),
            message: message.into(),
            broken: Broken::Invalid,
        });
    }
}

/// The broken rules of an object that is created; empty for kinds that are not ours.
#[must_use]
pub fn validate(object: &Value) -> Vec<FieldError> {
    review(object, None).errors
}

/// The whole verdict on an object, which replaces `old` when given.
#[must_use]
pub fn review(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    if object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
    {
        return verdict;
    }
    match object["kind"].as_str() {
        Some(names::SERVICE_KIND) if is_ours(object) => service(object, old, &mut verdict),
        Some(names::CONFIG_KIND) if is_ours(object) => config(object, &mut verdict),
        _ => {}
    }
    verdict
}

/// The verdict on what a service comes to: `effective` is its spec with everything that it inherits, `old` the
/// effective spec that it had before.
///
/// Every rule holds here, those about what is missing too. Only a route that names other gateways than
/// `gateway.refs` is nothing to complain of: a preset's route does, and gets the references of the service.
#[must_use]
pub fn validate_effective(service: &Value, effective: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut whole = service.clone();
    whole["spec"] = effective.clone();
    if let Some(spec) = whole["spec"].as_object_mut() {
        spec.remove("baseRefs");
    }
    spec_rules(&whole, true, &mut verdict);
    if let Some(old) = old {
        parallelism::check_change(old, effective, &mut verdict);
    }
    for list in [&mut verdict.errors, &mut verdict.warnings] {
        list.retain(|found| found.path != "spec.router.route.http.spec");
    }
    verdict
}

fn is_ours(object: &Value) -> bool {
    object["apiVersion"]
        .as_str()
        .and_then(|v| v.strip_prefix(names::GROUP))
        .is_some_and(|v| v.starts_with('/'))
}

fn service(object: &Value, old: Option<&Value>, verdict: &mut Verdict) {
    if old.is_none() {
        name(object, verdict);
    }
    spec_rules(object, false, verdict);
    if let Some(old) = old {
        parallelism::check_change(&old["spec"], &object["spec"], verdict);
    }
}

/// The rules of a service's spec, or of the effective one.
fn spec_rules(object: &Value, is_effective: bool, verdict: &mut Verdict) {
    let spec = &object["spec"];
    let inherits = spec["baseRefs"]
        .as_array()
        .is_some_and(|refs| !refs.is_empty());
    let is_old_version = object["apiVersion"]
        .as_str()
        .is_some_and(|v| v.ends_with(names::OLD_VERSION));
    router::check(spec, is_old_version, verdict);
    for (workload, path) in workloads(spec) {
        parallelism::check(workload, &path, inherits, verdict);
        rollout::check(workload, &path, verdict);
        scaling::check(workload, &path, verdict);
        kv_offloading(workload, &path, verdict);
        accelerators::check(workload, &path, is_effective, verdict);
    }
    verdict.errors.extend(part_names(spec, "spec"));
    scaling::check_pair(spec, verdict);
    devices::check(object, verdict);
    lora(object, verdict);
    confidential(spec, verdict);
    uri(spec, verdict);
    let has_picker = spec["router"]["scheduler"].is_object();
    if spec["prefill"].is_object() && !has_picker && !inherits {
        verdict.warn(
            "spec.prefill",
            "without router.scheduler nothing sends a prompt to a prefill pod first; set router.scheduler: {}",
        );
    }
}

/// The workloads of a spec with their paths: the primary one, and prefill when there.
fn workloads(spec: &Value) -> impl Iterator<Item = (&Value, String)> {
    let prefill = spec.get("prefill").filter(|prefill| prefill.is_object());
    std::iter::once((spec, "spec".to_owned()))
        .chain(prefill.map(|prefill| (prefill, "spec.prefill".to_owned())))
}

fn config(object: &Value, verdict: &mut Verdict) {
    let spec = &object["spec"];
    verdict.errors.extend(part_names(spec, "spec"));
    if spec["baseRefs"]
        .as_array()
        .is_some_and(|refs| !refs.is_empty())
    {
        verdict.forbidden(
            "spec.baseRefs",
            "a config cannot inherit from configs; list them in the service",
        );
    }
    if spec["router"]["scheduler"]["replicas"]
        .as_i64()
        .is_some_and(|replicas| replicas <= 0)
    {
        verdict.invalid(
            "spec.router.scheduler.replicas",
            "scheduler replicas must be greater than zero",
        );
    }
}

fn name(object: &Value, verdict: &mut Verdict) {
    let Some(name) = object["metadata"]["name"].as_str() else {
        return;
    };
    if name.len() > names::MAX_SERVICE_NAME {
        verdict.invalid(
            "metadata.name",
            format!(
                "{} characters are too long: it becomes a label value and part of the names of its objects; use at most {}",
                name.len(),
                names::MAX_SERVICE_NAME
            ),
        );
    }
    let is_label = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-');
    if !is_label {
        verdict.invalid(
            "metadata.name",
            format!(
                "{name:?} cannot name the Service {name}-kserve-workload-svc; use lower-case letters, digits and \
                 hyphens, beginning with a letter"
            ),
        );
    }
}

fn lora(object: &Value, verdict: &mut Verdict) {
    let spec = &object["spec"];
    let lora = &spec["model"]["lora"];
    for field in ["maxRank", "maxAdapters", "maxCpuAdapters"] {
        if lora[field].as_i64().is_some_and(|n| n < 1) {
            verdict.invalid(format!("spec.model.lora.{field}"), "must be at least 1");
        }
    }
    let base = spec["model"]["name"]
        .as_str()
        .or_else(|| object["metadata"]["name"].as_str());
    let mut seen: Vec<&str> = Vec::new();
    for (index, adapter) in lora["adapters"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = format!("spec.model.lora.adapters[{index}].name");
        let Some(name) = adapter["name"].as_str().filter(|name| !name.is_empty()) else {
            verdict.required(path, "an adapter needs a name: requests choose it by that");
            continue;
        };
        if name == "." || name == ".." {
            verdict.invalid(
                path,
                format!("{name:?} names a directory; choose another name"),
            );
            continue;
        }
        if seen.contains(&name) {
            verdict.invalid(
                path.clone(),
                format!("{name:?} names an earlier adapter too; give each its own name"),
            );
        }
        if Some(name) == base {
            verdict.invalid(
                path,
                format!("{name:?} is the name of the base model; give the adapter its own name"),
            );
        }
        seen.push(name);
    }
}

fn kv_offloading(workload: &Value, path: &str, verdict: &mut Verdict) {
    let offloading = &workload["kvCacheOffloading"];
    let tiers = offloading["secondary"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let zero = match &offloading["cpu"] {
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.trim_end_matches(char::is_alphabetic).parse() == Ok(0.0_f64),
        _ => false,
    };
    if zero && !tiers.is_empty() {
        verdict.required(
            format!("{path}.kvCacheOffloading.cpu"),
            "further tiers need host memory in front of them",
        );
    }
    for (index, tier) in tiers.iter().enumerate() {
        let at = format!("{path}.kvCacheOffloading.secondary[{index}].fileSystem");
        let file_system = &tier["fileSystem"];
        match (
            file_system["emptyDir"].is_object(),
            file_system["pvc"].is_object(),
        ) {
            (false, false) => verdict.required(at, "one of emptyDir and pvc is needed"),
            (true, true) => verdict.invalid(at, "emptyDir and pvc are mutually exclusive"),
            (true, false) => {}
            (false, true) => {
                let pvc = &file_system["pvc"];
                match (pvc["spec"].is_object(), pvc["ref"].is_object()) {
                    (false, false) => {
                        verdict.required(format!("{at}.pvc"), "one of spec and ref is needed")
                    }
                    (true, true) => {
                        verdict.invalid(format!("{at}.pvc"), "spec and ref are mutually exclusive")
                    }
                    (false, true) if pvc["ref"]["name"].as_str().is_none_or(str::is_empty) => {
                        verdict.required(format!("{at}.pvc.ref.name"), "the claim needs a name");
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The host part of a URI must not look like a port that is none: clients parse it.
fn uri(spec: &Value, verdict: &mut Verdict) {
    let uri = spec["model"]["uri"].as_str().unwrap_or_default();
    let Some((_, rest)) = uri.split_once("://") else {
        return;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((_, port)) = host.rsplit_once(':')
        && !port.bytes().all(|b| b.is_ascii_digit())
        && !host.ends_with(']')
    {
        verdict.invalid(
            "spec.model.uri",
            format!("{uri:?}: {port:?} is no port; write a colon only before one"),
        );
    }
}

fn confidential(spec: &Value, verdict: &mut Verdict) {
    let confidential = &spec["model"]["confidential"];
    if confidential["enabled"] != true {
        return;
    }
    if let Some(id) = confidential["resourceId"]
        .as_str()
        .filter(|id| !id.is_empty())
    {
        let segments: Vec<_> = id
            .strip_prefix("kbs:///")
            .map(|rest| rest.split('/').collect())
            .unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if segments.len() != 3
            || segments
                .iter()
                .any(|s| s.is_empty() || !s.chars().all(allowed))
        {
            verdict.invalid(
                "spec.model.confidential.resourceId",
                format!("{id:?} is no key id; write kbs:///<repository>/<type>/<tag>"),
            );
        }
    }
    let uri = spec["model"]["uri"].as_str().unwrap_or_default();
    if uri.starts_with("oci://") || uri.starts_with("pvc://") {
        verdict.warn(
            "spec.model.confidential",
            format!("has no effect on {uri:?}: only downloads are decrypted"),
        );
    }
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
