//! In which order the containers of a pod start and end.
//!
//! Init containers run one after the other. One that is to be restarted always is a sidecar: the next
//! one waits until it has started, which its startup probe says, and it runs until the containers
//! have ended. Sidecars end last, the one that started last first.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::container::{self, PodContext, Restart, Stop};
use crate::seconds;

/// What a sidecar has to end in, at least, where the containers used up the grace of the pod.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// A sidecar that runs.
struct Sidecar {
    stop: watch::Sender<Stop>,
    /// Holds the one task that attends it.
    task: JoinSet<i32>,
}

/// Whether an init container is a sidecar.
pub(crate) fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

/// Runs the containers of a pod until all of them have ended.
pub(crate) async fn run(context: Arc<PodContext>, mut stop: watch::Receiver<Stop>) {
    let mut sidecars = Vec::new();
    if Box::pin(init(&context, &mut sidecars, &mut stop)).await {
        mains(&context, &mut stop).await;
    }
    let by_itself = Stop::By {
        deadline: Instant::now() + seconds::grace(&context.pod),
        hooks: true,
    };
    let mut running = JoinSet::new();
    while let Some(mut sidecar) = sidecars.pop() {
        let order = sidecar_order(*stop.borrow(), by_itself);
        if matches!(order, Stop::By { hooks: false, .. }) {
            // The end of the node waits for nobody.
            sidecar.stop.send_replace(order);
            running.spawn(async move { sidecar.task.join_next().await });
            continue;
        }
        end(&mut sidecar, order, &mut stop, by_itself).await;
    }
    while running.join_next().await.is_some() {}
}

/// Runs the init containers; whether the others may start.
async fn init(
    context: &Arc<PodContext>,
    sidecars: &mut Vec<Sidecar>,
    stop: &mut watch::Receiver<Stop>,
) -> bool {
    let policy = match policy(&context.pod) {
        Restart::Never => Restart::Never,
        Restart::Always | Restart::OnFailure => Restart::OnFailure,
    };
    for (index, container) in list(&context.pod, "initContainers").enumerate() {
        if *stop.borrow() != Stop::No {
            return false;
        }
        let context = Arc::clone(context);
        if is_sidecar(container) {
            let (sender, order) = watch::channel(Stop::No);
            let mut task = JoinSet::new();
            let own = container::run(
                Arc::clone(&context),
                index,
                container.clone(),
                Restart::Always,
                order,
            );
            task.spawn(own);
            sidecars.push(Sidecar { stop: sender, task });
            let started = context.states.until(index, |state| state.started);
            tokio::select! {
                () = started => {}
                _ = stop.wait_for(|stop| *stop != Stop::No) => return false,
            }
            continue;
        }
        let own = container::run(context, index, container.clone(), policy, stop.clone());
        if Box::pin(own).await != 0 {
            return false;
        }
    }
    *stop.borrow() == Stop::No
}

/// Runs the containers, together.
async fn mains(context: &Arc<PodContext>, stop: &mut watch::Receiver<Stop>) {
    let first = list(&context.pod, "initContainers").count();
    let policy = policy(&context.pod);
    let mut running = JoinSet::new();
    for (index, container) in list(&context.pod, "containers").enumerate() {
        running.spawn(container::run(
            Arc::clone(context),
            first + index,
            container.clone(),
            policy,
            stop.clone(),
        ));
    }
    while running.join_next().await.is_some() {}
}

/// What a sidecar is told: the order to the pod, or, where the containers ended by themselves, one of
/// its own.
fn sidecar_order(pod: Stop, by_itself: Stop) -> Stop {
    match pod {
        Stop::No => by_itself,
        Stop::By {
            deadline,
            hooks: true,
        } => Stop::By {
            deadline: deadline.max(Instant::now() + LEAST_GRACE),
            hooks: true,
        },
        strict @ Stop::By { hooks: false, .. } => strict,
    }
}

/// Ends a sidecar; a stricter order to the pod meanwhile is passed on.
async fn end(
    sidecar: &mut Sidecar,
    order: Stop,
    stop: &mut watch::Receiver<Stop>,
    by_itself: Stop,
) {
    stop.mark_unchanged();
    sidecar.stop.send_replace(order);
    loop {
        tokio::select! {
            biased;
            _ = sidecar.task.join_next() => return,
            Ok(()) = stop.changed() => {
                let order = sidecar_order(*stop.borrow_and_update(), by_itself);
                sidecar.stop.send_replace(order);
            }
        }
    }
}

fn policy(pod: &Value) -> Restart {
    match pod["spec"]["restartPolicy"].as_str() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    }
}

fn list<'a>(pod: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod["spec"][field].as_array().into_iter().flatten()
}
