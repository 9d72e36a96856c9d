//! The command line, of every generation: kebab-case or camelCase, one dash or two, flags that newer ones dropped.
//!
//! What is no flag is passed over: presets render an empty word for a flag that is off.

use std::collections::BTreeMap;
use std::time::Duration;

mod table;
mod units;

use table::{FLAGS, Flag, Kind};
pub use units::{duration, quantity};

/// Why the command line cannot be used. The status is the one that the process ends with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// Exit status: 2 for words that cannot be read, 1 for what they say.
    pub status: u8,
}

/// What endpoints there are to pick from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Those of an InferencePool.
    Named(String),
    /// Pods that a selector matches, at these ports.
    Selected {
        /// A label selector as Kubernetes writes it.
        selector: String,
        /// Ports of each pod.
        ports: Vec<u16>,
    },
}

/// The configuration's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The built-in one.
    BuiltIn,
    /// Of a file.
    File(String),
    /// Given in words.
    Text(String),
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    values: BTreeMap<&'static str, String>,
    /// What to tell about flags that are old.
    pub warnings: Vec<String>,
    /// `--help` was asked for.
    pub help: bool,
}

impl Options {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// When a flag is unknown or its value cannot be read.
    pub fn parse(words: &[String]) -> Result<Self, Error> {
        let mut options = Self {
            values: BTreeMap::new(),
            warnings: Vec::new(),
            help: false,
        };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let Some(given) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            if given.is_empty() {
                continue;
            }
            let (name, value) = match given.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (given, None),
            };
            if name == "help" || name == "h" {
                options.help = true;
                continue;
            }
            let flag = find(name).ok_or_else(|| usage(format!("unknown flag: {word}")))?;
            let value = match (value, flag.kind) {
                (Some(value), _) => value,
                (None, Kind::Bool) => "true".to_owned(),
                (None, _) => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| usage(format!("flag needs an argument: {word}")))?,
            };
            flag.check(&value)?;
            if name != flag.name && name != "v" {
                options
                    .warnings
                    .push(format!("flag {name} is an old spelling of --{}", flag.name));
            }
            if let Some(why) = flag.old {
                options.warnings.push(format!("--{} {why}", flag.name));
            }
            options.set(flag, value);
        }
        Ok(options)
    }

    fn set(&mut self, flag: &Flag, value: String) {
        match self.values.get_mut(flag.name) {
            // Slices append, everything else: the last wins.
            Some(old) if matches!(flag.kind, Kind::Ints | Kind::Strings) => {
                old.push(',');
                old.push_str(&value);
            }
            _ => {
                self.values.insert(flag.name, value);
            }
        }
    }

    /// The words of a flag, when it was given.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of a flag, or its default.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or_else(|| default_of(name))
    }

    /// The value of a switch.
    #[must_use]
    pub fn on(&self, name: &str) -> bool {
        boolean(self.text(name)).unwrap_or(false)
    }

    /// The value of a port.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        self.text(name).parse().unwrap_or(0)
    }

    /// The value of a duration.
    #[must_use]
    pub fn duration(&self, name: &str) -> Duration {
        duration(self.text(name)).unwrap_or_default()
    }

    /// The words of a list.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.text(name)
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect()
    }

    /// Largest gRPC message of a flag, `None` for the default.
    ///
    /// # Errors
    /// When it is no quantity.
    pub fn message_size(&self, name: &str) -> Result<Option<usize>, Error> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = quantity(text).map_err(|why| {
            invalid(format!(
                "--{name} {text:?}: {why}; write a size such as 16Mi"
            ))
        })?;
        Ok((bytes > 0).then_some(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }

    /// How much is logged: the number of `-v`, or what `--zap-log-level` says.
    #[must_use]
    pub fn verbosity(&self) -> i32 {
        match self.text("zap-log-level") {
            "" => {}
            "error" => return 0,
            "info" | "warn" => return 2,
            "debug" => return 4,
            "trace" => return 5,
            number => {
                if let Ok(level) = number.parse() {
                    return level;
                }
            }
        }
        match self.text("v").parse() {
            Ok(level) if level >= 0 => level,
            _ => 2,
        }
    }

    /// Where the configuration comes from.
    ///
    /// # Errors
    /// When two places are named.
    pub fn config(&self) -> Result<ConfigSource, Error> {
        match (self.text("config-file"), self.text("config-text")) {
            ("", "") => Ok(ConfigSource::BuiltIn),
            (file, "") => Ok(ConfigSource::File(file.to_owned())),
            ("", text) => Ok(ConfigSource::Text(text.to_owned())),
            _ => Err(invalid(
                "both the \"config-file\" and \"config-text\" flags cannot be set at the same time; keep one".to_owned(),
            )),
        }
    }

    /// What endpoints there are to pick from. `fallback` is the pool's name of the environment.
    ///
    /// # Errors
    /// When both or neither of pool and selector are named, or a selector has no ports.
    pub fn pool(&self, fallback: Option<&str>) -> Result<Pool, Error> {
        let selector = self.text("endpoint-selector");
        let name = match self.text("pool-name") {
            "" if selector.is_empty() => fallback.unwrap_or(""),
            name => name,
        };
        match (name, selector) {
            ("", "") => Err(invalid(
                "either --pool-name or --endpoint-selector must be set".to_owned(),
            )),
            (name, "") => Ok(Pool::Named(name.to_owned())),
            ("", selector) => {
                let mut ports: Vec<u16> = Vec::new();
                for item in self.list("endpoint-target-ports") {
                    let port = item.parse().map_err(|_| {
                        invalid(format!("--endpoint-target-ports {item:?}: not a port"))
                    })?;
                    if !ports.contains(&port) {
                        ports.push(port);
                    }
                }
                if ports.is_empty() || ports.len() > 8 {
                    return Err(invalid(
                        "--endpoint-selector needs one to eight --endpoint-target-ports".to_owned(),
                    ));
                }
                Ok(Pool::Selected {
                    selector: selector.to_owned(),
                    ports,
                })
            }
            _ => Err(invalid(
                "--pool-name and --endpoint-selector cannot be set at the same time; keep one"
                    .to_owned(),
            )),
        }
    }

    /// Checks what flags say together.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn check(&self) -> Result<(), Error> {
        self.config()?;
        for name in ["grpc-max-recv-msg-size", "grpc-max-send-msg-size"] {
            self.message_size(name)?;
        }
        let (ca, dir) = (
            self.text("metrics-client-ca-file"),
            self.text("metrics-cert-dir"),
        );
        if !ca.is_empty() && dir.is_empty() {
            return Err(invalid(
                "--metrics-client-ca-file needs --metrics-cert-dir".to_owned(),
            ));
        }
        if !dir.is_empty() && ca.is_empty() && !self.on("metrics-endpoint-auth") {
            return Err(invalid(
                "--metrics-cert-dir without --metrics-client-ca-file needs --metrics-endpoint-auth"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The list of flags, as `--help` prints it.
    #[must_use]
    pub fn help_text() -> String {
        let mut text = "Usage of epp:\n".to_owned();
        for flag in FLAGS.iter().filter(|flag| flag.old.is_none()) {
            let kind = flag.kind.name();
            let default = match flag.default {
                "" => String::new(),
                value => format!(" (default {value})"),
            };
            text += &format!(
                "      --{} {kind}\n    \t{}{default}\n",
                flag.name, flag.help
            );
        }
        text
    }
}

fn usage(message: String) -> Error {
    Error { message, status: 2 }
}

fn invalid(message: String) -> Error {
    Error { message, status: 1 }
}

fn find(name: &str) -> Option<&'static Flag> {
    let kebab = kebab(name);
    FLAGS.iter().find(|flag| flag.name == kebab)
}

fn default_of(name: &str) -> &'static str {
    find(name).map_or("", |flag| flag.default)
}

/// camelCase as kebab-case.
fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// A boolean as Go reads one.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
