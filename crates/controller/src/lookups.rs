//! What a pass reads beside its cache: credentials that pods refer to, which nothing watches, since holding every
//! Secret of a cluster for a few names of keys would cost memory and rights; and the cluster's certificate
//! authorities.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use kube::api::Api;
use kube::api::DynamicObject;
use parking_lot::Mutex;
use serde_json::Value;
use weir_api::names::kind;
use weir_plan::{CA_BUNDLE_KEY, Secret, Settings};

use crate::{Context, Error, watch};

/// What is known of the API server itself.
#[derive(Default)]
pub(crate) struct Server(Mutex<Option<u32>>);

impl Server {
    /// Its minor version, asked once; `None` while it cannot be read.
    pub(crate) async fn minor(&self, client: &Client) -> Option<u32> {
        if let Some(known) = *self.0.lock() {
            return Some(known);
        }
        let version = match client.apiserver_version().await {
            Ok(version) => version,
            Err(error) => {
                tracing::debug!(%error, "cannot read the version of the API server");
                return None;
            }
        };
        let digits: String = version
            .minor
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let minor = digits.parse().ok();
        *self.0.lock() = minor;
        minor
    }
}

/// Reads those of the secrets that exist.
pub(crate) async fn secrets(
    context: &Context,
    namespace: &str,
    names: BTreeSet<String>,
) -> Result<BTreeMap<String, Secret>, Error> {
    let api: Api<DynamicObject> = watch::api(&context.client, kind::SECRET, Some(namespace));
    let mut found = BTreeMap::new();
    for name in names {
        let object = api.get_opt(&name).await;
        let object =
            object.map_err(|e| Error::api("read", format!("Secret {namespace}/{name}"), e))?;
        if let Some(object) = object {
            found.insert(name, read(&object));
        }
    }
    Ok(found)
}

/// Names of keys, and the values that pods get as they are: no others are held here.
fn read(object: &DynamicObject) -> Secret {
    let data = object.data.get("data").and_then(Value::as_object);
    let data = data.into_iter().flatten();
    let mut secret = Secret {
        annotations: object.metadata.annotations.clone().unwrap_or_default(),
        ..Secret::default()
    };
    for (key, value) in data {
        let readable = Secret::READABLE.contains(&key.as_str());
        let text = value.as_str().filter(|_| readable);
        let text = text.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
        if let Some(text) = text {
            secret.texts.insert(key.clone(), text);
        }
        secret.keys.insert(key.clone());
    }
    secret
}

/// The certificate authorities that the global configuration names, for a namespace that needs a copy of them.
pub(crate) fn authorities(
    context: &Context,
    settings: &Settings,
    namespace: &str,
) -> Result<Option<String>, Error> {
    let system = &context.options.system_namespace;
    let Some(name) = &settings.storage.ca_config_map else {
        return Ok(None);
    };
    if namespace == system {
        return Ok(None);
    }
    let map = context.cache.get(kind::CONFIG_MAP, system, name)?;
    let bundle = map
        .as_ref()
        .and_then(|map| map["data"][CA_BUNDLE_KEY].as_str());
    match bundle.filter(|bundle| !bundle.is_empty()) {
        Some(bundle) => Ok(Some(bundle.to_owned())),
        None => Err(Error::Authorities {
            name: format!("{system}/{name}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_secret_only_the_values_that_pods_get_as_they_are_are_read() {
        let object = json!({
            "metadata": {"name": "s", "annotations": {"a": "b"}},
            "data": {"HF_TOKEN": "aGY=", "S3_ENDPOINT": "czM=", "S3_USE_HTTPS": "/w=="},
        });
        let object = serde_json::from_value(object).unwrap_or_else(|e| panic!("{e}"));
        let secret = read(&object);
        let keys = ["HF_TOKEN", "S3_ENDPOINT", "S3_USE_HTTPS"].map(str::to_owned);
        assert_eq!(secret.keys, BTreeSet::from(keys));
        assert_eq!(
            secret.texts,
            BTreeMap::from([("S3_ENDPOINT".to_owned(), "s3".to_owned())])
        );
        assert_eq!(secret.annotations["a"], "b");
    }
}
