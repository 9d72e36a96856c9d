//! A pod's volumes as directories of this machine.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::Api;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::paths::Mount;

/// Makes the directories of a pod's volumes and returns them by volume name, or why it cannot be done yet.
pub(crate) async fn prepare(
    client: &Client,
    data_dir: &Path,
    pod: &Value,
) -> Result<BTreeMap<String, PathBuf>, String> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let mut directories = BTreeMap::new();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let name = volume["name"].as_str().unwrap_or_default();
        // Short, since the path of a socket ends at 107 bytes.
        let digest = Sha256::digest(format!("{uid}/{name}"));
        let short: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut directory = data_dir.join("v").join(short);
        if let Some(claim) = volume
            .pointer("/persistentVolumeClaim/claimName")
            .and_then(Value::as_str)
        {
            directory = data_dir.join("pvc").join(namespace).join(claim);
        }
        let failed = |error: std::io::Error| format!("volume {name:?}: {error}");
        tokio::fs::create_dir_all(&directory)
            .await
            .map_err(failed)?;
        let files = contents(client, namespace, name, volume).await?;
        for (file, bytes) in files {
            let relative = Path::new(&file);
            if !relative
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                return Err(format!("volume {name:?}: path {file:?} leaves the volume"));
            }
            let path = directory.join(relative);
            if let Some(parent) = path.parent() {
                tokio::fs::create_dir_all(parent).await.map_err(failed)?;
            }
            tokio::fs::write(&path, bytes).await.map_err(failed)?;
        }
        directories.insert(name.to_owned(), directory);
    }
    Ok(directories)
}

/// Returns the files of a volume that comes from an object; none for the others.
async fn contents(
    client: &Client,
    namespace: &str,
    volume_name: &str,
    volume: &Value,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let optional = |source: &Value| source["optional"].as_bool() == Some(true);
    let missing = |kind: &str, name: &str| {
        format!("volume {volume_name:?}: {kind} {name:?} does not exist yet")
    };
    let (mut files, items) = if let Some(source) = volume.get("configMap") {
        let name = source["name"].as_str().unwrap_or_default();
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
        if found.is_none() && !optional(source) {
            return Err(missing("ConfigMap", name));
        }
        let map = found.unwrap_or_default();
        let text = map
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(k, v)| (k, v.into_bytes()));
        let binary = map
            .binary_data
            .unwrap_or_default()
            .into_iter()
            .map(|(k, v)| (k, v.0));
        (
            text.chain(binary).collect::<BTreeMap<_, _>>(),
            source.get("items").cloned(),
        )
    } else if let Some(source) = volume.get("secret") {
        let name = source["secretName"].as_str().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
        if found.is_none() && !optional(source) {
            return Err(missing("Secret", name));
        }
        let data = found.and_then(|secret| secret.data).unwrap_or_default();
        (
            data.into_iter().map(|(k, v)| (k, v.0)).collect(),
            source.get("items").cloned(),
        )
    } else {
        return Ok(BTreeMap::new());
    };
    if let Some(Value::Array(items)) = items {
        files = items
            .iter()
            .filter_map(|item| {
                Some((
                    item["path"].as_str()?.to_owned(),
                    files.get(item["key"].as_str()?)?.clone(),
                ))
            })
            .collect();
    }
    Ok(files)
}

/// Returns a container's mounts.
pub(crate) fn mounts(container: &Value, directories: &BTreeMap<String, PathBuf>) -> Vec<Mount> {
    let mounts = container["volumeMounts"].as_array();
    mounts
        .into_iter()
        .flatten()
        .filter_map(|mount| {
            let mut host = directories.get(mount["name"].as_str()?)?.clone();
            if let Some(sub) = mount["subPath"].as_str() {
                let sub = Path::new(sub);
                if !sub
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)))
                {
                    return None;
                }
                host.push(sub);
            }
            Some(Mount {
                path: mount["mountPath"].as_str()?.to_owned(),
                host,
            })
        })
        .collect()
}

/// Reads one key of a ConfigMap or Secret for an environment variable.
pub(crate) async fn key(client: &Client, namespace: &str, source: &Value) -> Option<String> {
    if let Some(reference) = source.get("configMapKeyRef") {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let map = api.get_opt(reference["name"].as_str()?).await.ok()??;
        return map.data?.get(reference["key"].as_str()?).cloned();
    }
    let reference = source.get("secretKeyRef")?;
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret =
        serde_json::to_value(api.get_opt(reference["name"].as_str()?).await.ok()??).ok()?;
    let text = secret["data"][reference["key"].as_str()?].as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    String::from_utf8(bytes).ok()
}
