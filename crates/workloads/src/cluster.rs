//! One pass over the cluster: read, decide, write what differs.

use std::collections::HashMap;

use kube::Client;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::ApiResource;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::endpoints::{self, is_ready};
use crate::rollout::{self, Set, Strategy};

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const MANAGER: &str = "weir-workloads";

/// A kind that the controllers read or write.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    group: &'static str,
    pub(crate) kind: &'static str,
    plural: &'static str,
}

impl Kind {
    pub(crate) const DEPLOYMENT: Self = Self {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
    };
    pub(crate) const REPLICA_SET: Self = Self {
        group: "apps",
        kind: "ReplicaSet",
        plural: "replicasets",
    };
    pub(crate) const POD: Self = Self {
        group: "",
        kind: "Pod",
        plural: "pods",
    };
    pub(crate) const SERVICE: Self = Self {
        group: "",
        kind: "Service",
        plural: "services",
    };
    pub(crate) const NAMESPACE: Self = Self {
        group: "",
        kind: "Namespace",
        plural: "namespaces",
    };
    const ACCOUNT: Self = Self {
        group: "",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
    };
    const EVENT: Self = Self {
        group: "",
        kind: "Event",
        plural: "events",
    };
    const SLICE: Self = Self {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
    };

    fn api_version(self) -> String {
        if self.group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{}/v1", self.group)
        }
    }

    pub(crate) fn resource(self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}

pub(crate) struct Cluster {
    client: Client,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads everything, then brings ReplicaSets, pods, statuses and slices one step further. Returns
    /// whether a Deployment waits for its progress deadline.
    pub(crate) async fn pass(&self) -> Result<bool, Error> {
        let deployments = self.list(Kind::DEPLOYMENT).await?;
        let sets = self.list(Kind::REPLICA_SET).await?;
        let pods = self.list(Kind::POD).await?;
        let services = self.list(Kind::SERVICE).await?;
        let slices = self.list(Kind::SLICE).await?;
        self.accounts().await?;
        let mut by_owner: HashMap<&str, Vec<&Value>> = HashMap::new();
        for object in sets.iter().chain(&pods) {
            if let Some(owner) = controller(object) {
                by_owner.entry(owner).or_default().push(object);
            }
        }
        let none = Vec::new();
        let owned = |object: &Value| by_owner.get(uid(object)).unwrap_or(&none);
        // One object that cannot be brought further does not hold up the others.
        let mut outcome = Ok(false);
        let mut note = |result: Result<bool, Error>| match result {
            Ok(more) => {
                if let Ok(waits) = &mut outcome {
                    *waits |= more;
                }
            }
            Err(error) => outcome = Err(error),
        };
        for deployment in deployments.iter().filter(|d| !deleting(d)) {
            note(self.deployment(deployment, owned(deployment), &owned).await);
        }
        for set in sets.iter().filter(|set| !deleting(set)) {
            note(self.replica_set(set, owned(set)).await.map(|()| false));
        }
        for service in services.iter().filter(|service| !deleting(service)) {
            note(self.slice(service, &pods, &slices).await.map(|()| false));
        }
        outcome
    }

    async fn deployment<'a>(
        &self,
        deployment: &Value,
        sets: &[&'a Value],
        owned: &impl Fn(&Value) -> &'a Vec<&'a Value>,
    ) -> Result<bool, Error> {
        let spec = &deployment["spec"];
        let wanted = spec["replicas"].as_i64().unwrap_or(1);
        let hash = template_hash(&spec["template"]);
        let name = text(deployment, "/metadata/name");
        let count = |set: &Value| {
            let pods = owned(set);
            let existing = pods.iter().filter(|pod| active(pod)).count();
            let ready = pods
                .iter()
                .filter(|pod| active(pod) && is_ready(pod))
                .count();
            Set {
                wanted: set["spec"]["replicas"].as_i64().unwrap_or(0),
                existing: i64::try_from(existing).unwrap_or(0),
                ready: i64::try_from(ready).unwrap_or(0),
            }
        };
        let is_new = |set: &&Value| {
            set.pointer("/metadata/labels/pod-template-hash")
                .and_then(Value::as_str)
                == Some(&hash)
        };
        let new = sets.iter().copied().find(|set| is_new(set));
        let old: Vec<&Value> = sets.iter().copied().filter(|set| !is_new(set)).collect();
        let old_counts: Vec<Set> = old.iter().map(|set| count(set)).collect();
        let new_count = new.map(count).unwrap_or_default();
        let (new_next, old_next) = if spec["paused"] == true {
            (
                new_count.wanted,
                old_counts.iter().map(|set| set.wanted).collect(),
            )
        } else {
            rollout::step(wanted, Strategy::of(spec, wanted), new_count, &old_counts)
        };
        let revision = |set: &Value| {
            let pointer = "/metadata/annotations/deployment.kubernetes.io~1revision";
            set.pointer(pointer)
                .and_then(Value::as_str)
                .and_then(|r| r.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let newest = old.iter().map(|set| revision(set)).max().unwrap_or(0);
        let revision_now = match new {
            Some(set) => {
                let now = revision(set);
                if now <= newest {
                    let patch =
                        json!({"metadata": {"annotations": {REVISION: (newest + 1).to_string()}}});
                    self.patch(Kind::REPLICA_SET, set, &patch).await?;
                    newest + 1
                } else {
                    now
                }
            }
            None => newest + 1,
        };
        match new {
            None => {
                let mut template = spec["template"].clone();
                template["metadata"]["labels"][HASH] = json!(hash);
                let mut labels = spec["template"]["metadata"]["labels"].clone();
                labels[HASH] = json!(hash);
                let mut selector = spec["selector"].clone();
                selector["matchLabels"][HASH] = json!(hash);
                let set = json!({
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "metadata": {
                        "name": format!("{name}-{hash}"),
                        "namespace": deployment["metadata"]["namespace"],
                        "labels": labels,
                        "annotations": {REVISION: revision_now.to_string()},
                        "ownerReferences": [owner(deployment, "apps/v1", "Deployment")],
                    },
                    "spec": {"replicas": new_next, "selector": selector, "template": template,
                             "minReadySeconds": spec.get("minReadySeconds").cloned().unwrap_or_else(|| json!(0))},
                });
                self.create(Kind::REPLICA_SET, &set).await?;
                self.event(
                    deployment,
                    Kind::DEPLOYMENT,
                    "ScalingReplicaSet",
                    &format!("Scaled up replica set {name}-{hash} from 0 to {new_next}"),
                )
                .await;
            }
            Some(set) if new_next != new_count.wanted => {
                self.scale(deployment, set, new_count.wanted, new_next)
                    .await?;
            }
            Some(_) => {}
        }
        for ((set, now), next) in old.iter().zip(&old_counts).zip(old_next) {
            if next != now.wanted {
                self.scale(deployment, set, now.wanted, next).await?;
            }
        }
        // History beyond the limit goes once it has no pods.
        let keep =
            usize::try_from(spec["revisionHistoryLimit"].as_i64().unwrap_or(10)).unwrap_or(10);
        let mut idle: Vec<&&Value> = old
            .iter()
            .zip(&old_counts)
            .filter(|(_, count)| count.wanted == 0 && count.existing == 0)
            .map(|(set, _)| set)
            .collect();
        idle.sort_by_key(|set| std::cmp::Reverse(revision(set)));
        for set in idle.iter().skip(keep) {
            self.delete(Kind::REPLICA_SET, set).await?;
        }
        self.deployment_status(
            deployment,
            wanted,
            new_count,
            &old_counts,
            revision_now,
            &format!("{name}-{hash}"),
        )
        .await
    }

    async fn deployment_status(
        &self,
        deployment: &Value,
        wanted: i64,
        new: Set,
        old: &[Set],
        revision: u64,
        new_name: &str,
    ) -> Result<bool, Error> {
        let ready = new.ready + old.iter().map(|set| set.ready).sum::<i64>();
        let existing = new.existing + old.iter().map(|set| set.existing).sum::<i64>();
        let strategy = Strategy::of(&deployment["spec"], wanted);
        let unavailable = match strategy {
            Strategy::Rolling { unavailable, .. } => unavailable,
            Strategy::Recreate => 0,
        };
        let available = ready >= wanted - unavailable;
        let complete = new.ready >= wanted && existing == new.existing && new.existing == wanted;
        let previous = deployment
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let condition = |kind: &str, status: &str, reason: &str, message: String| {
            let old = previous.into_iter().flatten().find(|c| c["type"] == kind);
            let same = old.filter(|c| c["status"] == status);
            let unchanged =
                same.filter(|c| c["reason"] == reason && c["message"] == *message.as_str());
            if let Some(unchanged) = unchanged {
                return unchanged.clone();
            }
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                   "lastUpdateTime": now,
                   "lastTransitionTime": same.map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone())})
        };
        let status_now = &deployment["status"];
        let before = |key: &str| status_now[key].as_i64().unwrap_or(0);
        let moved = before("replicas") != existing
            || before("updatedReplicas") != new.existing
            || before("readyReplicas") != ready
            || status_now["observedGeneration"] != deployment["metadata"]["generation"];
        let last = previous
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "Progressing");
        let since = last.and_then(|c| {
            c["lastUpdateTime"]
                .as_str()?
                .parse::<jiff::Timestamp>()
                .ok()
        });
        let limit = deployment["spec"]["progressDeadlineSeconds"]
            .as_i64()
            .unwrap_or(600);
        let late = !moved
            && last.is_some_and(|c| c["reason"] != "NewReplicaSetAvailable")
            && since.is_some_and(|since| {
                jiff::Timestamp::now().as_second() - since.as_second() >= limit
            });
        let mut progressing = if complete {
            condition(
                "Progressing",
                "True",
                "NewReplicaSetAvailable",
                format!("ReplicaSet \"{new_name}\" has successfully progressed."),
            )
        } else if late {
            condition(
                "Progressing",
                "False",
                "ProgressDeadlineExceeded",
                format!("ReplicaSet \"{new_name}\" has timed out progressing."),
            )
        } else {
            condition(
                "Progressing",
                "True",
                "ReplicaSetUpdated",
                format!("ReplicaSet \"{new_name}\" is progressing."),
            )
        };
        if moved {
            progressing["lastUpdateTime"] = json!(now);
        }
        let available_condition = if available {
            condition(
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.".to_owned(),
            )
        } else {
            condition(
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.".to_owned(),
            )
        };
        let mut status = json!({
            "observedGeneration": deployment["metadata"]["generation"],
            "conditions": [available_condition, progressing],
        });
        for (key, value) in [
            ("replicas", existing),
            ("updatedReplicas", new.existing),
            ("readyReplicas", ready),
            ("availableReplicas", ready),
            ("unavailableReplicas", (wanted - ready).max(0)),
        ] {
            if value > 0 {
                status[key] = json!(value);
            }
        }
        let annotation = "/metadata/annotations/deployment.kubernetes.io~1revision";
        if deployment.pointer(annotation).and_then(Value::as_str) != Some(&revision.to_string()) {
            let patch = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
            self.patch(Kind::DEPLOYMENT, deployment, &patch).await?;
        }
        self.status(Kind::DEPLOYMENT, deployment, status).await?;
        Ok(!complete && !late && deployment["spec"]["paused"] != true)
    }

    async fn scale(
        &self,
        deployment: &Value,
        set: &Value,
        from: i64,
        to: i64,
    ) -> Result<(), Error> {
        self.patch(Kind::REPLICA_SET, set, &json!({"spec": {"replicas": to}}))
            .await?;
        let direction = if to > from { "up" } else { "down" };
        let name = text(set, "/metadata/name");
        self.event(
            deployment,
            Kind::DEPLOYMENT,
            "ScalingReplicaSet",
            &format!("Scaled {direction} replica set {name} from {from} to {to}"),
        )
        .await;
        Ok(())
    }

    async fn replica_set(&self, set: &Value, pods: &[&Value]) -> Result<(), Error> {
        let wanted = usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
        let mut present: Vec<&Value> = pods.iter().copied().filter(|pod| active(pod)).collect();
        let name = text(set, "/metadata/name");
        for _ in present.len()..wanted {
            let mut metadata = set["spec"]["template"]["metadata"].clone();
            metadata["generateName"] = json!(format!("{name}-"));
            metadata["namespace"] = set["metadata"]["namespace"].clone();
            metadata["ownerReferences"] = json!([owner(set, "apps/v1", "ReplicaSet")]);
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                             "spec": set["spec"]["template"]["spec"]});
            let made = self.create(Kind::POD, &pod).await?;
            self.event(
                set,
                Kind::REPLICA_SET,
                "SuccessfulCreate",
                &format!("Created pod: {}", text(&made, "/metadata/name")),
            )
            .await;
        }
        if present.len() > wanted {
            // Pods that serve stay longest; of equals the youngest goes first.
            present.sort_by_key(|pod| {
                (
                    is_ready(pod),
                    std::cmp::Reverse(text(pod, "/metadata/creationTimestamp").to_owned()),
                )
            });
            for pod in present.iter().take(present.len() - wanted) {
                self.delete(Kind::POD, pod).await?;
                self.event(
                    set,
                    Kind::REPLICA_SET,
                    "SuccessfulDelete",
                    &format!("Deleted pod: {}", text(pod, "/metadata/name")),
                )
                .await;
            }
        }
        let ready = present.iter().filter(|pod| is_ready(pod)).count();
        let mut status = json!({
            "observedGeneration": set["metadata"]["generation"],
            "replicas": present.len(),
        });
        if !present.is_empty() {
            status["fullyLabeledReplicas"] = json!(present.len());
        }
        if ready > 0 {
            status["readyReplicas"] = json!(ready);
            status["availableReplicas"] = json!(ready);
        }
        self.status(Kind::REPLICA_SET, set, status).await
    }

    async fn slice(&self, service: &Value, pods: &[Value], slices: &[Value]) -> Result<(), Error> {
        let Some(wanted) = endpoints::slice(service, pods) else {
            return Ok(());
        };
        let live = slices.iter().find(|slice| {
            slice["metadata"]["name"] == wanted["metadata"]["name"]
                && slice["metadata"]["namespace"] == wanted["metadata"]["namespace"]
        });
        if live
            .is_some_and(|l| l["endpoints"] == wanted["endpoints"] && l["ports"] == wanted["ports"])
        {
            return Ok(());
        }
        let namespace = text(service, "/metadata/namespace");
        let name = text(service, "/metadata/name");
        let parameters = PatchParams::apply(MANAGER).force();
        let result = self
            .api(Kind::SLICE, namespace)
            .patch(name, &parameters, &Patch::Apply(&wanted))
            .await;
        result
            .map(|_| ())
            .map_err(|source| failed("apply", Kind::SLICE, name, source))
    }

    /// Makes sure that every namespace has its `default` account.
    async fn accounts(&self) -> Result<(), Error> {
        let accounts = self.list(Kind::ACCOUNT).await?;
        for namespace in self
            .list(Kind::NAMESPACE)
            .await?
            .iter()
            .filter(|n| !deleting(n))
        {
            let name = &namespace["metadata"]["name"];
            let there = accounts
                .iter()
                .any(|a| a["metadata"]["namespace"] == *name && a["metadata"]["name"] == "default");
            if !there {
                let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                                     "metadata": {"name": "default", "namespace": name}});
                self.create(Kind::ACCOUNT, &account).await?;
            }
        }
        Ok(())
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Value>, Error> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
        let list = api.list(&ListParams::default()).await;
        let list = list.map_err(|source| failed("list", kind, "all", source))?;
        Ok(list
            .items
            .into_iter()
            .map(|item| serde_json::to_value(item).unwrap_or_default())
            .collect())
    }

    async fn create(&self, kind: Kind, object: &Value) -> Result<Value, Error> {
        let name = text(object, "/metadata/name");
        let result = async {
            let object: DynamicObject =
                serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
            let namespace = object.metadata.namespace.clone().unwrap_or_default();
            self.api(kind, &namespace)
                .create(&PostParams::default(), &object)
                .await
        };
        let made = result
            .await
            .map_err(|source| failed("create", kind, name, source))?;
        Ok(serde_json::to_value(made).unwrap_or_default())
    }

    async fn patch(&self, kind: Kind, object: &Value, patch: &Value) -> Result<(), Error> {
        let name = text(object, "/metadata/name");
        let api = self.api(kind, text(object, "/metadata/namespace"));
        let result = api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        result
            .map(|_| ())
            .map_err(|source| failed("change", kind, name, source))
    }

    async fn status(&self, kind: Kind, object: &Value, mut status: Value) -> Result<(), Error> {
        let present = &object["status"];
        if *present == status {
            return Ok(());
        }
        // A merge patch removes only what it names.
        for key in present
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
        {
            if status.get(key).is_none() {
                status[key.as_str()] = Value::Null;
            }
        }
        let name = text(object, "/metadata/name");
        let api = self.api(kind, text(object, "/metadata/namespace"));
        let patch = json!({ "status": status });
        let result = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        result
            .map(|_| ())
            .map_err(|source| failed("report status of", kind, name, source))
    }

    async fn delete(&self, kind: Kind, object: &Value) -> Result<(), Error> {
        let name = text(object, "/metadata/name");
        let mut parameters = DeleteParams::background();
        parameters.preconditions = Some(Preconditions {
            uid: Some(uid(object).to_owned()),
            ..Preconditions::default()
        });
        match self
            .api(kind, text(object, "/metadata/namespace"))
            .delete(name, &parameters)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(failed("delete", kind, name, source)),
        }
    }

    async fn event(&self, about: &Value, kind: Kind, reason: &str, message: &str) {
        let namespace = text(about, "/metadata/namespace");
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": format!("{}.", text(about, "/metadata/name")), "namespace": namespace},
            "involvedObject": {"apiVersion": kind.api_version(), "kind": kind.kind, "namespace": namespace,
                               "name": about["metadata"]["name"], "uid": about["metadata"]["uid"]},
            "reason": reason, "message": message, "type": "Normal", "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": MANAGER},
        });
        if let Err(error) = self.create(Kind::EVENT, &event).await {
            tracing::debug!(%error, "Event not written");
        }
    }
}

fn failed(action: &str, kind: Kind, name: &str, source: kube::Error) -> Error {
    Error::Api {
        action: format!("{action} {} {name:?}", kind.kind),
        source: Box::new(source),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

fn controller(object: &Value) -> Option<&str> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

fn owner(object: &Value, api_version: &str, kind: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": object["metadata"]["name"],
           "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}

fn deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether a pod counts: neither on its way out nor ended.
fn active(pod: &Value) -> bool {
    !deleting(pod)
        && !matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        )
}

/// Ten hexadecimal digits that change with the pod template.
fn template_hash(template: &Value) -> String {
    let digest = Sha256::digest(template.to_string().as_bytes());
    digest
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
