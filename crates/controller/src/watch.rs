//! What wakes a service up: its children, its pods, and what it refers to.

use std::sync::Arc;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::api::{Api, DynamicObject, ResourceExt};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_of};
use kube::{Client, Resource};
use weir_api::names::{self, Kind, kind, label, value};

use crate::{Context, Options, api_code, cache, pickers, snapshot};

pub(crate) type Ref = ObjectRef<DynamicObject>;

/// Adds every trigger to the controller, and fills the cache on the way.
pub(crate) fn add(
    mut controller: Controller<DynamicObject>,
    context: &Arc<Context>,
    store: &Store<DynamicObject>,
) -> Controller<DynamicObject> {
    for kind in cache::KINDS {
        controller = controller.reconcile_on(follow(context, kind, store.clone()));
    }
    controller.reconcile_on(pickers::follow(context))
}

/// Where a kind is looked at, and which of its objects.
fn scope(kind: Kind, options: &Options) -> (Option<&str>, watcher::Config) {
    let only = options.namespace.as_deref();
    let config = watcher::Config::default();
    let ours = || format!("{}={}", label::PART_OF, value::PART_OF);
    match kind {
        kind::DEPLOYMENT
        | kind::LEADER_WORKER_SET
        | kind::SECRET
        | kind::POD
        | kind::ROLE
        | kind::ROLE_BINDING
        | kind::INFERENCE_MODEL
        | kind::INFERENCE_OBJECTIVE
        | kind::LLM_D_INFERENCE_OBJECTIVE
        | kind::HORIZONTAL_POD_AUTOSCALER
        | kind::SCALED_OBJECT => (only, config.labels(&ours())),
        kind::CLUSTER_ROLE_BINDING => (None, config.labels(&ours())),
        kind::SERVICE => (only, config.labels(label::ROUTING_GROUP)),
        // Existing installations have claim templates without labels.
        kind::HTTP_ROUTE
        | kind::SERVICE_ACCOUNT
        | kind::RESOURCE_CLAIM_TEMPLATE
        | kind::INFERENCE_POOL
        | kind::INFERENCE_POOL_ALPHA
        | kind::LOCAL_MODEL_NAMESPACE_CACHE => (only, config),
        // The global configuration, and the authorities that it names.
        kind::CONFIG_MAP => (Some(options.system_namespace.as_str()), config),
        // Gateways, the Services in front of them and shared configs live anywhere.
        _ => (None, config),
    }
}

/// The services that a change of one kind wakes up. A failing watch waits and tries again, alone.
fn follow(
    context: &Arc<Context>,
    kind: Kind,
    store: Store<DynamicObject>,
) -> BoxStream<'static, Ref> {
    let (namespace, config) = scope(kind, &context.options);
    let cache = context.cache.clone();
    let system = context.options.system_namespace.clone();
    let api = api(&context.client, kind, namespace);
    watched(api, config)
        .flat_map(move |event| {
            let woken = match event {
                Ok(event) => {
                    let came = cache.saw(kind, &event);
                    match event {
                        Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => {
                            woken_by(kind, &object, &store, &system)
                        }
                        Event::InitDone if came => all(&store),
                        Event::Init | Event::InitDone => Vec::new(),
                    }
                }
                Err(error) => {
                    tracing::debug!(kind = kind.kind, %error, "watch failed");
                    if cache.failed(kind, &error) {
                        all(&store)
                    } else {
                        Vec::new()
                    }
                }
            };
            stream::iter(woken)
        })
        .boxed()
}

/// Watches a kind for ever. One that goes and returns is listed anew: a watch that merely begins again says
/// nothing when there is nothing, and it would never be known that the kind is back.
fn watched(
    api: Api<DynamicObject>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Send {
    stream::repeat_with(move || {
        let whole = watch_of(api.clone(), config.clone()).default_backoff();
        // It ends with the event itself: asked once more, it might wait for ever.
        stream::unfold(Some(Box::pin(whole)), |whole| async {
            let mut whole = whole?;
            let event = whole.next().await?;
            let gone = matches!(
                &event,
                Err(watcher::Error::WatchStartFailed(cause)) if api_code(cause) == Some(404)
            );
            Some((event, (!gone).then_some(whole)))
        })
    })
    .flatten()
}

/// Children wake their owner, pods the service that they are labelled with, and what services may refer to
/// wakes every service that may.
fn woken_by(
    kind: Kind,
    object: &DynamicObject,
    store: &Store<DynamicObject>,
    system: &str,
) -> Vec<Ref> {
    let namespace = object.namespace().unwrap_or_default();
    match kind {
        kind::POD => {
            let name = object.labels().get(label::NAME);
            name.map(|name| service_ref(name, &namespace))
                .into_iter()
                .collect()
        }
        kind::CORE_SERVICE if object.labels().contains_key(snapshot::GATEWAY_NAME) => all(store),
        kind::DEPLOYMENT
        | kind::LEADER_WORKER_SET
        | kind::CORE_SERVICE
        | kind::SECRET
        | kind::ROLE
        | kind::ROLE_BINDING
        | kind::RESOURCE_CLAIM_TEMPLATE
        | kind::INFERENCE_MODEL
        | kind::INFERENCE_OBJECTIVE
        | kind::LLM_D_INFERENCE_OBJECTIVE
        | kind::HORIZONTAL_POD_AUTOSCALER
        | kind::SCALED_OBJECT => owner(object).into_iter().collect(),
        kind::CLUSTER_ROLE_BINDING => {
            let name = object.labels().get(label::NAME);
            let namespace = object.data.pointer("/subjects/0/namespace");
            let namespace = namespace.and_then(serde_json::Value::as_str);
            let named = name.zip(namespace);
            named
                .map(|(name, namespace)| service_ref(name, namespace))
                .into_iter()
                .collect()
        }
        // What is cached is asked when a service is written: no running pod is to restart for it.
        kind::LOCAL_MODEL_CACHE | kind::LOCAL_MODEL_NAMESPACE_CACHE => Vec::new(),
        // A change of one member, or its leaving, concerns those of the old and the new group.
        kind::SERVICE => grouped(store, &namespace),
        // Others may be written every second, as locks of leaders are.
        kind::CONFIG_MAP if !cache::is_read(object) => Vec::new(),
        kind::HTTP_ROUTE
        | kind::SERVICE_ACCOUNT
        | kind::INFERENCE_POOL
        | kind::INFERENCE_POOL_ALPHA => match owner(object) {
            Some(owner) => vec![owner],
            None => of_namespace(store, &namespace),
        },
        // A shared config may be anybody's, any other one only its neighbours'.
        kind::CONFIG if namespace != system => of_namespace(store, &namespace),
        _ => all(store),
    }
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

fn of_namespace(store: &Store<DynamicObject>, namespace: &str) -> Vec<Ref> {
    let mut found = all(store);
    found.retain(|service| service.namespace.as_deref() == Some(namespace));
    found
}

/// The services of a namespace that are in a traffic group.
fn grouped(store: &Store<DynamicObject>, namespace: &str) -> Vec<Ref> {
    let services = store.state();
    let services = services.iter().filter(|service| {
        service.namespace().as_deref() == Some(namespace)
            && service.labels().contains_key(label::ROUTING_GROUP)
    });
    services
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

pub(crate) fn service_ref(name: &str, namespace: &str) -> Ref {
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
