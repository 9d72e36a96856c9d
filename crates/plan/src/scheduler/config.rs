//! Where a picker's configuration comes from, and the one that is generated when nobody gave one.

use serde_json::{Value, json};
use weir_api::names::{annotation, container};

use super::{flags, migrate, print};
use crate::{items, present, text};

/// The flag that is appended.
const FLAG: &str = "--config-text";
/// Plugins that ask a tokenizer.
const TOKENIZING: [&str; 2] = ["token-producer", "precise-prefix-cache-scorer"];

/// Where the configuration came from, as the annotation says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The spec.
    Inline,
    /// Nobody gave one.
    Generated,
}

impl Source {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Generated => "generated",
        }
    }
}

/// The configuration that a picker is started with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    /// Flag and value to append; none when the arguments have a pair of their own.
    pub(super) append: Option<[Value; 2]>,
    /// `None` when it is the user's own argument or was found in the live Deployment.
    pub(super) source: Option<Source>,
    /// The text, as far as it is known.
    text: Option<String>,
}

impl Config {
    /// Chooses by priority: the spec, the template's arguments, the live Deployment, the generated default.
    ///
    /// A pair in a Deployment that was not written by this program is kept, so that taking one over does not
    /// roll it out; one that this program generated follows the spec.
    pub(super) fn choose(spec: &Value, live: Option<&Value>) -> Self {
        let with = |text: String, source| Self {
            append: Some([json!(FLAG), json!(text)]),
            source: Some(source),
            text: Some(text),
        };
        if let Some(inline) = inline(spec) {
            return with(inline, Source::Inline);
        }
        let own =
            main_args(spec.pointer("/router/scheduler/template")).and_then(flags::config_pair);
        if let Some(pair) = own {
            return Self {
                append: None,
                source: None,
                text: value_of(&pair),
            };
        }
        let ours = live.is_some_and(|live| {
            live.pointer("/metadata/annotations")
                .is_some_and(|all| all.get(annotation::EPP_CONFIG_SOURCE).is_some())
        });
        let kept = live
            .filter(|_| !ours)
            .and_then(|live| main_args(live.pointer("/spec/template/spec")))
            .and_then(flags::config_pair);
        match kept {
            Some(pair) => Self {
                text: value_of(&pair),
                append: Some(pair),
                source: None,
            },
            None => with(print::yaml(&generated(spec)), Source::Generated),
        }
    }

    /// Whether a plugin of it asks a tokenizer.
    pub(super) fn tokenizes(&self) -> bool {
        let Some(text) = &self.text else { return false };
        let Ok(documents) = weir_manifest::parse(text, "picker configuration") else {
            return false;
        };
        documents.first().is_some_and(|document| {
            items(&document.value, "/plugins")
                .iter()
                .any(|plugin| TOKENIZING.iter().any(|kind| plugin["type"] == *kind))
        })
    }
}

fn value_of(pair: &[Value; 2]) -> Option<String> {
    let value = flags::is_text(pair).then(|| pair[1].as_str())?;
    value.map(str::to_owned)
}

/// The text that the spec itself has.
fn inline(spec: &Value) -> Option<String> {
    match spec.pointer("/router/scheduler/config/inline")? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        config => Some(config.to_string()),
    }
}

fn main_args(pod: Option<&Value>) -> Option<&[Value]> {
    let containers = items(pod?, "/containers");
    let main = containers.iter().find(|c| c["name"] == container::MAIN)?;
    Some(flags::words(main, "args"))
}

/// Whether any adapter has a name to be routed by.
fn has_adapters(spec: &Value) -> bool {
    items(spec, "/model/lora/adapters")
        .iter()
        .any(|adapter| !text(adapter, "/name").is_empty())
}

/// The configuration of a service that does not say one.
fn generated(spec: &Value) -> Value {
    let lora = has_adapters(spec);
    let plugin = |kind: &str| json!({"type": kind});
    let reference = |name: &str| json!({"pluginRef": name});
    let weighted = |name: &str, weight: u8| json!({"pluginRef": name, "weight": weight});
    let affinity = || lora.then(|| weighted("lora-affinity-scorer", 4));
    let (mut plugins, profiles): (Vec<Value>, Vec<Value>) = if present(spec, "/prefill") {
        let mut plugins: Vec<Value> = [
            "disagg-headers-handler",
            "prefill-filter",
            "decode-filter",
            "queue-scorer",
            "kv-cache-utilization-scorer",
            "active-request-scorer",
            "prefix-cache-scorer",
            "max-score-picker",
            "always-disagg-pd-decider",
        ]
        .map(plugin)
        .into();
        plugins.push(json!({
            "type": "disagg-profile-handler",
            "parameters": {"deciders": {"prefill": "always-disagg-pd-decider"}},
        }));
        let prefill = [reference("prefill-filter")]
            .into_iter()
            .chain(affinity())
            .chain([
                weighted("prefix-cache-scorer", 3),
                weighted("queue-scorer", 2),
                weighted("kv-cache-utilization-scorer", 2),
                reference("max-score-picker"),
            ]);
        let decode = [reference("decode-filter")]
            .into_iter()
            .chain(affinity())
            .chain([
                weighted("active-request-scorer", 2),
                weighted("prefix-cache-scorer", 3),
                reference("max-score-picker"),
            ]);
        let profiles = vec![
            json!({"name": "prefill", "plugins": prefill.collect::<Vec<_>>()}),
            json!({"name": "decode", "plugins": decode.collect::<Vec<_>>()}),
        ];
        (plugins, profiles)
    } else {
        let plugins = [
            "single-profile-handler",
            "queue-scorer",
            "kv-cache-utilization-scorer",
            "prefix-cache-scorer",
            "no-hit-lru-scorer",
            "max-score-picker",
        ];
        let references = affinity().into_iter().chain([
            weighted("queue-scorer", 2),
            weighted("kv-cache-utilization-scorer", 2),
            weighted("prefix-cache-scorer", 3),
            weighted("no-hit-lru-scorer", 2),
            reference("max-score-picker"),
        ]);
        let profile = json!({"name": "default", "plugins": references.collect::<Vec<_>>()});
        (plugins.map(plugin).into(), vec![profile])
    };
    if lora {
        plugins.push(plugin("lora-affinity-scorer"));
    }
    json!({
        "apiVersion": migrate::API_VERSION,
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
        "schedulingProfiles": profiles,
    })
}
