//! Templates in the strings of a merged spec, each string on its own.
//!
//! The data is the *merged* spec with the metadata of the service. A template may say `{{ omit }}`: the
//! nearest list item around it is then left out. In a list it may also become several items (`argv`).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_schema::Node;
use weir_template::{Shape, Template, Trim};

use crate::functions::{BETWEEN, Program};
use crate::{Error, Globals, words};

/// Origins by JSON pointer.
type ByPointer = BTreeMap<String, String>;

/// What came of a rendering.
pub(crate) struct Rendered {
    /// The origins by JSON pointer into the rendered spec.
    pub(crate) origins: ByPointer,
    /// What a user should hear of.
    pub(crate) notes: Vec<String>,
}

/// Evaluates every string of `spec`: first those of the model, then, knowing these, all others, and at last
/// the commands, which depend on images and environments.
pub(crate) fn spec(
    spec: &mut Value,
    service: &Value,
    globals: &Globals,
    schema: &Node,
    origins: &ByPointer,
) -> Result<Rendered, Error> {
    let version = service
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(words::VERSION_ANNOTATION))
        .and_then(Value::as_str);
    let mut rendered = Vec::new();
    let mut root = root(spec, service, globals);
    fn pass<'a, 'o>(base: &Pass<'a, 'o>, root: &'a Value, defers: bool) -> Pass<'a, 'o> {
        Pass {
            root,
            defers,
            ..*base
        }
    }
    let base = Pass {
        root: &Value::Null,
        schema,
        origins,
        version,
        defers: false,
    };
    // The name first: the rest of the model may hold it. In the name itself it means the service's own.
    if let Some(mut name) = spec.pointer("/model/name").cloned() {
        let own = service.pointer("/spec/model/name").and_then(Value::as_str);
        let own = own.filter(|own| !own.is_empty() && !own.contains("{{"));
        let own = own.or_else(|| service.pointer("/metadata/name").and_then(Value::as_str));
        root["Spec"]["model"]["name"] = json!(own);
        root["Model"]["name"] = json!(own);
        let place = Place::at("/model/name");
        pass(&base, &root, false).leaf(&mut name, &place, &mut Out::default())?;
        spec["model"]["name"] = name;
        renew(&mut root, spec, &["model"]);
    }
    if let Some(mut model) = spec.get("model").cloned() {
        let mut out = Out::default();
        let pass = pass(&base, &root, false);
        pass.leaf(&mut model, &Place::at("/model"), &mut out)?;
        pass.no_templates(&model, "/model")?;
        spec["model"] = model;
        rendered.append(&mut out.origins);
        renew(&mut root, spec, &["model"]);
    }
    let mut deferred = Vec::new();
    for (key, value) in spec.as_object_mut().into_iter().flatten() {
        if key != "model" {
            let mut out = Out::default();
            let place = Place::at(&format!("/{}", escape(key)));
            pass(&base, &root, true).leaf(value, &place, &mut out)?;
            rendered.append(&mut out.origins);
            deferred.append(&mut out.deferred);
        }
    }
    if !deferred.is_empty() {
        let keys: Vec<String> = spec
            .as_object()
            .map(|spec| spec.keys().cloned().collect())
            .unwrap_or_default();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        renew(&mut root, spec, &keys);
    }
    let mut notes = Vec::new();
    for place in deferred {
        let Some(command) = spec.pointer_mut(&place.new) else {
            continue;
        };
        let mut out = Out::default();
        pass(&base, &root, false).leaf(command, &place, &mut out)?;
        rendered.append(&mut out.origins);
        if out.user
            && let Some((container, _)) = place.new.rsplit_once('/')
        {
            user_words(spec, container, &mut notes);
        }
    }
    Ok(Rendered {
        origins: rendered
            .into_iter()
            .map(|(pointer, origin)| (pointer, origin.to_owned()))
            .collect(),
        notes,
    })
}

/// What stands before and in the args of a container whose command places them.
fn user_words(spec: &mut Value, container: &str, notes: &mut Vec<String>) {
    let Some(container_value) = spec.pointer_mut(container) else {
        return;
    };
    let at = field(container);
    let environment = container_value.get("env").and_then(Value::as_array);
    let additional = environment
        .into_iter()
        .flatten()
        .find(|one| one["name"] == words::ADDITIONAL);
    if additional.is_some_and(|one| one.get("valueFrom").is_some()) {
        notes.push(format!(
            "{at}: env {} has no literal value, so its words cannot be placed in the command",
            words::ADDITIONAL
        ));
    }
    let args = container_value
        .get_mut("args")
        .and_then(Value::as_array_mut);
    for (index, argument) in args.into_iter().flatten().enumerate() {
        if let Some(inner) = argument.as_str().and_then(words::unquoted) {
            let inner = inner.to_owned();
            notes.push(format!(
                "{at}.args[{index}]: the quotes around {argument} are left out, no shell reads it"
            ));
            *argument = Value::from(inner);
        }
    }
}

/// Puts what is known by now of `keys` into the data.
fn renew(root: &mut Value, spec: &Value, keys: &[&str]) {
    for key in keys {
        root["Spec"][*key] = spec[*key].clone();
        if let Some((name, _)) = SHORTCUTS.iter().find(|(_, field)| field == key) {
            root[*name] = spec[*key].clone();
        }
    }
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

#[derive(Clone, Copy)]
struct Pass<'a, 'o> {
    root: &'a Value,
    schema: &'a Node,
    origins: &'o ByPointer,
    version: Option<&'a str>,
    /// Whether commands wait for a later pass.
    defers: bool,
}

/// Where a value was in the merged spec, and where it is when list items are left out or become several.
#[derive(Clone)]
struct Place {
    old: String,
    new: String,
}

impl Place {
    fn at(pointer: &str) -> Self {
        Self {
            old: pointer.to_owned(),
            new: pointer.to_owned(),
        }
    }

    fn below(&self, old: &str, new: &str) -> Self {
        Self {
            old: format!("{}/{old}", self.old),
            new: format!("{}/{new}", self.new),
        }
    }
}

/// What is gathered on the way.
#[derive(Default)]
struct Out<'a> {
    origins: Vec<(String, &'a str)>,
    deferred: Vec<Place>,
    user: bool,
}

/// What becomes of a value.
enum Kept {
    One,
    None,
    /// It stands for these items of its list.
    Many(Vec<String>),
}

impl<'o> Pass<'_, 'o> {
    fn leaf(&self, value: &mut Value, place: &Place, out: &mut Out<'o>) -> Result<Kept, Error> {
        match value {
            Value::String(text) if text.contains("{{") => {
                let program = Program {
                    version: self.version,
                    ..Program::default()
                };
                let rendered = Template::parse(text, Trim::Blanks, &program)
                    .and_then(|template| template.render(self.root, self, &program));
                out.user |= program.user.get();
                match rendered {
                    Ok(rendered) if program.several.get() => {
                        return Ok(Kept::Many(
                            rendered.split(BETWEEN).map(str::to_owned).collect(),
                        ));
                    }
                    Ok(rendered) => *text = rendered,
                    Err(error) if error.omit => return Ok(Kept::None),
                    Err(error) => return Err(self.error(&place.old, text, &error)),
                }
                self.note(place, &place.new, out);
            }
            Value::Array(list) if !list.is_empty() => {
                let mut kept: Vec<Value> = Vec::with_capacity(list.len());
                for (index, mut item) in std::mem::take(list).into_iter().enumerate() {
                    let below = place.below(&index.to_string(), &kept.len().to_string());
                    let mut of_item = Out::default();
                    match self.leaf(&mut item, &below, &mut of_item)? {
                        Kept::One => {
                            kept.push(item);
                            out.origins.append(&mut of_item.origins);
                            out.deferred.append(&mut of_item.deferred);
                        }
                        Kept::None => {}
                        Kept::Many(words) => {
                            for word in words {
                                let new = format!("{}/{}", place.new, kept.len());
                                self.note(&below, &new, out);
                                kept.push(Value::String(word));
                            }
                        }
                    }
                    out.user |= of_item.user;
                }
                *list = kept;
            }
            Value::Object(map) if !map.is_empty() => {
                let mut emptied = Vec::new();
                for (key, item) in map.iter_mut() {
                    let part = escape(key);
                    let below = place.below(&part, &part);
                    let filled = is_filled(item);
                    if self.defers && key == "command" && item.is_array() {
                        out.deferred.push(below);
                        continue;
                    }
                    match self.leaf(item, &below, out)? {
                        Kept::One if filled && !is_filled(item) => emptied.push(key.clone()),
                        Kept::One => {}
                        Kept::None => return Ok(Kept::None),
                        Kept::Many(_) => return Err(self.many(&below.old, item)),
                    }
                }
                // A list that has lost all of its items is no list that somebody wrote.
                for key in emptied {
                    map.remove(&key);
                }
            }
            _ => self.note(place, &place.new, out),
        }
        Ok(Kept::One)
    }

    fn note(&self, place: &Place, new: &str, out: &mut Out<'o>) {
        if let Some(origin) = self.origins.get(&place.old) {
            out.origins.push((new.to_owned(), origin));
        }
    }

    fn many(&self, path: &str, value: &Value) -> Error {
        Error::Template {
            config: self.config(path),
            field: field(path),
            text: value.as_str().unwrap_or_default().to_owned(),
            problem: "several words are possible only as items of a list".to_owned(),
        }
    }

    /// Whoever prints a text of the model that is itself a template has got it as it stands.
    fn no_templates(&self, value: &Value, path: &str) -> Result<(), Error> {
        match value {
            Value::String(text) if text.contains("{{") => Err(Error::Template {
                config: self.config(path),
                field: field(path),
                text: text.chars().take(200).collect(),
                problem:
                    "a template is left: it refers to itself or to another template of the model"
                        .to_owned(),
            }),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| self.no_templates(item, &format!("{path}/{index}"))),
            Value::Object(map) => map.iter().try_for_each(|(key, item)| {
                self.no_templates(item, &format!("{path}/{}", escape(key)))
            }),
            _ => Ok(()),
        }
    }

    fn config(&self, path: &str) -> String {
        let config = self.origins.get(path).cloned();
        config.unwrap_or_else(|| "service".to_owned())
    }

    fn error(&self, path: &str, text: &str, error: &weir_template::Error) -> Error {
        let mut problem = error.to_string();
        let braces = ["not defined", "unexpected", "not closed", "missing value"];
        if braces.iter().any(|part| error.message.contains(part)) {
            problem.push_str("; for literal braces write {{ `{{` }}");
        }
        let line = text.lines().nth(error.line - 1).unwrap_or_default();
        Error::Template {
            config: self.config(path),
            field: field(path),
            text: line.trim().chars().take(200).collect(),
            problem,
        }
    }
}

impl Shape for Pass<'_, '_> {
    fn fields(&self, path: &[std::borrow::Cow<'_, str>]) -> Option<Vec<String>> {
        let Some((first, rest)) = path.split_first() else {
            return self
                .root
                .as_object()
                .map(|root| root.keys().cloned().collect());
        };
        let shortcut = SHORTCUTS.iter().find(|(name, _)| *name == &**first);
        let mut node = match (&**first, shortcut) {
            ("Spec", _) => self.schema.clone(),
            ("ObjectMeta", _) if rest.is_empty() => {
                let names = Node::object_meta();
                return Some(names.property_names().map(str::to_owned).collect());
            }
            ("GlobalConfig", _) => {
                return self.root[&**first]
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

fn is_filled(value: &Value) -> bool {
    value.as_array().is_some_and(|list| !list.is_empty())
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
