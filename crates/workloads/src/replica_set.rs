//! ReplicaSets: as many pods as wanted, adopted where they fit and released where they do not.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Error;
use crate::controllers::Controllers;
use crate::endpoints::{is_ready, selects};
use crate::kinds::{
    Kind, active, controlled_by, controller, deleting, name, namespace, owner, uid, written,
};
use crate::pods;

/// Pods made or removed in one piece of work; the rest follows at once.
const BATCH: usize = 64;

impl Controllers {
    /// Brings a ReplicaSet one step further.
    pub(crate) async fn replica_set(&mut self, set: &Value) -> Result<Option<u64>, Error> {
        if deleting(set) {
            return Ok(None);
        }
        let selector = set.pointer("/spec/selector/matchLabels").cloned();
        self.claim(Kind::Pod, (set, Kind::ReplicaSet), selector.as_ref())
            .await?;
        let wanted = usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
        let mut present = self.pods_of(set);
        present.retain(|pod| active(pod));
        let mut failure = None;
        for _ in present.len()..wanted.min(present.len() + BATCH) {
            if let Err(error) = self.add_pod(set).await {
                if error.is_conflict() {
                    return Err(error);
                }
                failure = Some(error);
                break;
            }
        }
        if present.len() > wanted {
            pods::sort_for_removal(&mut present);
            for pod in present.iter().take((present.len() - wanted).min(BATCH)) {
                self.delete(Kind::Pod, pod).await?;
                let message = format!("Deleted pod: {}", name(pod));
                self.tell(
                    set,
                    Kind::ReplicaSet,
                    ("Normal", "SuccessfulDelete"),
                    &message,
                )
                .await;
            }
        }
        let again = self.replica_set_status(set, failure.as_ref()).await?;
        failure.map_or(Ok(again), Err)
    }

    async fn replica_set_status(
        &mut self,
        set: &Value,
        failure: Option<&Error>,
    ) -> Result<Option<u64>, Error> {
        let now = jiff::Timestamp::now().as_second();
        let least = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        let mut present = self.pods_of(set);
        present.retain(|pod| active(pod));
        let ready = present.iter().filter(|pod| is_ready(pod)).count();
        let (mut available, mut again) = (0, None::<u64>);
        for pod in &present {
            match pods::available(pod, least, now) {
                Ok(()) => available += 1,
                Err(left) => {
                    again = left.map_or(again, |left| Some(again.map_or(left, |a| a.min(left))))
                }
            }
        }
        let mut status = json!({
            "observedGeneration": set["metadata"]["generation"],
            "replicas": present.len(),
        });
        let labelled = present.iter().filter(|pod| {
            selects(
                set.pointer("/spec/template/metadata/labels"),
                pod.pointer("/metadata/labels"),
            )
        });
        for (key, value) in [
            ("fullyLabeledReplicas", labelled.count()),
            ("readyReplicas", ready),
            ("availableReplicas", available),
        ] {
            if value > 0 {
                status[key] = json!(value);
            }
        }
        if let Some(error) = failure {
            let message = error.chain();
            let before = set.pointer("/status/conditions/0");
            let same = before.filter(|c| c["type"] == "ReplicaFailure" && c["message"] == *message);
            let condition = same.cloned().unwrap_or_else(|| {
                json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                       "message": message, "lastTransitionTime": written(now)})
            });
            if same.is_none() {
                let message = format!("Error creating: {message}");
                self.tell(set, Kind::ReplicaSet, ("Warning", "FailedCreate"), &message)
                    .await;
            }
            status["conditions"] = json!([condition]);
        }
        self.status(Kind::ReplicaSet, set, status).await?;
        Ok(again)
    }

    /// Pods that a set controls, those on their way out included.
    pub(crate) fn pods_of(&self, set: &Value) -> Vec<Arc<Value>> {
        self.cache
            .within(Kind::Pod, namespace(set))
            .filter(|pod| controlled_by(pod, uid(set)))
            .cloned()
            .collect()
    }

    async fn add_pod(&mut self, set: &Value) -> Result<(), Error> {
        let mut metadata = set["spec"]["template"]["metadata"].clone();
        metadata["generateName"] = json!(format!("{}-", name(set)));
        metadata["namespace"] = set["metadata"]["namespace"].clone();
        metadata["ownerReferences"] = json!([owner(set, Kind::ReplicaSet)]);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                         "spec": set["spec"]["template"]["spec"]});
        let made = self.create(Kind::Pod, pod).await?;
        let message = format!("Created pod: {}", name(&made));
        self.tell(
            set,
            Kind::ReplicaSet,
            ("Normal", "SuccessfulCreate"),
            &message,
        )
        .await;
        Ok(())
    }

    /// Adopts objects of `kind` that nobody controls and `selector` matches, and releases those that
    /// `by` controls and `selector` no longer matches.
    pub(crate) async fn claim(
        &mut self,
        kind: Kind,
        (by, by_kind): (&Value, Kind),
        selector: Option<&Value>,
    ) -> Result<(), Error> {
        let found: Vec<Arc<Value>> = self
            .cache
            .within(kind, namespace(by))
            .filter(|object| !deleting(object))
            .filter(|object| {
                let fits = selects(selector, object.pointer("/metadata/labels"));
                match controller(object) {
                    Some(owner) => owner["uid"] == uid(by) && !fits,
                    None => fits && (kind != Kind::Pod || active(object)),
                }
            })
            .cloned()
            .collect();
        for object in found {
            let mut owners: Vec<Value> = object
                .pointer("/metadata/ownerReferences")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            if controller(&object).is_some() {
                owners.retain(|owner| owner["uid"] != uid(by));
            } else {
                owners.push(owner(by, by_kind));
            }
            // The list is written as a whole, so nobody may have written it in between.
            let patch = json!({"metadata": {
                "resourceVersion": object["metadata"]["resourceVersion"],
                "ownerReferences": owners,
            }});
            self.patch(kind, &object, patch).await?;
        }
        Ok(())
    }
}
