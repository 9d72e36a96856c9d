//! The routing sidecar of pods that decode: which pool names the pods that it may forward to.

use serde_json::{Value, json};
use weir_api::names::{container, kind};

use super::{Context, edit};
use crate::{Error, Facts, present, scheduler};

/// The pool's name, for sidecars that take it from the environment.
const POOL_NAME: &str = "INFERENCE_POOL_NAME";

/// The flag that says of which kind the pool is.
const POOL_GROUP: &str = "--pool-group=";

/// Names the pool to a routing sidecar, unless the user did, and of which kind it is: what the command says holds
/// where the cluster serves it, else the pool would be looked for in vain and the port never opened.
pub(crate) fn apply(pod: &mut Value, context: &Context<'_>) -> Result<(), Error> {
    let Some(sidecar) = edit::container(pod, "initContainers", container::SIDECAR) else {
        return Ok(());
    };
    for list in ["command", "args"] {
        let words = sidecar.get_mut(list).and_then(Value::as_array_mut);
        for word in words.into_iter().flatten() {
            let group = word.as_str().and_then(|word| word.strip_prefix(POOL_GROUP));
            if group.is_some_and(|group| !is_served(group, context.facts)) {
                *word = json!(format!(
                    "{POOL_GROUP}{}",
                    scheduler::pool_group(context.facts)
                ));
            }
        }
    }
    if present(context.spec, "/router") {
        let pool = scheduler::pool_name(context.service, context.spec);
        edit::push_new(sidecar, "env", json!({"name": POOL_NAME, "value": pool}));
    }
    Ok(())
}

/// Whether there are pools of the group: the referenced one is of one group only.
fn is_served(group: &str, facts: &Facts) -> bool {
    if facts.router.pool.is_some() {
        return group == scheduler::pool_group(facts);
    }
    [kind::INFERENCE_POOL, kind::INFERENCE_POOL_ALPHA]
        .iter()
        .any(|kind| kind.group == group && facts.router.serves(*kind))
}
