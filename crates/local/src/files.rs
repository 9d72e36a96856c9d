//! Manifests in the order in which they are applied: definitions, namespaces, configs, the rest.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use weir_manifest::Document;

/// Largest manifest file that is read, in bytes.
pub const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Why files could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or directory cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The path as given.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is larger than [`MAX_FILE`].
    #[error("{path} is larger than 16 MiB; is it a manifest?")]
    TooLarge {
        /// The path as given.
        path: String,
    },
    /// Paths were given, and no document stands in any of them.
    #[error("no manifest in {0}: nothing to serve")]
    Empty(String),
    /// The text is not YAML or JSON.
    #[error("{0}")]
    Parse(weir_manifest::Error),
}

/// One document with the file that it stands in.
pub struct Source {
    /// The file, as given.
    pub path: String,
    /// The document.
    pub document: Document,
}

/// Reads files, and directories one level deep, and returns the documents in apply order.
///
/// # Errors
/// Every file that cannot be read or parsed.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<Error>> {
    let (documents, mut errors) = read_each(paths);
    if documents.is_empty() && errors.is_empty() && !paths.is_empty() {
        let given: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        errors.push(Error::Empty(given.join(", ")));
    }
    if errors.is_empty() {
        Ok(documents)
    } else {
        Err(errors)
    }
}

/// As [`read`], but what cannot be read keeps nothing else away.
#[must_use]
pub fn read_each(paths: &[PathBuf]) -> (Vec<Source>, Vec<Error>) {
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match expand(path) {
            Ok(files) => {
                for file in files {
                    match read_file(&file) {
                        Ok(found) => documents.extend(found),
                        Err(error) => errors.push(error),
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    // Stable: documents of one rank stay in the order of the files.
    documents.sort_by_key(|source| {
        rank(
            source
                .document
                .value
                .get("kind")
                .and_then(serde_json::Value::as_str)
                .unwrap_or(""),
        )
    });
    (documents, errors)
}

fn rank(kind: &str) -> u8 {
    match kind {
        "CustomResourceDefinition" => 0,
        "Namespace" => 1,
        "ConfigMap" | "Secret" | "ServiceAccount" | "LLMInferenceServiceConfig" => 2,
        _ => 3,
    }
}

/// The file itself, or the manifests of a directory.
pub(crate) fn expand(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Unreadable {
        path: path.display().to_string(),
        source,
    };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let manifest = file
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e));
        if manifest && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<Source>, Error> {
    let name = path.display().to_string();
    let failed = |source| Error::Unreadable {
        path: name.clone(),
        source,
    };
    let mut text = String::new();
    // Read rather than asked: a device or a pipe has no length.
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Error::TooLarge { path: name });
    }
    let documents = weir_manifest::parse(&text, &name).map_err(Error::Parse)?;
    Ok(documents
        .into_iter()
        .map(|document| Source {
            path: name.clone(),
            document,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_in_apply_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("a.yaml"),
            "kind: Deployment\n---\nkind: Namespace\n---\nkind: ConfigMap\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("b.json"),
            r#"{"kind": "CustomResourceDefinition"}"#,
        )
        .unwrap();
        fs::write(dir.path().join("notes.txt"), "not a manifest: [").unwrap();
        let kinds: Vec<_> = read(&[dir.path().to_owned()])
            .unwrap_or_else(|errors| panic!("{errors:?}"))
            .iter()
            .map(|source| source.document.value["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            kinds,
            [
                "CustomResourceDefinition",
                "Namespace",
                "ConfigMap",
                "Deployment"
            ]
        );
    }

    #[test]
    fn files_without_a_document_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, "# only words\n").unwrap();
        let Err(errors) = read(&[file]) else {
            panic!("read nothing")
        };
        assert!(
            errors[0].to_string().starts_with("no manifest in "),
            "{errors:?}"
        );
        assert!(read(&[]).is_ok_and(|documents| documents.is_empty()));
    }

    #[test]
    fn every_unreadable_file_is_named() {
        let Err(errors) = read(&["/nonexistent/a".into(), "/nonexistent/b".into()]) else {
            panic!("read what does not exist")
        };
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[1].to_string(), "cannot read /nonexistent/b");
    }
}
