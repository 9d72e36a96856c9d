//! Writing children: server-side apply of what differs, deletion of what is no longer planned.

mod anew;
mod fields;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kube::Client;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_api::names::{self, FIELD_MANAGER, Kind, kind, reason};
use weir_plan::ServiceIdentity;

use crate::events::{self, Severity};
use crate::{Context, Error, api_code};

/// Owns `spec.replicas` of a Deployment that no longer has a count of its own.
const COUNT_MANAGER: &str = "weir-replicas";
/// Field manager of the controller whose objects are adopted.
const UPSTREAM_MANAGER: &str = "manager";
/// Objects that [`Memory`] holds at most.
const REMEMBERED: usize = 65_536;

/// What was last sent for each object, and what the server made of it.
///
/// The server fills defaults into lists that we own as a whole; comparing with what it answered last tells a
/// default from a change.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<String, (u64, Value)>>);

impl Memory {
    fn settled(&self, uid: &str, digest: u64, owned: &Value) -> bool {
        self.0
            .lock()
            .get(uid)
            .is_some_and(|(sent, answered)| *sent == digest && answered == owned)
    }

    fn note(&self, uid: &str, digest: u64, owned: Value) {
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(uid.to_owned(), (digest, owned));
    }

    fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// The kind of an object that we plan.
pub(crate) fn kind_of(object: &Value) -> Option<Kind> {
    let known = [
        kind::DEPLOYMENT,
        kind::LEADER_WORKER_SET,
        kind::CORE_SERVICE,
        kind::SECRET,
        kind::CONFIG_MAP,
        kind::SERVICE_ACCOUNT,
        kind::ROLE,
        kind::ROLE_BINDING,
        kind::RESOURCE_CLAIM_TEMPLATE,
        kind::HTTP_ROUTE,
        kind::CLUSTER_ROLE_BINDING,
        kind::INFERENCE_POOL,
        kind::INFERENCE_POOL_ALPHA,
        kind::INFERENCE_MODEL,
        kind::INFERENCE_OBJECTIVE,
        kind::LLM_D_INFERENCE_OBJECTIVE,
        kind::HORIZONTAL_POD_AUTOSCALER,
        kind::SCALED_OBJECT,
    ];
    known
        .into_iter()
        .find(|kind| object["kind"] == kind.kind && object["apiVersion"] == kind.api_version())
}

fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    if kind.namespaced {
        Api::namespaced_with(client.clone(), namespace, &kind.api_resource())
    } else {
        Api::all_with(client.clone(), &kind.api_resource())
    }
}

/// `namespace/name`, the namespace empty where there is none.
fn id(kind: Kind, namespace: &str, name: &str) -> String {
    let namespace = if kind.namespaced { namespace } else { "" };
    format!("{namespace}/{name}")
}

fn field<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether the service controls the object.
pub(crate) fn controlled(object: &Value, service: &ServiceIdentity) -> bool {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    owners
        .into_iter()
        .flatten()
        .any(|owner| owner["controller"] == true && owner["uid"] == service.uid)
}

/// Makes the cluster's object equal `wanted` where we care; returns it as it is then.
pub(crate) async fn ensure(
    context: &Context,
    service: &ServiceIdentity,
    wanted: &Value,
    live: Option<&Arc<Value>>,
) -> Result<Arc<Value>, Error> {
    let (client, memory) = (&context.client, &context.applied);
    let (name, kind_name) = (field(wanted, "/metadata/name"), field(wanted, "/kind"));
    let kind = kind_of(wanted).ok_or_else(|| Error::Foreign {
        kind: kind_name.to_owned(),
        name: name.to_owned(),
    })?;
    let id = id(kind, &service.namespace, name);
    let label = format!("{kind_name} {id}");
    let api = api(client, kind, &service.namespace);
    let mut live = match live {
        Some(live) => Some(live.clone()),
        // Something that does not carry our label may have the name.
        None => {
            let found = api.get_opt(name).await;
            let found = found.map_err(|e| Error::api("read", label.as_str(), e))?;
            found.map(|object| Arc::new(to_value(&object)))
        }
    };
    // An object in no namespace cannot have an owner in one; its name and labels say whose it is.
    let ours = |live: &Value| !kind.namespaced || controlled(live, service);
    if let Some(now) = live.as_deref().filter(|live| ours(live))
        && let Some(adopted) = adopt(&api, now, &label).await?
    {
        live = Some(Arc::new(adopted));
    }
    if let Some(now) = live
        .clone()
        .filter(|live| controlled(live, service) && anew::is_needed(kind, wanted, live))
    {
        if let Some(left) = replace(context, service, &api, kind, &now).await? {
            return Ok(left);
        }
        live = None;
    }
    let digest = digest(wanted);
    if let Some(live) = &live {
        if !ours(live) && !is_shared(wanted) {
            return Err(Error::Foreign {
                kind: kind_name.to_owned(),
                name: id,
            });
        }
        let owned = fields::owned(live, FIELD_MANAGER);
        let uid = field(live, "/metadata/uid");
        if fields::same(&fields::comparable(wanted), &owned) || memory.settled(uid, digest, &owned)
        {
            return Ok(Arc::clone(live));
        }
        hand_over_count(&api, wanted, &owned, &label).await?;
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let mut answer = api.patch(name, &params, &Patch::Apply(wanted)).await;
    if let (Err(error), Some(now)) = (&answer, &live)
        && !is_shared(wanted)
        && anew::is_refused_change(error)
    {
        // What may not change differs between versions of the server, and operators add rules of their own.
        tracing::info!(object = label, %error, "cannot be changed, is made anew");
        if let Some(left) = replace(context, service, &api, kind, now).await? {
            return Ok(left);
        }
        live = None;
        answer = api.patch(name, &params, &Patch::Apply(wanted)).await;
    }
    let answer = answer.map_err(|e| Error::api("apply", label.as_str(), e))?;
    let answer = Arc::new(to_value(&answer));
    context.cache.wrote(kind, &answer);
    memory.note(
        field(&answer, "/metadata/uid"),
        digest,
        fields::owned(&answer, FIELD_MANAGER),
    );
    let unchanged = |live: &Value| {
        field(live, "/metadata/resourceVersion") == field(&answer, "/metadata/resourceVersion")
    };
    let event = match live.as_deref() {
        None => Some((reason::CREATED, "Created")),
        Some(live) if unchanged(live) => None,
        Some(_) => Some((reason::UPDATED, "Updated")),
    };
    if let Some((reason, verb)) = event {
        tracing::info!(object = label, verb, "applied");
        let text = format!("{verb} {}.{kind_name} {id}", kind.version);
        events::report(client, service, Severity::Normal, reason, &text).await;
    }
    Ok(answer)
}

/// Whether the object serves all services of a namespace: it has no owner, and nobody deletes it.
fn is_shared(wanted: &Value) -> bool {
    wanted.pointer("/metadata/ownerReferences").is_none()
}

/// Deletes an object so that it can be made anew; answers it if it takes its time to go. Once it is gone, its
/// service is woken up.
async fn replace(
    context: &Context,
    service: &ServiceIdentity,
    api: &Api<DynamicObject>,
    kind: Kind,
    now: &Arc<Value>,
) -> Result<Option<Arc<Value>>, Error> {
    let name = field(now, "/metadata/name");
    remove(context, service, now, anew::dependents(kind)).await?;
    let left = api.get_opt(name).await;
    let left = left.map_err(|e| Error::api("read", format!("{} {name}", kind.kind), e))?;
    let same =
        |left: &DynamicObject| left.metadata.uid.as_deref() == now["metadata"]["uid"].as_str();
    Ok(left.filter(same).map(|_| now.clone()))
}

/// First contact with an object of the upstream controller: its fields become ours.
async fn adopt(
    api: &Api<DynamicObject>,
    live: &Value,
    label: &str,
) -> Result<Option<Value>, Error> {
    let Some(fields) = fields::taken_over(live, UPSTREAM_MANAGER, FIELD_MANAGER) else {
        return Ok(None);
    };
    let patch = json!({"metadata": {
        "managedFields": fields,
        "resourceVersion": live["metadata"]["resourceVersion"],
    }});
    let name = field(live, "/metadata/name");
    let answer = api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    let answer = answer.map_err(|e| Error::api("take over", label, e))?;
    tracing::info!(object = label, "taken over from the upstream controller");
    Ok(Some(to_value(&answer)))
}

/// When a service stops setting the replica count, the count stays as it is instead of falling back to one.
async fn hand_over_count(
    api: &Api<DynamicObject>,
    wanted: &Value,
    owned: &Value,
    label: &str,
) -> Result<(), Error> {
    if owned.pointer("/spec/replicas").is_none() || wanted.pointer("/spec/replicas").is_some() {
        return Ok(());
    }
    let name = field(wanted, "/metadata/name");
    // The count as it is now: somebody may have scaled since the cache was filled.
    let live = api.get_opt(name).await;
    let live = live.map_err(|e| Error::api("read", label, e))?;
    let Some(count) = live
        .as_ref()
        .and_then(|live| live.data.pointer("/spec/replicas"))
    else {
        return Ok(());
    };
    let keep = json!({
        "apiVersion": wanted["apiVersion"],
        "kind": wanted["kind"],
        "metadata": {"name": wanted["metadata"]["name"], "namespace": wanted["metadata"]["namespace"]},
        "spec": {"replicas": count},
    });
    let params = PatchParams::apply(COUNT_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(&keep))
        .await
        .map_err(|e| Error::api("apply", label, e))
        .map(drop)
}

/// Deletes an object that the service controls and no longer wants.
pub(crate) async fn delete(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
) -> Result<(), Error> {
    remove(context, service, live, PropagationPolicy::Background).await
}

async fn remove(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
    dependents: PropagationPolicy,
) -> Result<(), Error> {
    let client = &context.client;
    if anew::is_going(live) {
        return Ok(());
    }
    let Some(kind) = kind_of(live) else {
        return Ok(());
    };
    let (name, uid) = (field(live, "/metadata/name"), field(live, "/metadata/uid"));
    let only_this = Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    };
    let params = DeleteParams {
        propagation_policy: Some(dependents),
        preconditions: Some(only_this),
        ..DeleteParams::default()
    };
    match api(client, kind, &service.namespace)
        .delete(name, &params)
        .await
    {
        Ok(_) => {}
        Err(error) if api_code(&error) == Some(404) => {}
        Err(error) => {
            return Err(Error::api(
                "delete",
                format!("{} {}", kind.kind, id(kind, &service.namespace, name)),
                error,
            ));
        }
    }
    context.applied.forget(uid);
    context.cache.deleted(kind, live);
    let text = format!(
        "Deleted {}.{} {}",
        kind.version,
        kind.kind,
        id(kind, &service.namespace, name)
    );
    events::report(client, service, Severity::Normal, reason::DELETED, &text).await;
    Ok(())
}

/// The object as JSON.
pub(crate) fn to_value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn digest(wanted: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    wanted.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Puts our finalizer on the service, or takes it off; nothing else of the object is touched. Answers the
/// service as it is then, if it still is.
pub(crate) async fn set_finalizer(
    context: &Context,
    live: Arc<Value>,
    present: bool,
) -> Result<Option<Arc<Value>>, Error> {
    let (namespace, name) = (
        field(&live, "/metadata/namespace"),
        field(&live, "/metadata/name"),
    );
    let now = live
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let ours = |finalizer: &Value| finalizer == names::SERVICE_FINALIZER;
    if now.iter().any(ours) == present {
        return Ok(Some(live));
    }
    let mut wanted: Vec<Value> = now.into_iter().filter(|f| !ours(f)).collect();
    if present {
        wanted.push(json!(names::SERVICE_FINALIZER));
    }
    let patch = json!({"metadata": {
        "finalizers": wanted,
        "resourceVersion": live["metadata"]["resourceVersion"],
    }});
    let api = api(&context.client, kind::SERVICE, namespace);
    let id = format!("{namespace}/{name}");
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(object) => {
            let object = Arc::new(to_value(&object));
            context.services.wrote(&id, object.clone());
            Ok(Some(object))
        }
        Err(error) if api_code(&error) == Some(404) => Ok(None),
        Err(error) => Err(Error::api("patch the finalizers of", id, error)),
    }
}
