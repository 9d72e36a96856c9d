//! What is wrong with what services come to: missing configs, templates, rules, engine arguments.

use std::collections::HashSet;

use serde_json::Value;
use weir_api::names;
use weir_compose::{CombineError, Combined};
use weir_vllm::argv::ArgError;

use crate::offline::{Error, Object, Offline, SERVICE, below_spec};
use crate::{Finding, Severity, locate};

/// Reviews every service together with its configs. `reviewed` holds what is known already: rules that the
/// service itself breaks are not said twice, and nothing is built on one that is broken.
#[must_use]
pub fn review(world: &Offline<'_>, reviewed: &[Finding]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in world.services() {
        let source = service.document.source();
        let own =
            |finding: &&Finding| finding.source == source && finding.severity == Severity::Error;
        let first = service.nearest("");
        let broken = reviewed
            .iter()
            .filter(own)
            .any(|finding| finding.position.is_some_and(|at| at >= first));
        let mut found = Review {
            world,
            service,
            findings: Vec::new(),
        };
        found.references();
        if !broken && found.findings.is_empty() {
            found.whole();
        }
        let known: HashSet<(&str, &str)> = reviewed
            .iter()
            .map(|finding| (finding.path.as_str(), finding.message.as_str()))
            .collect();
        let new =
            |finding: &Finding| !known.contains(&(finding.path.as_str(), finding.message.as_str()));
        findings.extend(found.findings.into_iter().filter(new));
    }
    findings
}

/// The pods of a spec that run engines.
const PODS: [&str; 4] = [
    "/template",
    "/worker",
    "/prefill/template",
    "/prefill/worker",
];

struct Review<'a> {
    world: &'a Offline<'a>,
    service: &'a Object<'a>,
    findings: Vec<Finding>,
}

impl Review<'_> {
    fn push(&mut self, layer: &str, pointer: &str, path: String, message: String, hint: String) {
        let place = self.world.place(self.service, layer, pointer, true);
        let (source, position) = place.map_or_else(
            || (self.service.document.source().to_owned(), None),
            |place| (place.source, Some(place.position)),
        );
        self.findings.push(Finding {
            source,
            position,
            path,
            message,
            hint,
            severity: Severity::Error,
        });
    }

    /// Base references that lead nowhere, all of them.
    fn references(&mut self) {
        let references = self.service.value.pointer("/spec/baseRefs");
        let references = references.and_then(Value::as_array);
        for (index, one) in references.into_iter().flatten().enumerate() {
            let name = one["name"].as_str().unwrap_or_default();
            if !self.world.has_config(self.service, name) {
                self.missing(name, Some(index));
            }
        }
    }

    fn missing(&mut self, name: &str, index: Option<usize>) {
        let [own, system] = self.world.config_namespaces(self.service);
        let namespaces = if own == system {
            own.to_owned()
        } else {
            format!("{own} or {system}")
        };
        let message =
            format!("there is no LLMInferenceServiceConfig {name:?} in namespace {namespaces}");
        let names: Vec<&str> = self.world.config_names(self.service).collect();
        let hint = match (locate::similar(name, names.iter().copied()), names.len()) {
            (Some(similar), _) => format!("did you mean {similar}?"),
            (None, 0) => "give the file that has it too".to_owned(),
            (None, _) => format!(
                "give the file that has it too; there are {}",
                names.join(", ")
            ),
        };
        let at = index.map_or_else(String::new, |index| format!("/baseRefs/{index}/name"));
        let path = index.map_or_else(
            || "spec".to_owned(),
            |index| format!("spec.baseRefs[{index}].name"),
        );
        self.push(SERVICE, &at, path, message, hint);
    }

    /// The effective spec and what it comes to.
    fn whole(&mut self) {
        let combined = match self.world.combine(self.service) {
            Ok(combined) => combined,
            Err(error) => return self.not_combined(&error),
        };
        self.rules(&combined);
        self.notes(&combined);
        self.engine(&combined);
        if self
            .findings
            .iter()
            .all(|f| f.severity == Severity::Warning)
            && let Err(error) = self.world.plan(self.service, &combined.effective.spec)
        {
            self.not_planned(&combined, &error);
        }
    }

    fn not_combined<E: std::fmt::Display>(&mut self, error: &CombineError<E>) {
        use weir_compose::Error as Compose;
        match error {
            CombineError::NotFound { name, base, .. } => self.missing(name, *base),
            CombineError::Compose(Compose::Template {
                config,
                field,
                text,
                problem,
            }) => {
                let pointer = self.template_place(config, field, text);
                let message = format!("{problem}, in {text:?}");
                self.push(config, &pointer, field.clone(), message, String::new());
            }
            CombineError::Compose(Compose::Merge { config, problem }) => {
                let (path, what) = problem.split_once(": ").unwrap_or(("", problem));
                let path = format!("spec.{path}");
                let pointer = below_spec(&self.service.value["spec"], &path);
                self.push(config, &pointer, path, what.to_owned(), String::new());
            }
            other => self.push(
                SERVICE,
                "",
                "spec".to_owned(),
                other.to_string(),
                String::new(),
            ),
        }
    }

    /// Where a template stands in its own layer: merging may have moved it.
    fn template_place(&self, layer: &str, field: &str, text: &str) -> String {
        let Some(spec) = self.world.spec_of(self.service, layer) else {
            return String::new();
        };
        let same = below_spec(&spec, field);
        let is = |value: &Value| value.as_str().is_some_and(|own| own.contains(text));
        if spec.pointer(&same).is_some_and(is) {
            return same;
        }
        find(&spec, "", &is).unwrap_or(same)
    }

    /// The rules and the schema of the API, on what the service comes to.
    fn rules(&mut self, combined: &Combined) {
        let verdict = crate::review_effective(&self.service.value, &combined.effective.spec);
        let errors = verdict.errors.into_iter().map(|e| (e, Severity::Error));
        let warnings = verdict.warnings.into_iter().map(|e| (e, Severity::Warning));
        for (error, severity) in errors.chain(warnings) {
            let (layer, pointer) = self.origin(combined, &error.path);
            self.push(&layer, &pointer, error.path, error.message, String::new());
            if let Some(finding) = self.findings.last_mut() {
                finding.severity = severity;
            }
        }
    }

    /// What the composition had to leave out or could not place.
    fn notes(&mut self, combined: &Combined) {
        for note in &combined.effective.notes {
            let weir_compose::Note { path, message, .. } = note.clone();
            let (layer, pointer) = self.origin(combined, &path);
            self.push(&layer, &pointer, path, message, String::new());
            if let Some(finding) = self.findings.last_mut() {
                finding.severity = Severity::Warning;
            }
        }
    }

    fn not_planned(&mut self, combined: &Combined, error: &Error) {
        let text = error.to_string();
        let field = match error {
            Error::Plan(error) => error.field(),
            _ => None,
        };
        let (path, message) = match (&field, text.split_once(' ')) {
            (Some(path), _) => (path.as_str(), text.as_str()),
            (None, Some((path, rest))) if path.starts_with("spec.") => {
                (path.trim_end_matches(':'), rest)
            }
            _ => ("spec", text.as_str()),
        };
        let (layer, pointer) = self.origin(combined, path);
        self.push(
            &layer,
            &pointer,
            path.to_owned(),
            message.to_owned(),
            String::new(),
        );
    }

    /// The command lines of engines, by the engine's own rules.
    fn engine(&mut self, combined: &Combined) {
        let spec = &combined.effective.spec;
        for pod in PODS {
            let containers = spec.pointer(&format!("{pod}/containers"));
            let containers = containers.and_then(Value::as_array);
            for (index, container) in containers.into_iter().flatten().enumerate() {
                let at = format!("{pod}/containers/{index}");
                if let Some((word, error)) = engine_fault(container) {
                    self.argument(combined, &at, word, &error);
                }
            }
        }
    }

    fn argument(&mut self, combined: &Combined, at: &str, word: Option<Word>, error: &ArgError) {
        let (field, word) = match word {
            Some(Word { field, index, text }) => (format!("/{field}/{index}"), Some(text)),
            None => (String::new(), None),
        };
        let pointer = format!("{at}{field}");
        let path = path_of(&pointer);
        let hint = match (error, word.as_deref().and_then(flag_name)) {
            (ArgError::Unrecognized(_), Some(name)) => {
                let names = weir_vllm::flags::all().iter().map(|flag| flag.name);
                locate::similar(name, names).map_or_else(
                    || "see `vllm serve --help=all`".to_owned(),
                    |similar| format!("did you mean --{similar}?"),
                )
            }
            _ => String::new(),
        };
        let (layer, own) = self.origin(combined, &path);
        let message = match (error, word) {
            (ArgError::Unrecognized(_), Some(word)) => format!(
                "{word:?} is not a flag of vllm {}, so the engine would not start",
                weir_vllm::VERSION
            ),
            _ => format!("vllm {} would not start: {error}", weir_vllm::VERSION),
        };
        self.push(&layer, &own, path, message, hint);
    }

    /// The layer that a path of the effective spec comes from, and the pointer to it there.
    fn origin(&self, combined: &Combined, path: &str) -> (String, String) {
        let spec = &combined.effective.spec;
        let mut pointer = below_spec(spec, path);
        // A part that the service asks for is filled by presets, but the service can change it.
        let own = self.service.value["spec"].pointer(&pointer);
        if own.is_some_and(|own| own.is_object() || own.is_array()) {
            return (SERVICE.to_owned(), pointer);
        }
        let trace = crate::trace::Trace::new(self.world, self.service, combined);
        loop {
            if let Some((layer, own)) = trace.source(&pointer) {
                return (layer.to_owned(), own);
            }
            match pointer.rsplit_once('/') {
                Some((parent, _)) => pointer = parent.to_owned(),
                None => return (SERVICE.to_owned(), String::new()),
            }
        }
    }
}

/// A word of a container's command line.
struct Word {
    field: &'static str,
    index: usize,
    text: String,
}

/// What the engine would say to the command line of a container that runs `vllm serve`, and to which word.
fn engine_fault(container: &Value) -> Option<(Option<Word>, ArgError)> {
    let words = |field: &str| -> Vec<String> {
        let list = container[field].as_array().into_iter().flatten();
        list.filter_map(|word| Some(word.as_str()?.to_owned()))
            .collect()
    };
    let (command, args) = (words("command"), words("args"));
    let program = command.first()?.rsplit('/').next()?;
    if container["name"] != names::container::MAIN || program != "vllm" {
        return None;
    }
    let argv: Vec<String> = command.iter().chain(&args).cloned().collect();
    if argv.get(1).map(String::as_str) != Some("serve") {
        return None;
    }
    let error = weir_vllm::parse_argv(&argv).err()?;
    let named = match &error {
        ArgError::Unrecognized(words) => words.first().cloned(),
        ArgError::Missing { flag, .. }
        | ArgError::Explicit { flag, .. }
        | ArgError::Type { flag, .. }
        | ArgError::Convert { flag, .. }
        | ArgError::Decimals { flag, .. }
        | ArgError::Choice { flag, .. } => flag.split(['/', ' ']).next().map(str::to_owned),
        ArgError::Ambiguous { given, .. } => Some(given.clone()),
        ArgError::AdapterJson(_) | ArgError::AdapterFields(_) => Some("--lora-modules".to_owned()),
    };
    let named = named?;
    let is = |word: &String| *word == named || word.starts_with(&format!("{named}="));
    let place = |field, list: &[String]| {
        let index = list.iter().rposition(is)?;
        let text = list.get(index)?.clone();
        Some(Word { field, index, text })
    };
    let word = place("args", &args).or_else(|| place("command", &command));
    Some((word, error))
}

/// `name` of `--name` or `--name=value`.
fn flag_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--")?;
    Some(name.split('=').next().unwrap_or(name))
}

/// The path of a pointer below the spec.
fn path_of(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .fold("spec".to_owned(), |path, step| {
            if step.bytes().all(|b| b.is_ascii_digit()) {
                format!("{path}[{step}]")
            } else {
                format!("{path}.{}", step.replace("~1", "/").replace("~0", "~"))
            }
        })
}

/// The pointer to the first value that `is`.
fn find(value: &Value, at: &str, is: &impl Fn(&Value) -> bool) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            find(value, &format!("{at}/{key}"), is)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, value)| find(value, &format!("{at}/{index}"), is)),
        leaf => is(leaf).then(|| at.to_owned()),
    }
}
