//! Small edits of pods that several features need.

use serde_json::Value;
use weir_api::names::container;

use crate::{Error, items, text};

/// Appends to the list at `field`, made when absent.
pub(crate) fn push(parent: &mut Value, field: &str, entry: Value) {
    if let Some(list) = parent.get_mut(field).and_then(Value::as_array_mut) {
        list.push(entry);
    } else {
        parent[field] = Value::Array(vec![entry]);
    }
}

/// Appends to a list whose items have names, unless the name is taken.
pub(crate) fn push_new(parent: &mut Value, field: &str, entry: Value) {
    let known = items(parent, &format!("/{field}"))
        .iter()
        .any(|known| known["name"] == entry["name"]);
    if !known {
        push(parent, field, entry);
    }
}

/// The engine's container.
pub(crate) fn main(pod: &mut Value) -> Option<&mut Value> {
    container(pod, "containers", container::MAIN)
}

/// The container or init container of a name.
pub(crate) fn container<'a>(pod: &'a mut Value, list: &str, name: &str) -> Option<&'a mut Value> {
    pod.get_mut(list)?
        .as_array_mut()?
        .iter_mut()
        .find(|container| container["name"] == name)
}

/// Mounts a volume in a container; the pod gets the volume then.
///
/// A container that already mounts a volume of that name is left alone: the user has arranged it.
///
/// # Errors
/// When another volume is mounted at one of the paths.
pub(crate) fn mount(
    pod: &mut Value,
    container: &str,
    mounts: &[Value],
    volume: Value,
) -> Result<(), Error> {
    let Some(found) = self::container(pod, "containers", container) else {
        return Ok(());
    };
    let known = items(found, "/volumeMounts");
    if known.iter().any(|mount| mount["name"] == volume["name"]) {
        return Ok(());
    }
    for new in mounts {
        if let Some(taken) = known
            .iter()
            .find(|old| old["mountPath"] == new["mountPath"])
        {
            return Err(Error::MountTaken {
                template: "spec.template",
                container: container.to_owned(),
                volume: text(taken, "/name").to_owned(),
                path: text(new, "/mountPath").to_owned(),
            });
        }
    }
    for new in mounts {
        push(found, "volumeMounts", new.clone());
    }
    push_new(pod, "volumes", volume);
    Ok(())
}

/// Sets an environment variable, in the place of one of that name if there is one.
pub(crate) fn set_env(container: &mut Value, entry: Value) {
    let known = container.get_mut("env").and_then(Value::as_array_mut);
    let known = known
        .into_iter()
        .flatten()
        .find(|known| known["name"] == entry["name"]);
    match known {
        Some(known) => *known = entry,
        None => push(container, "env", entry),
    }
}

/// Removes the container of a name from a list and returns it.
pub(crate) fn take(pod: &mut Value, list: &str, name: &str) -> Option<Value> {
    let containers = pod.get_mut(list)?.as_array_mut()?;
    let at = containers.iter().position(|c| c["name"] == name)?;
    let taken = containers.remove(at);
    if containers.is_empty()
        && let Some(pod) = pod.as_object_mut()
    {
        pod.remove(list);
    }
    Some(taken)
}
