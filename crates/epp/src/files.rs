//! Endpoints of a file: read once, or followed.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_scheduler::Labels;

use crate::pool::{Described, Endpoints};

/// Largest file.
pub const MAX_FILE: u64 = 1 << 20;

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long it must be quiet before it is read: a writer that truncates first would empty the pool for a moment.
const QUIET: Duration = Duration::from_millis(100);

/// Why a file is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the endpoints file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is too large.
    #[error("the endpoints file {path:?} is larger than {MAX_FILE} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no YAML or JSON, or no list of endpoints.
    #[error("endpoints file: {0}")]
    Text(String),
    /// Entries are wrong.
    #[error("endpoints file: {}", .0.join("; "))]
    Entries(Vec<String>),
}

/// What a file says: the entries that are right, and what is wrong with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The right ones.
    pub endpoints: Vec<Described>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Reads a text.
///
/// # Errors
/// When it is no list of endpoints at all.
pub fn parse(text: &str, name: &str) -> Result<Listed, Error> {
    let documents = weir_manifest::parse(text, name).map_err(|error| {
        Error::Text(format!(
            "{}:{}:{}: {}",
            error.source_name, error.position.line, error.position.column, error.what
        ))
    })?;
    let mut listed = Listed::default();
    let Some(document) = documents.first() else {
        return Ok(listed);
    };
    let entries = match document.value.get("endpoints") {
        None | Some(Value::Null) if document.value.is_object() || document.value.is_null() => {
            return Ok(listed);
        }
        Some(Value::Array(entries)) => entries,
        _ => {
            return Err(Error::Text(format!(
                "{name}: write a list under `endpoints:`"
            )));
        }
    };
    for (index, item) in entries.iter().enumerate() {
        match entry(item) {
            Ok(endpoint) => listed.endpoints.push(endpoint),
            Err(why) => listed.problems.push(format!("endpoints[{index}]: {why}")),
        }
    }
    Ok(listed)
}

fn entry(item: &Value) -> Result<Described, String> {
    let text = |name: &str| match item.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(format!("{name} must be a string, not {other}; quote it")),
    };
    let namespace = match text("namespace")? {
        "" => "default",
        namespace => namespace,
    };
    let address: IpAddr = text("address")?
        .parse()
        .map_err(|_| format!("address {} is no IP address", item["address"]))?;
    let port: u16 = text("port")?
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("port {} must be a string of 1 to 65535", item["port"]))?;
    let labels = match item.get("labels") {
        None | Some(Value::Null) => Labels::default(),
        Some(Value::Object(labels)) => {
            let mut pairs = Vec::new();
            for (key, value) in labels {
                let value = value.as_str().ok_or_else(|| {
                    format!("label {key} must be a string, not {value}; quote it")
                })?;
                pairs.push((key.as_str(), value));
            }
            Labels::from_iter(pairs)
        }
        Some(other) => return Err(format!("labels must be a mapping, not {other}")),
    };
    Ok(Described {
        namespace: namespace.to_owned(),
        name: text("name")?.to_owned(),
        rank: None,
        address: SocketAddr::new(address, port),
        node: None,
        labels,
    })
}

fn read(path: &Path) -> Result<Listed, Error> {
    let in_file = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(in_file)?.len() > MAX_FILE {
        return Err(Error::TooLarge {
            path: path.to_owned(),
        });
    }
    let text = std::fs::read_to_string(path).map_err(in_file)?;
    parse(&text, &path.display().to_string())
}

/// Loads a file for the first time: everything must be right.
///
/// # Errors
/// When the file or one entry is not.
pub fn load(path: &Path, endpoints: &Endpoints) -> Result<(), Error> {
    let listed = read(path)?;
    if !listed.problems.is_empty() {
        return Err(Error::Entries(listed.problems));
    }
    endpoints.replace(listed.endpoints);
    Ok(())
}

/// Reads the file again whenever it changed and then was quiet, until `stop`. A file that cannot be read changes
/// nothing; of one with wrong entries the others are taken.
pub async fn follow(path: PathBuf, endpoints: Arc<Endpoints>, stop: CancellationToken) {
    let mut used = stamp(&path);
    let mut seen = used;
    let mut quiet = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = stamp(&path);
        if now != seen {
            seen = now;
            quiet = Duration::ZERO;
            continue;
        }
        quiet += LOOK;
        if now == used || quiet < QUIET {
            continue;
        }
        used = now;
        match read(&path) {
            Ok(listed) => {
                for problem in &listed.problems {
                    tracing::error!(problem, "Entry of the endpoints file left out");
                }
                tracing::info!(
                    endpoints = listed.endpoints.len(),
                    "Endpoints file read again"
                );
                endpoints.replace(listed.endpoints);
            }
            Err(error) => tracing::error!(
                error = weir_runtime::errors::chain(&error),
                "Endpoints file not usable, the old list stays"
            ),
        }
    }
}

/// What tells one state of a file from another; a replaced file has another inode.
fn stamp(path: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_strictly() {
        let text = "endpoints:\n- {name: a, address: 10.0.0.1, port: \"8000\", labels: {r: x}, other: 1}\n- {name: b, namespace: ns, address: \"::1\", port: '1'}\n- {address: host, port: \"1\"}\n- {address: 10.0.0.1, port: 8000}\n- {address: 10.0.0.1, port: \"0\"}\n- {address: 10.0.0.1, port: \"1\", labels: {r: 1}}\n";
        let listed = parse(text, "f").unwrap();
        let ids: Vec<_> = listed
            .endpoints
            .iter()
            .map(|one| format!("{}/{} {}", one.namespace, one.name, one.address))
            .collect();
        assert_eq!(ids, ["default/a 10.0.0.1:8000", "ns/b [::1]:1"]);
        assert_eq!(
            listed.problems,
            [
                "endpoints[2]: address \"host\" is no IP address",
                "endpoints[3]: port must be a string, not 8000; quote it",
                "endpoints[4]: port \"0\" must be a string of 1 to 65535",
                "endpoints[5]: label r must be a string, not 1; quote it",
            ]
        );
        assert_eq!(parse("", "f").unwrap(), Listed::default());
        assert!(parse("endpoints: 5", "f").is_err());
        assert!(parse("[", "f").is_err());
    }
}
