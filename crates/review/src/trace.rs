//! Where the values of an effective spec, and of the objects made of it, come from.

use serde_json::Value;
use weir_compose::{Combined, Origins};

use crate::locate;
use crate::offline::{Object, Offline, Place, SERVICE, describe};

/// Where one value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who gave it: `service`, `preset NAME`, `baseRef NAME` or `rule`.
    pub who: String,
    /// Where it was written; nowhere when it is a default or a rule.
    pub place: Option<Place>,
    /// The template that became the value.
    pub template: Option<String>,
}

/// The layer of what no layer gave: a rule of the composition.
const RULE: &str = "rule";

impl Origin {
    fn rule() -> Self {
        Self {
            who: RULE.to_owned(),
            place: None,
            template: None,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.who)?;
        if let Some(place) = &self.place {
            write!(f, " {place}")?;
        }
        if self.template.is_some() {
            f.write_str(" (template)")?;
        }
        Ok(())
    }
}

/// One layer's say in a value, in merge order.
#[derive(Clone, Debug, PartialEq)]
pub struct Say {
    /// Who.
    pub origin: Origin,
    /// What it says, as it was written.
    pub value: Value,
}

/// The origins of one service's values.
#[derive(Debug)]
pub struct Trace<'a> {
    world: &'a Offline<'a>,
    service: &'a Object<'a>,
    combined: &'a Combined,
    origins: Origins,
}

/// A path that leads nowhere in the effective spec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {at} has no {step:?}; {}", hint(step, known))]
pub struct Missing {
    path: String,
    at: String,
    step: String,
    known: Vec<String>,
}

fn hint(step: &str, known: &[String]) -> String {
    match locate::similar(step, known.iter().map(String::as_str)) {
        Some(similar) => format!("did you mean {similar}?"),
        None if known.is_empty() => "it is no object and no list".to_owned(),
        None => format!("it has {}", known.join(", ")),
    }
}

/// The JSON pointer of a path such as `spec.template.containers[main].args` into the effective spec `spec`.
///
/// # Errors
/// When it leads nowhere: how far it leads, and where one can go from there.
pub fn resolve(spec: &Value, path: &str) -> Result<String, Missing> {
    let below = path
        .strip_prefix("spec")
        .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let pointer = locate::pointer(spec, below.unwrap_or(path).trim_start_matches('.'));
    let (mut at, mut way) = (spec, "spec".to_owned());
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        at = at.pointer(&format!("/{step}")).ok_or_else(|| Missing {
            path: path.to_owned(),
            at: way.clone(),
            step: name.clone(),
            known: steps_of(at),
        })?;
        way = if name.bytes().all(|b| b.is_ascii_digit()) {
            format!("{way}[{name}]")
        } else {
            format!("{way}.{name}")
        };
    }
    Ok(pointer)
}

/// Where one can go from a value.
fn steps_of(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => {
            let name = |(index, item): (usize, &Value)| {
                let name = item["name"].as_str().map(str::to_owned);
                format!("[{}]", name.unwrap_or_else(|| index.to_string()))
            };
            items.iter().enumerate().map(name).collect()
        }
        _ => Vec::new(),
    }
}

/// Parts of objects, and the parts of the effective spec that they are made of.
const PARTS: [(&str, &[&str]); 9] = [
    (
        "/spec/template/spec",
        &["/template", "/router/scheduler/template"],
    ),
    ("/spec/template/metadata/labels", &["/labels"]),
    ("/spec/template/metadata/annotations", &["/annotations"]),
    (
        "/spec/leaderWorkerTemplate/leaderTemplate/spec",
        &["/template", "/prefill/template"],
    ),
    (
        "/spec/leaderWorkerTemplate/workerTemplate/spec",
        &["/worker", "/prefill/worker"],
    ),
    ("/spec/replicas", &["/replicas", "/prefill/replicas"]),
    ("/spec/parentRefs", &["/router/route/http/spec/parentRefs"]),
    ("/spec/hostnames", &["/router/route/http/spec/hostnames"]),
    ("/spec/rules", &["/router/route/http/spec/rules"]),
];

impl<'a> Trace<'a> {
    /// The origins of what `combined`, which came of `service`, holds.
    #[must_use]
    pub fn new(world: &'a Offline<'a>, service: &'a Object<'a>, combined: &'a Combined) -> Self {
        Self {
            world,
            service,
            combined,
            origins: world.origins(service, combined),
        }
    }

    /// The origin of the value at a pointer into the effective spec.
    #[must_use]
    pub fn of(&self, pointer: &str) -> Origin {
        let Some(layer) = self.layer(pointer).filter(|layer| *layer != RULE) else {
            return Origin::rule();
        };
        self.say(layer, pointer).map_or_else(
            || Origin {
                who: format!("default of the {}", describe(layer, self.combined)),
                ..Origin::rule()
            },
            |say| say.origin,
        )
    }

    /// What every layer says about a value, the winner last.
    #[must_use]
    pub fn history(&self, pointer: &str) -> Vec<Say> {
        let layers = self.combined.layers.iter().map(|(_, config)| {
            let (namespace, name) = (&config.namespace, &config.name);
            format!("{namespace}/{name}")
        });
        layers
            .chain([SERVICE.to_owned()])
            .filter_map(|layer| self.say(&layer, pointer))
            .collect()
    }

    /// The origin of the value at a pointer into one of the service's objects.
    #[must_use]
    pub fn of_object(&self, object: &Value, pointer: &str) -> Origin {
        let spec = &self.combined.effective.spec;
        let value = object.pointer(pointer);
        let part = PARTS.iter().find(|(part, _)| {
            let rest = pointer.strip_prefix(part);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let found = part.and_then(|(part, bases)| {
            let rest = pointer.strip_prefix(part)?;
            bases.iter().find_map(|base| {
                let there = same_place(object.pointer(part)?, rest, spec.pointer(base)?)?;
                let there = format!("{base}{there}");
                (spec.pointer(&there) == value).then_some(there)
            })
        });
        found.map_or_else(Origin::rule, |there| self.of(&there))
    }

    /// The layer of a value; of an object or a list the one that all its leaves come from.
    fn layer(&self, pointer: &str) -> Option<&str> {
        if let Some(layer) = self.origins.get(pointer) {
            return Some(layer);
        }
        let below = format!("{pointer}/");
        let mut leaves = self
            .origins
            .range(below.clone()..)
            .take_while(|(leaf, _)| leaf.starts_with(&below))
            .map(|(_, layer)| layer);
        let first = leaves.next()?;
        leaves.all(|layer| layer == first).then_some(first)
    }

    fn say(&self, layer: &str, pointer: &str) -> Option<Say> {
        let spec = &self.combined.effective.spec;
        let own = self.spec_of(layer)?;
        let there = same_place(spec, pointer, own)?;
        let value = own.pointer(&there)?.clone();
        let place = self.world.place(self.service, layer, &there, false)?;
        let template = value.as_str().filter(|text| text.contains("{{"));
        Some(Say {
            origin: Origin {
                who: describe(layer, self.combined),
                place: Some(place),
                template: template.map(str::to_owned),
            },
            value,
        })
    }

    /// The layer that gave a value, and the pointer to it in the layer's own spec.
    pub(crate) fn source(&self, pointer: &str) -> Option<(&str, String)> {
        let layer = self.layer(pointer)?;
        let own = self.spec_of(layer)?;
        let there = same_place(&self.combined.effective.spec, pointer, own)?;
        Some((layer, there))
    }

    fn spec_of(&self, layer: &str) -> Option<&Value> {
        if layer == SERVICE {
            return self.service.value.get("spec");
        }
        let is = |config: &weir_compose::Config| {
            layer.split_once('/') == Some((config.namespace.as_str(), config.name.as_str()))
        };
        let configs = self.combined.layers.iter().map(|(_, config)| config);
        configs
            .filter(|config| is(config))
            .map(|config| &*config.spec)
            .next()
    }
}

/// The pointer in `other` to what `pointer` points to in `value`: items of lists are the same when they have
/// the same name, or are equal, or one is the template of the other.
fn same_place(value: &Value, pointer: &str, other: &Value) -> Option<String> {
    let (mut here, mut there) = (value, other);
    let mut out = String::new();
    for step in pointer.split('/').skip(1) {
        let below = format!("/{step}");
        if let (Value::Array(list), Value::Array(items)) = (here, there) {
            let index = same_item(list, step.parse().ok()?, items)?;
            out.push_str(&format!("/{index}"));
            there = &items[index];
        } else {
            there = there.pointer(&below)?;
            out.push_str(&below);
        }
        here = here.pointer(&below)?;
    }
    Some(out)
}

/// The index in `items` of what stands at `index` in `list`.
fn same_item(list: &[Value], index: usize, items: &[Value]) -> Option<usize> {
    let item = list.get(index)?;
    if item.is_string() {
        return same_word(list.get(..=index)?, items);
    }
    for key in ["name", "containerPort"] {
        let wanted = &item[key];
        if !wanted.is_null() {
            let same = |other: &Value| other[key] == *wanted || became(&other[key], wanted);
            return items.iter().position(same);
        }
    }
    let equal = items.iter().position(|other| other == item);
    equal.or_else(|| (list.len() == items.len()).then_some(index))
}

/// The index in `items` of the last of `words`. Templates leave words out or make several, but keep their order.
fn same_word(words: &[Value], items: &[Value]) -> Option<usize> {
    let (mut from, mut last) = (0, None::<usize>);
    for word in words {
        let rest = || from..items.len();
        last = rest()
            .find(|index| items[*index] == *word)
            .or_else(|| rest().find(|index| became(&items[*index], word)))
            .or_else(|| last.filter(|index| became(&items[*index], word)));
        from = last.map_or(from, |index| index + 1);
    }
    last
}

/// Whether a text can be what a template became: what stands outside its braces is there, in order.
fn became(template: &Value, text: &Value) -> bool {
    let (Some(template), Some(mut text)) = (template.as_str(), text.as_str()) else {
        return false;
    };
    let mut parts = template.split("{{");
    let Some(first) = parts.next().filter(|first| *first != template) else {
        return false;
    };
    let Some(rest) = text.strip_prefix(first) else {
        return false;
    };
    text = rest;
    let mut last = "";
    for part in parts {
        last = part.split_once("}}").map_or("", |(_, literal)| literal);
        let Some(at) = text.find(last) else {
            return false;
        };
        text = &text[at + last.len()..];
    }
    text.is_empty() || last.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_the_same_by_name_by_value_or_by_index() {
        let merged = json!({"c": [{"name": "b", "x": 1}, {"name": "a", "x": 2}], "l": ["p", "q"]});
        let layer = json!({"c": [{"name": "a", "x": "{{ 2 }}"}], "l": ["{{ 1 }}", "q"]});
        let same = |pointer| same_place(&merged, pointer, &layer);
        assert_eq!(same("/c/1/x").as_deref(), Some("/c/0/x"));
        assert_eq!(same("/c/0/x"), None);
        assert_eq!(same("/l/1").as_deref(), Some("/l/1"));
        assert_eq!(same("/l/0").as_deref(), Some("/l/0"));
        assert_eq!(same("/absent"), None);
    }

    #[test]
    fn words_are_found_in_the_list_that_they_were_rendered_from() {
        let words = [json!("serve"), json!("m"), json!("--port"), json!("--tp=2")];
        let items = [
            json!("serve"),
            json!("{{ .Name }}"),
            json!("{{ if .X }}{{ omit }}{{ end }}--ssl"),
            json!("--port"),
            json!("--tp={{ .Tensor }}"),
        ];
        let found: Vec<_> = (0..words.len())
            .map(|index| same_item(&words, index, &items))
            .collect();
        assert_eq!(found, [Some(0), Some(1), Some(3), Some(4)]);
    }
}
