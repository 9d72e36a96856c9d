//! How the model reaches the engine: downloaded by an init container, mounted from a claim, or taken out of a
//! container image.
//!
//! [`Attachment`] is one pod's view of it; every role of a service attaches the same model.

mod credentials;
mod download;
mod local;
mod oci;

use serde_json::{Value, json};
use weir_api::names::{annotation, container, path};

use super::{Context, edit, lora, offload};
use crate::{Error, Facts, OciMode, ServiceIdentity, items, text};

pub use credentials::{CredentialSettings, Secret, secrets};

/// The volume that downloads are written to.
const DOWNLOAD_VOLUME: &str = "kserve-provision-location";
/// The volume of downloaded adapters where a modelcar has the other one.
const ADAPTER_VOLUME: &str = "kserve-lora-location";
const CLAIM_VOLUME: &str = "kserve-pvc-source";

/// What a location begins with, as far as there is a way to fetch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    /// Hugging Face.
    HuggingFace,
    /// A store that the download container reads; what it needs comes from its environment.
    Store,
    /// A volume claim of the namespace.
    Claim,
    /// A container image, fetched as the cluster's settings say.
    Image,
    /// A container image as a volume.
    ImageVolume,
    /// A container image that the download container unpacks.
    ImageFetch,
}

impl Scheme {
    /// The scheme of a location, in any case, and what follows it.
    pub(crate) fn of(uri: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = uri.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "hf" => Self::HuggingFace,
            "s3" | "gs" | "http" | "https" | "file" => Self::Store,
            "pvc" => Self::Claim,
            "oci" => Self::Image,
            "oci+native" => Self::ImageVolume,
            "oci+fetch" => Self::ImageFetch,
            _ => return None,
        };
        Some((scheme, rest))
    }

    /// Whether the download container fetches it for adapters too.
    pub(crate) fn is_store(self) -> bool {
        matches!(self, Self::HuggingFace | Self::Store)
    }
}

/// Whether the user switched off that models are attached at all.
pub(crate) fn is_off(spec: &Value) -> bool {
    spec.pointer("/storageInitializer/enabled") == Some(&Value::Bool(false))
}

/// Whether the model of a spec is mounted as an image, where images that do not say how are mounted if `native`.
pub(crate) fn is_image_volume(spec: &Value, native: bool) -> bool {
    let scheme = Scheme::of(text(spec, "/model/uri")).map(|(scheme, _)| scheme);
    let image = match scheme {
        Some(Scheme::Image) => native,
        scheme => scheme == Some(Scheme::ImageVolume),
    };
    image && !is_off(spec)
}

/// Claim and directory of a `pvc://` location.
pub(crate) fn claim(uri: &str) -> (&str, &str) {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split_once('/').unwrap_or((rest, ""))
}

/// Attaches the model, and the adapters that are downloaded, to the engine.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let account = text(pod, "/serviceAccountName").to_owned();
    Attachment {
        service: context.service,
        spec: context.spec,
        workload: Some(context.workload),
        facts: context.facts,
        account: &account,
        live: live_pod(context),
        overridden: was_overridden(context),
        container: container::MAIN,
        path: path::MODELS,
    }
    .attach(pod)
}

/// The pod of the live workload object.
fn live_pod<'a>(context: &Context<'a>) -> Option<&'a Value> {
    let part = match (context.role.is_grouped(), context.role.is_worker()) {
        (false, _) => "/spec/template/spec",
        (true, false) => "/spec/leaderWorkerTemplate/leaderTemplate/spec",
        (true, true) => "/spec/leaderWorkerTemplate/workerTemplate/spec",
    };
    context.live?.pointer(part)
}

/// Whether the live workload says that the image of its download container is the user's.
fn was_overridden(context: &Context<'_>) -> bool {
    let annotations = context
        .live
        .and_then(|live| live.pointer("/metadata/annotations"));
    annotations.is_some_and(|all| all.get(annotation::OWN_INITIALIZER).is_some())
}

/// Whether the user names the image of the download container.
pub(crate) fn is_overridden(template: &Value) -> bool {
    items(template, "/initContainers")
        .iter()
        .any(|c| c["name"] == container::STORAGE_INITIALIZER && !text(c, "/image").is_empty())
}

/// A model that is to be attached to a container.
pub(crate) struct Attachment<'a> {
    /// Whose model.
    pub(crate) service: &'a ServiceIdentity,
    /// The whole effective spec.
    pub(crate) spec: &'a Value,
    /// The workload whose adapters and tiers come too; none for a container that only needs the base model.
    pub(crate) workload: Option<&'a Value>,
    /// What is known of the cluster.
    pub(crate) facts: &'a Facts,
    /// The account whose credentials are used; empty for the namespace's default.
    pub(crate) account: &'a str,
    /// The pod as it is in the cluster.
    pub(crate) live: Option<&'a Value>,
    /// Whether the image of the live download container was the user's.
    pub(crate) overridden: bool,
    /// The container that reads the model.
    pub(crate) container: &'a str,
    /// Where it reads it.
    pub(crate) path: &'a str,
}

/// One thing to download.
struct Download {
    uri: String,
    scheme: Scheme,
    /// Where the download container writes it.
    target: String,
}

impl Attachment<'_> {
    pub(crate) fn attach(&self, pod: &mut Value) -> Result<(), Error> {
        let uri = text(self.spec, "/model/uri");
        let unknown = |uri: &str| match uri.contains("://") {
            false => Error::NoScheme {
                uri: uri.to_owned(),
            },
            true => Error::UnsupportedScheme {
                uri: uri.to_owned(),
            },
        };
        if !uri.contains("://") {
            return Err(unknown(uri));
        }
        if is_off(self.spec) {
            return Ok(());
        }
        let uri = local::resolve(self.service, uri)?;
        let (scheme, rest) = Scheme::of(&uri).ok_or_else(|| unknown(&uri))?;
        let adapters = match self.workload {
            Some(_) => lora::adapters(self.spec)?,
            None => Vec::new(),
        };
        let user = edit::take(pod, "initContainers", container::STORAGE_INITIALIZER);

        let mode = match scheme {
            Scheme::Image => self.facts.storage.oci,
            Scheme::ImageVolume => OciMode::Native,
            Scheme::ImageFetch => OciMode::Fetch,
            _ => OciMode::Disabled,
        };
        let mut downloads = Vec::new();
        let mut volume = DOWNLOAD_VOLUME;
        match (scheme, mode) {
            (Scheme::HuggingFace | Scheme::Store, _) | (_, OciMode::Fetch) => {
                let uri = match scheme {
                    // The download container knows images by this scheme alone.
                    Scheme::ImageFetch => format!("oci://{rest}"),
                    _ => uri.clone().into_owned(),
                };
                downloads.push(Download {
                    uri,
                    scheme,
                    target: path::MODELS.to_owned(),
                });
            }
            (Scheme::Claim, _) => self.mount_claim(rest, pod)?,
            (_, OciMode::Native) => {
                let image = oci::reference(&uri, rest)?;
                oci::mount(pod, image, self.container, self.path)?;
            }
            (_, OciMode::Modelcar) => {
                let image = oci::reference(&uri, rest)?;
                let settings = &self.facts.storage;
                oci::modelcar(pod, image, self.container, self.path, settings)?;
                volume = ADAPTER_VOLUME;
            }
            (_, OciMode::Disabled) => {
                return Err(Error::ImagesDisabled {
                    uri: uri.into_owned(),
                });
            }
        }
        let fetched = adapters.iter().filter(|adapter| adapter.scheme.is_store());
        downloads.extend(fetched.map(|adapter| Download {
            uri: adapter.uri.to_owned(),
            scheme: adapter.scheme,
            target: adapter.path.clone(),
        }));
        if downloads.is_empty() {
            return Ok(());
        }
        let mut nested: Vec<String> = adapters
            .into_iter()
            .filter(|adapter| !adapter.scheme.is_store())
            .map(|adapter| adapter.path)
            .collect();
        nested.extend(self.workload.into_iter().flat_map(offload::mount_paths));
        self.download(pod, &downloads, volume, user.as_ref(), nested)
    }

    fn mount_claim(&self, rest: &str, pod: &mut Value) -> Result<(), Error> {
        let (claim, sub_path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut mount = json!({"name": CLAIM_VOLUME, "mountPath": self.path, "readOnly": true});
        if !sub_path.is_empty() {
            mount["subPath"] = json!(sub_path);
        }
        let volume = json!({"name": CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": claim}});
        edit::mount(pod, self.container, &[mount], volume)
    }

    /// The init container of that name in the live pod.
    fn live_initializer(&self) -> Option<&Value> {
        items(self.live?, "/initContainers")
            .iter()
            .find(|c| c["name"] == container::STORAGE_INITIALIZER)
    }
}
