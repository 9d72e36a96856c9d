//! A running store for one test.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_apiserver::{Hooks, NoHooks, Options, Server, start};

/// A store in a directory of its own.
pub(crate) struct Store {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) shutdown: CancellationToken,
}

impl Store {
    pub(crate) async fn start() -> Self {
        Self::with(Arc::new(NoHooks)).await
    }

    pub(crate) async fn with(hooks: Arc<dyn Hooks>) -> Self {
        let mut store = Self {
            dir: tempfile::tempdir().unwrap(),
            server: None,
            shutdown: CancellationToken::new(),
        };
        store.up(hooks).await;
        store
    }

    async fn up(&mut self, hooks: Arc<dyn Hooks>) {
        self.shutdown = CancellationToken::new();
        let options = Options {
            data_dir: self.dir.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            loopback_block: 77,
            hooks,
        };
        self.server = Some(start(options, self.shutdown.clone()).await.unwrap());
    }

    /// Stops the store and starts it again on the same directory.
    pub(crate) async fn reopen(&mut self) {
        self.shutdown.cancel();
        self.server.take().unwrap().stopped().await;
        self.up(Arc::new(NoHooks)).await;
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.server.as_ref().unwrap().kubeconfig_path()
    }

    pub(crate) async fn client(&self) -> kube::Client {
        weir_runtime::client::from_kubeconfig(&self.kubeconfig())
            .await
            .unwrap()
    }

    /// Runs kubectl and returns its status, standard output and standard error.
    pub(crate) async fn kubectl(&self, args: &str, stdin: &str) -> (bool, String, String) {
        let kubeconfig = self.kubeconfig();
        let home = self.dir.path().join("home");
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let stdin = stdin.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut child = Command::new("kubectl")
                .args(args)
                .env("KUBECONFIG", kubeconfig)
                .env("HOME", home)
                .env("KUBE_EDITOR", "true")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(stdin.as_bytes())
                .unwrap();
            let out = child.wait_with_output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            (out.status.success(), text(out.stdout), text(out.stderr))
        })
        .await
        .unwrap()
    }

    /// Runs kubectl, which must succeed, and returns its standard output.
    pub(crate) async fn ok(&self, args: &str, stdin: &str) -> String {
        let (ok, out, err) = self.kubectl(args, stdin).await;
        assert!(ok, "kubectl {args}\n{out}\n{err}");
        out
    }

    /// Runs kubectl, which must fail, and returns its standard error.
    pub(crate) async fn refused(&self, args: &str, stdin: &str) -> String {
        let (ok, out, err) = self.kubectl(args, stdin).await;
        assert!(!ok, "kubectl {args} succeeded\n{out}\n{err}");
        err
    }
}

/// True when the real `kubectl` is here; says so when not.
pub(crate) fn kubectl() -> bool {
    let here = Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_ok();
    if !here {
        eprintln!("SKIPPED: no kubectl on PATH");
    }
    here
}

pub(crate) const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: example/web:1
        env: [{name: A, value: '1'}]
        ports: [{containerPort: 80}]
";

pub(crate) const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: \".status.conditions[?(@.type=='Ready')].status\"}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, minimum: 0}
              color: {type: string, default: red}
          status:
            type: object
            properties:
              size: {type: integer}
              conditions:
                type: array
                items:
                  type: object
                  properties: {type: {type: string}, status: {type: string}}
";

pub(crate) const WIDGET: &str = "
apiVersion: example.com/v1
kind: Widget
metadata: {name: one}
spec: {size: 3}
";
