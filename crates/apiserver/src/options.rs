//! What may stand in the query and headers of a request, checked as a Kubernetes API server does.

use http::Method;
use serde_json::json;

use crate::request::Req;
use crate::status::{ApiError, ApiResult};

type Cause = (String, String, String);

fn forbidden(field: &str, why: &str) -> Cause {
    (
        "FieldValueForbidden".to_owned(),
        format!("Forbidden: {why}"),
        field.to_owned(),
    )
}

fn unsupported(field: &str, value: &str, supported: &[&str]) -> Cause {
    let list: Vec<String> = supported.iter().map(|text| format!("{text:?}")).collect();
    (
        "FieldValueNotSupported".to_owned(),
        format!(
            "Unsupported value: {value}: supported values: {}",
            list.join(", ")
        ),
        field.to_owned(),
    )
}

fn refuse(kind: &str, causes: &[Cause]) -> ApiResult<()> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid_options(kind, causes))
    }
}

/// Checks the options of a change.
pub(crate) fn change(req: &Req, method: &Method) -> ApiResult<()> {
    let kind = match method.as_str() {
        "POST" => "CreateOptions",
        "PUT" => "UpdateOptions",
        "PATCH" => "PatchOptions",
        _ => return Ok(()),
    };
    let mut causes = Vec::new();
    let apply = req.content_type.starts_with("application/apply-patch");
    if kind == "PatchOptions" {
        if apply && req.query.get("fieldManager").is_empty() {
            causes.push((
                "FieldValueRequired".to_owned(),
                "Required value: is required for apply patch".to_owned(),
                "fieldManager".to_owned(),
            ));
        }
        if !apply && !req.query.get("force").is_empty() {
            causes.push(forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
    }
    causes.extend(dry_run(req));
    let validation = req.query.get("fieldValidation");
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        let supported = ["", "Ignore", "Strict", "Warn"];
        causes.push(unsupported(
            "fieldValidation",
            &format!("{validation:?}"),
            &supported,
        ));
    }
    refuse(kind, &causes)
}

fn dry_run(req: &Req) -> Option<Cause> {
    let asked = req.query.get("dryRun");
    (!matches!(asked, "" | "All"))
        .then(|| unsupported("dryRun", &json!([asked]).to_string(), &["All"]))
}

/// Checks the options of a removal.
pub(crate) fn removal(req: &Req, policy: &str, orphan: bool) -> ApiResult<()> {
    let mut causes = Vec::new();
    if orphan && !policy.is_empty() {
        causes.push((
            "FieldValueInvalid".to_owned(),
            format!(
                "Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set"
            ),
            "propagationPolicy".to_owned(),
        ));
    } else if !matches!(policy, "" | "Foreground" | "Background" | "Orphan") {
        let supported = ["Foreground", "Background", "Orphan", "nil"];
        causes.push(unsupported(
            "propagationPolicy",
            &format!("{policy:?}"),
            &supported,
        ));
    }
    causes.extend(dry_run(req));
    refuse("DeleteOptions", &causes)
}

/// Checks the options of a list or watch.
pub(crate) fn list(req: &Req) -> ApiResult<()> {
    let query = &req.query;
    let (version, matching) = (
        query.get("resourceVersion"),
        query.get("resourceVersionMatch"),
    );
    let initial = !query.get("sendInitialEvents").is_empty();
    let watch = query.flag("watch");
    let field = "resourceVersionMatch";
    let mut causes = Vec::new();
    if initial && !watch {
        causes.push(forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    } else if watch && initial && matching != "NotOlderThan" {
        causes.push(forbidden(
            field,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    } else if watch && !initial && !matching.is_empty() {
        causes.push(forbidden(
            field,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    } else if !watch && !matching.is_empty() {
        if version.is_empty() {
            causes.push(forbidden(
                field,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !query.get("continue").is_empty() {
            causes.push(forbidden(
                field,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let supported = ["Exact", "NotOlderThan", ""];
            causes.push(unsupported(field, &format!("{matching:?}"), &supported));
        }
        if matching == "Exact" && version == "0" {
            causes.push(forbidden(
                field,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    refuse("ListOptions", &causes)
}

/// Checks that the body is of a type that is understood, and that the answer may be JSON.
pub(crate) fn media(req: &Req, method: &Method, has_body: bool) -> ApiResult<()> {
    let kind = req.content_type.split(';').next().unwrap_or("").trim();
    let known = [
        "",
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ];
    if matches!(method.as_str(), "POST" | "PUT") && has_body && !known.contains(&kind) {
        return Err(ApiError::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    let json = req.accept.is_empty()
        || req.target.subresource == "log"
        || req.accept.split(',').any(|variant| {
            let kind = variant.split(';').next().unwrap_or("").trim();
            matches!(kind, "*/*" | "application/*" | "application/json")
        });
    if !json {
        let mut error = ApiError::new(
            406,
            "NotAcceptable",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
        );
        error.details = json!({});
        return Err(error);
    }
    Ok(())
}
