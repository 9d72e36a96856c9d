//! Where the recordings are, and how their files are read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Where the recordings are, a folder for each case; says so where there are none.
pub(crate) fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let goldens = shared.join("goldens/controller");
    if goldens.is_dir() {
        return Some(goldens);
    }
    eprintln!("SKIPPED: no recordings at {}", goldens.display());
    None
}

/// The text of a file that not every case has.
pub(crate) fn text(path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The documents of a file, none where the case has no such file.
pub(crate) fn documents(path: &Path) -> Vec<Value> {
    let Some(text) = text(path) else {
        return Vec::new();
    };
    match serde_saphyr::from_multiple(&text) {
        Ok(documents) => documents,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Removes what the API server fills in.
pub(crate) fn without_defaults(object: &mut Value) {
    const POD: [&str; 4] = [
        "dnsPolicy",
        "restartPolicy",
        "schedulerName",
        "securityContext",
    ];
    let drop = |value: &mut Value, keys: &[&str]| {
        for key in keys {
            value.as_object_mut().unwrap().remove(*key);
        }
    };
    match object["kind"].as_str().unwrap() {
        "Deployment" => {
            drop(
                &mut object["spec"],
                &[
                    "progressDeadlineSeconds",
                    "revisionHistoryLimit",
                    "strategy",
                ],
            );
            remove_if(object.get_mut("spec"), "replicas", &json!(1));
            let pod = &mut object["spec"]["template"]["spec"];
            drop(pod, &POD);
            for container in pod["initContainers"].as_array_mut().unwrap() {
                drop(container, &["imagePullPolicy"]);
            }
            for list in ["initContainers", "containers"] {
                for container in pod[list].as_array_mut().unwrap() {
                    container_defaults(container);
                }
            }
            for volume in pod["volumes"].as_array_mut().unwrap() {
                remove_if(volume.pointer_mut("/secret"), "defaultMode", &json!(420));
            }
        }
        "Service" => drop(
            &mut object["spec"],
            &[
                "internalTrafficPolicy",
                "ipFamilies",
                "ipFamilyPolicy",
                "sessionAffinity",
            ],
        ),
        _ => {}
    }
}

fn container_defaults(container: &mut Value) {
    remove_if(Some(container), "resources", &json!({}));
    let path = json!("/dev/termination-log");
    remove_if(Some(container), "terminationMessagePath", &path);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        for key in ["successThreshold", "timeoutSeconds"] {
            remove_if(container.get_mut(probe), key, &json!(1));
        }
    }
}

fn remove_if(object: Option<&mut Value>, key: &str, default: &Value) {
    if let Some(object) = object.and_then(Value::as_object_mut)
        && object.get(key) == Some(default)
    {
        object.remove(key);
    }
}
