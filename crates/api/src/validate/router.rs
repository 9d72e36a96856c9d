//! Routes, gateways and the endpoint picker.

use serde_json::Value;

use super::Verdict;

pub(super) fn check(spec: &Value, is_old_version: bool, verdict: &mut Verdict) {
    let router = &spec["router"];
    http(router, is_old_version, verdict);
    group(router, verdict);
    scheduler(&router["scheduler"], verdict);
}

fn has_items(list: &Value) -> bool {
    list.as_array().is_some_and(|items| !items.is_empty())
}

fn http(router: &Value, is_old_version: bool, verdict: &mut Verdict) {
    let http = &router["route"]["http"];
    if !http.is_object() {
        return;
    }
    let at = "spec.router.route.http";
    let gateway_refs = &router["gateway"]["refs"];
    if has_items(&http["refs"]) && http["spec"].is_object() {
        verdict.invalid(at, "unsupported configuration: refs and spec are mutually exclusive; take one of them away");
    }
    if has_items(&http["refs"]) && router["gateway"].is_object() && !has_items(gateway_refs) {
        verdict.invalid(
            format!("{at}.refs"),
            "cannot be used with a managed gateway; take `gateway` away or name its refs",
        );
    }
    if has_items(&http["spec"]["parentRefs"]) && has_items(gateway_refs) {
        let same = identities(&http["spec"]["parentRefs"]) == identities(gateway_refs);
        if is_old_version {
            verdict.invalid(
                format!("{at}.spec"),
                "parentRefs cannot be used with custom gateway refs; take one of them away",
            );
        } else if same {
            verdict.warn(
                format!("{at}.spec"),
                "parentRefs is redundant: gateway.refs names the same gateways",
            );
        } else {
            verdict.invalid(
                format!("{at}.spec"),
                "parentRefs and gateway.refs conflict: they name different gateways; take one of them away",
            );
        }
    }
}

/// Namespace, name and listener of every reference, sorted.
fn identities(references: &Value) -> Vec<[&str; 3]> {
    let mut all: Vec<[&str; 3]> = references
        .as_array()
        .into_iter()
        .flatten()
        .map(|reference| {
            ["namespace", "name", "sectionName"]
                .map(|field| reference[field].as_str().unwrap_or_default())
        })
        .collect();
    all.sort_unstable();
    all
}

fn group(router: &Value, verdict: &mut Verdict) {
    let route = &router["route"];
    let (group, weight) = (!route["group"].is_null(), !route["weight"].is_null());
    if !group && !weight {
        return;
    }
    let at = "spec.router.route";
    if router["ingress"].is_object() {
        verdict.invalid(
            format!("{at}.group"),
            "group and weight cannot be used with router.ingress",
        );
    } else if !group {
        verdict.required(format!("{at}.group"), "must be set when weight is set");
    } else if !weight {
        verdict.required(format!("{at}.weight"), "must be set when group is set");
    } else if has_items(&route["http"]["refs"]) {
        verdict.invalid(
            format!("{at}.group"),
            "group and weight cannot be used with http.refs: those routes are yours",
        );
    }
}

fn scheduler(scheduler: &Value, verdict: &mut Verdict) {
    let at = "spec.router.scheduler";
    if scheduler["replicas"]
        .as_i64()
        .is_some_and(|replicas| replicas <= 0)
    {
        verdict.invalid(
            format!("{at}.replicas"),
            "scheduler replicas must be greater than zero",
        );
    }
    let config = &scheduler["config"];
    if !config.is_object() {
        return;
    }
    match (config["inline"].is_null(), config["ref"].is_null()) {
        (true, true) => verdict.invalid(format!("{at}.config"), "either inline or ref is required"),
        (false, false) => verdict.invalid(
            format!("{at}.config"),
            "both inline and ref are set; take one of them away",
        ),
        (false, true) => {
            if config["inline"].to_string().len() < 3 {
                verdict.invalid(
                    format!("{at}.config.inline"),
                    "inline configuration is invalid: it is empty",
                );
            }
        }
        (true, false) => {
            if config["ref"]["name"].as_str().is_none_or(str::is_empty) {
                verdict.invalid(format!("{at}.config.ref.name"), "name is empty");
            }
        }
    }
}
