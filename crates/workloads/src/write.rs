//! Writes of the controllers; each answer enters the cache at once.

use std::future::Future;
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use crate::Error;
use crate::controllers::Controllers;
use crate::kinds::{Kind, name, namespace, text, uid, written};

pub(crate) const MANAGER: &str = "weir-workloads";
const LIMIT: Duration = Duration::from_secs(30);

impl Controllers {
    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// Waits for the answer to a write, and takes the object in it for the present one.
    async fn take(
        &mut self,
        (action, kind, name): (&str, Kind, &str),
        write: impl Future<Output = Result<DynamicObject, kube::Error>>,
    ) -> Result<Value, Error> {
        let action = || format!("{action} {} {name:?}", kind.name());
        let answer = tokio::time::timeout(LIMIT, Box::pin(write))
            .await
            .map_err(|_| Error::Slow { action: action() })?;
        let object = answer.map_err(|source| Error::Api {
            action: action(),
            source: Box::new(source),
        })?;
        let object = serde_json::to_value(object).unwrap_or_default();
        if kind != Kind::Event
            && let Some(before) = self.cache.wrote(kind, object.clone())
        {
            self.changed(kind, before.as_deref(), &object);
        }
        Ok(object)
    }

    pub(crate) async fn create(&mut self, kind: Kind, object: Value) -> Result<Value, Error> {
        let shown = match name(&object) {
            "" => text(&object, "/metadata/generateName").to_owned(),
            name => name.to_owned(),
        };
        let api = self.api(kind, namespace(&object));
        let write = async {
            let object: DynamicObject =
                serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams::default(), &object).await
        };
        self.take(("create", kind, &shown), write).await
    }

    /// Reads an object whose like was just refused as existing already.
    pub(crate) async fn live(&mut self, kind: Kind, like: &Value) -> Result<Value, Error> {
        let api = self.api(kind, namespace(like));
        let read = api.get(name(like));
        self.take(("read", kind, name(like)), read).await
    }

    pub(crate) async fn apply(&mut self, kind: Kind, object: &Value) -> Result<Value, Error> {
        let api = self.api(kind, namespace(object));
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(object);
        let write = api.patch(name(object), &parameters, &patch);
        self.take(("apply", kind, name(object)), write).await
    }

    /// Changes `object` by a merge patch, unless it is another one of the same name by now.
    pub(crate) async fn patch(
        &mut self,
        kind: Kind,
        object: &Value,
        mut patch: Value,
    ) -> Result<Value, Error> {
        patch["metadata"]["uid"] = object["metadata"]["uid"].clone();
        let api = self.api(kind, namespace(object));
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let write = api.patch(name(object), &parameters, &patch);
        self.take(("change", kind, name(object)), write).await
    }

    /// Writes the status where it differs.
    pub(crate) async fn status(
        &mut self,
        kind: Kind,
        object: &Value,
        mut status: Value,
    ) -> Result<(), Error> {
        let present = &object["status"];
        if *present == status {
            return Ok(());
        }
        // A merge patch removes only what it names.
        for (key, _) in present.as_object().into_iter().flatten() {
            if status.get(key).is_none() {
                status[key.as_str()] = Value::Null;
            }
        }
        let api = self.api(kind, namespace(object));
        let patch = json!({"metadata": {"uid": object["metadata"]["uid"]}, "status": status});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let write = api.patch_status(name(object), &parameters, &patch);
        self.take(("report status of", kind, name(object)), write)
            .await
            .map(|_| ())
    }

    pub(crate) async fn delete(&mut self, kind: Kind, object: &Value) -> Result<(), Error> {
        let mut parameters = DeleteParams::background();
        parameters.preconditions = Some(Preconditions {
            uid: Some(uid(object).to_owned()),
            ..Preconditions::default()
        });
        let action = || format!("delete {} {:?}", kind.name(), name(object));
        let api = self.api(kind, namespace(object));
        let answer = tokio::time::timeout(LIMIT, api.delete(name(object), &parameters))
            .await
            .map_err(|_| Error::Slow { action: action() })?;
        match answer {
            Ok(either) => {
                // An object that goes in its own time is answered; else a status says that it is gone.
                let left = either
                    .left()
                    .map(|left| serde_json::to_value(left).unwrap_or_default())
                    .filter(|left| left.pointer("/metadata/deletionTimestamp").is_some());
                if let Some(left) = left {
                    if let Some(before) = self.cache.wrote(kind, left.clone()) {
                        self.changed(kind, before.as_deref(), &left);
                    }
                } else {
                    self.cache.deleted(kind, object);
                    self.wake(kind, object);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                self.cache.deleted(kind, object);
                self.wake(kind, object);
                Ok(())
            }
            Err(source) => Err(Error::Api {
                action: action(),
                source: Box::new(source),
            }),
        }
    }

    /// Writes an event; a failure is only logged.
    pub(crate) async fn tell(
        &mut self,
        about: &Value,
        kind: Kind,
        (severity, reason): (&str, &str),
        message: &str,
    ) {
        let at = namespace(about);
        let now = written(jiff::Timestamp::now().as_second());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": format!("{}.", name(about)), "namespace": at},
            "involvedObject": {"apiVersion": kind.api_version(), "kind": kind.name(), "namespace": at,
                               "name": about["metadata"]["name"], "uid": about["metadata"]["uid"]},
            "reason": reason, "message": message, "type": severity, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": MANAGER},
        });
        if let Err(error) = self.create(Kind::Event, event).await {
            tracing::debug!(%error, reason, "Event not written");
        }
    }
}
