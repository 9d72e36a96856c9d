//! The configs of a service, out of the cache, and what they and the service come to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{condition, kind, reason};
use weir_compose::{CombineError, Naming};
use weir_plan::{Failure, Settings};

use crate::{Context, Error};

/// The effective spec and where it came from.
pub(crate) struct Combined {
    pub(crate) spec: Value,
    pub(crate) applied: Vec<Value>,
}

/// Combines presets, base references and the service.
pub(crate) fn effective(
    context: &Context,
    live: &Value,
    settings: &Settings,
    pinned: &BTreeMap<String, String>,
) -> Result<Result<Combined, Failure>, Error> {
    let naming = Naming {
        system_namespace: context.options.system_namespace.clone(),
        config_prefix: context.options.config_prefix.clone(),
        pinned: pinned.clone(),
    };
    let find = |namespace: &str, name: &str| {
        let found = context.cache.get(kind::CONFIG, namespace, name)?;
        Ok(found.map(|config| config.as_ref().clone()))
    };
    let failure = |reason, message| Failure {
        condition: condition::PRESETS_COMBINED,
        reason,
        message,
    };
    match weir_compose::combine(live, &settings.globals(), &naming, find) {
        Ok(combined) => {
            let applied = combined.layers.iter().map(|(source, config)| {
                json!({"name": config.name, "namespace": config.namespace, "source": source.as_str()})
            });
            Ok(Ok(Combined {
                applied: applied.collect(),
                spec: combined.effective.spec,
            }))
        }
        Err(CombineError::Search(error)) => Err(error),
        Err(error @ CombineError::NotFound { .. }) => {
            Ok(Err(failure(reason::CONFIG_NOT_FOUND, error.to_string())))
        }
        Err(error) => Ok(Err(failure(reason::COMBINE_BASE_ERROR, error.to_string()))),
    }
}
