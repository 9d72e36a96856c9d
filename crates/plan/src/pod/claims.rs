//! Managed device claims (DRA): annotations of the service become a claim of every pod.
//!
//! The claim template itself is [`crate::workload::claims`].

use serde_json::{Value, json};
use weir_api::names::{ChildNames, annotation::DRA_PREFIX};

use super::{Context, edit};
use crate::{Error, ServiceIdentity, items};

/// Name of the claim inside a pod.
const CLAIM: &str = "managed-device";

/// What the annotations of a service ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeviceRequest<'a> {
    /// Device class.
    pub(crate) class: &'a str,
    /// Devices a pod.
    pub(crate) count: u32,
    /// Expressions that every device has to meet.
    pub(crate) selectors: Vec<&'a str>,
    /// The container that gets the devices; the first one when `None`.
    pub(crate) container: Option<&'a str>,
}

impl<'a> DeviceRequest<'a> {
    /// Reads the annotations; none without a device class.
    ///
    /// # Errors
    /// When the count is no whole number of at least 1.
    pub(crate) fn of(service: &'a ServiceIdentity) -> Result<Option<Self>, Error> {
        let given = |name: &str| {
            let value = service.annotations.get(&format!("{DRA_PREFIX}{name}"));
            value.map(|value| value.trim()).filter(|it| !it.is_empty())
        };
        let Some(class) = given("device-class") else {
            return Ok(None);
        };
        let count = match given("device-count") {
            None => 1,
            Some(text) => match text.parse::<u32>() {
                Ok(count) if count > 0 => count,
                _ => {
                    return Err(Error::DeviceCount {
                        value: text.to_owned(),
                    });
                }
            },
        };
        let selectors = given("cel-selector").unwrap_or_default();
        Ok(Some(Self {
            class,
            count,
            selectors: selectors
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect(),
            container: given("container-name"),
        }))
    }
}

/// Adds the claim to the pod and to the container that is to have the devices.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let Some(request) = DeviceRequest::of(context.service)? else {
        return Ok(());
    };
    let template = ChildNames::new(&context.service.name).resource_claim_template();
    edit::push_new(
        pod,
        "resourceClaims",
        json!({"name": CLAIM, "resourceClaimTemplateName": template}),
    );
    let containers = items(pod, "/containers");
    let at = match request.container {
        None => 0,
        Some(name) => match containers.iter().position(|c| c["name"] == name) {
            Some(at) => at,
            None => return Ok(()),
        },
    };
    if let Some(container) = pod.pointer_mut(&format!("/containers/{at}")) {
        let resources = container
            .as_object_mut()
            .map(|container| container.entry("resources").or_insert_with(|| json!({})));
        if let Some(resources) = resources {
            edit::push_new(resources, "claims", json!({"name": CLAIM}));
        }
    }
    Ok(())
}
