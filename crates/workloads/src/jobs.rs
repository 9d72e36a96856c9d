//! Jobs: pods that are to end well, so many times, within bounds. What is next is decided in
//! [`decide`].

pub mod decide;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Error;
use crate::controllers::Controllers;
use crate::endpoints::is_ready;
use crate::kinds::{Kind, active, deleting, name, namespace, owner, seconds, text, written};
use decide::{Counted, End, Pod, State, Step, Wanted};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Pods made or removed in one piece of work; the rest follows with the events of these.
const BATCH: usize = 64;

impl Controllers {
    /// Brings a Job one step further.
    pub(crate) async fn job(&mut self, job: &Value) -> Result<Option<u64>, Error> {
        if deleting(job) {
            return Ok(None);
        }
        let now = jiff::Timestamp::now().as_second();
        if let Some(ended) = ended(job) {
            return self.forget_job(job, ended, now).await;
        }
        let wanted = Wanted::of(&job["spec"]);
        let live = self.pods_of(job);
        let pods: Vec<Pod> = live.iter().map(fact).collect();
        let began = seconds(text(job, "/status/startTime"));
        let counted = Counted::of(&job["status"]);
        let Step {
            make,
            remove,
            end,
            again,
        } = decide::step(&wanted, &pods, counted, began.unwrap_or(now), now);
        for place in remove.iter().take(BATCH) {
            if let Some(pod) = live.get(*place) {
                self.delete(Kind::Pod, pod).await?;
                let message = format!("Deleted pod: {}", name(pod));
                self.tell(job, Kind::Job, ("Normal", "SuccessfulDelete"), &message)
                    .await;
            }
        }
        for index in make.into_iter().take(BATCH) {
            let made = self.create(Kind::Pod, new_pod(job, index)).await?;
            let message = format!("Created pod: {}", name(&made));
            self.tell(job, Kind::Job, ("Normal", "SuccessfulCreate"), &message)
                .await;
        }
        let status = self.job_status(job, &wanted, end, now);
        self.status(Kind::Job, job, status).await?;
        if let Some(end) = end {
            let (severity, (reason, message)) = match end {
                End::Complete => ("Normal", ("Completed", "Job completed")),
                failed => ("Warning", reason(failed)),
            };
            self.tell(job, Kind::Job, (severity, reason), message).await;
        }
        Ok(again.map(|seconds| u64::try_from(seconds).unwrap_or(1).max(1)))
    }

    /// Removes what still runs of a Job that has ended, and, after the time that it says, the Job.
    async fn forget_job(
        &mut self,
        job: &Value,
        ended: i64,
        now: i64,
    ) -> Result<Option<u64>, Error> {
        // More pods than one step removes may have been running.
        for pod in self.pods_of(job).iter().filter(|pod| active(pod)) {
            self.delete(Kind::Pod, pod).await?;
        }
        let Some(keep) = job["spec"]["ttlSecondsAfterFinished"].as_i64() else {
            return Ok(None);
        };
        match u64::try_from(ended.saturating_add(keep) - now) {
            Ok(left) if left > 0 => Ok(Some(left)),
            _ => {
                self.delete(Kind::Job, job).await?;
                Ok(None)
            }
        }
    }

    fn job_status(&self, job: &Value, wanted: &Wanted, end: Option<End>, now: i64) -> Value {
        let pods: Vec<Pod> = self.pods_of(job).iter().map(fact).collect();
        let before = &job["status"];
        let count = |is: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| is(pod)).count();
        let counted = Counted::of(before);
        let mut status = json!({});
        let mut set = |key: &str, number: i64| {
            if number > 0 {
                status[key] = json!(number);
            }
        };
        set("succeeded", decide::succeeded(wanted, &pods, counted));
        set("failed", decide::failed(&pods, counted));
        if end.is_none() {
            let active = count(&|pod| matches!(pod.state, State::Active { .. }));
            let leaving = count(&|pod| pod.state == State::Leaving);
            set("active", i64::try_from(active).unwrap_or(i64::MAX));
            set("terminating", i64::try_from(leaving).unwrap_or(i64::MAX));
        }
        let ready = count(&|pod| pod.state == State::Active { ready: true });
        status["ready"] = json!(if end.is_none() { ready } else { 0 });
        if wanted.indexed {
            let done = decide::completed_indexes(wanted, &pods);
            status["completedIndexes"] = json!(decide::ranges(&done));
        }
        let at = json!(written(now));
        if !wanted.suspended {
            let began = &before["startTime"];
            status["startTime"] = if began.is_null() {
                at.clone()
            } else {
                began.clone()
            };
        }
        let mut conditions = before["conditions"].as_array().cloned().unwrap_or_default();
        suspend(&mut conditions, wanted.suspended, &at);
        if let Some(end) = end {
            let (reason, message) = reason(end);
            // First that the end is decided, then that nothing runs any more; here both at once.
            let kinds = match end {
                End::Complete => {
                    status["completionTime"] = at.clone();
                    ["SuccessCriteriaMet", "Complete"]
                }
                End::TooManyFailures | End::TooLate => ["FailureTarget", "Failed"],
            };
            for kind in kinds {
                conditions.push(condition(kind, "True", (reason, message), &at));
            }
        }
        if !conditions.is_empty() {
            status["conditions"] = Value::Array(conditions);
        }
        status
    }
}

/// Says that a Job is suspended, or was resumed.
fn suspend(conditions: &mut Vec<Value>, suspended: bool, at: &Value) {
    let known = conditions.iter().position(|c| c["type"] == "Suspended");
    let (status, words) = if suspended {
        ("True", ("JobSuspended", "Job suspended"))
    } else {
        ("False", ("JobResumed", "Job resumed"))
    };
    match known.and_then(|place| conditions.get_mut(place)) {
        Some(own) if own["status"] != status => *own = condition("Suspended", status, words, at),
        None if suspended => conditions.push(condition("Suspended", status, words, at)),
        _ => {}
    }
}

fn condition(kind: &str, status: &str, (reason, message): (&str, &str), at: &Value) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
           "lastProbeTime": at, "lastTransitionTime": at})
}

fn reason(end: End) -> (&'static str, &'static str) {
    match end {
        End::Complete => (
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        ),
        End::TooManyFailures => (
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ),
        End::TooLate => (
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        ),
    }
}

/// When a Job ended, if it did.
fn ended(job: &Value) -> Option<i64> {
    let conditions = job.pointer("/status/conditions")?.as_array()?;
    let end = conditions.iter().find(|condition| {
        matches!(condition["type"].as_str(), Some("Complete" | "Failed"))
            && condition["status"] == "True"
    })?;
    seconds(end["lastTransitionTime"].as_str()?).or(Some(0))
}

fn fact(pod: &Arc<Value>) -> Pod {
    let made = seconds(text(pod, "/metadata/creationTimestamp")).unwrap_or(0);
    let statuses = || {
        let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
        lists
            .into_iter()
            .filter_map(|list| pod.pointer(list)?.as_array())
            .flatten()
    };
    let finished = statuses()
        .filter_map(|status| seconds(text(status, "/state/terminated/finishedAt")))
        .max()
        .unwrap_or(made);
    let restarts = statuses().filter_map(|status| status["restartCount"].as_i64());
    let (state, at) = match text(pod, "/status/phase") {
        "Succeeded" => (State::Succeeded, finished),
        "Failed" => (State::Failed { at: finished }, finished),
        _ if deleting(pod) => (State::Leaving, made),
        _ => {
            let ready = is_ready(pod);
            (State::Active { ready }, made)
        }
    };
    Pod {
        state,
        index: pod["metadata"]["annotations"][INDEX]
            .as_str()
            .and_then(|index| index.parse().ok()),
        restarts: restarts.sum(),
        at,
    }
}

fn new_pod(job: &Value, index: Option<i64>) -> Value {
    let mut metadata = job["spec"]["template"]["metadata"].clone();
    let mut spec = job["spec"]["template"]["spec"].clone();
    let mut prefix = format!("{}-", name(job));
    if let Some(index) = index {
        prefix = format!("{prefix}{index}-");
        for map in ["annotations", "labels"] {
            metadata[map][INDEX] = json!(index.to_string());
        }
        spec["hostname"] = json!(format!("{}-{index}", name(job)));
        let path = format!("metadata.annotations['{INDEX}']");
        let variable = json!({"name": "JOB_COMPLETION_INDEX",
                              "valueFrom": {"fieldRef": {"fieldPath": path}}});
        for list in ["initContainers", "containers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                let mut env = container["env"].as_array().cloned().unwrap_or_default();
                env.push(variable.clone());
                container["env"] = Value::Array(env);
            }
        }
    }
    metadata["generateName"] = json!(prefix);
    metadata["namespace"] = json!(namespace(job));
    metadata["ownerReferences"] = json!([owner(job, Kind::Job)]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}
