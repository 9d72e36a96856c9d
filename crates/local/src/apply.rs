//! Server-side apply of one document, by discovery, as `kubectl apply --server-side` does it, and its deletion.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use serde_json::Value;

/// Field manager of documents that `weir up` applies from files.
pub const FIELD_MANAGER: &str = "weir-up";

/// Why a document was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The document has no usable `apiVersion`, `kind` or `metadata.name`.
    #[error("{0} is missing")]
    Incomplete(&'static str),
    /// The store serves no such kind.
    #[error("no kind {kind:?} in {api_version:?} is served here")]
    UnknownKind {
        /// The document's `apiVersion`.
        api_version: String,
        /// The document's `kind`.
        kind: String,
    },
    /// The store refused it.
    #[error("{0}")]
    Refused(String),
    /// The store did not answer.
    #[error("the API store did not answer")]
    Client(#[source] kube::Error),
}

/// Identity of an applied document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind, as in the document.
    pub kind: String,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Where a document lives, and under which name.
struct Home {
    api: Api<DynamicObject>,
    key: ObjectKey,
}

/// Applies `document` with [`FIELD_MANAGER`], forced, unknown fields refused. A document without a
/// namespace goes to `default`.
///
/// # Errors
/// See [`Error`].
pub async fn apply(client: &kube::Client, document: &Value) -> Result<ObjectKey, Error> {
    let Home { api, key } = home(client, document).await?;
    let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
    parameters.field_validation = Some(ValidationDirective::Strict);
    match api
        .patch(&key.name, &parameters, &Patch::Apply(document))
        .await
    {
        Ok(_) => Ok(key),
        Err(kube::Error::Api(status)) => Err(Error::Refused(status.message.clone())),
        Err(error) => Err(Error::Client(error)),
    }
}

/// Deletes the object of `document`; one that is gone already is fine.
///
/// # Errors
/// See [`Error`].
pub async fn delete(client: &kube::Client, document: &Value) -> Result<ObjectKey, Error> {
    let Home { api, key } = home(client, document).await?;
    match api.delete(&key.name, &DeleteParams::background()).await {
        Ok(_) => Ok(key),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(key),
        Err(kube::Error::Api(status)) => Err(Error::Refused(status.message.clone())),
        Err(error) => Err(Error::Client(error)),
    }
}

async fn home(client: &kube::Client, document: &Value) -> Result<Home, Error> {
    let text = |pointer: &str, what| {
        document
            .pointer(pointer)
            .and_then(Value::as_str)
            .ok_or(Error::Incomplete(what))
    };
    let api_version = text("/apiVersion", "apiVersion")?;
    let kind = text("/kind", "kind")?;
    let name = text("/metadata/name", "metadata.name")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let unknown = || Error::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    let (resource, capabilities) = discovery::pinned_kind(client, &gvk)
        .await
        .map_err(|error| match &error {
            kube::Error::Discovery(_) => unknown(),
            kube::Error::Api(status) if status.is_not_found() => unknown(),
            _ => Error::Client(error),
        })?;
    let namespaced = capabilities.scope == Scope::Namespaced;
    let namespace = document
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or("default");
    let api: Api<DynamicObject> = if namespaced {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let namespace = if namespaced { namespace } else { "" };
    Ok(Home {
        api,
        key: ObjectKey {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
    })
}
