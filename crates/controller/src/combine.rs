//! The configs of a service, out of the cache, and what they and the service come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::names::{condition, kind, reason};
use weir_api::validate::FieldError;
use weir_compose::{CombineError, Naming, Note, Search};
use weir_plan::{Failure, ServiceIdentity, Settings};

use crate::events::{self, Severity};
use crate::{Context, Error, pickers};

/// The effective spec and where it came from.
pub(crate) struct Combined {
    pub(crate) spec: Value,
    pub(crate) applied: Vec<Value>,
    /// Why the spec cannot be used, although everything went together.
    pub(crate) refused: Option<Failure>,
    /// What the user should hear of.
    pub(crate) notes: Vec<Note>,
}

/// What a service comes to, or why it does not.
pub(crate) type Outcome = Result<Combined, Failure>;

/// The cache, and the ConfigMaps that were read so far.
struct Stored<'a> {
    context: &'a Context,
    maps: &'a pickers::Read,
    /// The ConfigMaps that were asked for, there or not.
    asked: &'a mut BTreeSet<(String, String)>,
}

/// Why a search cannot answer.
#[derive(Debug, thiserror::Error)]
enum Lack {
    /// The cache does not know.
    #[error(transparent)]
    Unknown(Error),
    /// This ConfigMap has to be read first.
    #[error("ConfigMap {}/{} was not read", .0.0, .0.1)]
    Map((String, String)),
}

impl Search for Stored<'_> {
    type Error = Lack;

    fn config(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Lack> {
        let found = self.context.cache.get(kind::CONFIG, namespace, name);
        found.map_err(Lack::Unknown)
    }

    fn config_map(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Lack> {
        let key = (namespace.to_owned(), name.to_owned());
        self.asked.insert(key.clone());
        let found = self.maps.get(&key).cloned();
        found.ok_or(Lack::Map(key))
    }
}

/// Combines presets, base references and the service.
pub(crate) async fn effective(
    context: &Context,
    live: &Value,
    settings: &Settings,
    pinned: &BTreeMap<String, String>,
) -> Result<Outcome, Error> {
    let naming = Naming {
        system_namespace: context.options.system_namespace.clone(),
        config_prefix: context.options.config_prefix.clone(),
        pinned: pinned.clone(),
    };
    let failure = |reason, message| Failure {
        condition: condition::PRESETS_COMBINED,
        reason,
        message,
    };
    let service = ServiceIdentity::of(live);
    let service = (service.namespace, service.name);
    // Few services name a ConfigMap; for those it starts anew with each that turns out to be needed and is not known.
    let mut maps = context.pickers.known(&service);
    let combined = loop {
        let mut asked = BTreeSet::new();
        let stored = Stored {
            context,
            maps: &maps,
            asked: &mut asked,
        };
        match weir_compose::combine(live, &settings.globals(), &naming, stored) {
            Err(CombineError::Search(Lack::Map(key))) => {
                // Those that are known count too: a change of one of them must be heard of until the end.
                let keys = maps.keys().chain([&key]).cloned().collect();
                context.pickers.want(service.clone(), keys);
                let map = context.pickers.read(context, &key).await?;
                maps.insert(key, map);
            }
            combined => {
                context.pickers.want(service, asked);
                break combined;
            }
        }
    };
    match combined {
        Ok(combined) => {
            let applied = combined.layers.iter().map(|(source, config)| {
                json!({"name": config.name, "namespace": config.namespace, "source": source.as_str()})
            });
            let applied: Vec<Value> = applied.collect();
            let (spec, notes) = (combined.effective.spec, combined.effective.notes);
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
                notes,
            }))
        }
        Err(CombineError::Search(Lack::Unknown(error))) => Err(error),
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

/// A service is on its way out.
pub(crate) fn forget(context: &Context, live: &Value) {
    let service = ServiceIdentity::of(live);
    let key = (service.namespace, service.name);
    context.pickers.want(key, BTreeSet::new());
}

/// Tells of each note that the status does not hold yet, as an event on the service. Answers what the status is
/// to hold.
pub(crate) async fn tell(
    context: &Context,
    service: &ServiceIdentity,
    live: &Value,
    notes: &[Note],
) -> String {
    let known = live.pointer("/status/conditions").and_then(Value::as_array);
    let mut known = known.into_iter().flatten();
    let known = known.find(|one| one["type"] == condition::PRESETS_COMBINED);
    let known = known.and_then(|one| one["message"].as_str());
    let mut all = Vec::with_capacity(notes.len());
    for note in notes {
        let message = note.to_string();
        if !known.is_some_and(|known| known.contains(&message)) {
            let severity = if note.is_advice() {
                Severity::Normal
            } else {
                Severity::Warning
            };
            events::report(&context.client, service, severity, note.reason, &message).await;
        }
        all.push(message);
    }
    all.join("; ")
}
