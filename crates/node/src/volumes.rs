//! Volumes of a pod as directories of this machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Options;
use crate::env;
use crate::objects::{Objects, ReadError};
use crate::paths::Mount;
use crate::place::{self, Missing, entry, make_dir};

/// A volume on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its directory.
    pub path: PathBuf,
    /// Whether nothing may be made in it.
    pub read_only: bool,
}

/// Returns the real path of a directory that a manifest names, where `options` let it.
///
/// # Errors
/// With the reason why it may not be used.
pub fn allowed(path: &Path, options: &Options) -> Result<PathBuf, String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("path {shown} is not absolute"));
    }
    let real = path
        .canonicalize()
        .map_err(|error| format!("path {shown}: {error}"))?;
    let below = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
    if options.allow_host_commands || options.allow_paths.iter().any(below) {
        Ok(real)
    } else {
        Err(format!(
            "path {shown} is not below a directory given by --allow-path"
        ))
    }
}

/// Makes the volumes of `pod` below `directory` and returns them by name.
///
/// # Errors
/// When an object that a volume shows is missing, or a volume is not allowed.
pub async fn prepare(
    pod: &Value,
    directory: &Path,
    options: &Options,
    ip: Ipv4Addr,
    objects: &Objects,
) -> Result<BTreeMap<String, Volume>, ReadError> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut hosts = BTreeMap::new();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let name = volume["name"].as_str().unwrap_or_default();
        let wrong = |message: String| ReadError::Volume {
            volume: name.to_owned(),
            message,
        };
        let host = entry(directory, name)
            .ok_or_else(|| wrong("its name is not a file name".to_owned()))?;
        if let Some(path) = volume.pointer("/hostPath/path").and_then(Value::as_str) {
            if !options.allow_host_commands {
                return Err(wrong(
                    "hostPath volumes need --allow-host-commands".to_owned(),
                ));
            }
            let volume = Volume {
                path: PathBuf::from(path),
                read_only: true,
            };
            hosts.insert(name.to_owned(), volume);
            continue;
        }
        let claim = volume
            .pointer("/persistentVolumeClaim/claimName")
            .and_then(Value::as_str);
        let host = match claim {
            Some(claim) => {
                if let Some(path) = objects.local_path(namespace, claim).await? {
                    let path = allowed(Path::new(&path), options)
                        .map_err(|message| wrong(format!("claim {claim}: {message}")))?;
                    let volume = Volume {
                        path,
                        read_only: true,
                    };
                    hosts.insert(name.to_owned(), volume);
                    continue;
                }
                entry(&options.data_dir.join("pvc"), namespace)
                    .and_then(|dir| entry(&dir, claim))
                    .ok_or_else(|| wrong("its claim is not a file name".to_owned()))?
            }
            None => host,
        };
        make_dir(&host).map_err(|error| wrong(error.to_string()))?;
        let files = content(volume, pod, namespace, ip, objects).await?;
        for (path, file) in files {
            place::write(&host, &path, &file.bytes, file.mode)
                .map_err(|error| wrong(error.to_string()))?;
        }
        let volume = Volume {
            path: host,
            read_only: false,
        };
        hosts.insert(name.to_owned(), volume);
    }
    Ok(hosts)
}

/// The mounts of one container.
///
/// # Errors
/// When a mount names no volume, the root, or a path outside its volume.
pub fn mounts(
    container: &Value,
    hosts: &BTreeMap<String, Volume>,
) -> Result<Vec<Mount>, ReadError> {
    let mut mounts = Vec::new();
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let name = mount["name"].as_str().unwrap_or_default();
        let wrong = |message: String| ReadError::Volume {
            volume: name.to_owned(),
            message,
        };
        let inside = mount["mountPath"]
            .as_str()
            .unwrap_or_default()
            .trim_end_matches('/');
        if !inside.starts_with('/') {
            return Err(wrong(
                "mountPath must be an absolute path below /".to_owned(),
            ));
        }
        let Some(volume) = hosts.get(name) else {
            return Err(wrong("the pod has no such volume".to_owned()));
        };
        let host = &volume.path;
        let host = match mount["subPath"].as_str().filter(|path| !path.is_empty()) {
            Some(path) => {
                let missing = if volume.read_only {
                    Missing::Refuse
                } else {
                    Missing::Make
                };
                place::walk(host, Path::new(path), missing)
                    .map_err(|error| wrong(format!("subPath {path:?}: {error}")))?
            }
            None => host.clone(),
        };
        mounts.push(Mount {
            inside: inside.to_owned(),
            host,
        });
    }
    Ok(mounts)
}

/// Files of a volume by path.
type Files = BTreeMap<String, File>;

struct File {
    bytes: Vec<u8>,
    mode: u32,
}

impl File {
    /// `item` is what the manifest says of this file, `source` of all of them.
    fn new(bytes: Vec<u8>, item: &Value, source: &Value, volume: &Value) -> Self {
        let modes = [
            &item["mode"],
            &source["defaultMode"],
            &volume["defaultMode"],
        ];
        Self {
            bytes,
            mode: place::owner_mode(modes.into_iter().find_map(Value::as_u64)),
        }
    }
}

async fn content(
    volume: &Value,
    pod: &Value,
    namespace: &str,
    ip: Ipv4Addr,
    objects: &Objects,
) -> Result<Files, ReadError> {
    let mut files = Files::new();
    let projected = &volume["projected"];
    let parts = projected["sources"].as_array().into_iter().flatten();
    for part in std::iter::once(volume).chain(parts) {
        if let Some(source) = part.get("configMap") {
            files.extend(keyed(source, projected, namespace, false, objects).await?);
        } else if let Some(source) = part.get("secret") {
            files.extend(keyed(source, projected, namespace, true, objects).await?);
        } else if let Some(source) = part.get("downwardAPI") {
            files.extend(downward(source, projected, pod, ip));
        }
    }
    Ok(files)
}

async fn keyed(
    source: &Value,
    volume: &Value,
    namespace: &str,
    secret: bool,
    objects: &Objects,
) -> Result<Files, ReadError> {
    let data = objects.data(namespace, source, secret).await?;
    let Some(items) = source["items"].as_array() else {
        let file = |bytes| File::new(bytes, &Value::Null, source, volume);
        return Ok(data
            .into_iter()
            .map(|(key, bytes)| (key, file(bytes)))
            .collect());
    };
    let mut files = Files::new();
    for item in items {
        let key = item["key"].as_str().unwrap_or_default();
        let path = item["path"].as_str().unwrap_or_default();
        match data.get(key) {
            Some(bytes) => {
                files.insert(
                    path.to_owned(),
                    File::new(bytes.clone(), item, source, volume),
                );
            }
            None if source["optional"] == true => {}
            None => {
                return Err(ReadError::Key {
                    kind: if secret { "Secret" } else { "ConfigMap" },
                    namespace: namespace.to_owned(),
                    name: source["name"].as_str().unwrap_or_default().to_owned(),
                    key: key.to_owned(),
                });
            }
        }
    }
    Ok(files)
}

fn downward(source: &Value, volume: &Value, pod: &Value, ip: Ipv4Addr) -> Files {
    let items = source["items"].as_array();
    items
        .into_iter()
        .flatten()
        .filter_map(|item| {
            let path = item["path"].as_str()?;
            let field = item.pointer("/fieldRef/fieldPath")?.as_str()?;
            let bytes = env::field(pod, field, ip).into_bytes();
            Some((path.to_owned(), File::new(bytes, item, source, volume)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_allowed_below_a_given_directory_only() {
        let dir = tempfile::tempdir().unwrap();
        let (given, other) = (dir.path().join("given"), dir.path().join("other"));
        for path in [&given.join("model"), &other] {
            make_dir(path).unwrap();
        }
        std::os::unix::fs::symlink(&other, given.join("out")).unwrap();
        let options = |allow_host_commands, path: &Path| Options {
            node_name: String::new(),
            data_dir: PathBuf::new(),
            loopback_block: 64,
            engine: crate::EngineChoice::Simulated,
            program: PathBuf::new(),
            kubeconfig: PathBuf::new(),
            allow_host_commands,
            allow_paths: vec![path.to_owned()],
        };
        for (path, wanted) in [
            (given.join("model"), true),
            (given.clone(), true),
            (given.join("../other"), false),
            (given.join("out"), false),
            (given.join("missing"), false),
            (PathBuf::from("given"), false),
        ] {
            let found = allowed(&path, &options(false, &given));
            assert_eq!(found.is_ok(), wanted, "{} {found:?}", path.display());
        }
        assert!(allowed(&other, &options(true, &given)).is_ok());
    }
}
