//! Settings as YAML, inline or in a file. Read strictly: an unknown or repeated key is an error, and so is a value of
//! another kind than its flag has. Empty and zero scalars mean "not set".

use serde_json::{Map, Value};

use crate::duration;
use crate::flags::{FLAGS, Given, Kind};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text and file were both given.
    #[error("flags --configuration and --configuration-file are mutually exclusive")]
    Both,
    /// The file cannot be read.
    #[error("failed to read sidecar configuration from file {path:?}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The text is no YAML.
    #[error("failed to read sidecar configuration")]
    Text(#[from] weir_manifest::Error),
    /// It is not a mapping.
    #[error("the sidecar configuration must be one mapping of settings")]
    Shape,
    /// There is no such setting.
    #[error("the sidecar configuration has no setting {0:?}")]
    Unknown(String),
    /// A value is of another kind.
    #[error("the setting {name:?} of the sidecar configuration must be {wanted}, got {got}")]
    Kind {
        /// The setting.
        name: String,
        /// What it takes.
        wanted: &'static str,
        /// What it is.
        got: Value,
    },
}

/// Flags that are not settings, beside those for MoRI-IO, the log and of old.
const FLAGS_ONLY: [&str; 3] = [
    "configuration",
    "configuration-file",
    "trust-client-kv-params",
];

/// Flags whose value is a port: whole numbers here.
const PORTS: [&str; 3] = ["port", "model-server-port", "vllm-port"];

/// Settings that were checked by kind.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: Map<String, Value>,
    /// The pause between attempts of a prefill, in nanoseconds.
    pub backoff: Option<i64>,
}

impl Settings {
    /// Reads the settings that the flags name; a pause that is no duration goes to `notes` and is ignored.
    ///
    /// # Errors
    /// When both ways are used, the file cannot be read or its text not be used.
    pub fn load(
        given: &Given,
        read: impl FnOnce(&str) -> std::io::Result<String>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let named = |flag| given.text(flag).filter(|text: &&str| !text.is_empty());
        let text = match (named("configuration"), named("configuration-file")) {
            (Some(_), Some(_)) => return Err(Error::Both),
            (Some(text), None) => text.to_owned(),
            (None, Some(path)) => read(path).map_err(|source| Error::File {
                path: path.to_owned(),
                source,
            })?,
            (None, None) => return Ok(Self::default()),
        };
        let documents = weir_manifest::parse(&text, "configuration")?;
        let values = match documents.as_slice() {
            [] => Map::new(),
            [one] => one.value.as_object().cloned().ok_or(Error::Shape)?,
            _ => return Err(Error::Shape),
        };
        let mut settings = Self::default();
        for (name, value) in values {
            check(&name, &value)?;
            if name != "prefill-retry-backoff" {
                settings.values.insert(name, value);
                continue;
            }
            let Some(text) = value.as_str().filter(|text| !text.is_empty()) else {
                continue;
            };
            match duration::parse(text) {
                Ok(nanoseconds) => settings.backoff = Some(nanoseconds),
                Err(why) => notes.push(format!(
                    "WARNING: ignoring invalid prefill-retry-backoff value {text:?}: {why}; using default 200ms"
                )),
            }
        }
        Ok(settings)
    }

    /// Returns a text that is set.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)?
            .as_str()
            .filter(|text| !text.is_empty())
    }

    /// Returns a number that is set.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.values
            .get(name)?
            .as_i64()
            .filter(|number| *number != 0)
    }

    /// Returns a boolean that is set.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.values.get(name)?.as_bool()
    }

    /// Returns a list that is set.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let list = self.values.get(name)?.as_array()?;
        let words = list.iter().filter_map(Value::as_str).map(str::to_owned);
        Some(words.collect::<Vec<_>>()).filter(|words| !words.is_empty())
    }
}

fn check(name: &str, value: &Value) -> Result<(), Error> {
    let known = FLAGS.iter().find(|flag| {
        flag.name == name
            && (flag.instead.is_none() || name == "vllm-port")
            && !FLAGS_ONLY.contains(&name)
            && !name.starts_with("moriio-")
            && !name.starts_with("zap-")
    });
    let flag = known.ok_or_else(|| Error::Unknown(name.to_owned()))?;
    if value.is_null() {
        return Ok(());
    }
    let (fits, wanted) = if PORTS.contains(&name) {
        (value.is_i64() || value.is_u64(), "a whole number")
    } else {
        match flag.kind {
            Kind::Number => (value.is_i64() || value.is_u64(), "a whole number"),
            Kind::Switch => (value.is_boolean(), "true or false"),
            Kind::List => (
                value
                    .as_array()
                    .is_some_and(|list| list.iter().all(Value::is_string)),
                "a list of words",
            ),
            Kind::Text | Kind::Word(_) | Kind::Duration => (value.is_string(), "a text"),
        }
    };
    if fits {
        Ok(())
    } else {
        Err(Error::Kind {
            name: name.to_owned(),
            wanted,
            got: value.clone(),
        })
    }
}
