//! A Kubernetes client from a kubeconfig, from the pod's account or from the user's default.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig is missing or not readable as one.
    #[error("cannot read the kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a pod's account is at hand.
    #[error("no kubeconfig given and none found")]
    Infer(#[from] kube::config::InferConfigError),
    /// The kubeconfig has no such context.
    #[error("no context {context:?} in the kubeconfig; there are {}", among(.known))]
    NoContext {
        /// The context that was asked for.
        context: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The client cannot be built from the configuration.
    #[error("cannot build a Kubernetes client")]
    Client(#[from] kube::Error),
}

/// Returns a client for the kubeconfig at `path`, whose current context is used.
///
/// # Errors
/// When the file cannot be read, names no cluster, or its certificates are not usable.
pub async fn from_kubeconfig(path: &Path) -> Result<kube::Client, Error> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Returns a client for `KUBECONFIG`, `~/.kube/config` or the pod's own account.
///
/// # Errors
/// When none of these is usable.
pub async fn infer() -> Result<kube::Client, Error> {
    Ok(kube::Client::try_from(kube::Config::infer().await?)?)
}

/// Returns a client for a context of `KUBECONFIG` or `~/.kube/config`, and the context's namespace.
///
/// # Errors
/// When the file cannot be read, has no such context, or names no usable cluster.
pub async fn of_context(context: &str) -> Result<(kube::Client, String), Error> {
    let kubeconfig = Kubeconfig::read()?;
    if !kubeconfig.contexts.iter().any(|one| one.name == context) {
        return Err(Error::NoContext {
            context: context.to_owned(),
            known: kubeconfig
                .contexts
                .into_iter()
                .map(|one| one.name)
                .collect(),
        });
    }
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    let namespace = config.default_namespace.clone();
    Ok((kube::Client::try_from(config)?, namespace))
}

fn among(known: &[String]) -> String {
    if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    }
}
