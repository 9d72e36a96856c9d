//! The download container: what it fetches, where it writes, and where the engine reads it.

use serde_json::{Map, Value, json};
use weir_api::names::{container, path};
use weir_merge::compose_merge;
use weir_schema::Node;

use super::{Attachment, Download, Scheme, credentials};
use crate::pod::edit;
use crate::{Error, items, text};

const LIST: &str = "initContainers";

/// Fields of a user's download container that always come from the plan.
const OURS: [&str; 3] = ["name", "args", "command"];

/// Environment of downloads from Hugging Face, where nothing else sets it.
const HUB: [(&str, &str); 3] = [
    ("HF_HUB_ENABLE_HF_TRANSFER", "1"),
    ("HF_XET_HIGH_PERFORMANCE", "1"),
    ("HF_XET_NUM_CONCURRENT_RANGE_GETS", "8"),
];

/// The volume of registry credentials, and where the download container looks for them.
const REGISTRY_VOLUME: &str = "oci-fetch-auth";
const REGISTRY_PATH: &str = "/mnt/oci-fetch-auth";

/// Where a volume is mounted, and which directory of it.
struct Place {
    path: String,
    sub_path: Option<String>,
}

impl Place {
    fn mount(&self, volume: &str) -> Value {
        let mut mount = json!({"name": volume, "mountPath": self.path});
        if let Some(sub_path) = &self.sub_path {
            mount["subPath"] = json!(sub_path);
        }
        mount
    }
}

impl Attachment<'_> {
    /// Adds the container that downloads everything into `volume`, and mounts that in the engine. `nested` are
    /// the paths at which something else is going to be mounted.
    pub(super) fn download(
        &self,
        pod: &mut Value,
        downloads: &[Download],
        volume: &str,
        user: Option<&Value>,
        nested: Vec<String>,
    ) -> Result<(), Error> {
        let engine = items(pod, "/containers")
            .iter()
            .find(|c| c["name"] == self.container);
        let mut others = nested;
        others.extend(
            engine
                .into_iter()
                .flat_map(|engine| items(engine, "/volumeMounts"))
                .map(|mount| text(mount, "/mountPath").to_owned()),
        );
        let places = places(downloads, &others);

        let mut init = self.container(downloads, &places, volume, user);
        let own = |name: &Value| user.is_some_and(|user| has_env(user, name));
        let credentials = credentials::of(self.service, self.account, self.facts)?;
        for entry in credentials.env {
            if !own(&entry["name"]) {
                edit::set_env(&mut init, entry);
            }
        }
        let mut volumes = Vec::new();
        for (secret, mount) in credentials.mounts {
            add_mount(&mut init, mount, secret, &mut volumes);
        }
        if downloads.iter().any(|d| d.scheme == Scheme::HuggingFace) && !self.predates_hub(&init) {
            for (name, value) in HUB {
                edit::push_new(&mut init, "env", json!({"name": name, "value": value}));
            }
        }
        if let Some((config_map, mount)) = self.authorities(&mut init) {
            add_mount(&mut init, mount, config_map, &mut volumes);
        }
        if downloads
            .iter()
            .any(|d| matches!(d.scheme, Scheme::Image | Scheme::ImageFetch))
            && let Some((secret, mount)) = self.registry(pod)
        {
            add_mount(&mut init, mount, secret, &mut volumes);
        }

        edit::push(pod, LIST, init);
        let mounts: Vec<Value> = places
            .iter()
            .map(|place| {
                let mut mount = place.mount(volume);
                mount["readOnly"] = json!(true);
                if place.path == path::MODELS {
                    mount["mountPath"] = json!(self.path);
                }
                mount
            })
            .collect();
        let scratch = json!({"name": volume, "emptyDir": {}});
        edit::mount(pod, self.container, &mounts, scratch.clone())?;
        // The engine may have a mount of that volume of its own; the download container needs it all the same.
        edit::push_new(pod, "volumes", scratch);
        for volume in volumes {
            edit::push_new(pod, "volumes", volume);
        }
        Ok(())
    }

    /// The container without credentials: ours, with the user's laid over it.
    fn container(
        &self,
        downloads: &[Download],
        places: &[Place],
        volume: &str,
        user: Option<&Value>,
    ) -> Value {
        let settings = &self.facts.storage;
        let live = self.live_initializer();
        let args = arguments(downloads, live);
        let kept = live
            .filter(|live| live["args"] == args && !self.overridden)
            .map(|live| text(live, "/image"))
            .filter(|image| !image.is_empty());
        let mut init = json!({
            "name": container::STORAGE_INITIALIZER,
            "image": kept.unwrap_or(&settings.image),
            "args": args,
            "resources": {
                "limits": {"cpu": settings.cpu_limit, "memory": settings.memory_limit},
                "requests": {"cpu": settings.cpu_request, "memory": settings.memory_request},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": places.iter().map(|place| place.mount(volume)).collect::<Vec<_>>(),
        });
        if self.spec.pointer("/model/confidential/enabled") == Some(&Value::Bool(true)) {
            let key = text(self.spec, "/model/confidential/resourceId");
            let mut env = vec![json!({"name": "CONFIDENTIAL_ENABLED", "value": "true"})];
            if !key.is_empty() {
                env.push(json!({"name": "CONFIDENTIAL_RESOURCE_ID", "value": key}));
            }
            init["env"] = json!(env);
        }
        match user {
            Some(user) => {
                let over: Map<String, Value> = user
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(field, _)| !OURS.contains(&field.as_str()))
                    .map(|(field, value)| (field.clone(), value.clone()))
                    .collect();
                compose_merge(&init, &Value::Object(over), &Node::any())
            }
            None => init,
        }
    }

    /// Whether the live container is from before downloads had the environment of Hugging Face, and nothing else
    /// restarts it.
    fn predates_hub(&self, init: &Value) -> bool {
        self.live_initializer().is_some_and(|live| {
            live["args"] == init["args"]
                && !items(live, "/env")
                    .iter()
                    .any(|entry| text(entry, "/name").starts_with("HF_"))
        })
    }

    /// The authorities that downloads trust: the ConfigMap with its mount, and the environment that names them.
    fn authorities(&self, init: &mut Value) -> Option<(Value, Value)> {
        const VOLUME: &str = "cabundle-cert";
        const DIRECTORY: &str = "/etc/ssl/custom-certs";
        let settings = &self.facts.storage;
        let literal = |name: &str| {
            items(init, "/env")
                .iter()
                .find(|entry| entry["name"] == name)
                .map(|entry| text(entry, "/value").to_owned())
        };
        let named = literal("AWS_CA_BUNDLE_CONFIGMAP");
        let configured = settings.ca_config_map.as_deref();
        if named.is_none() && configured.is_none() {
            return None;
        }
        let config_map = match named.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None if self.service.namespace == self.facts.system_namespace => {
                configured.unwrap_or(crate::GLOBAL_CA_BUNDLE).to_owned()
            }
            None => crate::GLOBAL_CA_BUNDLE.to_owned(),
        };
        let bundle = literal("AWS_CA_BUNDLE");
        let directory = bundle
            .as_deref()
            .and_then(|file| file.rsplit_once('/'))
            .map(|(directory, _)| directory)
            .filter(|directory| !directory.is_empty())
            .or(settings.ca_directory.as_deref())
            .unwrap_or(DIRECTORY)
            .to_owned();
        for (name, value) in [
            ("CA_BUNDLE_CONFIGMAP_NAME", &config_map),
            ("CA_BUNDLE_VOLUME_MOUNT_POINT", &directory),
        ] {
            edit::push_new(init, "env", json!({"name": name, "value": value}));
        }
        Some((
            json!({"name": VOLUME, "configMap": {"name": config_map}}),
            json!({"name": VOLUME, "mountPath": directory, "readOnly": true}),
        ))
    }

    /// The pod's first pull secret, for images that the download container fetches itself.
    fn registry(&self, pod: &Value) -> Option<(Value, Value)> {
        let of_account = credentials::account(self.account, self.facts);
        let of_account = of_account.map_or(&[][..], |account| items(account, "/imagePullSecrets"));
        let secret = items(pod, "/imagePullSecrets")
            .iter()
            .chain(of_account)
            .map(|secret| text(secret, "/name"))
            .find(|name| !name.is_empty())?;
        let file = json!([{"key": ".dockerconfigjson", "path": "config.json"}]);
        let source = json!({"secretName": secret, "items": file, "optional": true});
        Some((
            json!({"name": REGISTRY_VOLUME, "secret": source}),
            json!({"name": REGISTRY_VOLUME, "mountPath": REGISTRY_PATH, "readOnly": true}),
        ))
    }
}

/// Mounts a volume of credentials, unless the container has something of that name or at that path.
fn add_mount(init: &mut Value, mount: Value, volume: Value, volumes: &mut Vec<Value>) {
    let taken = items(init, "/volumeMounts")
        .iter()
        .any(|known| known["name"] == mount["name"] || known["mountPath"] == mount["mountPath"]);
    if !taken {
        edit::push(init, "volumeMounts", mount);
        volumes.push(volume);
    }
}

fn has_env(container: &Value, name: &Value) -> bool {
    items(container, "/env")
        .iter()
        .any(|entry| entry["name"] == *name)
}

/// Pairs of location and target. A location that only differs in spelling from the live one is written like that.
fn arguments(downloads: &[Download], live: Option<&Value>) -> Value {
    let live = live.map_or(&[][..], |live| items(live, "/args"));
    let mut args = Vec::with_capacity(downloads.len() * 2);
    for (index, download) in downloads.iter().enumerate() {
        let known = live.get(index * 2).and_then(Value::as_str);
        let known = known.filter(|known| same_location(known, &download.uri));
        args.push(known.map_or_else(|| spelled(&download.uri), str::to_owned));
        args.push(download.target.clone());
    }
    json!(args)
}

/// The location with its scheme in lower case, as download containers know it.
fn spelled(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => uri.to_owned(),
    }
}

/// Whether two locations are one but for the case of the scheme and for what is escaped: another controller wrote
/// them as its language prints URLs.
fn same_location(one: &str, other: &str) -> bool {
    let parts = |uri: &str| {
        let (scheme, rest) = uri.split_once("://")?;
        Some((scheme.to_ascii_lowercase(), unescaped(rest)))
    };
    one == other || parts(one).is_some_and(|one| Some(one) == parts(other))
}

/// The bytes with every `%xx` resolved.
fn unescaped(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Where the download volume is mounted: at the deepest directory that holds all targets. Where something else is
/// mounted below that, each target has its own mount: nothing can be mounted inside a read-only volume.
fn places(downloads: &[Download], others: &[String]) -> Vec<Place> {
    let parent = common_parent(downloads.iter().map(|download| download.target.as_str()));
    let below = |path: &String| {
        path.strip_prefix(&parent)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    if !others.iter().any(below) {
        return vec![Place {
            path: parent,
            sub_path: None,
        }];
    }
    let sub_path = |target: &str| {
        let rest = target.strip_prefix(&parent).unwrap_or(target);
        let rest = rest.trim_matches('/');
        (!rest.is_empty()).then(|| rest.to_owned())
    };
    downloads
        .iter()
        .map(|download| Place {
            path: download.target.clone(),
            sub_path: sub_path(&download.target),
        })
        .collect()
}

/// The deepest directory that holds all paths; a single path is its own.
fn common_parent<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut common: Option<Vec<&str>> = None;
    for path in paths {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        common = Some(match common {
            None => parts,
            Some(common) => common
                .into_iter()
                .zip(parts)
                .take_while(|(one, other)| one == other)
                .map(|(one, _)| one)
                .collect(),
        });
    }
    format!("/{}", common.unwrap_or_default().join("/"))
}

#[cfg(test)]
mod tests;
