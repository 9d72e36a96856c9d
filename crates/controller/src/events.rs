//! Events on a service: one object per cause, counted when it repeats.

use std::collections::HashMap;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use weir_api::names::{Kind, kind};
use weir_plan::ServiceIdentity;

use crate::api_code;

/// Who reports.
const COMPONENT: &str = "LLMInferenceServiceController";
/// Longest message the API server takes.
const LONGEST: usize = 1024;

/// Normal or a warning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

/// Reports on a service. A failure to report is logged: it must not stop a pass.
pub(crate) async fn report(
    client: &Client,
    service: &ServiceIdentity,
    severity: Severity,
    reason: &str,
    message: &str,
) {
    report_on(client, (kind::SERVICE, service), severity, reason, message).await;
}

/// Reports on an object of a kind.
pub(crate) async fn report_on(
    client: &Client,
    (kind, object): (Kind, &ServiceIdentity),
    severity: Severity,
    reason: &str,
    message: &str,
) {
    let mut end = message.len().min(LONGEST);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let message = &message[..end];
    if let Err(error) = write(client, (kind, object), severity, reason, message).await {
        tracing::warn!(kind = kind.kind, name = object.name, namespace = object.namespace, reason, %error, "cannot write an event");
    }
}

async fn write(
    client: &Client,
    (of, service): (Kind, &ServiceIdentity),
    severity: Severity,
    reason: &str,
    message: &str,
) -> Result<(), kube::Error> {
    let resource =
        weir_api::kube_core::ApiResource::erase::<k8s_openapi::api::core::v1::Event>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &service.namespace, &resource);
    let digest = Sha256::digest(format!("{}\n{reason}\n{message}", service.uid));
    let short: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("{}.{short}", service.name);
    let now = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let kind = match severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": service.namespace},
        "involvedObject": {
            "apiVersion": of.api_version(),
            "kind": of.kind,
            "name": service.name,
            "namespace": service.namespace,
            "uid": service.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    let event: DynamicObject = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &event).await {
        Err(error) if api_code(&error) == Some(409) => {
            let count = api
                .get(&name)
                .await?
                .data
                .get("count")
                .and_then(Value::as_i64)
                .unwrap_or(1);
            let again = json!({"count": count.saturating_add(1), "lastTimestamp": now});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(again))
                .await
                .map(drop)
        }
        other => other.map(drop),
    }
}

/// What services were warned of last, so that a warning that stands is given once.
#[derive(Default)]
pub(crate) struct Told(Mutex<HashMap<(String, &'static str), Option<String>>>);

impl Told {
    /// Warnings that are remembered at most.
    const REMEMBERED: usize = 16_384;

    /// Whether a warning is to be given now; `None` takes it back. The first look at a service that was looked at
    /// before, by an earlier process, is none.
    pub(crate) fn is_new(
        &self,
        service: &ServiceIdentity,
        reason: &'static str,
        message: Option<&str>,
        looked_at: bool,
    ) -> bool {
        let mut told = self.0.lock();
        if told.len() >= Self::REMEMBERED {
            told.clear();
        }
        let before = told.insert((service.uid.clone(), reason), message.map(str::to_owned));
        match (message, before) {
            (None, _) => false,
            (Some(_), None) => !looked_at,
            (Some(message), Some(before)) => before.as_deref() != Some(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_that_stands_is_given_once() {
        let service = ServiceIdentity::default();
        let told = Told::default();
        let table = [
            (Some("a"), false, true),
            (Some("a"), false, false),
            (Some("b"), true, true),
            (None, true, false),
            (Some("b"), true, true),
        ];
        for (message, looked_at, new) in table {
            assert_eq!(
                told.is_new(&service, "R", message, looked_at),
                new,
                "{message:?}"
            );
        }
        let after_a_restart = Told::default();
        assert!(!after_a_restart.is_new(&service, "R", Some("a"), true));
        assert!(after_a_restart.is_new(&service, "R", Some("b"), true));
    }
}
