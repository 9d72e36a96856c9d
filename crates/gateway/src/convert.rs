//! Rules of a route become rules of the table, with what could not be resolved said in words.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use weir_discovery::Missing;

use crate::attach::{Key, Services, Verdict, World};
use crate::objects::{
    BackendRef, Filter, HeaderModifier, HttpRoute, NamedMatch, POOL_GROUPS, PathModifier,
    RouteMatch, RouteRule,
};
use crate::table::{
    Backend, HeaderChange, Match, PathMatch, PathRewrite, RedirectTo, Rule, Target,
};

/// The rules of one route.
pub(crate) struct Converted {
    /// Each with its matches.
    pub(crate) rules: Vec<(Arc<Rule>, Vec<Match>)>,
    /// Condition ResolvedRefs.
    pub(crate) resolved: Verdict,
    /// A value that this gateway does not know; the route is not accepted.
    pub(crate) unsupported: Option<String>,
}

/// Converts the rules of `route`.
pub(crate) fn rules(
    key: &Key,
    route: &HttpRoute,
    world: &World,
    services: &dyn Services,
) -> Converted {
    let mut out = Converted {
        rules: Vec::new(),
        resolved: Verdict::yes("ResolvedRefs", "All references are resolved"),
        unsupported: None,
    };
    for (at, spec) in route.spec.rules.iter().enumerate() {
        let matches: Result<Vec<Match>, String> = if spec.matches.is_empty() {
            matched(&RouteMatch::default()).map(|any| vec![any])
        } else {
            spec.matches.iter().map(matched).collect()
        };
        match (matches, rule(key, spec, world, services, &mut out.resolved)) {
            (Ok(matches), Ok(rule)) => out.rules.push((Arc::new(rule), matches)),
            (Err(error), _) | (_, Err(error)) => {
                out.unsupported
                    .get_or_insert_with(|| format!("spec.rules[{at}]: {error}"));
            }
        }
    }
    if out.unsupported.is_some() {
        out.rules.clear();
    }
    out
}

fn matched(spec: &RouteMatch) -> Result<Match, String> {
    let path = match &spec.path {
        None => PathMatch::prefix("/"),
        Some(path) => {
            let value = path.value.as_deref().unwrap_or("/");
            match path.kind.as_deref().unwrap_or("PathPrefix") {
                "PathPrefix" => PathMatch::prefix(value),
                "Exact" => PathMatch::Exact(value.to_owned()),
                other => return Err(format!("path match type {other} is not supported")),
            }
        }
    };
    let method = match spec.method.as_deref() {
        None => None,
        Some(method) => Some(
            Method::from_bytes(method.as_bytes())
                .map_err(|_| format!("{method:?} is not a method"))?,
        ),
    };
    let exact = |item: &NamedMatch| match item.kind.as_deref() {
        None | Some("Exact") => Ok(()),
        Some(other) => Err(format!(
            "match type {other} of {} is not supported",
            item.name
        )),
    };
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    for item in &spec.headers {
        exact(item)?;
        let name = header_name(&item.name)?;
        // Of several with one name the first counts.
        if !headers.iter().any(|(known, _)| *known == name) {
            headers.push((name, item.value.clone()));
        }
    }
    let mut query: Vec<(String, String)> = Vec::new();
    for item in &spec.query_params {
        exact(item)?;
        if !query.iter().any(|(known, _)| *known == item.name) {
            query.push((item.name.clone(), item.value.clone()));
        }
    }
    Ok(Match {
        path,
        method,
        headers,
        query,
    })
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))
}

fn rule(
    key: &Key,
    spec: &RouteRule,
    world: &World,
    services: &dyn Services,
    resolved: &mut Verdict,
) -> Result<Rule, String> {
    let mut rule = Rule {
        route: format!("{}/{}", key.0, key.1),
        ..Rule::default()
    };
    for filter in &spec.filters {
        apply_filter(&mut rule, filter)?;
    }
    let limit = |text: &Option<String>| text.as_deref().map(duration).transpose();
    rule.timeout = [
        limit(&spec.timeouts.request)?,
        limit(&spec.timeouts.backend_request)?,
    ]
    .into_iter()
    .flatten()
    .filter(|limit| !limit.is_zero())
    .min();
    for backend in &spec.backend_refs {
        let target = match target(key, backend, world, services) {
            Ok(target) => target,
            Err(problem) => {
                let message = problem.message.clone();
                if resolved.holds {
                    *resolved = problem;
                }
                Target::Invalid(message)
            }
        };
        rule.backends
            .push(Backend::new(target, backend.weight.unwrap_or(1)));
    }
    Ok(rule)
}

fn apply_filter(rule: &mut Rule, filter: &Filter) -> Result<(), String> {
    let absent = || format!("filter {} has no content", filter.kind);
    match filter.kind.as_str() {
        "RequestHeaderModifier" => {
            let change = filter.request_header_modifier.as_ref().ok_or_else(absent)?;
            rule.request_headers = header_change(change)?;
        }
        "ResponseHeaderModifier" => {
            let change = filter
                .response_header_modifier
                .as_ref()
                .ok_or_else(absent)?;
            rule.response_headers = header_change(change)?;
        }
        "URLRewrite" => {
            let rewrite = filter.url_rewrite.as_ref().ok_or_else(absent)?;
            rule.path = rewrite.path.as_ref().map(path_rewrite).transpose()?;
            rule.hostname = match &rewrite.hostname {
                None => None,
                Some(host) => Some(
                    HeaderValue::from_str(host).map_err(|_| format!("{host:?} is not a host"))?,
                ),
            };
        }
        "RequestRedirect" => {
            let redirect = filter.request_redirect.as_ref().ok_or_else(absent)?;
            rule.redirect = Some(RedirectTo {
                scheme: redirect.scheme.clone(),
                hostname: redirect.hostname.clone(),
                path: redirect.path.as_ref().map(path_rewrite).transpose()?,
                port: redirect.port,
                status: redirect.status_code.unwrap_or(302),
            });
        }
        other => return Err(format!("filter {other} is not supported")),
    }
    Ok(())
}

fn header_change(spec: &HeaderModifier) -> Result<HeaderChange, String> {
    let pairs = |items: &[NamedMatch]| -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        items
            .iter()
            .map(|item| {
                let value = HeaderValue::from_str(&item.value)
                    .map_err(|_| format!("the value of header {} is not usable", item.name))?;
                Ok((header_name(&item.name)?, value))
            })
            .collect()
    };
    Ok(HeaderChange {
        set: pairs(&spec.set)?,
        add: pairs(&spec.add)?,
        remove: spec
            .remove
            .iter()
            .map(|name| header_name(name))
            .collect::<Result<_, _>>()?,
    })
}

fn path_rewrite(spec: &PathModifier) -> Result<PathRewrite, String> {
    match spec.kind.as_str() {
        "ReplaceFullPath" => Ok(PathRewrite::Full(
            spec.replace_full_path.clone().unwrap_or_default(),
        )),
        "ReplacePrefixMatch" => Ok(PathRewrite::Prefix(
            spec.replace_prefix_match.clone().unwrap_or_default(),
        )),
        other => Err(format!("path rewrite {other} is not supported")),
    }
}

fn target(
    key: &Key,
    backend: &BackendRef,
    world: &World,
    services: &dyn Services,
) -> Result<Target, Verdict> {
    let namespace = backend.namespace.clone().unwrap_or_else(|| key.0.clone());
    let group = backend.group.as_deref().unwrap_or_default();
    let kind = backend.kind.as_deref().unwrap_or("Service");
    let full = format!("{kind} {namespace}/{}", backend.name);
    if namespace != key.0 {
        return Err(Verdict::no(
            "RefNotPermitted",
            format!("{full} is in another namespace, which this gateway does not permit"),
        ));
    }
    match (group, kind) {
        ("", "Service") => {
            let Some(port) = backend.port else {
                return Err(Verdict::no(
                    "BackendNotFound",
                    format!("{full}: no port is given"),
                ));
            };
            match services.missing(&namespace, &backend.name, port) {
                None => Ok(Target::Service {
                    namespace,
                    name: backend.name.clone(),
                    port,
                }),
                Some(Missing::Port) => Err(Verdict::no(
                    "BackendNotFound",
                    format!("{full} has no port {port}"),
                )),
                Some(_) => Err(Verdict::no(
                    "BackendNotFound",
                    format!("{full} does not exist"),
                )),
            }
        }
        (group, "InferencePool") if POOL_GROUPS.contains(&group) => {
            let pool = (namespace, backend.name.clone());
            if !world.pools.contains_key(&pool) {
                return Err(Verdict::no(
                    "BackendNotFound",
                    format!("{full} does not exist"),
                ));
            }
            Ok(Target::Pool {
                namespace: pool.0,
                name: pool.1,
            })
        }
        _ => Err(Verdict::no(
            "InvalidKind",
            format!("{full} of group {group:?} cannot be a backend"),
        )),
    }
}

/// Reads a Gateway API duration: up to four numbers with `h`, `m`, `s` or `ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 10s or 1m30s");
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |length| digits + length);
        let scale = match &rest[digits..unit_end] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        total = number
            .checked_mul(scale)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = &rest[unit_end..];
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Duration::from_millis(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("1m30s5ms"), Ok(Duration::from_millis(90_005)));
        assert!(duration("").is_err() && duration("5").is_err() && duration("1d").is_err());
    }
}
