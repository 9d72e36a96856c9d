//! How the model reaches `/mnt/models`: a download container or a mounted claim.

use serde_json::{Value, json};
use weir_api::names::{container, path};

use super::{Context, edit};
use crate::{Error, Facts, items};

const DOWNLOAD_VOLUME: &str = "kserve-provision-location";
const CLAIM_VOLUME: &str = "kserve-pvc-source";

/// Fields of a user's `storage-initializer` that always come from the plan.
const OURS: [&str; 3] = ["name", "args", "command"];

/// Attaches the model to the pod.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let (spec, facts) = (context.spec, context.facts);
    let uri = spec
        .pointer("/model/uri")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err(Error::NoScheme {
            uri: uri.to_owned(),
        });
    };
    if spec.pointer("/storageInitializer/enabled") == Some(&Value::Bool(false)) {
        return Ok(());
    }
    match scheme {
        "hf" | "s3" | "gs" | "http" | "https" | "file" => download(uri, scheme, pod, facts),
        "pvc" => mount_claim(rest, pod),
        _ => {
            return Err(Error::UnsupportedScheme {
                uri: uri.to_owned(),
            });
        }
    }
    Ok(())
}

fn download(uri: &str, scheme: &str, pod: &mut Value, facts: &Facts) {
    let storage = &facts.storage;
    let mut init = json!({
        "name": container::STORAGE_INITIALIZER,
        "image": storage.image,
        "args": [uri, path::MODELS],
        "resources": {
            "limits": {"cpu": storage.cpu_limit, "memory": storage.memory_limit},
            "requests": {"cpu": storage.cpu_request, "memory": storage.memory_request},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": DOWNLOAD_VOLUME, "mountPath": path::MODELS}],
    });
    if scheme == "hf" {
        init["env"] = json!([
            {"name": "HF_HUB_ENABLE_HF_TRANSFER", "value": "1"},
            {"name": "HF_XET_HIGH_PERFORMANCE", "value": "1"},
            {"name": "HF_XET_NUM_CONCURRENT_RANGE_GETS", "value": "8"},
        ]);
    }
    if let Some(user) = take_user_initializer(pod) {
        lay_over(&mut init, &user);
    }
    edit::push(pod, "initContainers", init);
    mount(pod, json!({"name": DOWNLOAD_VOLUME, "emptyDir": {}}), None);
}

fn mount_claim(rest: &str, pod: &mut Value) {
    let (claim, sub_path) = rest.split_once('/').unwrap_or((rest, ""));
    take_user_initializer(pod);
    let volume = json!({"name": CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": claim}});
    mount(pod, volume, Some(sub_path).filter(|path| !path.is_empty()));
}

/// Mounts `volume` read-only at the model path of `main`; a container that already mounts it is left alone.
fn mount(pod: &mut Value, volume: Value, sub_path: Option<&str>) {
    let name = volume["name"].clone();
    let Some(main) = edit::main(pod) else { return };
    if items(main, "/volumeMounts")
        .iter()
        .any(|mount| mount["name"] == name)
    {
        return;
    }
    let mut entry = json!({"name": name, "mountPath": path::MODELS, "readOnly": true});
    if let Some(sub_path) = sub_path {
        entry["subPath"] = json!(sub_path);
    }
    edit::push(main, "volumeMounts", entry);
    if !items(pod, "/volumes")
        .iter()
        .any(|known| known["name"] == name)
    {
        edit::push(pod, "volumes", volume);
    }
}

/// Removes the user's own `storage-initializer` from the pod and returns it.
fn take_user_initializer(pod: &mut Value) -> Option<Value> {
    let list = pod.get_mut("initContainers")?.as_array_mut()?;
    let at = list
        .iter()
        .position(|c| c["name"] == container::STORAGE_INITIALIZER)?;
    Some(list.remove(at))
}

/// The user's fields win, except for what the plan alone decides; lists with keys are merged by key.
fn lay_over(init: &mut Value, user: &Value) {
    for (field, value) in user.as_object().into_iter().flatten() {
        match field.as_str() {
            name if OURS.contains(&name) => {}
            "env" => merge_by(init, field, "name", value),
            "volumeMounts" => merge_by(init, field, "mountPath", value),
            "resources" => {
                for (kind, quantities) in value.as_object().into_iter().flatten() {
                    for (resource, quantity) in quantities.as_object().into_iter().flatten() {
                        init["resources"][kind][resource] = quantity.clone();
                    }
                }
            }
            _ => init[field] = value.clone(),
        }
    }
}

fn merge_by(init: &mut Value, field: &str, key: &str, over: &Value) {
    for entry in over.as_array().into_iter().flatten() {
        if let Some(list) = init.get_mut(field).and_then(Value::as_array_mut)
            && let Some(known) = list.iter_mut().find(|known| known[key] == entry[key])
        {
            *known = entry.clone();
            continue;
        }
        edit::push(init, field, entry.clone());
    }
}
