//! One pass over one service: read, compute, write, report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DynamicObject, PostParams};
use kube::runtime::controller::Action;
use serde_json::Value;
use weir_api::names::{ChildNames, GLOBAL_CONFIG_MAP, condition, kind, label, reason};
use weir_plan::{
    Certificate, Facts, Failure, ImageVolumes, OciMode, Outcome, ServiceIdentity, Settings,
    StatusInput,
};

use crate::apply::{self, to_value};
use crate::events::{self, Severity};
use crate::scaling::{self, Written};
use crate::snapshot::{self, Children};
use crate::{Context, Error, api_code, certificate, combine, local_models, lookups, router};

/// What a pass did and saw, for the status.
#[derive(Default)]
struct Observed {
    presets: Outcome,
    workloads: Outcome,
    router: router::Observed,
    spec: Option<Value>,
    /// What the user should hear of the combination.
    notes: String,
    applied: Vec<Value>,
    live: Vec<Arc<Value>>,
    service_exists: bool,
    pods: Vec<Value>,
    /// After how long to look again although nothing changed.
    again: Option<Duration>,
    /// An error that is tried again after it was reported.
    retry: Option<Error>,
}

/// How soon a service that cannot go yet is looked at again.
const AWAITED: Duration = Duration::from_secs(5);

/// Brings the cluster to what the service wants and writes what was seen to its status.
pub(crate) async fn pass(cached: &DynamicObject, context: &Context) -> Result<Action, Error> {
    let meta = &cached.metadata;
    let (namespace, name) = (
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    );
    context.cache.settled().await;
    let id = format!("{namespace}/{name}");
    let live = context.services.newest(&id, cached);
    if live.pointer("/metadata/deletionTimestamp").is_some() {
        // Children in the namespace go with their owner; nothing else has to be waited for.
        let service = ServiceIdentity::of(&live);
        if let Some(awaited) = router::finalize(context, &service, &live).await? {
            let previous = live.get("status").unwrap_or(&Value::Null);
            let status = weir_plan::awaiting_deletion(previous, &awaited, &now());
            if status != *previous {
                let api = services(context, &service);
                put_status(context, &api, &service, &live, &status).await?;
            }
            return Ok(Action::requeue(AWAITED));
        }
        combine::forget(context, &live);
        apply::set_finalizer(context, live, false).await?;
        context.services.forget(&id);
        return Ok(Action::await_change());
    }
    let Some(live) = apply::set_finalizer(context, live, true).await? else {
        return Ok(Action::await_change());
    };
    let service = ServiceIdentity::of(&live);
    let system = &context.options.system_namespace;
    let map = context
        .cache
        .get(kind::CONFIG_MAP, system, GLOBAL_CONFIG_MAP)?;
    let settings = match Settings::read(map.as_deref(), system) {
        Ok(settings) => settings,
        Err(error) => {
            report_failure(context, &service, &error.to_string(), false).await;
            return Err(error.into());
        }
    };
    let pinned = pinned(&live, context);
    let (live, combined) = local_models::mark(context, live, &settings, &pinned).await?;
    let service = ServiceIdentity::of(&live);
    let mut observed = Observed::default();
    if let Err(error) = Box::pin(work(
        context,
        &service,
        &live,
        &settings,
        &pinned,
        combined,
        &mut observed,
    ))
    .await
    {
        if !error.is_conflict() {
            report_failure(context, &service, &error.to_string(), false).await;
        }
        observed.retry = Some(error);
    }
    write_status(context, &service, &live, &settings, &pinned, &observed).await?;
    match (observed.retry, observed.again) {
        (Some(error), _) => Err(error),
        (None, Some(wait)) => Ok(Action::requeue(wait)),
        (None, None) => Ok(Action::await_change()),
    }
}

async fn report_failure(context: &Context, service: &ServiceIdentity, cause: &str, terminal: bool) {
    let prefix = if terminal { "terminal error: " } else { "" };
    let message = format!("Reconciliation failed: {prefix}{cause}");
    events::report(
        &context.client,
        service,
        Severity::Warning,
        "Error",
        &message,
    )
    .await;
}

/// Whether the status of a service tells of a failure already.
pub(crate) fn is_told(live: &Value, cause: &str) -> bool {
    let conditions = live.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let message = condition["message"].as_str().unwrap_or_default();
        condition["status"] != "True" && message.ends_with(cause)
    })
}

/// Reports a failure that stays until somebody changes something, unless the status tells of it already.
async fn report_lasting(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
    cause: &str,
    terminal: bool,
) {
    if !is_told(live, cause) {
        report_failure(context, service, cause, terminal).await;
    }
}

/// Preset names of the service: those it was pinned to, new ones for the rest.
fn pinned(live: &Value, context: &Context) -> BTreeMap<String, String> {
    if !context.options.pin_presets {
        return BTreeMap::new();
    }
    let known = live
        .pointer("/status/annotations")
        .and_then(Value::as_object);
    let mut pinned: BTreeMap<String, String> = known
        .into_iter()
        .flatten()
        .filter_map(|(key, name)| {
            Some((
                key.clone(),
                name.as_str().filter(|n| !n.is_empty())?.to_owned(),
            ))
        })
        .collect();
    for suffix in weir_compose::WELL_KNOWN {
        let name = || format!("{}{suffix}", context.options.config_prefix);
        pinned
            .entry(format!("serving.kserve.io/{suffix}"))
            .or_insert_with(name);
    }
    pinned
}

async fn work(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
    settings: &Settings,
    pinned: &BTreeMap<String, String>,
    combined: Option<combine::Outcome>,
    observed: &mut Observed,
) -> Result<(), Error> {
    let children = Children::read(&context.cache, service)?;
    let stopped = weir_plan::stopped(service);
    let combined = match combined {
        Some(combined) => combined,
        None => combine::effective(context, live, settings, pinned).await?,
    };
    match combined {
        Ok(combined) => {
            observed.applied = combined.applied;
            match combined.refused {
                None => {
                    observed.notes = combine::tell(context, service, live, &combined.notes).await;
                    observed.presets = Outcome::Done;
                    observed.spec = Some(combined.spec);
                }
                Some(failure) => {
                    report_lasting(context, service, live, &failure.message, true).await;
                    observed.presets = Outcome::Failed(failure);
                }
            }
        }
        Err(failure) => {
            report_lasting(context, service, live, &failure.message, true).await;
            observed.presets = Outcome::Failed(failure);
        }
    }
    if stopped {
        observed.workloads = Outcome::Done;
        observed.router.outcome = Outcome::Done;
        return prune(context, service, &children, &[]).await;
    }
    let Some(spec) = observed.spec.clone() else {
        return Ok(());
    };

    let mut facts = Facts {
        live: children.all().to_vec(),
        ..settings.facts()
    };
    facts.router.previous = live.get("status").cloned().unwrap_or_default();
    let mut accounts = BTreeMap::new();
    for name in weir_plan::accounts(&spec) {
        let found = context
            .cache
            .get(kind::SERVICE_ACCOUNT, &service.namespace, &name)?;
        accounts.extend(found.map(|account| (name, account)));
    }
    facts.accounts = Some(accounts);
    let credentials = weir_plan::secrets(service, &spec, &facts);
    facts.secrets = Some(lookups::secrets(context, &service.namespace, credentials).await?);
    facts.ca_bundle = lookups::authorities(context, settings, &service.namespace)?;
    router::read(context, service, &spec, &mut facts, &mut observed.router)?;
    facts.certificate = Some(certificate(
        context, service, &spec, settings, &facts, &children, observed,
    )?);

    let workloads = weir_plan::workloads(service, &spec, &facts);
    let mut planned = Vec::new();
    match &workloads {
        Ok(objects) => {
            planned.extend(objects.iter().cloned());
            let served = |kind| context.cache.served(kind);
            if let Some(failure) = weir_plan::workloads_not_served(objects, served) {
                // A kind that comes to be served wakes the service up.
                report_lasting(context, service, live, &failure.message, false).await;
                observed.workloads = Outcome::Failed(failure);
                return Ok(());
            }
            observed.workloads = Outcome::Done;
            let written = write_workloads(context, service, &children, objects, observed).await?;
            if written {
                // Told with the change that they are about, and not again.
                for note in weir_plan::notes(service, &spec, &facts) {
                    let (client, message) = (&context.client, &note.message);
                    events::report(client, service, Severity::Warning, note.reason, message).await;
                }
            }
        }
        Err(error) => {
            observed.workloads = Outcome::Failed(weir_plan::workload_failure(&spec, error));
            if matches!(error, weir_plan::Error::NoSecret { .. }) {
                // Nothing watches secrets: it is looked for again.
                return Err(Error::Credentials(error.clone()));
            }
            report_lasting(context, service, live, &error.to_string(), true).await;
            return Ok(());
        }
    }
    match scaling::write(context, service, live, &children, &spec, &facts).await {
        Written::Done(scaling, live) => {
            planned.extend(scaling);
            observed.live.extend(live);
        }
        Written::Refused(failure) => {
            report_lasting(context, service, live, &failure.message, true).await;
            observed.workloads = Outcome::Failed(failure);
            return Ok(());
        }
        Written::Failed(failure, error) => {
            observed.workloads = Outcome::Failed(failure);
            return Err(error);
        }
    }
    let router = &mut observed.router;
    let routed = Box::pin(router::write(
        context, service, &children, &spec, &facts, router,
    ))
    .await?;
    if let Outcome::Failed(failure) = &observed.router.outcome {
        report_lasting(context, service, live, &failure.message, routed.is_none()).await;
    }
    router::warn(context, service, live, &spec, &observed.router).await;
    let done = match routed {
        Some(routed) => {
            planned.extend(routed);
            prune(context, service, &children, &planned).await
        }
        None => Ok(()),
    };
    observed.pods = snapshot::pods(&context.cache, service)?;
    done
}

/// The serving certificate, for the pods and Services that there are.
fn certificate(
    context: &Context,
    service: &ServiceIdentity,
    spec: &Value,
    settings: &Settings,
    facts: &Facts,
    children: &Children,
    observed: &mut Observed,
) -> Result<Certificate, Error> {
    let of_service = |object: &Value| object["metadata"]["labels"][label::NAME] == *service.name;
    let list = |kind| context.cache.list(kind, &service.namespace, of_service);
    let (pods, services) = (list(kind::POD)?, list(kind::CORE_SERVICE)?);
    let pool = facts.router.pool.as_ref();
    let picker = pool.and_then(|pool| pool.pointer("/spec/endpointPickerRef/name")?.as_str());
    let wanted = weir_plan::certificate_names(
        service,
        spec,
        &context.options.cluster_domain,
        picker,
        pods.iter().map(AsRef::as_ref),
        services.iter().map(AsRef::as_ref),
    );
    let secret = ChildNames::new(&service.name).tls_secret();
    let live = children.get(kind::SECRET, &secret).map(AsRef::as_ref);
    let annotations = &settings.expiration_annotations;
    let (certificate, wait) =
        certificate::ensure(&context.certificates, &wanted, live, annotations)?;
    observed.again = wait;
    Ok(certificate)
}

/// Applies what runs the model, in order. Answers whether a Deployment or a set was written.
async fn write_workloads(
    context: &Context,
    service: &ServiceIdentity,
    children: &Children,
    objects: &[Value],
    observed: &mut Observed,
) -> Result<bool, Error> {
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let mut written = false;
    for wanted in objects {
        let kind = apply::kind_of(wanted);
        let live = kind.and_then(|kind| {
            children.get(
                kind,
                wanted["metadata"]["name"].as_str().unwrap_or_default(),
            )
        });
        let now = match apply::ensure(context, service, wanted, live).await {
            Ok(now) => now,
            Err(error) => {
                let grouped = kind == Some(kind::LEADER_WORKER_SET);
                let failure = Failure::of_workload(grouped, error.to_string());
                observed.workloads = Outcome::Failed(failure);
                return Err(error);
            }
        };
        match kind {
            Some(kind::DEPLOYMENT | kind::LEADER_WORKER_SET) => {
                written |= live.is_none_or(|live| version(live) != version(&now));
                observed.live.push(now);
            }
            Some(kind::CORE_SERVICE) => observed.service_exists = true,
            _ => {}
        }
    }
    Ok(written)
}

/// Deletes the children that are not planned.
async fn prune(
    context: &Context,
    service: &ServiceIdentity,
    children: &Children,
    planned: &[Value],
) -> Result<(), Error> {
    let wanted = |live: &Value| {
        planned.iter().any(|p| {
            apply::kind_of(p) == apply::kind_of(live)
                && p["metadata"]["name"] == live["metadata"]["name"]
        })
    };
    for live in children.all().iter().filter(|live| !wanted(live)) {
        apply::delete(context, service, live).await?;
    }
    Ok(())
}

/// Now, as conditions have it.
fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn services(context: &Context, service: &ServiceIdentity) -> Api<DynamicObject> {
    Api::namespaced_with(
        context.client.clone(),
        &service.namespace,
        &kind::SERVICE.api_resource(),
    )
}

async fn write_status(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
    settings: &Settings,
    pinned: &BTreeMap<String, String>,
    observed: &Observed,
) -> Result<(), Error> {
    let previous = live.get("status").unwrap_or(&Value::Null);
    let now = now();
    let native = settings.storage.oci == OciMode::Native;
    let image_volumes = ImageVolumes {
        native,
        server_minor: if native {
            context.server.minor(&context.client).await
        } else {
            None
        },
    };
    let status = weir_plan::status(&StatusInput {
        service,
        generation: live
            .pointer("/metadata/generation")
            .and_then(Value::as_i64)
            .unwrap_or(0),
        previous,
        spec: observed.spec.as_ref(),
        pinned,
        applied: &observed.applied,
        presets: &observed.presets,
        notes: &observed.notes,
        workloads: &observed.workloads,
        router: &observed.router.outcome,
        scheduler: &observed.router.scheduler,
        group: observed.router.group.as_ref(),
        live: &observed.live,
        service_exists: observed.service_exists,
        pods: &observed.pods,
        planned_route: observed.router.planned_route.as_ref(),
        routes: &observed.router.routes,
        gateways: &observed.router.gateways,
        url_scheme: &settings.url_scheme,
        cluster_domain: &context.options.cluster_domain,
        model_header: &settings.model_header,
        tls: settings.tls,
        image_volumes,
        now: &now,
    });
    if status == *previous {
        return Ok(());
    }
    let api = services(context, service);
    put_status(context, &api, service, live, &status).await?;
    announce(context, service, previous, &status).await;
    Ok(())
}

/// Writes the status over whatever the object has become meanwhile.
async fn put_status(
    context: &Context,
    api: &Api<DynamicObject>,
    service: &ServiceIdentity,
    live: &Value,
    status: &Value,
) -> Result<(), Error> {
    const TRIES: u32 = 5;
    let id = format!("{}/{}", service.namespace, service.name);
    let error = |action, cause| Error::api(action, format!("the status of {id}"), cause);
    let mut object: DynamicObject = serde_json::from_value(live.clone())
        .map_err(|cause| error("write", kube::Error::SerdeError(cause)))?;
    for tries in 1.. {
        object.metadata.managed_fields = None;
        object.data["status"] = status.clone();
        match api
            .replace_status(&service.name, &PostParams::default(), &object)
            .await
        {
            Ok(now) => {
                context.services.wrote(&id, Arc::new(to_value(&now)));
                return Ok(());
            }
            Err(cause) if api_code(&cause) == Some(404) => return Ok(()),
            Err(cause) if api_code(&cause) == Some(409) && tries < TRIES => {}
            Err(cause) => return Err(error("write", cause)),
        }
        let found = api.get_opt(&service.name).await;
        match found.map_err(|cause| error("read", cause))? {
            Some(now) if now.metadata.uid.as_deref() == Some(service.uid.as_str()) => object = now,
            _ => return Ok(()),
        }
        if object.data.get("status") == Some(status) {
            return Ok(());
        }
    }
    Ok(())
}

/// Tells of a change of `Ready`.
async fn announce(context: &Context, service: &ServiceIdentity, previous: &Value, status: &Value) {
    let with_status = |of: &Value, wanted: &str| -> Vec<String> {
        let all = of
            .get("conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        all.filter(|c| c["status"] == wanted)
            .filter_map(|c| Some(c["type"].as_str()?.to_owned()))
            .collect()
    };
    let is = |of: &Value, wanted: &str| {
        with_status(of, wanted)
            .iter()
            .any(|kind| kind == condition::READY)
    };
    let name = &service.name;
    if !is(previous, "True") && is(status, "True") {
        let message = format!("LLMInferenceService [{name}] is Ready");
        events::report(
            &context.client,
            service,
            Severity::Normal,
            reason::SERVICE_READY,
            &message,
        )
        .await;
    } else if is(previous, "True") && is(status, "False") {
        let mut causes = with_status(status, "False");
        causes
            .retain(|kind| kind != condition::READY && kind != condition::MODEL_METADATA_PUBLISHED);
        let message = format!(
            "LLMInferenceService [{name}] is not Ready because of: {}",
            causes.join(", ")
        );
        events::report(
            &context.client,
            service,
            Severity::Warning,
            reason::SERVICE_NOT_READY,
            &message,
        )
        .await;
    }
}
