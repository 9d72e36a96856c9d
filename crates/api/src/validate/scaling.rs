//! Autoscaling of one workload, and that both workloads scale alike.

use serde_json::Value;

use super::Verdict;

pub(super) fn check(workload: &Value, path: &str, verdict: &mut Verdict) {
    let scaling = &workload["scaling"];
    if !scaling.is_object() {
        return;
    }
    let at = format!("{path}.scaling");
    if !workload["replicas"].is_null() {
        verdict.invalid(
            at.clone(),
            "scaling and replicas are mutually exclusive; take replicas away",
        );
    }
    match (scaling["wva"].is_object(), scaling["keda"].is_object()) {
        (true, true) => {
            return verdict.invalid(
                at,
                "wva and keda are mutually exclusive; take one of them away",
            );
        }
        (false, false) => return verdict.required(at, "either wva or keda is required"),
        (true, false) => wva(scaling, &at, verdict),
        (false, true) => keda(
            scaling,
            &scaling["keda"],
            &format!("{at}.keda"),
            true,
            verdict,
        ),
    }
    if let (Some(least), Some(most)) = (
        scaling["minReplicas"].as_i64(),
        scaling["maxReplicas"].as_i64(),
    ) && least > most
    {
        verdict.invalid(
            format!("{at}.minReplicas"),
            format!("{least} is above maxReplicas ({most})"),
        );
    }
}

fn wva(scaling: &Value, at: &str, verdict: &mut Verdict) {
    let wva = &scaling["wva"];
    match (wva["hpa"].is_object(), wva["keda"].is_object()) {
        (true, true) => verdict.invalid(format!("{at}.wva"), "hpa and keda are mutually exclusive"),
        (false, false) => verdict.required(format!("{at}.wva"), "either hpa or keda is required"),
        _ => {}
    }
    if let Some(cost) = wva["variantCost"].as_str() {
        let parts: Vec<_> = cost.split('.').collect();
        let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if parts.len() > 2 || !parts.iter().all(digits) {
            verdict.invalid(
                format!("{at}.wva.variantCost"),
                format!("{cost:?} is no decimal number such as 10.0"),
            );
        }
    }
    if wva["keda"].is_object() {
        keda(
            scaling,
            &wva["keda"],
            &format!("{at}.wva.keda"),
            false,
            verdict,
        );
    }
}

fn keda(scaling: &Value, keda: &Value, at: &str, is_direct: bool, verdict: &mut Verdict) {
    let advanced = &keda["advanced"];
    let set = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let modifiers = &advanced["scalingModifiers"];
    if !is_direct
        && ["formula", "target", "activationTarget", "metricType"]
            .iter()
            .any(|f| set(&modifiers[f]))
    {
        verdict.forbidden(
            format!("{at}.advanced.scalingModifiers"),
            "must not be set: WVA decides the metric",
        );
    }
    if set(&advanced["horizontalPodAutoscalerConfig"]["name"]) {
        verdict.forbidden(
            format!("{at}.advanced.horizontalPodAutoscalerConfig.name"),
            "must not be set: the controller names the autoscaler",
        );
    }
    if let Some(idle) = keda["idleReplicaCount"].as_i64() {
        match scaling["minReplicas"].as_i64() {
            None => verdict.required(
                format!(
                    "{}.minReplicas",
                    at.trim_end_matches(".keda").trim_end_matches(".wva")
                ),
                "must be set when idleReplicaCount is set",
            ),
            Some(least) if idle >= least => verdict.invalid(
                format!("{at}.idleReplicaCount"),
                format!("{idle} must be below minReplicas ({least})"),
            ),
            Some(_) => {}
        }
    }
    if is_direct && keda["triggers"].as_array().is_none_or(Vec::is_empty) {
        verdict.required(format!("{at}.triggers"), "at least one trigger is needed");
    }
}

pub(super) fn check_pair(spec: &Value, verdict: &mut Verdict) {
    let (decode, prefill) = (&spec["scaling"], &spec["prefill"]["scaling"]);
    if !decode.is_object() || !prefill.is_object() {
        return;
    }
    if decode["keda"].is_object() != prefill["keda"].is_object() {
        verdict.invalid(
            "spec.prefill.scaling",
            "prefill and decode must both use wva or both use keda",
        );
    } else if decode["wva"].is_object()
        && prefill["wva"].is_object()
        && decode["wva"]["hpa"].is_object() != prefill["wva"]["hpa"].is_object()
    {
        verdict.invalid(
            "spec.prefill.scaling.wva",
            "prefill and decode must both act through hpa or both through keda",
        );
    }
}
