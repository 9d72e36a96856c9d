//! The picker's configuration when the spec names a ConfigMap for it.

use std::borrow::Cow;

use serde_json::Value;

use crate::Effective;
use crate::combine::{CombineError, Naming, Search};
use crate::note::{self, Note};
use crate::select::{parse, picker_config, plugins};

/// Beginning of the names that may be in the system's namespace too.
const SHARED: &str = "config-scheduler-";
/// The key when none is named.
const KEY: &str = "epp";
const CONFIG: &str = "/router/scheduler/config";

/// A key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    name: String,
    key: String,
}

/// What a spec says of where the configuration is.
pub(crate) fn reference(spec: &Value) -> Option<Reference> {
    let reference = spec.pointer(CONFIG)?.get("ref")?;
    let text = |key: &str| reference.get(key).and_then(Value::as_str);
    let filled = |key: &str| text(key).filter(|text| !text.is_empty());
    Some(Reference {
        name: filled("name")?.to_owned(),
        key: filled("key").unwrap_or(KEY).to_owned(),
    })
}

impl Reference {
    fn namespaces<'n>(&self, naming: &'n Naming, own: &'n str) -> Vec<&'n str> {
        let system = naming.system_namespace.as_str();
        let shared = self.name.starts_with(SHARED) && system != own;
        [Some(own), shared.then_some(system)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The text, if it is there. The first ConfigMap that exists decides.
    pub(crate) fn find<S: Search>(
        &self,
        naming: &Naming,
        own: &str,
        search: &mut S,
    ) -> Result<Option<String>, CombineError<S::Error>> {
        for namespace in self.namespaces(naming, own) {
            let map = search.config_map(namespace, &self.name);
            if let Some(map) = map.map_err(CombineError::Search)? {
                let text = map.get("data").and_then(|data| data.get(&self.key));
                return Ok(text.and_then(Value::as_str).map(str::to_owned));
            }
        }
        Ok(None)
    }

    pub(crate) fn missing<E>(self, naming: &Naming, own: &str) -> CombineError<E> {
        let namespaces = self.namespaces(naming, own);
        CombineError::NoPickerConfig {
            namespaces: namespaces.into_iter().map(str::to_owned).collect(),
            name: self.name,
            key: self.key,
        }
    }
}

/// Puts the text in the place of the reference to it.
pub(crate) fn put(effective: &mut Effective, text: String) {
    let named = plugins(parse(&text).as_ref());
    if named.iter().any(|plugin| plugin == LATENCY_PRODUCER) {
        let message = format!(
            "the referenced configuration has the plugin {LATENCY_PRODUCER}: its containers are added only to a \
             picker whose configuration is inline"
        );
        let note = Note::new(note::LATENCY, format!("{PATH}.ref"), message);
        effective.notes.push(note);
    }
    let config = effective.spec.pointer_mut(CONFIG);
    if let Some(config) = config.and_then(Value::as_object_mut) {
        config.remove("ref");
        config.insert("inline".to_owned(), Value::from(text));
    }
}

/// The spec as an API server takes it: there a picker's configuration is an object, while the text of a ConfigMap
/// stays a text in the effective spec, for it goes to the picker as it is.
pub fn as_sent(spec: &Value) -> Cow<'_, Value> {
    let inline = spec.pointer(CONFIG).and_then(|config| config.get("inline"));
    let Some(object) = inline
        .and_then(Value::as_str)
        .and_then(parse)
        .filter(Value::is_object)
    else {
        return Cow::Borrowed(spec);
    };
    let mut sent = spec.clone();
    if let Some(config) = sent.pointer_mut(CONFIG) {
        config["inline"] = object;
    }
    Cow::Owned(sent)
}

const PATH: &str = "spec.router.scheduler.config";
const LATENCY_PRODUCER: &str = "predicted-latency-producer";
const OLD_SCORER: &str = "precise-prefix-cache-scorer";

/// What is to be told of plugins that are on their way out.
pub(crate) fn deprecated(spec: &Value) -> Option<Note> {
    let named = plugins(picker_config(spec).as_ref());
    named.iter().any(|plugin| plugin == OLD_SCORER).then(|| {
        let message = format!(
            "the plugin {OLD_SCORER} is deprecated: use token-producer, precise-prefix-cache-producer and \
             prefix-cache-scorer"
        );
        Note::new(note::DEPRECATED, PATH, message)
    })
}
