//! Host names: patterns of listeners and routes, their intersection, and the host of a request.

use std::cmp::Ordering;
use std::net::IpAddr;

/// Which hosts something is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// `*.suffix`; holds the suffix with its dot, in lower case.
    Wildcard(String),
    /// One host, in lower case.
    Exact(String),
}

impl HostPattern {
    /// Reads a `hostname` field; none and empty mean every host.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        match text.map(|text| text.trim_end_matches('.').to_ascii_lowercase()) {
            None => Self::Any,
            Some(text) if text.is_empty() || text == "*" => Self::Any,
            Some(text) => match text.strip_prefix('*') {
                Some(suffix) => Self::Wildcard(suffix.to_owned()),
                None => Self::Exact(text),
            },
        }
    }

    /// Says whether `host` (lower case, no port) is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    /// Returns the hosts that both mean, if any.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, pattern) | (pattern, Self::Any) => Some(pattern.clone()),
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => {
                pattern.matches(name).then(|| Self::Exact(name.clone()))
            }
            (Self::Wildcard(a), Self::Wildcard(b)) => {
                if a.ends_with(b.as_str()) {
                    Some(self.clone())
                } else if b.ends_with(a.as_str()) {
                    Some(other.clone())
                } else {
                    None
                }
            }
        }
    }

    /// Orders the more specific pattern first.
    #[must_use]
    pub fn by_specificity(&self, other: &Self) -> Ordering {
        fn rank(pattern: &HostPattern) -> (u8, usize) {
            match pattern {
                HostPattern::Exact(name) => (2, name.len()),
                HostPattern::Wildcard(suffix) => (1, suffix.len()),
                HostPattern::Any => (0, 0),
            }
        }
        rank(other).cmp(&rank(self))
    }
}

/// Returns the host of a `Host` header or authority: lower case, without port, brackets and final dot.
#[must_use]
pub fn host_of(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Says whether `host` can only mean this machine or an address: no web page can have made it up by DNS.
#[must_use]
pub fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_intersect() {
        let parse = |text: &str| HostPattern::parse(Some(text));
        assert_eq!(
            parse("*.a.b").intersect(&parse("x.a.b")),
            Some(parse("x.a.b"))
        );
        assert_eq!(
            parse("*.b").intersect(&parse("*.a.b")),
            Some(parse("*.a.b"))
        );
        assert_eq!(parse("*.b").intersect(&parse("b")), None);
        assert_eq!(
            parse("A.b").intersect(&HostPattern::Any),
            Some(parse("a.b"))
        );
        assert_eq!(parse("a").intersect(&parse("b")), None);
    }

    #[test]
    fn host_is_taken_apart() {
        assert_eq!(host_of("LocalHost:80"), "localhost");
        assert_eq!(host_of("[::1]:80"), "::1");
        assert!(is_local("::1") && is_local("127.0.0.1") && !is_local("127.0.0.1.evil.example"));
    }
}
