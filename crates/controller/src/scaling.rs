//! The autoscalers' part of a pass.

use serde_json::Value;
use weir_api::names::reason;
use weir_plan::{Facts, Failure, ServiceIdentity, scaling_failure, scaling_not_served};

use crate::events::{self, Severity};
use crate::reconcile::is_told;
use crate::router::live_of;
use crate::snapshot::Children;
use crate::{Context, Error, apply};

/// What became of the autoscalers.
pub(crate) enum Written {
    /// Those that were planned, as they are now.
    Done(Vec<Value>, Vec<std::sync::Arc<Value>>),
    /// It cannot be done until somebody changes something.
    Refused(Failure),
    /// It is tried again.
    Failed(Failure, Error),
}

/// Writes the autoscalers of a service that is as `seen`.
pub(crate) async fn write(
    context: &Context,
    service: &ServiceIdentity,
    seen: &Value,
    children: &Children,
    spec: &Value,
    facts: &Facts,
) -> Written {
    let planned = match weir_plan::scaling(service, spec, facts) {
        Ok(planned) => planned,
        Err(error) => return Written::Refused(scaling_failure(&error)),
    };
    if let Some(failure) = scaling_not_served(&planned, |kind| context.cache.served(kind)) {
        if !is_told(seen, &failure.message) {
            let (client, message) = (&context.client, &failure.message);
            let reason = reason::SCALING_CRD_NOT_FOUND;
            events::report(client, service, Severity::Warning, reason, message).await;
        }
        return Written::Refused(failure);
    }
    let mut live = Vec::with_capacity(planned.len());
    for wanted in &planned {
        match apply::ensure(context, service, wanted, live_of(children, wanted)).await {
            Ok(now) => live.push(now),
            Err(error) => return Written::Failed(scaling_failure(&error), error),
        }
    }
    Written::Done(planned, live)
}
