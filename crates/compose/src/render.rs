//! Templates in the strings of a merged spec, each string on its own.
//!
//! The data is the *merged* spec with the metadata of the service. A template may say `{{ omit }}`: the
//! nearest list item around it is then left out.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_schema::Node;
use weir_template::{Functions, Refusal, Shape, Template, Trim, Value as Word};

use crate::{Error, Globals};

/// Seconds that our presets' `preStop` takes by default.
const GRACE: i64 = 60;

/// Evaluates every string of `spec`: first those of the model, then, knowing these, all others.
pub(crate) fn spec(
    spec: &mut Value,
    service: &Value,
    globals: &Globals,
    schema: &Node,
    origins: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let run = |data: &Value, value: &mut Value, path: &str| {
        let root = root(data, service, globals);
        Pass {
            root: &root,
            schema,
            origins,
        }
        .leaf(value, path)
        .map(drop)
    };
    if let Some(mut model) = spec.get("model").cloned() {
        run(spec, &mut model, "/model")?;
        spec["model"] = model;
    }
    let data = spec.clone();
    for (key, value) in spec.as_object_mut().into_iter().flatten() {
        if key != "model" {
            run(&data, value, &format!("/{}", escape(key)))?;
        }
    }
    Ok(())
}

/// What `.` is in a template.
fn root(spec: &Value, service: &Value, globals: &Globals) -> Value {
    let mut metadata = service["metadata"].clone();
    if let Some(object) = metadata.as_object_mut() {
        object.remove("managedFields");
        object
            .entry("namespace")
            .or_insert_with(|| json!("default"));
    }
    let text = |pointer: &str| metadata.pointer(pointer).and_then(Value::as_str);
    let namespace = text("/namespace").unwrap_or_default().to_owned();
    let own_pool = weir_api::names::child(text("/name").unwrap_or_default(), "-inference-pool");
    let pool = spec
        .pointer("/router/scheduler/pool/ref/name")
        .and_then(Value::as_str);
    let pool = pool.filter(|name| !name.is_empty()).unwrap_or(&own_pool);
    let mut root = json!({
        "ObjectMeta": metadata,
        "Spec": spec,
        "Status": service.get("status").cloned().unwrap_or_else(|| json!({})),
        "GlobalConfig": {
            "SystemNamespace": weir_api::names::SYSTEM_NAMESPACE,
            "IngressGatewayName": globals.gateway_name,
            "IngressGatewayNamespace": globals.gateway_namespace,
            "ModelBasedRoutingHeaderName": globals.model_header,
            "EnableTLS": globals.tls,
            "InferencePoolNamespacedName": format!("{namespace}/{pool}"),
        },
    });
    for (name, field) in METADATA {
        root[name] = root["ObjectMeta"][field].clone();
    }
    for (name, field) in SHORTCUTS {
        root[name] = spec[field].clone();
    }
    root
}

/// Metadata that templates reach without `.ObjectMeta`.
const METADATA: [(&str, &str); 5] = [
    ("Name", "name"),
    ("Namespace", "namespace"),
    ("Labels", "labels"),
    ("Annotations", "annotations"),
    ("UID", "uid"),
];

/// Parts of the spec that templates reach without `.Spec`.
const SHORTCUTS: [(&str, &str); 3] = [
    ("Model", "model"),
    ("Parallelism", "parallelism"),
    ("Prefill", "prefill"),
];

struct Pass<'a> {
    root: &'a Value,
    schema: &'a Node,
    origins: &'a BTreeMap<String, String>,
}

impl Pass<'_> {
    /// Evaluates the strings below `value`, whose JSON pointer is `path`; `false` when one asks for its
    /// list item to be left out.
    fn leaf(&self, value: &mut Value, path: &str) -> Result<bool, Error> {
        match value {
            Value::String(text) if text.contains("{{") => {
                let rendered = Template::parse(text, Trim::Blanks, &Program)
                    .and_then(|template| template.render(self.root, self, &Program));
                match rendered {
                    Ok(rendered) => *text = rendered,
                    Err(error) if error.omit => return Ok(false),
                    Err(error) => return Err(self.error(path, text, &error)),
                }
            }
            Value::Array(list) => {
                let mut kept = Vec::with_capacity(list.len());
                for (index, mut item) in std::mem::take(list).into_iter().enumerate() {
                    if self.leaf(&mut item, &format!("{path}/{index}"))? {
                        kept.push(item);
                    }
                }
                *list = kept;
            }
            Value::Object(map) => {
                for (key, item) in map {
                    if !self.leaf(item, &format!("{path}/{}", escape(key)))? {
                        return Ok(false);
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn error(&self, path: &str, text: &str, error: &weir_template::Error) -> Error {
        let mut problem = error.to_string();
        let braces = ["not defined", "unexpected", "not closed", "missing value"];
        if braces.iter().any(|part| error.message.contains(part)) {
            problem.push_str("; for literal braces write {{ `{{` }}");
        }
        let line = text.lines().nth(error.line - 1).unwrap_or_default();
        Error::Template {
            config: self
                .origins
                .get(path)
                .cloned()
                .unwrap_or_else(|| "service".to_owned()),
            field: field(path),
            text: line.trim().chars().take(200).collect(),
            problem,
        }
    }
}

impl Shape for Pass<'_> {
    fn fields(&self, path: &[String]) -> Option<Vec<String>> {
        let Some((first, rest)) = path.split_first() else {
            return self
                .root
                .as_object()
                .map(|root| root.keys().cloned().collect());
        };
        let shortcut = SHORTCUTS.iter().find(|(name, _)| name == first);
        let mut node = match (first.as_str(), shortcut) {
            ("Spec", _) => self.schema.clone(),
            ("ObjectMeta", _) if rest.is_empty() => {
                let names = Node::object_meta();
                return Some(names.property_names().map(str::to_owned).collect());
            }
            ("GlobalConfig", _) => {
                return self.root[first]
                    .as_object()
                    .map(|known| known.keys().cloned().collect());
            }
            (_, Some((_, field))) => self.schema.property(field)?,
            _ => return None,
        };
        for name in rest {
            node = if name == "[]" {
                node.items()?
            } else {
                node.property(name)?
            };
        }
        let names: Vec<String> = node.property_names().map(str::to_owned).collect();
        (!names.is_empty()).then_some(names)
    }
}

/// The functions that presets may call.
struct Program;

impl Functions for Program {
    fn names(&self) -> &[&'static str] {
        &["ChildName", "shutdownTimeout", "kvTransferConfig", "omit"]
    }

    fn call<'d>(&self, name: &str, arguments: &[Word<'d>]) -> Result<Word<'d>, Refusal> {
        match (name, arguments) {
            ("omit", []) => Err(Refusal::Omit),
            ("ChildName", [Word::Str(parent), Word::Str(suffix)]) => {
                Ok(Word::Str(weir_api::names::child(parent, suffix)))
            }
            ("ChildName", _) => Err(Refusal::Message("wants a name and a suffix".to_owned())),
            ("kvTransferConfig", [Word::Nil(_)]) => Ok(Word::Str(String::new())),
            ("kvTransferConfig", [Word::Object { object, .. }]) => {
                Ok(Word::Str(kv_transfer(object)?))
            }
            ("kvTransferConfig", _) => Err(Refusal::Message("wants kvCacheOffloading".to_owned())),
            ("shutdownTimeout", [pod, Word::Int { number: stop, .. }]) => {
                let grace = match pod {
                    Word::Object { object, .. } => object.get("terminationGracePeriodSeconds"),
                    _ => None,
                };
                let grace = grace.and_then(Value::as_i64).unwrap_or(GRACE);
                let left = grace.saturating_sub(*stop).saturating_sub(grace.min(5));
                Ok(Word::int(left.max(0)))
            }
            _ => Err(Refusal::Message(
                "wants a pod template and seconds".to_owned(),
            )),
        }
    }
}

/// The flag for offloading the KV cache, quoted for a double-quoted text of a shell.
fn kv_transfer(offloading: &serde_json::Map<String, Value>) -> Result<String, String> {
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
    Ok(format!(
        "--kv-transfer-config '{}'",
        config.to_string().replace('"', "\\\"")
    ))
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

pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Turns a JSON pointer into a field path.
fn field(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .fold("spec".to_owned(), |path, part| {
            if part.parse::<usize>().is_ok() {
                format!("{path}[{part}]")
            } else {
                format!("{path}.{}", part.replace("~1", "/").replace("~0", "~"))
            }
        })
}
