//! Templates in the strings of a merged spec, each string on its own.
//!
//! The data is the *merged* spec with the metadata of the service. A template may say `{{ omit }}`: the
//! nearest list item around it is then left out. In a list it may also become several items (`argv`).
//!
//! Rendering goes in steps, for what one template prints another one may read: the model's name, the model, all
//! but the commands, the commands. In each step the templates are evaluated while the spec stands still, so that
//! nothing of it is copied to be read; what they come to is an [`Edits`], which is then carried out. Only
//! leaves with an action are touched.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use weir_schema::Node;
use weir_template::Data;

use crate::data::{Fields, Known, Root};
use crate::edits::{Edits, Waiting, carry_out};
use crate::functions::{BETWEEN, Program};
use crate::note::{self, Note};
use crate::origin::Traced;
use crate::{Error, Globals, cache, words};

/// Characters of a template that a message shows.
const MAX_EXCERPT: usize = 200;

/// Evaluates every string of `spec`. Returns what a user should hear of. The origins, when somebody wants them,
/// follow what happens to the spec.
pub(crate) fn spec(
    spec: &mut Value,
    service: &Value,
    globals: &Globals,
    schema: &Node,
    traced: &mut Option<Traced>,
) -> Result<Vec<Note>, Error> {
    let data = Root::of(spec, service, globals);
    let annotations = service.pointer("/metadata/annotations");
    let version = annotations.and_then(|all| all.get(words::VERSION_ANNOTATION));
    let rendering = Rendering {
        schema,
        version: version.and_then(Value::as_str),
    };
    rendering.model(spec, service, &data, traced)?;
    let waiting = rendering.all_but_commands(spec, &data, traced)?;
    rendering.commands(spec, &data, waiting, traced)
}

/// What stays the same in all steps.
struct Rendering<'a> {
    schema: &'a Node,
    version: Option<&'a str>,
}

impl Rendering<'_> {
    fn pass<'f>(
        &'f self,
        fields: &'f Fields<'f>,
        traced: &'f Option<Traced>,
        old: &'f str,
        new: &'f str,
    ) -> Pass<'f> {
        Pass {
            known: Known {
                fields,
                spec: self.schema,
            },
            version: self.version,
            traced: traced.as_ref(),
            commands_wait: false,
            old,
            new,
            steps: Vec::new(),
            user: false,
            unknown: BTreeSet::new(),
        }
    }

    fn model(
        &self,
        spec: &mut Value,
        service: &Value,
        data: &Root<'_>,
        traced: &mut Option<Traced>,
    ) -> Result<(), Error> {
        let at = "/model/name";
        if let Some(name) = spec.pointer(at).filter(|name| text_with_action(name)) {
            // In the name itself the name means the service's own. This is rare enough for a copy.
            let own = service.pointer("/spec/model/name").and_then(Value::as_str);
            let own = own.filter(|own| !own.is_empty() && !own.contains("{{"));
            let mut before = spec.clone();
            before["model"]["name"] = json!(own.or_else(|| data.name()));
            let fields = data.fields(&before);
            let edits = self.pass(&fields, traced, at, at).whole(name)?;
            self.carry_out(spec, at, edits, traced);
        }
        let at = "/model";
        let Some(model) = spec.get("model") else {
            return Ok(());
        };
        let fields = data.fields(spec);
        if let Some(edits) = self.pass(&fields, traced, at, at).whole(model)? {
            self.carry_out(spec, at, Some(edits), traced);
        }
        // Whoever prints a text of the model that is itself a template has got it as it stands.
        let fields = data.fields(spec);
        self.pass(&fields, traced, at, at)
            .no_templates(&spec["model"])
    }

    fn all_but_commands(
        &self,
        spec: &mut Value,
        data: &Root<'_>,
        traced: &mut Option<Traced>,
    ) -> Result<Vec<Waiting>, Error> {
        let fields = data.fields(spec);
        let mut pass = self.pass(&fields, traced, "", "");
        pass.commands_wait = true;
        let edits = pass.whole(spec)?;
        Ok(self.carry_out(spec, "", edits, traced))
    }

    /// The commands, which depend on images and environments.
    fn commands(
        &self,
        spec: &mut Value,
        data: &Root<'_>,
        waiting: Vec<Waiting>,
        traced: &mut Option<Traced>,
    ) -> Result<Vec<Note>, Error> {
        let mut done = Vec::with_capacity(waiting.len());
        let mut unknown = BTreeSet::new();
        let fields = data.fields(spec);
        for Waiting { old, new } in waiting {
            let command = spec.pointer(&new).unwrap_or(&Value::Null);
            let mut pass = self.pass(&fields, traced, &old, &new);
            let edits = pass.whole(command)?;
            let user = pass.user;
            unknown.append(&mut pass.unknown);
            done.push((new, edits, user));
        }
        let mut notes: Vec<Note> = unknown
            .iter()
            .map(|pod| unknown_version(spec, pod))
            .collect();
        for (at, edits, user) in done {
            self.carry_out(spec, &at, edits, traced);
            if let (true, Some((container, _))) = (user, at.rsplit_once('/')) {
                user_words(spec, container, &mut notes);
            }
        }
        Ok(notes)
    }

    fn carry_out(
        &self,
        spec: &mut Value,
        at: &str,
        edits: Option<Edits>,
        traced: &mut Option<Traced>,
    ) -> Vec<Waiting> {
        let (Some(value), Some(edits)) = (spec.pointer_mut(at), edits) else {
            return Vec::new();
        };
        let tree = traced.as_mut().and_then(|traced| traced.at(at));
        carry_out(value, tree, at, edits)
    }
}

/// What stands before and in the args of a container whose command places them.
fn user_words(spec: &mut Value, container: &str, notes: &mut Vec<Note>) {
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
        let message = format!(
            "env {} has no literal value, so its words cannot be placed in the command",
            words::ADDITIONAL
        );
        notes.push(Note::new(note::ARGUMENTS, &at, message));
    }
    let args = container_value
        .get_mut("args")
        .and_then(Value::as_array_mut);
    for (index, argument) in args.into_iter().flatten().enumerate() {
        if let Some(inner) = argument.as_str().and_then(words::unquoted) {
            let inner = inner.to_owned();
            let message = format!("the quotes around {argument} are left out, no shell reads it");
            let at = format!("{at}.args[{index}]");
            notes.push(Note::new(note::ARGUMENTS, at, message));
            *argument = Value::from(inner);
        }
    }
}

/// `pod` is a path in the data of templates, as `Spec.template`.
fn unknown_version(spec: &Value, pod: &str) -> Note {
    let fields = pod.strip_prefix("Spec.").unwrap_or(pod);
    let pod = spec.pointer(&format!("/{}", fields.replace('.', "/")));
    let main = pod.and_then(Value::as_object).and_then(words::main);
    let image = main.and_then(|main| main.get("image"));
    let image = image.unwrap_or(&Value::Null);
    let message = format!(
        "neither the image {image} nor the annotation {} tells the engine's version, so only flags that every \
         supported version has are given",
        words::VERSION_ANNOTATION
    );
    Note::new(note::VERSION, format!("spec.{fields}"), message)
}

fn text_with_action(value: &Value) -> bool {
    value.as_str().is_some_and(has_action)
}

fn is_templated_command(key: &str, value: &Value) -> bool {
    let words = value.as_array().filter(|_| key == "command");
    words.is_some_and(|words| words.iter().any(text_with_action))
}

fn has_action(text: &str) -> bool {
    text.contains("{{")
}

/// One walk over a part of the spec.
struct Pass<'a> {
    known: Known<'a>,
    version: Option<&'a str>,
    traced: Option<&'a Traced>,
    /// Whether commands are left to a later step.
    commands_wait: bool,
    /// Where the part stood in the merged spec, as a pointer, and where it stands now.
    old: &'a str,
    new: &'a str,
    /// From there to the value that is looked at.
    steps: Vec<Step<'a>>,
    /// Whether a text placed the user's words.
    user: bool,
    /// Pods whose engine's version was asked for in vain.
    unknown: BTreeSet<String>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

/// What becomes of a value.
enum Found {
    Same,
    Changed(Edits),
    /// The item around it is to be left out.
    Omitted,
}

impl<'a> Pass<'a> {
    /// The edits of a part that cannot itself be left out.
    fn whole(&mut self, value: &'a Value) -> Result<Option<Edits>, Error> {
        match self.value(value)? {
            Found::Same => Ok(None),
            Found::Changed(Edits::Several(_)) => Err(self.several(value)),
            Found::Changed(edits) => Ok(Some(edits)),
            Found::Omitted => Err(self.refusal(
                "",
                "omit is possible only in an item of a list, which is then left out".to_owned(),
            )),
        }
    }

    fn value(&mut self, value: &'a Value) -> Result<Found, Error> {
        match value {
            Value::String(text) if has_action(text) => self.text(text),
            Value::Array(list) => self.list(list),
            Value::Object(map) => self.object(map),
            _ => Ok(Found::Same),
        }
    }

    fn text(&mut self, text: &str) -> Result<Found, Error> {
        let program = Program {
            version: self.version,
            ..Program::default()
        };
        let rendered = cache::template(text).and_then(|template| {
            template.render(Data::Fields(self.known.fields), &self.known, &program)
        });
        self.user |= program.user.get();
        self.unknown.extend(program.unknown.take());
        match rendered {
            Ok(words) if program.several.get() => {
                let words = words.split(BETWEEN).map(str::to_owned).collect();
                Ok(Found::Changed(Edits::Several(words)))
            }
            Ok(rendered) => Ok(Found::Changed(Edits::Text(rendered))),
            Err(error) if error.omit => Ok(Found::Omitted),
            Err(error) => Err(self.error(text, &error)),
        }
    }

    fn list(&mut self, list: &'a [Value]) -> Result<Found, Error> {
        let mut edits = Vec::new();
        for (index, item) in list.iter().enumerate() {
            match self.below(Step::Item(index), |pass| pass.value(item))? {
                Found::Same => {}
                Found::Changed(edit) => edits.push((index, edit)),
                Found::Omitted => edits.push((index, Edits::Gone)),
            }
        }
        Ok(changed(edits, Edits::List))
    }

    fn object(&mut self, map: &'a Map<String, Value>) -> Result<Found, Error> {
        let mut edits = Vec::new();
        for (key, value) in map {
            // The model was done before the rest.
            if self.commands_wait && self.steps.is_empty() && key == "model" {
                continue;
            }
            match self.below(Step::Field(key), |pass| pass.field(key, value))? {
                Found::Same => {}
                Found::Changed(edit) => edits.push((key.clone(), edit)),
                Found::Omitted => return Ok(Found::Omitted),
            }
        }
        Ok(changed(edits, Edits::Object))
    }

    fn field(&mut self, key: &str, value: &'a Value) -> Result<Found, Error> {
        if self.commands_wait && is_templated_command(key, value) {
            return Ok(Found::Changed(Edits::Later(self.pointer(self.old))));
        }
        match self.value(value)? {
            Found::Changed(Edits::Several(_)) => Err(self.several(value)),
            found => Ok(found),
        }
    }
}

impl<'a> Pass<'a> {
    fn no_templates(&mut self, value: &'a Value) -> Result<(), Error> {
        match value {
            Value::String(text) if has_action(text) => Err(self.refusal(
                text,
                "a template is left: it refers to itself or to another template of the model"
                    .to_owned(),
            )),
            Value::Array(list) => list.iter().enumerate().try_for_each(|(index, item)| {
                self.below(Step::Item(index), |pass| pass.no_templates(item))
            }),
            Value::Object(map) => map.iter().try_for_each(|(key, item)| {
                self.below(Step::Field(key), |pass| pass.no_templates(item))
            }),
            _ => Ok(()),
        }
    }

    fn below<T>(&mut self, step: Step<'a>, walk: impl FnOnce(&mut Self) -> T) -> T {
        self.steps.push(step);
        let found = walk(self);
        self.steps.pop();
        found
    }
}

impl Pass<'_> {
    fn several(&self, value: &Value) -> Error {
        self.refusal(
            value.as_str().unwrap_or_default(),
            "several words are possible only as items of a list".to_owned(),
        )
    }

    fn error(&self, text: &str, error: &weir_template::Error) -> Error {
        let mut problem = error.to_string();
        let braces = ["not defined", "unexpected", "not closed", "missing value"];
        if braces.iter().any(|part| error.message.contains(part)) {
            problem.push_str("; for literal braces write {{ `{{` }}");
        }
        let line = text.lines().nth(error.line - 1).unwrap_or_default();
        self.refusal(line.trim(), problem)
    }

    /// Something is wrong with `text`, which stands where the walk is.
    fn refusal(&self, text: &str, problem: String) -> Error {
        let layer = self
            .traced
            .and_then(|traced| traced.layer(&self.pointer(self.new)));
        Error::Template {
            config: layer.unwrap_or("service").to_owned(),
            field: field(&self.pointer(self.old)),
            text: text.chars().take(MAX_EXCERPT).collect(),
            problem,
        }
    }

    fn pointer(&self, start: &str) -> String {
        let mut pointer = start.to_owned();
        for step in &self.steps {
            pointer.push('/');
            match step {
                Step::Field(key) => pointer.push_str(&escape(key)),
                Step::Item(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }
}

fn changed<T>(edits: Vec<T>, edits_of: impl Fn(Vec<T>) -> Edits) -> Found {
    if edits.is_empty() {
        Found::Same
    } else {
        Found::Changed(edits_of(edits))
    }
}

/// A step of a pointer.
pub(crate) fn escape(key: &str) -> Cow<'_, str> {
    if key.contains(['~', '/']) {
        Cow::Owned(key.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(key)
    }
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
