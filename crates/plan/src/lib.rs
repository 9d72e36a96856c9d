//! An effective spec and observed facts become desired objects; observed objects become a status.
//!
//! Pure: nothing here reads a cluster or a clock. [`desired`] answers with whole objects in the order in which
//! they are to be applied, [`status`] with the whole status.

mod local_model;
mod pod;
mod quantity;
mod role;
mod routing;
mod scaling;
mod scheduler;
mod settings;
mod status;
mod tls;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_api::names::{self, label};

pub use local_model::{cache_marks, cache_marks_fit};
pub use pod::storage::{CredentialSettings, Secret, secrets};
pub use routing::{
    Group, Peer, RouterFacts, attach_gateways, check_refs, model_name_collision, not_served,
    opts_out, parents, still_routed_by,
};
pub use scaling::{Prometheus, ScalingError, scaling_failure, scaling_not_served};
pub use scheduler::{
    METADATA_KINDS, SchedulerError, cluster_binding_names, is_cluster_binding_of, managed,
};
pub use settings::{OciMode, Settings, SettingsError, StorageInitializer};
pub use status::{
    Failure, Health, ImageVolumes, Metadata, ObservedGateway, ObservedScheduler, Outcome,
    StatusInput, awaiting_deletion, observed_gateways_of, status, stopped_status, workload_failure,
    workloads_not_served,
};
pub use tls::{
    CERTIFICATE_REST_SECONDS, CertificateNames, CertificateVerdict, LiveCertificate,
    certificate_names, certificate_verdict,
};

/// Who the service is: what objects carry in names, labels and owner references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceIdentity {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`; empty where there is no cluster, and then objects carry no owner reference.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// What is known of the cluster beside the service.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether gateway, picker and pods speak TLS to each other.
    pub tls: bool,
    /// How models get into pods.
    pub storage: StorageInitializer,
    /// Where downloads find credentials.
    pub credentials: CredentialSettings,
    /// The secrets that [`secrets`] names, those that exist; `None` when nobody looked.
    pub secrets: Option<BTreeMap<String, Secret>>,
    /// The certificate authorities of [`StorageInitializer::ca_config_map`].
    pub ca_bundle: Option<String>,
    /// Namespace of the global configuration.
    pub system_namespace: String,
    /// Header of model-based routing.
    pub model_header: String,
    /// When model-based routing applies.
    pub model_routing: ModelRouting,
    /// Whether a gateway that the service names opts out of model-based routing.
    pub gateway_opts_out: bool,
    /// The serving certificate; without one no Secret is planned.
    pub certificate: Option<Certificate>,
    /// The service accounts that [`accounts`] names, those that exist; `None` when nobody looked.
    pub accounts: Option<BTreeMap<String, Arc<Value>>>,
    /// What the service controls now: at least its Deployments, LeaderWorkerSets and routes.
    pub live: Vec<Arc<Value>>,
    /// What routes, pools and the picker depend on.
    pub router: RouterFacts,
    /// Where autoscalers read.
    pub prometheus: Prometheus,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            tls: false,
            storage: StorageInitializer::default(),
            credentials: CredentialSettings::default(),
            secrets: None,
            ca_bundle: None,
            system_namespace: names::SYSTEM_NAMESPACE.to_owned(),
            model_header: "X-Gateway-Model-Name".to_owned(),
            model_routing: ModelRouting::Enabled,
            gateway_opts_out: false,
            certificate: None,
            accounts: None,
            live: Vec::new(),
            router: RouterFacts::default(),
            prometheus: Prometheus::default(),
        }
    }
}

/// When model-based routing applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelRouting {
    /// Unless a gateway opts out.
    #[default]
    Enabled,
    /// Whatever gateways say.
    Forced,
    /// Never.
    Disabled,
}

/// A serving certificate, every part base64 of PEM as a Secret holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Authority; a Secret of an earlier installation may have none.
    pub ca: Option<String>,
    /// Certificate.
    pub certificate: String,
    /// Private key.
    pub key: String,
    /// When to renew: an annotation of the Secret and its value, RFC 3339.
    pub expiration: Option<(String, String)>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

/// The account of pods that name none.
pub const DEFAULT_ACCOUNT: &str = "default";

/// ConfigMap with the cluster's certificate authorities, in every namespace that has services.
pub const GLOBAL_CA_BUNDLE: &str = "global-ca-bundle";
/// Its key, and that of the ConfigMap that it is copied from.
pub const CA_BUNDLE_KEY: &str = "cabundle.crt";

/// Annotation on the TLS Secret: when it is renewed.
pub const CERTIFICATE_EXPIRATION: &str = "certificates.kserve.io/expiration";

/// Why objects cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No pod template after all configs were merged.
    #[error("{field} is missing after merging: add containers, or a config that has them")]
    NoTemplate {
        /// Path of the template.
        field: &'static str,
    },
    /// The template has no container for the engine.
    #[error("{field}.containers has no container named main: name the engine's container main")]
    NoMainContainer {
        /// Path of the template.
        field: &'static str,
    },
    /// The model's location has no scheme.
    #[error(
        "spec.model.uri {uri:?} has no scheme: write for example hf://org/model or pvc://claim/path"
    )]
    NoScheme {
        /// The location.
        uri: String,
    },
    /// The model's location has a scheme that nothing can download.
    #[error("spec.model.uri {uri:?}: unsupported schema; use hf, s3, gs, https, pvc, or file")]
    UnsupportedScheme {
        /// The location.
        uri: String,
    },
    /// The template names an account that does not exist.
    #[error(
        "service account {name} named by {field}.serviceAccountName does not exist in namespace {namespace}: create it"
    )]
    NoAccount {
        /// The account.
        name: String,
        /// Path of the template that names it.
        field: &'static str,
        /// Its namespace.
        namespace: String,
    },
    /// Models in container images are switched off.
    #[error(
        "spec.model.uri {uri:?}: models in images are switched off: set ociModelMode in the storageInitializer configuration, or use another location"
    )]
    ImagesDisabled {
        /// The location.
        uri: String,
    },
    /// The location names no image.
    #[error(
        "spec.model.uri {uri:?} is no image reference such as oci://registry.example.com/model:1"
    )]
    ImageReference {
        /// The location.
        uri: String,
    },
    /// The service is marked as cached, but not from where.
    #[error(
        "the service is marked for local model cache {cache} without annotation {missing}: set it or remove the label"
    )]
    CacheMark {
        /// The cache.
        cache: String,
        /// The annotation that is missing.
        missing: &'static str,
    },
    /// A secret with credentials does not exist.
    #[error(
        "secret {name} with credentials for the model does not exist in namespace {namespace}: create it"
    )]
    NoSecret {
        /// The secret.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Something else is mounted where a feature has to mount its volume.
    #[error(
        "container {container} mounts volume {volume} at {path}, where the model service mounts its own: use another path"
    )]
    MountTaken {
        /// Path of the pod's template.
        template: &'static str,
        /// The container.
        container: String,
        /// What it mounts.
        volume: String,
        /// Where.
        path: String,
    },
    /// An adapter has no name.
    #[error("spec.model.lora.adapters[{index}] has no name")]
    AdapterName {
        /// Its position.
        index: usize,
    },
    /// An adapter cannot be fetched from where it is.
    #[error(
        "LoRA adapter {name:?}: {uri:?} is not supported for LoRA adapters; use hf://, s3://, gs://, https:// or pvc:// instead"
    )]
    AdapterScheme {
        /// Its position.
        index: usize,
        /// The adapter.
        name: String,
        /// Its location.
        uri: String,
    },
    /// Adapters are attached by what is switched off.
    #[error(
        "spec.model.lora.adapters needs spec.storageInitializer.enabled: remove the adapters or the false"
    )]
    AdaptersWithoutInitializer,
    /// A tier of the KV cache cannot be mounted.
    #[error("{field} {what}")]
    Tier {
        /// Path of the tier.
        field: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The number of devices is none.
    #[error(
        "annotation serving.kserve.io/exp-dra-device-count {value:?} must be a whole number of at least 1"
    )]
    DeviceCount {
        /// The annotation's value.
        value: String,
    },
    /// The managed route has no spec.
    #[error("spec.router.route has no http.spec after merging: the route preset is missing")]
    NoRouteSpec,
    /// The picker's objects cannot be planned.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// An autoscaler cannot be planned.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
    /// The adapters need more matches than a route may have.
    #[error(
        "{adapters} LoRA adapters need {rules} rules with {matches} matches, and a route may have 16 with 128: use fewer adapters, or switch model-based routing off by the annotation serving.kserve.io/model-based-routing-enabled"
    )]
    TooManyAdapters {
        /// Adapters with a name.
        adapters: usize,
        /// Rules needed.
        rules: usize,
        /// Matches needed.
        matches: usize,
    },
}

impl Error {
    /// The error of a pod, with the path of its template.
    fn of_template(mut self, path: &'static str) -> Self {
        if let Self::MountTaken { template, .. } = &mut self {
            *template = path;
        }
        self
    }

    /// The path of the field that is at fault, for errors whose text does not begin with it.
    #[must_use]
    pub fn field(&self) -> Option<String> {
        match self {
            Self::AdapterScheme { index, .. } => {
                Some(format!("spec.model.lora.adapters[{index}].uri"))
            }
            Self::MountTaken { template, .. } => Some(format!("{template}.containers")),
            _ => None,
        }
    }
}

/// Returns every object wanted for the service with the effective spec `spec`, in the order of application.
///
/// # Errors
/// When the spec cannot be turned into objects; nothing is planned then.
pub fn desired(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, Error> {
    let mut objects = workloads(service, spec, facts)?;
    objects.extend(scaling(service, spec, facts)?);
    objects.extend(scheduler(service, spec, facts)?);
    objects.extend(routes(service, spec, facts)?);
    Ok(objects)
}

/// Checks what composition cannot: the adapters of an effective spec.
///
/// # Errors
/// When one has no name, or cannot be fetched.
pub fn check_adapters(spec: &Value) -> Result<(), Error> {
    pod::check_adapters(spec)
}

/// Names of the service accounts that planning asks of [`Facts::accounts`]: those that pods run under, and the
/// namespace's default.
#[must_use]
pub fn accounts(spec: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::from([DEFAULT_ACCOUNT.to_owned()]);
    for role in role::Role::of(spec) {
        names.extend(pod::account::users(role, spec).map(|(name, _)| name.to_owned()));
    }
    names.extend(scheduler::accounts(spec));
    names
}

/// The part of [`desired`] that runs the model: certificate, accounts, Deployments or groups, Services.
///
/// # Errors
/// As [`desired`].
pub fn workloads(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, Error> {
    if stopped(service) {
        return Ok(Vec::new());
    }
    workload::objects(service, spec, facts)
}

/// The part of [`desired`] that changes the number of pods: autoscalers.
///
/// # Errors
/// As [`desired`].
pub fn scaling(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, Error> {
    if stopped(service) {
        return Ok(Vec::new());
    }
    Ok(scaling::objects(service, spec, facts)?)
}

/// The part of [`desired`] that chooses among pods: account and roles, tokenizer, picker, pools, model metadata.
///
/// # Errors
/// As [`desired`].
pub fn scheduler(
    service: &ServiceIdentity,
    spec: &Value,
    facts: &Facts,
) -> Result<Vec<Value>, Error> {
    if stopped(service) {
        return Ok(Vec::new());
    }
    scheduler::objects(service, spec, facts)
}

/// Something that a user should hear of although everything is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind of thing, in the form of an event's reason.
    pub reason: &'static str,
    /// What is to be told.
    pub message: String,
}

/// What a user should hear of what [`workloads`] answers.
#[must_use]
pub fn notes(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Vec<Note> {
    if stopped(service) {
        return Vec::new();
    }
    workload::notes(service, spec, facts)
}

/// The part of [`desired`] that brings requests there: the managed route.
///
/// # Errors
/// As [`desired`].
pub fn routes(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> Result<Vec<Value>, Error> {
    if stopped(service) {
        return Ok(Vec::new());
    }
    Ok(routing::object(service, spec, facts)?.into_iter().collect())
}

/// Whether the service is stopped by its annotation.
#[must_use]
pub fn stopped(service: &ServiceIdentity) -> bool {
    service
        .annotations
        .get(names::annotation::STOP)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The name clients call the model by: `spec.model.name`, or the service's name.
#[must_use]
pub fn model_name<'a>(service: &'a ServiceIdentity, spec: &'a Value) -> &'a str {
    match spec.pointer("/model/name").and_then(Value::as_str) {
        Some(name) if !name.is_empty() => name,
        _ => &service.name,
    }
}

impl ServiceIdentity {
    /// Reads the identity from a service's `metadata`.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let text = |key: &str| {
            object
                .pointer(&format!("/metadata/{key}"))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let map = |key: &str| strings(object.pointer(&format!("/metadata/{key}")));
        Self {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            labels: map("labels"),
            annotations: map("annotations"),
        }
    }

    /// Metadata of a child: name, namespace, labels, owner.
    fn metadata(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("namespace".to_owned(), json!(self.namespace));
        metadata.insert("labels".to_owned(), json!(labels));
        if !annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(annotations));
        }
        if !self.uid.is_empty() {
            metadata.insert(
                "ownerReferences".to_owned(),
                json!([{
                    "apiVersion": names::API_VERSION,
                    "kind": names::SERVICE_KIND,
                    "name": self.name,
                    "uid": self.uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }]),
            );
        }
        Value::Object(metadata)
    }

    /// The three labels every child has.
    fn labels(&self, component: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (label::NAME.to_owned(), self.name.clone()),
            (label::PART_OF.to_owned(), names::value::PART_OF.to_owned()),
            (label::COMPONENT.to_owned(), component.to_owned()),
        ])
    }
}

/// The string entries of a map, none when it is absent.
fn strings(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The items of a list, none when it is absent.
fn items<'a>(parent: &'a Value, pointer: &str) -> &'a [Value] {
    parent
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The text at a pointer, empty when it is absent.
fn text<'a>(parent: &'a Value, pointer: &str) -> &'a str {
    parent
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether anything but null is at a pointer.
fn present(parent: &Value, pointer: &str) -> bool {
    parent
        .pointer(pointer)
        .is_some_and(|value| !value.is_null())
}
