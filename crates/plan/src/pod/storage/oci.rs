//! Models in container images: as a volume of the image, or beside a container of the image whose files the
//! engine reads through the shared process namespace ("modelcar").

use serde_json::{Value, json};
use weir_api::names::path;

use super::DOWNLOAD_VOLUME;
use crate::pod::edit;
use crate::{Error, StorageInitializer};

const MODELCAR: &str = "modelcar";
const MODELCAR_INIT: &str = "modelcar-init";
/// Directory of the model inside an image.
const IN_IMAGE: &str = "models";

/// The image that a location names.
///
/// # Errors
/// When it is no image reference; it becomes part of a script.
pub(super) fn reference<'a>(uri: &str, rest: &'a str) -> Result<&'a str, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    if rest.is_empty() || !rest.chars().all(allowed) {
        return Err(Error::ImageReference {
            uri: uri.to_owned(),
        });
    }
    Ok(rest)
}

/// Mounts the image as a volume.
pub(super) fn mount(
    pod: &mut Value,
    image: &str,
    container: &str,
    path: &str,
) -> Result<(), Error> {
    let name = path.trim_matches('/').replace('/', "-");
    let mount = json!({"name": name, "mountPath": path, "readOnly": true, "subPath": IN_IMAGE});
    let volume = json!({"name": name, "image": {"reference": image, "pullPolicy": "IfNotPresent"}});
    edit::mount(pod, container, &[mount], volume)
}

/// Puts a container of the image beside the engine.
pub(super) fn modelcar(
    pod: &mut Value,
    image: &str,
    container: &str,
    path: &str,
    settings: &StorageInitializer,
) -> Result<(), Error> {
    let parent = parent(path);
    let mount = json!({"name": DOWNLOAD_VOLUME, "mountPath": parent});
    let volume = json!({"name": DOWNLOAD_VOLUME, "emptyDir": {}});
    edit::mount(pod, container, std::slice::from_ref(&mount), volume)?;
    let user = settings.modelcar_uid.map(|uid| json!({"runAsUser": uid}));
    if let Some(engine) = edit::container(pod, "containers", container) {
        edit::push_new(
            engine,
            "env",
            json!({"name": "MODEL_INIT_MODE", "value": "async"}),
        );
        if let Some(uid) = settings.modelcar_uid {
            engine["securityContext"]["runAsUser"] = json!(uid);
        }
    }
    let quantities = json!({"cpu": settings.modelcar_cpu, "memory": settings.modelcar_memory});
    let of_image = |name: &str, script: String| {
        json!({
            "name": name,
            "image": image,
            "args": ["sh", "-c", script],
            "resources": {"limits": quantities, "requests": quantities},
            "terminationMessagePolicy": "FallbackToLogsOnError",
        })
    };
    // Four dollar signs: the kubelet makes two of them, the shell its own process.
    let link = format!("ln -sf /proc/$$$$/root/{IN_IMAGE} {path} && sleep infinity");
    let mut car = of_image(
        MODELCAR,
        if path == path::MODELS {
            link
        } else {
            format!("mkdir -p {parent} && {link}")
        },
    );
    car["volumeMounts"] = json!([mount]);
    if let Some(user) = user {
        car["securityContext"] = user;
    }
    edit::push_new(pod, "containers", car);
    let check = format!(
        "echo 'Pre-fetching modelcar {image}: ' && [ -d /{IN_IMAGE} ] && [ \"$$(ls -A /{IN_IMAGE})\" ] \
         && echo 'OK ... Prefetched and valid (/{IN_IMAGE} exists)' \
         || (echo 'NOK ... Prefetched but modelcar is invalid (/{IN_IMAGE} does not exist or is empty)' \
         && exit 1)"
    );
    edit::push_new(pod, "initContainers", of_image(MODELCAR_INIT, check));
    pod["shareProcessNamespace"] = json!(true);
    Ok(())
}

/// The directory above a path.
fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => parent,
        _ => "/",
    }
}
