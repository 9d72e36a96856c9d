//! A node on an API server, and what a test asks of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_testkit::Cluster;

/// Far beyond what is needed; reached only when the test fails.
const LIMIT: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct World {
    cluster: Cluster,
    data: tempfile::TempDir,
    stop: CancellationToken,
    node: JoinSet<Result<(), weir_node::Error>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let cluster = weir_testkit::cluster().await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let options = weir_node::Options {
            node_name: "test".into(),
            data_dir: data.path().to_owned(),
            // These pods listen nowhere, so that a block in use by another does no harm.
            loopback_block: 127,
            engine: weir_node::EngineChoice::Simulated,
            program: std::env::current_exe().unwrap(),
            kubeconfig: cluster.kubeconfig.clone(),
            allow_host_commands: true,
            allow_paths: Vec::new(),
        };
        let mut node = JoinSet::new();
        node.spawn(weir_node::run(
            cluster.client.clone(),
            options,
            stop.clone(),
        ));
        Self {
            cluster,
            data,
            stop,
            node,
        }
    }

    /// Ends the node and waits for it.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        self.node.join_next().await.unwrap().unwrap().unwrap();
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: String::new(),
            version: "v1".into(),
            api_version: "v1".into(),
            kind: kind.into(),
            plural: format!("{}s", kind.to_lowercase()),
        };
        let (client, namespace) = (self.cluster.client.clone(), &self.cluster.namespace);
        Api::namespaced_with(client, namespace, &resource)
    }

    pub(crate) async fn create(&self, object: &Value) {
        let kind = object["kind"].as_str().unwrap();
        let object = serde_json::from_value(object.clone()).unwrap();
        self.api(kind)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Makes a pod of one container `c` that runs `script`; `more` is merged over its spec.
    pub(crate) async fn pod(&self, name: &str, script: &str, more: &Value) {
        let mut container =
            json!({"name": "c", "image": "any", "command": ["/bin/sh", "-c", script]});
        let mut spec = json!({});
        for (key, value) in more.as_object().unwrap() {
            if key == "container" {
                for (key, value) in value.as_object().unwrap() {
                    container[key] = value.clone();
                }
            } else {
                spec[key] = value.clone();
            }
        }
        spec["containers"] = json!([container]);
        self.create(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}),
        )
        .await;
    }

    pub(crate) async fn delete(&self, name: &str, grace: Option<u32>) {
        let parameters = DeleteParams {
            grace_period_seconds: grace,
            ..DeleteParams::default()
        };
        self.api("Pod").delete(name, &parameters).await.unwrap();
    }

    /// Looks at a pod until `holds` is content with it; a pod that is gone is null.
    pub(crate) async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let pod = self.api("Pod").get_opt(name).await.unwrap();
            let pod = serde_json::to_value(pod).unwrap();
            if holds(&pod) {
                return pod;
            }
            assert!(Instant::now() < end, "not seen in time: {pod:#}");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn until_gone(&self, name: &str) {
        self.until(name, Value::is_null).await;
    }

    pub(crate) async fn until_running(&self, name: &str) -> Value {
        self.until(name, |pod| state(pod).get("running").is_some())
            .await
    }

    /// Reasons of the events about a pod.
    pub(crate) async fn reasons(&self, name: &str) -> Vec<String> {
        let events = self
            .api("Event")
            .list(&ListParams::default())
            .await
            .unwrap();
        let about = events
            .items
            .iter()
            .filter(|event| event.data["involvedObject"]["name"] == name);
        about
            .map(|event| event.data["reason"].as_str().unwrap().to_owned())
            .collect()
    }

    fn logs(&self, pod: &Value) -> PathBuf {
        let text = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
        let folder = format!("{}_{}_{}", text("namespace"), text("name"), text("uid"));
        self.data.path().join("logs").join(folder)
    }

    /// Waits until the log of a pod's container has a line, and returns all of it.
    pub(crate) async fn log(&self, pod: &Value) -> String {
        let log = file(&self.logs(pod).join("c.log"), |text| text.ends_with('\n')).await;
        let lines = log.lines().map(|line| {
            let line = weir_runtime::container_log::parse(line.as_bytes()).unwrap();
            String::from_utf8_lossy(line.text).into_owned() + "\n"
        });
        lines.collect()
    }

    /// Modes of the directory of a pod's logs, and of the log in it.
    pub(crate) fn modes_of_logs(&self, pod: &Value) -> (u32, u32) {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let logs = self.logs(pod);
        (mode(&logs), mode(&logs.join("c.log")))
    }

    /// The directory of a claim.
    pub(crate) fn claim(&self, name: &str) -> PathBuf {
        let namespace = &self.cluster.namespace;
        self.data.path().join("pvc").join(namespace).join(name)
    }

    /// Lists the pods with another kubeconfig.
    pub(crate) async fn reads_pods_as(&self, kubeconfig: &Path) {
        let client = weir_runtime::client::from_kubeconfig(kubeconfig)
            .await
            .unwrap();
        let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("", "v1", "Pod"));
        let api: Api<DynamicObject> =
            Api::namespaced_with(client, &self.cluster.namespace, &resource);
        let pods = api.list(&ListParams::default()).await.unwrap();
        assert!(!pods.items.is_empty());
    }

    pub(crate) fn admin_kubeconfig(&self) -> String {
        std::fs::read_to_string(&self.cluster.kubeconfig).unwrap()
    }
}

/// Waits until a file's text fulfils `holds`.
pub(crate) async fn file(path: &Path, holds: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + LIMIT;
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if holds(&text) {
            return text;
        }
        assert!(Instant::now() < end, "{}: {text:?}", path.display());
        tokio::time::sleep(LOOK).await;
    }
}

/// State of the only container.
pub(crate) fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}
