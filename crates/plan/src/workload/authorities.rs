//! The cluster's certificate authorities, copied to where download containers can mount them.

use serde_json::{Value, json};
use weir_api::names::kind;

use crate::{CA_BUNDLE_KEY, Facts, GLOBAL_CA_BUNDLE, ServiceIdentity};

/// The copy, if the cluster has authorities of its own. It serves every service of the namespace: it has no owner
/// and outlives them.
pub(super) fn copy(service: &ServiceIdentity, facts: &Facts) -> Option<Value> {
    let bundle = facts.ca_bundle.as_ref()?;
    Some(json!({
        "apiVersion": kind::CONFIG_MAP.api_version(),
        "kind": kind::CONFIG_MAP.kind,
        "metadata": {"name": GLOBAL_CA_BUNDLE, "namespace": service.namespace},
        "data": {CA_BUNDLE_KEY: bundle},
    }))
}
