//! The objects a machine of its own begins with: namespace, class and Gateway.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use weir_api::names::{
    DEFAULT_GATEWAY as GATEWAY, GATEWAY_CLASS as CLASS, SYSTEM_NAMESPACE as NAMESPACE,
};

use crate::objects::GROUP;
use crate::run::{Error, resource};
use crate::status::CONTROLLER;

/// Marks the Gateway as made here: only then its port follows the listen port.
const MANAGED: &str = "weir.dev/default-gateway";

/// Makes sure that namespace, class and Gateway are there; what a user made of them stays, but the port of
/// a Gateway that was made here follows that of `listen`. Calling it again changes nothing.
///
/// # Errors
/// When the API refuses or cannot be reached, or Gateway API is not installed.
pub async fn ensure_default_objects(client: &Client, listen: SocketAddr) -> Result<(), Error> {
    let port = listen.port();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(NAMESPACE.to_owned());
    present(namespaces.create(&PostParams::default(), &namespace).await)?;

    let class_kind = resource(GROUP, "v1", "GatewayClass", "gatewayclasses");
    let classes: Api<DynamicObject> = Api::all_with(client.clone(), &class_kind);
    let class = DynamicObject::new(CLASS, &class_kind)
        .data(json!({"spec": {"controllerName": CONTROLLER}}));
    present(classes.create(&PostParams::default(), &class).await)?;

    let kind = resource(GROUP, "v1", "Gateway", "gateways");
    let gateways: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &kind);
    let listeners = json!([{
        "name": "http",
        "port": port,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }]);
    let mut gateway = DynamicObject::new(GATEWAY, &kind)
        .within(NAMESPACE)
        .data(json!({"spec": {"gatewayClassName": CLASS, "listeners": listeners}}));
    gateway
        .labels_mut()
        .insert(MANAGED.to_owned(), "true".to_owned());
    if present(gateways.create(&PostParams::default(), &gateway).await)? {
        return Ok(());
    }
    let live = gateways.get(GATEWAY).await?;
    let old = live
        .data
        .pointer("/spec/listeners/0/port")
        .and_then(Value::as_u64);
    if live.labels().contains_key(MANAGED) && old != Some(u64::from(port)) {
        let patch = json!({"spec": {"listeners": listeners}});
        gateways
            .patch(GATEWAY, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
    }
    Ok(())
}

/// Says whether the object was created; one that is there already is as good.
fn present<K>(created: Result<K, kube::Error>) -> Result<bool, Error> {
    match created {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}
