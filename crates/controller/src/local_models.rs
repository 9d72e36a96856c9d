//! Marks services whose model the nodes hold already, see [`weir_plan::cache_marks`].
//!
//! Admission does the same for a service that names its model itself, where it is installed; one that takes it from
//! a base reference is known only here. A service is looked at when it was written, and when its marks are those of
//! another model: a cache that comes later restarts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use weir_api::names::kind;
use weir_plan::{ServiceIdentity, Settings};

use crate::apply::to_value;
use crate::{Context, Error, combine, watch};

/// The service with the marks that it should have; they are written if they are new. Also answers what it comes to,
/// where that had to be known and the marks did not change.
pub(crate) async fn mark(
    context: &Context,
    live: Arc<Value>,
    settings: &Settings,
    pinned: &BTreeMap<String, String>,
) -> Result<(Arc<Value>, Option<combine::Outcome>), Error> {
    let service = ServiceIdentity::of(&live);
    let marked = weir_plan::cache_marks(&service, "", None).is_some();
    if weir_plan::stopped(&service) || !(settings.local_models || marked) {
        return Ok((live, None));
    }
    let outcome = combine::effective(context, &live, settings, pinned).await?;
    // A spec that does not come together has no model.
    let Ok(combined) = &outcome else {
        return Ok((live, Some(outcome)));
    };
    let uri = combined.spec.pointer("/model/uri");
    let uri = uri.and_then(Value::as_str).unwrap_or_default();
    let written =
        live.pointer("/metadata/generation") != live.pointer("/status/observedGeneration");
    if !written && weir_plan::cache_marks_fit(&service, uri) {
        return Ok((live, Some(outcome)));
    }
    let mut caches = Vec::new();
    if settings.local_models {
        let namespace = &service.namespace;
        let own = (kind::LOCAL_MODEL_NAMESPACE_CACHE, namespace.as_str());
        for (kind, namespace) in [own, (kind::LOCAL_MODEL_CACHE, "")] {
            let found = context.cache.list(kind, namespace, |_| true)?;
            caches.extend(found.iter().map(|cache| cache.as_ref().clone()));
        }
    }
    let caches = settings.local_models.then_some(caches.as_slice());
    let Some(patch) = weir_plan::cache_marks(&service, uri, caches) else {
        return Ok((live, Some(outcome)));
    };
    let id = format!("{}/{}", service.namespace, service.name);
    let api: Api<DynamicObject> =
        watch::api(&context.client, kind::SERVICE, Some(&service.namespace));
    let patch = Patch::Merge(json!({"metadata": patch}));
    let answer = api
        .patch(&service.name, &PatchParams::default(), &patch)
        .await
        .map_err(|e| Error::api("mark", id.as_str(), e))?;
    let answer = Arc::new(to_value(&answer));
    context.services.wrote(&id, answer.clone());
    Ok((answer, None))
}
