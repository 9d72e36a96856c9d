//! What all request handlers share.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::address::Addresses;
use crate::hooks::Hooks;
use crate::openapi::Documents;
use crate::registry::{Registry, Resource};
use crate::request::Req;
use crate::status::{ApiError, ApiResult};
use crate::store::{Key, Object, Store};
use crate::{crd, meta};

/// The server's state.
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) token: String,
    pub(crate) logs: PathBuf,
    pub(crate) addresses: Addresses,
    /// OpenAPI documents that somebody asked for.
    pub(crate) documents: Documents,
    /// Wakes the garbage collector.
    pub(crate) collect: Notify,
    /// One permit for each open watch.
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

impl App {
    /// Returns an object in the version of `resource`.
    pub(crate) fn serve(&self, resource: &Resource, stored: &Value) -> ApiResult<Value> {
        let wanted = resource.api_version();
        let have = meta::text(stored, "/apiVersion");
        let mut value = stored.clone();
        if have != wanted {
            value = self.convert(resource, value, &wanted)?;
        }
        if &*resource.storage == crd::STORAGE {
            crd::unfold(&mut value);
        }
        Ok(value)
    }

    /// Returns as much of an object as the answer to `req` shows: of a large one perhaps little.
    pub(crate) fn serve_to(&self, req: &Req, stored: &Value) -> ApiResult<Value> {
        let whole = !req.partial() || req.table();
        if whole || meta::text(stored, "/apiVersion") != req.resource.api_version() {
            return self.serve(&req.resource, stored);
        }
        Ok(
            json!({"apiVersion": stored["apiVersion"], "kind": stored["kind"],
            "metadata": stored["metadata"]}),
        )
    }

    /// Returns an object in the version in which it is stored.
    pub(crate) fn storage(&self, resource: &Resource, mut value: Value) -> ApiResult<Value> {
        if &*resource.storage == crd::STORAGE {
            crd::fold(&mut value);
        }
        if meta::text(&value, "/apiVersion") == resource.storage_version {
            return Ok(value);
        }
        let to = resource.storage_version.clone();
        self.convert(resource, value, &to)
    }

    fn convert(&self, resource: &Resource, mut value: Value, to: &str) -> ApiResult<Value> {
        match &resource.custom {
            Some(_) if self.hooks.converts(&resource.group) => {
                // Conversion never changes what the store decides.
                let metadata = value["metadata"].clone();
                let mut new = self.hooks.convert(value, to).map_err(|error| {
                    ApiError::internal(format!(
                        "conversion of {} to {to} failed: {error}",
                        resource.kind
                    ))
                })?;
                for key in [
                    "name",
                    "namespace",
                    "uid",
                    "resourceVersion",
                    "creationTimestamp",
                    "generation",
                ] {
                    meta::set(&mut new, key, metadata.get(key).cloned());
                }
                Ok(new)
            }
            _ => {
                if &*resource.storage == "core/events" {
                    crate::event::convert(&mut value, to);
                } else if resource.group == "autoscaling" {
                    crate::event::convert_autoscaler(&mut value, to);
                }
                value["apiVersion"] = json!(to);
                Ok(value)
            }
        }
    }

    /// Returns the key of an object.
    pub(crate) fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
        Key {
            storage: Arc::clone(&resource.storage),
            namespace: if resource.namespaced {
                namespace.to_owned()
            } else {
                String::new()
            },
            name: name.to_owned(),
        }
    }

    /// Returns an object that must exist, as it is durable.
    pub(crate) async fn fetch(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Arc<Object>> {
        let key = Self::key(resource, namespace, name);
        let object = self
            .store
            .peek(&key)
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        self.durable(object.version).await?;
        Ok(object)
    }

    /// Waits for the disk.
    pub(crate) async fn durable(&self, version: u64) -> ApiResult<()> {
        self.store
            .durable(version)
            .await
            .map_err(ApiError::internal)
    }
}
