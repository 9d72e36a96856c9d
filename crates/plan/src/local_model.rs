//! Which services take their model from the nodes' cache: admission marks them, and planning reads the marks.

use serde_json::{Map, Value, json};
use weir_api::names::{annotation, label};

use crate::{ServiceIdentity, items, text};

/// The merge patch of a service's `metadata` that marks it as cached, or takes old marks away; `None` when the
/// marks are right already.
///
/// `caches` are the caches of the service's namespace before those of the cluster, each in the order in which they
/// are listed; `None` when caching is switched off. The first that holds the model at `uri` is taken.
#[must_use]
pub fn cache_marks(
    service: &ServiceIdentity,
    uri: &str,
    caches: Option<&[Value]>,
) -> Option<Value> {
    let disabled = service
        .annotations
        .contains_key(annotation::DISABLE_LOCAL_MODEL);
    let caches = caches.filter(|_| !disabled);
    if caches.is_some() && uri.is_empty() {
        return None;
    }
    let group = service.annotations.get(annotation::NODE_GROUP);
    let found = caches.unwrap_or_default().iter().find_map(|cache| {
        let source = text(cache, "/spec/sourceModelUri");
        if !holds(source, uri) {
            return None;
        }
        let mut groups = items(cache, "/spec/nodeGroups")
            .iter()
            .filter_map(Value::as_str);
        let group = match group {
            Some(wanted) => groups.find(|group| group == wanted)?,
            None => groups.next()?,
        };
        let name = text(cache, "/metadata/name");
        Some(Marks {
            name,
            namespace: Some(text(cache, "/metadata/namespace")).filter(|it| !it.is_empty()),
            source,
            claim: format!("{name}-{group}"),
        })
    });
    let found = found.as_ref();
    let labels = [
        (label::LOCAL_MODEL, found.map(|marks| marks.name)),
        (
            label::LOCAL_MODEL_NAMESPACE,
            found.and_then(|marks| marks.namespace),
        ),
    ];
    let annotations = [
        (
            annotation::LOCAL_MODEL_SOURCE,
            found.map(|marks| marks.source),
        ),
        (
            annotation::LOCAL_MODEL_PVC,
            found.map(|marks| marks.claim.as_str()),
        ),
    ];
    let mut patch = Map::new();
    for (field, wanted, known) in [
        ("labels", labels, &service.labels),
        ("annotations", annotations, &service.annotations),
    ] {
        let changed: Map<String, Value> = wanted
            .into_iter()
            .filter(|(key, value)| known.get(*key).map(String::as_str) != *value)
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .collect();
        if !changed.is_empty() {
            patch.insert(field.to_owned(), Value::Object(changed));
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Whether the marks of a service are of the model at `uri`, or there are none.
#[must_use]
pub fn cache_marks_fit(service: &ServiceIdentity, uri: &str) -> bool {
    let source = service.annotations.get(annotation::LOCAL_MODEL_SOURCE);
    source.is_none_or(|source| holds(source, uri))
}

/// What a cache says of a service.
struct Marks<'a> {
    name: &'a str,
    namespace: Option<&'a str>,
    source: &'a str,
    claim: String,
}

/// Whether a cache of `source` has the model at `uri`, which may be a part of it.
fn holds(source: &str, uri: &str) -> bool {
    let trim = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    let (source, uri) = (trim(source), trim(uri));
    !source.is_empty()
        && uri
            .strip_prefix(&source)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
