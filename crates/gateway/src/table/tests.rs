//! Match order and rewriting.

use super::*;

fn entry(name: &str, host: &str, path: PathMatch) -> Entry {
    Entry {
        host: HostPattern::parse(Some(host)),
        matched: Match {
            path,
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        created: "2026-01-01T00:00:00Z".into(),
        route: ("default".into(), name.into()),
        position: (0, 0),
        rule: Arc::new(Rule {
            route: format!("default/{name}"),
            ..Rule::default()
        }),
    }
}

fn prefix(text: &str) -> PathMatch {
    PathMatch::prefix(text)
}

fn ask(table: &Table, host: &str, target: &str, method: &Method, headers: &HeaderMap) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    table
        .find(&RequestView {
            host,
            path,
            query,
            method,
            headers,
        })
        .map(|entry| entry.route.1.clone())
        .unwrap_or_default()
}

fn get(table: &Table, host: &str, target: &str) -> String {
    ask(table, host, target, &Method::GET, &HeaderMap::new())
}

#[test]
fn exact_beats_longest_prefix_beats_shorter() {
    let table = Table::new(
        vec![
            entry("root", "", prefix("/")),
            entry("short", "", prefix("/ns/a/")),
            entry("long", "", prefix("/ns/a/v1")),
            entry("exact", "", PathMatch::Exact("/ns/a/v1".into())),
        ],
        Vec::new(),
    );
    assert_eq!(get(&table, "h", "/ns/a/v1"), "exact");
    assert_eq!(get(&table, "h", "/ns/a/v1/models"), "long");
    assert_eq!(get(&table, "h", "/ns/a/v1beta"), "short");
    assert_eq!(get(&table, "h", "/ns/a"), "short");
    assert_eq!(get(&table, "h", "/ns/ab"), "root");
    let none = Table::new(vec![entry("a", "", prefix("/ns/a"))], Vec::new());
    assert_eq!(get(&none, "h", "/ns/ab"), "");
}

#[test]
fn host_comes_first_and_falls_through() {
    let table = Table::new(
        vec![
            entry("any", "", prefix("/deep/path")),
            entry("wild", "*.example.com", prefix("/")),
            entry("exact", "a.example.com", prefix("/only")),
        ],
        Vec::new(),
    );
    assert_eq!(get(&table, "a.example.com", "/only/x"), "exact");
    assert_eq!(get(&table, "a.example.com", "/deep/path"), "wild");
    assert_eq!(get(&table, "example.com", "/deep/path"), "any");
    assert!(table.names_host("b.example.com") && !table.names_host("example.com"));
}

#[test]
fn method_headers_query_then_age_then_name() {
    let mut method = entry("method", "", prefix("/"));
    method.matched.method = Some(Method::POST);
    let mut header = entry("header", "", prefix("/"));
    header.matched.headers = vec![(HeaderName::from_static("x-model"), "m".into())];
    let mut query = entry("query", "", prefix("/"));
    query.matched.query = vec![("a".into(), "b c".into())];
    let mut old = entry("z-old", "", prefix("/"));
    old.created = "2025-01-01T00:00:00Z".into();
    let table = Table::new(
        vec![
            entry("b", "", prefix("/")),
            query,
            header,
            method,
            old,
            entry("a", "", prefix("/")),
        ],
        Vec::new(),
    );
    let mut headers = HeaderMap::new();
    assert_eq!(ask(&table, "h", "/", &Method::POST, &headers), "method");
    headers.insert("x-model", "m".parse().unwrap());
    assert_eq!(
        ask(&table, "h", "/?a=b+c", &Method::GET, &headers),
        "header"
    );
    assert_eq!(get(&table, "h", "/?x&%61=b%20c"), "query");
    assert_eq!(get(&table, "h", "/"), "z-old");
    let same = Table::new(
        vec![entry("b", "", prefix("/")), entry("a", "", prefix("/"))],
        vec![],
    );
    assert_eq!(get(&same, "h", "/"), "a");
}

#[test]
fn paths_are_rewritten_by_segment() {
    let root = PathRewrite::Prefix("/".into());
    let cases = [
        (&root, "/ns/a", "/ns/a/v1/models", "/v1/models"),
        (&root, "/ns/a", "/ns/a", "/"),
        (&root, "/ns/a", "/ns/a/", "/"),
        (
            &PathRewrite::Prefix("/v1/".into()),
            "/x",
            "/x/models",
            "/v1/models",
        ),
        (
            &PathRewrite::Prefix("/v1".into()),
            "/",
            "/models",
            "/v1/models",
        ),
        (&PathRewrite::Prefix(String::new()), "/x", "/x", "/"),
        (&PathRewrite::Full("/all".into()), "/x", "/x/y", "/all"),
    ];
    for (rewrite, matched, path, want) in cases {
        assert_eq!(
            rewrite_path(rewrite, &prefix(matched), path),
            want,
            "{matched} {path}"
        );
    }
}

#[test]
fn weights_are_exact_over_a_run() {
    let target = |name: &str| Target::Invalid(name.into());
    let rule = Rule {
        backends: vec![
            Backend::new(target("a"), 90),
            Backend::new(target("b"), 10),
            Backend::new(target("c"), 0),
        ],
        ..Rule::default()
    };
    let mut b = 0;
    let mut longest_gap = 0;
    let mut gap = 0;
    for _ in 0..100 {
        match &rule.pick().unwrap().target {
            Target::Invalid(name) if name == "b" => {
                b += 1;
                gap = 0;
            }
            _ => gap += 1,
        }
        longest_gap = longest_gap.max(gap);
    }
    assert_eq!(b, 10);
    assert!(longest_gap < 30, "shares come in blocks of {longest_gap}");
    assert!(Rule::default().pick().is_none());
}
