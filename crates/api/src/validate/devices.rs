//! The annotations of managed device claims (DRA).

use serde_json::Value;

use super::Verdict;
use crate::names::annotation::DRA_PREFIX;

pub(super) fn check(object: &Value, verdict: &mut Verdict) {
    let annotations = &object["metadata"]["annotations"];
    let given = |name: &str| annotations[format!("{DRA_PREFIX}{name}")].as_str();
    let at = |name: &str| format!("metadata.annotations[{DRA_PREFIX}{name}]");
    let others = ["device-count", "cel-selector", "container-name"];
    match given("device-class")
        .map(str::trim)
        .filter(|class| !class.is_empty())
    {
        None if others.iter().any(|name| given(name).is_some()) => {
            verdict.required(
                at("device-class"),
                "the device class must be set when another annotation of it is",
            );
        }
        Some(class) if !class.split('.').all(is_label) || class.len() > 253 => {
            verdict.invalid(
                at("device-class"),
                format!("{class:?} is no DNS name such as gpu.nvidia.com"),
            );
        }
        _ => {}
    }
    if let Some(count) = given("device-count")
        .map(str::trim)
        .filter(|count| !count.is_empty())
        && count.parse::<i32>().map_or(true, |count| count < 1)
    {
        verdict.invalid(
            at("device-count"),
            format!("{count:?} must be a whole number of at least 1"),
        );
    }
    if given("cel-selector").is_some_and(|lines| lines.trim().is_empty()) {
        verdict.invalid(
            at("cel-selector"),
            "needs at least one expression, one on a line",
        );
    }
    if let Some(name) = given("container-name")
        .map(str::trim)
        .filter(|name| !name.is_empty())
        && (!is_label(name) || name.len() > 63)
    {
        verdict.invalid(
            at("container-name"),
            format!("{name:?} is no name of a container"),
        );
    }
}

/// Whether this is one part of a DNS name.
fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}
