//! Autoscalers of the two workloads.
//!
//! Three flavours: an autoscaler outside the cluster's own (WVA) decides and publishes a metric that an HPA or a
//! ScaledObject follows, or a ScaledObject follows triggers of the user. Kinds and names tell them apart: WVA finds
//! its objects by their annotations.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_api::names::{ChildNames, Kind, condition, kind, reason, value};

use crate::settings::Fields;
use crate::{Facts, Failure, ServiceIdentity, items, present, strings, text, workload};

/// The metric that WVA publishes.
const METRIC: &str = "wva_desired_replicas";
/// Label that tells WVA what a workload runs on.
const ACCELERATOR: &str = "inference.optimization/acceleratorName";
/// Value of [`ACCELERATOR`] where nobody said.
const UNKNOWN: &str = "unknown";

/// Where KEDA reads what WVA publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prometheus {
    /// Its URL, empty when none is configured.
    pub url: String,
    /// Whether its certificate is not checked.
    pub insecure: bool,
    /// How to authenticate.
    pub auth_modes: String,
    /// Object with the credentials.
    pub auth_name: String,
    /// Kind of that object.
    pub auth_kind: String,
}

impl Prometheus {
    /// Reads the key `autoscaling-wva-controller-config`.
    ///
    /// # Errors
    /// Says which field is not what it must be.
    pub(crate) fn read(json: &Fields<'_>) -> Result<Self, String> {
        let field = |name: &str| json.text(&format!("prometheus.{name}"));
        Ok(Self {
            url: field("url")?.unwrap_or_default(),
            insecure: json
                .switch("prometheus.tlsInsecureSkipVerify")?
                .unwrap_or(false),
            auth_modes: field("authModes")?.unwrap_or_default(),
            auth_name: field("triggerAuthName")?.unwrap_or_default(),
            auth_kind: field("triggerAuthKind")?.unwrap_or_default(),
        })
    }
}

/// Why an autoscaler cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScalingError {
    /// KEDA does not know where to read.
    #[error(
        "{field}.wva.keda needs prometheus.url in autoscaling-wva-controller-config of the ConfigMap inferenceservice-config"
    )]
    NoPrometheus {
        /// Path of the scaling.
        field: &'static str,
    },
    /// Half of an authentication is configured.
    #[error(
        "prometheus.authModes and prometheus.triggerAuthName of autoscaling-wva-controller-config in the ConfigMap inferenceservice-config go together: set both or none"
    )]
    HalfAuthentication,
}

/// The primary or the prefill workload.
struct Workload {
    prefill: bool,
    /// Where its spec is.
    pointer: &'static str,
    field: &'static str,
    condition: &'static str,
}

const WORKLOADS: [Workload; 2] = [
    Workload {
        prefill: false,
        pointer: "",
        field: "spec.scaling",
        condition: condition::SCALING_READY,
    },
    Workload {
        prefill: true,
        pointer: "/prefill",
        field: "spec.prefill.scaling",
        condition: condition::PREFILL_SCALING_READY,
    },
];

impl Workload {
    fn scaling<'a>(&self, spec: &'a Value) -> Option<&'a Value> {
        let scaling = spec.pointer(&format!("{}/scaling", self.pointer));
        scaling.filter(|scaling| scaling.is_object())
    }

    /// Kind and name of its autoscaler.
    fn actuator(&self, service: &ServiceIdentity, scaling: &Value) -> (Kind, String) {
        let names = ChildNames::new(&service.name);
        let by_hpa = present(scaling, "/wva/hpa");
        match (by_hpa, self.prefill) {
            (true, false) => (kind::HORIZONTAL_POD_AUTOSCALER, names.hpa()),
            (true, true) => (kind::HORIZONTAL_POD_AUTOSCALER, names.prefill_hpa()),
            (false, false) => (kind::SCALED_OBJECT, names.scaled_object()),
            (false, true) => (kind::SCALED_OBJECT, names.prefill_scaled_object()),
        }
    }
}

/// The autoscalers.
pub(crate) fn objects(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, ScalingError> {
    let mut objects = Vec::new();
    for workload in WORKLOADS {
        if let Some(scaling) = workload.scaling(spec) {
            objects.push(object(service, spec, facts, &workload, scaling)?);
        }
    }
    Ok(objects)
}

fn object(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
    of: &Workload,
    scaling: &Value,
) -> Result<Value, ScalingError> {
    let (kind, name) = of.actuator(service, scaling);
    let by_wva = present(scaling, "/wva");
    let mut labels = service.labels(value::COMPONENT_WORKLOAD);
    let mut annotations = BTreeMap::new();
    if by_wva {
        let own = strings(spec.pointer(&format!("{}/labels", of.pointer)));
        let accelerator = own.get(ACCELERATOR).filter(|name| !name.is_empty());
        let accelerator = accelerator.map_or(UNKNOWN, String::as_str);
        labels.insert(ACCELERATOR.to_owned(), accelerator.to_owned());
        let model = match text(spec, "/model/name") {
            "" => text(spec, "/model/uri"),
            name => name,
        };
        let cost = text(scaling, "/wva/variantCost");
        for (key, value) in [
            ("managed", "true"),
            ("model-id", model),
            ("variant-cost", cost),
        ] {
            if !value.is_empty() {
                annotations.insert(format!("llm-d.ai/{key}"), value.to_owned());
            }
        }
    }
    let grouped = present(spec, &format!("{}/worker", of.pointer));
    let (target, target_name) = workload::object_of(service, of.prefill, grouped, &facts.live);
    let target = json!({
        "apiVersion": target.api_version(),
        "kind": target.kind,
        "name": target_name,
    });
    let body = if kind == kind::HORIZONTAL_POD_AUTOSCALER {
        hpa(&name, &target, scaling)
    } else {
        scaled_object(service, &name, target, scaling, &facts.prometheus, of.field)?
    };
    Ok(json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": service.metadata(&name, &labels, &annotations),
        "spec": body,
    }))
}

fn least(scaling: &Value) -> Value {
    let least = scaling.get("minReplicas").filter(|least| least.is_number());
    least.cloned().unwrap_or_else(|| json!(1))
}

fn hpa(name: &str, target: &Value, scaling: &Value) -> Value {
    let mut body = json!({
        "scaleTargetRef": target,
        "minReplicas": least(scaling),
        "maxReplicas": scaling["maxReplicas"],
        "metrics": [{
            "type": "External",
            "external": {
                "metric": {"name": METRIC, "selector": {"matchLabels": {"variant_name": name}}},
                "target": {"type": "Value", "value": "1"},
            },
        }],
    });
    if let Some(behavior) = scaling
        .pointer("/wva/hpa/behavior")
        .filter(|one| one.is_object())
    {
        body["behavior"] = behavior.clone();
    }
    body
}

fn scaled_object(
    service: &ServiceIdentity,
    name: &str,
    target: Value,
    scaling: &Value,
    prometheus: &Prometheus,
    field: &'static str,
) -> Result<Value, ScalingError> {
    const PASSED_THROUGH: [&str; 6] = [
        "pollingInterval",
        "cooldownPeriod",
        "initialCooldownPeriod",
        "idleReplicaCount",
        "fallback",
        "advanced",
    ];
    let direct = scaling.get("keda").filter(|keda| keda.is_object());
    let keda = direct
        .or_else(|| scaling.pointer("/wva/keda"))
        .unwrap_or(&Value::Null);
    let mut body = Map::new();
    body.insert("scaleTargetRef".to_owned(), target);
    body.insert("minReplicaCount".to_owned(), least(scaling));
    body.insert("maxReplicaCount".to_owned(), scaling["maxReplicas"].clone());
    for key in PASSED_THROUGH {
        if let Some(value) = keda.get(key).filter(|value| !value.is_null()) {
            body.insert(key.to_owned(), value.clone());
        }
    }
    let triggers = match direct {
        Some(direct) => json!(items(direct, "/triggers")),
        None => json!([wva_trigger(service, name, prometheus, field)?]),
    };
    body.insert("triggers".to_owned(), triggers);
    Ok(Value::Object(body))
}

fn wva_trigger(
    service: &ServiceIdentity,
    name: &str,
    prometheus: &Prometheus,
    field: &'static str,
) -> Result<Value, ScalingError> {
    if prometheus.url.is_empty() {
        return Err(ScalingError::NoPrometheus { field });
    }
    if prometheus.auth_modes.is_empty() != prometheus.auth_name.is_empty() {
        return Err(ScalingError::HalfAuthentication);
    }
    let mut trigger = json!({
        "type": "prometheus",
        "name": METRIC.replace('_', "-"),
        "metadata": {
            "serverAddress": prometheus.url,
            "query": format!("{METRIC}{{variant_name=\"{name}\",exported_namespace=\"{}\"}}", service.namespace),
            "threshold": "1",
            "unsafeSsl": prometheus.insecure.to_string(),
        },
    });
    if !prometheus.auth_modes.is_empty() {
        trigger["metadata"]["authModes"] = json!(prometheus.auth_modes);
        trigger["authenticationRef"] =
            json!({"name": prometheus.auth_name, "kind": prometheus.auth_kind});
    }
    Ok(trigger)
}

/// Names the kind of a planned autoscaler that the cluster does not have.
#[must_use]
pub fn scaling_not_served(objects: &[Value], served: impl Fn(Kind) -> bool) -> Option<Failure> {
    let kinds = [kind::HORIZONTAL_POD_AUTOSCALER, kind::SCALED_OBJECT];
    let planned = |kind: &Kind| objects.iter().any(|object| object["kind"] == kind.kind);
    let missing = kinds
        .into_iter()
        .find(|kind| planned(kind) && !served(*kind))?;
    Some(Failure {
        condition: condition::MAIN_WORKLOAD_READY,
        reason: reason::SCALING_CRD_NOT_FOUND,
        message: format!(
            "this cluster does not serve {} of {}: install it, or scale in another way",
            missing.kind,
            missing.api_version()
        ),
    })
}

/// What the status tells of autoscalers that cannot be planned or written.
#[must_use]
pub fn scaling_failure(error: &dyn std::fmt::Display) -> Failure {
    Failure {
        condition: condition::MAIN_WORKLOAD_READY,
        reason: reason::RECONCILE_SCALING_ERROR,
        message: error.to_string(),
    }
}

/// Whether an autoscaler works, as it says itself.
pub(crate) enum Scaling {
    /// It does.
    Ready,
    /// It does not, or does not say so.
    NotReady {
        /// One word.
        reason: String,
        /// The cause.
        message: String,
    },
}

/// Condition and state of each workload's autoscaler; no state where there is none to be.
pub(crate) fn states(
    service: &ServiceIdentity,
    spec: &Value,
    live: &[Arc<Value>],
) -> [(&'static str, Option<Scaling>); 2] {
    WORKLOADS.map(|workload| {
        let state = workload.scaling(spec).map(|scaling| {
            let (kind, name) = workload.actuator(service, scaling);
            let object = workload::find(live, kind, &name);
            if kind == kind::HORIZONTAL_POD_AUTOSCALER {
                hpa_state(object)
            } else {
                scaled_object_state(object)
            }
        });
        (workload.condition, state)
    })
}

fn failed(one: &Value) -> Scaling {
    Scaling::NotReady {
        reason: text(one, "/reason").to_owned(),
        message: text(one, "/message").to_owned(),
    }
}

fn awaited(reason: &str, message: &str) -> Scaling {
    Scaling::NotReady {
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn hpa_state(object: Option<&Value>) -> Scaling {
    let Some(object) = object else {
        return awaited(reason::HPA_PROGRESSING, "");
    };
    let mut told = items(object, "/status/conditions")
        .iter()
        .filter(|one| matches!(text(one, "/type"), "AbleToScale" | "ScalingActive"))
        .peekable();
    if told.peek().is_none() {
        return awaited(reason::HPA_PROGRESSING, "HPA conditions not yet available");
    }
    told.find(|one| one["status"] == "False")
        .map_or(Scaling::Ready, failed)
}

fn scaled_object_state(object: Option<&Value>) -> Scaling {
    let Some(object) = object else {
        return awaited(reason::SCALED_OBJECT_PROGRESSING, "");
    };
    let conditions = items(object, "/status/conditions");
    let find = |kind: &str| conditions.iter().find(|one| one["type"] == kind);
    let all = ["Active", "Fallback", "Paused"]
        .iter()
        .all(|kind| find(kind).is_some());
    let Some(ready) = find("Ready").filter(|_| all) else {
        let message = "ScaledObject conditions not yet available";
        return awaited(reason::SCALED_OBJECT_PROGRESSING, message);
    };
    match text(ready, "/status") {
        "True" => Scaling::Ready,
        "False" => failed(ready),
        _ => awaited(reason::SCALED_OBJECT_PROGRESSING, text(ready, "/message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaler_is_believed_only_when_it_says_enough() {
        let conditions = |list: &[(&str, &str)]| {
            let list: Vec<Value> = list
                .iter()
                .map(|(kind, status)| json!({"type": kind, "status": status, "reason": "R"}))
                .collect();
            json!({"status": {"conditions": list}})
        };
        let reason = |state: Scaling| match state {
            Scaling::Ready => "ready".to_owned(),
            Scaling::NotReady { reason, .. } => reason,
        };
        let hpa: [(&[(&str, &str)], &str); 5] = [
            (&[], "HPAProgressing"),
            (&[("ScalingLimited", "False")], "HPAProgressing"),
            (&[("AbleToScale", "True")], "ready"),
            (&[("AbleToScale", "True"), ("ScalingActive", "False")], "R"),
            (&[("ScalingActive", "Unknown")], "ready"),
        ];
        for (list, want) in hpa {
            assert_eq!(reason(hpa_state(Some(&conditions(list)))), want, "{list:?}");
        }
        assert_eq!(reason(hpa_state(None)), "HPAProgressing");
        let others = [
            ("Active", "False"),
            ("Fallback", "False"),
            ("Paused", "Unknown"),
        ];
        for (ready, want) in [
            ("True", "ready"),
            ("False", "R"),
            ("Unknown", "ScaledObjectProgressing"),
        ] {
            let mut list = others.to_vec();
            list.push(("Ready", ready));
            assert_eq!(reason(scaled_object_state(Some(&conditions(&list)))), want);
        }
        let half = conditions(&[("Ready", "True"), ("Active", "True")]);
        assert_eq!(
            reason(scaled_object_state(Some(&half))),
            "ScaledObjectProgressing"
        );
    }

    #[test]
    fn credentials_of_prometheus_are_whole_or_absent() {
        let service = ServiceIdentity::default();
        let half = Prometheus {
            url: "http://p".to_owned(),
            auth_modes: "bearer".to_owned(),
            ..Prometheus::default()
        };
        let trigger = wva_trigger(&service, "n", &half, "spec.scaling");
        assert_eq!(trigger, Err(ScalingError::HalfAuthentication));
        let none = wva_trigger(&service, "n", &Prometheus::default(), "spec.scaling");
        assert!(matches!(none, Err(ScalingError::NoPrometheus { .. })));
    }
}
