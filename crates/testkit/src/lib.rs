//! Clusters for tests, a dev-dependency only.
//!
//! [`cluster`] gives a control-plane test its API server: the embedded store in a temporary
//! directory, or the real server that `WEIR_TEST_KUBECONFIG` names. On a real server each test gets
//! a namespace of its own; definitions are installed once and stay.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Names the kubeconfig of a real API server that control-plane tests run on.
pub const REAL_SERVER: &str = "WEIR_TEST_KUBECONFIG";

/// An API server that a test may use.
pub struct Cluster {
    /// Client of an administrator.
    pub client: kube::Client,
    /// Kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// A namespace of this test's own.
    pub namespace: String,
    /// Whether it is the real server.
    pub real: bool,
    _stop: Option<DropGuard>,
    _directory: Option<tempfile::TempDir>,
}

/// Starts the embedded store, or connects to the real server, and makes a namespace.
///
/// # Errors
/// When neither can be had.
pub async fn cluster() -> anyhow::Result<Cluster> {
    cluster_with(Arc::new(weir_apiserver::NoHooks)).await
}

/// As [`cluster`], with admission and conversion in the embedded store.
///
/// # Errors
/// When no server can be had.
pub async fn cluster_with(hooks: Arc<dyn weir_apiserver::Hooks>) -> anyhow::Result<Cluster> {
    weir_runtime::install_crypto();
    let mut cluster = match std::env::var_os(REAL_SERVER) {
        Some(path) => {
            let kubeconfig = PathBuf::from(path);
            let client = weir_runtime::client::from_kubeconfig(&kubeconfig).await?;
            Cluster {
                client,
                kubeconfig,
                namespace: String::new(),
                real: true,
                _stop: None,
                _directory: None,
            }
        }
        None => {
            let directory = tempfile::tempdir()?;
            let stop = CancellationToken::new();
            let server = weir_apiserver::start(
                weir_apiserver::Options {
                    data_dir: directory.path().join("store"),
                    listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
                    loopback_block: 127,
                    hooks,
                },
                stop.clone(),
            )
            .await
            .context("start the embedded store")?;
            let kubeconfig = server.kubeconfig_path().to_owned();
            let client = weir_runtime::client::from_kubeconfig(&kubeconfig).await?;
            Cluster {
                client,
                kubeconfig,
                namespace: String::new(),
                real: false,
                _stop: Some(stop.drop_guard()),
                _directory: Some(directory),
            }
        }
    };
    let object = serde_json::from_value(json!({"metadata": {"generateName": "weir-test-"}}))?;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let made = namespaces.create(&PostParams::default(), &object).await?;
    cluster.namespace = made.metadata.name.context("namespace without a name")?;
    Ok(cluster)
}

/// Annotation on a definition: the digest of what a test run installed.
const DIGEST: &str = "weir.dev/test-digest";

fn digest(definition: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    definition.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl Cluster {
    /// Installs Weir's definitions and the foreign ones that it uses, and waits until they are
    /// served.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn install_definitions(&self) -> anyhow::Result<()> {
        self.install(&weir_api::crds::own()).await?;
        self.install(&weir_api::crds::foreign()).await
    }

    /// Installs these definitions and waits until they are served.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn install(&self, definitions: &[Value]) -> anyhow::Result<()> {
        let resource = kube::core::ApiResource {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            api_version: "apiextensions.k8s.io/v1".into(),
            kind: "CustomResourceDefinition".into(),
            plural: "customresourcedefinitions".into(),
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        for definition in definitions {
            let name = definition
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or("");
            // A server takes about a second to check a definition, also one that it has already.
            let mark = digest(definition);
            let present = api.get_opt(name).await?;
            let marked = |object: &DynamicObject| object.annotations().get(DIGEST) == Some(&mark);
            if !present.as_ref().is_some_and(marked) {
                let mut definition = definition.clone();
                definition["metadata"]["annotations"][DIGEST] = mark.into();
                let params = PatchParams::apply("weir-test").force();
                api.patch(name, &params, &Patch::Apply(definition))
                    .await
                    .with_context(|| format!("install definition {name:?}"))?;
            }
            kube::runtime::wait::await_condition(
                Api::all(self.client.clone()),
                name,
                kube::runtime::wait::conditions::is_crd_established(),
            )
            .await
            .with_context(|| format!("await definition {name:?}"))?;
        }
        Ok(())
    }
}
