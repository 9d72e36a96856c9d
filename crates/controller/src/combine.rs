//! The configs of a service, out of the cache, and what they and the service come to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::names::{condition, kind, reason};
use weir_api::validate::FieldError;
use weir_compose::{CombineError, Naming};
use weir_plan::{Failure, Settings};

use crate::{Context, Error};

/// The effective spec and where it came from.
pub(crate) struct Combined {
    pub(crate) spec: Value,
    pub(crate) applied: Vec<Value>,
    /// Why the spec cannot be used, although everything went together.
    pub(crate) refused: Option<Failure>,
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
    let find = |namespace: &str, name: &str| context.cache.get(kind::CONFIG, namespace, name);
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
            let applied: Vec<Value> = applied.collect();
            let spec = combined.effective.spec;
            if let Err(error) = weir_plan::check_adapters(&spec) {
                let message = format!("failed to enumerate LoRA adapters: {error}");
                return Ok(Err(failure(reason::COMBINE_BASE_ERROR, message)));
            }
            let errors = weir_review::review_effective(live, &spec).errors;
            let refused = (!errors.is_empty())
                .then(|| failure(reason::INVALID_RENDERED_CONFIG, refusal(&applied, &errors)));
            Ok(Ok(Combined {
                spec,
                applied,
                refused,
            }))
        }
        Err(CombineError::Search(error)) => Err(error),
        Err(error @ CombineError::NotFound { .. }) => {
            Ok(Err(failure(reason::CONFIG_NOT_FOUND, error.to_string())))
        }
        Err(error) => Ok(Err(failure(reason::COMBINE_BASE_ERROR, error.to_string()))),
    }
}

/// Which configs came to a spec that breaks rules, and which rules.
fn refusal(applied: &[Value], errors: &[FieldError]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let config = |config: &Value| {
        let [source, namespace, name] =
            ["source", "namespace", "name"].map(|field| text(&config[field]));
        format!("{source}:{namespace}/{name}")
    };
    let configs: Vec<String> = applied.iter().map(config).collect();
    let causes: Vec<String> = errors.iter().map(ToString::to_string).collect();
    format!(
        "validation failed after merging configs [{}]: {}",
        configs.join(", "),
        causes.join("; ")
    )
}
