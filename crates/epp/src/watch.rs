//! The cluster's objects become endpoints, priorities and rewrites.
//!
//! ```text
//! InferencePool ┐
//! Pods ─────────┴▶ Members ─▶ pool::Endpoints         Objective, ModelRewrite ─▶ Objectives
//! ```
//! A kind that is not served, or may not be listed, is asked for again and again: it may come.

mod members;
pub mod selector;
mod tables;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use weir_discovery::{Change, follow};

use crate::health::Bits;
use crate::objectives::Objectives;
use crate::pool::Endpoints;
use members::{Members, PoolSpec, Seen};
use tables::{Generation, Tables};

/// Most changes that are taken in before the result is published.
const BATCH: usize = 256;

/// Group of pools, and of older ones and their companions.
const GROUP: &str = "inference.networking.k8s.io";
const OLD_GROUP: &str = "inference.networking.x-k8s.io";
/// Group of objectives and rewrites.
const OWN_GROUP: &str = "llm-d.ai";

/// What is followed.
#[derive(Clone, Debug)]
pub enum Target {
    /// The pods of a pool.
    Pool {
        /// Its name.
        name: String,
        /// Its group.
        group: String,
    },
    /// The pods that a selector matches.
    Selector {
        /// The selector.
        selector: weir_scheduler::labels::Selector,
        /// Their ports.
        ports: Vec<u16>,
    },
}

/// Where results go.
#[derive(Clone)]
pub struct Sinks {
    /// The endpoints.
    pub endpoints: Arc<Endpoints>,
    /// Priorities and rewrites.
    pub objectives: Arc<Objectives>,
    /// Whether the pool is known.
    pub bits: Arc<Bits>,
}

enum Event {
    Pod(Box<Change<Pod>>),
    Pool(Generation, Box<Change<DynamicObject>>),
}

/// Follows pods, and the pool if there is one, until `stop`.
pub async fn endpoints(
    client: Client,
    namespace: String,
    target: Target,
    sinks: Sinks,
    stop: CancellationToken,
) {
    let pods = follow(Api::<Pod>::namespaced(client.clone(), &namespace))
        .map(|change| Event::Pod(Box::new(change)));
    let mut sources = vec![pods.boxed()];
    let mut members = Members::default();
    match target {
        Target::Pool { name, group } => {
            let mut generations = vec![(Generation::Current, GROUP, "v1")];
            if group == OLD_GROUP {
                generations.push((Generation::Old, OLD_GROUP, "v1alpha2"));
            }
            for (generation, group, version) in generations {
                let kind = resource(group, version, "InferencePool", "inferencepools");
                let wanted = name.clone();
                let pools = follow(Api::<DynamicObject>::namespaced_with(
                    client.clone(),
                    &namespace,
                    &kind,
                ))
                .filter(move |change| std::future::ready(concerns(change, &wanted)))
                .map(move |change| Event::Pool(generation, Box::new(change)));
                sources.push(pools.boxed());
            }
        }
        Target::Selector { selector, ports } => {
            members.fixed(PoolSpec::selected(selector, ports));
        }
    }
    let mut batches = futures::stream::select_all(sources).ready_chunks(BATCH);
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return,
            batch = batches.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
        };
        for event in batch {
            match event {
                Event::Pod(change) => members.pod(*change, Seen::of),
                Event::Pool(generation, change) => members.pool(generation, *change),
            }
        }
        sinks.endpoints.replace(members.described());
        sinks.bits.live.store(members.known(), Ordering::Relaxed);
        sinks
            .bits
            .protocol
            .store(members.protocol_spoken(), Ordering::Relaxed);
    }
}

fn concerns(change: &Change<DynamicObject>, name: &str) -> bool {
    match change {
        Change::Applied(object) | Change::Deleted(object) | Change::Listed(object) => {
            object.metadata.name.as_deref() == Some(name)
        }
        Change::Listing | Change::Synced => true,
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Follows objectives and rewrites of a pool, until `stop`.
pub async fn tables(
    client: Client,
    namespace: String,
    pool: String,
    group: String,
    objectives: Arc<Objectives>,
    stop: CancellationToken,
) {
    let mut sources = Vec::new();
    for (generation, of) in [
        (Generation::Current, OWN_GROUP),
        (Generation::Old, OLD_GROUP),
    ] {
        for (rewrites, kind, plural) in [
            (false, "InferenceObjective", "inferenceobjectives"),
            (true, "InferenceModelRewrite", "inferencemodelrewrites"),
        ] {
            let kind = resource(of, "v1alpha2", kind, plural);
            let objects = follow(Api::<DynamicObject>::namespaced_with(
                client.clone(),
                &namespace,
                &kind,
            ))
            .map(move |change| (generation, rewrites, change));
            sources.push(objects.boxed());
        }
    }
    let mut tables = Tables::new(pool, group);
    let mut batches = futures::stream::select_all(sources).ready_chunks(BATCH);
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return,
            batch = batches.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
        };
        for (generation, rewrites, change) in batch {
            tables.take(generation, rewrites, change);
        }
        objectives.set_priorities(tables.priorities());
        objectives.set_rewrites(tables.rewrites());
    }
}
