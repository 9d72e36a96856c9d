//! Which of the two groups the backends of a managed route name while gateways learn the newer one.
//!
//! A gateway that resolves the older group is never moved; one that says it does not know it is, once, for good.

use serde_json::Value;
use weir_api::names::{annotation, kind};

use super::parents::matching_entries;
use crate::{Facts, items};

const RESOLVED_REFS: &str = "ResolvedRefs";
const INVALID_KIND: &str = "InvalidKind";
/// Value of the annotation on a route that has moved.
pub(super) const SETTLED: &str = "v1";

/// The group to write.
pub(super) struct Pool {
    pub(super) group: &'static str,
    /// Whether the route carries the annotation.
    pub(super) settled: bool,
}

/// Whether a route's gateways understand its backends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Support {
    Unknown,
    Supported,
    Unsupported,
}

/// Decides from the live route.
pub(super) fn choose(live: Option<&Value>, facts: &Facts) -> Pool {
    let new = Pool {
        group: kind::INFERENCE_POOL.group,
        settled: true,
    };
    let old = Pool {
        group: kind::INFERENCE_POOL_ALPHA.group,
        settled: false,
    };
    if !facts.router.serves(kind::INFERENCE_POOL_ALPHA) {
        return new;
    }
    if !facts.router.serves(kind::INFERENCE_POOL) {
        return old;
    }
    let Some(live) = live else { return old };
    let annotations = live.pointer("/metadata/annotations");
    let marked = annotations.and_then(|all| all.get(annotation::POOL_MIGRATED));
    if marked.is_some_and(|value| value == SETTLED) {
        return new;
    }
    let uses = |group: &str| {
        let rules = items(live, "/spec/rules").iter();
        rules
            .flat_map(|rule| items(rule, "/backendRefs"))
            .any(|backend| {
                backend["kind"] == kind::INFERENCE_POOL.kind && backend["group"] == group
            })
    };
    let support = support(live);
    if uses(new.group) && support == Support::Supported
        || uses(old.group) && support == Support::Unsupported
    {
        new
    } else {
        old
    }
}

fn support(route: &Value) -> Support {
    let mut found = Support::Unknown;
    for entry in matching_entries(route) {
        let resolved = items(entry, "/conditions")
            .iter()
            .find(|one| one["type"] == RESOLVED_REFS);
        let Some(resolved) = resolved else { continue };
        if resolved["status"] == "False" && resolved["reason"] == INVALID_KIND {
            found = Support::Unsupported;
        } else {
            return Support::Supported;
        }
    }
    found
}
