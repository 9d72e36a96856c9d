//! Reads and writes of the node at the API.

use std::collections::BTreeMap;

use base64::Engine as _;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

/// Why an object that a container needs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not exist.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// ConfigMap or Secret.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It lacks a key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key {
        /// ConfigMap or Secret.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server did not answer.
    #[error("cannot read {kind} {name:?}")]
    Api {
        /// ConfigMap or Secret.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// A volume could not be written, or its description is not allowed.
    #[error("volume {volume:?}: {message}")]
    Volume {
        /// Its name.
        volume: String,
        /// What is wrong.
        message: String,
    },
}

const LOCAL_PATH: &str = "weir.dev/local-path";

/// The API as the node uses it.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    component: &'static str,
}

/// The resource of a core kind.
pub(crate) fn core(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

impl Objects {
    /// Uses `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            component: "weir-node",
        }
    }

    /// Pods of a namespace.
    pub(crate) fn pods(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &core("Pod", "pods"))
    }

    pub(crate) fn accounts(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = core("ServiceAccount", "serviceaccounts");
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// The path that annotation `weir.dev/local-path` of a claim names.
    ///
    /// # Errors
    /// When the claim cannot be read.
    pub(crate) async fn local_path(
        &self,
        namespace: &str,
        claim: &str,
    ) -> Result<Option<String>, ReadError> {
        let (kind, plural) = ("PersistentVolumeClaim", "persistentvolumeclaims");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &core(kind, plural));
        let found = api.get_opt(claim).await.map_err(|source| ReadError::Api {
            kind,
            name: claim.to_owned(),
            source: Box::new(source),
        })?;
        let annotations = found.and_then(|claim| claim.metadata.annotations);
        Ok(annotations.and_then(|mut all| all.remove(LOCAL_PATH)))
    }

    /// All entries of a ConfigMap or Secret; none when the reference is optional and it is missing.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub async fn data(
        &self,
        namespace: &str,
        reference: &Value,
        secret: bool,
    ) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
        let (kind, plural) = if secret {
            ("Secret", "secrets")
        } else {
            ("ConfigMap", "configmaps")
        };
        let name = reference["name"]
            .as_str()
            .or_else(|| reference["secretName"].as_str())
            .unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &core(kind, plural));
        let found = api.get_opt(name).await.map_err(|source| ReadError::Api {
            kind,
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        let Some(object) = found else {
            if reference["optional"] == true {
                return Ok(BTreeMap::new());
            }
            return Err(ReadError::Missing {
                kind,
                name: name.to_owned(),
            });
        };
        let mut entries = BTreeMap::new();
        let decode = |text: &str| {
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap_or_default()
        };
        for (key, value) in object.data["data"].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            entries.insert(
                key.clone(),
                if secret {
                    decode(text)
                } else {
                    text.as_bytes().to_vec()
                },
            );
        }
        for (key, value) in object.data["binaryData"].as_object().into_iter().flatten() {
            entries.insert(key.clone(), decode(value.as_str().unwrap_or_default()));
        }
        Ok(entries)
    }

    /// One entry of a ConfigMap or Secret; `None` when the reference is optional and it is missing.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub async fn key(
        &self,
        namespace: &str,
        reference: &Value,
        secret: bool,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let key = reference["key"].as_str().unwrap_or_default();
        let mut data = self.data(namespace, reference, secret).await?;
        match data.remove(key) {
            Some(value) => Ok(Some(value)),
            None if reference["optional"] == true => Ok(None),
            None => Err(ReadError::Key {
                kind: if secret { "Secret" } else { "ConfigMap" },
                namespace: namespace.to_owned(),
                name: reference["name"].as_str().unwrap_or_default().to_owned(),
                key: key.to_owned(),
            }),
        }
    }

    /// Writes an event about a pod or service; a failure is only logged.
    pub async fn event(&self, about: &Value, warning: bool, reason: &str, message: &str) {
        let metadata = &about["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let name = metadata["name"].as_str().unwrap_or_default();
        let now = now();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": format!("{name}."), "namespace": namespace},
            "involvedObject": {"apiVersion": "v1", "kind": about["kind"].as_str().unwrap_or("Pod"),
                               "namespace": namespace, "name": name, "uid": metadata["uid"]},
            "reason": reason, "message": message,
            "type": if warning { "Warning" } else { "Normal" },
            "count": 1, "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": self.component},
        });
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &core("Event", "events"));
        match serde_json::from_value(event) {
            Ok(event) => {
                if let Err(error) = api.create(&PostParams::default(), &event).await {
                    tracing::debug!(%error, reason, "Event not written");
                }
            }
            Err(error) => tracing::debug!(%error, reason, "Event not made"),
        }
    }
}

/// The present time as Kubernetes writes it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
