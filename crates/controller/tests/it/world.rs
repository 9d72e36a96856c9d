//! A namespace of its own, a gateway in it, and the controller running.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, core::ApiResource};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_api::names::{Kind, kind};
use weir_controller::Options;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a test looks.
const LOOK: Duration = Duration::from_millis(50);

/// The status of a condition of a service, empty when absent.
pub(crate) fn status_of(service: &Value, condition: &str) -> String {
    let all = service
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let found = all.into_iter().flatten().find(|c| c["type"] == condition);
    found
        .and_then(|c| c["status"].as_str())
        .unwrap_or_default()
        .to_owned()
}

/// A condition of a service, null when absent.
pub(crate) fn condition_of(service: &Value, condition: &str) -> Value {
    let all = service.pointer("/status/conditions");
    let all = all.and_then(Value::as_array).into_iter().flatten();
    let mut found = all.filter(|c| c["type"] == condition);
    found.next().cloned().unwrap_or_default()
}

/// A test's part of a cluster.
pub(crate) struct World {
    pub(crate) namespace: String,
    client: Client,
    /// What the controller asks of the server.
    pub(crate) requests: Requests,
    shutdown: CancellationToken,
    controller: tokio::task::JoinHandle<()>,
    cluster: weir_testkit::Cluster,
}

impl World {
    /// Makes a namespace with a gateway and starts the controller.
    pub(crate) async fn start() -> Self {
        let cluster = weir_testkit::cluster().await.unwrap();
        cluster.install_definitions().await.unwrap();
        let world = Self::on(cluster);
        world.make_gateway("kserve-ingress-gateway").await;
        world
    }

    /// Starts the controller where nobody has installed the Gateway API; `None` on the real server, whose
    /// definitions all tests share.
    pub(crate) async fn start_without_gateway_api() -> Option<Self> {
        let cluster = weir_testkit::cluster().await.unwrap();
        if cluster.real {
            return None;
        }
        cluster.install(&weir_api::crds::own()).await.unwrap();
        Some(Self::on(cluster))
    }

    /// Starts a controller of all namespaces, with shared configs in another one; `None` on the real server,
    /// where it would meddle with other tests.
    pub(crate) async fn start_everywhere(shared: &str) -> Option<Self> {
        let cluster = weir_testkit::cluster().await.unwrap();
        if cluster.real {
            return None;
        }
        cluster.install_definitions().await.unwrap();
        let requests = Requests::default();
        let options = Options {
            system_namespace: shared.to_owned(),
            ..Options::default()
        };
        let (shutdown, controller) = run_with(&cluster.client, options, &requests);
        let world = Self {
            namespace: cluster.namespace.clone(),
            client: cluster.client.clone(),
            requests,
            shutdown,
            controller,
            cluster,
        };
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Namespace>(&());
        let namespaces: Api<DynamicObject> = Api::all_with(world.client.clone(), &resource);
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shared}});
        let namespace = serde_json::from_value(namespace).unwrap();
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        Some(world)
    }

    /// Creates an object in another namespace.
    pub(crate) async fn create_in(&self, namespace: &str, kind: Kind, object: &Value) {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &kind.api_resource());
        let object = serde_json::from_value(object.clone()).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Installs the Gateway API.
    pub(crate) async fn install_gateway_api(&self) {
        self.cluster
            .install(&weir_api::crds::foreign())
            .await
            .unwrap();
    }

    fn on(cluster: weir_testkit::Cluster) -> Self {
        tell_store(cluster.real);
        let (client, namespace) = (cluster.client.clone(), cluster.namespace.clone());
        let requests = Requests::default();
        let (shutdown, controller) = run(&client, &namespace, &requests);
        Self {
            namespace,
            client,
            requests,
            shutdown,
            controller,
            cluster,
        }
    }

    /// Stops the controller and starts another one.
    pub(crate) async fn restart(&mut self) {
        self.shutdown.cancel();
        let (shutdown, controller) = run(&self.client, &self.namespace, &self.requests);
        self.shutdown = shutdown;
        let stopped = std::mem::replace(&mut self.controller, controller);
        tokio::time::timeout(PATIENCE, stopped)
            .await
            .unwrap()
            .unwrap();
    }

    /// Makes a gateway that is programmed, and its class.
    pub(crate) async fn make_gateway(&self, name: &str) {
        let classes: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &kind::GATEWAY_CLASS.api_resource());
        let class = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "weir"},
            "spec": {"controllerName": "weir.dev/gateway"},
        });
        let params = PatchParams::apply("test").force();
        classes
            .patch("weir", &params, &Patch::Apply(class))
            .await
            .unwrap();
        self.create(
            kind::GATEWAY,
            &json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": name},
                "spec": {
                    "gatewayClassName": "weir",
                    "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}],
                },
            }),
        )
        .await;
        let status = json!({"status": {
            "addresses": [{"type": "IPAddress", "value": "127.0.0.1"}],
            "conditions": [condition("Programmed", 1)],
        }});
        self.patch_status(kind::GATEWAY, name, status).await;
    }

    /// A small service with a managed route.
    pub(crate) fn service(&self, name: &str) -> Value {
        json!({
            "apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService",
            "metadata": {"name": name},
            "spec": {
                "model": {"uri": "hf://org/model", "name": "org/model"},
                "template": {"containers": [{"name": "main", "image": "engine"}]},
                "router": {"gateway": {}, "route": {"http": {"spec": {
                    "parentRefs": [{
                        "group": "gateway.networking.k8s.io", "kind": "Gateway",
                        "name": "kserve-ingress-gateway", "namespace": self.namespace,
                    }],
                    "rules": [{
                        "matches": [{"path": {"type": "PathPrefix", "value": format!("/{}/{name}", self.namespace)}}],
                        "backendRefs": [{
                            "group": "inference.networking.k8s.io", "kind": "InferencePool",
                            "name": format!("{name}-inference-pool"), "port": 8000,
                        }],
                    }],
                }}}},
            },
        })
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        if !kind.namespaced {
            return Api::all_with(self.client.clone(), &kind.api_resource());
        }
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.api_resource())
    }

    pub(crate) async fn create(&self, kind: Kind, object: &Value) {
        let object = serde_json::from_value(object.clone()).unwrap();
        self.api(kind)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    pub(crate) async fn patch(&self, kind: Kind, name: &str, patch: Value) {
        self.api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn patch_strategic(&self, kind: Kind, name: &str, patch: Value) {
        self.api(kind)
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn patch_status(&self, kind: Kind, name: &str, patch: Value) {
        self.api(kind)
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, kind: Kind, name: &str) {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// What `kubectl scale deployment` does.
    pub(crate) async fn scale(&self, name: &str, replicas: u32) {
        let scale = json!({"spec": {"replicas": replicas}});
        self.api(kind::DEPLOYMENT)
            .patch_scale(name, &PatchParams::default(), &Patch::Merge(scale))
            .await
            .unwrap();
    }

    /// Waits until the object is as `wanted` says.
    pub(crate) async fn until(
        &self,
        kind: Kind,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if let Some(object) = self.api(kind).get_opt(name).await.unwrap() {
                last = serde_json::to_value(object).unwrap();
                if wanted(&last) {
                    return last;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!(
            "{} {name} never became as wanted, it is {last:#}",
            kind.kind
        );
    }

    pub(crate) async fn appears(&self, kind: Kind, name: &str) -> Value {
        self.until(kind, name, |object| {
            object.pointer("/metadata/deletionTimestamp").is_none()
        })
        .await
    }

    pub(crate) async fn vanishes(&self, kind: Kind, name: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.api(kind).get_opt(name).await.unwrap().is_some() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} {name} is still there",
                kind.kind
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until passes that were due are over.
    pub(crate) async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(700)).await;
    }

    /// Waits until the controller has seen the newest of a service and asks nothing of the server any more.
    pub(crate) async fn quiet(&self, service: &str) {
        let seen = |s: &Value| s["status"]["observedGeneration"] == s["metadata"]["generation"];
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.until(kind::SERVICE, service, seen).await;
            self.requests.take();
            self.settle().await;
            let asked = self.requests.take();
            if asked.is_empty() {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "never quiet: {asked:?}"
            );
        }
    }

    /// Whether the API server is the real one, which has everything.
    pub(crate) fn is_real(&self) -> bool {
        self.cluster.real
    }

    /// Waits for an event whose message contains a text.
    pub(crate) async fn until_event(&self, service: &str, text: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let events = self.events(service).await;
            let says = |event: &Value| event["message"].as_str().is_some_and(|m| m.contains(text));
            if events.iter().any(says) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "no event {text:?}: {events:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Changes an object in another namespace.
    pub(crate) async fn patch_in(&self, namespace: &str, kind: Kind, name: &str, patch: Value) {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &kind.api_resource());
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Makes the account of pods that name none, where no controller does.
    pub(crate) async fn make_default_account(&self) {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"},
        });
        let params = PatchParams::apply("test").force();
        self.api(kind::SERVICE_ACCOUNT)
            .patch("default", &params, &Patch::Apply(account))
            .await
            .unwrap();
    }

    /// Takes the definition of a kind away.
    pub(crate) async fn uninstall(&self, kind: Kind) {
        let resource = ApiResource {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            api_version: "apiextensions.k8s.io/v1".into(),
            kind: "CustomResourceDefinition".into(),
            plural: "customresourcedefinitions".into(),
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let name = format!("{}.{}", kind.plural, kind.group);
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    }

    /// Serves a kind, whatever its objects look like.
    pub(crate) async fn install_kind(&self, of: Kind) {
        let scope = if of.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        };
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.{}", of.plural, of.group),
                "annotations": {"api-approved.kubernetes.io": "https://example.com/built-in"},
            },
            "spec": {
                "group": of.group, "scope": scope,
                "names": {"kind": of.kind, "plural": of.plural, "singular": of.kind.to_lowercase()},
                "versions": [{
                    "name": of.version, "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        });
        self.cluster.install(&[definition]).await.unwrap();
    }

    /// Plays the Deployment controller.
    pub(crate) async fn make_deployment_available(&self, name: &str) {
        let status = json!({"status": {
            "replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 1,
            "conditions": [condition("Available", 0)],
        }});
        self.patch_status(kind::DEPLOYMENT, name, status).await;
    }

    /// Plays the Deployment controller after the pods have gone.
    pub(crate) async fn make_deployment_unavailable(&self, name: &str) {
        let mut gone = condition("Available", 0);
        gone["status"] = json!("False");
        gone["message"] = json!("Deployment does not have minimum availability.");
        let status = json!({"status": {
            "replicas": 1, "readyReplicas": null, "availableReplicas": null, "conditions": [gone],
        }});
        self.patch_status(kind::DEPLOYMENT, name, status).await;
    }

    /// Plays the gateway.
    pub(crate) async fn accept_route(&self, name: &str) {
        let route = self.appears(kind::HTTP_ROUTE, name).await;
        let generation = route["metadata"]["generation"].as_i64().unwrap();
        let status = json!({"status": {"parents": [{
            "controllerName": "weir.dev/gateway",
            "parentRef": route["spec"]["parentRefs"][0],
            "conditions": [condition("Accepted", generation), condition("ResolvedRefs", generation)],
        }]}});
        self.patch_status(kind::HTTP_ROUTE, name, status).await;
    }

    /// The resource versions of the children of a service.
    pub(crate) async fn versions(&self, service: &str) -> Vec<String> {
        let mut versions = Vec::new();
        for (kind, suffix) in [
            (kind::DEPLOYMENT, "kserve"),
            (kind::CORE_SERVICE, "kserve-workload-svc"),
            (kind::SECRET, "kserve-self-signed-certs"),
            (kind::HTTP_ROUTE, "kserve-route"),
        ] {
            let object = self.appears(kind, &format!("{service}-{suffix}")).await;
            versions.push(object["metadata"]["resourceVersion"].to_string());
        }
        versions
    }

    /// Everything that the service controls, by kind and name, without what the server counts.
    pub(crate) async fn children(&self, service: &str) -> BTreeMap<String, Value> {
        let mut children = BTreeMap::new();
        for kind in [
            kind::DEPLOYMENT,
            kind::LEADER_WORKER_SET,
            kind::CORE_SERVICE,
            kind::SERVICE_ACCOUNT,
            kind::SECRET,
            kind::ROLE,
            kind::ROLE_BINDING,
            kind::RESOURCE_CLAIM_TEMPLATE,
            kind::HTTP_ROUTE,
        ] {
            // A kind that is not served has no objects.
            let found = self.api(kind).list(&ListParams::default()).await;
            for object in found.into_iter().flatten() {
                let mut object = serde_json::to_value(object).unwrap();
                if object["metadata"]["ownerReferences"][0]["name"] != service {
                    continue;
                }
                // What certificates say is another matter, and secret.
                for other in ["status", "data"] {
                    object.as_object_mut().unwrap().remove(other);
                }
                for counted in [
                    "uid",
                    "resourceVersion",
                    "generation",
                    "creationTimestamp",
                    "managedFields",
                ] {
                    object["metadata"].as_object_mut().unwrap().remove(counted);
                }
                // A certificate that once covered more goes on covering it.
                if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                    annotations.remove("certificates.kserve.io/expiration");
                }
                for address in ["clusterIP", "clusterIPs"] {
                    if let Some(spec) = object["spec"].as_object_mut() {
                        spec.remove(address);
                    }
                }
                let name = object["metadata"]["name"].as_str().unwrap();
                children.insert(format!("{} {name}", kind.kind), object);
            }
        }
        children
    }

    /// The events on a service.
    pub(crate) async fn events(&self, service: &str) -> Vec<Value> {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Event>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let all = api.list(&ListParams::default()).await.unwrap().items;
        let all = all
            .into_iter()
            .map(|event| serde_json::to_value(event).unwrap());
        all.filter(|event| event["involvedObject"]["name"] == service)
            .collect()
    }

    /// Stops the controller; it must come to an end.
    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.controller)
            .await
            .unwrap()
            .unwrap();
    }
}

/// Runs a controller for one namespace, every request of which is noted.
fn run(
    client: &Client,
    namespace: &str,
    requests: &Requests,
) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let options = Options {
        system_namespace: namespace.to_owned(),
        namespace: Some(namespace.to_owned()),
        ..Options::default()
    };
    run_with(client, options, requests)
}

fn run_with(
    client: &Client,
    options: Options,
    requests: &Requests,
) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let shutdown = CancellationToken::new();
    let (stop, noted) = (shutdown.clone(), requests.noting(client));
    let controller = tokio::spawn(async move {
        weir_controller::run(noted, options, stop).await.unwrap();
    });
    (shutdown, controller)
}

/// The requests of a controller: watches and the lists that begin them apart from the rest.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    /// A client whose requests are noted.
    fn noting(&self, client: &Client) -> Client {
        let (log, client) = (self.0.clone(), client.clone());
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default();
            let watches = query.contains("watch=true");
            let lists = query.contains("limit=500");
            if !watches && !lists {
                let line = format!("{} {}", request.method(), request.uri());
                log.lock().unwrap().push(line);
            }
            let client = client.clone();
            async move { client.send(request).await }
        });
        Client::new(service, "default")
    }

    /// What was asked since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Says on which store a test ran, so that runs can be counted.
#[allow(clippy::print_stderr, reason = "counted from the output of a test run")]
fn tell_store(real: bool) {
    eprintln!("STORE: {}", if real { "real" } else { "embedded" });
}

pub(crate) fn condition(kind: &str, generation: i64) -> Value {
    let mut condition = json!({
        "type": kind, "status": "True", "reason": kind, "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    if generation > 0 {
        condition["observedGeneration"] = json!(generation);
    }
    condition
}
