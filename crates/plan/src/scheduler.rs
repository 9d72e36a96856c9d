//! The endpoint picker's objects: account and roles, tokenizer, Deployment and Service, pools, model metadata.
//!
//! A picker is *managed* when the spec has a template for it and names no pool of somebody else. Only then it
//! has objects of its own; with a pool by reference only the model's metadata is published.

mod account;
mod config;
mod deployment;
mod flags;
mod migrate;
mod pool;
mod print;
mod tokenizer;

use std::collections::BTreeMap;

use serde_json::Value;
use weir_api::names::{ChildNames, kind, value};

pub use account::{cluster_binding_names, is_cluster_binding_of};
pub use pool::METADATA_KINDS;
pub(crate) use pool::{group as pool_group, name as pool_name};

use crate::{Error, Facts, ServiceIdentity, present, text};

/// Why the picker's objects cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The version of the pod is not one.
    #[error(
        "annotation app.kubernetes.io/version of spec.router.scheduler.annotations is {text:?}: write major.minor.patch, for example 0.10.0"
    )]
    Version {
        /// What it says.
        text: String,
    },
    /// Values of flags that the picker no longer knows have no place in its configuration.
    #[error(
        "the picker sets {flags}, which this version takes from its configuration, and there is no inline --config-text with a kind to move them to: give the configuration inline or remove the flags"
    )]
    NoPlaceForFlags {
        /// The flags, sorted.
        flags: String,
    },
    /// A switch has a value that is no boolean.
    #[error("flag --{flag} of the picker has the value {value:?}: write true or false")]
    NotABoolean {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// The name of a decider is not a text.
    #[error("parameter deciderPluginName of the picker's handler is {value}: write a name")]
    DeciderName {
        /// What it is.
        value: String,
    },
    /// The pool has no spec.
    #[error(
        "spec.router.scheduler.pool.spec is missing after merging: the preset config-llm-scheduler should supply it"
    )]
    NoPoolSpec,
    /// The cluster knows no pools.
    #[error(
        "this cluster serves InferencePool neither of inference.networking.k8s.io/v1 nor of inference.networking.x-k8s.io/v1alpha2: install the Gateway API inference extension"
    )]
    NoPoolKind,
    /// The account does not exist.
    #[error(
        "service account {name} named by spec.router.scheduler.template.serviceAccountName does not exist in namespace {namespace}: create it"
    )]
    NoAccount {
        /// The account.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// The tokenizer has no pod.
    #[error(
        "spec.router.scheduler.tokenizer.template is missing after merging: the preset config-llm-tokenizer should supply it"
    )]
    NoTokenizerTemplate,
}

/// Whether the service has a picker of its own.
#[must_use]
pub fn managed(spec: &Value) -> bool {
    present(spec, "/router/scheduler/template") && !refers_to_pool(spec)
}

/// Whether the service has a picker and a pool of its own name, managed or not.
pub(crate) fn has_own_pool(spec: &Value) -> bool {
    present(spec, "/router/scheduler") && !refers_to_pool(spec)
}

/// Whether the service names a pool of somebody else.
pub(crate) fn refers_to_pool(spec: &Value) -> bool {
    !text(spec, "/router/scheduler/pool/ref/name").is_empty()
}

/// Everything for the picker, in the order of application: what a thing needs comes before it.
pub(crate) fn objects(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    if !present(spec, "/router/scheduler") {
        return Ok(objects);
    }
    if managed(spec) {
        let named = account::named(service, spec);
        if named.is_empty() {
            objects.push(account::account(service, spec, facts));
        } else if facts
            .accounts
            .as_ref()
            .is_some_and(|known| !known.contains_key(named))
        {
            return Err(SchedulerError::NoAccount {
                name: named.to_owned(),
                namespace: service.namespace.clone(),
            }
            .into());
        }
        objects.push(account::cluster_binding(service, spec, facts));
        objects.push(account::role(service));
        objects.push(account::role_binding(service, spec));
    }
    let picker = ChildNames::new(&service.name).picker_deployment();
    let live = facts.find_live(kind::DEPLOYMENT, &picker);
    let config = config::Config::choose(spec, live);
    let tokenizer = tokenizer::wanted(spec, &config).then(|| tokenizer::url(service, facts));
    if tokenizer.is_some() {
        objects.extend(tokenizer::objects(service, spec, facts)?);
    }
    if managed(spec) {
        objects.push(deployment::deployment(
            service,
            spec,
            facts,
            live,
            &config,
            tokenizer.as_deref(),
        )?);
        objects.push(deployment::picker_service(service, spec));
        objects.extend(pool::pools(service, spec, facts)?);
        objects.push(pool::headless(service, spec, facts));
    }
    objects.extend(pool::metadata(service, spec, facts));
    Ok(objects)
}

/// Names of the accounts that the picker's objects depend on.
pub(crate) fn accounts(spec: &Value) -> impl Iterator<Item = String> {
    let names = [
        "/router/scheduler/template/serviceAccountName",
        "/template/serviceAccountName",
    ];
    let scheduled = present(spec, "/router/scheduler");
    let names = names.map(|pointer| text(spec, pointer).to_owned());
    names
        .into_iter()
        .filter(move |name| scheduled && !name.is_empty())
}

/// Labels of everything of the picker, and its selector.
fn labels(service: &ServiceIdentity) -> BTreeMap<String, String> {
    service.labels(value::COMPONENT_SCHEDULER)
}
