//! Starting and stopping.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_runtime::certs::{self, Authority};

use crate::address::Addresses;
use crate::app::App;
use crate::hooks::Hooks;
use crate::openapi::Documents;
use crate::registry::Registry;
use crate::store::{self, Store};
use crate::{collect, crd, defaults, meta, server};

/// Most watches that are open at once; a program of this kind opens some dozens.
const MOST_WATCHES: usize = 4_096;

/// What [`start`] needs to know.
pub struct Options {
    /// Directory of the store file, the authority, the token and the kubeconfig.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 chooses one.
    pub listen: SocketAddr,
    /// `A` of the instance's addresses 127.A.0.0/16.
    pub loopback_block: u8,
    /// Admission and conversion.
    pub hooks: Arc<dyn Hooks>,
}

impl Options {
    /// Returns options for a store in `data_dir` on a free port of loopback, without hooks.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            loopback_block: 127,
            hooks: Arc::new(crate::hooks::NoHooks),
        }
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path:?}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The store file cannot be used.
    #[error("cannot open the object store")]
    Store(#[from] store::Error),
    /// The certificates cannot be made.
    #[error("cannot prepare certificates")]
    Certificates(#[from] certs::Error),
    /// The address cannot be bound.
    #[error("cannot listen on {address} for the API")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A running server; it ends with the token given to [`start`].
pub struct Server {
    /// The address that is served.
    pub address: SocketAddr,
    app: Arc<App>,
    ca: String,
    kubeconfig: PathBuf,
    tasks: TaskTracker,
}

impl Server {
    /// Returns the kubeconfig of the administrator, YAML.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(self.address, &self.ca, &self.app.token)
    }

    /// Returns the path of the kubeconfig file (mode 0600).
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Returns the certificate of the server's authority, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// Returns the administrator's bearer token.
    pub fn token(&self) -> &str {
        &self.app.token
    }

    /// Returns the bearer token of a service account, which reads nearly everything and writes
    /// only Leases, Events and reviews.
    pub fn account_token(&self, namespace: &str, name: &str) -> String {
        crate::auth::account_token(&self.app.token, namespace, name)
    }

    /// True once requests are answered, which is so from the start.
    pub fn ready(&self) -> bool {
        !self.app.shutdown.is_cancelled()
    }

    /// Waits until the server has ended after its token was cancelled, and closes the store.
    pub async fn stopped(self) {
        self.tasks.wait().await;
    }
}

/// Opens the store and serves it until `shutdown`.
///
/// # Errors
/// When the directory, the store file or the address cannot be used.
pub async fn start(options: Options, shutdown: CancellationToken) -> Result<Server, Error> {
    weir_runtime::install_crypto();
    let Options {
        data_dir,
        listen,
        loopback_block,
        hooks,
    } = options;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data_dir)
        .map_err(|source| Error::Directory {
            path: data_dir.clone(),
            source,
        })?;
    let store = Store::open(&data_dir.join("store.redb"))?;
    let authority = Authority::load_or_create(&data_dir)?;
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .map_err(|source| Error::Listen {
            address: listen,
            source,
        })?;
    let address = listener.local_addr().map_err(|source| Error::Listen {
        address: listen,
        source,
    })?;
    let host = address.ip().to_string();
    let identity = authority.issue(&["localhost", "kubernetes.default.svc", "127.0.0.1", &host])?;
    let token = token(&data_dir)?;
    let kubeconfig_path = data_dir.join("kubeconfig");
    let ca = authority.certificate().to_owned();
    certs::write_private(&kubeconfig_path, &kubeconfig(address, &ca, &token))?;
    let app = Arc::new(App {
        store,
        registry: Registry::new(),
        hooks,
        token,
        logs: data_dir.join("logs"),
        addresses: Addresses::new(loopback_block),
        documents: Documents::default(),
        collect: Notify::new(),
        watches: Arc::new(Semaphore::new(MOST_WATCHES)),
        shutdown: shutdown.clone(),
    });
    adopt(&app);
    namespaces(&app).await?;
    let tasks = TaskTracker::new();
    tasks.spawn(collect::run(Arc::clone(&app)));
    let handler_app = Arc::clone(&app);
    let handler = move |request| server::handle(Arc::clone(&handler_app), request);
    let tls = identity.server_config()?;
    tasks.spawn(weir_runtime::http::serve(
        listener,
        Some(tls),
        handler,
        shutdown,
    ));
    tasks.close();
    tracing::info!(%address, "API store serves");
    Ok(Server {
        address,
        app,
        ca,
        kubeconfig: kubeconfig_path,
        tasks,
    })
}

fn token(dir: &Path) -> Result<String, Error> {
    let path = dir.join("token");
    if let Ok(token) = fs::read_to_string(&path)
        && token.trim().len() >= 32
    {
        return Ok(token.trim().to_owned());
    }
    let token = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    certs::write_private(&path, &token)?;
    Ok(token)
}

fn kubeconfig(address: SocketAddr, ca: &str, token: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: weir\nclusters:\n- name: weir\n  cluster:\n    \
         server: https://{address}\n    certificate-authority-data: {ca}\ncontexts:\n- name: weir\n  \
         context:\n    cluster: weir\n    user: weir\n    namespace: default\nusers:\n- name: weir\n  \
         user:\n    token: {token}\n"
    )
}

/// Takes over what the store file holds: definitions and addresses.
fn adopt(app: &App) {
    let (definitions, _) = app.store.list(crd::STORAGE, None);
    for definition in definitions {
        crd::register(app, &definition.value);
    }
    let (services, _) = app.store.list("core/services", None);
    for service in services {
        app.addresses.adopt(&service.value);
    }
}

/// Makes the namespaces that every cluster has.
async fn namespaces(app: &App) -> Result<(), Error> {
    let snapshot = app.registry.snapshot();
    let Some(resource) = snapshot.find("", "v1", "namespaces") else {
        return Ok(());
    };
    let mut last = 0;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let mut object: Value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": meta::now()}});
        defaults::apply(&resource, &mut object);
        let key = App::key(&resource, "", name);
        // A failure means that it is there already.
        if let Ok(written) = app.store.write(&key, None, Some(object)) {
            last = written.version;
        }
    }
    app.store.durable(last).await?;
    Ok(())
}
