//! Functions that presets may call beside those of the language.

use std::cell::{Cell, RefCell};

use serde_json::{Map, Value, json};
use weir_template::{Functions, Refusal, Value as Word};

use crate::words;

/// Seconds that a pod gets to end by default.
const GRACE: i64 = 60;

/// Between the words of `argv`; never in a manifest, which has no control characters.
pub(crate) const BETWEEN: char = '\u{1f}';

/// The functions, and what they were asked for while one text was evaluated.
#[derive(Default)]
pub(crate) struct Program<'a> {
    /// The engine's version as the service annotates it.
    pub(crate) version: Option<&'a str>,
    /// Whether the text is several words.
    pub(crate) several: Cell<bool>,
    /// Whether the text places the user's words.
    pub(crate) user: Cell<bool>,
    /// The pod whose engine's version was asked for in vain, as a path.
    pub(crate) unknown: RefCell<Option<String>>,
}

impl Functions for Program<'_> {
    fn names(&self) -> &[&'static str] {
        &[
            "ChildName",
            "shutdownTimeout",
            "kvTransferConfig",
            "omit",
            "argv",
            "additionalArgs",
            "kvTransferJSON",
            "engineAtLeast",
            "mentions",
            "asksFor",
            "envOr",
            "commandHas",
            "imageHas",
        ]
    }

    fn call<'d>(&self, name: &str, arguments: &[Word<'d>]) -> Result<Word<'d>, Refusal> {
        let text = |text: String| Ok(Word::text(text));
        match (name, arguments) {
            ("omit", []) => Err(Refusal::Omit),
            ("ChildName", [Word::Str(parent), Word::Str(suffix)]) => {
                text(weir_api::names::child(parent, suffix))
            }
            ("kvTransferConfig" | "kvTransferJSON", [Word::Nil(_)]) => text(String::new()),
            ("kvTransferConfig", [Word::Object { object, .. }]) => {
                // Quoted for a double-quoted text of a shell.
                let config = kv_transfer(object)?.replace('"', "\\\"");
                text(format!("--kv-transfer-config '{config}'"))
            }
            ("kvTransferJSON", [Word::Object { object, .. }]) => text(kv_transfer(object)?),
            ("shutdownTimeout", [pod, Word::Int { number: stop, .. }]) => {
                let grace = fields(pod).and_then(|pod| pod.get("terminationGracePeriodSeconds"));
                let grace = grace.and_then(Value::as_i64).unwrap_or(GRACE);
                let left = grace.saturating_sub(*stop).saturating_sub(grace.min(5));
                Ok(Word::int(left.max(0)))
            }
            ("argv", words) => self.argv(words),
            ("additionalArgs", [pod]) => self.additional(pod),
            ("engineAtLeast", [pod, Word::Str(wanted)]) => {
                let wanted = words::version(wanted)
                    .ok_or_else(|| format!("{wanted:?} is no version such as 0.16.0"))?;
                let found = fields(pod).and_then(|pod| words::engine_version(pod, self.version));
                if let (None, Word::Object { path, .. }) = (&found, pod) {
                    *self.unknown.borrow_mut() = Some(path.join("."));
                }
                Ok(Word::Bool(found.is_some_and(|found| found >= wanted)))
            }
            ("mentions", [pod, flags @ ..]) => {
                let flags: Vec<&str> = flags.iter().filter_map(string).collect();
                Ok(Word::Bool(
                    fields(pod).is_some_and(|pod| words::mention(pod, &flags)),
                ))
            }
            ("commandHas", [pod, Word::Str(part)]) => Ok(Word::Bool(
                fields(pod).is_some_and(|pod| words::command_has(pod, part)),
            )),
            ("imageHas", [pod, Word::Str(part)]) => Ok(Word::Bool(
                fields(pod).is_some_and(|pod| words::image_has(pod, part)),
            )),
            ("asksFor", [pod, Word::Str(prefix)]) => Ok(Word::Bool(
                fields(pod).is_some_and(|pod| words::asks_for(pod, prefix)),
            )),
            ("envOr", [pod, Word::Str(name), Word::Str(default)]) => {
                let variable = fields(pod).and_then(|pod| words::variable(pod, name));
                let value = variable.and_then(|variable| variable["value"].as_str());
                let value = value.filter(|value| !value.is_empty());
                text(value.unwrap_or(default).to_owned())
            }
            (name, _) => Err(Refusal::Message(format!("wants {}", wants(name)))),
        }
    }
}

impl Program<'_> {
    fn argv<'d>(&self, arguments: &[Word<'d>]) -> Result<Word<'d>, Refusal> {
        let mut list = Vec::with_capacity(arguments.len());
        for argument in arguments {
            match argument {
                Word::Str(word) if word.is_empty() => {
                    return Err(Refusal::Message("a word is empty".to_owned()));
                }
                Word::Str(word) => list.push(word.to_string()),
                Word::Int { number, .. } => list.push(number.to_string()),
                Word::Nil(path) => {
                    return Err(Refusal::Message(format!("{} is not set", path.join("."))));
                }
                other => {
                    return Err(Refusal::Message(format!(
                        "takes strings and numbers, not {}",
                        other.kind()
                    )));
                }
            }
        }
        self.several(&list)
    }

    /// The words of the environment variable that stands before a user's args.
    fn additional<'d>(&self, pod: &Word<'d>) -> Result<Word<'d>, Refusal> {
        self.user.set(true);
        let name = words::ADDITIONAL;
        let variable = fields(pod).and_then(|pod| words::variable(pod, name));
        let text = variable.and_then(|variable| variable["value"].as_str());
        let list = words::split(text.unwrap_or_default())
            .map_err(|problem| format!("the value of env {name}: {problem}"))?;
        self.several(&list)
    }

    fn several<'d>(&self, list: &[String]) -> Result<Word<'d>, Refusal> {
        if list.is_empty() {
            return Err(Refusal::Omit);
        }
        if list.iter().any(|word| word.contains(BETWEEN)) {
            return Err(Refusal::Message(
                "a word has a control character".to_owned(),
            ));
        }
        self.several.set(true);
        Ok(Word::text(list.join(BETWEEN.encode_utf8(&mut [0; 4]))))
    }
}

fn wants(name: &str) -> &'static str {
    match name {
        "omit" => "no arguments",
        "ChildName" => "a name and a suffix",
        "shutdownTimeout" => "a pod template and seconds",
        "kvTransferConfig" | "kvTransferJSON" => "kvCacheOffloading",
        "engineAtLeast" => "a pod template and a version",
        "asksFor" => "a pod template and the beginning of a resource's name",
        "commandHas" => "a pod template and a part of a word",
        "imageHas" => "a pod template and a part of an image's name",
        "envOr" => "a pod template, a variable and a default",
        _ => "a pod template",
    }
}

fn fields<'d>(value: &Word<'d>) -> Option<&'d Map<String, Value>> {
    match value {
        Word::Object { object, .. } => Some(object),
        _ => None,
    }
}

fn string<'w>(word: &'w Word<'_>) -> Option<&'w str> {
    match word {
        Word::Str(text) => Some(text),
        _ => None,
    }
}

/// The engine's configuration for offloading the KV cache.
fn kv_transfer(offloading: &Map<String, Value>) -> Result<String, String> {
    let cpu = offloading
        .get("cpu")
        .map(|cpu| cpu.as_str().map_or_else(|| cpu.to_string(), str::to_owned));
    let cpu = cpu.ok_or("kvCacheOffloading.cpu is not set")?;
    let bytes =
        bytes(&cpu).ok_or_else(|| format!("kvCacheOffloading.cpu {cpu:?} is no quantity"))?;
    let mut extra = json!({"cpu_bytes_to_use": bytes, "spec_name": "TieringOffloadingSpec"});
    let policy = offloading.get("evictionPolicy").and_then(Value::as_str);
    if let Some(policy) = policy.filter(|policy| !policy.is_empty()) {
        extra["eviction_policy"] = json!(policy);
    }
    let secondary = offloading.get("secondary").and_then(Value::as_array);
    let tiers: Vec<Value> = (0..)
        .zip(secondary.into_iter().flatten())
        .filter(|(_, tier)| tier.get("fileSystem").is_some_and(Value::is_object))
        .map(|(index, _): (usize, _)| json!({"root_dir": format!("/mnt/kv-cache-{index}"), "type": "fs"}))
        .collect();
    if !tiers.is_empty() {
        extra["secondary_tiers"] = Value::from(tiers);
    }
    let mut config = json!({
        "kv_connector": "OffloadingConnector",
        "kv_connector_extra_config": extra,
        "kv_role": "kv_both",
    });
    config.sort_all_objects();
    Ok(config.to_string())
}

/// Bytes of a quantity such as `10Gi`, rounded up.
fn bytes(quantity: &str) -> Option<u64> {
    let end = quantity
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    let factor: u128 = match unit {
        "" | "m" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scale = scale * if unit == "m" { 1_000 } else { 1 };
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from(digits.checked_mul(factor)?.div_ceil(scale)).ok()
}
