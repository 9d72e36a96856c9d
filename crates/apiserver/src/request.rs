//! Requests taken apart and answers put together.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use weir_runtime::http::{Body, full};

use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};

/// Largest request body.
pub(crate) const BODY_LIMIT: usize = 3 << 20;

/// The object or collection that a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: String,
}

impl Target {
    /// Takes `/api/...` and `/apis/...` apart; none when the path names no resource.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let decoded: Vec<String> = path
            .split('/')
            .filter(|s| !s.is_empty())
            .map(|s| decode(s, false))
            .collect();
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let mut target = Self {
            group: group.to_owned(),
            version: version.to_owned(),
            ..Self::default()
        };
        let rest = match rest {
            ["namespaces", namespace, plural, tail @ ..]
                if !matches!(*plural, "status" | "finalize") =>
            {
                target.namespace = Some((*namespace).to_owned());
                target.plural = (*plural).to_owned();
                tail
            }
            [plural, tail @ ..] => {
                target.plural = (*plural).to_owned();
                tail
            }
            [] => return None,
        };
        if let Some((name, tail)) = rest.split_first() {
            target.name = Some((*name).to_owned());
            target.subresource = tail.join("/");
        }
        Some(target)
    }
}

/// Query parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key, true), decode(value, true))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1" | "True")
    }
}

fn decode(text: &str, plus: bool) -> String {
    let text = if plus {
        text.replace('+', " ")
    } else {
        text.to_owned()
    };
    percent_encoding::percent_decode_str(&text)
        .decode_utf8_lossy()
        .into_owned()
}

/// One request for a resource.
pub(crate) struct Req {
    pub(crate) resource: Arc<Resource>,
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) accept: String,
    pub(crate) content_type: String,
    pub(crate) agent: String,
}

impl Req {
    /// Namespace of the target, empty for none.
    pub(crate) fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or("")
    }

    pub(crate) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or("")
    }

    /// True when nothing is to be stored.
    pub(crate) fn dry_run(&self) -> bool {
        self.query.get("dryRun") == "All"
    }

    /// Name under which the caller owns fields.
    pub(crate) fn manager(&self) -> String {
        let manager = self.query.get("fieldManager");
        if !manager.is_empty() {
            return manager.to_owned();
        }
        self.agent
            .split('/')
            .next()
            .filter(|m| !m.is_empty())
            .unwrap_or("unknown")
            .to_owned()
    }

    /// True when the caller wants a table.
    pub(crate) fn table(&self) -> bool {
        wants(&self.accept, "as=Table")
    }

    /// True when the caller wants metadata only.
    pub(crate) fn partial(&self) -> bool {
        wants(&self.accept, "as=PartialObjectMetadata")
    }
}

/// True when the first acceptable JSON variant of an Accept header has the parameter.
pub(crate) fn wants(accept: &str, parameter: &str) -> bool {
    for variant in accept.split(',') {
        let variant: String = variant.chars().filter(|c| !c.is_whitespace()).collect();
        if !variant.starts_with("application/json") {
            continue;
        }
        return variant.contains(parameter) && !variant.contains("v=v1beta1;as=Table");
    }
    false
}

/// An answer before it is encoded.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

impl Reply {
    pub(crate) fn ok(value: Value) -> Self {
        Self {
            code: 200,
            value,
            warnings: Vec::new(),
        }
    }
}

/// Encodes JSON with a status code.
pub(crate) fn json(code: u16, value: &Value) -> Response<Body> {
    typed(code, value, "application/json")
}

/// Encodes JSON with another content type.
pub(crate) fn typed(code: u16, value: &Value, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Encodes a failure.
pub(crate) fn failure(error: &ApiError) -> Response<Body> {
    json(error.code, &error.to_value())
}

/// Adds `Warning` headers.
pub(crate) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    for warning in warnings {
        let text: String = warning
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .flat_map(|c| {
                if matches!(c, '"' | '\\') {
                    vec!['\\', c]
                } else {
                    vec![c]
                }
            })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
}

/// Reads a JSON or YAML body.
pub(crate) fn parse_body(bytes: &[u8], content_type: &str) -> ApiResult<Value> {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    if kind == "application/vnd.kubernetes.protobuf" {
        return crate::protobuf::decode(bytes);
    }
    if kind == "application/cbor" {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml (got {kind})"
        );
        return Err(ApiError::new(415, "UnsupportedMediaType", message));
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) if kind.contains("yaml") => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| ApiError::bad_request("the body is not UTF-8 text"))?;
            let _ = error;
            serde_saphyr::from_str(text)
                .map_err(|error| ApiError::bad_request(format!("error parsing YAML: {error}")))
        }
        Err(error) => Err(ApiError::bad_request(format!(
            "couldn't get version/kind; json parse error: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_their_targets() {
        let show = |path| {
            let t = Target::parse(path)?;
            Some(format!(
                "{}|{}|{}|{}|{}|{}",
                t.group,
                t.version,
                t.namespace.unwrap_or_default(),
                t.plural,
                t.name.unwrap_or_default(),
                t.subresource
            ))
        };
        assert_eq!(show("/api/v1/namespaces/a").unwrap(), "|v1||namespaces|a|");
        assert_eq!(
            show("/api/v1/namespaces/a/status").unwrap(),
            "|v1||namespaces|a|status"
        );
        assert_eq!(
            show("/api/v1/namespaces/a/pods/b/log").unwrap(),
            "|v1|a|pods|b|log"
        );
        assert_eq!(
            show("/apis/apps/v1/deployments").unwrap(),
            "apps|v1||deployments||"
        );
        assert!(show("/apis/apps/v1").is_none());
    }

    #[test]
    fn the_first_json_variant_decides_the_shape() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert!(wants(kubectl, "as=Table"));
        assert!(!wants("application/json, */*", "as=Table"));
    }
}
