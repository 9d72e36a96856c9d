//! The Secret with the serving certificate.

use serde_json::{Value, json};
use weir_api::names::{ChildNames, value};

use crate::{Facts, ServiceIdentity};

pub(super) fn secret(service: &ServiceIdentity, facts: &Facts) -> Option<Value> {
    let certificate = facts.certificate.as_ref()?;
    let annotations = certificate.expiration.iter().cloned().collect();
    let mut data = json!({"tls.crt": certificate.certificate, "tls.key": certificate.key});
    if let Some(ca) = &certificate.ca {
        data["ca.crt"] = json!(ca);
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": service.metadata(
            &ChildNames::new(&service.name).tls_secret(),
            &service.labels(value::COMPONENT_WORKLOAD),
            &annotations,
        ),
        "type": "kubernetes.io/tls",
        "data": data,
    }))
}
