//! The command line of `vllm serve`, read as the engine's own parser does: `--flag value` and
//! `--flag=value`, `--no-flag`, `_` for `-`, unambiguous beginnings of a name, short names, and JSON
//! given whole or key by key.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::flags::{self, Flag, Kind};

mod value;

use value::{check, size};

/// Status with which the engine ends when its command line is wrong.
pub const EXIT_STATUS: u8 = 2;

/// Most levels of a dotted JSON key.
const MAX_DEPTH: usize = 16;

/// Why a command line was refused. The text is the engine's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// Words that no flag takes.
    #[error("unrecognized arguments: {}", .0.join(" "))]
    Unrecognized(Vec<String>),
    /// The beginning of several flags.
    #[error("ambiguous option: {given} could match {}", .matches.join(", "))]
    Ambiguous {
        /// What was written.
        given: String,
        /// What it could mean.
        matches: Vec<String>,
    },
    /// A flag without the word it needs.
    #[error("argument {flag}: expected {expected}")]
    Missing {
        /// The flag with all its spellings.
        flag: String,
        /// How many words it needs.
        expected: &'static str,
    },
    /// A value for a flag that takes none.
    #[error("argument {flag}: ignored explicit argument '{value}'")]
    Explicit {
        /// The flag with all its spellings.
        flag: String,
        /// The value.
        value: String,
    },
    /// A value that is not of the flag's type.
    #[error("argument {flag}: invalid {kind} value: '{value}'")]
    Type {
        /// The flag with all its spellings.
        flag: String,
        /// Name of the type.
        kind: &'static str,
        /// The value.
        value: String,
    },
    /// A value that is not of the type of a flag that may be unset.
    #[error("argument {flag}: Value {value} cannot be converted to {kind}.")]
    Convert {
        /// The flag with all its spellings.
        flag: String,
        /// The value.
        value: String,
        /// The type.
        kind: String,
    },
    /// A decimal number with a binary unit.
    #[error(
        "argument {flag}: Decimals are not allowed with binary suffixes like {unit}. Did you mean to use {instead} instead?"
    )]
    Decimals {
        /// The flag with all its spellings.
        flag: String,
        /// The unit.
        unit: char,
        /// The same with the decimal unit.
        instead: String,
    },
    /// An adapter that is neither `name=path` nor JSON.
    #[error("Invalid JSON format for --lora-modules: {0}")]
    AdapterJson(String),
    /// An adapter whose JSON has not the fields it needs.
    #[error("Invalid fields for --lora-modules: {0}")]
    AdapterFields(String),
    /// A value that is not one of the flag's choices.
    #[error("argument {flag}: invalid choice: '{value}' (choose from {})", .choices.iter().map(|choice| quoted(choice)).collect::<Vec<_>>().join(", "))]
    Choice {
        /// The flag with all its spellings.
        flag: String,
        /// The value.
        value: String,
        /// What it takes.
        choices: Vec<&'static str>,
    },
}

/// A choice as the engine lists it: the absence of a value is not quoted.
fn quoted(choice: &str) -> String {
    if choice == "None" {
        return choice.to_owned();
    }
    format!("'{choice}'")
}

impl ArgError {
    /// What the engine writes to standard error before it ends with [`EXIT_STATUS`].
    #[must_use]
    pub fn report(&self) -> String {
        format!("usage: vllm serve [model_tag] [options]\nvllm serve: error: {self}")
    }
}

/// What was given for one flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// On or off.
    Bool(bool),
    /// The words of a flag that takes some.
    Words(Vec<String>),
    /// JSON, also when it was given key by key.
    Json(Value),
}

/// A command line that was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServeArgs {
    /// The model: the first word that is no flag, else `--model`.
    pub model: Option<String>,
    /// What was given, by name of the flag (no dashes in front, words joined by `-`).
    pub settings: BTreeMap<&'static str, Setting>,
    /// Whether the help was asked for.
    pub help: bool,
}

impl ServeArgs {
    /// The last word given for `flag`.
    #[must_use]
    pub fn value(&self, flag: &str) -> Option<&str> {
        match self.settings.get(flag)? {
            Setting::Words(words) => words.last().map(String::as_str),
            Setting::Json(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// All words given for `flag`.
    #[must_use]
    pub fn list(&self, flag: &str) -> &[String] {
        match self.settings.get(flag) {
            Some(Setting::Words(words)) => words,
            _ => &[],
        }
    }

    /// Whether `flag` was set or unset.
    #[must_use]
    pub fn switch(&self, flag: &str) -> Option<bool> {
        match self.settings.get(flag)? {
            Setting::Bool(on) => Some(*on),
            _ => None,
        }
    }

    /// The JSON given for `flag`.
    #[must_use]
    pub fn json(&self, flag: &str) -> Option<&Value> {
        match self.settings.get(flag)? {
            Setting::Json(value) => Some(value),
            _ => None,
        }
    }

    /// The whole number given for `flag`; `8k` is 8000 and `8K` 8192, as the engine reads them.
    #[must_use]
    pub fn number(&self, flag: &str) -> Option<i64> {
        self.value(flag).and_then(size)
    }
}

/// Reads the command line `argv`: the words after the program, with or without a leading `serve`.
///
/// # Errors
/// When the engine would end with [`EXIT_STATUS`].
pub fn parse_argv(argv: &[String]) -> Result<ServeArgs, ArgError> {
    parse_with(argv, &[])
}

/// As [`parse_argv`], with the flags of `extra` known as well.
///
/// # Errors
/// When the engine would end with [`EXIT_STATUS`].
pub fn parse_with(argv: &[String], extra: &[Flag]) -> Result<ServeArgs, ArgError> {
    let mut words = argv;
    if words
        .first()
        .is_some_and(|word| word.rsplit('/').next() == Some("vllm"))
    {
        words = &words[1..];
    }
    if words.first().is_some_and(|word| word == "serve") {
        words = &words[1..];
    }
    Parser {
        extra,
        args: ServeArgs::default(),
        unknown: Vec::new(),
    }
    .run(words)
}

struct Parser<'a> {
    extra: &'a [Flag],
    args: ServeArgs,
    unknown: Vec<String>,
}

/// A flag as it was written.
struct Written<'a> {
    flag: &'a Flag,
    negated: bool,
    /// Keys after the name, of a dotted one.
    path: Vec<String>,
    /// The part after `=`.
    explicit: Option<String>,
}

impl<'a> Parser<'a> {
    fn run(mut self, words: &[String]) -> Result<ServeArgs, ArgError> {
        let mut at = 0;
        let mut only_words = false;
        while let Some(word) = words.get(at) {
            at += 1;
            if only_words || !is_flag(word) {
                self.positional(word);
                continue;
            }
            if word == "--" {
                only_words = true;
                continue;
            }
            let Some(written) = self.resolve(word)? else {
                self.unknown.push(normal(word));
                continue;
            };
            let takes = match written.flag.kind {
                _ if !written.path.is_empty() => (1, 1),
                Kind::Switch | Kind::Bool | Kind::Help => (0, 0),
                Kind::Optional => (0, 1),
                Kind::List | Kind::Ints => (1, usize::MAX),
                _ => (1, 1),
            };
            let mut given: Vec<String> = Vec::new();
            if let Some(value) = &written.explicit {
                if takes.1 == 0 {
                    return Err(ArgError::Explicit {
                        flag: spelled(written.flag),
                        value: value.clone(),
                    });
                }
                given.push(value.clone());
            } else {
                while given.len() < takes.1 && words.get(at).is_some_and(|word| !is_flag(word)) {
                    given.push(words[at].clone());
                    at += 1;
                }
                if given.len() < takes.0 {
                    let expected = if takes.1 > 1 {
                        "at least one argument"
                    } else {
                        "one argument"
                    };
                    return Err(ArgError::Missing {
                        flag: spelled(written.flag),
                        expected,
                    });
                }
            }
            self.set(&written, given)?;
        }
        if self.args.help {
            return Ok(self.args);
        }
        if !self.unknown.is_empty() {
            return Err(ArgError::Unrecognized(self.unknown));
        }
        if let Some(model) = self.args.value("model").map(str::to_owned) {
            // The engine reads `--model` as the first word; another one is left over.
            if let Some(word) = self.args.model.replace(model) {
                return Err(ArgError::Unrecognized(vec![word]));
            }
        }
        Ok(self.args)
    }

    fn positional(&mut self, word: &str) {
        if self.args.model.is_none() {
            self.args.model = Some(word.to_owned());
        } else {
            self.unknown.push(word.to_owned());
        }
    }

    fn flags(&self) -> impl Iterator<Item = &'a Flag> + use<'a> {
        flags::all().iter().chain(self.extra)
    }

    fn resolve(&self, word: &str) -> Result<Option<Written<'a>>, ArgError> {
        let word = normal(word);
        let (name, explicit) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        // -O3 is the engine's own short form.
        if let Some(level) = name.strip_prefix("-O")
            && level.len() == 1
            && level.bytes().all(|byte| byte.is_ascii_digit())
            && explicit.is_none()
            && let Some(flag) = flags::find("optimization-level")
        {
            let explicit = Some(level.to_owned());
            return Ok(Some(Written {
                flag,
                negated: false,
                path: Vec::new(),
                explicit,
            }));
        }
        let (name, path) = match name.split_once('.') {
            Some((name, keys)) => (
                name.to_owned(),
                keys.split('.').take(MAX_DEPTH).map(str::to_owned).collect(),
            ),
            None => (name, Vec::new()),
        };
        let mut near: Vec<(String, &'a Flag, bool)> = Vec::new();
        for flag in self.flags() {
            let long = format!("--{}", flag.name);
            let no = format!("--no-{}", flag.name);
            let spellings = std::iter::once((long, false))
                .chain(
                    flag.aliases
                        .iter()
                        .map(|alias| ((*alias).to_owned(), false)),
                )
                .chain((flag.kind == Kind::Bool).then_some((no, true)));
            for (spelling, negated) in spellings {
                if spelling == name {
                    return Ok(Some(Written {
                        flag,
                        negated,
                        path,
                        explicit,
                    }));
                }
                if name.len() > 1 && name != "--" && spelling.starts_with(&name) {
                    near.push((spelling, flag, negated));
                }
            }
        }
        // A one-letter flag may carry its value: -n2.
        if near.is_empty() && name.is_char_boundary(2) && !name.starts_with("--") && name.len() > 2
        {
            let (short, value) = name.split_at(2);
            for flag in self.flags() {
                if flag.aliases.contains(&short) {
                    let explicit = Some(value.to_owned());
                    return Ok(Some(Written {
                        flag,
                        negated: false,
                        path,
                        explicit,
                    }));
                }
            }
        }
        match near.as_slice() {
            [] => Ok(None),
            [(_, flag, negated)] => Ok(Some(Written {
                flag,
                negated: *negated,
                path,
                explicit,
            })),
            _ => Err(ArgError::Ambiguous {
                given: word,
                matches: near.into_iter().map(|(spelling, ..)| spelling).collect(),
            }),
        }
    }

    fn set(&mut self, written: &Written<'a>, given: Vec<String>) -> Result<(), ArgError> {
        let flag = written.flag;
        if written.path.is_empty() {
            given.iter().try_for_each(|value| check(flag, value))?;
        }
        let name = flag.name;
        if !written.path.is_empty() {
            let value = given.into_iter().next().unwrap_or_default();
            let slot = self
                .args
                .settings
                .entry(name)
                .or_insert_with(|| Setting::Json(Value::Null));
            if !matches!(slot, Setting::Json(_)) {
                *slot = Setting::Json(Value::Null);
            }
            if let Setting::Json(root) = slot {
                insert(root, &written.path, &value);
            }
            return Ok(());
        }
        let setting = match flag.kind {
            Kind::Help => {
                self.args.help = true;
                return Ok(());
            }
            Kind::Switch => Setting::Bool(true),
            Kind::Bool => Setting::Bool(!written.negated),
            Kind::Json | Kind::JsonOrText => {
                let text = given.into_iter().next().unwrap_or_default();
                Setting::Json(serde_json::from_str(&text).unwrap_or(Value::String(text)))
            }
            Kind::Append => {
                if let Some(Setting::Words(words)) = self.args.settings.get_mut(name) {
                    words.extend(given);
                    return Ok(());
                }
                Setting::Words(given)
            }
            _ => Setting::Words(given),
        };
        self.args.settings.insert(name, setting);
        Ok(())
    }
}

/// Whether the parser takes `word` for a flag: it begins with a dash, is no number and has no blank.
fn is_flag(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-') else {
        return false;
    };
    if rest.is_empty() || word.parse::<f64>().is_ok() {
        return false;
    }
    // A word with a blank is a value, unless the blank is in the value of a flag.
    let name = word.split('=').next().unwrap_or(word);
    !name.contains(' ')
}

/// `word` with `_` of a flag's name as `-`. Keys of a dotted name stay as they are.
fn normal(word: &str) -> String {
    if !word.starts_with("--") {
        return word.to_owned();
    }
    let end = word.find(['=', '.']).unwrap_or(word.len());
    format!("{}{}", word[..end].replace('_', "-"), &word[end..])
}

fn spelled(flag: &Flag) -> String {
    let mut spelling = format!("--{}", flag.name);
    if flag.kind == Kind::Bool {
        spelling.push_str("/--no-");
        spelling.push_str(flag.name);
    }
    // The engine's own short form is no spelling of its parser.
    for alias in flag.aliases.iter().filter(|alias| **alias != "-O") {
        spelling.push('/');
        spelling.push_str(alias);
    }
    spelling
}

/// Puts `text` under `path` of `root`. A last key that ends in `+` extends a list.
fn insert(root: &mut Value, path: &[String], text: &str) {
    let mut at = root;
    for (index, key) in path.iter().enumerate() {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        let last = index + 1 == path.len();
        match key.strip_suffix('+') {
            Some(key) if last => {
                let slot = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = slot {
                    items.extend(text.split(',').map(scalar));
                }
                return;
            }
            _ if last => {
                map.insert(key.clone(), scalar(text));
                return;
            }
            _ => {
                at = map
                    .entry(key.as_str())
                    .or_insert_with(|| Value::Object(Map::new()))
            }
        }
    }
}

fn scalar(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests;
