//! The status of every recorded case, beside ours of the same world: first the planned objects exist and say nothing
//! yet, then each of them says that it is ready.
//!
//! Every difference is a line of `statuses.tsv`: case, path, reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_compose::{CombineError, Globals, Naming, combine};
use weir_plan::{
    Facts, Failure, Group, ImageVolumes, Metadata, ObservedScheduler, Outcome, ServiceIdentity,
    StatusInput, observed_gateways_of, status,
};

use crate::allowed::{Allowed, Difference};
use crate::objects::{self, Case};

fn failed(condition: &'static str, reason: &'static str, message: String) -> Outcome {
    Outcome::Failed(Failure {
        condition,
        reason,
        message,
    })
}

/// What a pass of the controller does and sees, without a cluster.
#[derive(Default)]
struct Pass {
    spec: Option<Value>,
    applied: Vec<Value>,
    presets: Outcome,
    workloads: Outcome,
    router: Outcome,
    live: Vec<Arc<Value>>,
    scheduler: ObservedScheduler,
    group: Option<Group>,
    planned: Option<Value>,
    routes: Vec<Value>,
    facts: Facts,
}

fn pass(case: &Case, service: &ServiceIdentity) -> Pass {
    let inner = &case.inner;
    let mut pass = Pass::default();
    let globals = Globals {
        tls: inner.facts.tls,
        model_header: inner.facts.model_header.clone(),
        ..Globals::default()
    };
    let combined = match combine(&inner.service, &globals, &Naming::default(), inner) {
        Ok(combined) => combined,
        Err(error) => {
            let reason = if matches!(error, CombineError::NotFound { .. }) {
                "ConfigNotFound"
            } else {
                "CombineBaseError"
            };
            pass.presets = failed("PresetsCombined", reason, error.to_string());
            return pass;
        }
    };
    pass.presets = Outcome::Done;
    let applied = combined.layers.iter().map(|(source, config)| {
        // Presets come from the shared namespace, whoever ships them.
        let namespace = if config.namespace.is_empty() {
            "kserve"
        } else {
            &config.namespace
        };
        json!({"name": config.name, "namespace": namespace, "source": source.as_str()})
    });
    pass.applied = applied.collect();
    let spec = combined.effective.spec;
    let facts = case.facts(&spec);
    pass.spec = Some(spec.clone());
    pass.facts = facts.clone();
    let children = match weir_plan::workloads(service, &spec, &facts) {
        Ok(objects) => objects,
        Err(error) => {
            pass.workloads = Outcome::Failed(weir_plan::workload_failure(&spec, &error));
            return pass;
        }
    };
    pass.live.extend(children.into_iter().map(Arc::new));
    match weir_plan::scaling(service, &spec, &facts) {
        Ok(objects) => pass.live.extend(objects.into_iter().map(Arc::new)),
        Err(error) => {
            pass.workloads = Outcome::Failed(weir_plan::scaling_failure(&error));
            return pass;
        }
    }
    pass.workloads = Outcome::Done;
    pass.planned = match weir_plan::routes(service, &spec, &facts) {
        Ok(routes) => routes.into_iter().next(),
        Err(error) => {
            pass.router = failed(
                "HTTPRoutesReady",
                "HTTPRouteReconcileError",
                format!("Failed to reconcile HTTPRoute: {error}"),
            );
            return pass;
        }
    };
    pass.routes = case.referenced_routes(&spec);
    if let Some(failure) = case.refusal(service, &spec, &facts) {
        pass.router = Outcome::Failed(failure);
        return pass;
    }
    match weir_plan::scheduler(service, &spec, &facts) {
        Ok(objects) => {
            if spec
                .pointer("/router/scheduler")
                .is_some_and(|s| !s.is_null())
            {
                pass.scheduler.metadata = Metadata::NoServedKind;
            }
            for object in objects.into_iter().map(Arc::new) {
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                match object["kind"].as_str().unwrap() {
                    "Deployment" if name.contains("tokenizer") => {
                        pass.scheduler.tokenizer = Some(object)
                    }
                    "Deployment" => pass.scheduler.picker = Some(object),
                    "InferencePool" => pass.scheduler.pools.push(object),
                    _ => {}
                }
            }
        }
        Err(error) => {
            pass.router = failed(
                "SchedulerWorkloadReady",
                "SchedulerReconcileError",
                format!("Failed to reconcile scheduler: {error}"),
            );
            return pass;
        }
    }
    pass.scheduler
        .pools
        .extend(facts.router.pool.clone().map(Arc::new));
    pass.group = pass
        .planned
        .as_ref()
        .and_then(|_| Group::of(service, &spec, &facts));
    pass.routes.extend(pass.planned.clone());
    pass.router = Outcome::Done;
    pass
}

/// Lets a child say that it is ready, as whoever recorded did: pools are taken by the default gateway only.
fn ready(mut object: Value) -> Value {
    let count = object["spec"]
        .get("replicas")
        .cloned()
        .unwrap_or_else(|| json!(1));
    let holds = |kind: &str| json!({"type": kind, "status": "True", "reason": "R"});
    match object["kind"].as_str().unwrap() {
        "Deployment" => {
            object["status"] =
                json!({"availableReplicas": count, "conditions": [holds("Available")]});
        }
        "LeaderWorkerSet" => {
            object["status"] = json!({"readyReplicas": count, "conditions": [holds("Available")]});
        }
        "HTTPRoute" => {
            let parents = object["spec"]["parentRefs"].as_array().cloned();
            let parents = parents.unwrap_or_default().into_iter().map(|parent| {
                json!({"parentRef": parent, "conditions": [holds("Accepted"), holds("ResolvedRefs")]})
            });
            object["status"] = json!({"parents": parents.collect::<Vec<_>>()});
        }
        "InferencePool" => {
            let gateway = json!({"name": "kserve-ingress-gateway", "namespace": "kserve"});
            let parents = json!([{"parentRef": gateway, "conditions": [holds("Accepted")]}]);
            object["status"] = json!({"parents": parents, "parent": parents});
        }
        _ => {}
    }
    object
}

impl Pass {
    /// The same with every child ready.
    fn with_ready_children(mut self) -> Self {
        let shared = |one: &Arc<Value>| Arc::new(ready(one.as_ref().clone()));
        self.live = self.live.iter().map(shared).collect();
        let scheduler = &mut self.scheduler;
        scheduler.picker = scheduler.picker.as_ref().map(shared);
        scheduler.tokenizer = scheduler.tokenizer.as_ref().map(shared);
        if self.facts.router.pool.is_none() {
            scheduler.pools = scheduler.pools.iter().map(shared).collect();
        }
        let managed = self
            .planned
            .as_ref()
            .map(|route| route["metadata"]["name"].clone());
        for route in &mut self.routes {
            if Some(&route["metadata"]["name"]) == managed.as_ref() {
                *route = ready(route.clone());
            }
        }
        self
    }
}

fn told(case: &Case, all_ready: bool) -> Value {
    let service = ServiceIdentity::of(&case.inner.service);
    let pass = pass(case, &service);
    let pass = if all_ready {
        pass.with_ready_children()
    } else {
        pass
    };
    let spec = pass.spec.clone().unwrap_or_default();
    let mut of_routes = pass.routes.clone();
    of_routes.extend(pass.planned.clone());
    let mut gateways = observed_gateways_of(&of_routes, &spec, &service.namespace);
    for gateway in &mut gateways {
        case.fill(gateway);
    }
    status(&StatusInput {
        service: &service,
        generation: 1,
        previous: &Value::Null,
        spec: pass.spec.as_ref(),
        pinned: &BTreeMap::new(),
        applied: &pass.applied,
        presets: &pass.presets,
        notes: "",
        workloads: &pass.workloads,
        router: &pass.router,
        live: &pass.live,
        service_exists: pass.live.iter().any(|one| one["kind"] == "Service"),
        pods: &[],
        scheduler: &pass.scheduler,
        group: pass.group.as_ref(),
        planned_route: pass.planned.as_ref(),
        routes: &pass.routes,
        gateways: &gateways,
        url_scheme: case.url_scheme(),
        cluster_domain: "cluster.local",
        model_header: &case.inner.facts.model_header,
        tls: case.inner.facts.tls,
        image_volumes: ImageVolumes::default(),
        now: "<time>",
    })
}

/// Paths at which two statuses differ; conditions by their type.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key), b.get(key));
                let at = format!("{path}/{key}");
                differences(
                    a.unwrap_or(&Value::Null),
                    b.unwrap_or(&Value::Null),
                    &at,
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if path == "/conditions" => {
            let by_type = |list: &[Value]| -> Value {
                list.iter()
                    .map(|one| (one["type"].as_str().unwrap().to_owned(), one.clone()))
                    .collect()
            };
            differences(&by_type(a), &by_type(b), path, found);
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{path}/{at}"), found);
            }
        }
        _ if ours == theirs => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

/// Both sides of a difference.
fn shown(ours: &Value, theirs: &Value, path: &str) -> String {
    let of = |status: &Value| {
        let mut parts = path.split('/').skip(1);
        match (parts.next(), parts.next(), parts.next()) {
            (Some("conditions"), Some(kind), key) => {
                let list = status["conditions"].as_array().cloned().unwrap_or_default();
                let one = list
                    .into_iter()
                    .find(|one| one["type"] == kind)
                    .unwrap_or_default();
                key.map_or_else(|| one.clone(), |key| one[key].clone())
            }
            _ => status.pointer(path).cloned().unwrap_or_default(),
        }
    };
    format!("{} and was {}", of(ours), of(theirs))
}

#[test]
fn statuses_are_the_recorded_ones_but_for_the_list() {
    let Some(cases) = objects::cases() else {
        return;
    };
    let mut allowed = Allowed::read(include_str!("statuses.tsv"), 1);
    for (case, all_ready) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
        let Some(theirs) = case.recorded_status(all_ready) else {
            continue;
        };
        let mut ours = told(case, all_ready);
        let mut theirs = theirs.clone();
        for status in [&mut ours, &mut theirs] {
            let map = status.as_object_mut().unwrap();
            // Pinned names are the controller's, and the finalizer write is its own story.
            map.remove("annotations");
            map.remove("observedGeneration");
        }
        let mut found = BTreeSet::new();
        differences(&ours, &theirs, "", &mut found);
        let found = found.into_iter().map(|path| Difference {
            shown: format!("{path}\t{}", shown(&ours, &theirs, &path)),
            at: vec![path],
        });
        allowed.judge(&case.inner.name, &found.collect::<Vec<_>>());
    }
    allowed.finish("statuses");
}
