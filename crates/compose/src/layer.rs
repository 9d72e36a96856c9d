//! The layers of an effective spec, as they are merged: nothing is copied unless it must be changed.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::model_name;

/// One layer below the service.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; empty for a preset of this program.
    pub namespace: String,
    /// `spec`.
    pub spec: Spec,
}

/// The spec of a config, shared with whoever keeps the config. It reads as the value.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The spec, or the object that it is in.
    whole: Arc<Value>,
    in_object: bool,
}

/// A spec that is not there.
static NOTHING: LazyLock<Value> = LazyLock::new(|| json!({}));

impl Spec {
    /// The spec of a stored config.
    #[must_use]
    pub fn of_object(object: Arc<Value>) -> Self {
        Self {
            whole: object,
            in_object: true,
        }
    }
}

impl Deref for Spec {
    type Target = Value;

    fn deref(&self) -> &Value {
        if self.in_object {
            self.whole.get("spec").unwrap_or(&NOTHING)
        } else {
            &self.whole
        }
    }
}

impl From<Value> for Spec {
    fn from(spec: Value) -> Self {
        Self {
            whole: Arc::new(spec),
            in_object: false,
        }
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Config {
    /// What the layer is called where origins are told.
    pub(crate) fn origin(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

/// The specs to be merged, the lowest first, the service's own last.
pub(crate) fn layers<'a>(service: &'a Value, configs: &'a [Config]) -> Vec<Cow<'a, Value>> {
    let own = service
        .get("spec")
        .map_or_else(|| Cow::Owned(json!({})), Cow::Borrowed);
    let own = yield_default_name(service, own, configs);
    let configs = configs.iter().map(|config| Cow::Borrowed(&*config.spec));
    configs.chain([own]).map(clean).collect()
}

/// A name that is only the default gives way to that of a config.
fn yield_default_name<'a>(
    service: &Value,
    mut own: Cow<'a, Value>,
    configs: &[Config],
) -> Cow<'a, Value> {
    let name = service.pointer("/metadata/name").and_then(Value::as_str);
    let gives_way = model_name(&own) == name
        && own.get("model").is_some_and(Value::is_object)
        && configs
            .iter()
            .any(|config| model_name(&config.spec).is_some());
    if gives_way && let Some(model) = own.to_mut()["model"].as_object_mut() {
        model.remove("name");
    }
    own
}

/// Without what a layer only seems to say.
fn clean(mut layer: Cow<'_, Value>) -> Cow<'_, Value> {
    if has_nulls(&layer) {
        drop_nulls(layer.to_mut());
    }
    if has_default_rules(&layer)
        && let Some(route) = layer.to_mut().pointer_mut(ROUTE)
        && let Some(route) = route.as_object_mut()
    {
        route.remove("rules");
    }
    layer
}

/// A null is a field that is not set: an API server drops it, so what comes from a file has none either. A
/// picker's own configuration stays as it is.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            for (key, value) in map {
                if key != PICKER_CONFIG {
                    drop_nulls(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Whether [`drop_nulls`] has something to do.
fn has_nulls(value: &Value) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| value.is_null() || (key != PICKER_CONFIG && has_nulls(value))),
        Value::Array(list) => list.iter().any(has_nulls),
        _ => false,
    }
}

/// The field of a picker's configuration.
const PICKER_CONFIG: &str = "inline";

const ROUTE: &str = "/router/route/http/spec";

/// One rule that only matches `/` is what other versions of the CRD fill in where rules are absent; taken at
/// its word it would replace every rule of the preset by one that leads nowhere.
fn has_default_rules(spec: &Value) -> bool {
    let rules = spec.pointer(ROUTE).and_then(|route| route.get("rules"));
    rules.is_some_and(|rules| {
        *rules == json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}])
    })
}
