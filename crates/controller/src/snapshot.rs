//! What one pass reads before it computes anything.

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use weir_api::names::{GLOBAL_CONFIG_MAP, Kind, kind, label, value};
use weir_plan::{ObservedGateway, ServiceIdentity};

use crate::apply::{controlled, to_value};
use crate::{Error, Options, api_code};

/// Kinds of children that are listed.
const CHILDREN: [Kind; 4] = [
    kind::DEPLOYMENT,
    kind::CORE_SERVICE,
    kind::SECRET,
    kind::HTTP_ROUTE,
];
/// Label by which gateways name themselves on the Service in front of them.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The service's children as they are.
#[derive(Default)]
pub(crate) struct Children {
    objects: Vec<Value>,
    /// Whether HTTPRoutes can exist in this cluster.
    pub(crate) routes_served: bool,
}

impl Children {
    /// Lists what the service controls.
    pub(crate) async fn read(client: &Client, service: &ServiceIdentity) -> Result<Self, Error> {
        let params =
            ListParams::default().labels(&format!("{}={}", label::PART_OF, value::PART_OF));
        let mut found = Self {
            routes_served: true,
            ..Self::default()
        };
        for kind in CHILDREN {
            let resource = kind.api_resource();
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), &service.namespace, &resource);
            match api.list(&params).await {
                Ok(list) => {
                    let typed = list.items.into_iter().map(|object| typed(&object, kind));
                    found
                        .objects
                        .extend(typed.filter(|object| controlled(object, service)));
                }
                Err(error) if kind == kind::HTTP_ROUTE && api_code(&error) == Some(404) => {
                    found.routes_served = false
                }
                Err(error) => {
                    return Err(Error::api(
                        "list",
                        format!("{} in {}", resource.plural, service.namespace),
                        error,
                    ));
                }
            }
        }
        Ok(found)
    }

    /// Every child.
    pub(crate) fn all(&self) -> &[Value] {
        &self.objects
    }

    /// The child of a kind and name.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects
            .iter()
            .find(|object| object["kind"] == kind.kind && object["metadata"]["name"] == name)
    }
}

/// The object with its type, which lists leave out.
fn typed(object: &DynamicObject, kind: Kind) -> Value {
    let mut object = to_value(object);
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object
}

/// The object, if it and its kind exist.
pub(crate) async fn get(
    client: &Client,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, Error> {
    let resource = kind.api_resource();
    let api: Api<DynamicObject> = if kind.namespaced {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    match api.get_opt(name).await {
        Ok(found) => Ok(found.map(|object| typed(&object, kind))),
        Err(error) if api_code(&error) == Some(404) => Ok(None),
        Err(error) => Err(Error::api(
            "read",
            format!("{} {namespace}/{name}", kind.kind),
            error,
        )),
    }
}

/// The pods of the service.
pub(crate) async fn pods(client: &Client, service: &ServiceIdentity) -> Result<Vec<Value>, Error> {
    /// More pods than this add nothing to a message.
    const LIMIT: u32 = 50;
    let selector = format!(
        "{}={},{}={}",
        label::PART_OF,
        value::PART_OF,
        label::NAME,
        service.name
    );
    let api: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        &service.namespace,
        &kind::POD.api_resource(),
    );
    let list = api
        .list(&ListParams::default().labels(&selector).limit(LIMIT))
        .await;
    let list =
        list.map_err(|error| Error::api("list", format!("pods in {}", service.namespace), error))?;
    Ok(list.items.iter().map(to_value).collect())
}

/// The ConfigMap with the global configuration.
pub(crate) async fn globals(client: &Client, options: &Options) -> Result<Option<Value>, Error> {
    get(
        client,
        kind::CONFIG_MAP,
        &options.system_namespace,
        GLOBAL_CONFIG_MAP,
    )
    .await
}

/// Whether a service account exists.
pub(crate) async fn account_exists(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<bool, Error> {
    Ok(get(client, kind::SERVICE_ACCOUNT, namespace, name)
        .await?
        .is_some())
}

/// Fills in what exists of each gateway: itself, its class, the Service in front of it.
pub(crate) async fn gateways(
    client: &Client,
    gateways: &mut [ObservedGateway],
) -> Result<(), Error> {
    for gateway in gateways {
        let (namespace, name) = (gateway.namespace.as_str(), gateway.name.as_str());
        gateway.object = get(client, kind::GATEWAY, namespace, name).await?;
        let Some(object) = &gateway.object else {
            continue;
        };
        let class = object
            .pointer("/spec/gatewayClassName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        gateway.class_exists =
            !class.is_empty() && get(client, kind::GATEWAY_CLASS, "", class).await?.is_some();
        let resource = kind::CORE_SERVICE.api_resource();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let named = ListParams::default().labels(&format!("{GATEWAY_NAME}={name}"));
        let list = api.list(&named).await;
        let list =
            list.map_err(|error| Error::api("list", format!("services in {namespace}"), error))?;
        let first = list
            .items
            .iter()
            .map(to_value)
            .min_by_key(|s| s["metadata"]["name"].to_string());
        gateway.service = match first {
            Some(service) => Some(service),
            None => get(client, kind::CORE_SERVICE, namespace, name).await?,
        };
    }
    Ok(())
}
