//! What wakes a service up: its children, its pods, and what it refers to.

use futures::stream::{self, BoxStream, StreamExt};
use kube::api::{Api, DynamicObject, ResourceExt};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use weir_api::names::{self, Kind, kind, label, value};

use crate::Options;

type Ref = ObjectRef<DynamicObject>;

/// Children: they wake their owner.
const OWNED: [Kind; 4] = [
    kind::DEPLOYMENT,
    kind::CORE_SERVICE,
    kind::SECRET,
    kind::HTTP_ROUTE,
];
/// What services may refer to: every service is looked at again.
const SHARED: [Kind; 4] = [
    kind::CONFIG,
    kind::GATEWAY,
    kind::GATEWAY_CLASS,
    kind::SERVICE_ACCOUNT,
];

/// Adds every trigger to the controller.
pub(crate) fn add(
    mut controller: Controller<DynamicObject>,
    client: &Client,
    store: &Store<DynamicObject>,
    options: &Options,
) -> Controller<DynamicObject> {
    let only = options.namespace.as_deref();
    let ours = watcher::Config::default().labels(&format!("{}={}", label::PART_OF, value::PART_OF));
    for owned in OWNED {
        let refs =
            touched(client, owned, only, ours.clone()).filter_map(|o| async move { owner(&o) });
        controller = controller.reconcile_on(refs);
    }
    let pods = touched(client, kind::POD, only, ours).filter_map(|pod| async move {
        let name = pod.labels().get(label::NAME)?.clone();
        Some(service_ref(&name, &pod.namespace()?))
    });
    controller = controller.reconcile_on(pods);
    for shared in SHARED {
        let store = store.clone();
        let refs = touched(client, shared, None, watcher::Config::default());
        controller = controller.reconcile_on(refs.flat_map(move |_| stream::iter(all(&store))));
    }
    let store = store.clone();
    let name = format!("metadata.name={}", names::GLOBAL_CONFIG_MAP);
    let by_name = watcher::Config::default().fields(&name);
    let globals = touched(
        client,
        kind::CONFIG_MAP,
        Some(&options.system_namespace),
        by_name,
    );
    controller.reconcile_on(globals.flat_map(move |_| stream::iter(all(&store))))
}

/// Objects of a kind as they change or go; a failing watch waits and tries again, alone.
fn touched(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
    config: watcher::Config,
) -> BoxStream<'static, DynamicObject> {
    let api = api(client, kind, namespace);
    watcher(api, config)
        .default_backoff()
        .touched_objects()
        .filter_map(move |event| async move {
            event
                .inspect_err(|error| tracing::debug!(kind = kind.kind, %error, "watch failed"))
                .ok()
        })
        .boxed()
}

/// The objects of a kind in one namespace, or everywhere.
pub(crate) fn api(client: &Client, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = kind.api_resource();
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn all(store: &Store<DynamicObject>) -> Vec<Ref> {
    store
        .state()
        .iter()
        .map(|service| ObjectRef::from_obj_with(service.as_ref(), kind::SERVICE.api_resource()))
        .collect()
}

fn owner(object: &DynamicObject) -> Option<Ref> {
    let owner = object.owner_references().iter().find(|owner| {
        owner.controller == Some(true)
            && owner.kind == names::SERVICE_KIND
            && owner.api_version.starts_with(names::GROUP)
    })?;
    Some(service_ref(&owner.name, &object.namespace()?))
}

fn service_ref(name: &str, namespace: &str) -> Ref {
    ObjectRef::new_with(name, kind::SERVICE.api_resource()).within(namespace)
}

/// `namespace/name`.
pub(crate) fn id(object: &DynamicObject) -> String {
    let meta = object.meta();
    format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    )
}
