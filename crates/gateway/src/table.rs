//! The routing table: pure, built from attached routes, asked once a request.
//!
//! Entries are kept in the order of precedence that the Gateway API prescribes (host, exact path, longest
//! prefix, method, number of headers, number of query parameters, age, name, position), so that the first
//! entry that matches is the answer.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Memory};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::hosts::HostPattern;

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The very path.
    Exact(String),
    /// This path and what is below it, by whole segments. Without a final slash; empty means all.
    Prefix(String),
}

impl PathMatch {
    /// Returns a prefix match for a prefix as users write it.
    #[must_use]
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(text.trim_end_matches('/').to_owned())
    }

    /// Says whether `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    fn rank(&self) -> (bool, usize) {
        match self {
            Self::Exact(path) => (true, path.len()),
            Self::Prefix(path) => (false, path.len()),
        }
    }
}

/// What a request must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Path.
    pub path: PathMatch,
    /// Method.
    pub method: Option<Method>,
    /// Headers and their exact values.
    pub headers: Vec<(HeaderName, String)>,
    /// Query parameters and their exact values.
    pub query: Vec<(String, String)>,
}

impl Match {
    fn matches(&self, request: &RequestView<'_>) -> bool {
        self.path.matches(request.path)
            && self
                .method
                .as_ref()
                .is_none_or(|method| method == request.method)
            && self
                .headers
                .iter()
                .all(|(name, want)| header_is(request.headers, name, want))
            && self.query.iter().all(|(name, want)| {
                query_value(request.query, name).is_some_and(|value| value == *want)
            })
    }
}

fn header_is(headers: &HeaderMap, name: &HeaderName, want: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.as_bytes() == want.as_bytes(),
        (Some(first), Some(second)) => {
            // Several lines are one list.
            let mut joined = [first.as_bytes(), b",", second.as_bytes()].concat();
            for more in values {
                joined.push(b',');
                joined.extend_from_slice(more.as_bytes());
            }
            joined == want.as_bytes()
        }
        _ => false,
    }
}

fn query_value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(key) == name).then(|| percent_decode(value))
    })
}

/// Decodes `%XX` (and `+` where `plus`); what is not such a sequence stays.
#[must_use]
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                if let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) {
                    // Two hexadecimal digits fit a byte.
                    out.push((high * 16 + low) as u8);
                    at += 3;
                    continue;
                }
                out.push(b'%');
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChange {
    /// Replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Added.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

impl HeaderChange {
    /// Changes `headers`.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

/// A new path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// In place of the whole path.
    Full(String),
    /// In place of the prefix that matched.
    Prefix(String),
}

/// Returns `path` as `rewrite` makes it, `matched` being the prefix by which the request was matched.
#[must_use]
pub fn rewrite_path(rewrite: &PathRewrite, matched: &PathMatch, path: &str) -> String {
    match rewrite {
        PathRewrite::Full(full) => rooted(full.clone()),
        PathRewrite::Prefix(replacement) => {
            let prefix = match matched {
                PathMatch::Prefix(prefix) | PathMatch::Exact(prefix) => prefix.as_str(),
            };
            let rest = path.strip_prefix(prefix).unwrap_or(path);
            let replacement = replacement.trim_end_matches('/');
            if rest.is_empty() {
                return rooted(replacement.to_owned());
            }
            let slash = if rest.starts_with('/') { "" } else { "/" };
            format!("{replacement}{slash}{rest}")
        }
    }
}

fn rooted(path: String) -> String {
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

/// A redirect that a rule answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTo {
    /// New scheme.
    pub scheme: Option<String>,
    /// New host.
    pub hostname: Option<String>,
    /// New path.
    pub path: Option<PathRewrite>,
    /// New port.
    pub port: Option<u16>,
    /// Status.
    pub status: u16,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of a Service.
    Service {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Port of the Service.
        port: u16,
    },
    /// Pods of an InferencePool.
    Pool {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
    /// Nothing that can be served; requests get this message.
    Invalid(String),
}

/// One weighted backend.
#[derive(Debug)]
pub struct Backend {
    /// Where requests go.
    pub target: Target,
    /// Share.
    pub weight: u32,
    /// Counts picks, for the round over its endpoints.
    pub round: AtomicUsize,
}

impl Backend {
    /// Returns a backend.
    #[must_use]
    pub fn new(target: Target, weight: u32) -> Self {
        Self {
            target,
            weight,
            round: AtomicUsize::new(0),
        }
    }
}

/// What is done with a request that matched.
#[derive(Debug, Default)]
pub struct Rule {
    /// Route it is from, `namespace/name`.
    pub route: String,
    /// Changes of the request's headers.
    pub request_headers: HeaderChange,
    /// Changes of the answer's headers.
    pub response_headers: HeaderChange,
    /// New path.
    pub path: Option<PathRewrite>,
    /// New host.
    pub hostname: Option<HeaderValue>,
    /// A redirect instead of a backend.
    pub redirect: Option<RedirectTo>,
    /// Limit of the time to the head of the answer.
    pub timeout: Option<Duration>,
    /// Backends.
    pub backends: Vec<Backend>,
    /// A filter that cannot be applied; requests get 500 with this message.
    pub broken: Option<String>,
    /// Counts requests, for the weights.
    pub turn: AtomicUsize,
}

impl Rule {
    /// Picks a backend by weight: over any run of requests as long as the sum of the weights each gets
    /// exactly its share, and the shares are interleaved.
    #[must_use]
    pub fn pick(&self) -> Option<&Backend> {
        let total: u64 = self
            .backends
            .iter()
            .map(|backend| u64::from(backend.weight))
            .sum();
        if total == 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Memory::Relaxed) as u64 % total;
        let mut place = turn * stride(total) % total;
        self.backends.iter().find(|backend| {
            let weight = u64::from(backend.weight);
            if place < weight {
                return true;
            }
            place -= weight;
            false
        })
    }
}

/// Returns a step near the golden section of `total` without a common divisor.
fn stride(total: u64) -> u64 {
    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    let start = (total * 618 / 1000).max(1);
    (start..=total.max(1))
        .find(|&step| gcd(step, total) == 1)
        .unwrap_or(1)
}

/// One way to a rule.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Hosts.
    pub host: HostPattern,
    /// What a request must be like.
    pub matched: Match,
    /// When the route was created, RFC 3339.
    pub created: String,
    /// Namespace and name of the route.
    pub route: (String, String),
    /// Position of the rule and of the match in it.
    pub position: (usize, usize),
    /// What is done.
    pub rule: Arc<Rule>,
}

fn precedence(a: &Entry, b: &Entry) -> Ordering {
    a.host
        .by_specificity(&b.host)
        .then_with(|| b.matched.path.rank().cmp(&a.matched.path.rank()))
        .then_with(|| b.matched.method.is_some().cmp(&a.matched.method.is_some()))
        .then_with(|| b.matched.headers.len().cmp(&a.matched.headers.len()))
        .then_with(|| b.matched.query.len().cmp(&a.matched.query.len()))
        .then_with(|| a.created.cmp(&b.created))
        .then_with(|| a.route.cmp(&b.route))
        .then_with(|| a.position.cmp(&b.position))
}

/// What the table looks at in a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Host, lower case, without port.
    pub host: &'a str,
    /// Path as sent.
    pub path: &'a str,
    /// Query as sent, without `?`.
    pub query: &'a str,
    /// Method.
    pub method: &'a Method,
    /// Headers.
    pub headers: &'a HeaderMap,
}

/// The routing table.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Entry>,
    hosts: Vec<HostPattern>,
}

impl Table {
    /// Builds a table of `entries`; `hosts` are further host names that listeners name.
    #[must_use]
    pub fn new(mut entries: Vec<Entry>, hosts: Vec<HostPattern>) -> Self {
        entries.sort_by(precedence);
        Self { entries, hosts }
    }

    /// Returns the entry that a request belongs to.
    #[must_use]
    pub fn find(&self, request: &RequestView<'_>) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.host.matches(request.host) && entry.matched.matches(request))
    }

    /// Says whether a listener or route names `host`.
    #[must_use]
    pub fn names_host(&self, host: &str) -> bool {
        self.entries
            .iter()
            .map(|entry| &entry.host)
            .chain(&self.hosts)
            .any(|pattern| *pattern != HostPattern::Any && pattern.matches(host))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests;
