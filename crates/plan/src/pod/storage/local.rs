//! The local model cache: a model that the nodes already hold is mounted from there.
//!
//! Admission marks a service whose model is cached; the marks are labels and annotations, which workloads and
//! pods carry too.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use weir_api::names::{annotation, label};

use crate::{Error, ServiceIdentity};

/// Hexadecimal digits of the source's hash that name its directory.
const KEY_BYTES: usize = 8;

/// Where the model at `uri` is taken from: the cache if the service is marked and the cache has it.
pub(super) fn resolve<'a>(service: &ServiceIdentity, uri: &'a str) -> Result<Cow<'a, str>, Error> {
    let Some(cache) = service.labels.get(label::LOCAL_MODEL) else {
        return Ok(Cow::Borrowed(uri));
    };
    let mark = |key: &'static str| {
        service
            .annotations
            .get(key)
            .ok_or_else(|| Error::CacheMark {
                cache: cache.clone(),
                missing: key,
            })
    };
    let source = mark(annotation::LOCAL_MODEL_SOURCE)?;
    let claim = mark(annotation::LOCAL_MODEL_PVC)?;
    // Marks of an earlier uri say nothing of this one.
    let Some(rest) = below(uri, source) else {
        return Ok(Cow::Borrowed(uri));
    };
    let key: String = Sha256::digest(source.as_bytes())
        .iter()
        .take(KEY_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Cow::Owned(format!("pvc://{claim}/models/{key}/{rest}")))
}

/// What follows `source` in `uri`, if `uri` is at or below it.
fn below<'a>(uri: &'a str, source: &str) -> Option<&'a str> {
    let rest = uri.strip_prefix(source.trim_end_matches('/'))?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}
