//! The template of managed device claims, which every pod of the service refers to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{ChildNames, kind};

use crate::pod::claims::DeviceRequest;
use crate::{Error, ServiceIdentity};

/// The claim template that the service's annotations ask for. It cannot be changed, only replaced.
pub(super) fn template(service: &ServiceIdentity) -> Result<Option<Value>, Error> {
    let Some(request) = DeviceRequest::of(service)? else {
        return Ok(None);
    };
    let mut exactly = json!({"deviceClassName": request.class});
    if request.count > 1 {
        exactly["count"] = json!(request.count);
    }
    if !request.selectors.is_empty() {
        let selectors = request.selectors.iter();
        exactly["selectors"] = selectors
            .map(|expression| json!({"cel": {"expression": expression}}))
            .collect();
    }
    let mut metadata = service.metadata(
        &ChildNames::new(&service.name).resource_claim_template(),
        &BTreeMap::new(),
        &BTreeMap::new(),
    );
    if let Some(metadata) = metadata.as_object_mut() {
        // Existing installations have none, and an empty map would be a difference.
        metadata.remove("labels");
    }
    Ok(Some(json!({
        "apiVersion": kind::RESOURCE_CLAIM_TEMPLATE.api_version(),
        "kind": kind::RESOURCE_CLAIM_TEMPLATE.kind,
        "metadata": metadata,
        "spec": {"spec": {"devices": {"requests": [{"name": "device", "exactly": exactly}]}}},
    })))
}
