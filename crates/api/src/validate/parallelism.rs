//! Parallelism of one workload, and that its group size stays.

use serde_json::Value;

use super::{Broken, Verdict};

pub(super) fn check(workload: &Value, path: &str, inherits: bool, verdict: &mut Verdict) {
    let parallelism = &workload["parallelism"];
    let number = |field: &str| parallelism[field].as_i64();
    let (data, local, pipeline) = (number("data"), number("dataLocal"), number("pipeline"));
    let is_data = data.is_some_and(|n| n > 0) || local.is_some_and(|n| n > 0);
    let is_pipeline = pipeline.is_some_and(|n| n > 0);

    if workload["worker"].is_object() && !inherits {
        if !parallelism.is_object() {
            verdict.invalid(
                format!("{path}.worker"),
                "a worker needs parallelism: set data and dataLocal, or pipeline",
            );
            return;
        }
        if !is_data && !is_pipeline {
            verdict.invalid(
                format!("{path}.worker"),
                "a worker needs data or pipeline parallelism: set data and dataLocal, or pipeline",
            );
        }
    }
    if !parallelism.is_object() {
        return;
    }
    if is_data && is_pipeline {
        verdict.invalid(
            format!("{path}.parallelism"),
            "pipeline and data parallelism are mutually exclusive; take one of them away",
        );
    }
    if !inherits {
        for (set, missing, name, has) in [
            (data, local, "dataLocal", "data"),
            (local, data, "data", "dataLocal"),
        ] {
            if set.is_some() && missing.is_none() {
                verdict.invalid(
                    format!("{path}.parallelism.{name}"),
                    format!("must be set when {has} is set"),
                );
            }
        }
    }
    for (field, value) in [("pipeline", pipeline), ("data", data), ("dataLocal", local)] {
        if value.is_some_and(|n| n <= 0) {
            verdict.invalid(
                format!("{path}.parallelism.{field}"),
                "must be greater than zero",
            );
        }
    }
    if let (Some(data @ 1..), Some(local @ 1..)) = (data, local)
        && data % local != 0
        && data > local
    {
        verdict.invalid(
            format!("{path}.parallelism.data"),
            format!(
                "{data} is no multiple of dataLocal ({local}): {} ranks would never start",
                data % local
            ),
        );
    }
    match &parallelism["expert"] {
        Value::Null | Value::Bool(_) => {}
        Value::Number(size) if size.is_i64() || size.is_u64() => {
            let tensor = number("tensor").unwrap_or(1).max(1);
            if data.is_none() && size.as_i64().is_some_and(|size| size > tensor) {
                verdict.invalid(
                    format!("{path}.parallelism.expert"),
                    format!("{size} is above tensor ({tensor}) and data is unset: there are no accelerators for it"),
                );
            }
        }
        _ => verdict.invalid(
            format!("{path}.parallelism.expert"),
            "must be true, false or an integer",
        ),
    }
}

pub(super) fn check_change(old: &Value, new: &Value, verdict: &mut Verdict) {
    let pairs = [
        ("spec", Some(old), Some(new)),
        ("spec.prefill", old.get("prefill"), new.get("prefill")),
    ];
    for (path, old, new) in pairs {
        if let (Some(old), Some(new)) = (old, new) {
            let (before, after) = (group_size(old), group_size(new));
            if before != after {
                verdict.push(
                    Broken::NotSupported,
                    format!("{path}.parallelism"),
                    format!("the group size cannot change from {before} to {after}; create a new service"),
                );
            }
        }
    }
}

/// Pods in a group, 1 when nothing decides it.
fn group_size(workload: &Value) -> i64 {
    let number = |field: &str| workload["parallelism"][field].as_i64().filter(|n| *n > 0);
    match (number("data"), number("dataLocal")) {
        (None, None) => number("pipeline").unwrap_or(1),
        (data, local) => (data.unwrap_or(1) / local.unwrap_or(1)).max(1),
    }
}
