//! What one pass reads before it computes anything: from the cache, never from the server.

use std::collections::HashMap;
use std::sync::Arc;

use kube::api::DynamicObject;
use parking_lot::Mutex;
use serde_json::Value;
use weir_api::names::{Kind, kind, label};
use weir_plan::{ObservedGateway, ServiceIdentity};

use crate::Error;
use crate::apply::{controlled, kind_of, to_value};
use crate::cache::{Cache, version};

/// Kinds of children.
const CHILDREN: [Kind; 16] = [
    kind::DEPLOYMENT,
    kind::LEADER_WORKER_SET,
    kind::CORE_SERVICE,
    kind::SECRET,
    kind::SERVICE_ACCOUNT,
    kind::ROLE,
    kind::ROLE_BINDING,
    kind::RESOURCE_CLAIM_TEMPLATE,
    kind::HTTP_ROUTE,
    kind::INFERENCE_POOL,
    kind::INFERENCE_POOL_ALPHA,
    kind::INFERENCE_MODEL,
    kind::INFERENCE_OBJECTIVE,
    kind::LLM_D_INFERENCE_OBJECTIVE,
    kind::HORIZONTAL_POD_AUTOSCALER,
    kind::SCALED_OBJECT,
];
/// Label by which gateways name themselves on the Service in front of them.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// What the server answered to our writes to services, until the watch has seen it.
#[derive(Default)]
pub(crate) struct Services(Mutex<HashMap<String, Arc<Value>>>);

impl Services {
    /// The service as the watch or our last write has it, whichever is newer.
    pub(crate) fn newest(&self, id: &str, seen: &DynamicObject) -> Arc<Value> {
        let seen = Arc::new(to_value(seen));
        let mut written = self.0.lock();
        match written.get(id) {
            Some(ours) if version(ours) > version(&seen) => ours.clone(),
            Some(_) => {
                written.remove(id);
                seen
            }
            None => seen,
        }
    }

    /// We wrote the service.
    pub(crate) fn wrote(&self, id: &str, object: Arc<Value>) {
        self.0.lock().insert(id.to_owned(), object);
    }

    /// The service is on its way out.
    pub(crate) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }
}

/// The service's children as they are.
#[derive(Default)]
pub(crate) struct Children {
    objects: Vec<Arc<Value>>,
}

impl Children {
    /// Finds what the service controls.
    pub(crate) fn read(cache: &Cache, service: &ServiceIdentity) -> Result<Self, Error> {
        let mut objects = Vec::new();
        for kind in CHILDREN {
            objects.extend(cache.list(kind, &service.namespace, |o| controlled(o, service))?);
        }
        objects.extend(cluster_bindings(cache, service)?);
        Ok(Self { objects })
    }

    /// Every child.
    pub(crate) fn all(&self) -> &[Arc<Value>] {
        &self.objects
    }

    /// The child of a kind and name.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Arc<Value>> {
        self.objects
            .iter()
            .find(|object| kind_of(object) == Some(kind) && object["metadata"]["name"] == name)
    }
}

/// The service's ClusterRoleBindings, which have no owner: one, or two when the usual name was taken once.
pub(crate) fn cluster_bindings(
    cache: &Cache,
    service: &ServiceIdentity,
) -> Result<Vec<Arc<Value>>, Error> {
    let mut found = Vec::new();
    for name in weir_plan::cluster_binding_names(service) {
        let binding = cache.get(kind::CLUSTER_ROLE_BINDING, "", &name)?;
        found.extend(binding.filter(|live| weir_plan::is_cluster_binding_of(service, live)));
    }
    Ok(found)
}

/// A few pods of the service that are not ready.
pub(crate) fn pods(cache: &Cache, service: &ServiceIdentity) -> Result<Vec<Value>, Error> {
    /// More pods than this add nothing to a message.
    const LIMIT: usize = 50;
    let ready = |pod: &Value| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let of_service = |pod: &Value| {
        pod["metadata"]["labels"][label::NAME] == service.name.as_str() && !ready(pod)
    };
    let found = cache.list(kind::POD, &service.namespace, of_service)?;
    Ok(found
        .iter()
        .take(LIMIT)
        .map(|pod| pod.as_ref().clone())
        .collect())
}

/// Fills in what exists of each gateway: itself, its class, the Service in front of it.
pub(crate) fn gateways(cache: &Cache, gateways: &mut [ObservedGateway]) -> Result<(), Error> {
    let owned = |object: Arc<Value>| object.as_ref().clone();
    for gateway in gateways {
        let (namespace, name) = (gateway.namespace.as_str(), gateway.name.as_str());
        gateway.object = cache.get(kind::GATEWAY, namespace, name)?.map(owned);
        let Some(object) = &gateway.object else {
            continue;
        };
        let class = object
            .pointer("/spec/gatewayClassName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        gateway.class_exists =
            !class.is_empty() && cache.get(kind::GATEWAY_CLASS, "", class)?.is_some();
        let labelled = |service: &Value| service["metadata"]["labels"][GATEWAY_NAME] == name;
        let labelled = cache.list(kind::CORE_SERVICE, namespace, labelled)?;
        gateway.service = match labelled.into_iter().next() {
            Some(service) => Some(owned(service)),
            None => cache.get(kind::CORE_SERVICE, namespace, name)?.map(owned),
        };
    }
    Ok(())
}
