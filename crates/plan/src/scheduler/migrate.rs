//! Pickers of different versions understand different configurations and flags: what the user or an older
//! preset wrote is turned into what the version of the pod understands.
//!
//! Every step may meet its own result, since the text of a live Deployment can come back as the source.

mod metrics;
mod plugins;
mod precise;

use serde_json::{Value, json};
use weir_api::names::container;

use super::{SchedulerError, flags, print};
use metrics::Stripped;
use plugins::Plugins;

/// Where the tokenizer sidecar of old templates listens.
const TOKENIZER_SOCKET: &str = "/tmp/tokenizer/tokenizer-uds.socket";
/// Name by which that sidecar knows the model.
const TOKENIZER_MODEL: &str = "base";
/// Group of configurations up to 0.8.
const OLD_API_VERSION: &str = "inference.networking.x-k8s.io/v1alpha1";
/// Group of configurations since 0.9.
pub(super) const API_VERSION: &str = "llm-d.ai/v1alpha1";

/// Version of a picker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64, u64, u64);

impl Version {
    const V0_7: Self = Self(0, 7, 0);
    const V0_8: Self = Self(0, 8, 0);
    const V0_9: Self = Self(0, 9, 0);
    const V0_10: Self = Self(0, 10, 0);

    /// Reads `major.minor.patch`; nothing is the oldest version.
    pub(super) fn parse(text: &str) -> Result<Self, SchedulerError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten()
        };
        let parts: Option<Vec<u64>> = text.split('.').map(number).collect();
        match parts.as_deref() {
            Some([major, minor, patch]) => Ok(Self(*major, *minor, *patch)),
            _ => Err(SchedulerError::Version {
                text: text.to_owned(),
            }),
        }
    }
}

/// Brings flags and configuration texts of a picker's pod up to its version.
///
/// `tokenizer` is the address of the stand-alone tokenizer, if there is one.
pub(super) fn migrate(
    pod: &mut Value,
    version: Version,
    tokenizer: Option<&str>,
) -> Result<(), SchedulerError> {
    let sidecar = has_container(pod, container::TOKENIZER);
    if !sidecar && version < Version::V0_7 {
        return Ok(());
    }
    let writable = !texts(pod).is_empty();
    let mut stripped = Stripped::default();
    if version >= Version::V0_7 {
        stripped.take_engine_flags(pod, writable)?;
    }
    if version >= Version::V0_10 {
        stripped.take_source_flags(pod, writable)?;
    }
    let mut placed = false;
    let mut precise = false;
    let mut readable = false;
    for at in texts(pod) {
        let Some(mut config) = main_args(pod)
            .and_then(|args| args.get(at))
            .and_then(Value::as_str)
            .and_then(parse)
        else {
            break;
        };
        if sidecar {
            beside_a_sidecar(&mut config);
        }
        if version >= Version::V0_7 {
            upgrade(&mut config, version, &stripped)?;
            placed = true;
        }
        readable = true;
        precise |= Plugins::of(&mut config).has_type(precise::SCORER);
        if version >= Version::V0_9 {
            newest(&mut config, tokenizer);
        }
        if version >= Version::V0_10 {
            stripped.add_source_plugin(&mut Plugins::of(&mut config));
        }
        if let Some(word) = main_args_mut(pod).and_then(|args| args.get_mut(at)) {
            *word = Value::from(print::yaml(&config));
        }
    }
    if !placed {
        stripped.refuse_if_any()?;
    }
    if version >= Version::V0_9 && readable && !precise {
        remove_container(pod, container::TOKENIZER);
    }
    Ok(())
}

/// From 0.7 on: names, parameters of the handler, metric flags.
fn upgrade(
    config: &mut Value,
    version: Version,
    stripped: &Stripped,
) -> Result<(), SchedulerError> {
    let mut plugins = Plugins::of(config);
    plugins.rename("prefill-header-handler", "disagg-headers-handler");
    plugins.rename("pd-profile-handler", plugins::HANDLER);
    plugins.handler_parameters()?;
    for plugin in plugins.all_mut() {
        if let Some(parameters) = plugin.get_mut("parameters").and_then(Value::as_object_mut) {
            parameters.remove("hashBlockSize");
        }
    }
    stripped.add_engine_plugin(&mut plugins);
    if version >= Version::V0_8 {
        plugins.rename(metrics::ENGINE_OLD, metrics::ENGINE);
    }
    Ok(())
}

/// From 0.9 on: the prefix scorer asks a producer, the group has a new name, the tokenizer is a Service.
fn newest(config: &mut Value, tokenizer: Option<&str>) {
    for plugin in Plugins::of(config).all_mut() {
        if plugin["type"] != precise::PREFIX_SCORER {
            continue;
        }
        let Some(fields) = plugin.as_object_mut() else {
            continue;
        };
        if let Some(parameters) = fields.get_mut("parameters").and_then(Value::as_object_mut) {
            parameters.retain(|key, _| key == precise::PRODUCER_NAME);
            if parameters.is_empty() {
                fields.remove("parameters");
            }
        }
    }
    if config["apiVersion"] == OLD_API_VERSION {
        config["apiVersion"] = json!(API_VERSION);
    }
    if let Some(url) = tokenizer {
        precise::decompose(config, url);
        precise::point_at_tokenizer(config, url);
    }
}

/// With the tokenizer as a sidecar, whatever the version.
fn beside_a_sidecar(config: &mut Value) {
    for plugin in Plugins::of(config).all_mut() {
        if plugin["type"] == precise::SCORER {
            let pool = &mut object_at(
                object_at(object_at(plugin, "parameters"), "indexerConfig"),
                "tokenizersPoolConfig",
            );
            pool["modelName"] = json!(TOKENIZER_MODEL);
            object_at(pool, "uds")["socketFile"] = json!(TOKENIZER_SOCKET);
            let parameters = object_at(plugin, "parameters");
            let nested = parameters["indexerConfig"]
                .get("tokenProcessorConfig")
                .cloned();
            if let (None, Some(nested)) = (parameters.get("tokenProcessorConfig"), nested) {
                parameters["tokenProcessorConfig"] = nested;
            }
        }
        if plugin["type"] == precise::PREFIX_SCORER
            && let Some(parameters) = plugin.get_mut("parameters").and_then(Value::as_object_mut)
            && !parameters.contains_key("blockSizeTokens")
            && let Some(size) = parameters.get("blockSize").cloned()
        {
            parameters.insert("blockSizeTokens".to_owned(), size);
        }
    }
}

/// The object under a key, made when there is none.
fn object_at<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    if !parent.is_object() {
        *parent = json!({});
    }
    if !parent[key].is_object() {
        parent[key] = json!({});
    }
    &mut parent[key]
}

/// A configuration that can be changed: a mapping that says what kind it is.
fn parse(text: &str) -> Option<Value> {
    let documents = weir_manifest::parse(text, "picker configuration").ok()?;
    let config = documents.into_iter().next()?.value;
    config.get("kind")?;
    Some(config)
}

fn main(pod: &Value) -> Option<&Value> {
    crate::items(pod, "/containers")
        .iter()
        .find(|c| c["name"] == container::MAIN)
}

fn main_args(pod: &Value) -> Option<&[Value]> {
    main(pod).map(|main| flags::words(main, "args"))
}

fn main_args_mut(pod: &mut Value) -> Option<&mut Vec<Value>> {
    let containers = pod.get_mut("containers")?.as_array_mut()?;
    let main = containers
        .iter_mut()
        .find(|c| c["name"] == container::MAIN)?;
    main.get_mut("args")?.as_array_mut()
}

fn texts(pod: &Value) -> Vec<usize> {
    main_args(pod).map(flags::texts).unwrap_or_default()
}

/// Whether a pod has a container of the name.
pub(super) fn has_container(pod: &Value, name: &str) -> bool {
    crate::items(pod, "/containers")
        .iter()
        .any(|c| c["name"] == name)
}

fn remove_container(pod: &mut Value, name: &str) {
    if let Some(containers) = pod.get_mut("containers").and_then(Value::as_array_mut) {
        containers.retain(|container| container["name"] != name);
    }
}

#[cfg(test)]
mod tests;
