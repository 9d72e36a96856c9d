//! The routing sidecar of pods that decode: which pool names the pods that it may forward to.

use serde_json::{Value, json};
use weir_api::names::{ChildNames, container};

use super::{Context, edit};
use crate::{Error, present, text};

/// The pool's name, for sidecars that take it from the environment.
const POOL_NAME: &str = "INFERENCE_POOL_NAME";

/// Names the pool to a routing sidecar, unless the user did.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    if !present(context.spec, "/router") {
        return Ok(());
    }
    let pool = pool_name(context);
    if let Some(sidecar) = edit::container(pod, "initContainers", container::SIDECAR) {
        edit::push_new(sidecar, "env", json!({"name": POOL_NAME, "value": pool}));
    }
    Ok(())
}

fn pool_name(context: &Context<'_>) -> String {
    match text(context.spec, "/router/scheduler/pool/ref/name") {
        "" => ChildNames::new(&context.service.name).pool(),
        name => name.to_owned(),
    }
}
