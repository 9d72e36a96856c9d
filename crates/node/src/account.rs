//! The kubeconfig of a pod: the API of this machine with the token of the pod's service account.
//!
//! The files of a service account cannot be mounted at their fixed path, since there is no mount
//! namespace; `KUBECONFIG` stands in for them.

use std::path::{Path, PathBuf};

use kube::api::PostParams;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::objects::Objects;
use crate::place;

/// In the directory of a pod, beside the one of its volumes.
const FILE: &str = "kubeconfig";

/// Why a pod has no kubeconfig.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot get a token of service account {name:?}")]
    Token {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("the kubeconfig of the node is not usable: {0}")]
    Own(String),
    #[error("cannot write the kubeconfig of the pod")]
    Write(#[source] std::io::Error),
}

/// Whether the pod asks for no credentials.
pub(crate) fn declined(pod: &Value) -> bool {
    pod["spec"]["automountServiceAccountToken"] == false
}

/// Writes the pod's kubeconfig into `directory` and returns its path. `own` is the one of the node,
/// of which only the address and the authority are taken.
pub(crate) async fn write(
    pod: &Value,
    own: &Path,
    directory: &Path,
    objects: &Objects,
) -> Result<PathBuf, Error> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
    let name = pod["spec"]["serviceAccountName"]
        .as_str()
        .filter(|name| !name.is_empty())
        .unwrap_or("default");
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                         "metadata": {}, "spec": {"audiences": []}});
    let answer: Value = objects
        .accounts(namespace)
        .create_subresource("token", name, &PostParams::default(), &request)
        .await
        .map_err(|source| Error::Token {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
    let token = answer["status"]["token"].as_str().unwrap_or_default();
    let own = Kubeconfig::read_from(own).map_err(|error| Error::Own(error.to_string()))?;
    let cluster = own
        .clusters
        .first()
        .and_then(|named| named.cluster.as_ref())
        .ok_or_else(|| Error::Own("it names no cluster".to_owned()))?;
    let text = kubeconfig(cluster, namespace, token).to_string();
    place::write(directory, FILE, text.as_bytes(), 0o600).map_err(Error::Write)?;
    Ok(directory.join(FILE))
}

/// JSON, which is YAML too.
fn kubeconfig(cluster: &kube::config::Cluster, namespace: &str, token: &str) -> Value {
    let mut shown = json!({ "server": cluster.server });
    for (key, value) in [
        (
            "certificate-authority-data",
            &cluster.certificate_authority_data,
        ),
        ("certificate-authority", &cluster.certificate_authority),
        ("tls-server-name", &cluster.tls_server_name),
    ] {
        if let Some(value) = value {
            shown[key] = json!(value);
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "weir",
        "clusters": [{"name": "weir", "cluster": shown}],
        "users": [{"name": "pod", "user": {"token": token}}],
        "contexts": [{"name": "weir",
                      "context": {"cluster": "weir", "user": "pod", "namespace": namespace}}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_address_and_authority_are_taken_over() {
        let cluster: kube::config::Cluster = serde_json::from_value(json!({
            "server": "https://127.0.0.1:1", "certificate-authority-data": "QQ=="}))
        .unwrap();
        let text = kubeconfig(&cluster, "n", "t").to_string();
        let read = Kubeconfig::from_yaml(&text).unwrap();
        let shown = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(shown.server.as_deref(), Some("https://127.0.0.1:1"));
        assert_eq!(shown.certificate_authority_data.as_deref(), Some("QQ=="));
        assert_eq!(
            read.contexts[0]
                .context
                .as_ref()
                .unwrap()
                .namespace
                .as_deref(),
            Some("n")
        );
    }

    #[test]
    fn a_pod_may_decline() {
        assert!(declined(
            &json!({"spec": {"automountServiceAccountToken": false}})
        ));
        assert!(!declined(&json!({"spec": {}})));
    }
}
