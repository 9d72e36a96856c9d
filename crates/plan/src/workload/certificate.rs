//! The Secret with the serving certificate.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, value};

use crate::{CERTIFICATE_EXPIRATION, Facts, ServiceIdentity};

pub(super) fn secret(service: &ServiceIdentity, facts: &Facts) -> Option<Value> {
    let certificate = facts.certificate.as_ref()?;
    let annotations = BTreeMap::from([(
        CERTIFICATE_EXPIRATION.to_owned(),
        certificate.expiration.clone(),
    )]);
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": service.metadata(
            &ChildNames::new(&service.name).tls_secret(),
            &service.labels(value::COMPONENT_WORKLOAD),
            &annotations,
        ),
        "type": "kubernetes.io/tls",
        "data": {"ca.crt": certificate.ca, "tls.crt": certificate.certificate, "tls.key": certificate.key},
    }))
}
