//! Which requests are whose: pure functions over path and headers.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method};

/// Prefill candidates.
pub const PREFILLER: HeaderName = HeaderName::from_static("x-prefiller-host-port");
/// Prefill candidate of the first releases.
pub const PREFILLER_URL: HeaderName = HeaderName::from_static("x-prefiller-url");
/// Encoder candidates.
pub const ENCODERS: HeaderName = HeaderName::from_static("x-encoder-hosts-ports");
/// The peer that holds most of the prefix.
pub const CACHE_SOURCE: HeaderName = HeaderName::from_static("x-kv-cache-source-host-port");
/// The local rank that is meant.
pub const RANK_HOST_PORT: HeaderName = HeaderName::from_static("x-data-parallel-host-port");

/// Routes that prefill and decode may share.
const DISAGGREGATED: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/responses",
    "/inference/v1/generate",
];

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Answered here.
    Health,
    /// May be shared between pods.
    Disaggregated,
    /// To the engine as it is.
    Through,
    /// To the canonical form of its path.
    Redirect(String),
}

/// Returns what is done with a request for this method and (undecoded) path.
#[must_use]
pub fn route(method: &Method, path: &str) -> Route {
    if method != Method::CONNECT
        && let Some(clean) = clean(path)
    {
        return Route::Redirect(clean);
    }
    if path == "/health" && matches!(*method, Method::GET | Method::HEAD) {
        return Route::Health;
    }
    if *method == Method::POST && DISAGGREGATED.contains(&path) {
        return Route::Disaggregated;
    }
    Route::Through
}

/// Returns the canonical form of a path that is not: without `.`, `..` and empty segments, as Go's router has it.
fn clean(path: &str) -> Option<String> {
    let canonical = path.starts_with('/')
        && !path.contains("//")
        && !path.split('/').any(|part| matches!(part, "." | ".."));
    if canonical || path == "*" {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && !clean.ends_with('/') {
        clean.push('/');
    }
    Some(clean)
}

/// Takes the candidates of a header out: one line is split at commas, of several each is one.
pub fn take_candidates(headers: &mut HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    headers.remove(name);
    match lines.as_slice() {
        [one] => one.split(',').map(|part| part.trim().to_owned()).collect(),
        _ => lines.iter().map(|line| line.trim().to_owned()).collect(),
    }
}

/// Returns the candidate that `index` falls on; an empty one means that nobody is asked.
#[must_use]
pub fn choose(candidates: &[String], index: usize) -> Option<&str> {
    let chosen = candidates.get(index % candidates.len().max(1))?;
    Some(chosen.as_str()).filter(|chosen| !chosen.is_empty())
}

/// Appends the client's address to what is forwarded of it.
#[must_use]
pub fn forwarded_for(headers: &HeaderMap, client: std::net::IpAddr) -> String {
    let before: Vec<Cow<'_, str>> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    if before.is_empty() {
        client.to_string()
    } else {
        format!("{}, {client}", before.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let rows = [
            ("GET", "/health", Route::Health),
            ("HEAD", "/health", Route::Health),
            ("POST", "/health", Route::Through),
            ("GET", "/healthz", Route::Through),
            ("POST", "/v1/messages", Route::Disaggregated),
            ("GET", "/v1/messages", Route::Through),
            ("POST", "/v1/messages/", Route::Through),
            ("POST", "/v1/chat%2fcompletions", Route::Through),
            ("OPTIONS", "*", Route::Through),
            ("POST", "//v1/x", Route::Redirect("/v1/x".to_owned())),
            ("GET", "/v1/./x/../y/", Route::Redirect("/v1/y/".to_owned())),
            ("GET", "/..", Route::Redirect("/".to_owned())),
        ];
        for (method, path, wanted) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(route(&method, path), wanted, "{method} {path}");
        }
    }

    #[test]
    fn candidates_are_split_by_line_or_by_comma() {
        let rows: [(&[&str], &[&str]); 5] = [
            (&["a:1, b:2"], &["a:1", "b:2"]),
            (&["a:1,b:2", "c:3"], &["a:1,b:2", "c:3"]),
            (&[""], &[""]),
            (&[",a:1"], &["", "a:1"]),
            (&[], &[]),
        ];
        for (lines, wanted) in rows {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&PREFILLER, line.parse().unwrap());
            }
            assert_eq!(
                take_candidates(&mut headers, &PREFILLER),
                wanted,
                "{lines:?}"
            );
            assert!(headers.is_empty());
        }
        let two = ["".to_owned(), "b:1".to_owned()];
        assert_eq!(choose(&two, 0), None);
        assert_eq!(choose(&two, 3), Some("b:1"));
        assert_eq!(choose(&[], 3), None);
    }
}
