//! A namespace with our controllers in it, and a test that plays the node.

use std::time::Duration;

use anyhow::{Context, bail};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_testkit::Cluster;

/// Longest wait for anything. The garbage collector of a real server looks for new kinds every 30 s and tries what it
/// could not settle later still.
const LIMIT: Duration = Duration::from_secs(150);
const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct World {
    cluster: Cluster,
    _stop: DropGuard,
    _controllers: JoinSet<Result<(), weir_workloads::Error>>,
}

fn resource(kind: &str) -> ApiResource {
    let group = match kind {
        "Deployment" | "ReplicaSet" => "apps",
        "Job" => "batch",
        "EndpointSlice" => "discovery.k8s.io",
        "ControllerRevision" => "apps",
        "LeaderWorkerSet" => "leaderworkerset.x-k8s.io",
        _ => "",
    };
    ApiResource {
        group: group.into(),
        version: "v1".into(),
        api_version: if group.is_empty() {
            "v1".into()
        } else {
            format!("{group}/v1")
        },
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}

impl World {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::on(weir_testkit::cluster().await?)
    }

    /// A world whose server knows the kinds of others, too.
    pub(crate) async fn with_definitions() -> anyhow::Result<Self> {
        let cluster = weir_testkit::cluster().await?;
        cluster.install(&weir_api::crds::foreign()).await?;
        Self::on(cluster)
    }

    fn on(cluster: Cluster) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let (client, namespace) = (cluster.client.clone(), cluster.namespace.clone());
        let running = stop.clone();
        let mut controllers = JoinSet::new();
        controllers.spawn(async move { weir_workloads::run_in(client, &namespace, running).await });
        Ok(Self {
            cluster,
            _stop: stop.drop_guard(),
            _controllers: controllers,
        })
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (client, namespace) = (self.cluster.client.clone(), &self.cluster.namespace);
        Api::namespaced_with(client, namespace, &resource(kind))
    }

    pub(crate) async fn create(&self, object: Value) -> anyhow::Result<Value> {
        let kind = object["kind"].as_str().context("no kind")?.to_owned();
        let object = serde_json::from_value(object)?;
        let made = self
            .api(&kind)
            .create(&PostParams::default(), &object)
            .await?;
        Ok(serde_json::to_value(made)?)
    }

    pub(crate) async fn patch(&self, kind: &str, name: &str, patch: Value) -> anyhow::Result<()> {
        self.api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        self.api(kind)
            .delete(name, &DeleteParams::background())
            .await?;
        Ok(())
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.api(kind).get(name).await?)?)
    }

    pub(crate) async fn list(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.api(kind).list(&ListParams::default()).await?;
        list.items
            .into_iter()
            .map(|item| Ok(serde_json::to_value(item)?))
            .collect()
    }

    /// Pods that are to stay, by name.
    pub(crate) async fn pods(&self) -> anyhow::Result<Vec<Value>> {
        let mut pods = self.list("Pod").await?;
        pods.retain(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        Ok(pods)
    }

    /// Looks until `holds` is content with the objects of a kind.
    pub(crate) async fn until(
        &self,
        kind: &str,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> anyhow::Result<Vec<Value>> {
        let end = Instant::now() + LIMIT;
        loop {
            let objects = self.list(kind).await?;
            if holds(&objects) {
                return Ok(objects);
            }
            if Instant::now() > end {
                bail!("{what} did not come about: {}", json!(objects));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says as the node that a pod is ready, or is not.
    pub(crate) async fn mark(&self, pod: &Value, ready: bool, at: u8) -> anyhow::Result<()> {
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        let state = if ready { "True" } else { "False" };
        let ip = format!("10.0.0.{at}");
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": state, "lastTransitionTime": now}]}});
        self.api("Pod")
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        Ok(())
    }

    /// Says as the node that a pod has ended.
    pub(crate) async fn finish(&self, pod: &Value, phase: &str) -> anyhow::Result<()> {
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        let status = json!({"status": {"phase": phase}});
        self.api("Pod")
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        Ok(())
    }

    /// Says as the node that the container of a pod was started again.
    pub(crate) async fn restarted(&self, name: &str) -> anyhow::Result<()> {
        let container = json!({"name": "c", "image": "", "imageID": "", "ready": true,
                               "restartCount": 1});
        let status = json!({"status": {"containerStatuses": [container]}});
        self.api("Pod")
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        Ok(())
    }

    /// Marks every pod that is not ready as ready. One that went meanwhile needs no mark.
    pub(crate) async fn mark_all(&self) -> anyhow::Result<()> {
        for (index, pod) in self.pods().await?.iter().enumerate() {
            if is_ready(pod) {
                continue;
            }
            match self.mark(pod, true, u8::try_from(index + 1)?).await {
                Err(error) if is_gone(&error) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Plays the node until the Deployment says that its roll out is complete. At each look, `check`
    /// sees the pods that are to stay.
    pub(crate) async fn roll_out(
        &self,
        name: &str,
        check: impl Fn(&[Value]) -> anyhow::Result<()>,
    ) -> anyhow::Result<Value> {
        let end = Instant::now() + LIMIT;
        loop {
            check(&self.pods().await?)?;
            let deployment = self.get("Deployment", name).await?;
            if is_complete(&deployment) {
                return Ok(deployment);
            }
            if Instant::now() > end {
                bail!("the roll out did not end: {deployment}");
            }
            self.mark_all().await?;
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 404)
}

/// What `kubectl rollout status` asks for.
fn is_complete(deployment: &Value) -> bool {
    let status = &deployment["status"];
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && number("updatedReplicas") == wanted
        && number("replicas") == wanted
        && number("availableReplicas") == wanted
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    weir_workloads::endpoints::is_ready(pod)
}

/// The reason of a condition.
pub(crate) fn reason<'a>(object: &'a Value, kind: &str) -> &'a str {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .and_then(|condition| condition["reason"].as_str())
        .unwrap_or_default()
}

pub(crate) fn image(object: &Value) -> &str {
    let pod = object.pointer("/spec/containers/0/image");
    pod.or_else(|| object.pointer("/spec/template/spec/containers/0/image"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A Deployment `d` of pods that go at once when deleted.
pub(crate) fn deployment(replicas: i64, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"terminationGracePeriodSeconds": 0,
                         "containers": [{"name": "c", "image": "one"}]},
            },
        },
    });
    weir_merge::json_merge_patch(&mut object["spec"], more);
    object
}

/// A patch that changes the template.
pub(crate) fn with_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}
